"""How sure a score is: intervals from drawing genes anew.

The fields of a gene are alike, so that they tell as much as one, or little more. What is drawn with replacement is
therefore the gene with all its units (the bootstrap of Efron and Tibshirani 1993, on what is independent).
"""

from typing import NamedTuple

import numpy as np

SCORE_PLACES = 512
"""Places that scores are told apart by when they are ranked anew in every draw."""


class Draws(NamedTuple):
    """Genes drawn with replacement, as often as there are genes.

    Attributes:
        cluster: (N,) int, the gene of each unit.
        weights: (B, G) float32, how often each draw has each gene.
    """

    cluster: np.ndarray
    weights: np.ndarray


def draw_clusters(clusters: np.ndarray, number: int, seed: int) -> Draws:
    """Draw genes.

    Args:
        clusters: (N,) name of each unit's gene.
        number: B, draws.
        seed: of the draws.
    """
    names, cluster = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    rng = np.random.default_rng(seed)
    count = len(names)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=number) if count else np.zeros((number, 0))
    return Draws(cluster, weights.astype(np.float32))


def counts_by_cluster(truth: np.ndarray, predicted: np.ndarray, draws: Draws) -> tuple[np.ndarray, ...]:
    """Right predictions, predictions and units of each class in each gene: three (G, K) arrays of int64."""
    genes = draws.weights.shape[1]
    found = []
    for matrix in (truth & predicted, predicted, truth):
        table = np.zeros((genes, truth.shape[1]), np.int64)
        np.add.at(table, draws.cluster, matrix)
        found.append(table)
    return tuple(found)


def resampled_counts(truth: np.ndarray, predicted: np.ndarray, draws: Draws) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class in each draw.

    Args:
        truth: (N, K) bool.
        predicted: (N, K) bool.
        draws: of the N units.

    Returns:
        `precision`, `recall`, `f1`: (B, K) float64, NaN as in classification.class_scores; and `micro_f1`: (B,).
    """
    right, guessed, have = (
        draws.weights.astype(np.float64) @ part for part in counts_by_cluster(truth, predicted, draws)
    )
    return {
        "precision": _ratio(right, guessed),
        "recall": _ratio(right, have),
        "f1": np.where(have > 0, _ratio(2 * right, guessed + have), np.nan),
        "micro_f1": _ratio(2 * right.sum(axis=1), (guessed + have).sum(axis=1)),
    }


def resampled_ranks(
    truth: np.ndarray, scores: np.ndarray, draws: Draws, groups: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """AUC and average precision of each class in each draw.

    Args:
        truth: (N, K) bool.
        scores: (N, K) float.
        draws: of the N units.
        groups: (N,) the classifier that each unit's scores are from, as in classification.auc; None for one.

    Returns:
        `auc`, `average_precision`: (B, K) float64, NaN where a draw lacks the class or has nothing else.
    """
    number, classes = len(draws.weights), truth.shape[1]
    groups = np.zeros(len(truth)) if groups is None else groups
    found = {name: np.zeros((number, classes)) for name in ("above", "pairs", "steps", "have")}
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        for k in range(classes):
            if truth[rows, k].any():
                _add_ranks(found, k, truth[rows, k], scores[rows, k], draws._replace(cluster=draws.cluster[rows]))
    return {
        "auc": _ratio(found["above"], found["pairs"]),
        "average_precision": _ratio(found["steps"], found["have"]),
    }


def _add_ranks(found: dict[str, np.ndarray], k: int, truth: np.ndarray, scores: np.ndarray, draws: Draws) -> None:
    """Add one group's share of AUC and average precision of class k, in all draws."""
    place, number = score_places(scores)
    table = np.zeros((2, draws.weights.shape[1], number), np.float32)
    np.add.at(table, (np.where(truth, 0, 1), draws.cluster, place), 1)
    # whole numbers below 2^24: sums of float32 are exact
    gained, missed = ((draws.weights @ part).astype(np.float64) for part in table)
    right, wrong = gained.cumsum(axis=1), missed.cumsum(axis=1)
    # a unit of the class stands above what comes after it, and counts half against its equals
    found["above"][:, k] += (gained * (wrong[:, -1:] - wrong + missed / 2)).sum(axis=1)
    found["pairs"][:, k] += right[:, -1] * wrong[:, -1]
    found["steps"][:, k] += (gained * _ratio(right, right + wrong, 0.0)).sum(axis=1)
    found["have"][:, k] += right[:, -1]


def score_places(scores: np.ndarray) -> tuple[np.ndarray, int]:
    """Places of scores from the highest, 0, downwards; equal scores share one.

    Args:
        scores: (N,).

    Returns:
        (N,) int, and the number of places. Of more than 512 scores neighbours share a place, too: AUC moves by less
        than 1 / 1024, which an interval does not show.
    """
    values, dense, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    if len(values) <= SCORE_PLACES:
        return dense, len(values)
    above = np.cumsum(counts) - counts
    return (above * SCORE_PLACES // len(scores))[dense], SCORE_PLACES


def macro(values: np.ndarray, absent: np.ndarray | None = None) -> np.ndarray:
    """Mean over the classes that a draw has.

    Args:
        values: (B, K), NaN for a class without a figure.
        absent: (B, K) bool, classes that no unit of the draw has; None where a NaN says so. A class that units have
            and that has no figure (a precision of what is never predicted) counts 0.

    Returns:
        (B,) float64, NaN where a draw has no class.
    """
    here = np.isfinite(values) if absent is None else ~absent
    count = here.sum(axis=1)
    return _ratio(np.where(here, np.nan_to_num(values), 0).sum(axis=1), count)


def interval(
    values: np.ndarray, point: np.ndarray | float, level: float = 0.95, lowest: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Where the share `level` of the draws lies around a score.

    The percentiles of the draws, moved as far as their mean lies from the score: a gene that is drawn twice stands
    beside its double in a ranking, so that average precision of few genes is higher in draws than in the data.

    Args:
        values: (B,) or (B, K); NaN for draws without a figure, which are left out.
        point: the score of the data, a number or (K,).
        level: share between the two ends.
        lowest: the least that the score can be, 0, or -1 for a difference; the most is 1.

    Returns:
        Lower and upper end, within these bounds, (K,) or a number; NaN where there is no score or no draw has it.
    """
    columns = values.reshape(len(values), -1)
    score = np.atleast_1d(np.asarray(point, float))
    ends = np.full((2, columns.shape[1]), np.nan)
    known = np.isfinite(columns).any(axis=0) & np.isfinite(score)
    if known.any():
        drawn = columns[:, known]
        tails = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        ends[:, known] = np.clip(tails + score[known] - np.nanmean(drawn, axis=0), lowest, 1)
    low, high = ends.reshape(2, *values.shape[1:])
    return low, high


def _ratio(top: np.ndarray, bottom: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.shape(bottom), otherwise, np.float64), where=np.asarray(bottom) > 0)
