"""The classic features of Lu et al. 2019 (methods, features for human cells): intensity, correlation and texture.

For one cell: sum, mean and standard deviation of the protein over the cell's pixels; Pearson correlation of the protein
with every marker; Haralick's texture measures of the protein at several distances. A vector has one dimension for each
marker that the source has, and all dimensions have names, so that those who put sources side by side take the shared
ones. What a cell cannot give is NaN: the correlation with a channel that is constant over the cell, a texture distance
larger than the cell. Tables keep the NaN; who compares cells puts the median of all units there.
"""

from collections.abc import Sequence

import cv2
import mahotas
import numpy as np

PROTEIN = "protein"

INTENSITY = ("sum", "mean", "std")

HARALICK = (
    "angular_second_moment",
    "contrast",
    "correlation",
    "sum_of_squares",
    "inverse_difference_moment",
    "sum_average",
    "sum_variance",
    "sum_entropy",
    "entropy",
    "difference_variance",
    "difference_entropy",
    "information_correlation_1",
    "information_correlation_2",
)
"""Haralick, Shanmugam and Dinstein (1973), features f1 to f13, in mahotas's order."""


def feature_names(roles: Sequence[str], scales_px: Sequence[int]) -> list[str]:
    """Names of the dimensions.

    Args:
        roles: roles of the source, `protein` among them.
        scales_px: distances of the texture measures.
    """
    return [
        *(f"protein_{name}" for name in INTENSITY),
        *(f"pearson_{role}" for role in roles if role != PROTEIN),
        *(f"haralick_{scale}px_{name}" for scale in scales_px for name in HARALICK),
    ]


def cell_features(
    image: np.ndarray,
    mask: np.ndarray,
    roles: Sequence[str],
    pixel_size_um: float,
    scales_px: Sequence[int],
    levels: int,
    texture_pixel_um: float | None,
) -> np.ndarray:
    """Features of one cell.

    Args:
        image: (C, H, W) raw intensities.
        mask: (H, W) bool, the cell's pixels.
        roles: the channels' roles.
        pixel_size_um: micrometres a pixel of `image`.
        scales_px: distances of the texture measures, in pixels of `texture_pixel_um`.
        levels: grey levels of the texture measures.
        texture_pixel_um: micrometres a pixel on which texture is measured; None for the image's own.

    Returns:
        (D,) float32 in the order of `feature_names`; all NaN for an empty mask.
    """
    if not mask.any():
        return np.full(len(feature_names(roles, scales_px)), np.nan, np.float32)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    image, mask = image[(slice(None), *box)], mask[box]
    channel = {role: image[index] for index, role in enumerate(roles)}
    protein = channel[PROTEIN][mask].astype(np.float64)
    found = [protein.sum(), protein.mean(), protein.std()]
    found += [pearson(protein, channel[role][mask]) for role in roles if role != PROTEIN]
    pixel = pixel_size_um if texture_pixel_um is None else texture_pixel_um
    shrunk, inside = shrink(channel[PROTEIN], mask, pixel_size_um / pixel)
    # a source coarser than the texture's pixel is not blown up: the same micrometres are fewer of its pixels
    distance = min(pixel / pixel_size_um, 1.0)
    grey = grey_levels(shrunk, inside, levels)
    for scale in scales_px:
        found.extend(haralick(grey, max(round(scale * distance), 1)))
    return np.array(found, np.float64).astype(np.float32)


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two equally long sets of values; NaN if one of them is constant."""
    x, y = a - a.mean(dtype=np.float64), b - b.mean(dtype=np.float64)
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm > 0 else float("nan")


def shrink(plane: np.ndarray, mask: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Resample a cell to a coarser grid, its own pixels alone.

    Args:
        plane: (H, W) intensities.
        mask: (H, W) bool.
        factor: new size over old; from 1 on nothing changes.

    Returns:
        plane: (h, w) float32, the mean over those of each new pixel's area that are in the mask.
        mask: (h, w) bool, where at least half of the area is in the mask.
    """
    if factor >= 1:
        return plane.astype(np.float32), mask
    size = tuple(max(round(length * factor), 1) for length in reversed(plane.shape))
    weight = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(np.where(mask, plane, 0).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    inside = weight >= 0.5
    return np.divide(total, weight, out=np.zeros_like(total), where=inside), inside


def grey_levels(plane: np.ndarray, mask: np.ndarray, levels: int) -> np.ndarray:
    """Divide a cell's own range into grey levels, 1 to `levels`; 0 outside the mask.

    The range is the cell's own, as Lu et al. 2019 rescale every crop, so that exposure does not count as texture.

    Args:
        plane: (H, W) intensities.
        mask: (H, W) bool.
        levels: number of levels, at most 255.

    Returns:
        (H, W) uint8.
    """
    grey = np.zeros(plane.shape, np.uint8)
    if not mask.any():
        return grey
    values = plane[mask].astype(np.float64)
    low, high = values.min(), values.max()
    share = (values - low) / (high - low) if high > low else np.zeros_like(values)
    grey[mask] = 1 + np.minimum((share * levels).astype(np.int64), levels - 1)
    return grey


def haralick(grey: np.ndarray, distance: int) -> np.ndarray:
    """The 13 texture measures at one distance, means over the four directions.

    Args:
        grey: (H, W) uint8, 0 where a pixel does not count.
        distance: pixels between the two of a pair.

    Returns:
        (13,) float64; NaN where no pair of pixels lies in the cell.
    """
    try:
        found = mahotas.features.haralick(grey, ignore_zeros=True, distance=distance)
    except ValueError:
        # mahotas raises if any direction has no pair of pixels at this distance
        return np.full(len(HARALICK), np.nan)
    return found.mean(axis=0)
