"""The stage `segment`: the outlines of every passed field of one shard."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from wherein.channels import MARKERS
from wherein.readers import read_field
from wherein.reasons import PASSED
from wherein.segmentation.cells import find_cells
from wherein.segmentation.masks import write_masks
from wherein.segmentation.whole_cells import find_whole_cells
from wherein.summary import Summary, stage_summary
from wherein.tables import fields_of_shard

log = logging.getLogger(__name__)

WATERSHED = "watershed"
WHOLE_CELLS = "whole_cells"


def segment_shard(
    shard: str,
    fields: str | Path,
    files: str | Path,
    qc: str | Path,
    settings: dict[str, Any],
    masks: str | Path,
    summary: str | Path,
) -> None:
    """Outline nuclei and cells of a shard's passed fields.

    A field on which the method fails gets empty masks, a line in the log and one in the summary.

    Args:
        shard: the shard.
        fields: results/catalog/fields.parquet.
        files: results/download/{shard}.parquet.
        qc: results/qc/{shard}.parquet.
        settings: the section `segment` of the configuration, the source's own words over it.
        masks: folder to write, results/masks/{shard}.zarr.
        summary: JSON to write.
    """
    rows = pq.read_table(qc).to_pandas()
    passed = rows[rows["status"] == PASSED]
    paths = pq.read_table(files).to_pandas()
    sizes = fields_of_shard(fields, shard).set_index(["field_id", "version"])["pixel_size_um"]
    with stage_summary(summary, "segment", shard, ("scikit-image", "opencv-python-headless", "zarr")) as report:
        roles = sorted(set(paths["role"]))
        attributes = {
            "method": method_for(roles, settings),
            "settings": settings,
            "pixel_size_um": float(sizes.iloc[0]) if len(sizes) else None,
        }
        report.counts = {"in": len(passed), "kept": 0}
        report.extra["objects"] = dict.fromkeys(("nuclei", "cells", "nuclei_without_cell", "cells_without_nucleus"), 0)
        write_masks(masks, _segmented(passed, paths, sizes, settings, report), attributes)


def method_for(roles: list[str], settings: dict[str, Any]) -> str:
    """The method that configuration asks for; `auto` takes the one that the roles allow."""
    if settings["method"] != "auto":
        return str(settings["method"])
    return WATERSHED if "nucleus" in roles else WHOLE_CELLS


def segment_field(
    images: dict[str, np.ndarray], pixel_size_um: float, settings: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Outline the nuclei and cells of one field with what its roles allow.

    Cells grow over the structural markers; over the protein only where there is no marker; a source with nuclei alone
    gets its nuclei widened. Without a nucleus channel whole cells are outlined on the reference, or on the first role.

    Args:
        images: (H, W) by role.
        pixel_size_um: micrometres a pixel.
        settings: the section `segment` of the configuration.

    Returns:
        nucleus, cell: (H, W) uint32 each, the same number for a nucleus and its cell.
    """
    if method_for(list(images), settings) == WATERSHED:
        if "nucleus" not in images:
            raise ValueError(f"segment.method {WATERSHED} needs the role nucleus; the source has {', '.join(images)}")
        bodies = [images[role] for role in MARKERS if role in images] or [
            images[role] for role in ("protein",) if role in images
        ]
        return find_cells(images["nucleus"], bodies, pixel_size_um, settings)
    role = next(role for role in ("reference", *MARKERS, "protein", "nucleus") if role in images)
    cell = find_whole_cells(images[role], pixel_size_um, settings)
    return np.zeros_like(cell), cell


def _segmented(
    passed: pd.DataFrame, paths: pd.DataFrame, sizes: pd.Series, settings: dict[str, Any], report: Summary
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    by_field = dict(list(paths.groupby(["field_id", "version"], sort=False)))
    for number, row in enumerate(passed.itertuples(), start=1):
        key = (row.field_id, row.version)
        try:
            nucleus, cell = segment_field(read_field(by_field[key]), float(sizes[key]), settings)
            report.counts["kept"] += 1
        except Exception as error:
            log.exception("%s@%s: no outlines", *key)
            report.counts["failed"] = report.counts.get("failed", 0) + 1
            report.notes.append(f"{row.field_id}@{row.version} has no outlines: {type(error).__name__}: {error}")
            nucleus = cell = np.zeros((int(row.height), int(row.width)), np.uint32)
        _count(report, nucleus, cell)
        log.info(
            "%d of %d: %s@%s, %d labels", number, len(passed), *key, max(nucleus.max(initial=0), cell.max(initial=0))
        )
        yield row.field_id, row.version, nucleus, cell


def _count(report: Summary, nucleus: np.ndarray, cell: np.ndarray) -> int:
    """Add a field's objects to the summary; how many labels it has."""
    nuclei, cells = set(np.unique(nucleus)) - {0}, set(np.unique(cell)) - {0}
    objects: dict[str, int] = report.extra["objects"]  # type: ignore[assignment]
    objects["nuclei"] += len(nuclei)
    objects["cells"] += len(cells)
    objects["nuclei_without_cell"] += len(nuclei - cells)
    objects["cells_without_nucleus"] += len(cells - nuclei)
    return len(nuclei | cells)
