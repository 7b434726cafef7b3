"""How well clusters agree with published locations."""

from typing import NamedTuple

import numpy as np


class Agreement(NamedTuple):
    """Clusters beside locations.

    Attributes:
        n: proteins compared.
        clusters, locations: numbers of each among them.
        ari: adjusted Rand index (Hubert & Arabie 1985): 1 for the same partition, 0 what chance gives.
        low, high: 2.5th and 97.5th percentile of the index over bootstraps of the proteins.
        ami: adjusted mutual information (Vinh et al. 2010), which small clusters change less.
        chance_high: 97.5th percentile of the index where locations are dealt anew among the proteins.
        p: share of such deals, the found one among them, with an index at least as high.
    """

    n: int
    clusters: int
    locations: int
    ari: float
    low: float
    high: float
    ami: float
    chance_high: float
    p: float


def agreement(clusters: np.ndarray, locations: np.ndarray, permutations: int, seed: int) -> Agreement:
    """Compare two partitions of the same proteins.

    Args:
        clusters: (N,) any labels.
        locations: (N,) any labels.
        permutations: deals of the locations, and as many bootstraps of the proteins.
        seed: of both.

    Returns:
        The indices; NaN where there are fewer than two proteins or locations.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    _, own = np.unique(clusters, return_inverse=True)
    _, true = np.unique(locations, return_inverse=True)
    kinds, groups = int(true.max(initial=-1)) + 1, int(own.max(initial=-1)) + 1
    if len(own) < 2 or kinds < 2:
        return Agreement(len(own), groups, kinds, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan)
    found = rand_index(own, true)
    rng = np.random.default_rng(seed)
    dealt = np.asarray([rand_index(own, rng.permutation(true)) for _ in range(permutations)])
    p = (1 + (dealt >= found - 1e-12).sum()) / (1 + permutations)
    high = float(np.percentile(dealt, 97.5)) if permutations else np.nan
    interval = bootstrap_interval(own, true, permutations, seed)
    ami = float(adjusted_mutual_info_score(true, own))
    return Agreement(len(own), groups, kinds, found, *interval, ami, high, float(p))


def bootstrap_interval(a: np.ndarray, b: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the adjusted Rand index over the items; NaN without draws.

    The partitions stay as they are: this is how far the index hangs on the items that were there to compare. Pairs of
    an item with itself, which a bootstrap brings about and which always agree, are not counted.

    Args:
        a, b: (N,) integers from 0.
        draws: bootstraps.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(a), np.full(len(a), 1 / len(a)), size=draws)
    # a draw of one item alone has no pair
    found = [rand_index(a, b, times) for times in drawn if np.count_nonzero(times) > 1]
    if not found:
        return np.nan, np.nan
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)


def rand_index(a: np.ndarray, b: np.ndarray, times: np.ndarray | None = None) -> float:
    """Adjusted Rand index of two partitions.

    Args:
        a, b: (N,) integers from 0.
        times: (N,) how often each item is there, at least two of them once; pairs of an item with itself do not count.
            None for once each.

    Returns:
        The index; 1 where both have one cluster, or N.
    """
    weights = np.ones(len(a)) if times is None else np.asarray(times, np.float64)

    def pairs(labels: np.ndarray) -> float:
        return float((np.bincount(labels, weights) ** 2).sum() - (weights**2).sum()) / 2

    both, first, second = pairs(a * (int(b.max()) + 1) + b), pairs(a), pairs(b)
    expected = first * second / pairs(np.zeros(len(a), np.int64))
    most = (first + second) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)
