"""The coarser grid on which outlines are found, and the way back to the pixels of the source."""

import cv2
import numpy as np
from scipy import ndimage


def working_shape(shape: tuple[int, int], pixel_size_um: float, grid_um: float) -> tuple[int, int]:
    """Shape of a field on a grid of `grid_um`; the field's own where its pixels are as coarse already.

    Args:
        shape: (H, W) of the field.
        pixel_size_um: micrometres a pixel of the field.
        grid_um: micrometres a pixel of the working grid.

    Returns:
        (h, w), each at least 1 and at most the field's.
    """
    factor = min(1.0, pixel_size_um / grid_um)
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def shrink(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Average an image (H, W) of any real type over the pixels of a coarser grid: (h, w) float32."""
    plane = np.ascontiguousarray(image, dtype=np.float32)
    if plane.shape == tuple(shape):
        return plane
    return cv2.resize(plane, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)


def coarsened(image: np.ndarray, pixel_size_um: float, grid_um: float) -> tuple[np.ndarray, float]:
    """Average an image over a grid of `grid_um`; one whose pixels are as coarse already keeps its own.

    Args:
        image: (H, W) of any real type.
        pixel_size_um: micrometres a pixel of the image.
        grid_um: micrometres a pixel of the working grid.

    Returns:
        (h, w) float32, and micrometres a pixel there, which whole numbers of pixels keep from being `grid_um` exactly.
    """
    shape = working_shape(image.shape, pixel_size_um, grid_um)
    return shrink(image, shape), pixel_size_um * image.shape[0] / shape[0]


def enlarge_labels(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bring labels to a finer grid with smooth outlines.

    Each label's mask is interpolated linearly and a pixel goes to the label that covers most of it, if that is at
    least half: outlines run between the coarse pixels, and neighbours stay side by side without a gap or an overlap.

    Args:
        labels: (h, w) of non-negative integers.
        shape: (H, W), at least (h, w).

    Returns:
        (H, W) uint32 with the same numbers. A label may vanish only if it is smaller than one coarse pixel.
    """
    if labels.shape == tuple(shape):
        return labels.astype(np.uint32)
    step = (labels.shape[0] / shape[0], labels.shape[1] / shape[1])
    out = np.zeros(shape, np.uint32)
    cover = np.zeros(shape, np.uint8)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            _enlarge_one(labels, number, box, step, out, cover)
    return out


def _enlarge_one(
    labels: np.ndarray,
    number: int,
    box: tuple[slice, slice],
    step: tuple[float, float],
    out: np.ndarray,
    cover: np.ndarray,
) -> None:
    """Write one label into `out` where it covers more than what `cover` holds so far, in place."""
    low = [max(0, side.start - 1) for side in box]
    high = [min(size, side.stop + 1) for side, size in zip(box, labels.shape, strict=True)]
    # bytes hold the cover well enough, and move four times faster than floats
    mask = np.where(labels[low[0] : high[0], low[1] : high[1]] == number, np.uint8(255), np.uint8(0))
    start = [int(edge / s) for edge, s in zip(low, step, strict=True)]
    stop = [min(size, int(np.ceil(edge / s))) for edge, s, size in zip(high, step, out.shape, strict=True)]
    # centre of fine pixel Y lies at (Y + 0.5) * step - 0.5 of the coarse grid
    shift = [(begin + 0.5) * s - 0.5 - edge for begin, s, edge in zip(start, step, low, strict=True)]
    matrix = np.array([[step[1], 0, shift[1]], [0, step[0], shift[0]]], np.float64)
    fine = cv2.warpAffine(
        mask,
        matrix,
        (stop[1] - start[1], stop[0] - start[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    there = (slice(start[0], stop[0]), slice(start[1], stop[1]))
    # ties go to the label that came first; half a pixel of cover is in
    np.copyto(out[there], np.uint32(number), where=fine > np.maximum(cover[there], np.uint8(127)))
    np.maximum(cover[there], fine, out=cover[there])


def disk(radius_px: float) -> np.ndarray:
    """Structuring element: the pixels within `radius_px` of the centre, uint8, odd sides."""
    reach = max(0, round(radius_px))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return (y * y + x * x <= max(radius_px, 0.5) ** 2).astype(np.uint8)


def blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian blur of a float32 image, mirrored at the border; `sigma_px` 0 leaves it as it is."""
    return cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101) if sigma_px > 0 else image


def in_sequence(labels: np.ndarray) -> np.ndarray:
    """Renumber labels to 1..n without gaps, in their own order: same shape, int32."""
    numbers = np.unique(labels)
    table = np.zeros(int(numbers[-1]) + 1 if numbers.size else 1, np.int32)
    table[numbers[numbers > 0]] = np.arange(1, (numbers > 0).sum() + 1)
    return table[labels]


def closed(mask: np.ndarray, radius_px: float) -> np.ndarray:
    """Close gaps and notches narrower than twice the radius; the field's border counts as background."""
    reach = int(np.ceil(radius_px)) + 1
    padded = np.pad(mask, reach).astype(np.uint8)
    return cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disk(radius_px))[reach:-reach, reach:-reach] > 0


def filled(mask: np.ndarray, largest_px: float) -> np.ndarray:
    """Fill holes up to `largest_px` pixels."""
    holes, count = ndimage.label(~mask)
    if not count:
        return mask
    sizes = np.bincount(holes.ravel())
    outside = np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))
    keep_open = sizes > largest_px
    keep_open[outside] = True
    keep_open[0] = True
    return mask | ~keep_open[holes]
