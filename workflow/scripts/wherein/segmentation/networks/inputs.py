"""What the networks see of a field: its channels on the working grid, brought to one scale, absent ones zero."""

from collections.abc import Mapping

import cv2
import numpy as np

from wherein.segmentation.grid import blur, shrink
from wherein.segmentation.nuclei import noise_level

INPUTS = {"nucleus": ("nucleus",), "cell": ("microtubules", "er", "stand_in", "nucleus")}
"""Channels of each network, in order. The cell network of Le et al. 2022 sees microtubules, ER and nucleus; `stand_in`
is what shows the cell where neither of the first two is there: another reference, or the protein."""

LOW, HIGH = 1.0, 99.8
"""Percentiles of a smoothed channel that become 0 and 1."""

SMOOTHING_UM = 0.5
"""Blur before percentiles are taken, so that noise does not set them."""

BRIGHTEST = 2.0
"""Intensities above this, on the scale of the percentiles, are cut off: a dead cell tells no more than that."""

SEEN = 3.0
"""Range of a smoothed channel, in standard deviations of one pixel's noise, below which it shows nothing."""


def channels_of(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The channels of a field by the name of the input that they are fed to.

    Args:
        images: (H, W) by role.

    Returns:
        Those of nucleus, microtubules, er and stand_in that can be had; the same arrays.
    """
    found = {name: images[name] for name in ("nucleus", "microtubules", "er") if name in images}
    if not {"microtubules", "er"} & found.keys():
        other = next((role for role in ("reference", "protein") if role in images), None)
        if other is not None:
            found["stand_in"] = images[other]
    return found


def scaled(image: np.ndarray, step_um: float) -> np.ndarray:
    """Bring one channel to a common scale: the root of its intensity over its background.

    Percentiles of the field are its own measure, so that exposure does not matter; the root makes dim nuclei and thin
    parts of cells count beside bright ones.

    Args:
        image: (h, w) float32 on the working grid; not finite pixels count as background.
        step_um: micrometres a pixel.

    Returns:
        (h, w) float32, 0 to sqrt(BRIGHTEST); 0 everywhere where nothing stands out from the noise.
    """
    image = finite(image)
    smooth = blur(image, SMOOTHING_UM / step_um)
    low, high = np.percentile(smooth, (LOW, HIGH))
    if high - low <= max(SEEN * noise_level(image), 1e-4 * float(np.abs(smooth).max(initial=0))):
        return np.zeros(image.shape, np.float32)
    return np.sqrt(np.clip((image - low) / (high - low), 0, BRIGHTEST)).astype(np.float32)


def finite(image: np.ndarray) -> np.ndarray:
    """An image (h, w) float32 whose pixels that are no numbers, or infinite, have its least intensity, 0 at most."""
    there = np.isfinite(image)
    return image if there.all() else np.where(there, image, np.nanmin(np.where(there, image, np.nan), initial=0))


def grid_shape(shape: tuple[int, int], pixel_size_um: float, grid_um: float) -> tuple[int, int]:
    """Shape of a field on the networks' grid, which is finer than the field's own where that is coarser.

    Args:
        shape: (H, W) of the field.
        pixel_size_um: micrometres a pixel of the field.
        grid_um: micrometres a pixel of the networks' grid.

    Returns:
        (h, w), each at least 1.
    """
    return max(1, round(shape[0] * pixel_size_um / grid_um)), max(1, round(shape[1] * pixel_size_um / grid_um))


def resampled(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An image (H, W) of any real type on another grid: averaged where that is coarser, else linear; float32."""
    if shape[0] <= image.shape[0] and shape[1] <= image.shape[1]:
        return shrink(image, shape)
    plane = np.ascontiguousarray(image, dtype=np.float32)
    return cv2.resize(plane, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def on_grid(images: Mapping[str, np.ndarray], pixel_size_um: float, grid_um: float) -> np.ndarray:
    """All channels that the networks take, on their grid.

    Args:
        images: (H, W) of any real type by role.
        pixel_size_um: micrometres a pixel.
        grid_um: micrometres a pixel of the networks' grid.

    Returns:
        (4, h, w) float32, in the order of `INPUTS["cell"]`, zero where the field has no such channel.
    """
    found = channels_of(images)
    grid = grid_shape(next(iter(images.values())).shape, pixel_size_um, grid_um)
    channels = np.zeros((len(INPUTS["cell"]), *grid), np.float32)
    for place, name in enumerate(INPUTS["cell"]):
        if name in found:
            channels[place] = scaled(resampled(found[name], grid), grid_um)
    return channels
