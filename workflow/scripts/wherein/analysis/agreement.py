"""How well clusters agree with published locations."""

from typing import NamedTuple

import numpy as np


class Agreement(NamedTuple):
    """Clusters beside locations.

    Attributes:
        n: proteins compared.
        clusters, locations: numbers of each among them.
        ari: adjusted Rand index (Hubert & Arabie 1985): 1 for the same partition, 0 what chance gives.
        ami: adjusted mutual information (Vinh et al. 2010), which small clusters change less.
        chance_high: 97.5th percentile of the index where locations are dealt anew among the proteins.
        p: share of such deals, the found one among them, with an index at least as high.
    """

    n: int
    clusters: int
    locations: int
    ari: float
    ami: float
    chance_high: float
    p: float


def agreement(clusters: np.ndarray, locations: np.ndarray, permutations: int, seed: int) -> Agreement:
    """Compare two partitions of the same proteins.

    Args:
        clusters: (N,) any labels.
        locations: (N,) any labels.
        permutations: deals of the locations.
        seed: of the deals.

    Returns:
        The indices; NaN where there are fewer than two proteins or locations.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    _, own = np.unique(clusters, return_inverse=True)
    _, true = np.unique(locations, return_inverse=True)
    kinds, groups = int(true.max(initial=-1)) + 1, int(own.max(initial=-1)) + 1
    if len(own) < 2 or kinds < 2:
        return Agreement(len(own), groups, kinds, np.nan, np.nan, np.nan, np.nan)
    found = rand_index(own, true)
    rng = np.random.default_rng(seed)
    dealt = np.asarray([rand_index(own, rng.permutation(true)) for _ in range(permutations)])
    p = (1 + (dealt >= found - 1e-12).sum()) / (1 + permutations)
    high = float(np.percentile(dealt, 97.5)) if permutations else np.nan
    return Agreement(len(own), groups, kinds, found, float(adjusted_mutual_info_score(true, own)), high, float(p))


def rand_index(a: np.ndarray, b: np.ndarray) -> float:
    """Adjusted Rand index of two partitions, (N,) integers from 0; 1 where both have one cluster, or N."""
    table = np.bincount(a * (int(b.max()) + 1) + b).astype(np.float64)
    pairs = [(counts * (counts - 1) / 2).sum() for counts in (table, np.bincount(a), np.bincount(b))]
    expected = pairs[1] * pairs[2] / (len(a) * (len(a) - 1) / 2)
    most = (pairs[1] + pairs[2]) / 2
    return 1.0 if most == expected else float((pairs[0] - expected) / (most - expected))
