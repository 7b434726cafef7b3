"""Hierarchical clustering: linkage, order of the leaves, and clusters cut from it."""

import numpy as np
from scipy.cluster.hierarchy import fcluster

from wherein.analysis.distances import condensed_distances
from wherein.analysis.leaf_order import ordered_tree
from wherein.analysis.likelihood import likelihood_tree

LINKAGES = ("ward", "average", "complete", "single", "likelihood")


def hierarchical_clustering(
    points: np.ndarray, linkage: str, metric: str, order_up_to: int
) -> tuple[np.ndarray, np.ndarray]:
    """Join points into a tree, and order its leaves so that neighbours are alike.

    Args:
        points: (N, D).
        linkage: one of LINKAGES; `ward` and `likelihood` need the metric `euclidean`. For `likelihood`, features are
            expected on one scale, see `wherein.analysis.likelihood`.
        metric: one of METRICS.
        order_up_to: most points whose leaves are brought into the optimal order (Bar-Joseph et al. 2001), whose time
            grows faster than the cube of their number; beyond, the order is optimal for clades of so many and fewer
            (`wherein.analysis.leaf_order`). 0 leaves the order as the linkage gives it.

    Returns:
        tree: (N - 1, 4) float64 as scipy writes it; (0, 4) with fewer than two points.
        leaf: (N,) int64, place of each point in the dendrogram from left to right.

    Raises:
        ValueError: linkage or metric is unknown, or they do not go together.
    """
    import fastcluster

    if linkage not in LINKAGES:
        raise ValueError(f"linkage {linkage!r}: allowed are {', '.join(LINKAGES)}")
    if linkage in ("ward", "likelihood") and metric != "euclidean":
        raise ValueError(
            f"linkage {linkage!r} needs the metric 'euclidean', found {metric!r}: set atlas.linkage to 'average', "
            "or atlas.metric to 'euclidean'"
        )
    number = len(points)
    if number < 2:
        condensed_distances(points, metric)
        return np.zeros((0, 4)), np.zeros(number, np.int64)
    if linkage == "likelihood":
        tree, distances = likelihood_tree(points), None
    else:
        distances = condensed_distances(points, metric)
        exact = number <= order_up_to
        # fastcluster works in its input's memory where it may: a copy is 0.6 GB for 12,000 points
        tree = fastcluster.linkage(distances, method=linkage, preserve_input=exact)
        distances = distances if exact else None
    return ordered_tree(tree, points, metric, order_up_to, distances)


def clustered_points(scaled: np.ndarray, components: np.ndarray, points: str) -> np.ndarray:
    """What proteins are clustered by.

    Args:
        scaled: (N, D) vectors of the proteins.
        components: (N, K) their principal components.
        points: `components`, or `features` for all of them, centred and scaled over the proteins.

    Raises:
        ValueError: `points` is neither.
    """
    if points not in ("components", "features"):
        raise ValueError(f"points {points!r}: allowed are components, features")
    return components if points == "components" else standardized(scaled)


def standardized(vectors: np.ndarray) -> np.ndarray:
    """Centre and scale features: (N, D) to float64 of mean 0 and standard deviation 1, constant ones left out."""
    values = np.asarray(vectors, np.float64)
    if not len(values):
        return values
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    alive = spread > 1e-9 * np.maximum(np.abs(values).max(axis=0), 1e-300)
    return centred[:, alive] / spread[alive]


def cut(tree: np.ndarray, leaf: np.ndarray, clusters: int | None, height: float | None) -> np.ndarray:
    """Cut a tree into clusters, numbered from 1 in the order of the leaves.

    Args:
        tree: (N - 1, 4) as `hierarchical_clustering` gives it.
        leaf: (N,) places of the points in the dendrogram.
        clusters: most clusters; None for `default_clusters`.
        height: distance at which to cut instead; None to cut by number.

    Returns:
        (N,) int64.
    """
    number = len(leaf)
    if number < 2:
        return np.ones(number, np.int64)
    if height is not None:
        flat = fcluster(tree, t=height, criterion="distance")
    else:
        flat = fcluster(tree, t=min(clusters or default_clusters(number), number), criterion="maxclust")
    return numbered(flat, leaf)


def numbered(flat: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    """Number clusters from 1 in the order in which they are met along the leaves.

    Args:
        flat: (N,) any labels of clusters.
        leaf: (N,) places of the points.

    Returns:
        (N,) int64.
    """
    order = np.argsort(leaf)
    _, first, codes = np.unique(flat[order], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    numbers = np.empty(len(flat), np.int64)
    numbers[order] = rank[codes]
    return numbers


def default_clusters(number: int) -> int:
    """Clusters for `number` proteins where configuration names none: the root of twice their number, rounded."""
    return max(1, round((2 * number) ** 0.5))
