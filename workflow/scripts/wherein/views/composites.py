"""Pictures of channels: contrast, colours, outlines, scale bars, all on plain arrays."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

ROLE_COLOURS = {
    "protein": (0.10, 1.0, 0.25),
    "nucleus": (0.20, 0.35, 1.0),
    "microtubules": (1.0, 0.12, 0.12),
    "er": (1.0, 0.85, 0.0),
    "reference": (0.95, 0.10, 0.95),
}
"""Colour of each role in a composite: the Human Protein Atlas's, and magenta for a reference."""

ROLE_WEIGHTS = {"protein": 1.0, "nucleus": 0.9, "microtubules": 0.55, "er": 0.32, "reference": 0.5}
"""Brightness of each role: markers stay behind the protein."""

COLOUR_WORDS = {
    "protein": "green",
    "nucleus": "blue",
    "microtubules": "red",
    "er": "yellow",
    "reference": "magenta",
}
"""The colours in words, for legends and alternative texts."""

ENOUGH_PIXELS = 250_000
"""Pixels of a channel from which a contrast is taken."""

Limits = dict[str, tuple[float, float]]


def contrast(channels: Mapping[str, np.ndarray], low: float, high: float) -> Limits:
    """Intensities that are shown as black and as full brightness, for each role.

    Args:
        channels: role -> array of any shape, the source's intensities. Pixels of exactly 0 are taken for padding
            where others are not 0.
        low: percentile shown as black.
        high: percentile shown at full brightness.

    Returns:
        role -> (black, full), black < full.
    """
    limits: Limits = {}
    for role, image in channels.items():
        spread = image.ravel()[:: image.size // (2 * ENOUGH_PIXELS) | 1]
        pixels = spread[spread > 0] if spread.size and spread.max() > 0 else spread
        if not pixels.size:
            limits[role] = (0.0, 1.0)
            continue
        # percentiles for display need no more pixels; an odd step, so that it is not always the same columns
        black, full = np.percentile(pixels[:: pixels.size // ENOUGH_PIXELS | 1], (low, high))
        limits[role] = (float(black), float(max(full, black + 1e-6 * max(abs(black), 1))))
    return limits


def median_limits(several: Sequence[Limits]) -> Limits:
    """The median of several contrasts, for each role and end; empty for none."""
    roles = dict.fromkeys(role for limits in several for role in limits)
    ends = {role: np.median([limits[role] for limits in several if role in limits], axis=0) for role in roles}
    return {role: (float(black), float(full)) for role, (black, full) in ends.items()}


def stretched(image: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Intensities between the limits as 0 to 1.

    Args:
        image: array of any shape.
        limits: (black, full).

    Returns:
        float32 array of the same shape, clipped to 0 to 1.
    """
    black, full = limits
    return np.clip((image.astype(np.float32) - black) / (full - black), 0, 1)


def composite(channels: Mapping[str, np.ndarray], limits: Limits) -> np.ndarray:
    """Add the channels in their roles' colours.

    Args:
        channels: role -> (..., H, W), all of one shape.
        limits: role -> (black, full).

    Returns:
        (..., H, W, 3) uint8, RGB.

    Raises:
        ValueError: there is no channel.
    """
    if not channels:
        raise ValueError("a composite needs at least one channel")
    only = len(channels) == 1
    total: np.ndarray | None = None
    for role, image in channels.items():
        shown = stretched(image, limits[role])[..., None]
        colour = np.ones(3, np.float32) if only else np.asarray(ROLE_COLOURS[role], np.float32) * ROLE_WEIGHTS[role]
        total = shown * colour if total is None else total + shown * colour
    return _bytes(total)


def grey(image: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """One channel in grey: (..., H, W) to (..., H, W, 3) uint8."""
    return np.repeat(_bytes(stretched(image, limits))[..., None], 3, axis=-1)


def fitted(picture: np.ndarray, size: int) -> np.ndarray:
    """Scale a picture into a square, its shape kept, the rest black.

    Args:
        picture: (H, W, 3) uint8.
        size: height and width of the square in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = np.zeros((size, size, 3), np.uint8)
    y, x = (size - inner[1]) // 2, (size - inner[0]) // 2
    tile[y : y + inner[1], x : x + inner[0]] = cv2.resize(np.ascontiguousarray(picture), inner, interpolation=method)
    return tile


def reduced(channels: Mapping[str, np.ndarray], longest: int) -> tuple[dict[str, np.ndarray], float]:
    """Scale channels down so that the longest side has at most `longest` pixels.

    Args:
        channels: role -> (H, W), all of one shape.
        longest: pixels.

    Returns:
        role -> (h, w) float32, and the factor by which lengths became smaller (1 for none).
    """
    shape = next(iter(channels.values())).shape
    scale = min(1.0, longest / max(shape))
    size = (max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale)))
    small = {
        role: cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        for role, image in channels.items()
    }
    return small, scale


def reduced_labels(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Scale a label image to (h, w) by its nearest pixels, numbers kept: (H, W) uint32 to (h, w) uint32."""
    rows = np.minimum(((np.arange(shape[0]) + 0.5) * labels.shape[0] / shape[0]).astype(int), labels.shape[0] - 1)
    columns = np.minimum(((np.arange(shape[1]) + 0.5) * labels.shape[1] / shape[1]).astype(int), labels.shape[1] - 1)
    return labels[np.ix_(rows, columns)]


def outlines(labels: np.ndarray) -> np.ndarray:
    """Inner borders of labelled objects.

    Args:
        labels: (H, W) of integers, 0 for background.

    Returns:
        (H, W) bool: pixels of an object that touch, in 4 directions, another number or the image's edge.
    """
    framed = np.pad(labels, 1)
    inner = framed[1:-1, 1:-1]
    differs = np.zeros(labels.shape, bool)
    for neighbour in (framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:]):
        differs |= neighbour != inner
    return differs & (inner > 0)


def painted(picture: np.ndarray, where: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A copy of (H, W, 3) uint8 `picture` with the pixels of the (H, W) mask `where` in `colour`."""
    result = picture.copy()
    result[where] = colour
    return result


def limits_in_words(limits: Limits, roles: Sequence[str] | None = None) -> str:
    """Contrast for people: `protein 120 to 2,400 · nucleus 90 to 8,000`, in the source's intensities."""
    shown = roles or list(limits)
    return " · ".join(f"{role} {_number(limits[role][0])} to {_number(limits[role][1])}" for role in shown)


def legend_in_words(roles: Sequence[str]) -> str:
    """Colours for people: `protein green, nucleus blue`."""
    return "grey" if len(roles) == 1 else ", ".join(f"{role} {COLOUR_WORDS[role]}" for role in roles)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.3g}"


def _bytes(image: np.ndarray) -> np.ndarray:
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
