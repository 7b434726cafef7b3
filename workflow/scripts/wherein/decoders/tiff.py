"""TIFF: OME, ImageJ and plain files, plane by plane where the file allows it."""

import io
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from wherein.decoders.axes import ordered_pages
from wherein.decoders.image import (
    DECLARE_AXES,
    MICROMETRES,
    Image,
    UnreadableImage,
    Window,
    plane_of,
    square_pixel,
)

JPEG_IN_TIFF = (6, 7, 33007, 34892)
"""Compressions of TIFF whose segments need the tables of their page."""

DECODED_AT_ONCE = 1 << 24
"""Bytes of packed pixels that are read at once when a whole file is decoded."""


@contextmanager
def tiff_file(source: str | io.BytesIO, path: str) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF and follow its directories to the end.

    Raises:
        UnreadableImage: `corrupt`, a directory or one of its values lies beyond the end of the file.
    """
    with _overheard() as said, tifffile.TiffFile(source) as tiff:
        len(tiff.pages)  # walks over all directories
        # the library drops what lies beyond the end, and only logs it
        beyond = [sentence for sentence in said if "invalid value offset" in sentence or "invalid page" in sentence]
        if beyond:
            raise UnreadableImage("corrupt", f"{path} is truncated: {beyond[0]}")
        yield tiff


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """What tifffile logs in this thread while the block runs."""
    said: list[str] = []
    here = threading.get_ident()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == here:
                said.append(record.getMessage())

    ear = Ear(logging.WARNING)
    log = logging.getLogger("tifffile")
    log.addHandler(ear)
    try:
        yield said
    finally:
        log.removeHandler(ear)


def open_tiff(tiff: tifffile.TiffFile, path: str, undeclared: str | None = None) -> Image:
    """Make an image of an open TIFF.

    Args:
        tiff: the open file.
        path: its name.
        undeclared: axes of a file that declares none, as `ordered_pages` takes them; None for not known.

    Raises:
        UnreadableImage: `corrupt`, pixels lie beyond the end of the file; `unsupported_format`, the file holds several
            images, or its pixels are not square.
    """
    if len(tiff.series) > 1 and not tiff.is_lsm:
        raise UnreadableImage(
            "unsupported_format",
            f"{path} holds {len(tiff.series)} images of different form: keep one, or {DECLARE_AXES}",
        )
    series = tiff.series[0]
    _check_length(tiff, series, path)
    pixels = _ome_pixels(tiff)
    channels = () if pixels is None else tuple(found.get("Name", "") for found in pixels.findall("{*}Channel"))
    axes, shape = series.axes, series.shape
    if undeclared is not None and re.fullmatch("[IQ]+YX", axes):
        letters, lengths = ordered_pages(undeclared, shape[:-2], path)
        axes, shape = f"{letters}YX", (*lengths, *shape[-2:])
    return Image(axes, shape, series.dtype, channels, tiff_pixel_size(tiff, path), _planes(series, axes, shape))


def decode_pages(tiff: tifffile.TiffFile, path: str) -> None:
    """Decode all pages of a file, those too that no channel is taken from, a few tiles or strips at a time.

    Raises:
        UnreadableImage: `corrupt`, pixels lie beyond the end of the file.
        Exception: whatever a decoder raises.
    """
    for page in tiff.pages:
        for image in (page, *(page.pages or ())):
            image = image.aspage() if isinstance(image, tifffile.TiffFrame) else image
            _check_within(tiff, zip(image.dataoffsets, image.databytecounts, strict=False), path)
            if image.compression == tifffile.COMPRESSION.NONE:
                continue
            for _ in image.segments(maxworkers=1, buffersize=DECODED_AT_ONCE):
                pass


def _check_length(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: str) -> None:
    if series.dataoffset is not None:
        _check_within(tiff, [(series.dataoffset, series.nbytes)], path)
    for page in series.pages:
        if page is None or page.parent is not tiff:
            raise UnreadableImage("unsupported_format", f"{path} is one of several files that make up one image")
        _check_within(tiff, zip(page.dataoffsets, page.databytecounts, strict=False), path)


def _check_within(tiff: tifffile.TiffFile, parts: Iterable[tuple[int, int]], path: str) -> None:
    needed, there = max((sum(part) for part in parts), default=0), tiff.filehandle.size
    if needed > there:
        raise UnreadableImage("corrupt", f"{path} is truncated: {needed} bytes are needed, {there} are there")


def _planes(
    series: tifffile.TiffPageSeries, axes: str, shape: tuple[int, ...]
) -> Callable[[dict[str, int], Window | None], np.ndarray]:
    """Planes read one by one where each is a page, else from the array, which is read once."""
    outer = shape[:-2]
    if axes.endswith("YX") and len(series.pages) == int(np.prod(outer)):

        def page(index: dict[str, int], window: Window | None = None) -> np.ndarray:
            place = np.ravel_multi_index([index.get(axis, 0) for axis in axes[:-2]], outer) if outer else 0
            found = series.pages[int(place)]
            if window is not None and isinstance(found, tifffile.TiffPage):
                return _window_of_page(found, window)
            return plane_of(found.asarray().reshape(shape[-2:]), "YX", {}, window)

        return page
    held: list[np.ndarray] = []

    def plane(index: dict[str, int], window: Window | None = None) -> np.ndarray:
        if not held:
            held.append(series.asarray().reshape(shape))
        return plane_of(held[0], axes, index, window)

    return plane


def _window_of_page(page: tifffile.TiffPage, window: Window) -> np.ndarray:
    """Decode the strips or tiles of a (H, W) page that a window touches, and no others."""
    size = (page.imagelength, page.imagewidth)
    low, high = zip(*(part.indices(length)[:2] for part, length in zip(window, size, strict=True)), strict=True)
    out = np.full([max(end - start, 0) for start, end in zip(low, high, strict=True)], page.nodata, page.dtype)
    if not out.size:
        return out
    # a strip is a tile as wide as the page
    tile = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    across = -(-page.imagewidth // tile[1])
    rows, columns = (range(start // step, -(-end // step)) for start, end, step in zip(low, high, tile, strict=True))
    numbers = [row * across + column for row in rows for column in columns]
    offsets, counts = ([values[number] for number in numbers] for values in (page.dataoffsets, page.databytecounts))
    tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in JPEG_IN_TIFF else {}
    for data, number in page.parent.filehandle.read_segments(offsets, counts, indices=numbers):
        segment, (_, _, top, left, _), shape = page.decode(data, number, **tables)
        if segment is None:
            continue
        there, here = [], []
        for start, end, first, length in zip(low, high, (top, left), shape[1:3], strict=True):
            begin, stop = max(start, first), min(end, first + length)
            there.append(slice(begin - start, stop - start))
            here.append(slice(begin - first, stop - first))
        out[tuple(there)] = segment[0, :, :, 0][tuple(here)]
    return out


def tiff_pixel_size(tiff: tifffile.TiffFile, path: str) -> float | None:
    """Micrometres a pixel, as OME or ImageJ metadata say it; None if they do not.

    Raises:
        UnreadableImage: `unsupported_format`, the pixels are not square.
    """
    pixels = _ome_pixels(tiff)
    return _imagej_pixel_size(tiff, path) if pixels is None else _ome_pixel_size(pixels, path)


def _ome_pixels(tiff: tifffile.TiffFile) -> Any:
    return ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Image/{*}Pixels") if tiff.is_ome else None


def _ome_pixel_size(pixels: Any, path: str) -> float | None:
    def side(axis: str) -> float | None:
        length = pixels.get(f"PhysicalSize{axis}")
        unit = MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        return float(length) * unit if length and unit else None

    return square_pixel(side("Y"), side("X"), path)


def _imagej_pixel_size(tiff: tifffile.TiffFile, path: str) -> float | None:
    # the resolution of a plain TIFF is the printer's, not the microscope's
    unit = MICROMETRES.get(str((tiff.imagej_metadata or {}).get("unit", "")).lower())
    if not unit:
        return None

    def side(axis: str) -> float | None:
        tag = tiff.pages[0].tags.get(f"{axis}Resolution")
        count, length = tag.value if tag else (0, 1)
        return length / count * unit if count else None

    return square_pixel(side("Y"), side("X"), path)
