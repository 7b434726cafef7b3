"""Which cells are exported, what is told of each, and their pixels a batch at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from wherein.crops.window import part_of
from wherein.reading.crops import CropSource
from wherein.reading.index import CropIndex, Selection
from wherein.reading.normalization import as_float, mask_out, stringer2021, unit_range
from wherein.reasons import EXPORT_REASONS, check_reason

TOLD = (
    *("cell_id", "field_id", "version", "source", "protein", "genes", "ensembl_ids", "labels", "reagent"),
    *("cell_line", "condition", "sample", "control", "gene_group", "gene_fold", "field_fold"),
    *("exceeds_window", "padded", "area_um2", "nucleus_area_um2", "full_scale", "pixel_size_um"),
)
"""What is told of every exported cell: columns of the index (docs/formats.md). `pixel_size_um` is that of the exported
image, `full_scale` the highest of the stored crop's type where the source does not say it."""

LISTS = ("genes", "ensembl_ids", "labels")

BATCH_BYTES = 2**26
"""Bytes of images that are held at once: as they are stored, and of what is made of them, as float32."""


@dataclass(frozen=True)
class Written:
    """What a layout has written.

    Attributes:
        files: cells in each file, by its name in the folder.
        about: what the manifest says of them beside their sizes, JSON-able.
    """

    files: dict[str, int]
    about: dict[str, Any]


def choose_cells(
    index: CropIndex, source: str, filters: Mapping[str, Any], needs_protein: bool
) -> tuple[np.ndarray, dict[str, int]]:
    """The cells of a source that pass all filters.

    Args:
        index: the index of the run.
        source: the source.
        filters: the section `export.filters` of the configuration.
        needs_protein: whether cells without a known protein are left out.

    Returns:
        rows: (n,) int64, rows of the index's table of cells, ascending.
        reasons: how many cells are left out for each reason, the first that holds, in the order of EXPORT_REASONS.

    Raises:
        CropIndexError: a filter names what no field of the run has.
    """
    rows = np.flatnonzero(_of_source(index, source)[index.field_of(np.arange(index.n_cells))])
    conditions = _conditions(index, filters)
    if needs_protein:
        conditions["no_protein"] = [{"protein": index.of_field("protein").dictionary.to_pylist()}]
    reasons: dict[str, int] = {}
    for reason, alternatives in sorted(conditions.items(), key=lambda item: list(EXPORT_REASONS).index(item[0])):
        passes = np.zeros(index.n_cells, bool)
        for where in alternatives:
            passes[index.select(where).rows] = True
        left = passes[rows]
        if not left.all():
            reasons[check_reason(reason, EXPORT_REASONS)] = int((~left).sum())
        rows = rows[left]
    return rows, reasons


def _of_source(index: CropIndex, source: str) -> np.ndarray:
    column = index.of_field("source")
    codes = pc.index_in(column.dictionary, pa.array([source])).is_valid().to_numpy(zero_copy_only=False)
    return codes[column.indices.to_numpy()]


def _conditions(index: CropIndex, filters: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """For each reason the conditions of which one has to hold, as `CropIndex.select` takes them."""
    found: dict[str, list[dict[str, Any]]] = {"small_sample": [{"small_sample": False}]}
    for reason, column, side, limit in (
        ("contrast", "contrast", "min", filters["min_contrast"]),
        ("focus", "focus_protein", "min", filters["min_focus"]),
        ("saturated", "saturated_protein", "max", filters["max_saturated"]),
    ):
        if limit is not None:
            found[reason] = [{column: {side: limit}}]
    for reason, column, wanted in (
        ("cell_line", "cell_line", filters["cell_lines"]),
        ("gene_fold", "gene_fold", filters["gene_folds"]),
        ("field_fold", "field_fold", filters["field_folds"]),
    ):
        if wanted:
            found[reason] = [{column: list(wanted)}]
    for reason in ("padded", "exceeds_window"):
        if not filters[reason]:
            found[reason] = [{reason: False}]
    if filters["genes"]:
        found["gene"] = _of_genes(index, filters["genes"])
    return found


def _of_genes(index: CropIndex, genes: Sequence[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    unknown = set(genes)
    for column in ("genes", "ensembl_ids"):
        known = set(pc.unique(index.of_field(column).flatten()).to_pylist())
        if own := [gene for gene in genes if gene in known]:
            found.append({column: own})
        unknown -= known
    # the index says what is wrong with these, and what comes near
    return [*found, {"genes": sorted(unknown)}] if unknown else found


@dataclass(frozen=True)
class CellBatch:
    """Some cells.

    Attributes:
        images: (n, C, H, W): float32 as the layout's normalization gives them, or the source's type for `raw`.
        masks: (n, 2, H, W) uint8, cell then nucleus: 0 none, 1 this one, 2 another; (n, 0, H, W) if not asked for.
        distance: (n, 1, H, W) float32, signed distance to the nuclear boundary in pixels of the image; (n, 0, H, W) if
            not asked for.
    """

    images: np.ndarray
    masks: np.ndarray
    distance: np.ndarray


class CellReader:
    """Reads cells as a layout wants them.

    Args:
        index: the index of the run.
        rows: all cells that will be asked for, at least one.
        settings: `normalization`, `masked`, `pixel_size_um` and `size_px` of the layout's configuration.
        roles: channels, in order; those of the stores if not given.
        masks: whether masks are wanted.
        distance: whether distances are.

    Attributes:
        roles: channels, in order.
        size_px: side of an image.
        dtype: type of the images; for `raw` one that holds the intensities of all stores.

    Raises:
        CropIndexError: stores differ in what the settings do not make equal, or lack a role.
        ValueError: a wanted image is larger than the crops.
    """

    def __init__(
        self,
        index: CropIndex,
        rows: np.ndarray,
        settings: Mapping[str, Any],
        roles: Sequence[str] | None = None,
        masks: bool = False,
        distance: bool = False,
    ) -> None:
        self._index, self._settings = index, settings
        self._masks = masks
        self._source = CropSource(
            index,
            _selection(index, rows),
            roles=roles,
            masks=masks or settings["masked"] != "none",
            distance=distance,
            pixel_size_um=settings["pixel_size_um"],
            size_px=settings["size_px"],
        )
        layout = self._source.reader.layout
        self.roles, self.size_px = list(layout.roles), layout.size_px
        self._stored = np.dtype(layout.dtype)
        self.dtype = self._stored if settings["normalization"] == "raw" else np.dtype(np.float32)
        # whether views fit into the crops is told now, not after hours
        self._source.reader.fill(self._source.parts(rows[:1]), layout.pixels(1))

    def pixel_sizes(self, rows: np.ndarray) -> np.ndarray:
        """Micrometres a pixel of the images of some cells, exactly: (n,) float64."""
        codes, names, _ = self._index.places(rows)
        exact = np.zeros(len(names))
        for code in np.unique(codes):
            stored = self._index.stores[names[code]]["pixel_size_um"]
            exact[code] = part_of(self.size_px, stored, self._settings["pixel_size_um"] or stored).pixel_size_um
        return exact[codes]

    def full_scales(self, rows: np.ndarray) -> np.ndarray:
        """Highest intensity that some cells' images could have: (n,) float64; NaN for fractions of unknown scale."""
        known = self._index.of_field("full_scale").to_numpy(zero_copy_only=False)
        scales = np.asarray(known, np.float64)[self._index.field_of(rows)]
        codes, names, _ = self._index.places(rows)
        highest = np.full(len(names), np.nan)
        for code in np.unique(codes):
            stored = np.dtype(self._index.stores[names[code]]["dtype"])
            if stored.kind in "ui":
                highest[code] = np.iinfo(stored).max
        return np.where(np.isnan(scales), highest[codes], scales)

    def cells(self, rows: np.ndarray) -> pd.DataFrame:
        """What is told of some cells: n rows of TOLD. Takes a time that grows with the run's fields, too."""
        told = self._index.table(rows, [name for name in TOLD if name not in ("full_scale", "pixel_size_um")])
        folds = {name: told[name].astype("Int32") for name in ("gene_fold", "field_fold")}
        exact = {"full_scale": self.full_scales(rows), "pixel_size_um": self.pixel_sizes(rows)}
        return told.assign(**folds, **exact)[list(TOLD)]

    def batches(self, rows: np.ndarray) -> Iterator[CellBatch]:
        """Read cells in their order, as many at once as BATCH_BYTES holds.

        Raises:
            DamagedCropsError: a crop's bytes are missing or changed.
            ValueError: shares of full scale are wanted of images with fractions, and the source does not say it.
        """
        codes, names = self._index.shards
        stores = [self._index.stores[names[code]] for code in np.unique(codes[self._index.field_of(rows)])]
        # a view is made from whole crops
        most = max((len(store["roles"]) * store["window_px"] ** 2 for store in stores), default=0)
        step = max(1, BATCH_BYTES // (4 * len(self.roles) * self.size_px**2 + most * self._stored.itemsize))
        for start in range(0, len(rows), step):
            yield self._read(rows[start : start + step])

    def _read(self, rows: np.ndarray) -> CellBatch:
        pixels = self._source.reader.layout.pixels(len(rows))
        self._source.reader.fill(self._source.parts(rows), pixels)
        images = mask_out(pixels.images, pixels.masks, self._settings["masked"])
        scales = self.full_scales(rows)
        if self._settings["normalization"] == "full_scale" and np.isnan(scales).any():
            raise ValueError(
                f"{self._index.cell_ids(rows[np.isnan(scales)][:1])[0]}: shares of full scale are wanted, and neither "
                "table nor configuration gives full_scale for its images, which have fractions: give it, or choose the "
                "normalization kobayashi2022"
            )
        return CellBatch(
            images=scaled(images, self._settings["normalization"], scales),
            masks=pixels.masks if self._masks else pixels.masks[:, :0],
            distance=pixels.distance / self.pixel_sizes(rows).astype(np.float32)[:, None, None, None],
        )


def _selection(index: CropIndex, rows: np.ndarray) -> Selection:
    ascending = np.sort(rows)
    fields, counts = np.unique(index.field_of(ascending), return_counts=True)
    return Selection(
        ascending.astype(np.int32), fields.astype(np.int32), np.concatenate([[0], np.cumsum(counts)]), index.digest
    )


def scaled(images: np.ndarray, normalization: str, full_scale: np.ndarray) -> np.ndarray:
    """Bring images to the scale of a layout.

    Args:
        images: (n, C, H, W) of any real type.
        normalization: `raw`, `full_scale`, `kobayashi2022` or `stringer2021`.
        full_scale: (n,) highest intensity of each crop's detector.

    Returns:
        (n, C, H, W) float32 from 0 to 1; `images` for `raw`.
    """
    if normalization == "raw":
        return images
    if normalization == "kobayashi2022":
        return unit_range(images)
    if normalization == "stringer2021":
        return np.clip(stringer2021(images), 0, 1)
    values = as_float(images)
    values /= full_scale.astype(np.float32)[:, None, None, None]
    return np.clip(values, 0, 1, out=values)


def joined(column: pd.Series) -> pd.Series:
    """Lists as text, joined by `;`; null where a list is empty."""
    text = [";".join(values) if values is not None and len(values) else None for values in column]
    return pd.Series(text, index=column.index, dtype=object)
