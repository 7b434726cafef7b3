"""The stage `crop_statistics`: how bright the pixels of all current crops are, in one lazy pass over all stores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import dask
import dask.array as da
import numpy as np
import pandas as pd
import pyarrow as pa

from wherein import tables
from wherein.crops.blocks import BlockArray
from wherein.crops.cut import THIS
from wherein.crops.store import CropStore
from wherein.reasons import KEPT
from wherein.summary import stage_summary

KEY = ["field_id", "version"]

PERCENTILES = (0.1, 1, 5, 25, 50, 75, 95, 99, 99.9)

REGIONS = ("window", "cell")
"""Pixels that are counted: all of the crops that lie within their field, or those of their own cells."""

COLUMNS = (
    *("source", "role", "region", "crops", "pixels", "mean", "deviation", "min", "max"),
    *(f"p{percentile:g}" for percentile in PERCENTILES),
)
"""results/statistics/crops.tsv"""

HISTOGRAMS = pa.schema(
    [
        ("source", tables.TEXT),
        ("role", tables.TEXT),
        ("region", tables.TEXT),
        ("intensity", tables.REAL),
        ("pixels", pa.int64()),
    ]
)
"""results/statistics/histograms.parquet"""

CODES = 2**16
"""Bins of a histogram: integers of 8 and 16 bits are counted one by one."""

CHUNK_PIXELS = 2**22
"""Pixels of a channel that are held at once. OpenCV counts in float32, which holds integers up to 2 ** 24 exactly."""

FAN_IN = 16
"""Partial histograms that are added up at once."""


def statistics_run(
    fields: str | Path,
    crops: Sequence[str | Path],
    cells: Sequence[str | Path],
    statistics: str | Path,
    histograms: str | Path,
    summary: str | Path,
    threads: int = 1,
) -> None:
    """Count the pixels of all crops of current field versions by source, channel and intensity.

    Args:
        fields: results/catalog/fields.parquet.
        crops: crop stores.
        cells: ledgers of the same shards, in the same order.
        statistics: table to write, results/statistics/crops.tsv.
        histograms: table to write, results/statistics/histograms.parquet.
        summary: JSON to write.
        threads: that decode and count.

    Raises:
        DamagedCropsError: a store is not as it was written.
    """
    with stage_summary(summary, "crop_statistics", "run", ("dask", "numpy", "opencv-python-headless")) as report:
        known = _current_versions(fields)
        lazy: dict[str, list[_Counted]] = {}
        total = 0
        for path, ledger in zip(crops, cells, strict=True):
            store = CropStore(path)
            whole, current = crop_flags(ledger, known)
            total += len(store)
            if current.any():
                part = _Counted(store, int(current.sum()), lazy_counts(path, whole, current))
                lazy.setdefault(str(store.attributes["source"]), []).append(part)
        (found,) = dask.compute(
            {source: [part.counts for part in parts] for source, parts in lazy.items()},
            scheduler="threads",
            num_workers=threads,
        )
        rows, counted = [], []
        for source, parts in lazy.items():
            own, columns = _of_source(source, parts, found[source])
            rows += own
            counted += columns
        tables.write_tsv(statistics, pd.DataFrame(rows, columns=list(COLUMNS)), COLUMNS)
        frame = pd.concat(counted, ignore_index=True) if counted else pd.DataFrame(columns=HISTOGRAMS.names)
        tables.write_table(histograms, frame, HISTOGRAMS)
        kept = sum(part.crops for parts in lazy.values() for part in parts)
        report.counts = {"in": total, "kept": kept, "retired": total - kept}


def lazy_array(path: str | Path, name: str = "images") -> da.Array:
    """An array of a crop store as a dask array that decodes crops when they are computed.

    `dask.array.from_zarr` gives the same numbers; this one decodes some 20 times as fast.

    Args:
        path: the store.
        name: `images` or `masks`.

    Returns:
        (N, C, H, W), some CHUNK_PIXELS of each channel in a chunk.
    """
    blocks = BlockArray(Path(path) / name)
    count = max(CHUNK_PIXELS // int(np.prod(blocks.shape[-2:])), 1)
    empty = np.empty((0,) * len(blocks.shape), blocks.dtype)
    return da.from_array(_Sliced(blocks), chunks=(count, *blocks.shape[1:]), name=False, asarray=True, meta=empty)


def crop_flags(cells: str | Path, known: pd.MultiIndex) -> tuple[np.ndarray, np.ndarray]:
    """What is to be known of the crops of a shard.

    Args:
        cells: ledger of the shard.
        known: (field_id, version) of current field versions.

    Returns:
        whole: (N,) bool in the order of the store, crops that lie within their field.
        current: (N,) bool, crops of current field versions.
    """
    rows = tables.read_tables([cells], [*KEY, "status", "crop_index", "padded"])
    kept = rows[rows["status"] == KEPT].sort_values("crop_index")
    whole = ~kept["padded"].astype("boolean").fillna(False).to_numpy(bool)
    return whole, pd.MultiIndex.from_frame(kept[KEY]).isin(known)


def lazy_counts(path: str | Path, whole: np.ndarray, current: np.ndarray) -> Any:
    """Histograms of a store, not computed yet: see `count_pixels`; the flags are for all crops of the store."""
    lazy = lazy_array(path)
    images, masks = (array.to_delayed().ravel() for array in (lazy, lazy_array(path, "masks")))
    ends = np.cumsum(lazy.chunks[0])
    parts = [
        dask.delayed(count_pixels)(image, mask, *own)
        for image, mask, *own in zip(
            images, masks, *(np.split(flags, ends[:-1]) for flags in (whole, current)), strict=True
        )
    ]
    while len(parts) > 1:
        parts = [dask.delayed(_added)(parts[start : start + FAN_IN]) for start in range(0, len(parts), FAN_IN)]
    return parts[0]


def count_pixels(images: np.ndarray, masks: np.ndarray, whole: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Count pixels by channel, region and intensity.

    Args:
        images: (n, C, H, W) of any real type.
        masks: (n, 2, H, W) of the same crops.
        whole: (n,) bool, crops of which all pixels count; what lies beyond a field was never measured.
        current: (n,) bool, crops that count at all.

    Returns:
        (C, 2, CODES) int64, regions as in REGIONS, intensities as `codes` has them.
    """
    counts = np.zeros((images.shape[1], len(REGIONS), CODES), np.int64)
    if not current.all():
        images, masks, whole = images[current], masks[current], whole[current]
    if not len(images):
        return counts
    width = images.shape[-1]
    cell = np.ascontiguousarray(masks[:, 0] == THIS, dtype=np.uint8).reshape(-1, width)
    window = np.repeat(whole.astype(np.uint8), images.shape[-2])[:, None].repeat(width, axis=1)
    for channel, own in zip(range(images.shape[1]), counts, strict=True):
        plane = np.ascontiguousarray(codes(images[:, channel])).reshape(-1, width)
        for region, mask in enumerate((window, cell)):
            own[region] = cv2.calcHist([plane], [0], mask, [CODES], [0, CODES]).ravel()
    return counts


def codes(values: np.ndarray) -> np.ndarray:
    """Number the intensities in their order: uint16, of the shape of `values`.

    Integers of 8 and 16 bits have a number each. Other types share one among neighbours that differ by less than 0.8 %:
    the upper half of the bits of a float32, which sort as its values do.
    """
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return values.astype(np.uint16, copy=False)
    if values.dtype.kind == "i" and values.dtype.itemsize <= 2:
        return (values.astype(np.int32) + CODES // 2).astype(np.uint16)
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    # of negative numbers the larger bits are the smaller value
    return (np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)) >> 16).astype(np.uint16)


def intensities(dtype: np.dtype) -> np.ndarray:
    """Intensity of each number that `codes` gives, (CODES,) float64; the middle of those that share one."""
    dtype = np.dtype(dtype)
    numbers = np.arange(CODES, dtype=np.uint32)
    if dtype.kind in "ui" and dtype.itemsize <= 2:
        return numbers.astype(np.float64) - (CODES // 2 if dtype.kind == "i" else 0)
    bits = (numbers << 16) | np.uint32(1 << 15)
    values = np.where(bits >> 31, bits ^ np.uint32(1 << 31), ~bits).astype(np.uint32).view(np.float32)
    # some patterns of bits are no numbers; no pixel has them
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64)


def percentile(counts: np.ndarray, values: np.ndarray, share: float) -> float:
    """A percentile of counted intensities: the smallest that at least this share of the pixels does not exceed.

    Args:
        counts: (n,) pixels of each intensity, above 0.
        values: (n,) the intensities, ascending.
        share: percent.
    """
    total = np.cumsum(counts)
    # in whole numbers, or rounding may go beyond a count
    wanted = -(-int(total[-1]) * round(share * 1000) // 100_000)
    return float(values[np.searchsorted(total, wanted, side="left")])


def limits(statistics: str | Path, source: str, roles: Sequence[str], region: str = "window") -> np.ndarray:
    """1st and 99th percentile of the channels of a source, for the normalization `stringer2021`: (2, C) float64.

    Raises:
        ValueError: the table does not have them.
    """
    rows = pd.read_csv(statistics, sep="\t")
    own = rows[(rows["source"] == source) & (rows["region"] == region)].set_index("role")
    if missing := [role for role in roles if role not in own.index]:
        raise ValueError(
            f"{statistics} has no {', '.join(missing)} of {source}: it has {', '.join(own.index) or 'none'}"
        )
    return own.loc[list(roles), ["p1", "p99"]].to_numpy(np.float64).T


class _Counted(NamedTuple):
    """A store of which `crops` count, and its histograms, not computed yet."""

    store: CropStore
    crops: int
    counts: Any


class _Sliced:
    """Blocks of a store under the slices that dask asks for."""

    def __init__(self, blocks: BlockArray) -> None:
        self._blocks = blocks
        self.shape, self.dtype, self.ndim = blocks.shape, blocks.dtype, len(blocks.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        return self._blocks.read(np.arange(*key[0].indices(self.shape[0])))[(slice(None), *key[1:])]


def _current_versions(fields: str | Path) -> pd.MultiIndex:
    rows = tables.read_tables([fields], [*KEY, "retired_in"])
    return pd.MultiIndex.from_frame(rows.loc[rows["retired_in"].isna(), KEY])


def _added(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.sum(parts, axis=0)


def _of_source(
    source: str, parts: Sequence[_Counted], counts: Sequence[np.ndarray]
) -> tuple[list[dict[str, Any]], list[pd.DataFrame]]:
    """Rows of the two tables; stores of one source that differ in data type keep their own intensities."""
    added: dict[tuple[str, str], dict[float, int]] = {}
    crops: dict[str, int] = {}
    for (store, count, _), own in zip(parts, counts, strict=True):
        values = intensities(store.dtype)
        for role, by_region in zip(store.roles, own, strict=True):
            crops[role] = crops.get(role, 0) + count
            for region, histogram in zip(REGIONS, by_region, strict=True):
                there = np.flatnonzero(histogram)
                bins = added.setdefault((role, region), {})
                for value, pixels in zip(values[there].tolist(), histogram[there].tolist(), strict=True):
                    bins[value] = bins.get(value, 0) + pixels
    rows, columns = [], []
    for (role, region), bins in added.items():
        values = np.array(sorted(bins))
        pixels = np.array([bins[value] for value in values.tolist()], np.int64)
        key = {"source": source, "role": role, "region": region}
        rows.append({**key, "crops": crops[role], **describe(values, pixels)})
        columns.append(pd.DataFrame({**key, "intensity": values, "pixels": pixels}))
    return rows, columns


def describe(values: np.ndarray, pixels: np.ndarray) -> dict[str, float]:
    """Number of pixels, mean, standard deviation, extremes and percentiles of counted intensities."""
    total = int(pixels.sum())
    if not total:
        return {"pixels": 0}
    mean = float((values * pixels).sum() / total)
    deviation = float(np.sqrt((pixels * (values - mean) ** 2).sum() / total))
    found = {"pixels": total, "mean": mean, "deviation": deviation, "min": float(values[0]), "max": float(values[-1])}
    return found | {f"p{share:g}": percentile(pixels, values, share) for share in PERCENTILES}
