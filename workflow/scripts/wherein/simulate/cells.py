"""Where the cells of a field lie and what shape they have: nothing here knows the protein.

A cell's outline is its own deformed, elongated shape with protrusions. It gives way where a neighbour's core begins,
may lie over or under its neighbour, and what is seen of it is what nothing above it covers.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from wherein.simulate.outlines import ANAPHASE, INTERPHASE, METAPHASE, PROMETAPHASE, nucleus_outlines, outlines
from wherein.simulate.spec import FieldSpec
from wherein.simulate.streams import GEOMETRY, stream
from wherein.simulate.texture import noise

S_PHASE = (0.45, 0.75)
"""Places in the cell cycle where DNA is copied: content 1 before, 2 after."""

MITOSIS_FROM = 0.96
"""Place in the cell cycle where mitosis begins."""


@dataclass
class Cells:
    """Geometry of the cells of one field. Arrays over cells have an entry 0 for background; coordinates are pixels.

    Attributes:
        pixel_size_um: micrometres a pixel.
        label: (H, W) int32, what is seen of each cell, 1 to n.
        under: (H, W) int32, the cell that lies below the seen one, 0 for none.
        nucleus: (H, W) int32, nuclei with their cells' numbers.
        y, x: (n + 1,) centre of the nucleus.
        nucleus_px: (n + 1,) radius of the nucleus (of the circle of the same area).
        nucleus_axes: (n + 1, 2) half axes of the nucleus.
        angle: (n + 1,) direction of the nucleus' long axis, radians.
        cell_px: (n + 1,) radius of the cell.
        pole: (n + 1,) direction from the nucleus to the centrosome and Golgi apparatus, radians.
        stage: (n + 1,) INTERPHASE or a stage of mitosis.
        cycle: (n + 1,) place in the cell cycle, 0 to 1.
        spread: (n + 1,) half distance of the spindle's poles in mitotic cells.
    """

    pixel_size_um: float
    label: np.ndarray
    under: np.ndarray
    nucleus: np.ndarray
    y: np.ndarray
    x: np.ndarray
    nucleus_px: np.ndarray
    nucleus_axes: np.ndarray
    angle: np.ndarray
    cell_px: np.ndarray
    pole: np.ndarray
    stage: np.ndarray
    cycle: np.ndarray
    spread: np.ndarray

    def __len__(self) -> int:
        return len(self.y) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the field in pixels."""
        return self.label.shape  # type: ignore[return-value]

    @property
    def mitotic(self) -> np.ndarray:
        """(n + 1,) bool, whether a cell is in mitosis."""
        return self.stage != INTERPHASE


def dna_content(cycle: np.ndarray) -> np.ndarray:
    """DNA content at a place in the cell cycle, 1 in G1 to 2 in G2 and mitosis."""
    start, end = S_PHASE
    return 1 + np.clip((np.asarray(cycle) - start) / (end - start), 0, 1)


def draw_cycle(rng: np.random.Generator, n: int, mitotic_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Places in the cell cycle of a growing population, in which young cells are the more frequent.

    Args:
        rng: random stream.
        n: number of cells.
        mitotic_share: probability that a cell is in mitosis.

    Returns:
        cycle (n,) float64 in 0 to 1, and stage (n,) int64.
    """
    age = -np.log2(1 - rng.random(n) / 2)  # density falls by a half over one cycle
    stage = np.where(rng.random(n) < mitotic_share, rng.choice([PROMETAPHASE, METAPHASE, ANAPHASE], n), INTERPHASE)
    cycle = np.where(stage == INTERPHASE, age * MITOSIS_FROM, MITOSIS_FROM + 0.01 * stage)
    return cycle, stage


def place(rng: np.random.Generator, spec: FieldSpec) -> np.ndarray:
    """Centres of the cells, those beyond the border whose bodies reach into the field included.

    Args:
        rng: random stream.
        spec: the field.

    Returns:
        (n, 2) float64, y and x in pixels; the minimum distance follows the line's size and overlap.
    """
    line, px = spec.cell_line, spec.pixel_size_um
    height, width = spec.shape
    size = line.cell_um / px
    if spec.max_cells is not None:
        return _place_few(rng, spec, size)
    margin = 0.45 * size
    tall, wide = height + 2 * margin, width + 2 * margin
    # Cells lie over each other the more, the denser they are.
    wanted = (0.6 + 0.65 * spec.confluence) * spec.confluence * tall * wide / (np.pi / 4 * size * size)
    density = noise(rng, (48, 48), 7.0)
    rank = density.ravel().argsort().argsort().reshape(density.shape) / density.size
    open_share = 1 - line.clustering * (1 - min(1.0, 1.08 * spec.confluence))
    closest = max(0.73 * size * (1 - 0.5 * line.overlap), 0.95 * line.nucleus_um / px)
    cell = closest / 12  # of the grid on which places that are taken are marked
    taken = np.zeros((int(tall / cell) + 1, int(wide / cell) + 1), np.uint8)
    kept: list[tuple[float, float]] = []
    for v, u, scatter in rng.random((int(40 * wanted) + 40, 3)).tolist():
        if len(kept) >= wanted:
            break
        y, x = v * tall, u * wide
        if rank[int(v * 48), int(u * 48)] <= open_share and not taken[int(y / cell), int(x / cell)]:
            kept.append((y - margin, x - margin))
            cv2.circle(taken, (int(x / cell), int(y / cell)), round(12 * (0.88 + 0.24 * scatter)), 1, -1)
    return np.array(kept).reshape(-1, 2)


def _place_few(rng: np.random.Generator, spec: FieldSpec, size: float) -> np.ndarray:
    """At most `max_cells` centres, far enough from the border for whole cells."""
    height, width = spec.shape
    room = min(0.75 * size, 0.3 * min(height, width))
    kept: list[np.ndarray] = []
    for v, u in rng.random((60 * (spec.max_cells or 0), 2)):
        if len(kept) >= (spec.max_cells or 0):
            break
        point = np.array([room + v * (height - 2 * room), room + u * (width - 2 * room)])
        if all(np.hypot(*(point - other)) > 0.85 * size for other in kept):
            kept.append(point)
    return np.array(kept).reshape(-1, 2)


def _fill(outline: np.ndarray, shape: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """Window of an outline in the field and the (h, w) bool mask in it; None if it lies outside."""
    low = np.maximum(np.floor(outline.min(0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(outline.max(0)).astype(int) + 2, shape)
    if (high <= low).any():
        return None
    mask = np.zeros(high - low, np.uint8)
    points = np.rint((outline - low)[:, ::-1] * 16).astype(np.int32)
    cv2.fillPoly(mask, [points], 1, shift=4)
    return (slice(low[0], high[0]), slice(low[1], high[1])), mask.astype(bool)


def paint(
    shape: tuple[int, int], bodies: list[np.ndarray], nuclei: list[list[np.ndarray]], order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lay cells over each other.

    Args:
        shape: height and width in pixels.
        bodies: outlines of the cells.
        nuclei: outlines of the nuclei of each cell, in the field's coordinates.
        order: (n,) cells from the lowest to the uppermost.

    Returns:
        label, under and nucleus, (H, W) int32: numbers are places in `bodies` plus 1. A cell is what hangs together
        with its nucleus; bits that a neighbour cuts off are left out.
    """
    label, under, nucleus = (np.zeros(shape, np.int32) for _ in range(3))
    for cell in order:
        filled = _fill(bodies[cell], shape)
        if filled is not None:
            window, mask = filled
            under[window][mask] = label[window][mask]
            label[window][mask] = cell + 1
    for cell in order[::-1]:
        for outline in nuclei[cell]:
            filled = _fill(outline, shape)
            if filled is not None:
                window, mask = filled
                mask &= nucleus[window] == 0
                nucleus[window][mask] = cell + 1
                covered = mask & (label[window] != cell + 1)
                under[window][covered] = 0
                label[window][mask] = cell + 1
    for cell in order:
        filled = _fill(bodies[cell], shape)
        if filled is not None:
            _drop_fragments(label[filled[0]], nucleus[filled[0]], cell + 1)
    return label, under, nucleus


def _drop_fragments(label: np.ndarray, nucleus: np.ndarray, number: int) -> None:
    """Keep of a cell, in place, the parts that hold its nucleus, or the largest one."""
    n, parts, stats, _ = cv2.connectedComponentsWithStats((label == number).astype(np.uint8), connectivity=4)
    if n <= 2:
        return
    held = np.unique(parts[(nucleus == number) & (parts > 0)])
    kept = held if len(held) else np.array([1 + stats[1:, cv2.CC_STAT_AREA].argmax()])
    label[(parts > 0) & ~np.isin(parts, kept)] = 0


def draw_cells(spec: FieldSpec) -> Cells:
    """Draw the geometry of a field.

    Args:
        spec: the field; only what describes cells and their number is used, nothing of the protein.

    Returns:
        The cells that are seen in the field, numbered from 1 without gaps.
    """
    rng = stream(spec.seed, GEOMETRY)
    line, px = spec.cell_line, spec.pixel_size_um
    centres = place(rng, spec)
    n = len(centres)
    cycle, stage = draw_cycle(rng, n, spec.mitotic_share)
    growth = 0.8 + 0.45 * cycle
    cell_px = line.cell_um / 2 / px * np.sqrt(growth) * np.exp(line.cell_cv / 2 * rng.standard_normal(n))
    nucleus_px = line.nucleus_um / 2 / px * np.sqrt(growth) * np.exp(line.nucleus_cv / 2 * rng.standard_normal(n))
    nucleus_px = np.minimum(nucleus_px, 0.72 * cell_px)
    stretch = np.sqrt(np.maximum(line.nucleus_elongation * np.exp(0.1 * rng.standard_normal(n)), 1.0))
    axes = np.stack([nucleus_px * stretch, nucleus_px / stretch], 1)
    angle = rng.random(n) * np.pi
    spread = cell_px * 0.74 * (0.42 + 0.1 * rng.random(n))
    rounded = stage != INTERPHASE
    shift = (cell_px - nucleus_px)[:, None] * 0.16 * rng.standard_normal((n, 2)) * ~rounded[:, None]
    bodies = outlines(rng, spec, centres, cell_px, nucleus_px + np.hypot(*shift.T), rounded)
    seats = centres + shift
    shapes = nucleus_outlines(rng, axes, angle, stage, px, spread)
    nuclei = [[outline + seat for outline in pieces] for pieces, seat in zip(shapes, seats, strict=True)]
    order = np.argsort(rounded * 2.0 + rng.random(n) - 0.3 * cell_px / max(cell_px.mean(), 1) if n else np.empty(0))
    label, under, nucleus = paint(spec.shape, bodies, nuclei, order)
    pole = rng.random(n) * 2 * np.pi
    columns = (*seats.T, nucleus_px, axes, angle, cell_px, pole, stage, cycle, spread)
    return _number(px, label, under, nucleus, columns)


def _number(
    px: float, label: np.ndarray, under: np.ndarray, nucleus: np.ndarray, columns: tuple[np.ndarray, ...]
) -> Cells:
    """Number the cells that are seen from 1 without gaps, slivers under 4 um2 left out, and add the entry 0."""
    n = len(columns[0])
    area = np.bincount(label.ravel(), minlength=n + 1) * px * px
    area[0] = 0
    seen = np.flatnonzero(area >= 4.0)
    number = np.zeros(n + 1, np.int32)
    number[seen] = np.arange(1, len(seen) + 1)
    arrays = [np.concatenate([np.zeros((1, *c.shape[1:]), c.dtype), c[seen - 1]]) for c in columns]
    arrays[3][0] = 1.0  # so that no direction from the entry 0 divides by zero
    label = number[label]
    under = np.where(label > 0, number[under], 0)
    return Cells(px, label, under, number[nucleus] * (number[nucleus] == label), *arrays)
