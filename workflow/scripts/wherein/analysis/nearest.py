"""The nearest of many points, exactly by products of blocks, or approximately; what belongs together left out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

METRICS = ("cosine", "euclidean")

PAIRS = 2**24
"""Similarities that are held at once: 128 MB."""

MOST_ASKED = 512
"""Most neighbours that an approximate index is asked for, own ones among them."""


class Nearest(NamedTuple):
    """Nearest points of each query, the nearest first.

    Attributes:
        index: (Q, k) int64, -1 where there are no more.
        cosine: (Q, k) float64, cosine of the angle between the two vectors; NaN where there are no more, or for a
            vector without length.
        distance: (Q, k) float64, euclidean; NaN where there are no more.
    """

    index: np.ndarray
    cosine: np.ndarray
    distance: np.ndarray


def memberships(groups: Sequence[Sequence[Any]]) -> csr_matrix:
    """Which point belongs to which group.

    Args:
        groups: for each of N points, the names of its groups (its protein, its reagents, ...); None is no name.

    Returns:
        (N, groups) float32 of 0 and 1.
    """
    place: dict[Any, int] = {}
    rows, columns = [], []
    for row, names in enumerate(groups):
        for name in dict.fromkeys(names):
            if name is not None:
                rows.append(row)
                columns.append(place.setdefault(name, len(place)))
    ones = np.ones(len(rows), np.float32)
    return csr_matrix((ones, (rows, columns)), shape=(len(groups), max(1, len(place))))


def nearest_points(
    points: np.ndarray,
    count: int,
    metric: str,
    apart: csr_matrix | None = None,
    queries: np.ndarray | None = None,
    among: np.ndarray | None = None,
) -> Nearest:
    """The nearest points of some points, exactly. The point itself is never among them.

    Similarities are products of float32 or float64 as the points are; of the points that are chosen, cosines and
    distances are found anew in float64. Points with a value that is not finite are nobody's neighbours and have none.

    Args:
        points: (N, D).
        count: k, neighbours wanted.
        metric: by which they are ranked, one of METRICS. Of equally near ones the first come first.
        apart: (N, groups) of `memberships`: points that share a group with a query are left out; None for none.
        queries: (Q,) places of the points to ask for; None for all.
        among: (N,) bool, which points may be neighbours; None for all.

    Raises:
        ValueError: the metric is none of METRICS.
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r}: allowed are {', '.join(METRICS)}")
    queries = np.arange(len(points)) if queries is None else np.asarray(queries, np.int64)
    known = np.isfinite(points).all(axis=1)
    prepared, norms = _prepared(points, known, metric)
    allowed = known if among is None else known & among
    index = np.full((len(queries), count), -1, np.int64)
    wanted = min(count, len(points))
    rows = max(1, PAIRS // max(1, len(points)))
    for start in range(0, len(queries) if wanted else 0, rows):
        own = queries[start : start + rows]
        near = prepared[own] @ prepared.T
        if metric == "euclidean":
            near *= 2
            near -= norms
        near[:, ~allowed] = -np.inf
        near[~known[own]] = -np.inf
        near[np.arange(len(own)), own] = -np.inf
        if apart is not None:
            shared = (apart[own] @ apart.T).tocoo()
            near[shared.row, shared.col] = -np.inf
        index[start : start + len(own), :wanted] = _largest(near, wanted)
    return measured(points, queries, index, metric)


def _prepared(points: np.ndarray, known: np.ndarray, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Points whose products rank neighbours, unknown ones 0, and their squared lengths."""
    dtype = np.float32 if points.dtype == np.float32 else np.float64
    prepared = np.where(known[:, None], points, 0).astype(dtype)
    if metric == "euclidean":
        # distances do not change, and near the origin less is lost to cancellation
        prepared[known] -= prepared[known].mean(axis=0) if known.any() else dtype(0)
    norms = np.einsum("nd,nd->n", prepared, prepared)
    if metric == "cosine":
        lengths = np.sqrt(norms)[:, None]
        prepared = np.divide(prepared, lengths, out=np.zeros_like(prepared), where=lengths > 0)
    return prepared, norms


def _largest(near: np.ndarray, count: int) -> np.ndarray:
    """Columns of the largest values of each row, the largest first, of equal ones the first; -1 for -inf."""
    if count < near.shape[1]:
        # all that equal the last of the chosen are candidates: which of them comes is not left to chance
        last = -np.partition(-near, count - 1, axis=1)[:, count - 1]
        chosen = np.empty((len(near), count), np.int64)
        for row, least in enumerate(last):
            candidates = np.flatnonzero(near[row] >= least)
            order = np.argsort(-near[row, candidates], kind="stable")[:count]
            chosen[row] = candidates[order]
    else:
        chosen = np.argsort(-near, axis=1, kind="stable")
    return np.where(np.isneginf(np.take_along_axis(near, chosen, axis=1)), -1, chosen)


def measured(points: np.ndarray, queries: np.ndarray, index: np.ndarray, metric: str) -> Nearest:
    """Cosines and distances of chosen pairs in float64, sorted by the metric; -1 stays last."""
    cosine, distance = np.full(index.shape, np.nan), np.full(index.shape, np.nan)
    for row, (query, others) in enumerate(zip(queries, index, strict=True)):
        there = others >= 0
        mine, theirs = points[query].astype(np.float64), points[others[there]].astype(np.float64)
        lengths = np.linalg.norm(mine) * np.linalg.norm(theirs, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine[row, there] = np.where(lengths > 0, theirs @ mine / lengths, np.nan)
        distance[row, there] = np.linalg.norm(theirs - mine, axis=1)
    # a vector without length is at right angles to all
    worth = np.nan_to_num(cosine, nan=0.0) if metric == "cosine" else -np.nan_to_num(distance, nan=np.inf)
    worth[index < 0] = -np.inf
    order = np.argsort(-worth, axis=1, kind="stable")
    return Nearest(*(np.take_along_axis(values, order, axis=1) for values in (index, cosine, distance)))


def near_vector(points: np.ndarray, vector: np.ndarray, metric: str) -> np.ndarray:
    """How near (n, D) points are to a vector (D,): cosine, or the negative distance. (n,) float64, NaN if not known."""
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r}: allowed are {', '.join(METRICS)}")
    points, vector = points.astype(np.float64), vector.astype(np.float64)
    if metric == "euclidean":
        return -np.linalg.norm(points - vector, axis=1)
    lengths = np.linalg.norm(points, axis=1) * np.linalg.norm(vector)
    near = np.divide(points @ vector, lengths, out=np.zeros(len(points)), where=lengths > 0)
    return np.where(np.isfinite(lengths), near, np.nan)


class Index:
    """An approximate index of nearest points (nearest-neighbour descent, Dong et al. 2011), by pynndescent."""

    def __init__(self, points: np.ndarray, metric: str, seed: int) -> None:
        """Take the (N, D) finite points in."""
        from pynndescent import NNDescent

        self.points, self.metric = np.asarray(points, np.float32), metric
        self.index = NNDescent(self.points, metric=metric, n_neighbors=30, random_state=seed, low_memory=True)
        self.index.prepare()

    def nearest(self, count: int, queries: np.ndarray, codes: np.ndarray) -> tuple[Nearest, int]:
        """As `nearest_points`, approximately.

        The index is asked for as many more as the largest group among the queries has points, up to MOST_ASKED; a query
        of which then fewer than `count` are left is answered exactly.

        Args:
            count: k.
            queries: (Q,) places of the points to ask for.
            codes: (N,) group of each point, negative for none: points of the query's group are left out.

        Returns:
            The nearest, and how many queries were answered exactly.
        """
        sizes = np.bincount(codes[codes >= 0], minlength=1)
        own = np.where(codes[queries] >= 0, sizes[np.maximum(codes[queries], 0)], 1)
        asked = int(min(len(self.points), MOST_ASKED, count + own.max(initial=1)))
        found, _ = self.index.query(self.points[queries], k=asked)
        index = np.full((len(queries), count), -1, np.int64)
        short = []
        for row, (query, others) in enumerate(zip(queries, found.astype(np.int64), strict=True)):
            others = others[(others >= 0) & (others != query)]
            left = others[(codes[others] != codes[query]) | (codes[query] < 0)][:count]
            index[row, : len(left)] = left
            if len(left) < count:
                short.append(row)
        told = measured(self.points, queries, index, self.metric)
        if short:
            apart = memberships([(code,) if code >= 0 else () for code in codes.tolist()])
            exact = nearest_points(self.points, count, self.metric, apart, queries[short])
            for values, right in zip(told, exact, strict=True):
                values[short] = right
        return told, len(short)


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Share of the exact nearest that are among those found, both (Q, k) with -1 for none; NaN without any."""
    hits = 0
    total = int((exact >= 0).sum())
    for mine, right in zip(found, exact, strict=True):
        hits += len(np.intersect1d(mine[mine >= 0], right[right >= 0]))
    return hits / total if total else float("nan")
