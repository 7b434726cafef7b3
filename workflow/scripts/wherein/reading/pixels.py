"""Pixels of crops that lie in many stores, put where they are wanted. Opens a file when a crop of it is asked for.

This is all that a process needs that does nothing but decode; it loads neither the index nor a table.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wherein.crops.blocks import BlockArray, DamagedCropsError
from wherein.crops.cut import DISTANCE, distance_of_masks
from wherein.crops.view import CropView

MASK_DTYPE, DISTANCE_DTYPE = np.dtype(np.uint8), np.dtype(np.float32)

ALIGNMENT = 64
"""Bytes at whose multiples arrays begin in a batch's memory."""


class Layout(NamedTuple):
    """What a crop looks like to its reader.

    Attributes:
        roles: channels, in order.
        size_px: height and width.
        dtype: name of the data type of images, which holds the intensities of all stores.
        masks: whether masks are read, too.
        pixel_size_um: micrometres a pixel to bring crops to; None for the stores' own.
        resampling: how, as `CropStore.view` has it.
        viewed: whether crops are a view of what is stored.
        distance: whether the distance to the nuclear boundary is given, too.
    """

    roles: tuple[str, ...]
    size_px: int
    dtype: str
    masks: bool
    pixel_size_um: float | None
    resampling: str
    viewed: bool
    distance: bool = False

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return len(self.roles), self.size_px, self.size_px

    @property
    def mask_shape(self) -> tuple[int, int, int]:
        """(2, H, W), or (0, H, W) where no masks are read."""
        return 2 if self.masks else 0, self.size_px, self.size_px

    @property
    def distance_shape(self) -> tuple[int, int, int]:
        """(1, H, W), or (0, H, W) where no distance is given."""
        return int(self.distance), self.size_px, self.size_px

    def bytes_of(self, count: int) -> int:
        """Bytes of a batch of `count` crops."""
        return sum(size for _, _, size in self._parts(count))

    def pixels(self, count: int, memory: Any = None, offset: int = 0) -> "Pixels":
        """Arrays of a batch of `count` crops, in new memory or in what a buffer has from `offset` on."""
        buffer = np.empty(self.bytes_of(count), np.uint8) if memory is None else memory
        arrays = []
        for shape, dtype, size in self._parts(count):
            values = np.frombuffer(buffer, dtype, int(np.prod(shape)), offset)
            arrays.append(values.reshape(shape))
            offset += size
        return Pixels(*arrays)

    def _parts(self, count: int) -> list[tuple[tuple[int, ...], np.dtype, int]]:
        shapes = (self.image_shape, self.mask_shape, self.distance_shape)
        found = []
        for shape, dtype in zip(shapes, (np.dtype(self.dtype), MASK_DTYPE, DISTANCE_DTYPE), strict=True):
            size = count * int(np.prod(shape)) * dtype.itemsize
            found.append(((count, *shape), dtype, -(-size // ALIGNMENT) * ALIGNMENT))
        return found


class Pixels(NamedTuple):
    """The arrays of a batch.

    Attributes:
        images: (n, C, H, W) in the layout's type.
        masks: (n, 2, H, W) uint8, or (n, 0, H, W).
        distance: (n, 1, H, W) float32, micrometres, as `CropStore.nucleus_distance` gives it, or (n, 0, H, W).
    """

    images: np.ndarray
    masks: np.ndarray
    distance: np.ndarray


class Part(NamedTuple):
    """Crops of one store that a batch needs.

    Attributes:
        shard: whose store it is.
        crops: (n,) rows of the store.
        places: (n,) places in the batch.
    """

    shard: str
    crops: np.ndarray
    places: np.ndarray


class PixelReader:
    """Reads crops of any stores in one layout.

    Args:
        layout: what a crop looks like.
        folder: folder of the stores.
        stores: what the index says of each shard's store.
    """

    def __init__(self, layout: Layout, folder: Path, stores: Mapping[str, Mapping[str, Any]]) -> None:
        self.layout = layout
        self._folder = folder
        self._stores = stores
        self._open: dict[str, _Store | CropView] = {}

    def fill(self, parts: Sequence[Part], pixels: Pixels) -> None:
        """Read the crops of a batch into their places; places that no part names become 0.

        Args:
            parts: what to read.
            pixels: where to put it, of the layout.

        Raises:
            DamagedCropsError: a crop's bytes are missing or changed, or a store is not the one that was indexed.
        """
        if sum(len(part.places) for part in parts) < len(pixels.images):
            for array in pixels:
                array[...] = 0
        for part in parts:
            store = self._open.get(part.shard) or self._opened(part.shard)
            order = [store.roles.index(role) for role in self.layout.roles]
            whole = order == list(range(len(store.roles)))
            _put(store, "images", part, pixels.images, None if whole else order)
            if self.layout.masks:
                _put(store, "masks", part, pixels.masks, None)
            if self.layout.distance:
                pixels.distance[part.places, 0] = store.nucleus_distance(part.crops)

    def _opened(self, shard: str) -> "_Store | CropView":
        store: _Store | CropView = _Store(self._folder / f"{shard}.zarr", self._stores[shard])
        if self.layout.viewed:
            store = CropView(store, self.layout.pixel_size_um, self.layout.size_px, self.layout.resampling)
        self._open[shard] = store
        return store


class _Store:
    """A crop store without the names of its cells, which are the index's to know."""

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.roles: list[str] = list(about["roles"])
        self.pixel_size_um: float = about["pixel_size_um"]
        self.window_um: float = about["window_um"]
        self.window_px: int = about["window_px"]
        self.cell_ids: list[str] = []
        try:
            group = (path / "zarr.json").read_bytes()
            self.images_array, self.masks_array = (BlockArray(path / name) for name in ("images", "masks"))
            self.distance_array = BlockArray(path / DISTANCE) if about.get(DISTANCE) else None
        except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
            raise DamagedCropsError(f"{path} is no whole crop store ({error!r}): run `crop` again") from error
        # the checksum covers names and checksums of all cells: another content has another one
        if f'"metadata_crc32c": "{about["metadata_crc32c"]}"'.encode() not in group:
            raise DamagedCropsError(f"{path} is not the store that the index was made of: run `index_crops` again")

    def images(self, indices: Sequence[int] | np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return self.images_array.read(indices, out)

    def masks(self, indices: Sequence[int] | np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return self.masks_array.read(indices, out)

    def nucleus_distance(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        if self.distance_array is not None:
            return self.distance_array.read(indices)
        return distance_of_masks(self.masks(indices), self.pixel_size_um)


def _put(store: "_Store | CropView", what: str, part: Part, out: np.ndarray, order: list[int] | None) -> None:
    read = getattr(store, what)
    if isinstance(store, _Store) and order is None and getattr(store, f"{what}_array").dtype == out.dtype:
        first, count = int(part.places[0]), len(part.places)
        if np.array_equal(part.places, np.arange(first, first + count)):
            # decoded where it belongs, without a copy
            read(part.crops, out[first : first + count])
            return
    pixels = read(part.crops).astype(out.dtype, casting="safe", copy=False)
    out[part.places] = pixels if order is None else pixels[:, order]
