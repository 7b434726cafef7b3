"""Many dimensions in few: principal components, and UMAP."""

import logging
import warnings

import numpy as np
from scipy.linalg import eigh

log = logging.getLogger(__name__)

SMALLEST_UMAP = 5
"""Fewest points that UMAP is asked to lay out; fewer have no neighbourhoods to keep."""

BLOCK = 65536
"""Rows that are centred at once, so that float64 copies stay small."""


def principal_components(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components of (N, D) vectors, by the eigenvectors of the smaller of covariance and Gram matrix.

    The sign of a component is the one that makes its largest loading positive, so that equal input gives equal output.

    Args:
        vectors: (N, D) finite; centred here.
        count: most components wanted.

    Returns:
        scores: (N, K) float32, K <= count components of non-zero variance, largest first.
        loadings: (K, D) float64, rows of unit length.
        variance_ratio: (K,) float64, shares of the total variance.
    """
    number, width = vectors.shape
    count = min(count, number - 1, width)
    if count < 1:
        return np.zeros((number, 0), np.float32), np.zeros((0, width)), np.zeros(0)
    mean = vectors.mean(axis=0, dtype=np.float64)
    if number > width:
        scatter = sum(_block(vectors, mean, start).T @ _block(vectors, mean, start) for start in _starts(number))
        values, columns = eigh(scatter, subset_by_index=(width - count, width - 1))
        total, loadings = np.trace(scatter), columns.T[::-1]
    else:
        centred = vectors.astype(np.float64) - mean
        gram = centred @ centred.T
        values, columns = eigh(gram, subset_by_index=(number - count, number - 1))
        total = np.trace(gram)
        with np.errstate(divide="ignore", invalid="ignore"):
            loadings = (columns.T @ centred / np.sqrt(values)[:, None])[::-1]
    values = values[::-1]
    real = values > 1e-10 * max(total, np.finfo(float).tiny)
    values, loadings = values[real], loadings[real]
    peak = np.abs(loadings).argmax(axis=1)
    loadings = loadings * np.sign(loadings[np.arange(len(loadings)), peak])[:, None]
    scores = np.concatenate([_block(vectors, mean, start) @ loadings.T for start in _starts(number)])
    return scores.astype(np.float32), loadings, values / total if len(values) else values


def _starts(number: int) -> range:
    return range(0, number, BLOCK)


def _block(vectors: np.ndarray, mean: np.ndarray, start: int) -> np.ndarray:
    return vectors[start : start + BLOCK].astype(np.float64) - mean


def nearest(points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact nearest neighbours, each point being its own first.

    Args:
        points: (N, D).
        count: neighbours wanted, the point itself included; at most N.

    Returns:
        indices: (N, count) int64.
        distances: (N, count) float64, euclidean, ascending.
    """
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(points)
    distances, indices = found.kneighbors(points)
    # among copies of a point, and by rounding, another may stand first: UMAP takes the first for the point itself
    own = indices == np.arange(len(points))[:, None]
    place = np.where(own.any(axis=1), own.argmax(axis=1), count - 1)
    rows = np.arange(len(points))
    indices[rows, place], distances[rows, place] = indices[:, 0], distances[:, 0]
    indices[:, 0], distances[:, 0] = rows, 0.0
    order = np.argsort(distances[:, 1:], axis=1, kind="stable") + 1
    indices[:, 1:] = np.take_along_axis(indices, order, axis=1)
    distances[:, 1:] = np.take_along_axis(distances, order, axis=1)
    return indices, distances


def umap_coordinates(
    points: np.ndarray, neighbours: int, min_dist: float, seed: int, exact_up_to: int
) -> tuple[np.ndarray, str | None]:
    """Lay points out in two dimensions with UMAP, started from their first two principal components.

    Starting from principal components keeps the large-scale order and needs no eigenvectors of a graph that may fall
    apart (Kobak and Linderman 2021). Exact neighbours are found by scikit-learn, which spares the compilation of
    the approximate search: about 5 s a process are left of 17.

    Args:
        points: (N, D) principal components, largest first.
        neighbours: points in a neighbourhood; at most N - 1 are taken.
        min_dist: least distance of neighbours on the map.
        seed: seed of the layout, which runs on one thread to be the same every time.
        exact_up_to: most points whose neighbours are found exactly; beyond, approximately.

    Returns:
        coordinates: (N, 2) float32. With fewer than SMALLEST_UMAP points, the first two principal components.
        note: why these are no UMAP coordinates, or None.
    """
    number = len(points)
    start = np.zeros((number, 2), np.float32)
    start[:, : min(2, points.shape[1])] = points[:, :2]
    if number < SMALLEST_UMAP:
        return start, f"{number} points are too few for UMAP (at least {SMALLEST_UMAP}): principal components are shown"
    if not np.ptp(points, axis=0).any():
        return start, "all points are the same: there is nothing for UMAP to lay out"
    # umap takes seconds to import and needs a compiler: only who maps pays for it
    import umap

    neighbours = max(2, min(neighbours, number - 1))
    settings = {"n_neighbors": neighbours, "min_dist": min_dist, "random_state": seed, "n_jobs": 1}
    if number <= exact_up_to:
        indices, distances = nearest(points.astype(np.float64), neighbours)
        settings["precomputed_knn"] = (indices, distances.astype(np.float32))
    # umap divides by the range of each axis of the start and wants no two points in one place
    noise = np.random.default_rng(seed).normal(scale=1e-4, size=start.shape)
    spread = 10 * start / np.abs(start).max() + noise
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="umap")
        warnings.filterwarnings("ignore", message=".*precomputed_knn.*")
        layout = umap.UMAP(init=spread.astype(np.float32), **settings).fit_transform(points)
    return np.asarray(layout, np.float32), None
