"""A field of budding yeast: clusters of mothers with buds of all sizes, their protein, and one reference channel."""

from dataclasses import replace

import numpy as np
import pandas as pd

from wherein.simulate.drawing import CELL_COLUMNS, Drawing
from wherein.simulate.spec import FieldSpec
from wherein.simulate.streams import DEBRIS, GEOMETRY, MARKERS, PROTEIN, UNSPECIFIC, stream
from wherein.simulate.texture import blur, dots, noise
from wherein.simulate.yeast_cell import (
    PATTERNS,
    Anatomy,
    Style,
    YeastCell,
    anatomy,
    bell,
    cytosol,
    nuclear_periphery,
)

BUD_FROM = 0.22
"""Place in the cell cycle where a bud appears: about a fifth of a growing culture has none."""

TRIES = 60
"""Places that are tried for one cell before it is given up."""

MARGIN_UM = 1.5
"""Space around a cell's outline that its pixels reach into, for halos."""

PEAK = 5.0
"""Brightest specific structure against the cell's mean; what is not specific is spread over the cytosol."""


def draw_yeast(spec: FieldSpec) -> Drawing:
    """Draw one field of the mode `yeast`.

    Args:
        spec: the field. Its cell line gives the sizes, `reference` what the reference channel shows.

    Returns:
        Densities of `protein` and `reference`, outlines (a bud belongs to its mother), and the cells.
    """
    cells = place_cells(spec)
    style = gene_style(spec)
    height, width = spec.shape
    protein = np.zeros(spec.shape, np.float32)
    reference = np.full(spec.shape, 1.0 if spec.reference == "brightfield" else 0.0, np.float32)
    outline, nuclei = np.zeros(spec.shape, np.uint32), np.zeros(spec.shape, np.uint32)
    rows = []
    for i, cell in enumerate(cells):
        box = box_of(cell, spec)
        y = ((np.arange(box[0].start, box[0].stop, dtype=np.float32) + 0.5) * spec.pixel_size_um)[:, None]
        x = ((np.arange(box[1].start, box[1].stop, dtype=np.float32) + 0.5) * spec.pixel_size_um)[None, :]
        here = anatomy(cell, spec.cell_line.nucleus_um, y, x, stream(spec.seed, GEOMETRY, 1, i))
        free = (here.edge > 0) & (outline[box] == 0)
        if not free.any():
            continue
        label = len(rows) + 1
        outline[box][free] = label
        nuclei[box][free & (here.nucleus_edge > 0)] = label
        protein[box] += protein_of(here, spec, style, cell_places(spec, i), stream(spec.seed, PROTEIN, 1, i))
        add_reference(reference[box], here, spec, stream(spec.seed, MARKERS, i))
        whole = all(
            y0 - r > 0 and x0 - r > 0 and y0 + r < height * spec.pixel_size_um and x0 + r < width * spec.pixel_size_um
            for y0, x0, r in cell.circles
        )
        rows.append((label, list(cell_places(spec, i)), cell.mitotic, whole, cell.cycle))
    protein += unspecific(spec, outline > 0)
    if spec.reference != "brightfield":
        # the reference's own uneven labelling
        reference *= np.exp(np.float32(0.08) * noise(stream(spec.seed, MARKERS), spec.shape, 0.5 / spec.pixel_size_um))
    frame = pd.DataFrame(rows, columns=list(CELL_COLUMNS))
    return Drawing({"protein": protein, "reference": reference}, nuclei, outline, frame)


def gene_style(spec: FieldSpec) -> Style:
    """Count, size and share of a protein's structures, from the gene's own seed."""
    rng = np.random.default_rng(spec.gene_seed)
    return Style(
        count=float(rng.uniform(0.7, 1.5)), size=float(rng.uniform(0.85, 1.2)), share=float(rng.uniform(0.75, 0.95))
    )


def place_cells(spec: FieldSpec) -> list[YeastCell]:
    """Put cells into the field, each new one beside one that is there, so that they touch as they do in a well.

    Args:
        spec: the field: its confluence, or `max_cells` for a field that has too few.

    Returns:
        Cells that do not overlap; those at the border reach beyond it.
    """
    rng = stream(spec.seed, GEOMETRY)
    side = np.array(spec.shape) * spec.pixel_size_um
    radius = spec.cell_line.cell_um / 2
    wanted = round(spec.confluence * side.prod() / (1.45 * np.pi * radius**2))
    inset = -radius
    if spec.max_cells is not None:
        wanted, inset = spec.max_cells, 2.2 * radius
    taken = np.empty((0, 3))
    cells: list[YeastCell] = []
    for _ in range(wanted):
        # a shape keeps its turn until it finds room, or large cells would be rarer where it is crowded
        shape = draw_shape(spec, rng)
        for _ in range(TRIES):
            if cells and rng.random() < 0.97 * spec.cell_line.clustering + 0.03:
                near = taken[rng.integers(len(taken))]
                angle, reach = rng.uniform(0, 2 * np.pi), near[2] + radius * rng.uniform(1.0, 1.35)
                place = near[:2] + reach * np.array([np.sin(angle), np.cos(angle)])
            else:
                place = rng.uniform(inset, side - inset)
            cell = replace(shape, y=float(place[0]), x=float(place[1]), direction=float(rng.uniform(0, 2 * np.pi)))
            circles = np.array(cell.circles)
            if (circles[:, :2] > inset).all() and (circles[:, :2] < side - inset).all() and apart(circles, taken):
                cells.append(cell)
                taken = np.concatenate([taken, circles])
                break
    return cells


def apart(circles: np.ndarray, others: np.ndarray) -> bool:
    """Whether circles (n, 3), y, x and radius, keep clear of (m, 3) others; walls may be pressed together a little."""
    gaps = np.hypot(*(circles[:, None, :2] - others[None, :, :2]).transpose(2, 0, 1))
    return bool((gaps > 0.98 * (circles[:, None, 2] + others[None, :, 2])).all())


def draw_shape(spec: FieldSpec, rng: np.random.Generator) -> YeastCell:
    """Draw a mother with its bud, whose size follows the cell cycle; it has no place yet."""
    line = spec.cell_line
    # young cells are twice as many as old ones
    cycle = float(-np.log2(1 - rng.random() / 2))
    mitotic = bool(rng.random() < spec.mitotic_share)
    cycle = float(rng.uniform(0.9, 1.0)) if mitotic else 0.9 * cycle
    radius = line.cell_um / 2 * float(np.exp(rng.normal(0, line.cell_cv)))
    grown = max(0.0, (cycle - BUD_FROM) / (1 - BUD_FROM))
    bud = radius * float(0.18 + 0.64 * np.sqrt(grown)) * float(rng.uniform(0.92, 1.06)) if grown > 0 else 0.0
    ratio = float(1 + (line.cell_elongation - 1) * rng.uniform(0.3, 1.8))
    return YeastCell(0.0, 0.0, radius, ratio, 0.0, bud, cycle, mitotic)


def box_of(cell: YeastCell, spec: FieldSpec) -> tuple[slice, slice]:
    """Pixels that a cell reaches into, with a margin, cut at the border."""
    circles = np.array(cell.circles)
    low = (circles[:, :2] - circles[:, 2:] - MARGIN_UM).min(0) / spec.pixel_size_um
    high = (circles[:, :2] + circles[:, 2:] + MARGIN_UM).max(0) / spec.pixel_size_um
    spans = [
        slice(int(np.clip(a, 0, length)), int(np.clip(np.ceil(b), 0, length)))
        for a, b, length in zip(low, high, spec.shape, strict=True)
    ]
    return spans[0], spans[1]


def cell_places(spec: FieldSpec, number: int) -> tuple[str, ...]:
    """Where the protein is in the `number`-th cell: in a known share of cells not where it usually is."""
    differs = stream(spec.seed, PROTEIN, 2, number).random() < spec.variable_share
    return spec.variable_locations if differs and spec.variable_kind == "spatial" else spec.locations


def protein_of(
    here: Anatomy, spec: FieldSpec, style: Style, places: tuple[str, ...], rng: np.random.Generator
) -> np.ndarray:
    """Density of the protein in one cell: its structures, the rest spread over the cytosol.

    Args:
        here: the cell.
        spec: the field.
        style: what is the protein's own.
        places: where it is in this cell; none in a control.
        rng: random numbers of this cell.

    Returns:
        (H, W) float32; over the cells of a field its mean in a cell is about 1, wherever the protein sits.
    """
    inside = here.edge > 0
    area = max(float(inside.sum()), 1.0)
    level = float(np.exp(rng.normal(0, 0.25))) * intensity_factor(spec, here.shape.cycle, rng)
    diffuse = cytosol(here, style, rng) if places else np.sqrt(here.depth)
    image = diffuse * np.float32(area / max(float(diffuse.sum()), 1e-6))
    if not places:
        return np.float32(0.6 * level) * image
    weights = spec.location_weights if len(places) == len(spec.location_weights) else [1 / len(places)] * len(places)
    specific = np.zeros_like(image)
    for place, weight in zip(places, weights, strict=True):
        structure = PATTERNS[place](here, style, rng)
        mean = float(structure[inside].sum()) / area
        if mean > 1e-5:  # the place may lie beyond the border of the field
            # never in place: a pattern may be a compartment of the cell itself, which the reference shows too
            structure = structure * np.float32(1 / mean)
            # a small structure cannot hold all of the protein without outshining every other class
            structure *= np.float32(min(1.0, PEAK / (style.share * float(structure.max()))))
            specific += np.float32(weight) * structure
    specific *= np.float32(style.share)
    held = float(specific[inside].sum()) / area
    return np.float32(level) * (specific + np.float32(max(0.0, 1 - held)) * image)


def intensity_factor(spec: FieldSpec, cycle: float, rng: np.random.Generator) -> float:
    """How much of the protein a cell has against the field's mean, by its kind of variation and the cell cycle."""
    factor = 1.0
    if spec.variable_kind == "intensity":
        differs = rng.random() < spec.variable_share
        mean = 1 - spec.variable_share * (1 - spec.variable_intensity)
        factor *= (spec.variable_intensity if differs else 1.0) / mean
    if spec.cycle_peak is not None:
        factor *= 0.35 + 1.3 * float(bell(np.asarray(cycle - spec.cycle_peak), 0.2))
    return factor


def add_reference(image: np.ndarray, here: Anatomy, spec: FieldSpec, rng: np.random.Generator) -> None:
    """Draw one cell into the reference channel, in place.

    Args:
        image: (H, W) float32, the cell's pixels of the channel.
        here: the cell.
        spec: the field.
        rng: random numbers of this cell.
    """
    if spec.reference == "brightfield":
        # a cell bends the light: a dark wall, a bright halo around it, a bright middle; the vacuole is a shallow dish
        image -= 0.42 * bell(here.edge - 0.12, 0.2)
        image += 0.22 * bell(here.edge + 0.45, 0.28)
        image += 0.10 * (here.edge > 0.5) * np.minimum(here.depth, 4) / 4
        image -= 0.06 * bell(here.vacuole_edge, 0.15) * (here.edge > 0)
        return
    level = np.float32(np.exp(rng.normal(0, 0.2)))
    area = max(float((here.edge > 0).sum()), 1.0)
    plain = Style(1.0, 1.0, 1.0)
    diffuse = np.maximum(here.depth - 0.9 * here.vacuole, 0.03 * here.depth)
    diffuse *= np.float32(area / max(float(diffuse.sum()), 1e-6))
    if spec.reference == "rfp":
        image += level * diffuse
        return
    ring = nuclear_periphery(here, plain, rng)
    ring *= np.float32(area / max(float(ring.sum()), 1e-6))
    image += level * (0.45 * ring + 0.55 * diffuse)


def unspecific(spec: FieldSpec, cells: np.ndarray) -> np.ndarray:
    """Signal that no protein gives: the medium's haze, more of it in a control, and bright dead specks.

    Args:
        spec: the field.
        cells: (H, W) bool, where cells are.

    Returns:
        (H, W) float32 density.
    """
    px = spec.pixel_size_um
    haze = np.zeros(spec.shape, np.float32)
    if spec.control:
        soft = blur(cells.astype(np.float32), 1.0 / px)
        haze += 0.4 * soft * np.exp(np.float32(0.2) * noise(stream(spec.seed, UNSPECIFIC), spec.shape, 1.5 / px))
    rng = stream(spec.seed, DEBRIS)
    number = rng.poisson(spec.debris * cells.size * px * px / 1e4)
    y, x = rng.uniform(0, spec.shape[0], number), rng.uniform(0, spec.shape[1], number)
    size = rng.uniform(0.3, 0.7, number) / px
    # a speck's peak is 2 to 5 densities
    return haze + dots(spec.shape, y, x, rng.uniform(2, 5, number) * 2 * np.pi * size**2, size)
