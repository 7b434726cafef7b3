"""Clades of a tree that are asked for by the points they hold."""

from collections.abc import Sequence

import numpy as np


def leaves_of(tree: np.ndarray, node: int) -> np.ndarray:
    """Points below a node.

    Args:
        tree: (N - 1, 4) as scipy writes it.
        node: number of a point, or N + the number of a join.

    Returns:
        int64, ascending.
    """
    number = len(tree) + 1
    waiting, found = [int(node)], []
    while waiting:
        node = waiting.pop()
        if node < number:
            found.append(node)
        else:
            waiting += [int(tree[node - number, 0]), int(tree[node - number, 1])]
    return np.sort(np.asarray(found, np.int64))


def smallest_clade(tree: np.ndarray, holds: Sequence[int], size: int = 1) -> int:
    """The lowest node that has some points below it, and at least so many.

    Args:
        tree: (N - 1, 4) as scipy writes it.
        holds: points, one at least.
        size: fewest points below the node; the root where there are not so many.

    Returns:
        Number of a point, or N + the number of a join.
    """
    number = len(tree) + 1
    parent = np.full(2 * number - 1, -1, np.int64)
    for join, pair in enumerate(tree[:, :2].astype(np.int64)):
        parent[pair] = number + join
    paths = []
    for point in dict.fromkeys(int(one) for one in holds):
        path = [point]
        while parent[path[-1]] >= 0:
            path.append(int(parent[path[-1]]))
        paths.append(path)
    shared = set(paths[0]).intersection(*paths[1:])
    for node in paths[0]:
        if node in shared and (1 if node < number else tree[node - number, 3]) >= size:
            return node
    return 2 * number - 2


def best_clade_overlap(tree: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """How much each group of points has in common with the clade that is most like it.

    Args:
        tree: (N - 1, 4) as scipy writes it.
        groups: (N, G) bool, members of each group.

    Returns:
        (G,) float64, the highest Jaccard index with any clade or single point; NaN for a group without members.
    """
    number = len(tree) + 1
    hits = np.zeros((2 * number - 1, groups.shape[1]))
    hits[:number] = groups
    size = np.ones(2 * number - 1)
    for join, (a, b) in enumerate(tree[:, :2].astype(np.int64)):
        hits[number + join] = hits[a] + hits[b]
        size[number + join] = size[a] + size[b]
    members = groups.sum(axis=0)
    overlap = (hits / (size[:, None] + members - hits)).max(axis=0)
    return np.where(members > 0, overlap, np.nan)
