"""Images of any supported format, read plane by plane. A file is known by its first bytes, never by its name."""

import gzip
import io
import os
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import reduce
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd

from wherein.channels import in_order
from wherein.decoders.image import DECLARE_AXES, NAME_AXES, Image, UnreadableImage, Window, in_memory
from wherein.decoders.ome_zarr import open_zarr
from wherein.decoders.tiff import decode_pages, open_tiff, tiff_file, tiff_pixel_size
from wherein.sources.formats import CONVERTER, READABLE, vendor_format

JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
GZIP = b"\x1f\x8b"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of each format; TIFF in both byte orders, and BigTIFF."""

GZIP_HEAD = 1 << 16
"""Bytes of an unpacked TIFF in which its directory is looked for first."""

__all__ = [
    "Image",
    "UnreadableImage",
    "decode_all",
    "header",
    "open_image",
    "pixel_size",
    "read_field",
    "read_plane",
    "sharpness",
]


def read_plane(
    path: str, channel: str | None = None, z: str = "max", axes: str | None = None, window: Window | None = None
) -> np.ndarray:
    """Read one channel of a file as one plane.

    A colour image without a named channel is grey coded in a colour, as the Human Protein Atlas serves it: the
    maximum over red, green and blue.

    Args:
        path: TIFF, gzipped TIFF, PNG or JPEG, or the folder of an OME-Zarr image.
        channel: index, counted from 0, or name in the metadata; None for the only one.
        z: `max` over the depth, `focus` for the sharpest plane, or an index.
        axes: order of the pages of a TIFF that declares none (`CYX`, `ZC2YX`); None for not known.
        window: rows and columns to read; None for all. Of tiled or striped TIFF and of OME-Zarr only what it touches is
            decoded.

    Returns:
        (H, W), in the type of the file; of a window, that of it which lies within the image.

    Raises:
        UnreadableImage: `missing_file`, `corrupt`, `unsupported_format` or `missing_channel`.
    """
    with open_image(path, axes) as image:
        return _read(image, path, channel, z, window)


def decode_all(path: str) -> None:
    """Decode all of a TIFF, packed or not, one tile or strip after the other. Other formats any reading decodes whole.

    A packed TIFF is unpacked into memory, as for reading.

    Raises:
        UnreadableImage: `missing_file` or `corrupt`; `unsupported_format`, what is packed is no TIFF.
    """
    start = _start(path)
    packed = start.startswith(GZIP)
    if packed or start.startswith(TIFF):
        with _decoding(path), tiff_file(io.BytesIO(_unpacked(path)) if packed else path, path) as tiff:
            decode_pages(tiff, path)


def read_field(
    files: pd.DataFrame, roles: Sequence[str] | None = None, window: Window | None = None
) -> dict[str, np.ndarray]:
    """Read the channels of one field.

    Args:
        files: rows of results/download/{shard}.parquet of one field version.
        roles: the roles to read; None for all that `files` has.
        window: rows and columns to read, as in `read_plane`; of the field as it is given here, after `bin`.

    Returns:
        (H, W) by role, all of one size and type, in the order of storage; averaged and multiplied as the columns `bin`
        and `gain` say.

    Raises:
        UnreadableImage: the first thing that is wrong; `size_mismatch` where the channels differ in size.
    """
    rows = {row["role"]: row for row in files.to_dict("records")}
    planes: dict[str, np.ndarray] = {}
    with ExitStack() as stack:
        images: dict[tuple[str, str | None], Image] = {}
        for role in in_order(rows if roles is None else roles):
            row = rows.get(role)
            if row is None:
                raise UnreadableImage("missing_channel", f"no file is listed for the role {role}")
            if row["status"] != "ok":
                found = row.get("detail") or f"{row['path'] or 'no file'}: {row['reason']}"
                raise UnreadableImage(row["reason"], f"{role}: {found}")
            path, channel, axes = row["path"], _text(row, "channel"), _text(row, "axes")
            if (path, axes) not in images:
                images[path, axes] = stack.enter_context(open_image(path, axes))
            side = _number(row, "bin")
            seen = _before_binning(window, side)
            plane = _read(images[path, axes], path, channel, _text(row, "z") or "max", seen)
            planes[role] = multiplied(binned(plane, side), _number(row, "gain"), path)
    if len({plane.shape for plane in planes.values()}) > 1:
        found = ", ".join(f"{role} {plane.shape[0]} x {plane.shape[1]}" for role, plane in planes.items())
        raise UnreadableImage("size_mismatch", f"the channels differ in size: {found}")
    if len({plane.dtype for plane in planes.values()}) > 1:
        found = ", ".join(f"{role} {plane.dtype}" for role, plane in planes.items())
        raise UnreadableImage("unsupported_format", f"the channels differ in data type: {found}; save them in one")
    return planes


def binned(plane: np.ndarray, side: int) -> np.ndarray:
    """Average blocks of pixels, which halves the size where `side` is 2.

    Kobayashi et al. 2022 (methods, image data preprocessing) downsample projections by two and do not say how; the mean
    keeps intensities and holds down both noise and aliasing.

    Args:
        plane: (H, W) of any numbers.
        side: pixels along y and along x that become one.

    Returns:
        (H // side, W // side) in the type of `plane`, whole numbers rounded, halves up; what is left of a block at the
        lower and right borders is cut off.
    """
    if side == 1:
        return plane
    height, width = plane.shape[0] // side, plane.shape[1] // side
    blocks = plane[: height * side, : width * side].reshape(height, side, width, side)
    if plane.dtype.kind == "f":
        return blocks.mean((1, 3), dtype=np.float64).astype(plane.dtype)
    total = blocks.sum((1, 3), dtype=np.int64)
    return ((total + side**2 // 2) // side**2).astype(plane.dtype)


def _before_binning(window: Window | None, side: int) -> Window | None:
    if window is None or side == 1:
        return window
    rows, columns = (slice(part.start * side, part.stop * side) for part in window)
    return rows, columns


def multiplied(plane: np.ndarray, gain: int, path: str) -> np.ndarray:
    """Bring 8 bits to the scale of 16: with a gain of 257, 255 becomes 65535 and every step is exact.

    Args:
        plane: (H, W) uint8, or of any type where `gain` is 1.
        gain: what intensities are multiplied by.
        path: where it is from.

    Returns:
        (H, W) uint16, or `plane` itself.

    Raises:
        UnreadableImage: `unsupported_format`, a gain for a file that has not 8 bits.
    """
    if gain == 1:
        return plane
    if plane.dtype != np.uint8:
        raise UnreadableImage(
            "unsupported_format",
            f"{path} stands in for a file of 16 bits and has to have 8, but its pixels are {plane.dtype}",
        )
    return plane.astype(np.uint16) * np.uint16(gain)


def _text(row: dict[Hashable, Any], name: str) -> str | None:
    """A column that older tables may lack, and that is None where nothing is said."""
    value = row.get(name)
    return value if isinstance(value, str) else None


def _number(row: dict[Hashable, Any], name: str) -> int:
    """A column that older tables lack, and that is 1 where nothing is said."""
    value = row.get(name)
    return 1 if value is None or pd.isna(value) else int(value)


def pixel_size(path: str) -> float | None:
    """Micrometres a pixel, as the file says it (OME, ImageJ, OME-Zarr); None if it does not.

    Raises:
        UnreadableImage: `missing_file`, `corrupt` or `unsupported_format`.
    """
    return header(path)[1]


def header(path: str) -> tuple[str, float | None]:
    """Data type and micrometres a pixel of a file, without decoding its pixels.

    Raises:
        UnreadableImage: `missing_file`, `corrupt` or `unsupported_format`.
    """
    start = _start(path)
    if start.startswith(JPEG):
        return "uint8", None
    if start.startswith(PNG):
        # the byte after the signature, the chunk's head, width and height is the bit depth
        return ("uint16" if start[24:25] == b"\x10" else "uint8"), None
    if start.startswith(GZIP):
        # mostly the directory stands first, and the rest need not be unpacked
        with (
            suppress(UnreadableImage),
            _decoding(path),
            tiff_file(io.BytesIO(_unpacked(path, GZIP_HEAD)), path) as tiff,
        ):
            return tiff.pages.first.dtype.newbyteorder("=").name, tiff_pixel_size(tiff, path)
    with open_image(path) as image:
        return image.dtype.newbyteorder("=").name, image.pixel_size_um


@contextmanager
def open_image(path: str, axes: str | None = None) -> Iterator[Image]:
    """Open an image by what its first bytes say it is.

    Args:
        path: as for `read_plane`.
        axes: as for `read_plane`.

    Raises:
        UnreadableImage: `missing_file`, `corrupt` or `unsupported_format`.
    """
    start = _start(path)
    with ExitStack() as stack:
        with _decoding(path):
            if not start:
                image = open_zarr(path)
            elif start.startswith(GZIP):
                image = open_tiff(stack.enter_context(tiff_file(io.BytesIO(_unpacked(path)), path)), path, axes)
            elif start.startswith(TIFF):
                image = open_tiff(stack.enter_context(tiff_file(path, path)), path, axes)
            elif start.startswith(JPEG):
                image = in_memory(_decode_jpeg(path))
            elif start.startswith(PNG):
                image = in_memory(_decode_png(path))
            else:
                raise UnreadableImage("unsupported_format", unknown_format(path))
        yield image


def _start(path: str) -> bytes:
    """First bytes of a file, none for a folder."""
    if os.path.isdir(path):
        return b""
    try:
        with open(path, "rb") as handle:
            start = handle.read(32)
    except OSError as error:
        raise UnreadableImage("missing_file", f"{path} cannot be opened: {error.strerror}") from error
    if not start:
        raise UnreadableImage("corrupt", f"{path} is empty")
    return start


@contextmanager
def _decoding(path: str) -> Iterator[None]:
    """Turn whatever a decoder raises on broken bytes into UnreadableImage."""
    try:
        yield
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        raise UnreadableImage("corrupt", f"{path} cannot be decoded: {error}") from error


def _unpacked(path: str, most: int = -1) -> bytes:
    with gzip.open(path) as packed:
        content = packed.read(most)
    if not content.startswith(TIFF):
        raise UnreadableImage("unsupported_format", f"{path} is a gzipped file, but no TIFF is in it")
    return content


def unknown_format(path: str) -> str:
    """A sentence for a file of no supported format: what it is and how to convert it."""
    found = vendor_format(path)
    what = f"is {found}, which is not read directly" if found else f"is no {READABLE} by its first bytes"
    return f"{path} {what}; {CONVERTER}"


def _read(image: Image, path: str, channel: str | None, z: str, window: Window | None = None) -> np.ndarray:
    for axis in image.axes:
        if axis not in "CZSYX" and image.length(axis) > 1:
            what = "points in time" if axis == "T" else "pages whose axes are not declared"
            how = "" if axis == "T" else f"{NAME_AXES}, or "
            raise UnreadableImage(
                "unsupported_format", f"{path} has {image.length(axis)} {what}: keep one, {how or 'or '}{DECLARE_AXES}"
            )
    if image.dtype.kind not in "uif":
        raise UnreadableImage("unsupported_format", f"{path} has pixels of type {image.dtype}: intensities are needed")
    with _decoding(path):
        if image.axes.endswith("S") and channel is None:
            # alpha, the fourth sample (the second of grey), is no intensity
            colours = min(image.length("S") - (image.length("S") in (2, 4)), 3)
            plane = reduce(np.maximum, [_flat(image, {"S": sample}, path, z, window) for sample in range(colours)])
        else:
            axis = "S" if "S" in image.axes else "C"
            plane = _flat(image, {axis: _channel_index(image, axis, path, channel)}, path, z, window)
    if plane.dtype.kind == "f" and not np.isfinite(plane).all():
        share = 1 - np.isfinite(plane).mean()
        raise UnreadableImage(
            "corrupt", f"{path}: {share:.2%} of the pixels are no finite numbers; give them a value, 0 for no signal"
        )
    return np.ascontiguousarray(plane, dtype=plane.dtype.newbyteorder("="))


def _flat(image: Image, index: dict[str, int], path: str, z: str, window: Window | None) -> np.ndarray:
    depth = image.length("Z")
    if depth == 1 and z in ("max", "focus", "0"):
        return image.plane(index, window)
    if z == "max":
        return reduce(np.maximum, (image.plane({**index, "Z": level}, window) for level in range(depth)))
    if z == "focus":
        # the sharpest plane of the field, whatever window is asked for
        best = max((image.plane({**index, "Z": level}, None) for level in range(depth)), key=sharpness)
        return best if window is None else best[window]
    if not z.isdigit() or int(z) >= depth:
        raise UnreadableImage("missing_channel", f"{path} has no plane z = {z}: it has {depth}, counted from 0")
    return image.plane({**index, "Z": int(z)}, window)


def sharpness(plane: np.ndarray) -> float:
    """Vollath's F4 of a (H, W) plane: its autocorrelation at one pixel less that at two, along x.

    White noise adds to neither, so that a dark, noisy plane does not win over a sharp one (Vollath 1987, Journal of
    Microscopy 147, 279).
    """
    rows = plane.astype(np.float64)
    return float((rows[:, :-2] * (rows[:, 1:-1] - rows[:, 2:])).sum())


def _channel_index(image: Image, axis: str, path: str, channel: str | None) -> int:
    count = image.length(axis)
    names = f" ({', '.join(image.channels)})" if any(image.channels) else ""
    if channel is None:
        if count == 1:
            return 0
        raise UnreadableImage("unsupported_format", f"{path} has {count} channels{names}: name one under roles")
    if channel in image.channels:
        if image.channels.count(channel) > 1:
            raise UnreadableImage("missing_channel", f"{path} has several channels {channel!r}{names}: give an index")
        return image.channels.index(channel)
    if channel.isdigit() and int(channel) < count:
        return int(channel)
    raise UnreadableImage("missing_channel", f"{path} has no channel {channel!r}: it has {count}{names}")


def _decode_jpeg(path: str) -> np.ndarray:
    with open(path, "rb") as handle:
        data = handle.read()
    # the decoder fills what is missing with grey; entropy-coded data cannot hold the end marker, a thumbnail can
    if data.find(b"\xff\xd9", max(data.rfind(b"\xff\xda"), 0)) < 0:
        raise UnreadableImage("corrupt", f"{path} is a truncated JPEG: its end is missing")
    return imagecodecs.jpeg8_decode(data)


def _decode_png(path: str) -> np.ndarray:
    with open(path, "rb") as handle:
        data = handle.read()
    end = data.rfind(b"IEND")
    if end < 0 or end + 8 > len(data):  # four letters and a checksum of four bytes
        raise UnreadableImage("corrupt", f"{path} is a truncated PNG: its end is missing")
    return imagecodecs.png_decode(data)
