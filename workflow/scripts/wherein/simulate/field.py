"""One simulated field from its spec to its images and truth."""

import numpy as np
import pandas as pd

from wherein.simulate.anatomy import Anatomy
from wherein.simulate.cells import Cells, draw_cells
from wherein.simulate.drawing import CELL_COLUMNS, Drawing, DrawnField
from wherein.simulate.markers import er_marker, microtubule_marker, nucleus_marker
from wherein.simulate.optics import image_channels
from wherein.simulate.protein import draw_protein
from wherein.simulate.spec import FieldSpec
from wherein.simulate.streams import DEBRIS, stream
from wherein.simulate.texture import dots
from wherein.simulate.yeast import draw_yeast


def draw_human(spec: FieldSpec) -> Drawing:
    """Draw a field of human cells before the microscope.

    Args:
        spec: the field, in one of the modes `four_roles` and `two_roles`.

    Returns:
        Densities of the mode's roles, and the truth. Everything but the protein channel and the column `locations` is
        the same whatever the protein is.
    """
    cells = draw_cells(spec)
    anatomy = Anatomy(cells, spec.seed)
    protein, locations = draw_protein(anatomy, spec)
    density = {"nucleus": nucleus_marker(anatomy)}
    if "microtubules" in spec.roles:
        density["microtubules"] = microtubule_marker(anatomy)
    if "er" in spec.roles:
        density["er"] = er_marker(anatomy)
    density["protein"] = protein
    add_debris(density, spec)
    return Drawing(
        density, cells.nucleus.astype(np.uint32), cells.label.astype(np.uint32), cells_table(cells, locations)
    )


def cells_table(cells: Cells, locations: list[list[str]]) -> pd.DataFrame:
    """Truth of the cells, one row a label, with the columns CELL_COLUMNS."""
    label = cells.label
    at_border = np.unique(np.concatenate([label[0], label[-1], label[:, 0], label[:, -1]]))
    number = np.arange(1, len(cells) + 1, dtype=np.int32)
    columns = (number, locations, cells.mitotic[1:], ~np.isin(number, at_border), cells.cycle[1:])
    return pd.DataFrame(dict(zip(CELL_COLUMNS, columns, strict=True)))


def add_debris(density: dict[str, np.ndarray], spec: FieldSpec) -> None:
    """Add pieces of dead cells, in place: round, bright in the markers, with scraps of DNA in some."""
    rng = stream(spec.seed, DEBRIS)
    height, width = spec.shape
    px = spec.pixel_size_um
    number = rng.poisson(spec.debris * height * width * px**2 / 1e4)
    y, x = rng.random(number) * height, rng.random(number) * width
    sigma = (0.35 + 0.9 * rng.random(number) ** 2) / px
    brightness = rng.lognormal(0.0, 0.5, (number, 4)) * 2 * np.pi * (sigma**2)[:, None]
    dna = rng.random(number) < 0.3
    for role, image in density.items():
        column = ("nucleus", "microtubules", "er", "protein").index(role)
        weight = brightness[:, column] * (0.35 * dna if role == "nucleus" else 1.6)
        image += dots(spec.shape, y, x, weight, sigma)


def draw_field(spec: FieldSpec) -> DrawnField:
    """Draw and image one field.

    Args:
        spec: everything it is drawn from.

    Returns:
        Its images and truth; the same spec gives the same pixels. Faults are `wherein.simulate.faults`' work.
    """
    drawing = draw_yeast(spec) if spec.mode == "yeast" else draw_human(spec)
    channels = image_channels(drawing.density, spec)
    return DrawnField(channels, drawing.nucleus, drawing.cell, drawing.cells)
