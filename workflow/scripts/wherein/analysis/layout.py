"""Maps of two or three dimensions: UMAP with the papers' settings, on the processor or a GPU, one layout or several."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

from wherein.analysis.projection import nearest

log = logging.getLogger(__name__)

SMALLEST_UMAP = 5
"""Fewest points that UMAP is asked to lay out; fewer have no neighbourhoods to keep."""

PRESETS: dict[str, dict[str, Any]] = {
    "ouyang2019": {"neighbours": 15, "min_dist": 0.1, "dimensions": 2, "epochs": None},
    "kobayashi2022": {"neighbours": 15, "min_dist": 0.1, "dimensions": 2, "epochs": None},
    "lu2019-cells": {"neighbours": 30, "min_dist": 0.3, "dimensions": 2, "epochs": None},
    "lu2019-proteins": {"neighbours": 20, "min_dist": 0.3, "dimensions": 2, "epochs": None},
    "le2022": {"neighbours": 15, "min_dist": 0.01, "dimensions": 3, "epochs": None},
}
"""Settings of UMAP in the papers, all with euclidean distances: Ouyang et al. 2019 (Methods, feature visualization with
UMAP), Kobayashi et al. 2022 (Methods, dimensionality reduction: the package's defaults), Lu et al. 2019 (S3 Fig, single
cells; Fig 3, proteins) and Le et al. 2022 (Methods, single-cell prediction and UMAP; their 100,000 epochs are left out:
the package's own number, 200 beyond 10,000 points, takes a five-hundredth of the time)."""

ENGINES = ("umap-learn", "cuml")

NO_CUML = (
    "cuML was asked for (atlas.umap_engine), but {reason}: umap-learn made the map on the processor. For cuML, put the "
    "package `cuml` of RAPIDS into the environment of the rule and run it on a machine with a GPU"
)


@dataclass(frozen=True)
class Layout:
    """Settings of UMAP.

    Attributes:
        neighbours: points in a neighbourhood; at most N - 1 are taken.
        min_dist: least distance of neighbours on the map.
        dimensions: 2 or 3.
        epochs: rounds of optimization; None for the package's own number.
        seed: seed of the layout, which runs on one thread to be the same every time.
        exact_up_to: most points whose neighbours are found exactly; beyond, approximately.
        engine: one of ENGINES.
    """

    neighbours: int = 15
    min_dist: float = 0.1
    dimensions: int = 2
    epochs: int | None = None
    seed: int = 0
    exact_up_to: int = 30000
    engine: str = "umap-learn"

    def told(self) -> str:
        """The settings in words."""
        epochs = "" if self.epochs is None else f", {self.epochs:,} epochs"
        return f"UMAP, {self.neighbours} neighbours, minimum distance {self.min_dist:g}, euclidean{epochs}"


def layout_of(settings: dict[str, Any]) -> Layout:
    """Settings of UMAP as the section `atlas` has them: a preset's name, or numbers, under `umap`.

    Raises:
        ValueError: there is no preset of this name.
    """
    own = settings["umap"]
    if isinstance(own, str):
        if own not in PRESETS:
            raise ValueError(f"atlas.umap {own!r}: allowed are {', '.join(PRESETS)}, or numbers")
        own = PRESETS[own]
    return Layout(
        **own, seed=settings["seed"], exact_up_to=settings["exact_neighbours"], engine=settings["umap_engine"]
    )


def map_neighbours(points: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray] | None:
    """Exact neighbours of (N, D) points from which `umap_coordinates` lays them out, as `nearest` gives them.

    Returns:
        None where nothing is laid out, or where neighbours are found approximately.
    """
    number = len(points)
    if not SMALLEST_UMAP <= number <= layout.exact_up_to or not np.ptp(points, axis=0).any():
        return None
    return nearest(points.astype(np.float64), max(2, min(layout.neighbours, number - 1)))


def umap_coordinates(
    points: np.ndarray, layout: Layout, neighbours: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, str | None]:
    """Lay points out in two or three dimensions with UMAP, started from their first principal components.

    Starting from principal components keeps the large-scale order and needs no eigenvectors of a graph that may fall
    apart (Kobak and Linderman 2021). Exact neighbours are found by scikit-learn, which spares the compilation of
    the approximate search: about 5 s a process are left of 17.

    Args:
        points: (N, D) principal components, largest first.
        layout: settings.
        neighbours: what `map_neighbours` gives, where it is known already.

    Returns:
        coordinates: (N, dimensions) float32. With fewer than SMALLEST_UMAP points, the first principal components.
        note: why these are no UMAP coordinates, or not of the engine that was asked for; or None.
    """
    number = len(points)
    start = np.zeros((number, layout.dimensions), np.float32)
    shown = min(layout.dimensions, points.shape[1])
    start[:, :shown] = points[:, :shown]
    if number < SMALLEST_UMAP:
        return start, f"{number} points are too few for UMAP (at least {SMALLEST_UMAP}): principal components are shown"
    if not np.ptp(points, axis=0).any():
        return start, "all points are the same: there is nothing for UMAP to lay out"
    note = None
    if layout.engine == "cuml":
        reason = no_cuml()
        if reason is None:
            return _by_cuml(points, layout), None
        note = NO_CUML.format(reason=reason)
        log.warning(note)
    # umap takes seconds to import and needs a compiler: only who maps pays for it
    import umap

    settings = _words(layout, max(2, min(layout.neighbours, number - 1))) | {"n_jobs": 1}
    exact = map_neighbours(points, layout) if neighbours is None else neighbours
    if exact is not None:
        indices, distances = exact
        settings["precomputed_knn"] = (indices, distances.astype(np.float32))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="umap")
        warnings.filterwarnings("ignore", message=".*precomputed_knn.*")
        found = umap.UMAP(init=spread_start(start, layout.seed), **settings).fit_transform(points)
    return np.asarray(found, np.float32), note


def spread_start(start: np.ndarray, seed: int) -> np.ndarray:
    """Bring (N, d) places to UMAP's usual extent of 10, no two of them in one place: it divides by each axis' range."""
    noise = np.random.default_rng(seed).normal(scale=1e-4, size=start.shape)
    return (10 * start / np.abs(start).max() + noise).astype(np.float32)


def no_cuml() -> str | None:
    """Why cuML cannot be used here, or None if it can."""
    try:
        # by name: they are no packages of the tested environment, a site adds them
        import_module("cuml")
        cupy = import_module("cupy")
    except ImportError as error:
        return f"the package is not here ({error})"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no GPU answers ({error})"
    return None if count else "there is no GPU"


def _by_cuml(points: np.ndarray, layout: Layout) -> np.ndarray:
    engine = import_module("cuml.manifold").UMAP
    neighbours = max(2, min(layout.neighbours, len(points) - 1))
    # cuML takes a number of epochs or None, and its own start: it knows no array for `init`
    reducer = engine(init="spectral", output_type="numpy", **_words(layout, neighbours))
    found = reducer.fit_transform(np.ascontiguousarray(points, np.float32))
    return np.asarray(found, np.float32)


def _words(layout: Layout, neighbours: int) -> dict[str, Any]:
    """Settings that umap-learn and cuML call by the same names."""
    return {
        "n_neighbors": neighbours,
        "min_dist": layout.min_dist,
        "n_components": layout.dimensions,
        "n_epochs": layout.epochs,
        "metric": "euclidean",
        "random_state": layout.seed,
    }


def aligned_coordinates(
    points: Sequence[np.ndarray], names: Sequence[Sequence[str]], layout: Layout, alignment: float, window: int
) -> list[np.ndarray]:
    """Lay several sets of points out so that a name's points stay near one another from map to map (AlignedUMAP).

    Args:
        points: for each map (N, D) of its own dimensions, principal components, at least SMALLEST_UMAP of them.
        names: for each map the N names of its points, none twice; neighbours in the sequence are aligned by the names
            that they share.
        layout: settings; two dimensions, and the epochs of each map.
        alignment: how strongly places are held together (alignment_regularisation; 0.01 is umap-learn's own).
        window: how many maps before and after one it is aligned with.

    Returns:
        For each map (N, dimensions) float32.

    Raises:
        ValueError: two neighbouring maps share no name, or there are fewer than two maps.
    """
    import umap

    if len(points) < 2:
        raise ValueError(f"found {len(points)} maps: at least two are needed to align them")
    relations = []
    for number, (before, after) in enumerate(pairwise(names)):
        place = {name: row for row, name in enumerate(after)}
        shared = {row: place[name] for row, name in enumerate(before) if name in place}
        if not shared:
            raise ValueError(f"maps {number + 1} and {number + 2} have no point in common")
        relations.append(shared)
    smallest = min(len(own) for own in points)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="umap")
        found = umap.AlignedUMAP(
            n_neighbors=max(2, min(layout.neighbours, smallest - 1)),
            min_dist=layout.min_dist,
            n_components=layout.dimensions,
            n_epochs=layout.epochs,
            alignment_regularisation=alignment,
            alignment_window_size=window,
            random_state=layout.seed,
        ).fit([np.asarray(own, np.float32) for own in points], relations=relations)
    return [np.asarray(own, np.float32) for own in found.embeddings_]
