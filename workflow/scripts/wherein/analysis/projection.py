"""Many dimensions in few: principal components in memory or block by block, and nearest points."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh
from scipy.linalg.blas import dsyrk, ssyrk

BLOCK = 65536
"""Rows that are centred at once, so that float64 copies stay small."""


NOISE = {"float64": 1e-10, "float32": 1e-6}
"""Share of the total variance below which a component is made of rounding, by the type that products are made in."""


class Components(NamedTuple):
    """Principal components, and how to find a vector's place among them.

    Attributes:
        mean: (D,) float64, subtracted first.
        loadings: (K, D) float64, rows of unit length, largest variance first.
        variance_ratio: (K,) float64, shares of the total variance.
    """

    mean: np.ndarray
    loadings: np.ndarray
    variance_ratio: np.ndarray

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """Places of (n, D) vectors, (n, K) float32."""
        parts = [_block(vectors, self.mean, start) @ self.loadings.T for start in _starts(len(vectors))]
        return np.concatenate([np.zeros((0, len(self.loadings))), *parts]).astype(np.float32)

    def fast_scores(self, vectors: np.ndarray) -> np.ndarray:
        """The same by products of float32, twice as fast; of one block of (n, D) float32 vectors."""
        return (vectors - self.mean.astype(np.float32)) @ self.loadings.T.astype(np.float32)


class Covariance:
    """Products of the features of (N, D) vectors, gathered block by block, and the principal components they have.

    Only half of the symmetric matrix is computed (BLAS syrk), in float32 where the vectors are; sums are float64. The
    first block's mean is subtracted from all, so that no digits are lost where means are large against spreads.
    """

    def __init__(self, width: int, dtype: str = "float32") -> None:
        self.dtype = np.dtype(dtype)
        self.number = 0
        self.shift = np.zeros(width)
        self.sum = np.zeros(width)
        self.products = np.zeros((width, width), order="F")

    def add(self, vectors: np.ndarray) -> None:
        """Take a block of (n, D) finite vectors in."""
        if not vectors.size:
            return
        if not self.number:
            self.shift = vectors.mean(axis=0, dtype=np.float64)
        centred = np.subtract(vectors, self.shift.astype(self.dtype), dtype=self.dtype, casting="same_kind")
        self.sum += centred.sum(axis=0, dtype=np.float64)
        syrk = ssyrk if self.dtype == np.float32 else dsyrk
        self.products += syrk(1.0, centred.T)
        self.number += len(vectors)

    def components(self, count: int) -> Components:
        """The first principal components: eigenvectors of the covariance.

        The sign of a component is the one that makes its largest loading positive, so that equal input gives equal
        output.

        Args:
            count: most components wanted; those of no variance are left out.
        """
        width = len(self.sum)
        count = min(count, self.number - 1, width)
        if count < 1:
            return Components(self.shift, np.zeros((0, width)), np.zeros(0))
        apart = self.sum / self.number
        scatter = self.products - self.number * np.outer(apart, apart)
        total = np.trace(scatter)
        values, columns = eigh(scatter, lower=False, subset_by_index=(width - count, width - 1))
        return _told(self.shift + apart, values[::-1], columns.T[::-1], total, NOISE[self.dtype.name])


def components_of_blocks(blocks: Iterable[np.ndarray], width: int, count: int) -> Components:
    """Principal components of more vectors than fit in memory.

    Args:
        blocks: (n, width) float32 finite, read once.
        width: features.
        count: most components wanted.
    """
    gathered = Covariance(width)
    for block in blocks:
        gathered.add(block)
    return gathered.components(count)


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
    found = fit_components(vectors, count)
    return found.scores(vectors), found.loadings, found.variance_ratio


def fit_components(vectors: np.ndarray, count: int) -> Components:
    """As `principal_components`, without the scores."""
    number, width = vectors.shape
    if number > width:
        gathered = Covariance(width, "float64")
        for start in _starts(number):
            gathered.add(vectors[start : start + BLOCK])
        return gathered.components(count)
    count = min(count, number - 1, width)
    if count < 1:
        return Components(np.zeros(width), np.zeros((0, width)), np.zeros(0))
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors.astype(np.float64) - mean
    gram = centred @ centred.T
    values, columns = eigh(gram, subset_by_index=(number - count, number - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        loadings = columns.T @ centred / np.sqrt(values)[:, None]
    return _told(mean, values[::-1], loadings[::-1], np.trace(gram), NOISE["float64"])


def _told(mean: np.ndarray, values: np.ndarray, loadings: np.ndarray, total: float, noise: float) -> Components:
    real = values > noise * max(total, np.finfo(float).tiny)
    values, loadings = values[real], loadings[real]
    peak = np.abs(loadings).argmax(axis=1) if loadings.size else np.zeros(0, int)
    loadings = loadings * np.sign(loadings[np.arange(len(loadings)), peak])[:, None]
    return Components(mean, loadings, values / total if len(values) else values)


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

    if not points.shape[1]:
        # without a dimension all points are in one place
        points = np.zeros((len(points), 1))
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
