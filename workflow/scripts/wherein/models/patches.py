"""From a field or a crop to what a network is fed: pixel size, standardized channels. Without torch."""

import cv2
import numpy as np

SAME_PIXEL = 0.02
"""Share by which pixel sizes may differ and still count as the same."""


def statistics(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel of (C, H, W), float64."""
    return image.mean(axis=(1, 2), dtype=np.float64), image.std(axis=(1, 2), dtype=np.float64)


def standardize(image: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Subtract a mean from each channel and divide by a standard deviation.

    Args:
        image: (..., C, H, W).
        mean: (C,).
        deviation: (C,); a channel of deviation 0 becomes 0 where it equals the mean.

    Returns:
        As `image`, float32.
    """
    shape = (-1, 1, 1)
    safe = np.where(deviation > 0, deviation, 1.0)
    scaled = image.astype(np.float32) - mean.reshape(shape).astype(np.float32)
    scaled /= safe.reshape(shape).astype(np.float32)
    return scaled


def resample(image: np.ndarray, pixel_size_um: float, wanted_um: float | None) -> np.ndarray:
    """Bring an image to another pixel size: area means to a coarser grid, linear between pixels to a finer one.

    A pixel size within SAME_PIXEL of the wanted one is left alone: microscopes set to 0.08 say 0.0801.

    Args:
        image: (C, H, W) float32.
        pixel_size_um: of the image.
        wanted_um: the pixel size to bring it to; None for no change.

    Returns:
        (C, h, w) float32.
    """
    factor = 1.0 if wanted_um is None else pixel_size_um / wanted_um
    if abs(factor - 1) <= SAME_PIXEL:
        return image
    size = tuple(max(round(length * factor), 1) for length in reversed(image.shape[1:]))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.stack([cv2.resize(plane, size, interpolation=method) for plane in image])
