"""Whole fields as a source of minibatches: random windows, tiles that cover a field, small previews."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wherein.channels import in_order
from wherein.crops.resample import resample
from wherein.digest import digest
from wherein.readers import read_field
from wherein.reading.pixels import Layout, Pixels
from wherein.reading.samplers import Sampler
from wherein.reading.tiling import tiles

KEY = ["field_id", "version"]


class FieldList:
    """Fields to draw from, in the place of a selection of cells.

    Args:
        fields: columns field_id, version, height, width (pixels, as qc has them); one row a field.

    Attributes:
        fields: the same, numbered from 0.
        rows: the numbers, (n,) int64.
    """

    def __init__(self, fields: pd.DataFrame) -> None:
        self.fields = fields[[*KEY, "height", "width"]].reset_index(drop=True)
        self.rows = np.arange(len(fields))

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def digest(self) -> str:
        """Digest of the fields and their order."""
        return digest(self.fields.to_numpy().tolist())

    @property
    def sizes(self) -> np.ndarray:
        """Height and width, (n, 2) int64."""
        return self.fields[["height", "width"]].to_numpy(np.int64)


class WindowSampler(Sampler):
    """Every field once an epoch, as one window at a random place: Rumetshofer et al. 2019 (comparison of methods).

    Rows are (n, 3): number of the field, first row and first column of the window.

    Args:
        fields: the fields.
        window_px: side of the window; of a field with a shorter side all of that side is taken.
        batch_size: windows in a batch.
        seed: of all draws.
        last: whether an epoch's last batch is given where it is smaller than the others.
    """

    def __init__(self, fields: FieldList, window_px: int, batch_size: int, seed: int = 0, last: bool = True) -> None:
        super().__init__(fields, batch_size, seed, last)
        self.window_px = window_px
        self._room = np.maximum(fields.sizes - window_px, 0)

    def _draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return rng.permutation(self.selection.rows), rng.integers(0, self._room, endpoint=True)

    def _cells(self, drawn: tuple[np.ndarray, np.ndarray], epoch: int, places: slice) -> np.ndarray:
        fields = drawn[0][places]
        return np.concatenate([fields[:, None], drawn[1][fields]], axis=1)

    def _settings(self) -> int:
        return self.window_px


class TileSampler(Sampler):
    """Tiles that cover every field, field by field, as few as possible: for inference.

    Rows are (n, 3): number of the field, first row and first column of the tile.

    Args:
        fields: the fields.
        window_px: side of a tile; of a field with a shorter side all of that side is taken.
        batch_size: tiles in a batch.
    """

    def __init__(self, fields: FieldList, window_px: int, batch_size: int) -> None:
        super().__init__(fields, batch_size)
        self.window_px = window_px
        found = [
            (number, rows.start, columns.start)
            for number, size in enumerate(fields.sizes.tolist())
            for rows, columns in tiles(*size, window_px)
        ]
        self._tiles = np.array(found, np.int64).reshape(-1, 3)
        self.length = len(found)

    def _draw(self, rng: np.random.Generator) -> None:
        return None

    def _cells(self, drawn: None, epoch: int, places: slice) -> np.ndarray:
        return self._tiles[places]

    def _settings(self) -> int:
        return self.window_px


class Window(NamedTuple):
    """What has to be read of a field.

    Attributes:
        place: in the batch.
        field: number of the field.
        rows, columns: of the field.
    """

    place: int
    field: int
    rows: slice
    columns: slice


class WindowReader:
    """Reads windows of fields.

    Args:
        layout: what a window looks like.
        files: rows of the download table of each field, by its number.
        hold: whether the field read last is kept whole in memory, for formats of which a window costs as much as all
            (JPEG, PNG), or where a field's windows follow each other.
    """

    def __init__(self, layout: Layout, files: Sequence[pd.DataFrame], hold: bool) -> None:
        self.layout = layout
        self._files = files
        self._hold = hold
        self._held: tuple[int, np.ndarray] | None = None

    def fill(self, parts: list[Window], pixels: Pixels) -> None:
        """Read the windows of a batch into their places.

        What is larger than the layout's side is brought to it by area means; what is smaller leaves zeros at the right
        and below.

        Raises:
            UnreadableImage: a file cannot be read any more.
            ValueError: the type of a file's pixels is not the layout's.
        """
        images = pixels.images
        images[...] = 0
        side = self.layout.size_px
        for place, field, rows, columns in parts:
            image = self._read(field, rows, columns)
            if image.dtype != images.dtype:
                found = self._files[field].iloc[0]["field_id"]
                raise ValueError(f"{found} has pixels of {image.dtype}, the others of {images.dtype}: read them apart")
            height, width = image.shape[1:]
            factor = side / max(height, width)
            if factor < 1:
                size = (max(round(height * factor), 1), max(round(width * factor), 1))
                image = resample(image, size, "area")
                height, width = size
            images[place, :, :height, :width] = image

    def _read(self, field: int, rows: slice, columns: slice) -> np.ndarray:
        roles = in_order(self.layout.roles)
        if not self._hold:
            planes = read_field(self._files[field], roles, (rows, columns))
            return np.stack([planes[role] for role in self.layout.roles])
        if self._held is None or self._held[0] != field:
            planes = read_field(self._files[field], roles)
            self._held = field, np.stack([planes[role] for role in self.layout.roles])
        return self._held[1][:, rows, columns]


class WindowSource:
    """Windows of fields as a source of minibatches.

    Args:
        fields: the fields.
        files: rows of the download tables of these fields (and of others).
        roles: channels, in order.
        dtype: of the files' pixels (qc has it).
        window_px: side of the windows in the field; None for whole fields.
        size_px: side of what is given; that of the windows if not given. 512 of whole fields makes previews.
        hold: see `WindowReader`; for a TileSampler.

    Attributes:
        reader: what decodes.

    Raises:
        ValueError: neither side is given, or a field has no files.
    """

    def __init__(
        self,
        fields: FieldList,
        files: pd.DataFrame,
        roles: Sequence[str],
        dtype: str,
        window_px: int | None = None,
        size_px: int | None = None,
        hold: bool = False,
    ) -> None:
        side = size_px or window_px
        if side is None:
            raise ValueError("whole fields differ in size: give size_px, the side that they are brought to")
        self._window = window_px
        self._sizes = fields.sizes
        own = _by_field(fields, files)
        self.reader = WindowReader(Layout(tuple(roles), side, dtype, False, None, "area", False), own, hold)

    def shape(self, rows: np.ndarray) -> tuple[int, ...]:
        """One window for each row."""
        return (len(rows),)

    def parts(self, rows: np.ndarray) -> list[Window]:
        """Windows at (n, 3) rows of a sampler of windows, or whole fields at (n,) rows of any other."""
        places = rows if rows.ndim == 2 else np.stack([rows, np.zeros_like(rows), np.zeros_like(rows)], axis=1)
        found = []
        for place, (field, top, left) in enumerate(places.tolist()):
            height, width = self._sizes[field].tolist()
            bottom = height if self._window is None else min(top + self._window, height)
            right = width if self._window is None else min(left + self._window, width)
            found.append(Window(place, field, slice(top, bottom), slice(left, right)))
        return found


def moments(files: pd.DataFrame, roles: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel of a field: what Rumetshofer et al. 2019 normalize by.

    Args:
        files: rows of the download table of one field version.
        roles: channels, in order.

    Returns:
        (C,) and (C,) float64.

    Raises:
        UnreadableImage: a file cannot be read.
    """
    planes = read_field(files, in_order(roles))
    found = [(planes[role].mean(dtype=np.float64), planes[role].std(dtype=np.float64)) for role in roles]
    mean, deviation = np.array(found).T
    return mean, deviation


def _by_field(fields: FieldList, files: pd.DataFrame) -> list[pd.DataFrame]:
    groups: Mapping[Any, pd.DataFrame] = dict(iter(files.groupby(KEY, sort=False)))
    keys = list(fields.fields[KEY].itertuples(index=False, name=None))
    if missing := [f"{field_id}@{version}" for field_id, version in keys if (field_id, version) not in groups]:
        raise ValueError(f"{len(missing)} fields have no files in the download tables, the first is {missing[0]}")
    return [groups[key] for key in keys]
