"""The stage `segment`: the outlines of every passed field of one shard, and how far each can be trusted."""

import logging
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from wherein.reasons import KEPT, PASSED
from wherein.segmentation.masks import write_masks
from wherein.segmentation.methods import METHODS, methods_of
from wherein.segmentation.pairing import occurring
from wherein.segmentation.pipeline import FieldTask, Found, Work, outlined
from wherein.segmentation.quality import MEASURES
from wherein.summary import Summary, stage_summary
from wherein.tables import SEGMENTATION, fields_of_shard, write_table

log = logging.getLogger(__name__)


def segment_shard(
    shard: str,
    fields: str | Path,
    files: str | Path,
    qc: str | Path,
    settings: dict[str, Any],
    masks: str | Path,
    quality: str | Path,
    summary: str | Path,
    folder: str | Path = ".",
    device: str = "cpu",
    threads: int = 1,
    only: Sequence[str] | None = None,
) -> None:
    """Outline nuclei and cells of a shard's passed fields, and measure the outlines.

    A field on which the method fails, or on which it finds nothing, gets empty masks and a reason.

    Args:
        shard: the shard.
        fields: results/catalog/fields.parquet.
        files: results/download/{shard}.parquet.
        qc: results/qc/{shard}.parquet.
        settings: the section `segment` of the configuration, the source's own words over it.
        masks: folder to write, results/masks/{shard}.zarr.
        quality: table to write, results/segmentation/{shard}.parquet.
        summary: JSON to write.
        folder: that relative paths of label images made elsewhere start from.
        device: `auto`, `cuda` or `cpu`, for networks.
        threads: cores to use; fields are worked on side by side.
        only: ids of the fields to work on; None for all.
    """
    rows = pq.read_table(qc).to_pandas()
    passed = rows[(rows["status"] == PASSED) & (True if only is None else rows["field_id"].isin(only))]
    paths = pq.read_table(files).to_pandas()
    sizes = fields_of_shard(fields, shard).set_index(["field_id", "version"])["pixel_size_um"]
    # other jobs work on the other cores
    cv2.setNumThreads(1)
    with stage_summary(summary, "segment", shard, ("scikit-image", "opencv-python-headless", "zarr")) as report:
        roles = sorted(set(paths["role"]))
        methods = [method.name for method in methods_of(roles, settings)]
        pixel_size = float(sizes.iloc[0]) if len(sizes) else None
        attributes = {"method": methods[0], "settings": settings, "pixel_size_um": pixel_size}
        report.counts = {"in": len(passed), "kept": 0}
        report.extra["objects"] = dict.fromkeys(("nuclei", "cells", "nuclei_without_cell", "cells_without_nucleus"), 0)
        networks = [name for name in methods if METHODS[name].network]
        work = Work(methods, settings, chosen_device(device, report) if networks else "cpu", threads)
        by_field = dict(list(paths.groupby(["field_id", "version"], sort=False)))
        tasks = [
            FieldTask(
                row.field_id,
                row.version,
                by_field[row.field_id, row.version],
                float(sizes[row.field_id, row.version]),
                (int(row.height), int(row.width)),
                str(folder),
            )
            for row in passed.itertuples()
        ]
        told: list[tuple[dict[str, Any], pd.DataFrame]] = []
        write_masks(masks, _followed(outlined(tasks, work), len(tasks), report, told), attributes)
        told_fields = [row for row, _ in told]
        frames = [frame for _, frame in told if len(frame)]
        write_table(
            quality,
            pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(),
            SEGMENTATION,
            {"method": methods[0], "second": methods[1] if len(methods) > 1 else None, "fields": told_fields},
        )


def chosen_device(name: str, report: Summary) -> str:
    """Device of the networks, `cpu` or `cuda`; its name stands in the summary."""
    # torch is loaded for networks alone
    devices = import_module("wherein.models.device")
    device = devices.choose_device(name)
    report.extra["device"] = devices.describe(device)
    return str(device.type)


def _followed(
    results: Iterator[tuple[FieldTask, Found]],
    number: int,
    report: Summary,
    told: list[tuple[dict[str, Any], pd.DataFrame]],
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Hand label images on as they come, and keep account of each field in `report` and `told`."""
    for place, (task, found) in enumerate(results, start=1):
        name = f"{task.field_id}@{task.version}"
        counts = _count(report, found.nucleus, found.cell)
        reason = found.reason or KEPT
        report.counts[reason] = report.counts.get(reason, 0) + 1
        if found.reason:
            report.notes.append(f"{name} has no outlines: {found.detail}")
        log.info("%d of %d: %s, %d nuclei, %d cells", place, number, name, *counts)
        told.append((_field_row(task, found, counts), _cell_rows(task, found)))
        yield task.field_id, task.version, found.nucleus, found.cell


def _cell_rows(task: FieldTask, found: Found) -> pd.DataFrame:
    ids = [f"{task.field_id}@{task.version}:{label}" for label in found.measures["label"]]
    return found.measures.assign(cell_id=ids, field_id=task.field_id, version=task.version)


def _field_row(task: FieldTask, found: Found, counts: tuple[int, int]) -> dict[str, Any]:
    middle = {name: _middle(found.measures[name]) for name in MEASURES if name in ("contrast", "solidity")}
    return {
        "field_id": task.field_id,
        "version": task.version,
        "n_nuclei": counts[0],
        "n_cells": counts[1],
        "seconds": round(found.seconds, 4),
        **middle,
        "disagreement": _middle(found.measures["disagreement"]),
        "lost": None if np.isnan(found.lost) else round(found.lost, 4),
        "reason": found.reason,
        "detail": found.detail,
    }


def _middle(values: pd.Series) -> float | None:
    known = values.dropna()
    return round(float(known.median()), 4) if len(known) else None


def _count(report: Summary, nucleus: np.ndarray, cell: np.ndarray) -> tuple[int, int]:
    """Add a field's objects to the summary; how many nuclei and cells it has."""
    count = int(max(nucleus.max(initial=0), cell.max(initial=0)))
    has_nucleus, has_cell = (occurring(labels, count) for labels in (nucleus, cell))
    objects: dict[str, int] = report.extra["objects"]  # type: ignore[assignment]
    objects["nuclei"] += int(has_nucleus.sum())
    objects["cells"] += int(has_cell.sum())
    objects["nuclei_without_cell"] += int((has_nucleus & ~has_cell).sum())
    objects["cells_without_nucleus"] += int((has_cell & ~has_nucleus).sum())
    return int(has_nucleus.sum()), int(has_cell.sum())
