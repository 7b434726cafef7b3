"""Distance to the nuclear boundary, the reference channel of Kobayashi et al. 2022 (methods, image data preprocessing).

Defined here and nowhere else: the stage `crop` stores what it gives of a field, and who reads crops without that array
gets what it gives of a crop's masks.
"""

import cv2
import numpy as np

NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Steps in rows and columns to half of a pixel's eight neighbours: each pair of pixels is met once."""


def nucleus_distance(nucleus: np.ndarray, pixel_size_um: float, margin_px: int = 0) -> np.ndarray:
    """Shortest distance of every pixel to the boundary of a nucleus: positive within nuclei, negative outside.

    The boundary runs between pixels: those on either side of it lie half a pixel from it. Within a nucleus that
    touches another, the line between them is a boundary too. The image's own border is none.

    On a whole field it is exact. On a crop it is exact wherever it is not larger than the distance to the crop's edge,
    for what lies beyond may be nearer, and to another such boundary of its masks (`wherein.crops.cut`): those have one
    number for all other nuclei, so that two of them that touch are one, and the end of the field is the end of a
    nucleus.

    Args:
        nucleus: (..., H, W) labels, 0 for background; of a field, or `masks[:, 1]` of crops.
        pixel_size_um: micrometres a pixel.
        margin_px: pixels around the image for which distances are wanted, too. They belong to no nucleus, and are no
            boundary to one that the image's border cuts.

    Returns:
        (..., H + 2 margin, W + 2 margin) float32, micrometres; the image's diagonal where there is no boundary,
        negative without nuclei and positive within one that fills the image.
    """
    shape = [side + 2 * margin_px for side in nucleus.shape[-2:]]
    out = np.empty((*nucleus.shape[:-2], *shape), np.float32)
    for place in np.ndindex(nucleus.shape[:-2]):
        out[place] = _of_image(nucleus[place], margin_px)
    out *= pixel_size_um
    return out


def _of_image(nucleus: np.ndarray, margin: int) -> np.ndarray:
    """Distances of one image in pixels."""
    height, width = nucleus.shape
    most = np.float32(np.hypot(height, width))
    inside = nucleus > 0
    if not inside.any():
        return np.full((height + 2 * margin, width + 2 * margin), -most)
    outside = np.pad(~inside, margin, constant_values=True) if margin else ~inside
    out = 0.5 - _to_zero(outside)
    middle = out[margin : margin + height, margin : margin + width]
    # within a nucleus, where the first is 0.5
    middle += most - np.float32(0.5) if inside.all() else _to_zero(inside) - inside
    # from a nucleus that touches none, the nearest pixel that is not its own is one of the background
    for number, box in _touching(nucleus):
        own = nucleus[box] == number
        middle[box][own] = _to_zero(own)[own] - 0.5
    return out


def _to_zero(mask: np.ndarray) -> np.ndarray:
    """Distance of each pixel of a mask (h, w) bool to the nearest one outside, between centres: float32, pixels."""
    found = cv2.distanceTransform(np.ascontiguousarray(mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # OpenCV's last bit depends on where the image lies in memory; squares of distances between pixels are whole numbers
    return np.sqrt(np.rint(found * found))


def _touching(nucleus: np.ndarray) -> list[tuple[int, tuple[slice, slice]]]:
    """Labels that have another one beside them, and for each the box around it, one pixel wider where there is one."""
    height, width = nucleus.shape
    found = []
    for dy, dx in NEIGHBOURS:
        here = nucleus[: height - dy, max(0, -dx) : width - max(0, dx)]
        there = nucleus[dy:, max(0, dx) : width + min(0, dx)]
        edge = (here != there) & (here > 0) & (there > 0)
        found += [here[edge], there[edge]]
    numbers = np.unique(np.concatenate(found))
    if not numbers.size:
        return []
    y, x = np.nonzero(np.isin(nucleus, numbers))
    order = np.argsort(nucleus[y, x], kind="stable")
    y, x = y[order], x[order]
    first = np.searchsorted(nucleus[y, x], numbers)
    ends = [[part.reduceat(axis, first) for part in (np.minimum, np.maximum)] for axis in (y, x)]
    (top, bottom), (left, right) = ends
    boxes = zip(top, bottom, left, right, strict=True)
    return [
        (int(number), (slice(max(0, a - 1), b + 2), slice(max(0, c - 1), d + 2)))
        for number, (a, b, c, d) in zip(numbers, boxes, strict=True)
    ]
