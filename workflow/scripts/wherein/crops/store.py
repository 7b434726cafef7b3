"""The crop store: a Zarr v3 group that plain zarr opens, written as cells come and read at random without waste.

A crop is one chunk, compressed by zstd and closed by its crc32c; up to SHARD_CROPS chunks share one file, at whose end
stands their index (Zarr v3, codec `sharding_indexed`). The writer needs the memory of one crop. The reader maps the
files, looks chunks up in the index and decodes them alone: zarr itself takes about a millisecond for each.
"""

import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import google_crc32c
import imagecodecs
import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec, ZstdCodec

from wherein import __version__

SHARD_CROPS = 2000
"""Most crops in one file."""

ARRAYS = ("images", "masks")

ABSENT = np.uint64(2**64 - 1)
"""What the index of a shard holds where there is no chunk."""


class DamagedCropsError(ValueError):
    """Bytes of a crop store are missing or not what was written; nothing is ever given in their place."""


class CropWriter:
    """Writes a store crop by crop. Use as a context manager on a path that does not exist yet.

    Args:
        path: folder to write; give the name from `wherein.atomic.atomic_path`.
        roles: channels of the crops, in the order of storage.
        side: height and width in pixels.
        dtype: type of the images.
        shard_crops: most crops in one file.
    """

    def __init__(
        self, path: str | Path, roles: Sequence[str], side: int, dtype: np.dtype, shard_crops: int = SHARD_CROPS
    ) -> None:
        self.path = Path(path)
        self.roles = list(roles)
        self.shapes = {"images": (len(self.roles), side, side), "masks": (2, side, side)}
        self.dtypes = {"images": np.dtype(dtype), "masks": np.dtype(np.uint8)}
        self.shard_crops = shard_crops
        self.cell_ids: list[str] = []
        self.checksums: list[int] = []
        self._files = {name: _ShardFiles(self.path / name, shard_crops) for name in ARRAYS}

    def __enter__(self) -> "CropWriter":
        self.path.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for files in self._files.values():
            files.close()

    def add(self, cell_id: str, image: np.ndarray, masks: np.ndarray) -> int:
        """Append one crop.

        Args:
            cell_id: the cell.
            image: (C, side, side).
            masks: (2, side, side) uint8.

        Returns:
            Its row in the store.

        Raises:
            ValueError: shape or type differ from the store's.
        """
        checksum = 0
        for name, array in zip(ARRAYS, (image, masks), strict=True):
            if array.shape != self.shapes[name] or array.dtype != self.dtypes[name]:
                raise ValueError(
                    f"{cell_id}: {name} are {array.shape} {array.dtype}; "
                    f"the store holds {self.shapes[name]} {self.dtypes[name]}"
                )
            raw = _little(array).tobytes()
            checksum = google_crc32c.extend(checksum, raw)
            self._files[name].append(_encode(raw))
        self.cell_ids.append(cell_id)
        self.checksums.append(checksum)
        return len(self.cell_ids) - 1

    def finish(self, attributes: dict[str, Any]) -> None:
        """Write the metadata; the store is whole from then on.

        Args:
            attributes: JSON-able attributes of the group beside those that the writer knows (docs/formats.md).
        """
        root = zarr.create_group(self.path, zarr_format=3)
        for name in ARRAYS:
            self._files[name].close()
            _create_array(root, name, len(self.cell_ids), self.shapes[name], self.dtypes[name], self.shard_crops)
        root.attrs.update(
            {
                **attributes,
                "roles": self.roles,
                "window_px": self.shapes["images"][1],
                "cell_ids": self.cell_ids,
                "checksums": self.checksums,
                "wherein_version": __version__,
            }
        )


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
            self.attributes: dict[str, Any] = json.loads((self.path / "zarr.json").read_text())["attributes"]
            self.roles: list[str] = self.attributes["roles"]
            self.cell_ids: list[str] = self.attributes["cell_ids"]
            self.pixel_size_um: float = self.attributes["pixel_size_um"]
            self.window_um: float = self.attributes["window_um"]
            self._arrays = {name: _ShardedArray(self.path / name) for name in ARRAYS}
        except (OSError, KeyError, json.JSONDecodeError) as error:
            raise DamagedCropsError(f"{self.path} is no whole crop store ({error!r}): run `crop` again") from error
        for name, array in self._arrays.items():
            if array.shape[0] != len(self.cell_ids):
                raise DamagedCropsError(f"{self.path}: {array.shape[0]} {name} for {len(self.cell_ids)} cells")

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

    def images(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Pixels of some crops.

        Args:
            indices: rows of the store, in any order, repeated or not.

        Returns:
            (n, C, H, W) in the source's type, in the order of `indices`.

        Raises:
            IndexError: a row is not there.
            DamagedCropsError: a crop's bytes are missing or changed.
        """
        return self._arrays["images"].read(indices)

    def masks(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Masks of some crops: (n, 2, H, W) uint8, cell then nucleus: 0 none, 1 this one, 2 another. As `images`."""
        return self._arrays["masks"].read(indices)


def verify(path: str | Path) -> list[str]:
    """Read a whole store and name what is broken.

    Args:
        path: folder of the store.

    Returns:
        One sentence for each broken crop or file; empty if all is as it was written.
    """
    try:
        store = CropStore(path)
    except DamagedCropsError as error:
        return [str(error)]
    broken = []
    checksums = store.attributes.get("checksums", [])
    if len(checksums) != len(store):
        return [f"{path}: {len(checksums)} checksums for {len(store)} cells: run `crop` again"]
    for row, (cell_id, expected) in enumerate(zip(store.cell_ids, checksums, strict=True)):
        try:
            found = 0
            for read in (store.images, store.masks):
                found = google_crc32c.extend(found, _little(read([row])).tobytes())
            if found != expected:
                broken.append(f"{path}: crop {row} ({cell_id}) is not the cell that was written: run `crop` again")
        except DamagedCropsError as error:
            broken.append(str(error))
    return broken


class _ShardFiles:
    """The files of one array, written chunk after chunk."""

    def __init__(self, folder: Path, shard_crops: int) -> None:
        self.folder = folder
        self.index = np.full((shard_crops, 2), ABSENT, "<u8")
        self.shard = 0
        self.filled = 0
        self.offset = 0
        self.file: Any = None

    def append(self, chunk: bytes) -> None:
        if self.file is None:
            path = self.folder / "c" / str(self.shard) / "0" / "0" / "0"
            path.parent.mkdir(parents=True)
            self.file = path.open("wb")
        self.file.write(chunk)
        self.index[self.filled] = self.offset, len(chunk)
        self.offset += len(chunk)
        self.filled += 1
        if self.filled == len(self.index):
            self.close()

    def close(self) -> None:
        """End the file with its index; the next chunk opens another."""
        if self.file is None:
            return
        self.file.write(_with_checksum(self.index.tobytes()))
        self.file.close()
        self.file = None
        self.index[:] = ABSENT
        self.shard, self.filled, self.offset = self.shard + 1, 0, 0


class _ShardedArray:
    """One array of the store, whose chunks are single crops."""

    def __init__(self, path: Path) -> None:
        self.path = path
        metadata = json.loads((path / "zarr.json").read_text())
        self.shape: tuple[int, ...] = tuple(metadata["shape"])
        self.dtype = np.dtype(metadata["data_type"])
        self.shard_crops: int = metadata["chunk_grid"]["configuration"]["chunk_shape"][0]
        self._open: dict[int, tuple[mmap.mmap, np.ndarray]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        rows = np.asarray(indices, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= self.shape[0]):
            raise IndexError(f"{self.path} holds {self.shape[0]} crops, asked for {rows.min()} to {rows.max()}")
        out = np.empty((rows.size, *self.shape[1:]), self.dtype)
        for place, row in zip(out, rows.tolist(), strict=True):
            self._decode(row, place)
        return out

    def _decode(self, row: int, out: np.ndarray) -> None:
        shard, place = divmod(row, self.shard_crops)
        content, index = self._open.get(shard) or self._map(shard)
        offset, size = index[place].tolist()
        again = f"remove {self.path.parent} and run `crop` again"
        if offset == int(ABSENT) or offset + size > len(content) or size < 4:
            raise DamagedCropsError(f"{self.path}: crop {row} is missing; {again}")
        chunk = memoryview(content)[offset : offset + size]
        if google_crc32c.value(bytes(chunk[:-4])) != int.from_bytes(chunk[-4:], "little"):
            raise DamagedCropsError(f"{self.path}: the bytes of crop {row} are not those that were written; {again}")
        raw = imagecodecs.zstd_decode(chunk[:-4], out=out.nbytes)
        if len(raw) != out.nbytes:
            raise DamagedCropsError(f"{self.path}: crop {row} has {len(raw)} bytes, not {out.nbytes}; {again}")
        out[...] = np.frombuffer(raw, self.dtype.newbyteorder("<")).reshape(out.shape)

    def _map(self, shard: int) -> tuple[mmap.mmap, np.ndarray]:
        path = self.path / "c" / str(shard) / "0" / "0" / "0"
        length = self.shard_crops * 16
        try:
            with path.open("rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DamagedCropsError(f"{path} cannot be opened ({error}): run `crop` again") from error
        tail = content[-length - 4 :] if len(content) >= length + 4 else b""
        if not tail or google_crc32c.value(tail[:-4]) != int.from_bytes(tail[-4:], "little"):
            raise DamagedCropsError(f"{path}: the index at its end is torn: run `crop` again")
        index = np.frombuffer(tail[:-4], "<u8").reshape(-1, 2)
        self._open[shard] = content, index
        return self._open[shard]


def _create_array(
    root: zarr.Group, name: str, count: int, shape: tuple[int, ...], dtype: np.dtype, shard_crops: int
) -> None:
    """Let zarr write the metadata that our files answer to."""
    inner = (BytesCodec(endian="little"), ZstdCodec(level=1, checksum=False), Crc32cCodec())
    root.create_array(
        name,
        shape=(count, *shape),
        dtype=dtype,
        chunks=(shard_crops, *shape),
        serializer=ShardingCodec(
            chunk_shape=(1, *shape),
            codecs=inner,
            index_codecs=(BytesCodec(endian="little"), Crc32cCodec()),
            index_location="end",
        ),
        compressors=None,
        fill_value=0,
        dimension_names=("cell", "channel" if name == "images" else "mask", "y", "x"),
    )


def _encode(raw: bytes) -> bytes:
    return _with_checksum(imagecodecs.zstd_encode(raw, level=1))


def _with_checksum(content: bytes) -> bytes:
    return content + google_crc32c.value(content).to_bytes(4, "little")


def _little(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
