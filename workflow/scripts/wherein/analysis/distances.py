"""Distances of all pairs of points, in scipy's condensed order."""

import numpy as np

METRICS = ("euclidean", "cosine", "correlation")

ROWS = 1024
"""Rows of the distance matrix that are held at once."""


def condensed_distances(points: np.ndarray, metric: str) -> np.ndarray:
    """Distances of all pairs, by matrix products over blocks of rows; the square matrix is never held.

    Args:
        points: (N, D).
        metric: one of METRICS; `correlation` is 1 - Pearson's r, `cosine` 1 - the cosine. A point without length or
            without variation is at distance 1 from every other. Euclidean distances below what rounding leaves of
            equal points are 0.

    Returns:
        (N (N - 1) / 2,) float64 in scipy's condensed order.

    Raises:
        ValueError: the metric is none of these.
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r}: allowed are {', '.join(METRICS)}")
    points = np.asarray(points, np.float64)
    number = len(points)
    condensed = np.zeros(number * max(0, number - 1) // 2)
    if number < 2 or not points.shape[1]:
        return condensed
    if metric == "euclidean":
        # distances do not change, and near the origin less is lost to cancellation
        points = points - points.mean(axis=0)
        norms = np.einsum("nd,nd->n", points, points)
    else:
        centred = points - points.mean(axis=1, keepdims=True) if metric == "correlation" else points
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        # what only rounding makes vary does not vary
        real = lengths > 1e-12 * np.linalg.norm(points, axis=1, keepdims=True)
        points = np.divide(centred, lengths, out=np.zeros_like(centred), where=real)
    place = 0
    for start in range(0, number - 1, ROWS):
        stop = min(start + ROWS, number - 1)
        # a block holds the pairs of its rows with all that come at or after its first row
        block = points[start:stop] @ points[start:].T
        if metric == "euclidean":
            block *= -2
            together = norms[start:stop, None] + norms[start:]
            block += together
            together *= 8 * np.finfo(float).eps
            block[block < together] = 0
            np.sqrt(block, out=block)
        else:
            np.subtract(1, block, out=block)
            np.clip(block, 0, 2, out=block)
        for row in range(stop - start):
            own = block[row, row + 1 :]
            condensed[place : place + len(own)] = own
            place += len(own)
    return condensed
