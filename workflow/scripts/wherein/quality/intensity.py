"""Range and saturation of a channel's intensities."""

from typing import Any

import cv2
import numpy as np


def full_scale_of(dtype: np.dtype, full_scale: float | None) -> float:
    """Highest intensity that the detector could give: the source's word, else the highest of an integer type.

    Args:
        dtype: of the image.
        full_scale: of the source; None or NaN where it says nothing.

    Returns:
        The intensity; 1 for floating-point images of a source that says nothing.
    """
    if full_scale is not None and np.isfinite(full_scale):
        return float(full_scale)
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0


def contrast(image: np.ndarray, full_scale: float, options: dict[str, Any]) -> float:
    """Range of intensities between two percentiles over the full scale.

    What `skimage.exposure.is_low_contrast` compares with its `fraction_threshold`, with the source's full scale in
    place of the type's: 12-bit data in uint16 would else always be low in contrast.

    Args:
        image: (H, W), any real type.
        full_scale: highest intensity that the detector could give.
        options: `qc.contrast` of the configuration.

    Returns:
        0 for a flat image, 1 for one that uses the full scale.
    """
    low, high = percentiles(image, (options["lower_percentile"], options["upper_percentile"]))
    return (high - low) / full_scale


def percentiles(image: np.ndarray, ranks: tuple[float, ...]) -> list[float]:
    """Percentiles with linear interpolation, as `numpy.percentile`, but by counting for 8 and 16 bits.

    Args:
        image: (H, W).
        ranks: each 0 to 100.

    Returns:
        One value a rank.
    """
    if image.dtype not in (np.uint8, np.uint16):
        return [float(value) for value in np.percentile(image, ranks)]
    levels = 256 if image.dtype == np.uint8 else 65536
    counts = cv2.calcHist([np.ascontiguousarray(image)], [0], None, [levels], [0, levels]).ravel()
    below = np.cumsum(counts, dtype=np.float64)
    found = []
    for rank in ranks:
        at = rank / 100 * (image.size - 1)
        first, second = (int(np.searchsorted(below, place, side="right")) for place in (np.floor(at), np.ceil(at)))
        found.append(float(first + (second - first) * (at - np.floor(at))))
    return found


def saturated_share(image: np.ndarray, full_scale: float) -> float:
    """Share of pixels at the highest intensity that the detector could give, 0 to 1."""
    return float(np.count_nonzero(image >= full_scale) / image.size)
