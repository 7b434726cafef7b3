"""Images and masks brought to another number of pixels."""

import cv2
import numpy as np

METHODS = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}
"""Ways to resample an image: `area` takes the mean over the area under each new pixel (which is anti-aliasing; linear
between pixels where the grid gets finer), `linear` the value at its centre, between the nearest pixels and without
anti-aliasing. Masks always take the nearest pixel."""

DIRECT = ("uint8", "uint16", "int16", "float32", "float64")
"""Data types that OpenCV resamples, rounding to the nearest."""


def resample(image: np.ndarray, size: tuple[int, int], method: str, out: np.ndarray | None = None) -> np.ndarray:
    """Bring the last two axes of an image to another number of pixels over the same area.

    Args:
        image: (..., H, W), any real data type.
        size: rows and columns to bring it to.
        method: key of METHODS.
        out: where to put it, (..., *size) of the image's type and C-contiguous; None for a new array.

    Returns:
        (..., *size) in the type of `image`, rounded to the nearest: `out`, where that was given.
    """
    if out is None:
        out = np.empty((*image.shape[:-2], *size), image.dtype)
    # made smaller, `area` is exact for any factor; OpenCV's own way to enlarge by area is the nearest pixel
    shrinks = size[0] <= image.shape[-2] and size[1] <= image.shape[-1]
    flag = METHODS[method] if shrinks else cv2.INTER_LINEAR
    planes = image if image.ndim == 3 else image.reshape(-1, *image.shape[-2:])
    direct = image.dtype.name in DIRECT
    for plane, place in zip(planes, out.reshape(-1, *size), strict=True):
        if direct:
            cv2.resize(plane, size[::-1], dst=place, interpolation=flag)
        else:
            exact = cv2.resize(plane.astype(np.float64), size[::-1], interpolation=flag)
            place[:] = exact if np.issubdtype(image.dtype, np.floating) else _rounded(exact, image.dtype)
    return out


def _rounded(exact: np.ndarray, dtype: np.dtype) -> np.ndarray:
    # a mean of the highest value may come out a little above it, and would wrap to 0
    return np.clip(np.rint(exact), np.iinfo(dtype).min, np.iinfo(dtype).max)


def nearest(source: int, size: int) -> np.ndarray:
    """For each of `size` pixels along an axis, the one of `source` pixels under its centre: (size,) int64."""
    return (2 * np.arange(size) + 1) * source // (2 * size)


def resample_masks(masks: np.ndarray, size: int) -> np.ndarray:
    """Bring the last two, equal axes of masks or labels to another number of pixels: the value under each centre."""
    step, rest = divmod(masks.shape[-1], size)
    if not rest:
        return np.ascontiguousarray(masks[..., step // 2 :: step, step // 2 :: step])
    places = nearest(masks.shape[-1], size)
    return masks.take(places, axis=-2).take(places, axis=-1)
