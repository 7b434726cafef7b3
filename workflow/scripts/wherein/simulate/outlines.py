"""Shapes of cells and nuclei: deformed, stretched, with protrusions; cells give way to the cores of neighbours."""

import numpy as np

from wherein.simulate.spec import CellLine, FieldSpec

INTERPHASE, PROMETAPHASE, METAPHASE, ANAPHASE = range(4)
"""Stages of a cell."""

OUTLINE_POINTS = 144
"""Points of an outline: at 60 um across one every 1.3 um."""

CROWDED = 1.1
"""How much larger than its mean a cell is that nobody hinders."""


def _wobble(rng: np.random.Generator, n: int, points: int, low: int, high: int) -> np.ndarray:
    """(n, points) periodic noise of unit variance with the harmonics low to high, slow ones the stronger."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    order = np.arange(low, high + 1)
    amplitude = rng.standard_normal((n, len(order), 2)) / order[None, :, None]
    wave = amplitude[..., 0] @ np.cos(order[:, None] * angle) + amplitude[..., 1] @ np.sin(order[:, None] * angle)
    return wave / np.sqrt((1 / order**2).sum())


def _smooth_periodic(radius: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing along a closed outline, in points."""
    order = np.fft.rfftfreq(radius.shape[-1]) * 2 * np.pi
    return np.fft.irfft(np.fft.rfft(radius) * np.exp(-0.5 * (order * sigma) ** 2), radius.shape[-1])


def free_radii(
    rng: np.random.Generator, line: CellLine, radius_px: np.ndarray, rounded: np.ndarray, px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Outlines that cells would have alone.

    Args:
        rng: random stream.
        line: how the cells look.
        radius_px: (n,) mean radius.
        rounded: (n,) bool, cells in mitosis, which round up and draw their protrusions in.
        px: micrometres a pixel.

    Returns:
        body and protrusions, both (n, OUTLINE_POINTS) float64 in pixels, at equally spaced angles from 0.
    """
    n = len(radius_px)
    angle = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
    elongation = np.maximum(line.cell_elongation * np.exp(0.12 * rng.standard_normal(n)), 1.0)[:, None]
    axis = rng.random((n, 1)) * 2 * np.pi
    shape = 1 / np.sqrt(np.cos(angle - axis) ** 2 / elongation + np.sin(angle - axis) ** 2 * elongation)
    rough = np.exp(line.irregularity * _wobble(rng, n, OUTLINE_POINTS, 2, 9))
    ball = 0.74 * (1 + 0.02 * _wobble(rng, n, OUTLINE_POINTS, 2, 4))
    body = radius_px[:, None] * np.where(rounded[:, None], ball, shape * rough)
    count = rng.poisson(line.protrusions, n)
    protrusions = np.zeros_like(body)
    for cell in np.flatnonzero(~rounded):
        for direction, length, width in rng.random((count[cell], 3)):
            away = np.abs((angle - 2 * np.pi * direction + np.pi) % (2 * np.pi) - np.pi)
            reach = -np.log(1 - 0.9 * length) * line.protrusion_um / px
            protrusions[cell] = np.maximum(protrusions[cell], reach * np.exp(-((away / (0.1 + 0.2 * width)) ** 1.5)))
    return body, protrusions


def give_way(
    rng: np.random.Generator, centres: np.ndarray, radius: np.ndarray, nucleus: np.ndarray, overlap: float
) -> np.ndarray:
    """How far each cell may reach in each direction before it meets the core of a neighbour.

    A neighbour's core is a circle around its nucleus; it leaves the two cells an overlap of `overlap` of their mean
    diameter. The share of the distance that each takes is drawn, so that no border lies where a bisector would.

    Args:
        rng: random stream.
        centres: (n, 2) y and x in pixels.
        radius: (n,) free radii in pixels.
        nucleus: (n,) radii of the nuclei, which no neighbour covers.
        overlap: share of a diameter by which neighbours may overlap.

    Returns:
        (n, OUTLINE_POINTS) float64 in pixels, infinite where nobody is in the way.
    """
    n = len(centres)
    angle = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
    ray = np.stack([np.sin(angle), np.cos(angle)])
    share = radius[:, None] / (radius[:, None] + radius[None, :])
    tilt = np.triu(0.07 * rng.standard_normal((n, n)), 1)
    share = share + tilt - tilt.T
    reach = np.full((n, OUTLINE_POINTS), np.inf)
    for cell in range(n):
        offset = centres - centres[cell]
        distance = np.hypot(*offset.T)
        near = np.flatnonzero((distance < 1.8 * (radius[cell] + radius)) & (distance > 0))
        if not len(near):
            continue
        core = distance[near] * (1 - share[cell, near]) - overlap * (radius[cell] + radius[near]) / 2
        core = np.maximum(core, np.minimum(nucleus[near] * 1.15, 0.55 * distance[near]))[:, None]
        along = offset[near] @ ray
        aside = np.sqrt(np.maximum(distance[near, None] ** 2 - along**2, 0))
        stop = along - np.sqrt(np.maximum(core**2 - aside**2, 0)) + 1.5 * np.maximum(aside - core, 0)
        reach[cell] = np.where((along > 0) & (aside < 1.7 * core), stop, np.inf).min(0)
    return reach * (1 + 0.05 * _wobble(rng, n, OUTLINE_POINTS, 3, 12))


def outlines(
    rng: np.random.Generator,
    spec: FieldSpec,
    centres: np.ndarray,
    radius: np.ndarray,
    nucleus: np.ndarray,
    rounded: np.ndarray,
) -> list[np.ndarray]:
    """Outlines of all cells, bodies with their protrusions, given way to neighbours.

    Args:
        rng: random stream.
        spec: the field.
        centres: (n, 2) y and x in pixels.
        radius: (n,) free radii in pixels.
        nucleus: (n,) radii of the nuclei.
        rounded: (n,) bool, cells in mitosis.

    Returns:
        One (OUTLINE_POINTS, 2) float64 array a cell, y and x in pixels.
    """
    body, protrusions = free_radii(rng, spec.cell_line, radius, rounded, spec.pixel_size_um)
    reach = give_way(rng, centres, radius, nucleus, spec.cell_line.overlap)
    limit = 1.09 * np.maximum(reach, nucleus[:, None])
    soft = ((CROWDED * body) ** -8.0 + limit**-8.0) ** (-1 / 8)
    soft = _smooth_periodic(soft, 1.6)
    stretched = np.minimum(soft + protrusions, np.maximum(soft, 1.1 * reach))
    stretched = np.maximum(_smooth_periodic(stretched, 0.8), 1.06 * nucleus[:, None])
    bend = 0.35 * rng.standard_normal((len(centres), 1)) * np.maximum(stretched / soft - 1, 0)
    angle = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False) + bend
    points = np.stack([np.sin(angle), np.cos(angle)], -1) * stretched[..., None] + centres[:, None]
    if spec.max_cells is not None:
        points = np.clip(points, 3, np.array(spec.shape) - 4)
    return list(points)


def nucleus_outlines(
    rng: np.random.Generator, axes: np.ndarray, angle: np.ndarray, stage: np.ndarray, px: float, spread: np.ndarray
) -> list[list[np.ndarray]]:
    """Outlines of nuclei, or of condensed chromosomes, around (0, 0).

    Args:
        rng: random stream.
        axes: (n, 2) half axes in pixels.
        angle: (n,) direction of the long axis, radians.
        stage: (n,) INTERPHASE or a stage of mitosis.
        px: micrometres a pixel.
        spread: (n,) half distance of the spindle's poles in pixels.

    Returns:
        For each cell one outline, in anaphase two: (k, 2) float64 arrays, y and x in pixels.
    """
    points = 72
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    n = len(axes)
    smooth = 0.035 * _wobble(rng, n, points, 2, 6)
    lobed = np.where(rng.random(n) < 0.09, 0.13, 0.0)[:, None] * _wobble(rng, n, points, 2, 4)
    jagged = _wobble(rng, n, points, 4, 16)
    found = []
    for cell in range(n):
        a, b = axes[cell]
        pieces = [0.0]
        rough = 1 + smooth[cell] + np.clip(lobed[cell], -0.3, 0.2)
        if stage[cell] == PROMETAPHASE:
            a, b, rough = 0.72 * a, 0.66 * a, 1 + 0.07 * jagged[cell]
        elif stage[cell] == METAPHASE:
            a, b, rough = 0.88 * a, 1.5 / px, 1 + 0.08 * jagged[cell]
        elif stage[cell] == ANAPHASE:
            a, b, rough = 0.72 * a, 1.15 / px, 1 + 0.07 * jagged[cell]
            pieces = [-0.52 * spread[cell], 0.52 * spread[cell]]
        along, across = a * np.cos(turn) * rough, b * np.sin(turn) * rough
        cos, sin = np.cos(angle[cell]), np.sin(angle[cell])
        outlines_of_cell = []
        for shift in pieces:
            curved = across + shift * (1 + 0.12 * (1 - (along / a) ** 2))
            outlines_of_cell.append(np.stack([along * sin + curved * cos, along * cos - curved * sin], -1))
        found.append(outlines_of_cell)
    return found
