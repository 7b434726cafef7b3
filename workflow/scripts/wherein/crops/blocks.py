"""Arrays of a crop store as files of blocks: one block a crop, found by the index that stands at the end of its file.

The files are Zarr v3's (codec `sharding_indexed`: an index of 16 bytes a chunk, closed by its crc32c), so that any
Zarr library opens them. It pays to read them here: zarr-python 3.1 takes a millisecond for each crop, whatever its
size, where mapping the file, looking the block up and decoding it alone takes as long as the decoding.

A block is compressed and closed by its own crc32c. How it is compressed is a matter of measurement, on unmasked windows
of real fields. Of 8 bits (4 x 128 x 128), blosc's lz4 behind a bit shuffle decodes 1.5 times as fast as zstd at 1.06
times its size; both are below 0.6 of what HDF5's lzf makes of the same in float16, and lz4 alone, twice as fast again,
is not. Of 16 bits (2 x 128 x 128), whose lowest are noise, lz4 saves 3 % where zstd saves 23 %.
"""

import contextlib
import functools
import json
import mmap
import resource
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import imagecodecs
import numpy as np

ABSENT = np.uint64(2**64 - 1)
"""What an index holds where there is no chunk."""

CHECKSUM_BYTES = 4

BUFFER_BYTES = 1 << 20
"""Written to a file at once."""

INDEX_CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]

LZ4_LEVEL, ZSTD_LEVEL = 9, 1
"""Of lz4 the level changes size (0.53 of the raw bytes at level 1, 0.51 at 9) and hardly the time of decoding."""

MOST_OPEN = 30_000
"""Files that a process keeps mapped at most; half as many as it may have open, where that is less."""


class DamagedCropsError(ValueError):
    """Bytes of a crop store are missing or not what was written; nothing is ever given in their place."""


def compression(dtype: np.dtype) -> dict[str, Any]:
    """The codec of blocks of a data type, as Zarr's metadata names it."""
    if np.dtype(dtype).itemsize == 1:
        blosc = {"typesize": 1, "cname": "lz4", "clevel": LZ4_LEVEL, "shuffle": "bitshuffle", "blocksize": 0}
        return {"name": "blosc", "configuration": blosc}
    return {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}


def array_metadata(
    shape: tuple[int, ...], dtype: np.dtype, shard_blocks: int, dimensions: Sequence[str]
) -> dict[str, Any]:
    """Content of an array's zarr.json (Zarr core specification, version 3).

    Args:
        shape: of the array; one block is one entry along the first axis.
        dtype: of the array.
        shard_blocks: blocks that a file has room for.
        dimensions: names of the axes.
    """
    sharding = {
        "chunk_shape": [1, *shape[1:]],
        "codecs": [INDEX_CODECS[0], compression(dtype), {"name": "crc32c"}],
        "index_codecs": INDEX_CODECS,
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": np.dtype(dtype).name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [shard_blocks, *shape[1:]]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": list(dimensions),
        "attributes": {},
    }


class BlockWriter:
    """Writes the files of one array, block after block; needs the memory of one block and of an index.

    Args:
        folder: the array's folder; need not exist.
        shape: of one entry along the first axis.
        dtype: of the array.
        shard_blocks: most blocks in one file.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype, shard_blocks: int) -> None:
        self.folder = folder
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.shard_blocks = shard_blocks
        self.count = 0
        self._index: list[tuple[int, int]] = []
        self._offset = 0
        self._file: Any = None
        self._encode = _encoder(compression(dtype))

    def append(self, block: np.ndarray) -> None:
        """Write one block of the array's shape and type, C-contiguous and little-endian."""
        if len(self._index) == self.shard_blocks:
            self._end(self.shard_blocks)
        if self._file is None:
            path = shard_path(self.folder, self.count // self.shard_blocks, len(self.shape))
            path.parent.mkdir(parents=True)
            self._file = path.open("wb", buffering=BUFFER_BYTES)
        content = self._encode(block)
        self._file.write(content)
        self._file.write(_checksum(content))
        size = len(content) + CHECKSUM_BYTES
        self._index.append((self._offset, size))
        self._offset += size
        self.count += 1

    def finish(self, dimensions: Sequence[str]) -> None:
        """End the last file and write the array's zarr.json."""
        # where one file holds all, its index has no empty places
        room = self.shard_blocks if self.count > self.shard_blocks else max(self.count, 1)
        self._end(room)
        self.folder.mkdir(parents=True, exist_ok=True)
        content = array_metadata((self.count, *self.shape), self.dtype, room, dimensions)
        (self.folder / "zarr.json").write_text(json.dumps(content, indent=1) + "\n")

    def close(self) -> None:
        """Close what is open, without an index: such a file is never taken for a whole one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _end(self, room: int) -> None:
        if self._file is None:
            return
        index = np.full((room, 2), ABSENT, "<u8")
        index[: len(self._index)] = self._index
        self._file.write(with_checksum(index.tobytes()))
        self.close()
        self._index, self._offset = [], 0


class BlockArray:
    """One array of a store, read block by block. May be sent to other processes: files are mapped when needed.

    Args:
        path: the array's folder.

    Attributes:
        shape: of the array, (N, ...).
        dtype: little-endian.
        shard_blocks: blocks that a file has room for.

    Raises:
        OSError, KeyError, ValueError: there is no array's metadata at `path`, or it is not of our kind.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        metadata = json.loads((self.path / "zarr.json").read_text())
        self.shape: tuple[int, ...] = tuple(metadata["shape"])
        self.dtype = np.dtype(metadata["data_type"]).newbyteorder("<")
        self.shard_blocks: int = metadata["chunk_grid"]["configuration"]["chunk_shape"][0]
        self._codec = _codec_of(metadata)
        if self._codec not in DECODERS:
            raise ValueError(f"{self.path} is a Zarr array, but not made of one checked block a crop")
        self._open: dict[int, tuple[np.ndarray, np.ndarray, mmap.mmap]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: Sequence[int] | np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Decode some blocks.

        Args:
            rows: places along the first axis, in any order, repeated or not.
            out: where to put them, (len(rows), ...) of the array's type and C-contiguous: a part of a pinned or
                shared buffer, say. Null for a new array.

        Returns:
            (len(rows), ...), in the order of `rows`: `out`, where that was given.

        Raises:
            IndexError: a row is not there.
            ValueError: `out` does not fit.
            DamagedCropsError: a block's bytes are missing or changed.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= self.shape[0]):
            raise IndexError(f"{self.path} holds {self.shape[0]} crops, asked for {rows.min()} to {rows.max()}")
        shape = (rows.size, *self.shape[1:])
        if out is None:
            out = np.empty(shape, self.dtype)
        elif out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise ValueError(f"out is {out.shape} {out.dtype}; {shape} {self.dtype}, C-contiguous, is needed")
        if not rows.size:
            return out
        decode, crc = DECODERS[self._codec], google_crc32c.value
        blocks = [self._block(row) for row in rows.tolist()]
        for place, row, block in zip(out.reshape(rows.size, -1).view(np.uint8), rows.tolist(), blocks, strict=True):
            body = block[:-CHECKSUM_BYTES]
            if crc(body) != int.from_bytes(block[-CHECKSUM_BYTES:], "little"):
                raise self._damaged(f"the bytes of crop {row} are not those that were written")
            try:
                size = decode(body, place)
            except RuntimeError as error:
                raise self._damaged(f"crop {row} cannot be decoded ({error})") from error
            if size != place.size:
                raise self._damaged(f"crop {row} has {size} bytes, not {place.size}")
        return out

    def _block(self, row: int) -> np.ndarray:
        """Compressed bytes of a block and their checksum, where they lie in the mapped file.

        The system is told to fetch them: the disk then works on all blocks of a batch at once, while the first are
        decoded, where touching them one by one waits for each. Seven pairs of runs from a cold cache, crops of
        4 x 256 x 256: 0.94 to 2.2 times as fast, at the middle 1.37; from a warm one 2 to 3 % slower.
        """
        shard, place = divmod(row, self.shard_blocks)
        content, index, mapped = self._open.get(shard) or self._map(shard)
        offset, size = index[place].tolist()
        if size <= CHECKSUM_BYTES or offset + size > content.size:
            raise self._damaged(f"crop {row} is missing")
        page = offset - offset % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, page, offset + size - page)
        return content[offset : offset + size]

    def _map(self, shard: int) -> tuple[np.ndarray, np.ndarray, mmap.mmap]:
        path = shard_path(self.path, shard, len(self.shape) - 1)
        length = self.shard_blocks * 16 + CHECKSUM_BYTES
        try:
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise self._damaged(f"{path} cannot be opened ({error})") from error
        content = np.frombuffer(mapped, np.uint8)
        tail = content[-length:]
        if tail.size < length or google_crc32c.value(tail[:-CHECKSUM_BYTES]) != int.from_bytes(
            tail[-CHECKSUM_BYTES:], "little"
        ):
            raise self._damaged(f"the index at the end of {path} is torn")
        # a copy: the index's place in the file need not be a multiple of 8 bytes, nor stay in memory
        index = np.frombuffer(tail[:-CHECKSUM_BYTES].tobytes(), "<u8").reshape(-1, 2)
        opened = self._open[shard] = content[:-length], index, mapped
        _make_room(self, shard)
        return opened

    def _damaged(self, found: str) -> DamagedCropsError:
        return DamagedCropsError(f"{self.path}: {found}; {again(self.path.parent)}")


def shard_path(folder: Path, shard: int, inner_axes: int) -> Path:
    """File of an array, by Zarr's default names."""
    return folder.joinpath("c", str(shard), *["0"] * inner_axes)


def with_checksum(content: bytes) -> bytes:
    """Bytes and their crc32c, as Zarr's codec of that name has it."""
    return content + _checksum(content)


def _checksum(content: bytes) -> bytes:
    return google_crc32c.value(content).to_bytes(CHECKSUM_BYTES, "little")


def again(store: Path) -> str:
    """How a damaged store is mended: the end of every message."""
    return f"run shard {store.stem} again: `snakemake --cores all --forcerun results/crops/{store.name}`"


def _codec_of(metadata: dict[str, Any]) -> str | None:
    """Name of the codec of an array's blocks; None for an array that is made in another way."""
    outer = metadata["codecs"][0]
    if outer["name"] != "sharding_indexed":
        return None
    sharding = outer["configuration"]
    names = [codec["name"] for codec in sharding["codecs"]]
    ours = {"chunk_shape": [1, *metadata["shape"][1:]], "index_codecs": INDEX_CODECS, "index_location": "end"}
    if len(names) != 3 or names[::2] != ["bytes", "crc32c"] or any(sharding[key] != ours[key] for key in ours):
        return None
    return names[1]


def _encoder(codec: dict[str, Any]) -> Callable[[np.ndarray], bytes]:
    if codec["name"] == "zstd":
        return lambda block: imagecodecs.zstd_encode(block, level=ZSTD_LEVEL)
    options = {"level": LZ4_LEVEL, "compressor": "lz4", "shuffle": "bitshuffle", "typesize": 1, "numthreads": 1}
    return lambda block: imagecodecs.blosc_encode(block, **options)


def _blosc(body: np.ndarray, out: np.ndarray) -> int:
    return len(imagecodecs.blosc_decode(body, numthreads=1, out=out))


def _zstd(body: np.ndarray, out: np.ndarray) -> int:
    return len(imagecodecs.zstd_decode(body, out=out))


DECODERS: dict[str, Callable[[np.ndarray, np.ndarray], int]] = {"blosc": _blosc, "zstd": _zstd}
"""Decode a block's body into its place and say how many bytes came, by the name of the codec."""

_opened: deque[tuple["weakref.ref[BlockArray]", int]] = deque()
"""Files that this process has mapped, the oldest first."""


@functools.cache
def _allow_files() -> None:
    """Let this process open more files: the usual 1,024 serve some 250 shards, and it may take more itself."""
    allowed, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_OPEN if highest == resource.RLIM_INFINITY else min(2 * MOST_OPEN, highest)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, highest))


def _make_room(array: BlockArray, shard: int) -> None:
    """Note a file that was mapped, and let the oldest go where there are too many: each holds a file descriptor."""
    _opened.append((weakref.ref(array), shard))
    _allow_files()
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_OPEN if allowed == resource.RLIM_INFINITY else min(MOST_OPEN, allowed // 2)
    while len(_opened) > most:
        owner, old = _opened.popleft()
        if (oldest := owner()) is not None:
            oldest._open.pop(old, None)
