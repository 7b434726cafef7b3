"""Attention maps laid over what the network saw."""

import numpy as np


def overlay(image: np.ndarray, heat: np.ndarray, most: float = 0.7) -> np.ndarray:
    """A map over a grey image, from black over red and yellow to white where the network looks most.

    Args:
        image: (H, W) of any real type, drawn from its 1st to its 99.8th percentile.
        heat: (H, W) from 0 to 1.
        most: how much the map hides of the image where it is 1.

    Returns:
        (H, W, 3) uint8, red, green and blue.
    """
    low, high = np.percentile(image, (1, 99.8))
    grey = np.clip((np.asarray(image, np.float64) - low) / max(high - low, np.finfo(float).tiny), 0, 1)
    heat = np.clip(np.asarray(heat, np.float64), 0, 1)
    colours = np.clip(heat[..., None] * 3 - np.arange(3), 0, 1)
    weight = (most * heat)[..., None]
    return np.rint(255 * (grey[..., None] * (1 - weight) + colours * weight)).astype(np.uint8)
