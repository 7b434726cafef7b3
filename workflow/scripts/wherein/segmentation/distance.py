"""Distance to the nuclear boundary, the reference channel of Kobayashi et al. 2022 (methods, data preprocessing)."""

import cv2
import numpy as np
from scipy import ndimage


def nucleus_distance(nucleus: np.ndarray, pixel_size_um: float) -> np.ndarray:
    """Shortest distance of every pixel to the boundary of a nucleus: positive within nuclei, negative outside.

    The boundary runs between pixels: those on either side of it lie half a pixel from it. Within a nucleus that
    touches another, the line between them is a boundary too. The field's own border is none.

    Args:
        nucleus: (H, W) labels of the whole field, 0 for background; a crop does not know of nuclei beyond it.
        pixel_size_um: micrometres a pixel.

    Returns:
        (H, W) float32, micrometres; minus the field's diagonal everywhere in a field without nuclei.
    """
    if not nucleus.any():
        return np.full(nucleus.shape, -np.hypot(*nucleus.shape) * pixel_size_um, np.float32)
    outside = (nucleus == 0).astype(np.uint8)
    distance = 0.5 - cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    for number, box in enumerate(ndimage.find_objects(nucleus.astype(np.int32, copy=False)), start=1):
        if box is None:
            continue
        wide = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
        own = nucleus[wide] == number
        if own.all():
            # one nucleus fills the field: no boundary is in view
            distance[wide] = np.hypot(*nucleus.shape)
            continue
        depth = cv2.distanceTransform(own.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        distance[wide][own] = depth[own] - 0.5
    return (distance * pixel_size_um).astype(np.float32)


def normalized_distance(distance: np.ndarray) -> np.ndarray:
    """Bring signed distances to -1..1 by the largest one of each image, so that 0 stays the boundary.

    Args:
        distance: (..., H, W), any unit.

    Returns:
        The same shape, float32; 0 where an image is 0 throughout.
    """
    largest = np.abs(distance).max(axis=(-2, -1), keepdims=True)
    return np.divide(distance, largest, out=np.zeros(distance.shape, np.float32), where=largest > 0, casting="unsafe")
