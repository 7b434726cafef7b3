"""Ranking all units by how much they look like a few examples, and whether such a ranking can be trusted."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

METHODS = ("similarity", "probe")
"""`similarity`: cosine with the mean of the examples (of unit length). `probe`: a logistic regression of the examples
against units drawn by chance, in a second round against hard ones, too. Both on whitened principal components."""

INVERSE_PENALTY = 0.01
"""Inverse strength of the probe's penalty; of 0.0001 to 1, what found most of rare simulated patterns."""

HARD = (0.03, 0.15)
"""Of the units drawn by chance, from which share to which of the first round's ranking hard ones are taken: those that
are ranked before may be of the pattern themselves."""

FLOOR = 0.01
"""Share of the mean variance that is added to each component's before whitening: none is made of rounding alone."""


class Ranking(NamedTuple):
    """What a search by examples found.

    Attributes:
        method: which of METHODS was taken: the one whose left-out examples rank first by average precision.
        scores: (N,) float64 of all units, higher is more like the examples.
        left_out: (E,) rank of each example among the units drawn by chance when the others look for it, from 1.
        background: how many units drawn by chance there were.
        precision: mean of 1 / rank for each of METHODS, by name: average precision of finding each left-out example.
    """

    method: str
    scores: np.ndarray
    left_out: np.ndarray
    background: int
    precision: dict[str, float]


def whiten_scores(scores: np.ndarray) -> np.ndarray:
    """(N, K) principal components to equal variance (but for FLOOR), float32, mean 0."""
    centred = scores - scores.mean(axis=0, dtype=np.float64).astype(np.float32)
    variance = centred.var(axis=0, dtype=np.float64)
    spread = np.sqrt(variance + FLOOR * max(variance.mean(), np.finfo(float).tiny)) if len(variance) else variance
    return (centred / np.maximum(spread, 1e-30)).astype(np.float32)


def search(points: np.ndarray, examples: np.ndarray, negatives: np.ndarray, settings: dict[str, Any]) -> Ranking:
    """Rank all units by how much they look like examples, by the better of two methods.

    Args:
        points: (N, K) whitened.
        examples: (E,) places of the examples, one at least.
        negatives: places of units that are not of the pattern; may be empty.
        settings: `background` (units drawn by chance), `hard` (hard ones), `seed`.

    Returns:
        The ranking. With one example there is nothing to leave out, and `similarity` is taken.
    """
    rng = np.random.default_rng(settings["seed"])
    drawn = np.setdiff1d(rng.permutation(len(points))[: settings["background"]], [*examples, *negatives])
    fits: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "similarity": lambda own: similarity(points, own, negatives),
        "probe": lambda own: probe(points, own, drawn, negatives, settings["hard"], settings["seed"]),
    }
    ranks = {name: np.full(len(examples), np.nan) for name in METHODS}
    if len(examples) > 1 and len(drawn):
        for name, fit in fits.items():
            for turn, example in enumerate(examples):
                scores = fit(np.delete(examples, turn))
                ranks[name][turn] = 1 + (scores[drawn] >= scores[example]).sum()
    precision = {name: float(np.mean(1 / own)) for name, own in ranks.items()}
    known = [name for name in METHODS if np.isfinite(precision[name])]
    method = max(known, key=lambda name: precision[name]) if known else METHODS[0]
    return Ranking(method, fits[method](examples), ranks[method], len(drawn), precision)


def similarity(points: np.ndarray, examples: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """(N,) cosine with the mean of the examples, less that with the mean of the negatives where it is higher than 0."""
    lengths = np.maximum(np.linalg.norm(points, axis=1), 1e-12)

    def towards(rows: np.ndarray) -> np.ndarray:
        mean = (points[rows] / lengths[rows, None]).mean(axis=0)
        return (points @ mean) / lengths / max(float(np.linalg.norm(mean)), 1e-12)

    found = towards(examples).astype(float)
    return found - np.maximum(towards(negatives), 0) if len(negatives) else found


def probe(
    points: np.ndarray, examples: np.ndarray, drawn: np.ndarray, negatives: np.ndarray, hard: int, seed: int
) -> np.ndarray:
    """(N,) log odds of a logistic regression of examples against units drawn by chance, then against hard ones, too.

    Args:
        points: (N, K).
        examples, drawn, negatives: places; all but the examples count as not of the pattern.
        hard: how many hard ones are drawn, between the shares HARD of the first round's ranking of `drawn`.
        seed: of that draw.
    """
    weight, shift = _fitted(points, examples, np.concatenate([drawn, negatives]).astype(np.int64))
    ranked = drawn[np.argsort(-(points[drawn] @ weight), kind="stable")]
    between = ranked[int(HARD[0] * len(ranked)) : int(HARD[1] * len(ranked))]
    chosen = np.random.default_rng(seed).permutation(between)[:hard]
    if len(chosen):
        # they count once more: what the first round takes for the pattern and mostly is not
        others = np.concatenate([drawn, chosen, negatives, negatives]).astype(np.int64)
        weight, shift = _fitted(points, examples, others)
    return (points @ weight + shift).astype(float)


def _fitted(points: np.ndarray, examples: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, float]:
    from sklearn.linear_model import LogisticRegression

    if not len(others):
        mean = points[examples].mean(axis=0)
        return mean, 0.0
    rows = np.concatenate([examples, others])
    mark = np.arange(len(rows)) < len(examples)
    fit = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=500).fit(points[rows], mark)
    return fit.coef_[0].astype(np.float32), float(fit.intercept_[0])
