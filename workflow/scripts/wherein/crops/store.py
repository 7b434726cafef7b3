"""The crop store: a Zarr v3 group that plain zarr opens, written as cells come and read at random without waste.

Every byte of a store answers to a checksum: blocks and the indexes of their files to a crc32c (`wherein.crops.blocks`),
each cell to one over its pixels, and the three files of metadata to one that the group's attributes hold.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import google_crc32c
import numpy as np
import pyarrow.parquet as pq

from wherein import __version__
from wherein.crops.blocks import BlockArray, BlockWriter, DamagedCropsError, again, shard_path
from wherein.crops.cut import DISTANCE, DISTANCE_DTYPE, distance_of_masks
from wherein.crops.view import CropView
from wherein.reasons import KEPT

SHARD_CROPS = 4000
"""Most crops in one file of images."""

MASKS_PER_IMAGE = 16
"""How many times more crops a file of masks has room for: masks take some 1 % of the bytes of images, and so nearly
every store has a single file of them."""

ARRAYS = {"images": ("cell", "channel", "y", "x"), "masks": ("cell", "mask", "y", "x")}
"""Arrays of every store and their axes."""

DISTANCE_AXES = ("cell", "y", "x")

METADATA_CHECKSUM = "metadata_crc32c"

SNAKEMAKES_MARK = ".snakemake_timestamp"
"""An empty file that Snakemake puts into a folder that a rule has written, to know its age: no part of the store, and
none that is too many."""


class CropWriter:
    """Writes a store crop by crop. Use as a context manager on a path that does not exist yet.

    Args:
        path: folder to write; give the name from `wherein.atomic.atomic_path`.
        roles: channels of the crops, in the order of storage.
        side: height and width in pixels.
        dtype: type of the images.
        shard_crops: most crops in one file of images.
        nucleus_distance: whether each crop comes with its distances to the nuclear boundary.
    """

    def __init__(
        self,
        path: str | Path,
        roles: Sequence[str],
        side: int,
        dtype: np.dtype,
        shard_crops: int = SHARD_CROPS,
        nucleus_distance: bool = False,
    ) -> None:
        self.path = Path(path)
        self.roles = list(roles)
        self.axes = _axes(nucleus_distance)
        self.shapes = {"images": (len(self.roles), side, side), "masks": (2, side, side), DISTANCE: (side, side)}
        self.dtypes = {"images": np.dtype(dtype), "masks": np.dtype(np.uint8), DISTANCE: DISTANCE_DTYPE}
        self.cell_ids: list[str] = []
        self.checksums: list[int] = []
        room = {"images": shard_crops, "masks": shard_crops * MASKS_PER_IMAGE, DISTANCE: shard_crops}
        self._writers = {
            name: BlockWriter(self.path / name, self.shapes[name], self.dtypes[name], room[name]) for name in self.axes
        }

    def __enter__(self) -> "CropWriter":
        self.path.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers.values():
            writer.close()

    def add(
        self, cell_id: str, image: np.ndarray, masks: np.ndarray, nucleus_distance: np.ndarray | None = None
    ) -> int:
        """Append one crop.

        Args:
            cell_id: the cell.
            image: (C, side, side).
            masks: (2, side, side) uint8.
            nucleus_distance: (side, side) float16, micrometres; for a store that has them.

        Returns:
            Its row in the store.

        Raises:
            ValueError: shape or type differ from the store's, or distances are missing or not asked for.
        """
        checksum = 0
        arrays = [image, masks] + ([] if nucleus_distance is None else [nucleus_distance])
        if len(arrays) != len(self.axes):
            raise ValueError(f"{cell_id}: {len(arrays)} arrays; the store holds {', '.join(self.axes)}")
        for name, array in zip(self.axes, arrays, strict=True):
            if array.shape != self.shapes[name] or array.dtype != self.dtypes[name]:
                raise ValueError(
                    f"{cell_id}: {name} are {array.shape} {array.dtype}; "
                    f"the store holds {self.shapes[name]} {self.dtypes[name]}"
                )
            block = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            checksum = _extend(checksum, block)
            self._writers[name].append(block)
        self.cell_ids.append(cell_id)
        self.checksums.append(checksum)
        return len(self.cell_ids) - 1

    def finish(self, attributes: dict[str, Any]) -> None:
        """Write the metadata; the store is whole from then on.

        Args:
            attributes: JSON-able attributes of the group beside those that the writer knows (docs/formats.md).
        """
        for name, axes in self.axes.items():
            self._writers[name].finish(axes)
        known = {
            "roles": self.roles,
            "window_px": self.shapes["images"][1],
            "cell_ids": self.cell_ids,
            "checksums": self.checksums,
            "mask_channels": ["cell", "nucleus"],
            "mask_values": {"none": 0, "this": 1, "another": 2},
            DISTANCE: DISTANCE in self.axes,
            "wherein_version": __version__,
            METADATA_CHECKSUM: _hex(0),
        }
        group = {"zarr_format": 3, "node_type": "group", "attributes": {**attributes, **known}}
        content = (json.dumps(group, indent=1) + "\n").encode()
        checksum = _metadata_checksum(self.path, self.axes, content)
        (self.path / "zarr.json").write_bytes(content.replace(_entry(_hex(0)), _entry(checksum)))


class CropStore:
    """Reads a store of crops, any crop at any time. May be sent to other processes: files are opened when needed.

    Args:
        path: folder of the store.

    Attributes:
        roles: channels of `images`, in order.
        pixel_size_um: micrometres a pixel.
        window_um: side of a crop.
        cell_ids: the cells, in order.
        attributes: all attributes of the group.

    Raises:
        DamagedCropsError: there is no whole store at `path`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            content = (self.path / "zarr.json").read_bytes()
            self.attributes: dict[str, Any] = json.loads(content)["attributes"]
            self.roles: list[str] = self.attributes["roles"]
            self.cell_ids: list[str] = self.attributes["cell_ids"]
            self.pixel_size_um: float = self.attributes["pixel_size_um"]
            self.window_um: float = self.attributes["window_um"]
            written = self.attributes[METADATA_CHECKSUM]
            content = content.replace(_entry(written), _entry(_hex(0)))
            # stores of before there was such an array do not speak of it
            names = list(_axes(self.attributes.get(DISTANCE, False)))
            if _metadata_checksum(self.path, names, content) != written:
                raise DamagedCropsError(
                    f"{self.path}: the metadata are not those that were written; {again(self.path)}"
                )
            self._arrays = {name: BlockArray(self.path / name) for name in names}
        except DamagedCropsError:
            raise
        except (OSError, KeyError, TypeError, IndexError, ValueError) as error:
            raise DamagedCropsError(f"{self.path} is no whole crop store ({error!r}); {again(self.path)}") from error
        for name, array in self._arrays.items():
            if len(array) != len(self):
                raise DamagedCropsError(f"{self.path}: {len(array)} {name} for {len(self)} cells; {again(self.path)}")

    def __len__(self) -> int:
        return len(self.cell_ids)

    @property
    def dtype(self) -> np.dtype:
        """Type of the images: the source's."""
        return self._arrays["images"].dtype

    @property
    def window_px(self) -> int:
        """Side of a crop in pixels."""
        return self._arrays["images"].shape[-1]

    def images(self, indices: Sequence[int] | np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Pixels of some crops.

        Args:
            indices: rows of the store, in any order, repeated or not.
            out: where to put them, (n, C, H, W) in the source's type, C-contiguous; None for a new array.

        Returns:
            (n, C, H, W) in the source's type, in the order of `indices`: `out`, where that was given.

        Raises:
            IndexError: a row is not there.
            ValueError: `out` does not fit.
            DamagedCropsError: a crop's bytes are missing or changed.
        """
        return self._arrays["images"].read(indices, out)

    def masks(self, indices: Sequence[int] | np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Masks of some crops: (n, 2, H, W) uint8, cell then nucleus: 0 none, 1 this one, 2 another. As `images`."""
        return self._arrays["masks"].read(indices, out)

    @property
    def has_nucleus_distance(self) -> bool:
        """Whether distances to the nuclear boundary are stored, exact to what lies beyond the crop."""
        return DISTANCE in self._arrays

    def nucleus_distance(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Signed distance of every pixel of some crops to the nuclear boundary.

        Args:
            indices: rows of the store, in any order, repeated or not.

        Returns:
            (n, H, W) float16, micrometres, in the order of `indices`: as stored, of the whole field; where the store
            has none, those of the crops' masks. See `wherein.segmentation.distance` for where the two differ.

        Raises:
            IndexError, DamagedCropsError: as `images`.
        """
        if self.has_nucleus_distance:
            return self._arrays[DISTANCE].read(indices)
        return distance_of_masks(self.masks(indices), self.pixel_size_um)

    def view(
        self, pixel_size_um: float | None = None, size_px: int | None = None, resampling: str = "area"
    ) -> CropView:
        """The middle of every crop with other pixels, as a model wants them; nothing is cut again.

        Args:
            pixel_size_um: micrometres a pixel; None for the store's own.
            size_px: side of the view, pixels; None for as many as the window holds.
            resampling: `area` (anti-aliased) or `linear`.

        Raises:
            ValueError: the view is larger than the window.
        """
        return CropView(self, pixel_size_um, size_px, resampling)


def verify(path: str | Path, cells: str | Path | None = None) -> list[str]:
    """Read a whole store and name what is broken, and the shard to run again.

    Args:
        path: folder of the store.
        cells: the shard's ledger, results/cells/{shard}.parquet, to find cells that the store lacks or has too many;
            None to look at the store alone.

    Returns:
        One sentence for each broken crop or file; empty if all is as it was written.
    """
    try:
        store = CropStore(path)
    except DamagedCropsError as error:
        return [str(error)]
    broken = _stray_files(store)
    checksums = store.attributes["checksums"]
    if len(checksums) != len(store):
        return [*broken, f"{path}: {len(checksums)} checksums for {len(store)} cells; {again(store.path)}"]
    for row, (cell_id, expected) in enumerate(zip(store.cell_ids, checksums, strict=True)):
        try:
            found = 0
            for array in store._arrays.values():
                found = _extend(found, array.read([row]))
            if found != expected:
                broken.append(f"{path}: crop {row} ({cell_id}) is not the cell that was written; {again(store.path)}")
        except DamagedCropsError as error:
            broken.append(str(error))
    return broken if cells is None else broken + _against_ledger(store, cells)


def _against_ledger(store: CropStore, cells: str | Path) -> list[str]:
    """Cells that either the store or its ledger has alone, or that stand in another place."""
    rows = pq.read_table(cells, columns=["cell_id", "status", "crop_index"]).to_pylist()
    wanted = {row["cell_id"]: row["crop_index"] for row in rows if row["status"] == KEPT}
    found = {cell_id: row for row, cell_id in enumerate(store.cell_ids)}
    broken = [f"{store.path}: cell {name} of {cells} is missing" for name in wanted if name not in found]
    broken += [f"{store.path}: cell {name} is extra: {cells} does not keep it" for name in found if name not in wanted]
    broken += [
        f"{store.path}: cell {name} is crop {found[name]}, not {row} as {cells} says"
        for name, row in wanted.items()
        if name in found and found[name] != row
    ]
    if len(found) != len(store):
        broken.append(f"{store.path}: {len(store) - len(found)} cells are there twice")
    return [f"{sentence}; {again(store.path)}" for sentence in broken]


def _stray_files(store: CropStore) -> list[str]:
    """Files that are no part of the store; one that is missing is found by reading its crops."""
    own = {store.path / "zarr.json", store.path / SNAKEMAKES_MARK}
    for name, array in store._arrays.items():
        shards = -(-len(array) // array.shard_blocks)
        own |= {store.path / name / "zarr.json"}
        own |= {shard_path(store.path / name, shard, len(array.shape) - 1) for shard in range(shards)}
    there = {file for file in store.path.rglob("*") if file.is_file()}
    return [f"{file} is no part of the store; {again(store.path)}" for file in sorted(there - own)]


def _axes(with_distance: bool) -> dict[str, tuple[str, ...]]:
    """Arrays of a store, in the order in which checksums take them, and their axes."""
    return ARRAYS | ({DISTANCE: DISTANCE_AXES} if with_distance else {})


def _metadata_checksum(path: Path, arrays: Iterable[str], group: bytes) -> str:
    """Checksum of the group's zarr.json, whose own entry reads 0, and of those of the arrays."""
    checksum = google_crc32c.value(group)
    for name in arrays:
        checksum = google_crc32c.extend(checksum, (path / name / "zarr.json").read_bytes())
    return _hex(checksum)


def _hex(checksum: int) -> str:
    return f"{checksum:08x}"


def _entry(checksum: str) -> bytes:
    return f'"{METADATA_CHECKSUM}": "{checksum}"'.encode()


def _extend(checksum: int, array: np.ndarray) -> int:
    return google_crc32c.extend(checksum, array.reshape(-1).view(np.uint8))
