"""Images and masks brought to another number of pixels."""

import cv2
import numpy as np

METHODS = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}
"""Ways to resample an image: `area` takes the mean over the area under each new pixel (which is anti-aliasing; linear
between pixels along an axis where the grid gets finer), `linear` the value at its centre, between the nearest pixels
and without anti-aliasing. Masks always take the nearest pixel."""

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
    smaller = tuple(min(old, new) for old, new in zip(image.shape[-2:], size, strict=True))
    flag = METHODS[method] if smaller == size else cv2.INTER_LINEAR
    # where one axis shrinks and the other grows, OpenCV would take single pixels along both
    in_two_steps = method == "area" and smaller not in (size, image.shape[-2:])
    planes = image if image.ndim == 3 else image.reshape(-1, *image.shape[-2:])
    direct = image.dtype.name in DIRECT and not in_two_steps
    for plane, place in zip(planes, out.reshape(-1, *size), strict=True):
        if direct:
            cv2.resize(plane, size[::-1], dst=place, interpolation=flag)
        else:
            exact = plane.astype(np.float64)
            if in_two_steps:
                exact = cv2.resize(exact, smaller[::-1], interpolation=cv2.INTER_AREA)
            exact = cv2.resize(exact, size[::-1], interpolation=flag)
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
