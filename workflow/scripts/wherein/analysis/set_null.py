"""What enrichment finds where there is nothing to find: clusters whose proteins were exchanged at random."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from wherein.analysis.overrepresentation import Overlaps, tail_probability

TIE = 1 + 1e-9
"""Probabilities closer than this are the same one: (k, K, n) and (k, n, K) round differently."""


class Null(NamedTuple):
    """Probabilities of B permutations of proteins over clusters.

    Attributes:
        p: (C, T) share of permutations, the run itself counted as one, in which any set reaches so small a p in any
            cluster: Westfall and Young's single-step minimum, which holds whatever sets have in common.
        q: (C, T) pairs with so small a p in a permutation, on average, the run itself counted as one, over those that
            were found: a false discovery rate that supposes nothing of how sets overlap.
        smallest: (B,) smallest p of each permutation.
        levels: (M,) p-values that occurred, rising.
        mean_below: (M,) pairs at or below each of them in a permutation, on average.
    """

    p: np.ndarray
    q: np.ndarray
    smallest: np.ndarray
    levels: np.ndarray
    mean_below: np.ndarray

    def expected(self, p: float) -> float:
        """Pairs with a p of at most this one in a permutation, on average."""
        place = int(np.searchsorted(self.levels, p * TIE, side="right"))
        return float(self.mean_below[place - 1]) if place else 0.0


def permutation_null(sets: csr_matrix, labels: np.ndarray, found: Overlaps, permutations: int, seed: int) -> Null:
    """Exchange proteins between clusters, sizes kept, and test all sets again.

    Sets share members, so that their tests are far from independent; permutations keep all of it.

    Args:
        sets: (T, N) of `membership`.
        labels: (N,) place of each protein's cluster in `found`, negative for one in none that was asked.
        found: the counts of the clusters as they are.
        permutations: B, at least 1.
        seed: of the permutations.

    Returns:
        The null. Probabilities are worked out once for each (k, K, n) that occurs.
    """
    clusters, total = found.k.shape
    slots = _Slots(found)
    # proteins outside all clusters that were asked share one more, which is not counted
    drawn = np.where(labels < 0, clusters, labels).astype(np.int64)
    row = np.repeat(np.arange(total, dtype=np.int64), np.diff(sets.indptr)) * (clusters + 1)
    smallest = np.ones(permutations)
    counts = np.zeros(slots.size, np.int64)
    rng = np.random.default_rng(seed)
    for turn in range(permutations):
        exchanged = rng.permutation(drawn)
        k = np.bincount(row + exchanged[sets.indices], minlength=total * (clusters + 1))
        places = slots.places(k.reshape(total, clusters + 1)[:, :clusters].T)
        smallest[turn] = slots.probabilities(places).min(initial=1.0)
        counts += np.bincount(places.ravel(), minlength=slots.size)
    return _null(found, slots, counts, smallest)


class _Slots:
    """A place for each (k, K, n) that a permutation may bring about, and its probability once it was asked for."""

    def __init__(self, found: Overlaps) -> None:
        sizes, size_of = np.unique(found.K, return_inverse=True)
        drawn, drawn_of = np.unique(found.n, return_inverse=True)
        most = np.minimum(drawn[:, None], sizes[None])
        starts = np.concatenate([[0], np.cumsum(most.ravel() + 1)])
        self.size = int(starts[-1])
        self._start = starts[:-1].reshape(most.shape)[drawn_of[:, None], size_of[None]]
        self._first, self._K, self._n, self._N = (
            starts[:-1],
            np.broadcast_to(sizes[None], most.shape).ravel(),
            np.broadcast_to(drawn[:, None], most.shape).ravel(),
            found.N,
        )
        self.p = np.full(self.size, np.nan)

    def places(self, k: np.ndarray) -> np.ndarray:
        return self._start + k

    def probabilities(self, places: np.ndarray) -> np.ndarray:
        found = self.p[places]
        missing = np.isnan(found)
        if missing.any():
            new = np.unique(places[missing])
            pair = np.searchsorted(self._first, new, side="right") - 1
            self.p[new] = tail_probability(new - self._first[pair], self._K[pair], self._n[pair], self._N)
            found = self.p[places]
        return found


def _null(found: Overlaps, slots: _Slots, counts: np.ndarray, smallest: np.ndarray) -> Null:
    met = np.flatnonzero(counts)
    met = met[np.argsort(slots.p[met], kind="stable")]
    levels, below = slots.p[met], np.cumsum(counts[met]) / len(smallest)
    p = found.p.ravel()
    order = np.argsort(p, kind="stable")
    there = np.searchsorted(p[order], p[order] * TIE, side="right")
    place = np.searchsorted(levels, p[order] * TIE, side="right")
    chance = np.where(place > 0, below[np.maximum(place - 1, 0)], 0.0) if len(levels) else np.zeros(len(p))
    # the run itself is one of the permutations: a rate of 0 would say more than they can tell
    chance = (chance * len(smallest) + there) / (len(smallest) + 1)
    # a smaller p is never worth less: the least rate among all thresholds that would find it
    rate = np.minimum(np.minimum.accumulate((chance / there)[::-1])[::-1], 1.0)
    q = np.empty(len(p))
    q[order] = rate
    reached = np.searchsorted(np.sort(smallest), p * TIE, side="right")
    family = (1 + reached) / (1 + len(smallest))
    return Null(family.reshape(found.p.shape), q.reshape(found.p.shape), smallest, levels, below)
