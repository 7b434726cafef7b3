"""Communities of a graph of nearest neighbours, by the Leiden algorithm."""

from collections import deque

import numpy as np
from scipy.sparse import csr_matrix

THETA = 0.01
"""Randomness of the refinement, as Traag et al. 2019 set it."""

MOST_ROUNDS = 50
"""Levels of a run, and runs from the partition that the one before found, after which it is taken as it is."""


def shared_neighbours(neighbours: np.ndarray) -> csr_matrix:
    """Graph of nearest neighbours, weighted by how much two neighbourhoods have in common.

    Args:
        neighbours: (N, K) integers, nearest neighbours of each point, the point itself among them.

    Returns:
        (N, N) symmetric, without a diagonal: Jaccard index of the two neighbourhoods (Levine et al. 2015, PhenoGraph)
        for each pair of which one is among the other's neighbours.
    """
    number, count = neighbours.shape
    rows = np.repeat(np.arange(number), count)
    member = csr_matrix((np.ones(number * count), (rows, neighbours.ravel())), shape=(number, number))
    member.data[:] = 1
    linked = member.maximum(member.T)
    common = (member @ member.T).multiply(linked).tocsr()
    size = np.asarray(member.sum(axis=1)).ravel()
    common = common.tocoo()
    weight = common.data / (size[common.row] + size[common.col] - common.data)
    apart = common.row != common.col
    return csr_matrix((weight[apart], (common.row[apart], common.col[apart])), shape=(number, number))


def modularity(graph: csr_matrix, labels: np.ndarray, resolution: float) -> float:
    """Modularity of a partition (Newman & Girvan 2004; with a resolution, Reichardt & Bornholdt 2006).

    Args:
        graph: (N, N) symmetric weights.
        labels: (N,) community of each node, any integers.
        resolution: weight of what chance gives; more for smaller communities.
    """
    total = float(graph.sum())
    if not total:
        return 0.0
    _, codes = np.unique(labels, return_inverse=True)
    found = graph.tocoo()
    inside = found.data[codes[found.row] == codes[found.col]].sum()
    strength = np.bincount(codes, weights=np.asarray(graph.sum(axis=1)).ravel())
    return float(inside / total - resolution * (strength**2).sum() / total**2)


def leiden(graph: csr_matrix, resolution: float, seed: int) -> np.ndarray:
    """Communities of greatest modularity that the Leiden algorithm finds (Traag et al. 2019, Sci Rep 9, 5233).

    Each round moves nodes to the neighbouring community that gains most, until no move gains; splits each community
    into well-connected parts by merging single nodes at random in favour of what gains more; and goes on with the
    parts as nodes, which begin in the communities they were split from. Runs are repeated from what the last one found
    while modularity grows. Unlike Louvain's, communities are connected.

    Args:
        graph: (N, N) symmetric non-negative weights without a diagonal.
        resolution: as for `modularity`.
        seed: of the order of visits and of the refinement.

    Returns:
        (N,) int64, communities numbered from 0, the largest first, of equals the one with the first node.
    """
    rng = np.random.default_rng(seed)
    number = graph.shape[0]
    membership, quality = np.arange(number), -np.inf
    for _ in range(MOST_ROUNDS if graph.sum() else 0):
        found = _improved(graph, membership, resolution, rng)
        reached = modularity(graph, found, resolution)
        if reached <= quality + 1e-9:
            break
        membership, quality = found, reached
    sizes = np.bincount(membership)
    first = np.full(len(sizes), number)
    np.minimum.at(first, membership, np.arange(number))
    rank = np.empty(len(sizes), np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return rank[membership]


def _improved(graph: csr_matrix, start: np.ndarray, resolution: float, rng: np.random.Generator) -> np.ndarray:
    """One run of the algorithm from a partition, through all its levels."""
    membership, labels, level = np.arange(graph.shape[0]), start, graph.tocsr()
    strength = np.asarray(graph.sum(axis=1)).ravel()
    share = resolution / float(strength.sum())
    for _ in range(MOST_ROUNDS):
        network = _Network(level, strength, share)
        labels = _compact(network.move(labels, rng))
        if labels.max() + 1 == level.shape[0]:
            break
        parts = _compact(network.refine(labels, rng))
        if parts.max() + 1 == level.shape[0]:
            # no two nodes of a community belong together more than by chance: go on with the communities themselves
            parts = labels
        membership = parts[membership]
        home = np.zeros(parts.max() + 1, np.int64)
        home[parts] = labels
        member = csr_matrix((np.ones(len(parts)), (np.arange(len(parts)), parts)))
        level = (member.T @ level @ member).tocsr()
        strength = np.bincount(parts, weights=strength)
        labels = home
    return _compact(labels[membership])


def _compact(labels: np.ndarray) -> np.ndarray:
    return np.unique(labels, return_inverse=True)[1]


class _Network:
    """One level of the graph. Moving a node to a community gains `weight to it - share x strengths of both`."""

    def __init__(self, graph: csr_matrix, strength: np.ndarray, share: float) -> None:
        self.number = graph.shape[0]
        starts, ends, weights = graph.indptr.tolist(), graph.indices.tolist(), graph.data.tolist()
        self.links = [
            [(ends[k], weights[k]) for k in range(starts[i], starts[i + 1]) if ends[k] != i] for i in range(self.number)
        ]
        self.strength = strength.tolist()
        self.share = share

    def move(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Move nodes while a move gains; a node is looked at again when a neighbour left for elsewhere."""
        label = labels.tolist()
        strength, share = self.strength, self.share
        total = [0.0] * self.number
        size = [0] * self.number
        for node, own in enumerate(label):
            total[own] += strength[node]
            size[own] += 1
        empty = [name for name in range(self.number) if not size[name]]
        queue = deque(rng.permutation(self.number).tolist())
        waiting = [True] * self.number
        while queue:
            node = queue.popleft()
            waiting[node] = False
            own, mine = label[node], strength[node]
            towards: dict[int, float] = {own: 0.0}
            for other, weight in self.links[node]:
                towards[label[other]] = towards.get(label[other], 0.0) + weight
            total[own] -= mine
            size[own] -= 1
            best, most = own, towards[own] - share * mine * total[own]
            for name, weight in towards.items():
                gain = weight - share * mine * total[name]
                if gain > most + 1e-12:
                    best, most = name, gain
            if most < -1e-12 and size[own]:
                # alone is better than anywhere
                best = empty.pop()
            total[best] += mine
            size[best] += 1
            if best == own:
                continue
            if not size[own]:
                empty.append(own)
            label[node] = best
            for other, _ in self.links[node]:
                if label[other] != best and not waiting[other]:
                    waiting[other] = True
                    queue.append(other)
        return np.asarray(label)

    def refine(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Split communities into parts: merge single, well-connected nodes within them, more likely where it gains."""
        label = labels.tolist()
        strength, share = self.strength, self.share
        whole = np.bincount(labels, weights=np.asarray(strength)).tolist()
        part = list(range(self.number))
        total = list(strength)
        single = [True] * self.number
        # weight of each part's links to the rest of its community
        outward = [sum(w for other, w in self.links[node] if label[other] == label[node]) for node in part]
        for node in rng.permutation(self.number).tolist():
            mine, home = strength[node], whole[label[node]]
            if not single[node] or outward[node] < share * mine * (home - mine):
                continue
            towards: dict[int, float] = {}
            for other, weight in self.links[node]:
                if label[other] == label[node]:
                    towards[part[other]] = towards.get(part[other], 0.0) + weight
            choices, gains = [node], [0.0]
            for name, weight in towards.items():
                gain = weight - share * mine * total[name]
                if gain >= 0 and outward[name] >= share * total[name] * (home - total[name]):
                    choices.append(name)
                    gains.append(gain)
            if len(choices) == 1:
                continue
            # gains in units of a node's mean link, so that the randomness does not hang on the scale of the weights
            scale = max(gains) or 1.0
            odds = np.exp((np.asarray(gains) / scale - 1) / THETA)
            chosen = choices[int(rng.choice(len(choices), p=odds / odds.sum()))]
            if chosen == node:
                continue
            part[node] = chosen
            total[chosen] += mine
            outward[chosen] += outward[node] - 2 * towards[chosen]
            single[chosen] = False
        return np.asarray(part)
