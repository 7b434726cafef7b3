"""How many cells a field has: counted on a marker channel as in Ouyang et al. 2019, or on the nucleus channel."""

from typing import Any, NamedTuple

import cv2
import numpy as np

from wherein.segmentation.grid import blur, coarsened, disk, shrink


class Nuclei(NamedTuple):
    """Nuclei of one field, on a coarser grid.

    Attributes:
        mask: (h, w) uint8, 1 in nuclei.
        step_um: micrometres a pixel of the mask.
        whole: number of nuclei that do not touch the border.
        all: number of nuclei, those at the border included.
        compactness: share of the mask's area that lies in convex objects of a nucleus's size, 0 to 1; 0 without any.
    """

    mask: np.ndarray
    step_um: float
    whole: int
    all: int
    compactness: float


def count_marker(image: np.ndarray, pixel_size_um: float, options: dict[str, Any]) -> int:
    """Count cells on a marker channel: Gaussian, Otsu, objects of some size, none at the border.

    Ouyang et al. 2019, Methods, dataset assembly: microtubules channel, objects under 8,000 px of 0.08 um
    removed, cells at the border left out. Touching cells count as one.

    Args:
        image: (H, W), any real type.
        pixel_size_um: micrometres a pixel.
        options: `qc.marker` of the configuration.

    Returns:
        Number of objects.
    """
    smooth, step = _smoothed(image, pixel_size_um, options)
    mask = above_otsu(smooth)
    count, _, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    large = boxes[1:, cv2.CC_STAT_AREA] * step**2 >= options["min_um2"]
    return int((large & ~_at_border(boxes[1:], mask.shape)).sum()) if count > 1 else 0


def find_nuclei(image: np.ndarray, pixel_size_um: float, options: dict[str, Any]) -> Nuclei:
    """Find nuclei on the nucleus channel, well enough to count them.

    The local background is taken off, the root of the rest (so that dim nuclei count beside bright ones) is cut by
    Otsu's threshold, and what touches is divided at necks. Where nuclei do not stand out from the background's own
    variation by `contrast` times, Otsu has divided noise, and only what stands out by `sparse_contrast` is taken.

    Args:
        image: (H, W), any real type; only differences and ratios of intensities count.
        pixel_size_um: micrometres a pixel.
        options: `qc.nuclei` of the configuration.

    Returns:
        The nuclei.
    """
    smooth, step = _smoothed(image, pixel_size_um, options)
    return _objects(smooth - background(smooth, options["background_um"] / step), step, options)


def count_reference(image: np.ndarray, pixel_size_um: float, options: dict[str, Any]) -> int:
    """Count whole cells on a reference channel, for sources that image neither nuclei nor another marker (yeast).

    Bright cells are found as nuclei are. On bright-field images, whose darkest pixels lie farther from the median than
    the brightest, the dark outlines are taken and filled.

    Args:
        image: (H, W), any real type.
        pixel_size_um: micrometres a pixel.
        options: `qc.reference` of the configuration.

    Returns:
        Number of cells that do not touch the border.
    """
    smooth, step = _smoothed(image, pixel_size_um, options)
    low, middle, high = np.percentile(smooth, (0.5, 50, 99.5))
    if middle - low > high - middle:
        signal = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, disk(options["outline_um"] / step)) - smooth
    else:
        signal = smooth - background(smooth, options["background_um"] / step)
    return _objects(signal, step, options).whole


def _smoothed(image: np.ndarray, pixel_size_um: float, options: dict[str, Any]) -> tuple[np.ndarray, float]:
    """The image on the working grid, smoothed, and micrometres a pixel there."""
    coarse, step = coarsened(image, pixel_size_um, options["grid_um"])
    return blur(coarse, options["smoothing_um"] / step), step


def _objects(signal: np.ndarray, step: float, options: dict[str, Any]) -> Nuclei:
    mask = above_otsu(np.sqrt(np.maximum(signal, 0)))
    least_at_border = options["min_at_border_um2"]
    if not stands_out(signal, mask, options["contrast"]):
        # with one nucleus or two, Otsu's threshold lies in the background's noise
        level, spread = robust_level(signal)
        mask = (signal > level + options["sparse_contrast"] * spread).astype(np.uint8)
        least_at_border = options["min_um2"]
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disk(options["opening_um"] / step))
    mask, outlines = _outlines(mask, options["min_um2"] / step**2, least_at_border / step**2)
    whole = total = 0
    for outline in outlines:
        inner, outer = _count_parts(outline, mask.shape, step, options)
        whole, total = whole + inner, total + inner + outer
    return Nuclei(mask, step, whole, total, _compactness(outlines, step, options))


def background(image: np.ndarray, radius_px: float) -> np.ndarray:
    """Intensity around and under objects smaller than `radius_px`: an opening on a grid as coarse as it allows.

    Args:
        image: (h, w) float32, smoothed.
        radius_px: larger than the radius of the largest object.

    Returns:
        (h, w) float32.
    """
    factor = max(1.0, radius_px / 8)
    shape = tuple(max(1, round(side / factor)) for side in image.shape)
    opened = cv2.morphologyEx(shrink(image, shape), cv2.MORPH_OPEN, disk(radius_px / factor))
    level = blur(opened, radius_px / factor / 2)
    return cv2.resize(level, image.shape[::-1], interpolation=cv2.INTER_LINEAR)


def above_otsu(image: np.ndarray) -> np.ndarray:
    """Pixels above Otsu's threshold on 256 steps between the image's lowest value and its 99.9th percentile.

    The top is cut so that a few very bright pixels leave steps for the rest.

    Args:
        image: (h, w) float32.

    Returns:
        (h, w) uint8, 1 above the threshold; all 0 for a flat image.
    """
    low, high = float(image.min()), float(np.percentile(image, 99.9))
    if high <= low:
        return np.zeros(image.shape, np.uint8)
    steps = np.clip((image - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    return cv2.threshold(steps, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1]


def stands_out(signal: np.ndarray, mask: np.ndarray, contrast: float) -> bool:
    """Whether the objects' median lies `contrast` times the background's spread above the background's median.

    Args:
        signal: (h, w) float32.
        mask: (h, w) uint8, 1 in objects.
        contrast: in robust standard deviations.

    Returns:
        False, too, if there are no objects or nothing else.
    """
    inside, outside = signal[mask > 0], signal[mask == 0]
    if not inside.size or not outside.size:
        return False
    level, spread = robust_level(outside)
    return float(np.median(inside)) - level > contrast * spread


def robust_level(values: np.ndarray) -> tuple[float, float]:
    """Median, and the standard deviation as 1.4826 times the median absolute deviation."""
    level = float(np.median(values))
    return level, 1.4826 * float(np.median(np.abs(values - level)))


def _outlines(mask: np.ndarray, least: float, least_at_border: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """The mask without small objects and with holes filled, and the outline of each object in it."""
    found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    kept = []
    for outline in found:
        x, y, width, height = cv2.boundingRect(outline)
        cut = x == 0 or y == 0 or x + width == mask.shape[1] or y + height == mask.shape[0]
        if cv2.contourArea(outline) >= (least_at_border if cut else least):
            kept.append(outline)
    return cv2.drawContours(np.zeros_like(mask), kept, -1, 1, cv2.FILLED), kept


def _compactness(outlines: list[np.ndarray], step_um: float, options: dict[str, Any]) -> float:
    total = compact = 0.0
    for outline in outlines:
        area = cv2.contourArea(outline)
        total += area
        hull = cv2.contourArea(cv2.convexHull(outline))
        if area * step_um**2 <= options["max_um2"] and area >= options["solidity"] * hull:
            compact += area
    return compact / total if total else 0.0


def _count_parts(
    outline: np.ndarray, shape: tuple[int, int], step_um: float, options: dict[str, Any]
) -> tuple[int, int]:
    """Divide one object at its necks: number of parts that do not touch the border, and of those that do."""
    x, y, width, height = cv2.boundingRect(outline)
    piece = cv2.drawContours(np.zeros((height, width), np.uint8), [outline], -1, 1, cv2.FILLED, offset=(-x, -y))
    # an object cut by the border goes on beyond it, else the cut would look like its edge
    sides = [y == 0, y + height == shape[0], x == 0, x + width == shape[1]]
    pad = max(2, round(options["apart_um"] / step_um))
    framed = np.pad(piece, pad)
    for side, at in zip(sides, ("top", "bottom", "left", "right"), strict=True):
        if side:
            _extend(framed, pad, at)
    depth = blur(cv2.distanceTransform(framed, cv2.DIST_L2, 5)[pad:-pad, pad:-pad], 0.5 / step_um)
    tops = _tops(depth, piece, options["apart_um"] / step_um, options["neck"])
    if not any(sides):
        return len(tops), 0
    rim = _border_pixels(piece, sides)
    distance = ((rim[:, None, :] - tops[None]) ** 2).sum(2) ** 0.5 - depth[tops[:, 0], tops[:, 1]]
    cut = len(np.unique(distance.argmin(1)))
    return len(tops) - cut, cut


def _extend(framed: np.ndarray, pad: int, side: str) -> None:
    """Repeat the piece's outermost row or column through the frame of one side, in place."""
    view = {"top": framed, "bottom": framed[::-1], "left": framed.T, "right": framed.T[::-1]}[side]
    view[:pad] = view[pad]


def _border_pixels(piece: np.ndarray, sides: list[bool]) -> np.ndarray:
    """(n, 2) y and x of the piece's pixels on those sides of its box that lie on the field's border."""
    height, width = piece.shape
    rim = np.zeros_like(piece)
    for side, where in zip(sides, ((0,), (height - 1,), (slice(None), 0), (slice(None), width - 1)), strict=True):
        if side:
            rim[where] = piece[where]
    return np.argwhere(rim)


def _tops(depth: np.ndarray, piece: np.ndarray, apart_px: float, neck: float) -> np.ndarray:
    """Centres of the parts of one piece: (n, 2) y and x.

    Maxima of the distance to the outline, the deepest first; one is dropped where the way to a kept one is nowhere
    narrower than `neck` times its own depth.
    """
    highest = cv2.dilate(depth, disk(apart_px))
    found = np.argwhere((depth >= highest) & (piece > 0))
    order = np.argsort(-depth[found[:, 0], found[:, 1]], kind="stable")
    kept: list[np.ndarray] = []
    for point in found[order]:
        own = depth[tuple(point)]
        if not any(_narrowest(depth, point, other) >= neck * own for other in kept):
            kept.append(point)
    return np.array(kept)


def _narrowest(depth: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """Least depth on the straight line between two pixels."""
    steps = int(np.abs(end - start).max()) + 1
    line = np.rint(np.linspace(start, end, steps)).astype(int)
    return float(depth[line[:, 0], line[:, 1]].min())


def _at_border(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    left, top = boxes[:, cv2.CC_STAT_LEFT], boxes[:, cv2.CC_STAT_TOP]
    right, bottom = left + boxes[:, cv2.CC_STAT_WIDTH], top + boxes[:, cv2.CC_STAT_HEIGHT]
    return (left == 0) | (top == 0) | (right == shape[1]) | (bottom == shape[0])
