"""Which sets a cluster holds more of than chance: all sets against all clusters at once, by the hypergeometric test."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.stats import false_discovery_control, hypergeom


class Overlaps(NamedTuple):
    """Counts of C clusters against T sets, and what they are worth.

    Attributes:
        k: (C, T) int64, members in common.
        K: (T,) int64, members of each set in the universe.
        n: (C,) int64, members of each cluster.
        N: members of the universe.
        p: (C, T) float64, probability of k or more in common if the cluster were drawn from the universe at random.
    """

    k: np.ndarray
    K: np.ndarray
    n: np.ndarray
    N: int
    p: np.ndarray


def membership(groups: Sequence[Iterable[int]], universe: int) -> csr_matrix:
    """Who belongs to which group.

    Args:
        groups: for each group the places of its members, 0 to universe - 1; one that is named twice counts once.
        universe: number of members that there are.

    Returns:
        (groups, universe) int32, 1 for a member, sorted places without duplicates.

    Raises:
        ValueError: a place lies outside the universe.
    """
    rows = [np.unique(np.fromiter(own, np.int64)) for own in groups]
    sizes = np.array([len(own) for own in rows], np.int64)
    places = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    if len(places) and (places.min() < 0 or places.max() >= universe):
        raise ValueError(f"members {places.min()} to {places.max()}: the universe has the places 0 to {universe - 1}")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return csr_matrix((np.ones(len(places), np.int32), places, starts), shape=(len(rows), universe))


def overrepresentation(sets: csr_matrix, clusters: csr_matrix) -> Overlaps:
    """Test every set in every cluster, one-sided, against drawing without replacement (Fisher's exact test).

    Args:
        sets: (T, N) of `membership`.
        clusters: (C, N) of `membership`, over the same universe.

    Returns:
        Counts and probabilities. The p-values are those of `gseapy.enrich`, to the last bit: both ask
        `scipy.stats.hypergeom.sf(k - 1, N, K, n)`, here once for each distinct (k, K, n), of which there are few.

    Raises:
        ValueError: sets and clusters are of different universes.
    """
    if sets.shape[1] != clusters.shape[1]:
        raise ValueError(f"sets of {sets.shape[1]} members and clusters of {clusters.shape[1]}: give one universe")
    size, drawn, total = _sizes(sets), _sizes(clusters), sets.shape[1]
    common = (clusters @ sets.T).tocoo()
    k = np.zeros(common.shape, np.int64)
    p = np.ones(common.shape)
    k[common.row, common.col] = common.data
    p[common.row, common.col] = tail_probability(common.data, size[common.col], drawn[common.row], total)
    return Overlaps(k, size, drawn, total, p)


def tail_probability(k: np.ndarray, K: np.ndarray, n: np.ndarray, N: int) -> np.ndarray:
    """Probability of k or more of a set of K among n drawn from N, each distinct triple worked out once.

    Args:
        k, K, n: (M,) integers.
        N: size of the universe.

    Returns:
        (M,) float64, at most 1.
    """
    k, K, n = (np.asarray(values, np.int64) for values in (k, K, n))
    if not len(k):
        return np.zeros(0)
    keys = (k * (K.max() + 1) + K) * (n.max() + 1) + n
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    # rounding of the sum of many terms may leave a trace above 1
    return np.minimum(hypergeom.sf(k[first] - 1, N, K[first], n[first]), 1.0)[inverse]


def odds_ratios(found: Overlaps) -> np.ndarray:
    """Odds of a cluster's members to be in a set, over those of the others.

    Args:
        found: of `overrepresentation`.

    Returns:
        (C, T) float64, with 1/2 added to each of the four counts (Haldane and Anscombe) so that it is finite.
    """
    k, K, n = found.k, found.K[None], found.n[:, None]
    return ((k + 0.5) * (found.N - K - n + k + 0.5)) / ((K - k + 0.5) * (n - k + 0.5))


def over_all(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's correction over all tests of a question.

    Args:
        p: any shape; every element was a test, those without anything in common included.

    Returns:
        q in the shape of p.
    """
    return false_discovery_control(p.ravel()).reshape(p.shape) if p.size else p.copy()


def over_overlapping(found: Overlaps) -> np.ndarray:
    """What `gseapy.enrich` reports: the same correction, cluster by cluster, over the sets with a member in common.

    Args:
        found: of `overrepresentation`.

    Returns:
        (C, T) float64, 1 where nothing is in common. Smaller than it should be: sets without overlap were tested too.
    """
    q = np.ones(found.p.shape)
    for row, (common, own) in enumerate(zip(found.k > 0, found.p, strict=True)):
        if common.any():
            q[row, common] = false_discovery_control(own[common])
    return q


def _sizes(groups: csr_matrix) -> np.ndarray:
    return np.diff(groups.indptr).astype(np.int64)
