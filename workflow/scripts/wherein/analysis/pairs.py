"""Whether pairs of proteins that belong together look more alike than others: correlations, and tests that hold."""

from typing import NamedTuple

import numpy as np
from scipy.stats import mannwhitneyu, rankdata


class Shift(NamedTuple):
    """One group of values against another.

    Attributes:
        n_a, n_b: values of each.
        median_a, median_b: of each; NaN for none.
        auc: probability that a value of a exceeds one of b (U over n_a n_b; 1/2 where they are alike).
        p: one-sided Mann-Whitney U test that a is no greater, as if all values were independent.
        p_permuted: the same by exchanging the proteins' names.
    """

    n_a: int
    n_b: int
    median_a: float
    median_b: float
    auc: float
    p: float
    p_permuted: float


NO_SHIFT = Shift(0, 0, np.nan, np.nan, np.nan, np.nan, np.nan)


def correlations(vectors: np.ndarray) -> np.ndarray:
    """Pearson's correlation of all pairs of rows.

    Args:
        vectors: (P, D); a row without variation is correlated with nothing.

    Returns:
        (P, P) float32, 1 on the diagonal.
    """
    centred = np.asarray(vectors, np.float64) - np.mean(vectors, axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    # what rounding leaves of a constant row has no direction
    flat = norms[:, 0] <= 1e-12 * np.maximum(np.abs(vectors).max(axis=1, initial=0), 1e-300) * vectors.shape[1]
    unit = np.where(flat[:, None], 0, centred / np.where(norms > 0, norms, 1))
    found = np.clip(unit @ unit.T, -1, 1).astype(np.float32)
    np.fill_diagonal(found, 1)
    return found


def pair_shift(similar: np.ndarray, together: np.ndarray, permutations: int, seed: int) -> Shift:
    """Whether pairs that belong together are more alike than the other pairs.

    A protein is in many pairs, so that pairs are not independent and the p of a test of pairs is too small. Exchanging
    the names of proteins keeps who is alike with whom and asks only whether the right ones are.

    Args:
        similar: (P, P) symmetric.
        together: (P, P) bool, symmetric; the diagonal does not count.
        permutations: B.
        seed: of the permutations.

    Returns:
        Pairs together (a) against others (b).
    """
    upper = np.triu_indices(len(similar), 1)
    values, mark = similar[upper], together[upper]
    n_a, n_b = int(mark.sum()), int((~mark).sum())
    if not n_a or not n_b:
        return NO_SHIFT._replace(n_a=n_a, n_b=n_b)
    ranks = np.zeros(similar.shape)
    ranks[upper] = rankdata(values)
    ranks += ranks.T
    rows, columns = upper[0][mark], upper[1][mark]
    own = ranks[rows, columns].mean()
    rng = np.random.default_rng(seed)
    reached = 0
    for _ in range(permutations):
        names = rng.permutation(len(similar))
        reached += ranks[names[rows], names[columns]].mean() >= own - 1e-9
    auc = (own - (n_a + 1) / 2) / n_b
    p = float(mannwhitneyu(values[mark], values[~mark], alternative="greater").pvalue)
    medians = float(np.median(values[mark])), float(np.median(values[~mark]))
    return Shift(n_a, n_b, *medians, float(auc), p, (1 + reached) / (1 + permutations))


def group_shift(similar: np.ndarray, in_a: np.ndarray, permutations: int, seed: int) -> tuple[Shift, np.ndarray]:
    """Whether two groups of proteins can be told apart: each protein by which group it is more like, itself left out.

    Args:
        similar: (P, P) of the proteins of both groups.
        in_a: (P,) bool, true for those of the first group; each group has two or more.
        permutations: B.
        seed: of the permutations.

    Returns:
        The scores of group a against those of group b, and (P,) scores: mean similarity to the other proteins of a,
        less that to the other proteins of b. p is the Mann-Whitney test of the scores; scores share proteins, and
        p_permuted, from exchanging the labels, holds nonetheless.
    """
    in_a = np.asarray(in_a, bool)
    if min(in_a.sum(), (~in_a).sum()) < 2:
        return NO_SHIFT._replace(n_a=int(in_a.sum()), n_b=int((~in_a).sum())), np.full(len(in_a), np.nan)
    scores = _leanings(similar, in_a)
    auc = _auc(scores, in_a)
    rng = np.random.default_rng(seed)
    reached = 0
    for _ in range(permutations):
        labels = rng.permutation(in_a)
        reached += _auc(_leanings(similar, labels), labels) >= auc - 1e-12
    a, b = scores[in_a], scores[~in_a]
    p = float(mannwhitneyu(a, b, alternative="greater").pvalue)
    permuted = (1 + reached) / (1 + permutations)
    return Shift(len(a), len(b), float(np.median(a)), float(np.median(b)), auc, p, permuted), scores


def _leanings(similar: np.ndarray, in_a: np.ndarray) -> np.ndarray:
    own = np.diag(similar)
    to_a = (similar[:, in_a].sum(axis=1) - own * in_a) / (in_a.sum() - in_a)
    to_b = (similar[:, ~in_a].sum(axis=1) - own * ~in_a) / ((~in_a).sum() - ~in_a)
    return to_a - to_b


def _auc(values: np.ndarray, in_a: np.ndarray) -> float:
    n_a, n_b = int(in_a.sum()), int((~in_a).sum())
    return float((rankdata(values)[in_a].sum() - n_a * (n_a + 1) / 2) / (n_a * n_b))
