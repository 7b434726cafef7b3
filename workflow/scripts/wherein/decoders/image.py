"""An image that is open for reading, whatever its format."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

DECLARE_AXES = (
    "save it with declared axes, as OME-TIFF or from ImageJ, or with "
    'tifffile.imwrite(path, image, ome=True, metadata={"axes": "CYX"})'
)

NAME_AXES = (
    "name the order of its pages in the configuration, under sources.*.roles.*.axes of a table, sources.*.axes of kind "
    "opencell (CYX for channels, ZC2YX for two channels of each plane)"
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

Window = tuple[slice, slice]
"""Rows and columns of a plane."""

SQUARE = 0.01
"""Sides of a pixel may differ by this share of the longer."""


class UnreadableImage(Exception):  # noqa: N818  named for what it tells the reader of a log
    """An image that cannot be read as it is.

    Attributes:
        reason: one of `wherein.reasons.FIELD_REASONS`.
    """

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason

    def __reduce__(self) -> tuple[type["UnreadableImage"], tuple[str, str]]:
        """How it travels to another process: an exception is made anew from what it was made of."""
        return UnreadableImage, (self.reason, str(self))


@dataclass(frozen=True)
class Image:
    """An image that is open for reading.

    Attributes:
        axes: one letter an axis: T time, C channel, Z depth, S sample of a colour, Y, X.
        shape: length of each axis.
        dtype: of the pixels.
        channels: names of the channels, as the file has them; may be empty.
        pixel_size_um: micrometres a pixel, None where the file does not say.
        plane: gives the (H, W) plane at an index for every axis but Y and X, by its letter; or a window of it, for
            which no more is decoded than the format asks for.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype
    channels: tuple[str, ...]
    pixel_size_um: float | None
    plane: Callable[[dict[str, int], Window | None], np.ndarray]

    def length(self, axis: str) -> int:
        """Length of an axis, 1 for one that the image does not have."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1


def square_pixel(y: float | None, x: float | None, path: str) -> float | None:
    """Micrometres a pixel from its height and width.

    Raises:
        UnreadableImage: `unsupported_format`, the pixels are not square.
    """
    if not y or not x:
        return x or y or None
    if abs(y - x) > SQUARE * max(y, x):
        raise UnreadableImage("unsupported_format", f"{path}: pixels are {y:g} x {x:g} um; square ones are needed")
    return x


def in_memory(array: np.ndarray) -> Image:
    """An image that is decoded already: (H, W) or (H, W, samples)."""
    axes = "YX" if array.ndim == 2 else "YXS"
    return Image(axes, array.shape, array.dtype, (), None, partial(plane_of, array, axes))


def plane_of(array: Any, axes: str, index: dict[str, int], window: Window | None = None) -> np.ndarray:
    """The (H, W) plane of an array, or a window of it, at an index for every axis but Y and X; 0 for one not named."""
    rows, columns = window or (slice(None), slice(None))
    return np.asarray(array[tuple({"Y": rows, "X": columns}.get(axis, index.get(axis, 0)) for axis in axes)])
