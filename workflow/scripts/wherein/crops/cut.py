"""Windows around cells: raw pixels of every role, and masks of the cell, its nucleus and their neighbours."""

import numpy as np

NONE, THIS, ANOTHER = 0, 1, 2
"""Values of a crop's masks: no object, the crop's own, another one."""


def window_px(window_um: float, pixel_size_um: float) -> int:
    """Side of a window in pixels of the source: the nearest even number, at least 2."""
    return max(2, 2 * round(window_um / pixel_size_um / 2))


def window_corner(centre: tuple[float, float], side: int) -> tuple[int, int]:
    """First row and column of a window of `side` pixels around `centre` (y, x); may lie beyond the field."""
    return round(centre[0]) - side // 2, round(centre[1]) - side // 2


def cut_window(plane: np.ndarray, corner: tuple[int, int], side: int) -> np.ndarray:
    """Cut a square window out of the last two axes.

    Args:
        plane: (..., H, W).
        corner: first row and column; any integers.
        side: pixels.

    Returns:
        (..., side, side), the same type; 0 beyond the field. Never a view of `plane`.
    """
    out = np.zeros((*plane.shape[:-2], side, side), plane.dtype)
    inside, there = [], []
    for start, size in zip(corner, plane.shape[-2:], strict=True):
        low, high = max(0, start), max(max(0, start), min(size, start + side))
        inside.append(slice(low, high))
        there.append(slice(low - start, high - start))
    out[(..., *there)] = plane[(..., *inside)]
    return out


def cut_cell(
    image: np.ndarray, nucleus: np.ndarray, cell: np.ndarray, label: int, centre: tuple[float, float], side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut out one cell.

    Args:
        image: (C, H, W), roles in the order of storage.
        nucleus: (H, W) labels.
        cell: (H, W) labels.
        label: number of the cell.
        centre: y, x in pixels.
        side: pixels of the window.

    Returns:
        pixels: (C, side, side) in the type of `image`.
        masks: (2, side, side) uint8, cell then nucleus: NONE, THIS or ANOTHER.
    """
    corner = window_corner(centre, side)
    masks = np.stack([_mask(cut_window(labels, corner, side), label) for labels in (cell, nucleus)])
    return cut_window(image, corner, side), masks


def _mask(labels: np.ndarray, label: int) -> np.ndarray:
    return np.where(labels == label, THIS, np.where(labels > 0, ANOTHER, NONE)).astype(np.uint8)
