"""The stage import_crops: crops made elsewhere become a crop store and rows of the ledger, like the run's own."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from wherein.atomic import atomic_path
from wherein.crops.cut import DISTANCE_DTYPE, distance_of_masks
from wherein.crops.ledger import apply_overrides
from wherein.crops.store import CropWriter
from wherein.decoders.image import UnreadableImage
from wherein.exchange.arrays import ArrayFiles
from wherein.exchange.crop_table import CELL_MASK, DISTANCE, EXTRAS, NUCLEUS_MASK
from wherein.exchange.listing import Entry, read_entry, read_listing, roles_of
from wherein.exchange.measures import masks_of, measure_crops
from wherein.reasons import CELL_REASONS, KEPT, PASSED, REJECTED, check_reason
from wherein.summary import Summary, stage_summary
from wherein.tables import cells_schema, fields_of_shard, write_table

log = logging.getLogger(__name__)

CROPS_AT_ONCE = 64
"""Crops that are held in memory, unpacked."""

NOTES_SHOWN = 50
"""Notes on single crops that the summary holds; the ledger has all."""

UNREADABLE = check_reason("unreadable", CELL_REASONS)

Key = tuple[str, str]


def import_shard(
    shard: str,
    fields: str | Path,
    listed: str | Path,
    qc: str | Path,
    settings: dict[str, Any],
    overrides: Sequence[Sequence[str]],
    crops: str | Path,
    cells: str | Path,
    summary: str | Path,
) -> None:
    """Bring the crops of a shard's passed fields into the store, and write the row of every crop.

    Pixels are stored as they are, in the narrowest type that holds those of the whole shard. The store's window is as
    large as the largest crop; smaller ones stand in its middle, with 0 around them and the flag `padded`. A row of the
    table whose crops cannot be read has one row in the ledger, since nothing tells how many they were.

    Args:
        shard: the shard.
        fields: results/catalog/fields.parquet.
        listed: results/catalog/crops.parquet.
        qc: results/qc/{shard}.parquet.
        settings: `distance_unit_um` of the source: micrometres in one unit of its distances, None for a pixel.
        overrides: a curator's words on cells, as lists in the order of `wherein.overrides.COLUMNS`.
        crops: folder to write, results/crops/{shard}.zarr.
        cells: table to write, results/cells/{shard}.parquet.
        summary: JSON to write.
    """
    with stage_summary(summary, "import_crops", shard, ("numpy", "tifffile", "imagecodecs")) as report:
        rows = pq.read_table(qc).to_pandas()
        passed = rows[rows["status"] == PASSED]
        entries = read_listing(listed, shard)
        catalog = fields_of_shard(fields, shard)
        pixel_size = float(catalog["pixel_size_um"].iloc[0])
        parts = {part for own in entries.values() for entry in own for part in entry}
        work = _Work(
            shard=shard,
            source=str(catalog["source"].iloc[0]),
            roles=roles_of(entries),
            pixel_size_um=pixel_size,
            side=int(passed[["height", "width"]].max().max()) if len(passed) else 1,
            parts=parts,
            unit_um=settings["distance_unit_um"] or pixel_size,
            words={word[1]: word for word in overrides},
        )
        # of no consequence where no field passed
        dtype = np.result_type(*(np.dtype(name) for name in passed["dtype"].unique())) if len(passed) else np.uint8
        with (
            atomic_path(crops) as partial,
            CropWriter(partial, work.roles, work.side, dtype, nucleus_distance=DISTANCE in parts) as writer,
        ):
            ledger = [
                # pandas guesses the type of what is nothing but null
                frame.dropna(axis="columns", how="all")
                for key in zip(passed["field_id"], passed["version"], strict=True)
                for frame in _import_field(work, key, entries[key], writer)
            ]
            writer.finish(_attributes(work))
        together = pd.concat(ledger, ignore_index=True) if ledger else pd.DataFrame()
        write_table(cells, together, cells_schema(work.roles))
        _report(report, work, together, len(passed))


@dataclass
class _Work:
    """What does not change from field to field of one shard, and what has been found so far.

    Attributes:
        side: height and width of the store's crops.
        parts: that some crop of the shard has.
        unit_um: micrometres in one unit of distance.
        words: a curator's words by cell, taken out as they are followed.
        extents: height and width of each stored crop.
        notes: sentences for the reader of the report.
        files: open files.
    """

    shard: str
    source: str
    roles: list[str]
    pixel_size_um: float
    side: int
    parts: set[str]
    unit_um: float
    words: dict[str, Sequence[str]]
    extents: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: ArrayFiles = field(default_factory=ArrayFiles)


def _import_field(work: _Work, key: Key, entries: Sequence[Entry], writer: CropWriter) -> Iterator[pd.DataFrame]:
    """Append a field's crops to the store; their rows come back with their places in it."""
    label = 1
    for batch in _batches(work, entries):
        if isinstance(batch, UnreadableImage):
            work.notes.append(f"{key[0]}@{key[1]}:{label} cannot be read: {batch}")
            yield _decided(work, key, label, pd.DataFrame({"fault": [UNREADABLE], "area_um2": [np.nan]}))
            label += 1
        else:
            yield _import_crops(work, key, label, batch, writer)
            label += len(next(iter(batch.values())))
    log.info("%s@%s: %d crops", *key, label - 1)


def _batches(work: _Work, entries: Sequence[Entry]) -> Iterator[dict[str, np.ndarray] | UnreadableImage]:
    """Crops by part, in the order of the table, and what is wrong with rows that cannot be read.

    A table may have a row for each crop: those of like parts and size are worked on together, CROPS_AT_ONCE at most.
    """
    waiting: list[dict[str, np.ndarray]] = []

    def together() -> Iterator[dict[str, np.ndarray]]:
        if waiting:
            yield {name: np.concatenate([part[name] for part in waiting]) for name in waiting[0]}
            waiting.clear()

    for entry in entries:
        try:
            found = read_entry(entry, work.files)
        except UnreadableImage as error:
            yield from together()
            yield error
            continue
        crops = next(iter(found.values()))
        for start in range(0, len(crops), CROPS_AT_ONCE):
            # copies: a view of what waits would keep its mapped file open
            part = {name: _native(array[start : start + CROPS_AT_ONCE]) for name, array in found.items()}
            count = sum(len(next(iter(before.values()))) for before in waiting)
            if waiting and (_like(waiting[0]) != _like(part) or count + len(next(iter(part.values()))) > CROPS_AT_ONCE):
                yield from together()
            waiting.append(part)
    yield from together()


def _like(part: dict[str, np.ndarray]) -> list[tuple[str, tuple[int, ...], str]]:
    """What crops have to share to be worked on together: their parts, size and types."""
    return [(name, array.shape[1:], array.dtype.str) for name, array in part.items()]


def _import_crops(work: _Work, key: Key, label: int, part: dict[str, np.ndarray], writer: CropWriter) -> pd.DataFrame:
    """Measure and decide some crops, and append the kept ones."""
    images = {role: part[role] for role in work.roles}
    shape = images[work.roles[0]].shape
    distance = part.get(DISTANCE)
    masks = masks_of(shape, part.get(CELL_MASK), part.get(NUCLEUS_MASK), distance)
    frame = measure_crops(images, masks, work.pixel_size_um, CELL_MASK in part, distance)
    frame["padded"] = shape[1:] != (work.side, work.side)
    frame = _decided(work, key, label, frame)
    pixels = np.stack([images[role] for role in work.roles], axis=1)
    pixels = _placed(pixels.astype(writer.dtypes["images"], casting="safe", copy=False), work.side)
    masks = _placed(masks, work.side)
    near = None
    if DISTANCE in work.parts:
        # a crop without distances beside others that have them: of its mask, as the store's readers would tell
        near = _distances(distance, masks, work)
    places: list[int | None] = []
    for row, kept in enumerate(frame["status"] == KEPT):
        place = None
        if kept:
            place = writer.add(frame["cell_id"].iloc[row], pixels[row], masks[row], None if near is None else near[row])
            work.extents.append((shape[1], shape[2]))
        places.append(place)
    return frame.assign(crop_index=pd.array(places, dtype="Int32"))


def _distances(distance: np.ndarray | None, masks: np.ndarray, work: _Work) -> np.ndarray:
    """Distances to the nuclear boundary in micrometres, (N, side, side) float16."""
    if distance is None:
        return distance_of_masks(masks, work.pixel_size_um)
    # beyond a smaller crop the distance is that of its edge: 0 would be the boundary of a nucleus
    return _placed(np.asarray(distance, np.float64) * work.unit_um, work.side, "edge").astype(DISTANCE_DTYPE)


def _decided(work: _Work, key: Key, label: int, frame: pd.DataFrame) -> pd.DataFrame:
    """Name the crops, keep those without fault, and follow a curator's word on them."""
    fault = frame["fault"]
    for reason in fault.dropna().unique():
        check_reason(reason, CELL_REASONS)
    labels = np.arange(label, label + len(frame))
    frame = frame.drop(columns="fault").assign(
        label=labels,
        cell_id=[f"{key[0]}@{key[1]}:{number}" for number in labels],
        field_id=key[0],
        version=key[1],
        shard=work.shard,
        source=work.source,
        status=fault.isna().map({True: KEPT, False: REJECTED}),
        reason=fault.where(fault.notna(), KEPT),
        touches_border=False,
        nucleus_touches_border=False,
        crop_index=None,
    )
    mine = [work.words.pop(cell_id) for cell_id in frame["cell_id"] if cell_id in work.words]
    frame, notes = apply_overrides(frame, mine)
    work.notes += notes
    return frame


def _placed(crops: np.ndarray, side: int, around: Literal["constant", "edge"] = "constant") -> np.ndarray:
    """Put crops (..., h, w) into the middle of (..., side, side), with 0 or their outermost pixels around them."""
    height, width = crops.shape[-2:]
    if (height, width) == (side, side):
        return np.ascontiguousarray(crops)
    if max(height, width) > side:
        raise ValueError(f"a crop has {height} x {width} pixels, {side} at most were seen: run `download` again")
    top, left = (side - height) // 2, (side - width) // 2
    beside = [(top, side - height - top), (left, side - width - left)]
    return np.pad(crops, [*[(0, 0)] * (crops.ndim - 2), *beside], mode=around)


def _native(array: np.ndarray) -> np.ndarray:
    """Pixels of a mapped file in memory, in the machine's byte order."""
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def _attributes(work: _Work) -> dict[str, Any]:
    """What makes the store tell for itself where it is from."""
    padded = any(extent != (work.side, work.side) for extent in work.extents)
    return {
        "pixel_size_um": work.pixel_size_um,
        "window_um": work.side * work.pixel_size_um,
        "source_pixel_size_um": work.pixel_size_um,
        "resampling": None,
        "centre": "crop",
        "imported": True,
        "given": sorted(work.parts & set(EXTRAS)),
        "extents": work.extents if padded else None,
        "shard": work.shard,
        "source": work.source,
    }


def _report(report: Summary, work: _Work, ledger: pd.DataFrame, n_fields: int) -> None:
    reasons = Counter(ledger["reason"]) if len(ledger) else Counter()
    report.counts = {"in": len(ledger), "kept": reasons.pop(KEPT, 0), **reasons}
    report.extra["fields"] = n_fields
    report.notes += work.notes[:NOTES_SHOWN]
    if len(work.notes) > NOTES_SHOWN:
        report.notes.append(f"and {len(work.notes) - NOTES_SHOWN} more such notes")
    report.notes += [
        f"{word[4]} says {word[2]} of {word[1]}, but there is no such cell" for word in work.words.values()
    ]
    if CELL_MASK not in work.parts:
        report.notes.append("no mask of the cell came with these crops: the whole crop is taken for the cell")
    if not work.parts & {NUCLEUS_MASK, DISTANCE}:
        report.notes.append("no mask of the nucleus came with these crops: they have none")
    padded = int(ledger["padded"].eq(True).sum()) if "padded" in ledger else 0
    if padded:
        report.notes.append(f"{padded} crops are smaller than the store's {work.side} pixels: 0 stands around them")
