"""Attention maps laid over what the network saw."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wherein.views.composites import composite


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


def are_own(path: str) -> bool:
    """Whether maps are those that the network draws itself, and not Grad-CAM.

    Args:
        path: results/evaluation/{model}/attention.npz.
    """
    with np.load(path) as kept:
        return bool(json.loads(kept["about"].tobytes())["own_maps"])


def draw_attention(path: str, folder: Path, model: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Draw the maps of one network, each beside what it saw, one WebP file a map.

    Args:
        path: results/evaluation/{model}/attention.npz.
        folder: where the files go.
        model: name of the model.
        settings: the section `report` of the configuration.

    Returns:
        What attention.npz says of each, with `file`, `height`, `width` (of both pictures side by side).
    """
    drawn = []
    with np.load(path) as kept:
        about = json.loads(kept["about"].tobytes())
        for number, row in enumerate(about["pictures"]):
            image, heat = kept[f"image_{number}"], kept[f"map_{number}"]
            channels = dict(zip(about["roles"], image, strict=True))
            seen = composite(channels, dict.fromkeys(channels, (0.0, 255.0)))
            protein = channels.get("protein", image.mean(axis=0))
            picture = np.concatenate([seen, overlay(protein, heat / 255)], axis=1)
            name = f"{model}-map-{number:03d}.webp"
            Image.fromarray(picture).save(folder / name, format="WEBP", quality=settings["image_quality"], method=2)
            drawn.append({**row, "file": name, "height": picture.shape[0], "width": picture.shape[1]})
    return drawn
