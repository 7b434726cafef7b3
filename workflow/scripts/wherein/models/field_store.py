"""Whole fields on a coarser grid, in the form of a crop store: one field a block, each closed by its checksum.

A network sees fields of 2,048 pixels at 256 or 512, hundreds of times over; decoding the sources' files each time would
take most of the training. Blocks are all as large as the shard's largest field; what a smaller one leaves is 0, and the
true sizes stand beside it.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pandas as pd

from wherein import __version__, tables
from wherein.atomic import atomic_path
from wherein.channels import in_order, places_of
from wherein.crops.blocks import BlockArray, BlockWriter, DamagedCropsError
from wherein.crops.resample import resample
from wherein.models.grid import Grid, parse_grid
from wherein.readers import read_field
from wherein.reading.normalization import PERCENTILES
from wherein.reasons import PASSED
from wherein.summary import stage_summary

LOG = logging.getLogger(__name__)

KEY = ["field_id", "version"]

SHARD_FIELDS = 500
"""Most fields in one file: a shard has no more (DESIGN, shard)."""

AXES = ("field", "channel", "y", "x")

BY_FIELD = ("means", "deviations", "low", "high")
"""What is known of each channel of each field, (N, C): taken on the source's own grid."""


class DamagedFieldsError(ValueError):
    """Bytes of a field store are missing or not what was written."""


def shrink_shard(shard: str, grid: str, fields: str, files: str, qc: str, store: str, summary: str) -> None:
    """Store the passed fields of one shard on a grid.

    Args:
        shard: the shard's name.
        grid: name of the grid.
        fields: fields.parquet.
        files: the shard's download table.
        qc: the shard's qc table.
        store: folder to write.
        summary: the job's summary.

    Raises:
        UnreadableImage: a file cannot be read any more.
    """
    with stage_summary(summary, "shrink", f"{grid}/{shard}", ("numpy", "opencv-python-headless")) as report:
        judged = tables.read_tables([qc], [*KEY, "status", "height", "width"])
        passed = judged[judged["status"] == PASSED].reset_index(drop=True)
        known = tables.fields_of_shard(fields, shard)[[*KEY, "pixel_size_um", "full_scale"]]
        rows = passed.merge(known, on=KEY, how="left", validate="one_to_one")
        paths = tables.read_tables([files])
        with atomic_path(store) as partial:
            write_fields(partial, rows, paths, parse_grid(grid), {"shard": shard, "grid": grid})
        report.counts = {"in": len(judged), "kept": len(rows), "not_passed": len(judged) - len(rows)}


def write_fields(path: Path, rows: pd.DataFrame, files: pd.DataFrame, grid: Grid, attributes: dict[str, Any]) -> None:
    """Write a store.

    Args:
        path: folder to write, which is not there yet.
        rows: field_id, version, height, width, pixel_size_um, full_scale; one row a field, in the order of storage.
        files: rows of the download table of these fields, and of others.
        grid: how coarse.
        attributes: JSON-able, further attributes of the group.
    """
    roles = in_order(files["role"]) if len(files) else []
    sizes = [grid.size(int(row.height), int(row.width), row.pixel_size_um) for row in rows.itertuples()]
    largest = tuple(np.max(sizes, axis=0).tolist()) if sizes else (1, 1)
    own = dict(iter(files.groupby(KEY, sort=False)))
    path.mkdir(parents=True)
    writer: BlockWriter | None = None
    told: dict[str, list[Any]] = {name: [] for name in BY_FIELD}
    for row, size in zip(rows.itertuples(), sizes, strict=True):
        planes = read_field(own[row.field_id, row.version], roles)
        image = np.stack([planes[role] for role in roles])
        if writer is None:
            writer = BlockWriter(path / "images", (len(roles), *largest), image.dtype, SHARD_FIELDS)
        for name, values in zip(BY_FIELD, measures(image), strict=True):
            told[name].append([round(float(value), 6) for value in values])
        block = np.zeros(writer.shape, writer.dtype)
        small = image if size == image.shape[1:] else resample(image, size, "area")
        block[:, : size[0], : size[1]] = small
        writer.append(np.ascontiguousarray(block, dtype=block.dtype.newbyteorder("<")))
    writer = writer or BlockWriter(path / "images", (len(roles), *largest), np.dtype(np.uint16), SHARD_FIELDS)
    writer.finish(AXES)
    shrunk = [size[0] / row.height for row, size in zip(rows.itertuples(), sizes, strict=True)]
    known = {
        **attributes,
        "roles": roles,
        "fields": (rows["field_id"] + "@" + rows["version"]).tolist(),
        "sizes": [list(size) for size in sizes],
        "pixel_size_um": [round(row.pixel_size_um / by, 9) for row, by in zip(rows.itertuples(), shrunk, strict=True)],
        "full_scale": rows["full_scale"].astype(float).tolist(),
        **told,
        "wherein_version": __version__,
        "images_crc32c": _checksum(path),
    }
    group = {"zarr_format": 3, "node_type": "group", "attributes": known}
    (path / "zarr.json").write_text(json.dumps(group, indent=1) + "\n")


def measures(image: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mean, standard deviation, low and high percentile (`PERCENTILES`) of each channel of (C, H, W), (C,) each."""
    flat = image.reshape(len(image), -1)
    low, high = np.percentile(flat, PERCENTILES, axis=1)
    return flat.mean(axis=1, dtype=np.float64), flat.std(axis=1, dtype=np.float64), low, high


class FieldStore:
    """Reads a store of fields. May be sent to other processes: files are opened when needed.

    Args:
        path: folder of the store.

    Attributes:
        roles: channels, in order.
        fields: `{field_id}@{version}` of each field, in order.
        sizes: (N, 2) int64, height and width of each field; the rest of its block is 0.
        pixel_size_um: (N,) micrometres a pixel of the stored grid.
        full_scale: (N,) highest intensity of the detector.
        means, deviations, low, high: (N, C) of each channel, on the source's own grid.

    Raises:
        DamagedFieldsError: there is no whole store at `path`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            known = json.loads((self.path / "zarr.json").read_bytes())["attributes"]
            self.images = BlockArray(self.path / "images")
            self.roles: list[str] = known["roles"]
            self.fields: list[str] = known["fields"]
            self.sizes = np.array(known["sizes"], np.int64).reshape(-1, 2)
            self.pixel_size_um = np.array(known["pixel_size_um"], np.float64)
            self.full_scale = np.array(known["full_scale"], np.float64)
            self.means, self.deviations, self.low, self.high = (
                np.array(known[name], np.float64).reshape(len(self.fields), len(self.roles)) for name in BY_FIELD
            )
            whole = known["images_crc32c"] == _checksum(self.path) and len(self.images) == len(self.fields)
        except (OSError, KeyError, TypeError, IndexError, ValueError) as error:
            raise self._damaged(repr(error)) from error
        if not whole:
            raise self._damaged("the images are not those that the store was closed with")

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def dtype(self) -> np.dtype:
        """Type of the images: the source's."""
        return self.images.dtype

    def read(self, row: int) -> np.ndarray:
        """One field, (C, h, w) in the source's type, without what its block is padded with.

        Raises:
            IndexError: a row is not there.
            DamagedFieldsError: bytes are missing or changed.
        """
        height, width = self.sizes[row].tolist()
        try:
            return self.images.read([row])[0, :, :height, :width]
        except DamagedCropsError as error:
            raise self._damaged(str(error).partition(";")[0]) from error

    def channels(self, roles: Sequence[str]) -> list[int]:
        """Places of roles among the channels.

        Raises:
            ValueError: the store lacks a role.
        """
        return places_of(roles, self.roles, self.path)

    def _damaged(self, found: str) -> DamagedFieldsError:
        again = f"results/fields/{self.path.parent.name}/{self.path.name}"
        return DamagedFieldsError(
            f"{self.path} is no whole store of fields ({found}): make it again, `snakemake --cores all --forcerun "
            f"{again}`"
        )


def _checksum(path: Path) -> str:
    return f"{google_crc32c.value((path / 'images' / 'zarr.json').read_bytes()):08x}"
