"""Sharpness of an image, told from how fast its fine structure changes with distance."""

from typing import Any

import cv2
import numpy as np

from wherein.segmentation.grid import blur, coarsened, shrink, working_shape


def sharpness(image: np.ndarray, pixel_size_um: float, options: dict[str, Any]) -> float:
    """Sharpness between 0 (blurred) and 1, independent of brightness and of how much structure there is.

    Structure coarser than `texture_um` is taken off; of the rest, the autocovariance C at a distance d and at twice
    that gives 1 - C(2d) / C(d). In a blurred image both are nearly the same. Differences of autocovariances as a
    measure of focus are Vollath's (1987, Journal of Microscopy 147, 279); noise of single pixels has none at a
    distance, so that it neither sharpens nor blurs.

    Args:
        image: (H, W), any real type.
        pixel_size_um: micrometres a pixel.
        options: `qc.focus` of the configuration.

    Returns:
        The sharpness; 0 where there is structure of the size of nuclei and none finer; NaN where there is none at all.
    """
    plane, step = coarsened(image, pixel_size_um, options["grid_um"])
    # the brightest specks would else be all that is judged
    plane = np.minimum(plane, float(np.percentile(plane[::4, ::4], 99.9)))
    texture = plane - _wide_blur(plane, options["texture_um"] / step)
    distance = max(options["distance_um"] / step, 1.0)
    if min(texture.shape) <= 2 * distance + 2:
        return float("nan")
    near = autocovariance(texture, distance)
    spread = float(cv2.meanStdDev(texture)[1][0, 0])
    # what is left of white noise in a mean over that many pixels
    if near <= options["significance"] * spread**2 / np.sqrt(texture.size):
        return (
            0.0
            if spread > 0 and coarse_spread(plane, step, options) > options["coarse_contrast"] * spread
            else float("nan")
        )
    return 1 - autocovariance(texture, 2 * distance) / near


def coarse_spread(image: np.ndarray, step_um: float, options: dict[str, Any]) -> float:
    """Standard deviation of what is coarser than a quarter of `coarse_um` and finer than it: of nuclei, sharp or not.

    Args:
        image: (h, w) float32.
        step_um: micrometres a pixel.
        options: `qc.focus` of the configuration.

    Returns:
        Intensity.
    """
    fine = options["coarse_um"] / 4
    small, step = coarsened(image, step_um, fine / 4)
    return float((blur(small, fine / step) - blur(small, options["coarse_um"] / step)).std())


def autocovariance(image: np.ndarray, distance_px: float) -> float:
    """Mean product of pixels that are `distance_px` apart, along rows and columns.

    Args:
        image: (h, w) float32 whose mean is about 0.
        distance_px: at least 1; between whole pixels it is interpolated linearly.

    Returns:
        The mean over both directions, in squared intensity.
    """
    whole = int(distance_px)
    share = distance_px - whole
    value = (1 - share) * _at_lag(image, whole)
    return value + share * _at_lag(image, whole + 1) if share > 1e-6 else value


def _wide_blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian blur on a grid three times finer than its width, which is as fine as it needs."""
    shape = working_shape(image.shape, 1.0, max(sigma_px / 3, 1.0))
    factor = shape[0] / image.shape[0]
    return cv2.resize(blur(shrink(image, shape), sigma_px * factor), image.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _at_lag(image: np.ndarray, lag: int) -> float:
    rows = cv2.mean(cv2.multiply(image[lag:], image[:-lag]))[0]
    columns = cv2.mean(cv2.multiply(image[:, lag:], image[:, :-lag]))[0]
    return (rows + columns) / 2
