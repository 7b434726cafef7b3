"""Sums over vectors that come block by block: moments of features, and means of groups."""

import numpy as np


class Moments:
    """Number, mean, spread and size of the known values of each feature, gathered block by block.

    Means and squares of blocks are put together after Chan, Golub and LeVeque 1983, which loses no digits where a
    feature's mean is large against its spread.

    Attributes:
        count: (D,) known values.
        mean: (D,) float64, 0 where none is known.
        squares: (D,) float64, sum of squared differences from the mean.
        largest: (D,) float64, largest absolute value.
        rows: vectors seen.
    """

    def __init__(self, width: int) -> None:
        self.count = np.zeros(width)
        self.mean, self.squares, self.largest = np.zeros(width), np.zeros(width), np.zeros(width)
        self.rows = 0

    def add(self, vectors: np.ndarray) -> None:
        """Take (n, D) vectors in, NaN and infinite ones as unknown."""
        known = np.isfinite(vectors)
        values = np.where(known, vectors, 0).astype(np.float64)
        count = known.sum(axis=0)
        mean = values.sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(known, values - mean, 0) ** 2).sum(axis=0)
        together = self.count + count
        apart = mean - self.mean
        share = count / np.maximum(together, 1)
        self.mean = self.mean + apart * share
        self.squares = self.squares + squares + apart**2 * self.count * share
        self.largest = np.maximum(self.largest, np.abs(values).max(axis=0, initial=0))
        self.count = together
        self.rows += len(vectors)

    @property
    def unknown(self) -> int:
        """Values that are not known."""
        return int(self.rows * len(self.count) - self.count.sum())


class GroupSums:
    """Sums of the vectors of groups, gathered block by block.

    Attributes:
        sums: (groups, D) float64.
        counts: (groups,) float64, vectors of each, or the sum of their weights.
    """

    def __init__(self, groups: int, width: int) -> None:
        self.sums = np.zeros((groups, width))
        self.counts = np.zeros(groups)

    def add(self, vectors: np.ndarray, codes: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Take (n, D) finite vectors in.

        Args:
            vectors: the vectors.
            codes: (n,) group of each, negative for none.
            weights: (n,) how much each counts; None for all alike.
        """
        order = np.argsort(codes, kind="stable")
        order = order[np.searchsorted(codes[order], 0) :]
        if not len(order):
            return
        groups, starts, counts = np.unique(codes[order], return_index=True, return_counts=True)
        own = vectors[order]
        if weights is not None:
            own = own * weights[order, None]
            counts = np.add.reduceat(weights[order], starts)
        self.sums[groups] += np.add.reduceat(own, starts, axis=0, dtype=np.float64)
        self.counts[groups] += counts

    def means(self) -> np.ndarray:
        """(groups, D) float64, NaN for a group without vectors."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.sums / self.counts[:, None]
