"""Whether the labels of a protein are those of its neighbours: support of label sets, and what chance supports."""

from typing import NamedTuple

import numpy as np

FEWEST = 2
"""Proteins that have to carry a set of several labels before it is suggested to others."""

MOST_SETS = 200
"""Most sets of several labels that are suggested, the most frequent ones."""


ENOUGH = 20
"""Deals of labels that contradict an item as much as the truth, after which its p is known well enough."""


class Support(NamedTuple):
    """What neighbours say of each item.

    Attributes:
        annotated: (N,) support of the item's own label set, 0 to 1; NaN without labels or neighbours.
        suggested: (N,) support of the set that is supported best.
        best: (N,) place of that set among the candidates; -1 where there is none. Where no candidate is supported
            better than the item's own set, that is the suggestion, and `best` is -1 too.
        score: (N,) `suggested - annotated`, 0 where the own set is the best supported one.
    """

    annotated: np.ndarray
    suggested: np.ndarray
    best: np.ndarray
    score: np.ndarray


def dice(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How alike label sets are: twice the labels in common over the labels of both (Dice 1945).

    Args:
        a: (N, C) bool.
        b: (M, C) bool.

    Returns:
        (N, M) float32; 0 for two empty sets.
    """
    common = a.astype(np.float32) @ b.T.astype(np.float32)
    sizes = a.sum(axis=1)[:, None] + b.sum(axis=1)[None]
    return np.divide(2 * common, sizes, out=np.zeros_like(common), where=sizes > 0, dtype=np.float32)


def candidate_sets(labels: np.ndarray) -> np.ndarray:
    """Label sets that may be suggested: each label that is in use, alone, and sets that several items carry.

    Args:
        labels: (N, C) bool.

    Returns:
        (S, C) bool, single labels first, in their order.
    """
    single = np.eye(labels.shape[1], dtype=bool)[labels.any(axis=0)]
    found, counts = np.unique(labels, axis=0, return_counts=True)
    several = (found.sum(axis=1) > 1) & (counts >= FEWEST)
    order = np.argsort(-counts[several], kind="stable")[:MOST_SETS]
    return np.concatenate([single, found[several][order]])


def vote_weights(similarity: np.ndarray, index: np.ndarray) -> np.ndarray:
    """How much each neighbour's labels count: its similarity, those that are unlike not at all.

    Args:
        similarity: (N, k) cosines.
        index: (N, k) neighbours, -1 for none.

    Returns:
        (N, k) float32, rows that add up to 1, or to 0 where no neighbour counts.
    """
    weights = np.where((index >= 0) & np.isfinite(similarity), np.maximum(similarity, 0), 0)
    total = weights.sum(axis=1, keepdims=True)
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0).astype(np.float32)


class Votes:
    """Votes of neighbours on label sets.

    Args:
        labels: (N, C) bool, sets of all items; those without any have no vote and are not judged.
        index: (N, k) neighbours of each item, -1 for none; they all have labels.
        weights: (N, k) of `vote_weights`.
    """

    def __init__(self, labels: np.ndarray, index: np.ndarray, weights: np.ndarray) -> None:
        self.labels = labels
        self.index, self.weights = np.maximum(index, 0), weights
        self.sets, self.codes = np.unique(labels, axis=0, return_inverse=True)
        self.codes = self.codes.ravel()
        self.candidates = candidate_sets(labels)
        self.to_candidates = dice(self.sets, self.candidates)
        self.to_sets = dice(self.sets, self.sets)
        self.judged = (weights.sum(axis=1) > 0) & labels.any(axis=1)

    def support(self) -> Support:
        """Support of each item's own set and of the best candidate, by the similarity of sets (`dice`).

        The support of a set is the mean over the neighbours, by weight, of how alike it is to their sets: 1 if all of
        them carry just this set.
        """
        heard = self.weights.sum(axis=1) > 0
        every = np.arange(len(self.labels))
        supports = self._candidates(self.codes[self.index], every)
        best = supports.argmax(axis=1) if supports.shape[1] else np.full(len(self.labels), -1)
        most = supports.max(axis=1, initial=0)
        own = self._own(self.codes[self.index], every)
        better = most > own + 1e-6
        annotated = np.where(self.judged, own, np.nan)
        unlabelled = heard & ~self.labels.any(axis=1)
        suggested = np.where(self.judged, np.maximum(most, own), np.where(unlabelled, most, np.nan))
        score = np.where(self.judged, np.where(better, most - own, 0.0), np.nan)
        best = np.where((self.judged & better) | (unlabelled & (most > 0)), best, -1)
        return Support(annotated, suggested, best, score)

    def p_values(self, permutations: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """How often chance contradicts an item's labels as much: labels dealt anew over the other items.

        The item keeps its labels, and the sets of all others are dealt anew over them, so that each is as frequent as
        it is. Neighbours that agree on what the item is not annotated with are then rare. Deals for an item end with
        the ENOUGH-th whose score is at least as high; p is then ENOUGH over the deals (Besag and Clifford 1991), and
        otherwise the share of deals, the true one among them, whose score is at least as high.

        Args:
            permutations: most deals.
            seed: of the deals.

        Returns:
            p: (N,) float64, NaN for items that are not judged.
            deals: (N,) int64, how many there were for each.
        """
        score = self.support().score
        there = np.flatnonzero(self.labels.any(axis=1))
        p, deals = np.full(len(score), np.nan), np.zeros(len(score), np.int64)
        reached = np.zeros(len(score), np.int64)
        active = np.flatnonzero(self.judged)
        rng = np.random.default_rng(seed)
        for deal in range(1, permutations + 1):
            if not len(active):
                break
            dealt = self.codes.copy()
            turn = rng.permutation(len(there))
            dealt[there] = self.codes[there[turn]]
            # where an item's own set went, the set that it was given: then the deal is one of the others alone
            place = np.full(len(score), -1)
            place[there[turn]] = there
            reached[active] += self._dealt(dealt, place, active) >= score[active] - 1e-6
            deals[active] = deal
            over = active[reached[active] >= ENOUGH]
            p[over] = ENOUGH / deal
            active = active[reached[active] < ENOUGH]
        p[active] = (1 + reached[active]) / (1 + deals[active])
        return p, deals

    def _dealt(self, dealt: np.ndarray, place: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Scores of some items where sets are dealt; `place` (N,) is where each item's own set went."""
        heard = dealt[self.index[rows]]
        own, column = np.nonzero((self.index[rows] == place[rows, None]) & (self.weights[rows] > 0))
        heard[own, column] = dealt[rows[own]]
        most = self._candidates(heard, rows).max(axis=1, initial=0)
        return np.maximum(most - self._own(heard, rows), 0.0)

    def _candidates(self, heard: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(n, S) support of each candidate for some items, whose neighbours carry the sets `heard` (n, k)."""
        found = np.zeros((len(rows), len(self.candidates)), np.float32)
        # one neighbour after the other: no array of items x neighbours x sets is ever held
        for rank in range(heard.shape[1]):
            found += self.weights[rows, rank, None] * self.to_candidates[heard[:, rank]]
        return found

    def _own(self, heard: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(n,) support of the own sets of some items, whose neighbours carry the sets `heard` (n, k)."""
        return (self.weights[rows] * self.to_sets[heard, self.codes[rows, None]]).sum(axis=1).astype(float)


def finding(annotated: np.ndarray, suggested: np.ndarray) -> str:
    """What is wrong with a label set, if the suggested one is right.

    Args:
        annotated: (C,) bool.
        suggested: (C,) bool.

    Returns:
        `fits`, `no_label` (nothing is annotated), `missing` (suggested has more), `extra` (annotated has more),
        `partly` (some are in both), `wrong` (none is).
    """
    if not annotated.any():
        return "no_label"
    if (annotated == suggested).all():
        return "fits"
    if not (annotated & suggested).any():
        return "wrong"
    if (annotated <= suggested).all():
        return "missing"
    return "extra" if (suggested <= annotated).all() else "partly"


def whitened(vectors: np.ndarray, most: int) -> np.ndarray:
    """Principal components of equal variance: what few proteins differ in counts as much as what all differ in.

    Args:
        vectors: (N, D) finite.
        most: most components; at most a quarter of N are taken, since of more, each point is as far from all others.

    Returns:
        (N, K) float64, mean 0 and standard deviation 1.
    """
    from wherein.analysis.projection import principal_components

    count = min(most, max(2, len(vectors) // 4))
    scores, _, _ = principal_components(vectors, count)
    scores = scores.astype(np.float64)
    spread = scores.std(axis=0)
    return np.divide(scores, spread, out=np.zeros_like(scores), where=spread > 0)
