"""What networks are trained on: fields on the networks' grid with their true outlines, drawn or read from a table."""

import csv
import logging
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from wherein.atomic import atomic_path
from wherein.channels import ROLES
from wherein.readers import read_plane
from wherein.segmentation.networks.inputs import grid_shape, on_grid
from wherein.simulate.faults import spec_with_fault
from wherein.simulate.field import draw_field
from wherein.simulate.plan import CELL_LINES, generator, imaging_of, plan_source, seed_of
from wherein.simulate.spec import CellLine, FieldSpec, tuning_seed

log = logging.getLogger(__name__)

MASKS = {"nucleus": "nucleus_mask", "cell": "cell_mask"}
"""Columns of a training table that hold the paths of label images."""

BEYOND = 0.15
"""Drawn cells differ more than those of the simulator's lines do, by this share of the lines' range at each end."""

CONFLUENCE = (0.15, 0.95)
"""Range of the share of a drawn field that cells cover."""

DEBRIS = (0.0, 2.0)
"""Range of the pieces of debris for each 10,000 square micrometres of a drawn field."""

EMPTY_SHARE = 0.03
"""Share of drawn fields without a cell."""

PROTEINS = 40
"""Proteins of the source that drawn fields are taken from: every class is shown."""


@dataclass(frozen=True)
class Example:
    """One field to learn from.

    Attributes:
        name: of the field, for messages.
        channels: (4, h, w) float32, as `wherein.segmentation.networks.inputs.on_grid` gives them, but with the
            protein (or another reference) in `stand_in` whatever else the field has.
        nucleus: (h, w) int32 labels.
        cell: (h, w) int32 labels, the same number for a nucleus and its cell.
    """

    name: str
    channels: np.ndarray
    nucleus: np.ndarray
    cell: np.ndarray


def labels_on_grid(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Labels (H, W) at the centres of the pixels of another grid: (h, w) int32."""
    rows, columns = (
        np.minimum((np.arange(n) + 0.5) * side // n, side - 1).astype(np.intp)
        for n, side in zip(shape, labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)].astype(np.int32)


def example(
    name: str,
    images: dict[str, np.ndarray],
    nucleus: np.ndarray,
    cell: np.ndarray,
    pixel_size_um: float,
    grid_um: float,
) -> Example:
    """Bring one field and its outlines to the networks' grid.

    Args:
        name: of the field.
        images: (H, W) by role.
        nucleus: (H, W) labels.
        cell: (H, W) labels.
        pixel_size_um: micrometres a pixel.
        grid_um: micrometres a pixel of the networks' grid.

    Raises:
        ValueError: images and outlines differ in size.
    """
    shapes = {key: plane.shape for key, plane in {**images, "nucleus mask": nucleus, "cell mask": cell}.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{key} {' x '.join(map(str, shape))}" for key, shape in shapes.items())
        raise ValueError(f"{name}: images and masks differ in size: {found}; they must be of one size")
    # without the markers that go before it, another reference or the protein is the stand-in
    bare = {role: image for role, image in images.items() if role not in ("microtubules", "er")}
    channels = on_grid(images, pixel_size_um, grid_um)
    if len(bare) < len(images):
        channels[2] = on_grid({"nucleus": nucleus, **bare}, pixel_size_um, grid_um)[2]
    grid = grid_shape(nucleus.shape, pixel_size_um, grid_um)
    return Example(name, channels, labels_on_grid(nucleus, grid), labels_on_grid(cell, grid))


def drawn_specs(options: dict[str, Any], seed: int) -> list[FieldSpec]:
    """What simulated fields to learn from are drawn from: cells of any kind between and a little beyond the lines.

    Args:
        options: `segmenters.<name>.simulated` of the configuration.
        seed: number of the source among those for tuning.

    Returns:
        `fields` specs.
    """
    source: dict[str, Any] = {"mode": "four_roles", "reference": None, "release": "1", "seed": tuning_seed(seed)}
    source |= {"proteins": PROTEINS, "fields_per_protein": 1, "controls": 1, "faults": 0, "mislabelled": 0}
    source |= {"confounded": False, "field_px": 256, "pixel_size_um": 0.32}
    source |= {"conditions": [], "relocated": 0, "replicates": 1}
    planned = list(plan_source("segmenter", source).specs.values())
    specs = []
    for number in range(options["fields"]):
        rng = generator(seed, "segmenter", number)
        pixel = float(rng.choice(options["pixel_sizes_um"]))
        spec = replace(
            planned[int(rng.integers(len(planned)))],
            field_id=f"drawn {seed}/{number}",
            seed=seed_of(seed, "segmenter", "field", number),
            field_px=round(options["field_um"] / pixel),
            pixel_size_um=pixel,
            cell_line=any_line(rng),
            confluence=float(rng.uniform(*CONFLUENCE)),
            debris=float(rng.uniform(*DEBRIS)),
            imaging=imaging_of("four_roles", None, rng, rng),
        )
        empty = rng.random() < EMPTY_SHARE
        specs.append(replace(spec, fault="empty", severity=int(rng.integers(1, 4))) if empty else spec)
    return specs


def any_line(rng: np.random.Generator) -> CellLine:
    """Cells like none of the simulator's lines: each of their measures from the lines' range, widened by BEYOND."""
    lines = CELL_LINES["human"]
    drawn = {}
    for entry in fields(CellLine):
        if entry.name == "name":
            continue
        values = [getattr(line, entry.name) for line in lines]
        low, high = min(values), max(values)
        margin = BEYOND * (high - low)
        least = 1.0 if entry.name.endswith("elongation") else 0.0
        drawn[entry.name] = float(max(least, rng.uniform(low - margin, high + margin)))
    return CellLine(name="any", **drawn)


def drawn_examples(options: dict[str, Any], seed: int, grid_um: float) -> Iterator[Example]:
    """Draw simulated fields with their outlines; `drawn_specs` has the arguments."""
    for spec in drawn_specs(options, seed):
        drawn = draw_field(spec_with_fault(spec))
        yield example(spec.field_id, drawn.channels, drawn.nucleus, drawn.cell, spec.pixel_size_um, grid_um)


def table_examples(path: str | Path, grid_um: float) -> Iterator[Example]:
    """Read a user's fields with their outlines.

    Args:
        path: TSV or CSV, one row a field: `pixel_size_um`, a column for each role with the path of its image, and
            `nucleus_mask` and `cell_mask` with those of label images (the same number for a nucleus and its cell);
            paths relative to the table's folder.
        grid_um: micrometres a pixel of the networks' grid.

    Raises:
        ValueError: a column or a value is missing, or sizes differ; the message names the row.
    """
    table = Path(path)
    with table.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="," if table.suffix == ".csv" else "\t"))
    found = list(rows[0]) if rows else []
    needed = ["pixel_size_um", "nucleus", *MASKS.values()]
    missing = [column for column in needed if column not in found]
    if missing:
        raise ValueError(
            f"training table {table}: the column {', '.join(missing)} is missing; it has "
            f"{', '.join(found) or 'no row'}. It needs {', '.join(needed)}, and may have "
            f"{', '.join(role for role in ROLES if role != 'nucleus')}"
        )
    for number, row in enumerate(rows, start=2):
        name = f"{table.name} line {number}"
        try:
            pixel = float(row["pixel_size_um"])
        except ValueError:
            pixel = 0.0
        if not pixel > 0:
            raise ValueError(f"{name}: pixel_size_um is {row['pixel_size_um']!r}; it must be micrometres above 0")
        images = {role: read_plane(str(table.parent / row[role])) for role in ROLES if row.get(role)}
        masks = [read_plane(str(table.parent / row[column])) for column in MASKS.values()]
        yield example(name, images, *masks, pixel, grid_um)


def save_examples(path: str | Path, examples: list[Example]) -> None:
    """Store examples in one npz file, so that training that is taken up again need not draw or read them anew."""
    arrays: dict[str, np.ndarray] = {"names": np.array([item.name for item in examples])}
    for number, item in enumerate(examples):
        arrays[f"{number}/channels"] = item.channels.astype(np.float16)
        arrays[f"{number}/nucleus"] = item.nucleus
        arrays[f"{number}/cell"] = item.cell
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_examples(path: str | Path) -> list[Example]:
    """Read what `save_examples` wrote."""
    with np.load(path) as arrays:
        return [
            Example(
                str(name),
                arrays[f"{number}/channels"].astype(np.float32),
                arrays[f"{number}/nucleus"],
                arrays[f"{number}/cell"],
            )
            for number, name in enumerate(arrays["names"])
        ]
