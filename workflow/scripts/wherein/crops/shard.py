"""The stage `crop`: the pixels around the cells of one shard, and the ledger of all its labels."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from wherein.atomic import atomic_path
from wherein.channels import in_order
from wherein.crops.cut import cut_cell, window_px
from wherein.crops.ledger import apply_overrides, decide, measure_labels, settings_for
from wherein.crops.store import CropWriter
from wherein.readers import read_field
from wherein.reasons import KEPT, PASSED
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
    with stage_summary(summary, "crop", shard, ("numpy", "zarr", "imagecodecs")) as report:
        own, needs_nucleus = settings_for(settings, roles)
        pixel_size = float(catalog["pixel_size_um"].iloc[0])
        side = window_px(own["window_um"], pixel_size)
        work = _Work(shard, str(catalog["source"].iloc[0]), roles, pixel_size, side, own, needs_nucleus)
        with atomic_path(crops) as partial:
            ledger = _cut_fields(work, passed, paths, masks, overrides, partial, report)
        write_table(cells, ledger, cells_schema(roles))
        _count(report, ledger)


class _Work:
    """What does not change from field to field of one shard."""

    def __init__(
        self,
        shard: str,
        source: str,
        roles: list[str],
        pixel_size_um: float,
        side: int,
        settings: dict[str, Any],
        needs_nucleus: bool,
    ) -> None:
        self.shard = shard
        self.source = source
        self.roles = roles
        self.pixel_size_um = pixel_size_um
        self.side = side
        self.settings = settings
        self.needs_nucleus = needs_nucleus

    def measured(
        self, field_id: str, version: str, images: dict[str, np.ndarray], nucleus: np.ndarray, cell: np.ndarray
    ) -> pd.DataFrame:
        """Rows of one field, decided but for the curator's words."""
        frame = measure_labels(images, nucleus, cell, self.pixel_size_um, self.side)
        frame = decide(frame, self.settings, self.needs_nucleus)
        ids = [f"{field_id}@{version}:{label}" for label in frame["label"]]
        return frame.assign(
            cell_id=ids, field_id=field_id, version=version, shard=self.shard, source=self.source, crop_index=None
        )


def _cut_fields(
    work: _Work,
    passed: pd.DataFrame,
    paths: pd.DataFrame,
    masks: str | Path,
    overrides: Sequence[Sequence[str]],
    folder: Path,
    report: Summary,
) -> pd.DataFrame:
    """Write the store and return the ledger."""
    by_field = dict(list(paths.groupby(["field_id", "version"], sort=False)))
    words: dict[str, list[Sequence[str]]] = {}
    for word in overrides:
        words.setdefault(word[1].rsplit(":", 1)[0], []).append(word)
    ledger: list[pd.DataFrame] = []
    with CropWriter(folder, work.roles, work.side, _dtype(passed)) as writer:
        for number, row in enumerate(passed.itertuples(), start=1):
            key = (row.field_id, row.version)
            nucleus, cell = read_masks(masks, *key)
            if not (nucleus.any() or cell.any()):
                log.info("%d of %d: %s@%s has no labels", number, len(passed), *key)
                continue
            images = read_field(by_field[key], work.roles)
            frame = work.measured(*key, images, nucleus, cell)
            frame, notes = apply_overrides(frame, words.pop(f"{row.field_id}@{row.version}", []))
            report.notes += notes
            ledger.append(_cut_kept(work, frame, images, nucleus, cell, writer))
            log.info("%d of %d: %s@%s, %d labels", number, len(passed), *key, len(frame))
        report.notes += [
            f"{word[4]} says {word[2]} of {word[1]}, but there is no such cell"
            for left in words.values()
            for word in left
        ]
        writer.finish(
            {
                "pixel_size_um": work.pixel_size_um,
                "window_um": work.side * work.pixel_size_um,
                "shard": work.shard,
                "source": work.source,
            }
        )
    return pd.concat(ledger, ignore_index=True) if ledger else pd.DataFrame()


def _cut_kept(
    work: _Work,
    frame: pd.DataFrame,
    images: dict[str, np.ndarray],
    nucleus: np.ndarray,
    cell: np.ndarray,
    writer: CropWriter,
) -> pd.DataFrame:
    """Append the kept cells of one field to the store; the rows come back with their places in it."""
    if next(iter(images.values())).shape != cell.shape:
        raise ValueError(
            f"{frame['cell_id'].iloc[0]}: the masks are {cell.shape}, the image "
            f"{next(iter(images.values())).shape}: the files have changed, run `download` again"
        )
    stack = np.stack([images[role] for role in work.roles]).astype(writer.dtypes["images"], casting="safe", copy=False)
    places: list[int | None] = []
    for row in frame.itertuples():
        place = None
        if row.status == KEPT:
            centre = (row.y, row.x) if np.isnan(row.nucleus_y) else (row.nucleus_y, row.nucleus_x)
            place = writer.add(row.cell_id, *cut_cell(stack, nucleus, cell, row.label, centre, work.side))
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
    exceeding = int((ledger["exceeds_window"] & (ledger["status"] == KEPT)).sum()) if len(ledger) else 0
    report.extra["exceeds_window"] = exceeding
    if exceeding:
        report.notes.append(f"{exceeding} of {kept} kept cells are larger than the window or reach beyond it")
