"""Agglomeration by likelihood: join what costs a mixture of Gaussians least of its likelihood.

Lu et al. 2019 (Fig 4, S4, S5) order proteins by "maximum likelihood agglomerative hierarchical clustering" and do not
write its likelihood down. Here each cluster is a Gaussian with a mean and one variance of its own, the same along all
features (Banfield & Raftery 1993, Biometrics 49, 803; Fraley 1998, SIAM J Sci Comput 20, 270), whose variance takes one
pseudo-observation at the variance of all points, since a single point has none. With one variance for all clusters the
same greedy search is Ward's linkage; with own ones tight clusters are kept apart and loose ones may be wide.
"""

import numpy as np

PSEUDO_OBSERVATIONS = 1.0
"""Points that the variance of all points counts for in the variance of a cluster."""

COMPACT_AT = 0.7
"""Share of clusters left at which the arrays are made smaller."""


def likelihood_tree(points: np.ndarray, pseudo: float = PSEUDO_OBSERVATIONS) -> np.ndarray:
    """Join points greedily by the least loss of likelihood.

    Args:
        points: (N, D), features on one scale; N is 2 at least.
        pseudo: weight of the variance of all points in that of a cluster, in points.

    Returns:
        (N - 1, 4) float64 as scipy writes a linkage. A height is what a join costs, in units of -2 log likelihood over
        D, less the cheapest join; a join that costs less than one before it takes that one's height, so that heights
        never fall.
    """
    points = np.asarray(points, np.float64)
    points = points - points.mean(axis=0)
    number, width = points.shape
    total = float((points**2).sum()) / number
    if not width or total <= 0:
        return _chain(number)
    # squared distances in units of the variance of all points
    state = _Clusters(points / np.sqrt(total), pseudo)
    rows, costs = np.zeros((number - 1, 4)), np.zeros(number - 1)
    for join in range(number - 1):
        if state.active <= COMPACT_AT * len(state.count) and state.active > 1:
            state.compact()
        a, b, costs[join] = state.cheapest()
        rows[join] = (*sorted((state.node[a], state.node[b])), 0, state.count[a] + state.count[b])
        state.join(a, b, number + join)
    rows[:, 2] = np.maximum.accumulate(costs - costs.min())
    return rows


def criterion(count: np.ndarray, scatter: np.ndarray, pseudo: float) -> np.ndarray:
    """-2 log likelihood over D of clusters at their best mean and variance, up to what all partitions share.

    Args:
        count: points of each cluster.
        scatter: sum of their squared distances from their mean, in units of the mean over all points.
        pseudo: weight of the variance of all points.

    Returns:
        Of the same shape.
    """
    return (count + pseudo) * np.log((scatter + pseudo) / (count + pseudo))


class _Clusters:
    """Clusters that are left, and for each the cheapest partner known.

    A stored cost is exact, or (`stale`) no higher than the true one: partners only become dearer by being joined
    elsewhere, and a new cluster that is cheaper is noted at once. So the lowest stored cost, once exact, is the
    cheapest join of all.
    """

    def __init__(self, points: np.ndarray, pseudo: float) -> None:
        number = len(points)
        self.pseudo = pseudo
        self.mean = points.copy()
        self.norm = np.einsum("nd,nd->n", points, points)
        self.count, self.scatter = np.ones(number), np.zeros(number)
        self.value = criterion(self.count, self.scatter, pseudo)
        self.node = np.arange(number)
        self.there = np.ones(number, bool)
        self.active = number
        self.partner = np.zeros(number, np.int64)
        self.cost = np.empty(number)
        self.stale = np.zeros(number, bool)
        for start in range(0, number, 1024):
            own = slice(start, min(start + 1024, number))
            squared = np.maximum(self.norm[own, None] + self.norm - 2 * self.mean[own] @ self.mean.T, 0)
            squared[np.arange(squared.shape[0]), np.arange(own.start, own.stop)] = np.inf
            self.partner[own] = squared.argmin(axis=1)
            self.cost[own] = criterion(2.0, squared.min(axis=1) / 2, pseudo) - 2 * self.value[own]

    def costs_of(self, one: int) -> np.ndarray:
        """What joining `one` with each other cluster costs; infinite with itself and with those that are gone."""
        squared = np.maximum(self.norm + self.norm[one] - 2 * self.mean @ self.mean[one], 0)
        count = self.count + self.count[one]
        scatter = self.scatter + self.scatter[one] + squared * self.count * self.count[one] / count
        cost = criterion(count, scatter, self.pseudo) - self.value - self.value[one]
        cost[~self.there] = np.inf
        cost[one] = np.inf
        return cost

    def cheapest(self) -> tuple[int, int, float]:
        while True:
            one = int(self.cost.argmin())
            if not self.stale[one]:
                return one, int(self.partner[one]), float(self.cost[one])
            cost = self.costs_of(one)
            self.partner[one] = cost.argmin()
            self.cost[one] = cost[self.partner[one]]
            self.stale[one] = False

    def join(self, a: int, b: int, node: int) -> None:
        """Put cluster `b` into `a`."""
        count = self.count[a] + self.count[b]
        gap = self.mean[a] - self.mean[b]
        self.scatter[a] += self.scatter[b] + float(gap @ gap) * self.count[a] * self.count[b] / count
        self.mean[a] += (self.mean[b] - self.mean[a]) * (self.count[b] / count)
        self.norm[a] = float(self.mean[a] @ self.mean[a])
        self.count[a], self.node[a] = count, node
        self.value[a] = criterion(count, self.scatter[a], self.pseudo)
        self.there[b], self.cost[b] = False, np.inf
        self.active -= 1
        self.stale |= (self.partner == a) | (self.partner == b)
        self.stale[b] = False
        if self.active < 2:
            return
        cost = self.costs_of(a)
        self.partner[a] = cost.argmin()
        self.cost[a], self.stale[a] = cost[self.partner[a]], False
        better = cost < self.cost
        better[a] = False
        self.cost[better], self.partner[better], self.stale[better] = cost[better], a, False

    def compact(self) -> None:
        place = np.cumsum(self.there) - 1
        self.partner = np.where(self.there[self.partner], place[self.partner], 0)
        for name in ("mean", "norm", "count", "scatter", "value", "node", "partner", "cost", "stale"):
            setattr(self, name, getattr(self, name)[self.there])
        self.there = np.ones(self.active, bool)


def _chain(number: int) -> np.ndarray:
    """Points that are all alike, joined one after the other at height 0."""
    rows = np.zeros((number - 1, 4))
    rows[:, 0] = [0, *range(number, 2 * number - 2)]
    rows[:, 1] = np.arange(1, number)
    rows[:, :2].sort(axis=1)
    rows[:, 3] = np.arange(2, number + 1)
    return rows
