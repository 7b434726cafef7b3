"""Arrays of crops in files: npy, npz, TIFF and PNG, read by the axes that the configuration declares."""

import errno
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import tifffile

from wherein.decoders.image import UnreadableImage
from wherein.exchange.crop_table import Part, span

NPY, ZIP, PNG = b"\x93NUMPY", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of each format; a file is known by them, never by its name."""

CACHE_BYTES = 2**29
"""Most bytes of unpacked files that are kept for the next row of the table, beside the latest."""

CACHE_FILES = 64
"""Most files that are kept: a mapped one holds a file descriptor, of which systems give a process 256 or 1,024."""

OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of a process that has run out of files or memory; they say nothing of the file that it wanted."""


class ArrayFiles:
    """Files of crops, each opened once for as long as there is room."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, str | None, str], tuple[np.ndarray, str | None]] = OrderedDict()
        self._bytes = 0

    def crops(self, part: Part) -> np.ndarray:
        """Crops of one part of a table's row.

        Args:
            part: where they are.

        Returns:
            (N, H, W) in the file's type, little-endian or big-endian as there; bool as uint8. Maybe mapped from the
            file.

        Raises:
            UnreadableImage: `no_address`, `missing_file`, `corrupt`, `missing_channel` or `unsupported_format`.
            OSError: this process may open no more files, or has no memory left.
        """
        if not part.path:
            raise UnreadableImage("no_address", f"the table names no file for {part.part}")
        array, known_axes = self._array(part.path, part.key, part.axes)
        return select(array, part, known_axes)

    def _array(self, *what: Any) -> tuple[np.ndarray, str | None]:
        found = self._open.get(what)
        if found is None:
            found = self._open[what] = read_array(*what)
            self._bytes += found[0].nbytes
        self._open.move_to_end(what)
        while len(self._open) > 1 and (self._bytes > CACHE_BYTES or len(self._open) > CACHE_FILES):
            _, (oldest, _) = self._open.popitem(last=False)
            self._bytes -= oldest.nbytes
        return found


def read_array(path: str, key: str | None = None, axes: str = "") -> tuple[np.ndarray, str | None]:
    """Open the array of a file.

    Args:
        path: npy (mapped, not read), npz, TIFF or PNG.
        key: name of the array in an npz; None for its only one.
        axes: that are declared for it; where N is among them, the images of a TIFF of several are the crops.

    Returns:
        The array as it is in the file, and its axes where the file declares them (else None).

    Raises:
        UnreadableImage: `missing_file`, `corrupt`, `missing_channel` or `unsupported_format`.
        OSError: this process may open no more files, or has no memory left.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError as error:
        if error.errno in OUT_OF_RESOURCES:
            raise
        raise UnreadableImage("missing_file", f"{path} cannot be opened: {error.strerror}") from error
    reader = _reader(start, path)
    try:
        return reader(path, key, axes)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OUT_OF_RESOURCES:
            raise
        # numpy's words for arrays of Python objects, which may run code when they are read
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise UnreadableImage("unsupported_format", f"{path} holds Python objects; save numbers") from error
        raise UnreadableImage("corrupt", f"{path} cannot be decoded: {error}") from error


def _reader(start: bytes, path: str) -> Callable[[str, str | None, str], tuple[np.ndarray, str | None]]:
    if start.startswith(NPY[:6]):
        return _read_npy
    if start.startswith(ZIP):
        return _read_npz
    if start.startswith(TIFF):
        return _read_tiff
    if start.startswith(PNG):
        return _read_png
    if not start:
        raise UnreadableImage("corrupt", f"{path} is empty")
    raise UnreadableImage(
        "unsupported_format", f"{path} is no npy, npz, TIFF or PNG by its first bytes; save it as one"
    )


def _read_npy(path: str, _key: str | None, _axes: str) -> tuple[np.ndarray, None]:
    return np.load(path, mmap_mode="r", allow_pickle=False), None


def _read_npz(path: str, key: str | None, _axes: str) -> tuple[np.ndarray, None]:
    with zipfile.ZipFile(path) as packed:
        names = [name.removesuffix(".npy") for name in packed.namelist()]
    if key is None and len(names) != 1:
        raise UnreadableImage(
            "missing_channel", f"{path} holds {len(names)} arrays ({', '.join(names)}): name one as key of the role"
        )
    if key is not None and key not in names:
        raise UnreadableImage("missing_channel", f"{path} has no array {key!r}: it has {', '.join(names)}")
    with np.load(path, allow_pickle=False) as arrays:
        return arrays[names[0] if key is None else key], None


def _read_tiff(path: str, _key: str | None, axes: str) -> tuple[np.ndarray, str | None]:
    with tifffile.TiffFile(path) as tiff:
        series: list[Any] = list(tiff.series)
        own = series[0].axes.replace("S", "C")
        # the second image of an LSM is a thumbnail
        if len(series) == 1 or tiff.is_lsm:
            return series[0].asarray(), own
        found = f"{path} holds {len(series)} images (series)"
        if "N" not in axes:
            raise UnreadableImage(
                "unsupported_format", f"{found}, but the axes {axes} are of one: keep one, or declare axes with N"
            )
        forms = {(one.axes, one.shape, one.dtype) for one in series}
        if len(forms) > 1 or len(own) != len(axes) - 1:
            each = ", ".join(sorted({f"{' x '.join(map(str, shape))} {dtype}" for _, shape, dtype in forms})[:3])
            raise UnreadableImage(
                "unsupported_format",
                f"{found} of {each}; for the axes {axes} each has to be one crop, all of one shape and type",
            )
        place = axes.index("N")
        return np.stack([one.asarray() for one in series], axis=place), f"{own[:place]}N{own[place:]}"


def _read_png(path: str, _key: str | None, _axes: str) -> tuple[np.ndarray, str]:
    with open(path, "rb") as file:
        image = imagecodecs.png_decode(file.read())
    return image, "YXC"[: image.ndim]


def select(array: np.ndarray, part: Part, known_axes: str | None = None) -> np.ndarray:
    """Take the crops of one channel out of an array.

    Args:
        array: of the file.
        part: its axes, and which channel and crops to take.
        known_axes: what the file itself says of its axes; letters other than C, Y and X say nothing.

    Returns:
        (N, H, W); a view where that is possible.

    Raises:
        UnreadableImage: `unsupported_format` where the axes are others than declared or values are no numbers,
            `missing_channel` where the channel or the crops are not there.
    """
    where = f"{part.path}{f' ({part.key})' if part.key else ''}"
    shape = " x ".join(map(str, array.shape)) or "a single value"
    if array.ndim != len(part.axes):
        raise UnreadableImage(
            "unsupported_format", f"{where} has {array.ndim} axes ({shape}), but {part.axes} are declared for it"
        )
    told = known_axes if known_axes and len(known_axes) == len(part.axes) else ""
    if any(mine in "CYX" and mine != declared for mine, declared in zip(told, part.axes, strict=False)):
        raise UnreadableImage(
            "unsupported_format", f"{where} says itself that its axes are {told} ({shape}); {part.axes} are declared"
        )
    if array.dtype.kind not in "buif":
        raise UnreadableImage("unsupported_format", f"{where} holds values of type {array.dtype}: numbers are needed")
    place: list[Any] = [slice(None)] * array.ndim
    if "C" in part.axes:
        place[part.axes.index("C")] = _channel(array.shape[part.axes.index("C")], part.channel, where)
    if "N" in part.axes:
        place[part.axes.index("N")] = _crops(array.shape[part.axes.index("N")], part.index, where)
    left = part.axes.replace("C", "")
    chosen = array[tuple(place)]
    chosen = np.transpose(chosen, [left.index(axis) for axis in "NYX" if axis in left])
    chosen = chosen if "N" in left else chosen[None]
    return chosen.view(np.uint8) if chosen.dtype.kind == "b" else chosen


def _channel(count: int, channel: int | None, where: str) -> int:
    if channel is None and count == 1:
        return 0
    if channel is None:
        raise UnreadableImage("missing_channel", f"{where} has {count} channels: name one as channel of the role")
    if channel >= count:
        raise UnreadableImage("missing_channel", f"{where} has {count} channels, counted from 0; {channel} is none")
    return channel


def _crops(count: int, index: str | None, where: str) -> slice:
    first, end = span(index)
    if index is not None and end > count:
        raise UnreadableImage("missing_channel", f"{where} has {count} crops, counted from 0; {index} is beyond them")
    return slice(first, min(end, count))
