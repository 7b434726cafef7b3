"""The method `log-mce`: nuclei as Kobayashi et al. 2022 find them in OpenCell (methods, nucleus segmentation).

A smoothed image is cut at the threshold of least cross entropy (Li and Tam 1998); within that, the Laplacian of the
Gaussian tells the body of each nucleus from the valleys between them. The paper draws no outlines of cells: they are
grown from these nuclei as those of the default method are.
"""

from typing import Any

import cv2
import numpy as np
from scipy import ndimage
from skimage.filters import threshold_li

from wherein.segmentation.cells import grown
from wherein.segmentation.grid import blur, coarsened, disk, in_sequence
from wherein.segmentation.methods import MethodContext, Outlines
from wherein.segmentation.nuclei import rounding_noise, stands_out


def outline(
    images: dict[str, np.ndarray], pixel_size_um: float, settings: dict[str, Any], context: MethodContext
) -> Outlines:
    """Outline nuclei by cross entropy and the Laplacian of the Gaussian, and grow cells from them.

    Args:
        images: (H, W) by role; `nucleus` must be there.
        pixel_size_um: micrometres a pixel.
        settings: the section `segment` of the configuration.
        context: not used.

    Returns:
        The outlines, without scores.
    """
    options = settings["log-mce"]
    image = images["nucleus"]
    coarse, step = coarsened(image, pixel_size_um, options["grid_um"])
    mask = nucleus_mask(coarse, step, options)
    if not stands_out(coarse, mask, settings["nuclei"]["contrast"], rounding_noise(image.dtype)):
        mask[:] = False
    labels, _ = ndimage.label(mask)
    small = np.bincount(labels.ravel()) * step**2 < options["min_um2"]
    small[0] = True
    return grown(in_sequence(np.where(small[labels], 0, labels)), images, pixel_size_um, settings)


def nucleus_mask(image: np.ndarray, step_um: float, options: dict[str, Any]) -> np.ndarray:
    """Pixels of nuclei, cut apart at valleys that run in from the background.

    Args:
        image: (h, w) float32.
        step_um: micrometres a pixel.
        options: `segment.log-mce` of the configuration.

    Returns:
        (h, w) bool; nothing in an image of one value.
    """
    low = blur(image, options["lowpass_um"] / step_um)
    if low.max() - low.min() <= 1e-6 * max(1.0, float(np.abs(low).max())):
        return np.zeros(image.shape, bool)
    ground = low > threshold_li(low)
    # negative on the brow of something bright, positive in the valleys
    curvature = ndimage.gaussian_laplace(image, options["log_um"] / step_um)
    body = closed_and_filled(ground & (curvature < 0), options["closing_um"] / step_um)
    # true holes of the first mask are restored
    body &= ground
    valleys = curvature > np.percentile(curvature, options["valley_percentile"])
    return body & ~running_in(valleys, body)


def closed_and_filled(mask: np.ndarray, radius_px: float) -> np.ndarray:
    """Close gaps up to twice the radius, then fill every hole."""
    reach = int(np.ceil(radius_px)) + 1
    padded = np.pad(mask, reach).astype(np.uint8)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disk(radius_px))[reach:-reach, reach:-reach]
    return ndimage.binary_fill_holes(closed)


def running_in(valleys: np.ndarray, body: np.ndarray) -> np.ndarray:
    """The valleys of which a part lies in the background of `body`: those within it, as in a nucleolus, do not cut."""
    regions, count = ndimage.label(valleys, structure=np.ones((3, 3)))
    outside = np.bincount(regions[~body], minlength=count + 1) > 0
    outside[0] = False
    return outside[regions]
