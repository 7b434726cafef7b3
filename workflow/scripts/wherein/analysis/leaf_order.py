"""The order of a tree's leaves: the optimal one where that is affordable, an optimal one of its clades beyond.

scipy's `optimal_leaf_ordering` (1.17) often returns another order than the optimal one that it computes
(https://github.com/scipy/scipy/issues/11227): 27 of 40 trees of nine points came out wrong.
"""

import numpy as np
from scipy.cluster.hierarchy import leaves_list
from scipy.spatial.distance import squareform

from wherein.analysis.distances import condensed_distances

CLADES = 300
"""Clades whose order is sought at once in a tree too large for the optimal order: a blink each time."""

AT_ONCE = 1 << 18
"""Sums of a min-plus product that are held at once; more are taken one term after the other."""


def ordered_tree(
    tree: np.ndarray, points: np.ndarray, metric: str, order_up_to: int, distances: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the branches of a tree so that neighbouring leaves are alike.

    Up to `order_up_to` leaves the order is the one with the least sum of distances between neighbours (Bar-Joseph et
    al. 2001). Of a larger tree, the means of its CLADES highest clades are brought into that order, then the leaves
    within each clade in the same way, and each clade is laid with the end first that is nearer to its neighbour.

    Args:
        tree: (N - 1, 4) as scipy writes it.
        points: (N, D), what the tree was made from.
        metric: `euclidean`, `cosine` or `correlation`.
        order_up_to: most leaves whose optimal order is sought; 0 leaves the tree as it is.
        distances: (N (N - 1) / 2,) distances of the points; found here where needed and None.

    Returns:
        tree: the same joins, branches turned.
        leaf: (N,) int64, place of each point from left to right.
    """
    number = len(tree) + 1
    if order_up_to > 2 and number > 2:
        sequence = _order(tree, np.asarray(points, np.float64), metric, min(order_up_to, number), distances)
        tree = _turned(tree, sequence)
    leaf = np.empty(number, np.int64)
    leaf[leaves_list(tree)] = np.arange(number)
    return tree, leaf


def optimal_order(tree: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """The order of leaves that a tree allows with the least sum of distances between neighbours.

    Dynamic programming over the tree as Bar-Joseph et al. 2001 (Bioinformatics 17, S22) have it: the best order of a
    clade that begins with one leaf and ends with another follows from those of its two branches. Each step is two
    min-plus products of matrices, in all of the order of N^3.

    Args:
        tree: (N - 1, 4) as scipy writes it, N at least 2.
        distances: (N (N - 1) / 2,) condensed.

    Returns:
        (N,) int64, the points from left to right.
    """
    number = len(tree) + 1
    plain = leaves_list(tree).astype(np.int64)
    square = squareform(distances)[np.ix_(plain, plain)]
    # in the plain order the leaves of a clade are neighbours: [first, middle) its left branch, [middle, last) its right
    place = np.empty(number, np.int64)
    place[plain] = np.arange(number)
    nodes = tree[:, :2].astype(np.int64)
    first, last = np.empty(2 * number - 1, np.int64), np.empty(2 * number - 1, np.int64)
    first[:number], last[:number] = place, place + 1
    best: list[np.ndarray] = []
    for join, (left, right) in enumerate(nodes):
        first[number + join], last[number + join] = first[left], last[right]
        here = _through(_ends(best, left, number), square[first[left] : last[left], first[right] : last[right]])
        best.append(_through(_ends(best, right, number), here.T).T)
    order: list[int] = []
    start, stop = np.unravel_index(int(best[-1].argmin()), best[-1].shape)
    middle = first[nodes[-1][1]]
    # each clade still to be laid out, with the leaf it begins with and the one it ends with
    waiting = [(2 * number - 2, int(start), int(middle + stop))]
    while waiting:
        node, begin, end = waiting.pop()
        if node < number:
            order.append(begin)
            continue
        left, right = nodes[node - number]
        if begin >= first[right]:
            left, right = right, left
        inner = _from(best, left, number, begin - first[left])[:, None]
        outer = _from(best, right, number, end - first[right])[None]
        sums = inner + square[first[left] : last[left], first[right] : last[right]] + outer
        out, into = np.unravel_index(int(sums.argmin()), sums.shape)
        waiting.append((right, int(first[right] + into), end))
        waiting.append((left, begin, int(first[left] + out)))
    return plain[order]


def _ends(best: list[np.ndarray], node: int, number: int) -> np.ndarray | None:
    """Least sums of a clade by its first leaf, in the left branch, and its last, in the right; None for a leaf."""
    return None if node < number else best[node - number]


def _through(ends: np.ndarray | None, beyond: np.ndarray) -> np.ndarray:
    """Extend a clade: least sums from each of its leaves through all others to what `beyond` reaches from the last."""
    if ends is None:
        return beyond
    split = ends.shape[0]
    return np.concatenate([_min_plus(ends, beyond[split:]), _min_plus(ends.T, beyond[:split])])


def _from(best: list[np.ndarray], node: int, number: int, leaf: int) -> np.ndarray:
    """Least sums of a clade between one of its leaves and each other; infinite where no order has both at the ends."""
    if node < number:
        return np.zeros(1)
    ends = best[node - number]
    split = ends.shape[0]
    found = np.full(sum(ends.shape), np.inf)
    if leaf < split:
        found[split:] = ends[leaf]
    else:
        found[:split] = ends[:, leaf - split]
    return found


def _min_plus(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(I, M) and (M, J) to (I, J): the least a[i, m] + b[m, j]."""
    if a.shape[0] * a.shape[1] * b.shape[1] <= AT_ONCE:
        return (a[:, :, None] + b[None]).min(axis=1)
    found = np.full((a.shape[0], b.shape[1]), np.inf)
    sums = np.empty_like(found)
    for column, row in zip(np.ascontiguousarray(a.T), np.ascontiguousarray(b), strict=True):
        np.add(column[:, None], row[None], out=sums)
        np.minimum(found, sums, out=found)
    return found


def _order(tree: np.ndarray, points: np.ndarray, metric: str, most: int, distances: np.ndarray | None) -> np.ndarray:
    number = len(tree) + 1
    if number <= 2:
        return leaves_list(tree) if number == 2 else np.zeros(1, np.int64)
    if number <= most:
        return optimal_order(tree, condensed_distances(points, metric) if distances is None else distances)
    clades, joins, top = _split(tree, min(CLADES, most))
    means = np.stack([points[own].mean(axis=0) for own in clades])
    order = optimal_order(top, condensed_distances(means, metric))
    parts: list[np.ndarray] = []
    for position, clade in enumerate(order):
        own = clades[clade]
        inside = own[_order(_subtree(tree, own, joins[clade]), points[own], metric, most, None)]
        # the neighbour that is there already tells which end comes first, before that the one to come
        towards = points[parts[-1][-1]] if parts else means[order[position + 1]]
        ends = points[inside[[0, -1]]]
        far = condensed_distances(np.stack([towards, ends[0]]), metric)[0]
        near = condensed_distances(np.stack([towards, ends[1]]), metric)[0]
        turn = near < far if parts else far < near
        parts.append(inside[::-1] if turn else inside)
    return np.concatenate(parts)


def _split(tree: np.ndarray, count: int) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Undo the last `count` - 1 joins: leaves and joins of each clade that is left, and the tree of the clades."""
    number = len(tree) + 1
    low = number - count
    nodes = tree[:, :2].astype(np.int64)
    # joins stand in the order of their height: what the last ones join are the clades
    heads = np.sort(nodes[low:][nodes[low:] < number + low])
    clade = np.full(number + low, -1, np.int64)
    clade[heads] = np.arange(count)
    for join in range(low - 1, -1, -1):
        clade[nodes[join]] = clade[number + join]
    top = tree[low:].copy()
    top[:, :2] = np.where(nodes[low:] < number + low, clade[np.minimum(nodes[low:], number + low - 1)],
                          nodes[low:] - number - low + count)  # fmt: skip
    sizes = np.ones(2 * count - 1)
    for join, (a, b) in enumerate(top[:, :2].astype(np.int64)):
        sizes[count + join] = sizes[a] + sizes[b]
    top[:, 3] = sizes[count:]
    return _by_clade(clade[:number], count), _by_clade(clade[number:], count), top


def _by_clade(clade: np.ndarray, count: int) -> list[np.ndarray]:
    ends = np.cumsum(np.bincount(clade, minlength=count))[:-1]
    return np.split(np.argsort(clade, kind="stable"), ends)


def _subtree(tree: np.ndarray, leaves: np.ndarray, joins: np.ndarray) -> np.ndarray:
    """The tree of one clade, its leaves numbered in the order of `leaves`."""
    nodes = np.concatenate([leaves, len(tree) + 1 + joins])
    order = np.argsort(nodes)
    own = tree[joins].copy()
    own[:, :2] = order[np.searchsorted(nodes, own[:, :2].astype(np.int64), sorter=order)]
    return own


def _turned(tree: np.ndarray, sequence: np.ndarray) -> np.ndarray:
    """Turn the branches of a tree so that its leaves stand in `sequence`, which the tree must allow."""
    number = len(tree) + 1
    first = np.empty(number + len(tree), np.int64)
    first[sequence] = np.arange(number)
    turned = tree.copy()
    for join, (a, b) in enumerate(tree[:, :2].astype(np.int64)):
        if first[a] > first[b]:
            turned[join, :2] = b, a
        first[number + join] = min(first[a], first[b])
    return turned
