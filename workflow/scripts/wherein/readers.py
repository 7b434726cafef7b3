"""Images of any supported format, read plane by plane. A file is known by its first bytes, never by its name."""

import gzip
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any
from xml.etree import ElementTree

import imagecodecs
import numpy as np
import pandas as pd
import tifffile

from wherein.channels import in_order

VENDOR_FORMATS = {
    "czi": "Zeiss CZI",
    "lif": "Leica LIF",
    "lof": "Leica LOF",
    "nd2": "Nikon ND2",
    "oib": "Olympus OIB",
    "oif": "Olympus OIF",
    "oir": "Olympus OIR",
    "vsi": "Olympus VSI",
    "ims": "Imaris IMS",
    "dv": "DeltaVision DV",
    "c01": "Cellomics C01",
}
"""Makers' own formats, by ending: they are told by name, and by the converter that reads them."""

CONVERTER = "convert it to OME-Zarr with bioformats2raw (https://github.com/glencoesoftware/bioformats2raw)"
DECLARE_AXES = (
    "save it with declared axes, as OME-TIFF or from ImageJ, or with "
    'tifffile.imwrite(path, image, ome=True, metadata={"axes": "CYX"})'
)

MICROMETRES = {
    "m": 1e6,
    "meter": 1e6,
    "cm": 1e4,
    "centimeter": 1e4,
    "mm": 1e3,
    "millimeter": 1e3,
    "µm": 1.0,
    "μm": 1.0,  # micro sign and Greek mu are two characters
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "\\u00b5m": 1.0,  # ImageJ writes the escape
    "nm": 1e-3,
    "nanometer": 1e-3,
    "Å": 1e-4,
    "angstrom": 1e-4,
    "inch": 25400.0,
}
"""Micrometres in one unit, by the names that OME, ImageJ and OME-Zarr use."""


class UnreadableImage(Exception):
    """An image that cannot be read as it is.

    Attributes:
        reason: one of `wherein.reasons.FIELD_REASONS`.
    """

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True)
class Image:
    """An image that is open for reading.

    Attributes:
        axes: one letter an axis: T time, C channel, Z depth, S sample of a colour, Y, X.
        shape: length of each axis.
        dtype: of the pixels.
        channels: names of the channels, as the file has them; may be empty.
        pixel_size_um: micrometres a pixel, null where the file does not say.
        plane: gives the (H, W) plane at an index for every axis but Y and X, by its letter.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype
    channels: tuple[str, ...]
    pixel_size_um: float | None
    plane: Callable[[dict[str, int]], np.ndarray]

    def length(self, axis: str) -> int:
        """Length of an axis, 1 for one that the image does not have."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1


def read_plane(path: str, channel: str | None = None, z: str = "max") -> np.ndarray:
    """Read one channel of a file as one plane.

    A colour image without a named channel is grey coded in a colour, as the Human Protein Atlas serves it: the
    maximum over red, green and blue.

    Args:
        path: TIFF, gzipped TIFF, PNG or JPEG, or the folder of an OME-Zarr image.
        channel: index, counted from 0, or name in the metadata; None for the only one.
        z: `max` over the depth, `focus` for the sharpest plane, or an index.

    Returns:
        (H, W), in the type of the file.

    Raises:
        UnreadableImage: `missing_file`, `corrupt`, `unsupported_format` or `missing_channel`.
    """
    with open_image(path) as image:
        return _read(image, path, channel, z)


def read_field(files: pd.DataFrame, roles: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read the channels of one field.

    Args:
        files: rows of results/download/{shard}.parquet of one field version.
        roles: the roles to read; None for all that `files` has.

    Returns:
        (H, W) by role, all of one size, in the order of storage.

    Raises:
        UnreadableImage: the first thing that is wrong; `size_mismatch` where the channels differ in size.
    """
    rows = {row["role"]: row for row in files.to_dict("records")}
    planes: dict[str, np.ndarray] = {}
    for role in in_order(rows if roles is None else roles):
        row = rows.get(role)
        if row is None:
            raise UnreadableImage("missing_channel", f"no file is listed for the role {role}")
        if row["status"] != "ok":
            raise UnreadableImage(row["reason"], f"{role}: {row['path'] or 'no file'} ({row['reason']})")
        channel = row["channel"] if isinstance(row["channel"], str) else None
        z = row["z"] if isinstance(row["z"], str) else "max"
        planes[role] = read_plane(row["path"], channel, z)
    sizes = {role: plane.shape for role, plane in planes.items()}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{role} {height} x {width}" for role, (height, width) in sizes.items())
        raise UnreadableImage("size_mismatch", f"the channels differ in size: {found}")
    return planes


def pixel_size(path: str) -> float | None:
    """Micrometres a pixel, as the file says it (OME, ImageJ, OME-Zarr); None if it does not."""
    with open_image(path) as image:
        return image.pixel_size_um


@contextmanager
def open_image(path: str) -> Iterator[Image]:
    """Open an image by what its first bytes say it is.

    Raises:
        UnreadableImage: `missing_file`, `corrupt` or `unsupported_format`.
    """
    try:
        with open(path, "rb") as handle:
            start = handle.read(16)
    except FileNotFoundError as error:
        raise UnreadableImage("missing_file", f"{path} does not exist") from error
    try:
        if start[:2] == b"\x1f\x8b":
            with gzip.open(path) as packed:
                content = packed.read()
            with tifffile.TiffFile(io.BytesIO(content)) as tiff:
                yield _tiff(tiff, path, len(content))
        elif start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            with tifffile.TiffFile(path) as tiff:
                yield _tiff(tiff, path, os.path.getsize(path))
        elif start[:3] == b"\xff\xd8\xff":
            yield _in_memory(_decode_jpeg(path))
        elif start[:8] == b"\x89PNG\r\n\x1a\n":
            yield _in_memory(_decode_png(path))
        else:
            raise UnreadableImage("unsupported_format", unknown_format(path))
    except UnreadableImage:
        raise
    except Exception as error:  # noqa: BLE001  decoders raise whatever they like on broken bytes
        raise UnreadableImage("corrupt", f"{path} cannot be decoded: {error}") from error


def unknown_format(path: str) -> str:
    """A sentence for a file of no supported format: what it is and how to convert it."""
    ending = path.rsplit(".", 1)[-1].lower()
    if ending in VENDOR_FORMATS:
        return f"{path} is {VENDOR_FORMATS[ending]}, which is not read directly: {CONVERTER}"
    return f"{path} is no TIFF, gzipped TIFF, PNG, JPEG or OME-Zarr by its first bytes: {CONVERTER}"


def _read(image: Image, path: str, channel: str | None, z: str) -> np.ndarray:
    for axis in image.axes:
        if axis not in "CZSYX" and image.length(axis) > 1:
            what = "points in time" if axis == "T" else "pages without a declared axis"
            raise UnreadableImage(
                "unsupported_format", f"{path} has {image.length(axis)} {what}: split them, or {DECLARE_AXES}"
            )
    if image.dtype.kind not in "uif":
        raise UnreadableImage("unsupported_format", f"{path} has pixels of type {image.dtype}: intensities are needed")
    if "S" in image.axes and channel is None:
        # alpha, the fourth sample (or the second of grey), is no intensity
        colours = min(image.length("S") - (image.length("S") in (2, 4)), 3)
        plane = reduce(np.maximum, [_flat(image, {"S": sample}, path, z) for sample in range(colours)])
    else:
        axis = "S" if "S" in image.axes else "C"
        plane = _flat(image, {axis: _channel_index(image, axis, path, channel)}, path, z)
    if image.dtype.kind == "f" and not np.isfinite(plane).all():
        share = 1 - np.isfinite(plane).mean()
        raise UnreadableImage(
            "corrupt", f"{path}: {share:.2%} of the pixels are no finite numbers; replace them before the run"
        )
    return np.ascontiguousarray(plane)


def _flat(image: Image, index: dict[str, int], path: str, z: str) -> np.ndarray:
    depth = image.length("Z")
    if depth == 1 and z in ("max", "focus", "0"):
        return image.plane(index)
    if z == "max":
        return reduce(np.maximum, (image.plane({**index, "Z": level}) for level in range(depth)))
    if z == "focus":
        return max((image.plane({**index, "Z": level}) for level in range(depth)), key=sharpness)
    if not z.isdigit() or int(z) >= depth:
        raise UnreadableImage("missing_channel", f"{path} has no plane z = {z}: it has {depth}, counted from 0")
    return image.plane({**index, "Z": int(z)})


def sharpness(plane: np.ndarray) -> float:
    """Vollath's F4 of a (H, W) plane: its autocorrelation at one pixel less that at two, along x.

    White noise adds to neither, so that a dark, noisy plane does not win over a sharp one (Vollath 1987, Journal of
    Microscopy 147, 279).
    """
    rows = plane.astype(np.float64)
    return float((rows[:, :-2] * (rows[:, 1:-1] - rows[:, 2:])).sum())


def _channel_index(image: Image, axis: str, path: str, channel: str | None) -> int:
    count = image.length(axis)
    names = f" ({', '.join(image.channels)})" if image.channels else ""
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


def _in_memory(array: np.ndarray, axes: str | None = None) -> Image:
    axes = axes or ("YX" if array.ndim == 2 else "YXS")
    return Image(axes, array.shape, array.dtype, (), None, lambda index: _plane_of(array, axes, index))


def _plane_of(array: np.ndarray, axes: str, index: dict[str, int]) -> np.ndarray:
    return array[tuple(slice(None) if axis in "YX" else index.get(axis, 0) for axis in axes)]


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
    if b"IEND" not in data:
        raise UnreadableImage("corrupt", f"{path} is a truncated PNG: its end is missing")
    return imagecodecs.png_decode(data)


def _tiff(tiff: tifffile.TiffFile, path: str, size: int) -> Image:
    series = tiff.series[0]
    axes = series.axes
    ends = [
        offset + count
        for page in series.pages
        if page is not None
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
    ]
    if series.dataoffset is not None:
        ends.append(series.dataoffset + series.nbytes)
    if max(ends, default=0) > size:
        raise UnreadableImage("corrupt", f"{path} is truncated: {max(ends)} bytes are needed, {size} are there")
    if len(series.shape) == 2 or "S" in axes or len(series.pages) != int(np.prod(series.shape[:-2])):
        return Image(
            axes,
            series.shape,
            series.dtype,
            _ome_channels(tiff),
            _tiff_pixel_size(tiff),
            lambda index: _plane_of(series.asarray(), axes, index),
        )

    def plane(index: dict[str, int]) -> np.ndarray:
        at = np.ravel_multi_index([index.get(axis, 0) for axis in axes[:-2]], series.shape[:-2])
        return series.pages[int(at)].asarray()

    return Image(axes, series.shape, series.dtype, _ome_channels(tiff), _tiff_pixel_size(tiff), plane)


def _ome_pixels(tiff: tifffile.TiffFile) -> Any:
    if not tiff.ome_metadata:
        return None
    return ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Image/{*}Pixels")


def _ome_channels(tiff: tifffile.TiffFile) -> tuple[str, ...]:
    pixels = _ome_pixels(tiff)
    return () if pixels is None else tuple(channel.get("Name", "") for channel in pixels.findall("{*}Channel"))


def _tiff_pixel_size(tiff: tifffile.TiffFile) -> float | None:
    pixels = _ome_pixels(tiff)
    if pixels is not None and pixels.get("PhysicalSizeX"):
        return float(pixels.get("PhysicalSizeX")) * MICROMETRES[pixels.get("PhysicalSizeXUnit", "µm")]
    if tiff.is_imagej and "XResolution" in tiff.pages[0].tags:
        unit = str((tiff.imagej_metadata or {}).get("unit", "")).lower()
        count, length = tiff.pages[0].tags["XResolution"].value
        if unit in MICROMETRES and count:
            return length / count * MICROMETRES[unit]
    return None
