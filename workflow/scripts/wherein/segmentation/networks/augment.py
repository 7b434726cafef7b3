"""Random changes of training patches, so that a network bears what fields differ in."""

from typing import Any

import cv2
import numpy as np

from wherein.segmentation.networks.examples import Example
from wherein.segmentation.networks.inputs import INPUTS

ZOOM = (0.8, 1.25)
"""Range of the patch's size against that of the network's input."""

GAIN, CURVE = 0.25, 0.15
"""Standard deviations of the logarithms of a factor on a channel's intensity and of an exponent on it."""

OFFSET, NOISE = 0.1, 0.08
"""Most that is added to a channel: a level everywhere, and the standard deviation of noise of its pixels."""

BLURRED, BLUR_PX = 0.2, (0.4, 1.5)
"""Share of channels that are blurred, and by which standard deviation in pixels."""

GLOWING, GLOW = 0.5, 0.25
"""Share of the nucleus network's patches in which another channel shines through, and the most of its light that does:
the cytoplasm and debris glow where nuclei are stained, and are none."""

MARKERS_LEFT = {
    ("microtubules", "er"): 0.32,
    ("microtubules",): 0.1,
    ("er",): 0.1,
    ("stand_in",): 0.4,
    (): 0.08,
}
"""What is left of the channels that show the cell's body, and how often: the network has to work with any missing.
The protein alone is the hardest, since it may be anywhere in the cell, and is learned most."""


def patch(item: Example, part: str, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cut one random patch, turned, mirrored, zoomed and changed in intensity.

    Args:
        item: the field.
        part: `nucleus` or `cell`: whose outlines are learned.
        size: height and width of the patch in pixels.
        rng: source of the draw.

    Returns:
        images: (C, size, size) float32, the channels `INPUTS[part]`.
        labels: (size, size) int32; 0 beyond the field.
    """
    places = [INPUTS["cell"].index(name) for name in INPUTS[part]]
    glows = part == "nucleus" and rng.random() < GLOWING
    if glows:
        places.append(int(rng.integers(len(INPUTS["cell"]) - 1)))
    side = max(8, round(size * float(np.exp(rng.uniform(*np.log(ZOOM))))))
    labels = item.nucleus if part == "nucleus" else item.cell
    high, wide = labels.shape
    y, x = (int(rng.integers(min(0, room), max(0, room) + 1)) for room in (high - side, wide - side))
    images = np.zeros((len(places), side, side), np.float32)
    cut = np.zeros((side, side), np.int32)
    rows, columns = slice(max(0, y), min(high, y + side)), slice(max(0, x), min(wide, x + side))
    there = slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x)
    images[(slice(None), *there)] = item.channels[places][:, rows, columns]
    cut[there] = labels[rows, columns]
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    images, cut = np.rot90(images, turns, (1, 2)), np.rot90(cut, turns)
    if mirrored:
        images, cut = images[:, :, ::-1], cut[:, ::-1]
    smaller = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    images = np.stack(
        [cv2.resize(np.ascontiguousarray(plane), (size, size), interpolation=smaller) for plane in images]
    )
    cut = cv2.resize(np.ascontiguousarray(cut).astype(np.float32), (size, size), interpolation=cv2.INTER_NEAREST)
    if part == "cell":
        images = with_missing(images, rng)
    if glows:
        images = np.sqrt(images[:1] ** 2 + np.float32(rng.uniform(0, GLOW)) * images[1:] ** 2)
    return np.stack([relit(plane, rng) for plane in images]), cut.astype(np.int32)


def with_missing(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leave out some of the cell network's channels, in place: those that are out are zero."""
    choices: list[Any] = list(MARKERS_LEFT)
    left = choices[int(rng.choice(len(choices), p=list(MARKERS_LEFT.values())))]
    for place, name in enumerate(INPUTS["cell"]):
        if name != "nucleus" and name not in left:
            images[place] = 0
    return images


def relit(plane: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change one channel's intensity, contrast, sharpness and noise; a channel that is zero stays so."""
    if not plane.any():
        return plane
    if rng.random() < BLURRED:
        plane = cv2.GaussianBlur(plane, (0, 0), float(rng.uniform(*BLUR_PX)))
    plane = np.maximum(plane, 0) ** np.float32(np.exp(CURVE * rng.standard_normal()))
    plane = plane * np.float32(np.exp(GAIN * rng.standard_normal())) + np.float32(rng.uniform(0, OFFSET))
    noise = rng.standard_normal(plane.shape, dtype=np.float32) * np.float32(rng.uniform(0, NOISE))
    return np.maximum(plane + noise, 0)
