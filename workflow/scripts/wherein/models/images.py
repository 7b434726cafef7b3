"""Images of the units that a network works on: windows of stored fields, or crops of cells, all of one size in pixels.

Reading them takes no torch: processes that decode load little (`wherein.reading.batches`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wherein.channels import places_of
from wherein.crops.cut import ANOTHER
from wherein.crops.store import CropStore
from wherein.models.field_store import FieldStore
from wherein.reading.pixels import Layout, Pixels


@dataclass(frozen=True)
class Units:
    """Units and where their pixels are.

    Attributes:
        ids: unit_id of each.
        stores: path of each store.
        store: (N,) number of each unit's store.
        row: (N,) its row there.
        sizes: (N, 2) height and width that it has on the model's grid.
        full_scale: (N,) highest intensity of its detector.
        means, deviations: (N, C) of each channel over its field.
        limits: low and high percentile of each channel of its field, (N, C) each; None where they are not known.
    """

    ids: list[str]
    stores: list[str]
    store: np.ndarray
    row: np.ndarray
    sizes: np.ndarray
    full_scale: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    limits: tuple[np.ndarray, np.ndarray] | None

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, rows: np.ndarray) -> "Units":
        """Some of the units, in the order of `rows`."""
        limits = None if self.limits is None else (self.limits[0][rows], self.limits[1][rows])
        arrays = (self.store, self.row, self.sizes, self.full_scale, self.means, self.deviations)
        return Units([self.ids[row] for row in rows.tolist()], self.stores, *(array[rows] for array in arrays), limits)


class Part(NamedTuple):
    """One window that a batch needs.

    Attributes:
        place: in the batch.
        store: number of the store.
        row: of the store.
        top, left: first row and column of the window.
    """

    place: int
    store: int
    row: int
    top: int
    left: int


def field_units(paths: Sequence[str | Path], roles: Sequence[str], wanted: Sequence[str] | None = None) -> Units:
    """Fields of some stores.

    Args:
        paths: stores of fields.
        roles: channels, in order.
        wanted: `{field_id}@{version}` of the fields, in order; None for all, in the order of the stores.

    Raises:
        ValueError: a field is in no store, or a store lacks a role.
    """
    stores = [FieldStore(path) for path in paths]
    places = {name: (number, row) for number, store in enumerate(stores) for row, name in enumerate(store.fields)}
    ids = list(places) if wanted is None else list(wanted)
    if missing := [name for name in ids if name not in places]:
        raise ValueError(
            f"{len(missing)} fields of the training table are in no store, the first is {missing[0]}: a field that was "
            "learned from has been rejected since. Remove the training table, so that it is made anew"
        )
    found = np.array([places[name] for name in ids], np.int64).reshape(-1, 2)

    def gathered(values: Sequence[np.ndarray], width: tuple[int, ...]) -> np.ndarray:
        rows = [values[number][row] for number, row in found.tolist()]
        return np.array(rows, np.float64).reshape(len(ids), *width)

    channels = [store.channels(roles) if len(store) else [] for store in stores]
    means, deviations, low, high = (
        gathered([getattr(store, name)[:, own] for store, own in zip(stores, channels, strict=True)], (len(roles),))
        for name in ("means", "deviations", "low", "high")
    )
    return Units(
        ids=ids,
        stores=[str(path) for path in paths],
        store=found[:, 0],
        row=found[:, 1],
        sizes=gathered([store.sizes for store in stores], (2,)).astype(np.int64),
        full_scale=gathered([store.full_scale for store in stores], ()),
        means=means,
        deviations=deviations,
        limits=(low, high),
    )


def cell_units(
    paths: Sequence[str | Path],
    roles: Sequence[str],
    cells: pd.DataFrame,
    pixel_size_um: float | None,
    side_px: int | None = None,
) -> Units:
    """Cells of some crop stores.

    A crop's field is known by its crops alone: its mean and deviation are those over all pixels of the crops of the
    field that are given.

    Args:
        paths: stores of crops.
        roles: channels, in order.
        cells: unit_id, field_id, version, full_scale of the cells, in order.
        pixel_size_um: micrometres a pixel to bring crops to; None for the stores' own.
        side_px: side of what a network sees, the middle of a larger crop: it is one image, not several tiles. None for
            whole crops.

    Raises:
        ValueError: a cell is in no store, or a store lacks a role.
    """
    stores = [CropStore(path) for path in paths]
    places = {name: (number, row) for number, store in enumerate(stores) for row, name in enumerate(store.cell_ids)}
    if missing := [name for name in cells["unit_id"] if name not in places]:
        raise ValueError(
            f"{len(missing)} cells of the training table are in no crop store, the first is {missing[0]}: their shard "
            "was outlined anew since. Remove the training table, so that it is made anew"
        )
    found = np.array([places[name] for name in cells["unit_id"]], np.int64).reshape(-1, 2)
    views = [store.view(pixel_size_um) if len(store) else store for store in stores]
    sides = np.array([min(view.window_px, side_px or view.window_px) for view in views], np.int64)
    means, deviations = (np.zeros((len(cells), len(roles))) for _ in range(2))
    for rows in cells.reset_index(drop=True).groupby(["field_id", "version"], sort=False).indices.values():
        number = int(found[rows[0], 0])
        order = places_of(roles, stores[number].roles, stores[number].path)
        pixels = stores[number].images(found[rows, 1])[:, order]
        means[rows] = pixels.mean(axis=(0, 2, 3), dtype=np.float64)
        deviations[rows] = pixels.std(axis=(0, 2, 3), dtype=np.float64)
    return Units(
        ids=cells["unit_id"].tolist(),
        stores=[str(path) for path in paths],
        store=found[:, 0],
        row=found[:, 1],
        sizes=np.repeat(sides[found[:, 0]][:, None], 2, axis=1),
        full_scale=cells["full_scale"].to_numpy(np.float64),
        means=means,
        deviations=deviations,
        limits=None,
    )


class FieldReader:
    """Reads windows of stored fields.

    Args:
        layout: roles, side of a window and type of the pixels.
        stores: paths of the stores.
        keep_bytes: how much of what was decoded is kept for the next time; the fields that came first.
    """

    def __init__(self, layout: Layout, stores: Sequence[str], keep_bytes: int = 0) -> None:
        self.layout = layout
        self._room = keep_bytes
        self._kept: dict[tuple[int, int], np.ndarray] = {}
        self._stores = list(stores)
        self._open: dict[int, tuple[FieldStore, list[int]]] = {}
        self._held: tuple[tuple[int, int], np.ndarray] | None = None

    def fill(self, parts: list[Part], pixels: Pixels) -> None:
        """Read windows into their places; what lies beyond a field is 0.

        Raises:
            DamagedFieldsError: a field's bytes are missing or changed.
        """
        side = self.layout.size_px
        pixels.images[...] = 0
        for place, store, row, top, left in parts:
            field = self._field(store, row)
            window = field[:, top : top + side, left : left + side]
            pixels.images[place, :, : window.shape[1], : window.shape[2]] = window

    def _field(self, number: int, row: int) -> np.ndarray:
        if (number, row) in self._kept:
            return self._kept[number, row]
        # the tiles of a field follow each other
        if self._held is None or self._held[0] != (number, row):
            if number not in self._open:
                store = FieldStore(self._stores[number])
                self._open[number] = store, store.channels(self.layout.roles)
            store, channels = self._open[number]
            field = store.read(row)[channels]
            self._held = (number, row), field
            if field.nbytes <= self._room:
                self._kept[number, row] = field
                self._room -= field.nbytes
        return self._held[1]


class CellReader:
    """Reads the middle of crops, on a model's grid; what a crop does not reach is 0.

    Args:
        layout: roles, side, type and pixel size of an image.
        stores: paths of the crop stores.
        blank_neighbours: whether other cells become 0.
    """

    def __init__(self, layout: Layout, stores: Sequence[str], blank_neighbours: bool) -> None:
        self.layout = layout
        self._stores = list(stores)
        self._blank = blank_neighbours
        self._open: dict[int, Any] = {}

    def fill(self, parts: list[Part], pixels: Pixels) -> None:
        """Read crops into their places.

        Raises:
            DamagedCropsError: a crop's bytes are missing or changed.
        """
        side = self.layout.size_px
        pixels.images[...] = 0
        for place, number, row, _, _ in parts:
            if number not in self._open:
                store = CropStore(self._stores[number])
                channels = places_of(self.layout.roles, store.roles, store.path)
                self._open[number] = store.view(self.layout.pixel_size_um), channels
            view, channels = self._open[number]
            image = view.images([row])[0, channels]
            if self._blank:
                image = np.where(view.masks([row])[0, :1] == ANOTHER, image.dtype.type(0), image)
            have = image.shape[-1]
            start, shift = max((have - side) // 2, 0), max((side - have) // 2, 0)
            middle = image[:, start : start + side, start : start + side]
            width = middle.shape[-1]
            pixels.images[place, :, shift : shift + width, shift : shift + width] = middle


class UnitSource:
    """Images of units as a source of minibatches (`wherein.reading.batches.Source`).

    Rows are (n, 3): number of the unit, first row and first column of the window (0 for cells).

    Args:
        units: the units.
        roles: channels, in order.
        side: of an image, pixels.
        level: `cell` or `field`.
        pixel_size_um: of cells: micrometres a pixel; None for the stores' own.
        blank_neighbours: of cells: whether other cells become 0.
        keep_bytes: of fields: how much of what was decoded is kept for the next epoch.

    Attributes:
        reader: what decodes.
    """

    def __init__(
        self,
        units: Units,
        roles: Sequence[str],
        side: int,
        level: str,
        pixel_size_um: float | None = None,
        blank_neighbours: bool = True,
        keep_bytes: int = 0,
    ) -> None:
        used = sorted(set(units.store.tolist()))
        opened = [(FieldStore if level == "field" else CropStore)(units.stores[number]) for number in used]
        dtype = np.result_type(*(store.dtype for store in opened)) if opened else np.dtype(np.uint16)
        layout = Layout(tuple(roles), side, dtype.name, False, pixel_size_um, "area", False)
        self._units = units
        self.reader: FieldReader | CellReader = (
            FieldReader(layout, units.stores, keep_bytes)
            if level == "field"
            else CellReader(layout, units.stores, blank_neighbours)
        )

    def shape(self, rows: np.ndarray) -> tuple[int, ...]:
        """One image for each row."""
        return (len(rows),)

    def parts(self, rows: np.ndarray) -> list[Part]:
        """Windows at (n, 3) rows."""
        return [
            Part(place, int(self._units.store[unit]), int(self._units.row[unit]), top, left)
            for place, (unit, top, left) in enumerate(rows.tolist())
        ]
