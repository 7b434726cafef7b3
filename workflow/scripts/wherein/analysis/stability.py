"""How well clusters come again when their points, or the features they are made from, are drawn anew.

Hennig 2007 (Comput Stat Data Anal 52, 258): the clustering is repeated on a bootstrap sample, and each cluster is
compared, on the points drawn, with the cluster that is most like it. A mean Jaccard index below 0.6 means that the
cluster is not to be trusted, 0.6 to 0.75 that there is a pattern whose members are in doubt, above 0.75 that it is
valid and above 0.85 that it is highly stable.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix


class Stability(NamedTuple):
    """Of each cluster, in the order of its number.

    Attributes:
        mean: mean over the draws of the highest Jaccard index, NaN for a cluster that no draw has a member of.
        low: the 10th percentile of these.
        chance: the same mean where the new clusters' members are dealt anew among the points drawn.
        draws: draws with a member of the cluster.
    """

    mean: np.ndarray
    low: np.ndarray
    chance: np.ndarray
    draws: np.ndarray


def best_overlap(labels: np.ndarray, again: np.ndarray, groups: int) -> np.ndarray:
    """The highest Jaccard index of each cluster with one of another clustering of the same points.

    Args:
        labels: (N,) cluster of each point, 0 to groups - 1.
        again: (N,) cluster of each point in the other clustering, from 0.
        groups: number of clusters.

    Returns:
        (groups,) float64, NaN for a cluster without points.
    """
    shape = (groups, int(again.max(initial=0)) + 1)
    common = csr_matrix((np.ones(len(labels)), (labels, again)), shape=shape).tocoo()
    ours, theirs = np.bincount(labels, minlength=shape[0]), np.bincount(again, minlength=shape[1])
    index = common.data / (ours[common.row] + theirs[common.col] - common.data)
    found = np.zeros(groups)
    np.maximum.at(found, common.row, index)
    return np.where(ours > 0, found, np.nan)


def resamples(
    number: int, features: int, resample: str, draws: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None, np.random.Generator]]:
    """Draw points or features anew.

    Args:
        number: points.
        features: of each.
        resample: `proteins`, points drawn with replacement and each taken once (63 % of them), or `features`, drawn
            with replacement, one that is drawn twice counting twice.
        draws: how often.
        seed: of the draws.

    Yields:
        Places of the points and of the features (None for all), and a generator for what chance gives.

    Raises:
        ValueError: `resample` is neither.
    """
    if resample not in ("proteins", "features"):
        raise ValueError(f"resample {resample!r}: allowed are proteins, features")
    for draw in range(draws):
        rng = np.random.default_rng((seed, draw))
        if resample == "proteins":
            yield np.unique(rng.integers(0, number, number)), None, rng
        else:
            yield np.arange(number), np.sort(rng.integers(0, features, features)), rng


def summarized(overlap: np.ndarray, chance: np.ndarray) -> Stability:
    """What the draws say together: (draws, groups) of `best_overlap` as found and as chance gives it, NaN allowed."""
    seen = np.isfinite(overlap).sum(axis=0)
    mean, low, dealt = (np.full(overlap.shape[1], np.nan) for _ in range(3))
    for one in np.flatnonzero(seen):
        drawn = np.isfinite(overlap[:, one])
        mean[one], dealt[one] = overlap[drawn, one].mean(), chance[drawn, one].mean()
        low[one] = np.percentile(overlap[drawn, one], 10)
    return Stability(mean, low, dealt, seen)
