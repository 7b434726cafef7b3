"""New points on a map that is there: among their nearest neighbours in it. And the map as a file."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from wherein.analysis.aggregate import Scale
from wherein.analysis.projection import Components
from wherein.atomic import atomic_path

ROWS = 200000
"""Points that are placed at once."""

PAIRS = 2**24
"""Squared distances that are held at once: 64 MB."""

PROBED = 16
"""Lists that a point is compared with, its own the first."""

SMALLEST_SCALE = 1e-3
"""Least scale of memberships over the mean distance to the neighbours (MIN_K_DIST_SCALE of umap-learn)."""


class MapError(ValueError):
    """A saved map that does not fit the vectors that are to be placed on it."""


@dataclass
class SavedMap:
    """A map of units, and how a vector of the model comes onto it.

    Attributes:
        level: `cell` or `field`.
        space: digest of what decides whether vectors compare, as `history.space_of` gives it.
        features: names of the D features.
        scale: how they were brought to one scale.
        components: the principal components of the scaled vectors.
        scores: (N, K) float32, the units that were laid out.
        places: (N, 2 or 3) float32, where they lie.
        neighbours: points in a neighbourhood.
    """

    level: str
    space: str
    features: list[str]
    scale: Scale
    components: Components
    scores: np.ndarray
    places: np.ndarray
    neighbours: int


def memberships(distances: np.ndarray) -> np.ndarray:
    """How strongly new points belong to their nearest neighbours, as UMAP weighs them when it transforms new points.

    A neighbour at distance d weighs exp(-d / s), with s such that the weights of a point add up to log2(k)
    (McInnes et al. 2018, section 3.1, with no neighbour that counts in full; umap-learn leaves the nearest out of the
    sum, and so it is here).

    Args:
        distances: (N, k) ascending, to the k nearest points of the map.

    Returns:
        (N, k) float64, rows that add up to 1. Where a point of the map lies in the same place, all weight is its own.
    """
    distances = np.asarray(distances, np.float64)
    number, count = distances.shape
    target = np.log2(count)
    low, high = np.zeros(number), np.full(number, np.inf)
    scale = np.ones(number)
    for _ in range(64):
        with np.errstate(under="ignore"):
            total = np.exp(-distances[:, 1:] / scale[:, None]).sum(axis=1)
        high = np.where(total > target, scale, high)
        low = np.where(total > target, low, scale)
        scale = np.where(np.isinf(high), scale * 2, (low + high) / 2)
    least = SMALLEST_SCALE * distances.mean(axis=1)
    scale = np.maximum(np.maximum(scale, least), np.finfo(float).tiny)
    # weights over the nearest one's, so that points far from all neighbours are not rounded to nothing
    with np.errstate(under="ignore"):
        weights = np.exp(-(distances - distances[:, :1]) / scale[:, None])
    same = distances[:, 0] == 0
    weights[same] = np.arange(count) == 0
    return weights / weights.sum(axis=1, keepdims=True)


def place(
    points: np.ndarray, scores: np.ndarray, places: np.ndarray, neighbours: int, exact_up_to: int, seed: int
) -> np.ndarray:
    """Place points among their nearest neighbours on a map: at the mean of these, weighed by membership.

    This is where umap-learn's `transform` starts from; its rounds of optimization that follow are left out, so that a
    point's place depends on nothing but the map.

    Args:
        points: (M, K) principal components.
        scores: (N, K) those of the points of the map.
        places: (N, d) where these lie.
        neighbours: points in a neighbourhood; at most N are taken.
        exact_up_to: neighbours are found exactly where M x N is at most its square; beyond, approximately.
        seed: seed of the approximate search.

    Returns:
        (M, d) float32; NaN where the map has no points.
    """
    found = np.full((len(points), places.shape[1]), np.nan, np.float32)
    if not len(points) or not len(scores):
        return found
    count = min(neighbours, len(scores))
    if not points.shape[1] or count == 1:
        found[:] = places.mean(axis=0)
        return found
    search = Search(scores, number_of_lists(len(points), len(scores), exact_up_to), seed)
    for start in range(0, len(points), ROWS):
        indices, distances = search.nearest(points[start : start + ROWS], count)
        weights = memberships(distances)
        found[start : start + ROWS] = np.einsum("nk,nkd->nd", weights, places[indices].astype(np.float64))
    return found


class Search:
    """The nearest of known points, exactly or in inverted lists (Jegou et al. 2011, section IV), without compilation.

    For lists, the points are parted by k-means; a new point is compared with those of the lists nearest to its own.
    """

    def __init__(self, known: np.ndarray, lists: int, seed: int) -> None:
        """Take the (N, K) known points; `lists` is how many to part them into, 1 for an exact search."""
        self.known = np.asarray(known, np.float32)
        self.middles = self.known.mean(axis=0, keepdims=True)
        codes = np.zeros(len(known), int)
        if lists > 1:
            from sklearn.cluster import MiniBatchKMeans

            parts = MiniBatchKMeans(lists, random_state=seed, n_init=1, batch_size=10240).fit(self.known)
            self.middles, codes = parts.cluster_centers_.astype(np.float32), parts.labels_
        order = np.argsort(codes, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(codes, minlength=lists))[:-1])
        near = np.argsort(squares(self.middles, self.middles), axis=1, kind="stable")[:, :PROBED]
        self.candidates = [np.concatenate([members[other] for other in own]) for own in near]

    def nearest(self, points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest known points of (M, K) new ones: indices (M, count) and distances, ascending."""
        points = np.asarray(points, np.float32)
        indices = np.empty((len(points), count), np.int64)
        distances = np.empty((len(points), count))
        own = squares(points, self.middles).argmin(axis=1)
        for part in np.unique(own):
            rows = np.flatnonzero(own == part)
            candidates = self.candidates[part]
            if len(candidates) < count:
                candidates = np.arange(len(self.known))
            for start in range(0, len(rows), most := max(1, PAIRS // len(candidates))):
                some = rows[start : start + most]
                indices[some], distances[some] = self._among(points[some], candidates, count)
        return indices, distances

    def _among(self, points: np.ndarray, candidates: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        square = squares(points, self.known[candidates])
        chosen = (
            np.argpartition(square, count - 1, axis=1)[:, :count]
            if count < len(candidates)
            else (np.tile(np.arange(count), (len(points), 1)))
        )
        found = candidates[chosen]
        # products of float32 lose the digits of small distances: those of the few chosen are found anew
        apart = points[:, None].astype(np.float64) - self.known[found]
        distances = np.sqrt(np.einsum("nkd,nkd->nk", apart, apart))
        order = np.argsort(distances, axis=1, kind="stable")
        return np.take_along_axis(found, order, axis=1), np.take_along_axis(distances, order, axis=1)


def squares(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared distances of (M, K) points from (N, K) others, up to rounding and what is the same for all others."""
    return (others**2).sum(axis=1) - 2 * points @ others.T


def number_of_lists(points: int, known: int, exact_up_to: int) -> int:
    """Lists that known points are parted into: 1, an exact search, up to `exact_up_to` squared pairs."""
    return 1 if points * known <= exact_up_to**2 or known < 4 * PROBED**2 else int(np.sqrt(known))


def save_map(path: str | Path, saved: SavedMap) -> None:
    """Write a map (npz), atomically."""
    scale = saved.scale
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            level=saved.level,
            space=saved.space,
            features=np.asarray(saved.features, str),
            median=scale.median,
            centre=scale.centre,
            spread=scale.spread,
            used=scale.used,
            clip=np.nan if scale.clip is None else scale.clip,
            mean=saved.components.mean,
            loadings=saved.components.loadings,
            variance_ratio=saved.components.variance_ratio,
            scores=saved.scores.astype(np.float32),
            places=saved.places.astype(np.float32),
            neighbours=saved.neighbours,
        )


def read_map(path: str | Path, level: str, space: str, features: list[str]) -> SavedMap:
    """Read a map onto which vectors of this level, space and these features are to be placed.

    Raises:
        MapError: the map cannot be read, or was made of other vectors.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        clip = float(found["clip"])
        scale = Scale(
            *(found[name] for name in ("median", "centre", "spread", "used")), None if np.isnan(clip) else clip
        )
        components = Components(found["mean"], found["loadings"], found["variance_ratio"])
        saved = SavedMap(
            str(found["level"]), str(found["space"]), [str(name) for name in found["features"]], scale, components,
            found["scores"], found["places"], int(found["neighbours"]),
        )  # fmt: skip
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise MapError(
            f"{path} is no map that a run saved ({error}): atlas.onto_map takes a copy of results/atlas/{{model}}/"
            "map.npz; null lays the units out anew"
        ) from error
    if (saved.level, saved.space, saved.features) != (level, space, features):
        raise MapError(
            f"{path} was made of other vectors: {saved.level}s of {len(saved.features)} features in the space "
            f"{saved.space}, and these are {level}s of {len(features)} features in the space {space}. A map holds for "
            "the model, weights and normalization that it was made with: keep these, or set atlas.onto_map to null"
        )
    return saved
