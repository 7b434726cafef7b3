"""Tiles that cover a field."""

from math import ceil

import numpy as np


def tiles(height: int, width: int, size: int) -> list[tuple[slice, slice]]:
    """Patches of at most `size` pixels that cover a field, as few as possible and evenly spaced (they may overlap).

    Args:
        height: pixels of the field.
        width: pixels of the field.
        size: height and width of a patch; a side that is shorter is taken whole.

    Returns:
        (rows, columns) of each patch, all of one shape.
    """
    return [(rows, columns) for rows in _steps(height, size) for columns in _steps(width, size)]


def _steps(length: int, size: int) -> list[slice]:
    if length <= size:
        return [slice(0, length)]
    starts = np.linspace(0, length - size, ceil(length / size)).round().astype(int)
    return [slice(int(start), int(start) + size) for start in starts]
