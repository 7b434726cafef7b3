"""Drawing one shard of a simulated source: its images as any microscope would leave them, and the truth apart."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import tifffile

from wherein.atomic import atomic_path
from wherein.segmentation.masks import write_masks
from wherein.simulate.drawing import DrawnField
from wherein.simulate.faults import donor_spec, exchanged_channels, spec_with_fault, truncate_file
from wherein.simulate.field import draw_field
from wherein.simulate.plan import Plan, plan_source
from wherein.simulate.spec import ROLES_OF_MODE, FieldSpec
from wherein.simulate.streams import stream
from wherein.summary import stage_summary
from wherein.tables import FILES, TEXT, TEXTS, fields_of_shard, write_table

log = logging.getLogger(__name__)

TRUTH_CELLS = pa.schema(
    [
        ("field_id", TEXT),
        ("version", TEXT),
        ("label", pa.int32()),
        ("gene", TEXT),
        ("locations", TEXTS),
        ("protein_locations", TEXTS),
        ("mitotic", pa.bool_()),
        ("whole", pa.bool_()),
        ("cycle", pa.float64()),
    ]
)
"""results/truth/{shard}/cells.parquet"""

TRUTH_FIELDS = pa.schema(
    [
        ("field_id", TEXT),
        ("version", TEXT),
        ("gene", TEXT),
        ("protein_locations", TEXTS),
        ("mislabelled", pa.bool_()),
        ("fault", TEXT),
        ("severity", pa.int32()),
        ("heterogeneous_share", pa.float64()),
    ]
)
"""results/truth/{shard}/fields.parquet"""

CUT_FILE = 65
"""Part of a field's random numbers that tells which of its files is truncated."""


def simulate_shard(
    shard: str, source: dict[str, Any], fields: str, images: str, truth: str, files: str, summary: str
) -> None:
    """Draw the fields of one shard.

    Args:
        shard: name of the shard, `{source}-{number}`.
        source: configuration of the source, with all defaults.
        fields: results/catalog/fields.parquet.
        images: folder to write, one TIFF a field version and role: uint16, zlib.
        truth: folder to write: masks.zarr, cells.parquet, fields.parquet (docs/formats.md).
        files: results/download/{shard}.parquet to write.
        summary: results/summaries/download/{shard}.json to write; it counts fields.
    """
    with stage_summary(summary, "download", shard, ("numpy", "opencv-python-headless", "tifffile")) as report:
        members = fields_of_shard(fields, shard)
        plan = plan_source(shard.rsplit("-", 1)[0], source)
        rows: list[dict[str, Any]] = []
        cells: list[pd.DataFrame] = []
        known: list[dict[str, Any]] = []
        with atomic_path(images) as image_folder, atomic_path(truth) as truth_folder:
            image_folder.mkdir()
            truth_folder.mkdir()

            def drawn() -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
                # one field in memory at a time
                for field_id, version in zip(members["field_id"], members["version"], strict=True):
                    spec = planned(plan, field_id, version)
                    if spec is None:
                        rows.extend(retired_rows(field_id, version, source))
                        continue
                    field = draw(spec)
                    rows.extend(write_images(field, spec, version, image_folder, Path(images)))
                    if len(field.cells):
                        cells.append(truth_of_cells(field, spec, version))
                    known.append(truth_of_field(spec, version))
                    yield field_id, version, field.nucleus, field.cell

            attributes = {"method": "simulated", "settings": {}, "pixel_size_um": source["pixel_size_um"]}
            write_masks(truth_folder / "masks.zarr", drawn(), attributes)
            together = pd.concat(cells, ignore_index=True) if cells else pd.DataFrame(columns=TRUTH_CELLS.names)
            write_table(truth_folder / "cells.parquet", together, TRUTH_CELLS)
            write_table(truth_folder / "fields.parquet", pd.DataFrame(known, columns=TRUTH_FIELDS.names), TRUTH_FIELDS)
        write_table(files, pd.DataFrame(rows, columns=FILES.names), FILES)
        failed = Counter({row["field_id"]: row["reason"] for row in rows if row["reason"]}.values())
        report.counts = {"in": len(members), "kept": len(known), **failed}
        report.extra = {"seed": source["seed"]}
        log.info("drew %d of %d fields with %d cells", len(known), len(members), len(together))


def planned(plan: Plan, field_id: str, version: str) -> FieldSpec | None:
    """What a field version is drawn from; None if the configuration no longer gives this version."""
    if field_id not in plan.specs or plan.version(field_id) != version:
        return None
    return plan.specs[field_id]


def draw(spec: FieldSpec) -> DrawnField:
    """Draw a field with its fault, if it has one; a truncated file is made when it is written."""
    field = draw_field(spec_with_fault(spec))
    donor = donor_spec(spec)
    if donor is not None:
        field.channels = exchanged_channels(field.channels, draw_field(donor).channels, spec)
    return field


def write_images(field: DrawnField, spec: FieldSpec, version: str, folder: Path, final: Path) -> list[dict[str, Any]]:
    """Write one TIFF a role, and say what lies there.

    Args:
        field: the drawn field.
        spec: what it was drawn from.
        version: version of the field.
        folder: where to write.
        final: the name that `folder` will have.

    Returns:
        Rows of results/download/{shard}.parquet, in the order of storage.
    """
    roles = list(field.channels)
    cut = None
    if spec.fault == "corrupt":
        cut = roles[int(stream(spec.seed, CUT_FILE).integers(len(roles)))]
    rows = []
    for role in roles:
        path = folder / f"{spec.field_id}_{role}.tif"
        # differences along a row compress noise a little better, and level 1 is the fastest
        tifffile.imwrite(
            path, field.channels[role], compression="zlib", compressionargs={"level": 1}, predictor=True, metadata=None
        )
        if role == cut:
            truncate_file(path, spec.severity)
        content = path.read_bytes()
        rows.append(
            {
                "field_id": spec.field_id,
                "version": version,
                "role": role,
                "path": str(final / path.name),
                "z": "max",
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
                "status": "ok",
            }
        )
    return [{"channel": None, "reason": None, "gain": 1, "bin": 1, "axes": None, **row} for row in rows]


def retired_rows(field_id: str, version: str, source: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows for a field version that the configuration no longer gives: it cannot be drawn again."""
    row = {"field_id": field_id, "version": version, "z": "max", "status": "failed", "reason": "retired"}
    row |= {"gain": 1, "bin": 1, "axes": None}
    return [{**row, "role": role} for role in ROLES_OF_MODE[source["mode"]]]


def truth_of_cells(field: DrawnField, spec: FieldSpec, version: str) -> pd.DataFrame:
    """Rows of cells.parquet for one field, by label."""
    frame = field.cells.copy()
    frame["field_id"], frame["version"], frame["gene"] = spec.field_id, version, spec.gene
    frame["locations"] = [list(places) for places in frame["locations"]]
    frame["protein_locations"] = [list(spec.protein_locations) for _ in range(len(frame))]
    return frame[TRUTH_CELLS.names]


def truth_of_field(spec: FieldSpec, version: str) -> dict[str, Any]:
    """Row of fields.parquet for one field."""
    return {
        "field_id": spec.field_id,
        "version": version,
        "gene": spec.gene,
        "protein_locations": list(spec.protein_locations),
        "mislabelled": spec.mislabelled,
        "fault": spec.fault,
        "severity": spec.severity or None,
        "heterogeneous_share": spec.variable_share,
    }
