"""The stage `crop`: the pixels around the cells of one shard, and the ledger of all its labels."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from wherein.atomic import atomic_path
from wherein.channels import in_order
from wherein.crops.cut import cut_cell, cut_distance
from wherein.crops.ledger import (
    apply_overrides,
    centres,
    decide,
    measure_intensities,
    measure_shapes,
    settings_for,
)
from wherein.crops.store import CropWriter
from wherein.crops.window import Window, window_of
from wherein.readers import read_field
from wherein.reasons import KEPT, PASSED
from wherein.segmentation.distance import nucleus_distance
from wherein.segmentation.masks import read_masks
from wherein.summary import Summary, stage_summary
from wherein.tables import cells_schema, fields_of_shard, write_table

log = logging.getLogger(__name__)


def crop_shard(
    shard: str,
    fields: str | Path,
    files: str | Path,
    qc: str | Path,
    masks: str | Path,
    settings: dict[str, Any],
    overrides: Sequence[Sequence[str]],
    crops: str | Path,
    cells: str | Path,
    summary: str | Path,
) -> None:
    """Cut out the kept cells of a shard's passed fields and write the row of every label.

    Args:
        shard: the shard.
        fields: results/catalog/fields.parquet.
        files: results/download/{shard}.parquet.
        qc: results/qc/{shard}.parquet.
        masks: results/masks/{shard}.zarr.
        settings: the section `crop` of the configuration, the source's own words over it.
        overrides: a curator's words on cells, as lists in the order of `wherein.overrides.COLUMNS`.
        crops: folder to write, results/crops/{shard}.zarr.
        cells: table to write, results/cells/{shard}.parquet.
        summary: JSON to write.
    """
    rows = pq.read_table(qc).to_pandas()
    passed = rows[rows["status"] == PASSED]
    paths = pq.read_table(files).to_pandas()
    catalog = fields_of_shard(fields, shard)
    roles = in_order(paths["role"])
    with stage_summary(summary, "crop", shard, ("numpy", "opencv-python-headless", "imagecodecs")) as report:
        own, needs_nucleus = settings_for(settings, roles)
        pixel_size = float(catalog["pixel_size_um"].iloc[0])
        work = _Work(
            shard=shard,
            source=str(catalog["source"].iloc[0]),
            roles=roles,
            pixel_size_um=pixel_size,
            window=window_of(own["window_um"], pixel_size, own["pixel_size_um"]),
            settings=own,
            needs_nucleus=needs_nucleus,
            masks=masks,
            words=_by_field(overrides),
        )
        with atomic_path(crops) as partial:
            ledger = _cut_fields(work, passed, paths, partial, report)
        write_table(cells, ledger, cells_schema(roles))
        _count(report, ledger)


@dataclass(frozen=True)
class _Work:
    """What does not change from field to field of one shard.

    Attributes:
        words: a curator's words by field version, `{field_id}@{version}`.
    """

    shard: str
    source: str
    roles: list[str]
    pixel_size_um: float
    window: Window
    settings: dict[str, Any]
    needs_nucleus: bool
    masks: str | Path
    words: dict[str, list[Sequence[str]]]

    def decided(
        self, field_id: str, version: str, nucleus: np.ndarray, cell: np.ndarray
    ) -> tuple[pd.DataFrame, list[str]]:
        """Rows of one field without intensities, decided, and what could not be followed."""
        frame = measure_shapes(nucleus, cell, self.pixel_size_um, self.window.source_px, self.settings["centre"])
        frame = decide(frame, self.settings, self.needs_nucleus)
        ids = [f"{field_id}@{version}:{label}" for label in frame["label"]]
        frame = frame.assign(
            cell_id=ids, field_id=field_id, version=version, shard=self.shard, source=self.source, crop_index=None
        )
        return apply_overrides(frame, self.words.get(f"{field_id}@{version}", []))


def _by_field(overrides: Sequence[Sequence[str]]) -> dict[str, list[Sequence[str]]]:
    words: dict[str, list[Sequence[str]]] = {}
    for word in overrides:
        words.setdefault(word[1].rsplit(":", 1)[0], []).append(word)
    return words


def _cut_fields(
    work: _Work,
    passed: pd.DataFrame,
    paths: pd.DataFrame,
    folder: Path,
    report: Summary,
) -> pd.DataFrame:
    """Write the store and return the ledger."""
    by_field = dict(list(paths.groupby(["field_id", "version"], sort=False)))
    ledger: list[pd.DataFrame] = []
    unheard = dict(work.words)
    distances = work.settings["nucleus_distance"]
    with CropWriter(folder, work.roles, work.window.size_px, _dtype(passed), nucleus_distance=distances) as writer:
        for number, row in enumerate(passed.itertuples(), start=1):
            key = (row.field_id, row.version)
            nucleus, cell = read_masks(work.masks, *key)
            if not (nucleus.any() or cell.any()):
                log.info("%d of %d: %s@%s has no labels", number, len(passed), *key)
                continue
            unheard.pop(f"{row.field_id}@{row.version}", None)
            images = read_field(by_field[key], work.roles)
            frame, notes = work.decided(*key, nucleus, cell)
            report.notes += notes
            ledger.append(_cut_kept(work, frame, images, nucleus, cell, writer))
            log.info("%d of %d: %s@%s, %d labels", number, len(passed), *key, len(frame))
        report.notes += [
            f"{word[4]} says {word[2]} of {word[1]}, but there is no such cell"
            for left in unheard.values()
            for word in left
        ]
        writer.finish(_attributes(work))
    return pd.concat(ledger, ignore_index=True) if ledger else pd.DataFrame()


def _attributes(work: _Work) -> dict[str, Any]:
    """What makes the store tell for itself how it was cut."""
    return {
        "pixel_size_um": work.window.pixel_size_um,
        "window_um": work.window.window_um,
        "source_pixel_size_um": work.pixel_size_um,
        "resampling": work.settings["resampling"] if work.window.resampled else None,
        "centre": work.settings["centre"],
        "shard": work.shard,
        "source": work.source,
    }


def _cut_kept(
    work: _Work,
    frame: pd.DataFrame,
    images: dict[str, np.ndarray],
    nucleus: np.ndarray,
    cell: np.ndarray,
    writer: CropWriter,
) -> pd.DataFrame:
    """Measure one field and append its kept cells to the store; the rows come back with their places in it."""
    if next(iter(images.values())).shape != cell.shape:
        raise ValueError(
            f"{frame['cell_id'].iloc[0]}: the masks are {cell.shape}, the image "
            f"{next(iter(images.values())).shape}: the files have changed, run `download` again"
        )
    frame = measure_intensities(frame, images, nucleus, cell)
    stack = np.stack([images[role] for role in work.roles]).astype(writer.dtypes["images"], casting="safe", copy=False)
    places: list[int | None] = []
    how = (work.window, work.settings["resampling"])
    margin = work.window.source_px // 2 + 1
    distance = nucleus_distance(nucleus, work.pixel_size_um, margin) if work.settings["nucleus_distance"] else None
    for row, centre in zip(frame.itertuples(), centres(frame, work.settings["centre"]), strict=True):
        place = None
        if row.status == KEPT:
            image, masks = cut_cell(stack, nucleus, cell, row.label, centre, *how)
            near = None
            if distance is not None:
                near = cut_distance(distance, margin, centre, work.window)
            place = writer.add(row.cell_id, image, masks, near)
        places.append(place)
    return frame.assign(crop_index=pd.array(places, dtype="Int32"))


def _dtype(passed: pd.DataFrame) -> np.dtype:
    """The narrowest type that holds every passed field; of no consequence where there is none."""
    names = passed["dtype"].dropna().unique()
    return np.result_type(*(np.dtype(name) for name in names)) if len(names) else np.dtype(np.uint16)


def _count(report: Summary, ledger: pd.DataFrame) -> None:
    reasons = Counter(ledger["reason"]) if len(ledger) else Counter()
    kept = reasons.pop(KEPT, 0)
    report.counts = {"in": len(ledger), "kept": kept, **reasons}
    for flag, words in (
        ("exceeds_window", "are larger than the window or reach beyond it"),
        ("padded", "lie so near the border that their window reaches beyond the field, where pixels are 0"),
    ):
        count = int((ledger[flag] & (ledger["status"] == KEPT)).sum()) if len(ledger) else 0
        report.extra[flag] = count
        if count:
            report.notes.append(f"{count} of {kept} kept cells {words}")
