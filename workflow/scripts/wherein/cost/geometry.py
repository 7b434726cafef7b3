"""How large the images of a source are and how much comes of them, as far as that is known without opening any."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from wherein.crops.window import window_px

PUBLISHED_PX = {
    "hpa": ((2048, 2048), "size of most of the atlas's images; older plates are 1728 x 1728"),
    "opencell": ((600, 600), "size of OpenCell's projections"),
}
"""Height and width of a release's images, and what is known of them."""

UNITS = {
    "field": "field",
    "megapixel": "megapixel of field",
    "image_megabyte": "megabyte of pixels",
    "crop_megabyte": "megabyte of the crops' pixels",
    "cell": "kept cell",
    "unit": "vector",
}
"""What figures of resources/measured.tsv are per."""


class Geometry(NamedTuple):
    """Fields of a source.

    Attributes:
        shape: (H, W) in pixels, None while nobody has seen one.
        basis: how the shape is known.
        pixel_size_um: micrometres a pixel.
        roles: number of channels.
        pixel_bytes: bytes of a pixel of one channel.
        window_px: side of the crops in pixels.
        cells: kept cells of a field, None while that is not known.
        cells_basis: how these are known.
    """

    shape: tuple[float, float] | None
    basis: str
    pixel_size_um: float
    roles: int
    pixel_bytes: int
    window_px: int
    cells: float | None
    cells_basis: str

    def amount(self, per: str, fields: float, level: str = "cell") -> float | None:
        """How many of the units `per` there are in a number of fields; None where it is not known.

        Args:
            per: a key of UNITS.
            fields: number of fields.
            level: what one vector describes, for `unit`.
        """
        if per == "field" or (per == "unit" and level == "field"):
            return fields
        if per in ("cell", "unit"):
            return None if self.cells is None else fields * self.cells
        bytes_of_channels = self.roles * self.pixel_bytes
        if per == "crop_megabyte":
            return None if self.cells is None else fields * self.cells * bytes_of_channels * self.window_px**2 / 1e6
        if self.shape is None:
            return None
        pixels = fields * self.shape[0] * self.shape[1] / 1e6
        return pixels * bytes_of_channels if per == "image_megabyte" else pixels


class Measured(NamedTuple):
    """A row of resources/measured.tsv: bytes that a stage writes, or cells that a field holds, of one unit.

    Attributes:
        what: stage, or `cells`, or `fetch`.
        kind: kind of model, ending of a file, `8 bit` or `16 bit`; empty for none.
        per: a key of UNITS, or `mm2`.
        value: bytes (or cells) of one unit.
        n: units that were measured.
        date: when.
        source: on what.
    """

    what: str
    kind: str
    per: str
    value: float
    n: int
    date: str
    source: str


COLUMNS = Measured._fields
"""Columns of resources/measured.tsv."""


def read_measured(path: str | Path) -> dict[tuple[str, str], Measured]:
    """Read resources/measured.tsv, by what and kind."""
    with open(path, newline="", encoding="utf-8") as lines:
        rows = [
            Measured(**{**row, "value": float(row["value"]), "n": int(row["n"])})
            for row in csv.DictReader(lines, delimiter="\t")
        ]
    return {(row.what, row.kind): row for row in rows}


def geometry_of(
    source: Mapping[str, Any],
    crop: Mapping[str, Any],
    pixel_size_um: float,
    roles: Sequence[str],
    pixel_bytes: int,
    finished: Sequence[str],
    root: Path,
    measured: Mapping[tuple[str, str], Measured],
) -> Geometry:
    """Find out how large the fields of a source are.

    Args:
        source: configuration of the source.
        crop: settings of the stage crop for it.
        pixel_size_um: micrometres a pixel, as the catalog says.
        roles: channels of its fields.
        pixel_bytes: bytes of a pixel of one channel: 1 for 8 bits.
        finished: some of its shards whose cells are counted.
        root: folder of the run.
        measured: figures of another run, for what this one does not know yet.

    Returns:
        The geometry.
    """
    seen = _seen(finished, root)
    if source["kind"] == "vectors":
        # vectors made elsewhere have no pixels
        return Geometry(None, "", 0.0, 0, 1, 0, seen[1], f"{len(finished)} finished shards")
    counted = f"{len(finished)} finished {'shard' if len(finished) == 1 else 'shards'}"
    window = crop["window_um"] if "nucleus" in roles else crop["without_nucleus"]["window_um"]
    shape, basis = seen[0] or _published(source), counted
    if seen[0] is None:
        basis = _published_basis(source)
    cells, cells_basis = seen[1], counted
    side = window_px(window, crop["pixel_size_um"] or pixel_size_um)
    if source["kind"] == "crops":
        # a field of crops made elsewhere is as large as its largest crop, and holds no more than is counted
        return Geometry(
            shape, basis if shape else "", pixel_size_um, len(roles), pixel_bytes,
            round(max(shape)) if shape else side, cells, cells_basis,
        )  # fmt: skip
    density = measured.get(("cells", "nucleus" if "nucleus" in roles else "reference"))
    if cells is None and shape and density:
        cells = density.value * shape[0] * shape[1] * pixel_size_um**2 / 1e6
        cells_basis = f"{density.value:,.0f} kept cells a square millimetre: {density.source}, {density.date}"
    return Geometry(
        shape, basis if shape else "", pixel_size_um, len(roles), pixel_bytes,
        side, cells, cells_basis,
    )  # fmt: skip


def _published(source: Mapping[str, Any]) -> tuple[float, float] | None:
    if source["kind"] == "simulated":
        return (source["field_px"], source["field_px"])
    if source["kind"] == "opencell" and source["images"] == "stack":
        return None
    return PUBLISHED_PX[source["kind"]][0] if source["kind"] in PUBLISHED_PX else None


def _published_basis(source: Mapping[str, Any]) -> str:
    return "configuration" if source["kind"] == "simulated" else PUBLISHED_PX.get(source["kind"], ("", ""))[1]


def _seen(finished: Sequence[str], root: Path) -> tuple[tuple[float, float] | None, float | None]:
    """Mean height and width of the fields of finished shards, as quality control saw them, and kept cells a field."""
    heights: list[int] = []
    widths: list[int] = []
    kept = fields = 0
    for shard in finished:
        judged = pq.read_table(root / f"results/qc/{shard}.parquet", columns=["height", "width"]).to_pydict()
        heights += [value for value in judged["height"] if value is not None]
        widths += [value for value in judged["width"] if value is not None]
        status = pq.read_table(root / f"results/cells/{shard}.parquet", columns=["status"]).column("status")
        kept += status.to_pylist().count("kept")
        fields += len(judged["height"])
    shape = (sum(heights) / len(heights), sum(widths) / len(widths)) if heights else None
    return shape, kept / fields if fields else None
