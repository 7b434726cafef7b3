"""Outlines of whole cells where no nuclei are imaged, as in yeast with a fluorescent or bright-field reference."""

from typing import Any

import cv2
import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from wherein.channels import MARKERS
from wherein.segmentation.grid import blur, closed, coarsened, disk, enlarge_labels, in_sequence
from wherein.segmentation.methods import MethodContext, Outlines
from wherein.segmentation.nuclei import local_background, noise_level, objects_on_grid, solidity


def outline(
    images: dict[str, np.ndarray], pixel_size_um: float, settings: dict[str, Any], context: MethodContext
) -> Outlines:
    """The method `whole_cells`: whole cells on the reference, else on the first marker, else on what is there.

    Args:
        images: (H, W) by role.
        pixel_size_um: micrometres a pixel.
        settings: the section `segment` of the configuration.
        context: not used.

    Returns:
        The outlines, without nuclei and scores.
    """
    role = next(role for role in ("reference", *MARKERS, "protein", "nucleus") if role in images)
    cell = find_whole_cells(images[role], pixel_size_um, settings)
    return Outlines(np.zeros_like(cell), cell)


def find_whole_cells(reference: np.ndarray, pixel_size_um: float, settings: dict[str, Any]) -> np.ndarray:
    """Outline whole cells on the channel that shows them best.

    Args:
        reference: (H, W), any real type.
        pixel_size_um: micrometres a pixel.
        settings: the section `segment` of the configuration.

    Returns:
        (H, W) uint32, numbered from 1 without gaps.
    """
    options = settings["whole_cells"]
    image, step = coarsened(reference, pixel_size_um, options["grid_um"])
    look = options["look"]
    if look == "auto":
        look = "outlines" if is_bright_field(image) else "bright"
    solid = solid_from_outlines(image, step, options) if look == "outlines" else compressed(image, step, options)
    return in_sequence(enlarge_labels(objects_on_grid(solid, step, options), reference.shape)).astype(np.uint32)


def is_bright_field(image: np.ndarray) -> bool:
    """Whether an image shows dark outlines on bright ground: its darkest pixels lie farther from the median."""
    low, middle, high = np.percentile(image, (0.5, 50, 99.5))
    return bool(middle - low > high - middle)


def compressed(image: np.ndarray, step_um: float, options: dict[str, Any]) -> np.ndarray:
    """Logarithm of the signal over the noise, so that a cell's dim body counts beside a bright ring or spot in it.

    Args:
        image: (h, w) float32.
        step_um: micrometres a pixel.
        options: `segment.whole_cells` of the configuration.

    Returns:
        (h, w) float32: 1 at `contrast` standard deviations of the noise above the background, 0 below half of that.
    """
    smooth = blur(image, options["smoothing_um"] / step_um)
    signal = smooth - local_background(smooth, options["background_um"] / step_um)
    # a flat image differs from its background by rounding errors alone
    unit = max(options["contrast"] * noise_level(image), 1e-4 * float(np.abs(smooth).max()), 1e-30)
    return np.where(signal > unit / 2, np.log2(1 + np.maximum(signal, 0) / unit), 0).astype(np.float32)


def solid_from_outlines(image: np.ndarray, step_um: float, options: dict[str, Any]) -> np.ndarray:
    """Fill the dark outlines of bright-field cells.

    Args:
        image: (h, w) float32.
        step_um: micrometres a pixel.
        options: `segment.whole_cells` of the configuration.

    Returns:
        (h, w) float32: 1 within cells, 0 elsewhere; 0 everywhere if no line stands out from the noise.
    """
    smooth = blur(image, options["smoothing_um"] / step_um)
    dark = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, disk(options["outline_um"] / step_um)) - smooth
    # half of Otsu's: an outline is fainter where it runs along another cell
    threshold = max(0.5 * float(threshold_otsu(dark)), options["contrast"] * noise_level(image))
    # where two cells touch, the bright seam between them breaks both outlines
    # the ground between two bright halos is darker than they are, but not darker than the ground
    drawn = (dark > threshold) & (smooth < float(np.median(smooth)) - options["below_ground"] * threshold)
    lines = closed(drawn, options["closing_um"] / step_um)
    return (lines | _round_holes(lines, options["largest_um2"] / step_um**2, options["round"])).astype(np.float32)


def _round_holes(lines: np.ndarray, largest_px: float, least_solidity: float) -> np.ndarray:
    """Holes that are the inside of a cell; the ground shut in between cells is larger, or pointed."""
    holes, _ = ndimage.label(~lines)
    inside = np.zeros_like(lines)
    for number, box in enumerate(ndimage.find_objects(holes), start=1):
        hole = holes[box] == number
        if hole.sum() <= largest_px and solidity(hole) >= least_solidity:
            inside[box] |= hole
    return inside
