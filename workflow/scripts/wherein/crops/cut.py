"""Cutting cells out of a field: pixels of every role, and masks of the cell, its nucleus and their neighbours."""

import numpy as np

from wherein.crops.resample import resample, resample_masks
from wherein.crops.window import Window, window_corner
from wherein.segmentation.distance import nucleus_distance

NONE, THIS, ANOTHER = 0, 1, 2
"""Values of a crop's masks: no object, the crop's own, another one."""

DISTANCE = "nucleus_distance"
"""Distances to the nuclear boundary: the array that a store has or has not, and the attribute that says so."""

DISTANCE_DTYPE = np.dtype(np.float16)
"""Eleven bits: a distance to 0.05 %, where the outline itself is known to a pixel."""


def cut_window(plane: np.ndarray, corner: tuple[int, int], side: int) -> np.ndarray:
    """Cut a square window out of the last two axes.

    Args:
        plane: (..., H, W).
        corner: first row and column; any integers.
        side: pixels.

    Returns:
        (..., side, side), the same type; 0 beyond the field. A view of `plane` where the window lies in the field.
    """
    (y, x), (height, width) = corner, plane.shape[-2:]
    if 0 <= y <= height - side and 0 <= x <= width - side:
        return plane[..., y : y + side, x : x + side]
    out = np.zeros((*plane.shape[:-2], side, side), plane.dtype)
    inside, there = [], []
    for start, size in zip(corner, plane.shape[-2:], strict=True):
        low, high = max(0, start), max(max(0, start), min(size, start + side))
        inside.append(slice(low, high))
        there.append(slice(low - start, high - start))
    out[(..., *there)] = plane[(..., *inside)]
    return out


def cut_cell(
    image: np.ndarray,
    nucleus: np.ndarray,
    cell: np.ndarray,
    label: int,
    centre: tuple[float, float],
    window: Window,
    resampling: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut out one cell.

    Args:
        image: (C, H, W), roles in the order of storage.
        nucleus: (H, W) labels.
        cell: (H, W) labels.
        label: number of the cell.
        centre: y, x in pixels of the source.
        window: its size, in pixels of the source and of the crop.
        resampling: key of `wherein.crops.resample.METHODS`.

    Returns:
        pixels: (C, size_px, size_px) in the type of `image`; what lies beyond the field is 0.
        masks: (2, size_px, size_px) uint8, cell then nucleus: NONE, THIS or ANOTHER.
    """
    corner = window_corner(centre, window.source_px)
    pixels = cut_window(image, corner, window.source_px)
    masks = np.empty((2, window.size_px, window.size_px), np.uint8)
    for mask, labels in zip(masks, (cell, nucleus), strict=True):
        part = cut_window(labels, corner, window.source_px)
        classify(resample_masks(part, window.size_px) if window.resampled else part, label, mask)
    if not window.resampled:
        return np.ascontiguousarray(pixels), masks
    return resample(pixels, (window.size_px, window.size_px), resampling), masks


def cut_distance(distance: np.ndarray, margin_px: int, centre: tuple[float, float], window: Window) -> np.ndarray:
    """Cut the distances to nuclear boundaries around one cell out of those of its field.

    Args:
        distance: (H + 2 margin, W + 2 margin) of the field, as `wherein.segmentation.distance.nucleus_distance` has it.
        margin_px: pixels around the field; at least half of the window.
        centre: y, x in pixels of the source, within the field.
        window: its size, in pixels of the source and of the crop.

    Returns:
        (size_px, size_px) float16, in the unit of `distance`; where pixels change, the value under each centre, as
        masks have it, so that distances are above 0 where the mask shows a nucleus.
    """
    y, x = (start + margin_px for start in window_corner(centre, window.source_px))
    part = distance[y : y + window.source_px, x : x + window.source_px]
    return (resample_masks(part, window.size_px) if window.resampled else part).astype(DISTANCE_DTYPE)


def distance_of_masks(masks: np.ndarray, pixel_size_um: float) -> np.ndarray:
    """Distances to the nuclear boundary as far as crops' masks (n, 2, H, W) tell: (n, H, W) float16, micrometres."""
    return nucleus_distance(masks[:, 1], pixel_size_um).astype(DISTANCE_DTYPE)


def classify(labels: np.ndarray, label: int, out: np.ndarray) -> None:
    """Write NONE, THIS (where `labels` is `label`) or ANOTHER into `out`, uint8 of the same shape."""
    # ANOTHER where there is an object, less 1 where it is the own: a tenth of the time of np.where
    np.not_equal(labels, NONE, out=out.view(bool))
    out *= ANOTHER
    out -= (labels == label).view(np.uint8)
