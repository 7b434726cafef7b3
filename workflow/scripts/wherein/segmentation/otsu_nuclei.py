"""The method `otsu-nuclei`: nuclei as Lu et al. 2019 find them in human cells.

Otsu's threshold on the nucleus channel, connected components, small ones dropped; crops are windows around what is
left (stage `crop`). Touching nuclei stay one. The paper draws no outlines of cells: they are grown from these nuclei
as those of the default method are.
"""

from typing import Any

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from wherein.segmentation.cells import grown
from wherein.segmentation.grid import coarsened
from wherein.segmentation.methods import MethodContext, Outlines
from wherein.segmentation.nuclei import rounding_noise, stands_out


def outline(
    images: dict[str, np.ndarray], pixel_size_um: float, settings: dict[str, Any], context: MethodContext
) -> Outlines:
    """Outline nuclei by one threshold, and grow cells from them.

    Args:
        images: (H, W) by role; `nucleus` must be there.
        pixel_size_um: micrometres a pixel.
        settings: the section `segment` of the configuration.
        context: not used.

    Returns:
        The outlines, without scores.
    """
    options = settings["otsu-nuclei"]
    image = images["nucleus"]
    coarse, step = coarsened(image, pixel_size_um, options["grid_um"])
    labels = components_above_otsu(coarse, options["min_um2"] / step**2)
    if not stands_out(coarse, labels > 0, settings["nuclei"]["contrast"], rounding_noise(image.dtype)):
        labels[:] = 0
    return grown(labels, images, pixel_size_um, settings)


def components_above_otsu(image: np.ndarray, least_px: float) -> np.ndarray:
    """Connected components (8 neighbours) above Otsu's threshold, the small ones dropped.

    Args:
        image: (h, w) float32.
        least_px: area that a component has at least, in pixels.

    Returns:
        (h, w) int32, numbered from 1 without gaps; nothing in an image of one value.
    """
    if image.min() == image.max():
        return np.zeros(image.shape, np.int32)
    labels, count = ndimage.label(image > threshold_otsu(image), structure=np.ones((3, 3)))
    keep = np.bincount(labels.ravel(), minlength=count + 1) >= least_px
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]
