"""Outlines of nuclei, without trained weights: a threshold for each nucleus, then a cut where two of them touch.

One threshold for a whole field loses dim nuclei beside bright ones, and cutting by shape alone breaks lobed nuclei.
So a field is first divided into the surroundings of its bright spots, each thresholded halfway between the local
background and its own brightness; what then hangs together is cut at necks, and two parts are joined again where the
neck is wide, the union convex and no dark line runs between them. All sizes are micrometres.
"""

from typing import Any

import cv2
import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from wherein.segmentation.grid import blur, closed, coarsened, disk, enlarge_labels, filled, in_sequence, shrink


def find_objects(image: np.ndarray, pixel_size_um: float, grid_um: float, options: dict[str, Any]) -> np.ndarray:
    """Outline the bright, roundish objects of a field: nuclei on their channel, yeast cells on a cytosolic one.

    Args:
        image: (H, W) of any real type; only differences and ratios of intensities count.
        pixel_size_um: micrometres a pixel.
        grid_um: micrometres a pixel of the grid on which outlines are found.
        options: `segment.nuclei` or `segment.whole_cells` of the configuration.

    Returns:
        (H, W) uint32, 0 for background, objects numbered from 1 without gaps, those at the border included.
    """
    coarse, step = coarsened(image, pixel_size_um, grid_um)
    labels = objects_on_grid(coarse, step, options, rounding_noise(image.dtype))
    return in_sequence(enlarge_labels(labels, image.shape)).astype(np.uint32)


def rounding_noise(dtype: np.dtype) -> float:
    """Standard deviation that rounding to whole numbers leaves: 1 / sqrt(12) for integer types, else 0."""
    return 12**-0.5 if np.issubdtype(dtype, np.integer) else 0.0


def objects_on_grid(
    image: np.ndarray, step_um: float, options: dict[str, Any], least_noise: float = 0.0, trust_border: bool = True
) -> np.ndarray:
    """Outline bright objects on the working grid.

    Args:
        image: (h, w) float32.
        step_um: micrometres a pixel.
        options: `segment.nuclei` or `segment.whole_cells` of the configuration.
        least_noise: noise that the image has at least, though it may show none (compressed or dark images do).
        trust_border: as `split_touching` has it.

    Returns:
        (h, w) int32, numbered from 1 without gaps.
    """
    smooth = blur(image, options["smoothing_um"] / step_um)
    signal = smooth - local_background(smooth, options["background_um"] / step_um)
    # a flat image differs from its background by rounding errors alone
    lowest = max(options["contrast"] * max(noise_level(image), least_noise), 1e-4 * float(np.abs(smooth).max()))
    mask = foreground(signal, lowest, step_um, options)
    labels = _without_debris(split_touching(mask, signal, step_um, options, trust_border), signal, step_um, options)
    return in_sequence(join_sisters(in_sequence(labels), signal, step_um, options))


def local_background(image: np.ndarray, radius_px: float) -> np.ndarray:
    """Intensity around and under the objects: a grey opening wider than any object, then smoothed.

    Args:
        image: (h, w) float32, smoothed.
        radius_px: larger than the radius of the largest object.

    Returns:
        (h, w) float32, nowhere above the smoothed image by more than the smoothing does.
    """
    # the background varies slowly, so an eighth of the radius is as fine a grid as it needs
    factor = max(1, int(radius_px / 8))
    shape = (max(1, image.shape[0] // factor), max(1, image.shape[1] // factor))
    coarse = shrink(image, shape)
    element = disk(radius_px / factor)
    opened = cv2.dilate(cv2.erode(coarse, element), element)
    level = blur(opened, radius_px / factor / 2)
    return cv2.resize(level, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)


def noise_level(image: np.ndarray) -> float:
    """Standard deviation of the pixels' own noise, from the median absolute second difference.

    The mask of second differences in both directions removes planes and edges of either direction (Immerkaer 1996,
    "Fast noise variance estimation"); the median in place of the mean keeps objects out.

    Args:
        image: (h, w) float32, not smoothed.

    Returns:
        Intensity, at least the smallest positive number.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(cv2.filter2D(image, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101))
    # the kernel's norm is 6; 0.6745 is the median of the absolute value of a standard normal
    return max(float(np.median(response)) / (6 * 0.6745), float(np.finfo(np.float32).tiny))


def stands_out(image: np.ndarray, mask: np.ndarray, contrast: float, least_noise: float = 0.0) -> bool:
    """Whether a mask is brighter than the rest by more than the noise can make it: a threshold always finds something.

    Args:
        image: (h, w) float32, not smoothed.
        mask: (h, w) bool.
        contrast: least difference of the means, in standard deviations of the noise of one pixel.
        least_noise: noise that the image has at least, though it may show none.
    """
    if not mask.any() or mask.all():
        return False
    apart = float(image[mask].mean()) - float(image[~mask].mean())
    return apart > contrast * max(noise_level(image), least_noise)


def foreground(signal: np.ndarray, lowest: float, step_um: float, options: dict[str, Any]) -> np.ndarray:
    """Pixels of nuclei: above half of the brightness of the bright spot that they belong to.

    Args:
        signal: (h, w) float32 above the local background, smoothed.
        lowest: brightness below which nothing is an object, whatever the field holds.
        step_um: micrometres a pixel.
        options: `segment.nuclei` or `segment.whole_cells` of the configuration.

    Returns:
        (h, w) bool, holes filled.
    """
    least = max(lowest, options["dimmest"] * bright_level(signal, lowest))
    mask = _above_half(signal, least, step_um, options)
    # a dim object on the flank of a bright one has no peak of its own until the bright one is taken away
    flank = cv2.dilate(mask.astype(np.uint8), disk(options["flank_um"] / step_um)) > 0
    dim = _above_half(np.where(flank, 0, signal), least, step_um, options)
    pieces, _ = ndimage.label(dim)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces[box] == number
        # what is left of a halo is a ring or a sickle
        if piece.sum() * step_um**2 >= options["min_um2"] and solidity(piece) >= options["dim_solidity"]:
            mask[box] |= piece
    return mask


def _above_half(signal: np.ndarray, least: float, step_um: float, options: dict[str, Any]) -> np.ndarray:
    """Pixels above `level` of the brightness of the spot whose surroundings they belong to: (h, w) bool."""
    near = signal > options["level"] * least
    if not near.any():
        return near
    wide = blur(signal, options["spot_um"] / step_um)
    seeds = _peaks(wide, near & (wide > options["level"] * least), options["spot_um"] / step_um)
    basins = watershed(-wide, seeds, mask=near)
    tops = np.zeros(int(basins.max()) + 1, np.float32)
    for number, box in enumerate(ndimage.find_objects(basins), start=1):
        if box is not None:
            # a high percentile, not the maximum: chromocentres are no measure of a nucleus
            tops[number] = np.percentile(signal[box][basins[box] == number], 80)
    top = tops[basins]
    mask = (signal > options["level"] * top) & (top > least)
    mask = filled(closed(mask, options["closing_um"] / step_um), options["hole_um2"] / step_um**2)
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disk(options["opening_um"] / step_um)) > 0


def bright_level(signal: np.ndarray, lowest: float) -> float:
    """Brightness of the field's ordinary nuclei: the median above Otsu's threshold of the root of the signal.

    The root makes one very bright object (a dead cell) count for less.
    """
    found = signal[signal > lowest]
    if found.size < 2 or float(found.max()) <= lowest:
        return 0.0
    root = np.sqrt(np.maximum(signal, 0))
    return float(np.median(signal[root > threshold_otsu(root)]))


def split_touching(
    mask: np.ndarray, signal: np.ndarray, step_um: float, options: dict[str, Any], trust_border: bool = True
) -> np.ndarray:
    """Cut what hangs together into nuclei, without cutting lobed ones.

    Args:
        mask: (h, w) bool.
        signal: (h, w) float32 above the background.
        step_um: micrometres a pixel.
        options: `segment.nuclei` or `segment.whole_cells` of the configuration.
        trust_border: whether a part that the border cuts is taken for all of it. Else its neck is measured by what it
            is joined to: a neck may be as wide as the little of the part that is in view, as of neighbours in a crop.

    Returns:
        (h, w) int32, numbered from 1 without gaps.
    """
    core = mask & ~_dark_lines(signal, step_um, options)
    core = filled(core, options["hole_um2"] / step_um**2)
    distance = cv2.distanceTransform(_framed(core), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1] * step_um
    depth = blur(distance, 0.5 / step_um)
    pieces, count = ndimage.label(mask)
    seeds = _peaks(depth, core & (depth > options["thinnest_um"] / 2), options["spot_um"] / step_um)
    # a piece that is thin throughout, as a metaphase plate is, is one object
    whole = ~np.isin(np.arange(count + 1), pieces[seeds > 0])
    seeds = np.where(whole[pieces] & mask, pieces + seeds.max(), seeds)
    parts = watershed(-depth, seeds, mask=mask)
    usual = _usual_area(parts)
    cut = set() if trust_border else set(at_border(parts).tolist())
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        here = parts[box] * (pieces[box] == number)
        if np.unique(here[here > 0]).size > 1:
            _join(parts[box], here, depth[box], signal[box], usual, cut, options)
    return in_sequence(parts)


def _join(
    parts: np.ndarray,
    here: np.ndarray,
    depth: np.ndarray,
    signal: np.ndarray,
    usual: float,
    cut: set[int],
    options: dict[str, Any],
) -> None:
    """Join parts of one piece that are one nucleus, in place in `parts`, the widest neck first.

    Where one of the two is in `cut`, the neck between them is measured by the other.
    """
    refused: set[tuple[int, int]] = set()
    while True:
        pairs = [pair for pair in necks(here, depth, signal) if pair[:2] not in refused]
        if not pairs:
            return
        first, second, width, light = max(pairs, key=lambda pair: pair[2])
        if (first in cut) != (second in cut):
            peaks = {number: float(depth[here == number].max()) for number in (first, second)}
            width *= min(peaks.values()) / max(peaks[second if first in cut else first], 1e-6)
        if _one_nucleus(here, signal, first, second, width, light, usual, options):
            parts[here == second] = first
            here[here == second] = first
            cut |= {first} if second in cut else set()
            refused = {pair for pair in refused if first not in pair and second not in pair}
        else:
            refused.add((first, second))


def necks(here: np.ndarray, depth: np.ndarray, signal: np.ndarray) -> list[tuple[int, int, float, float]]:
    """Find what touches.

    Args:
        here: (h, w) of integers, the parts.
        depth: (h, w) distance of every pixel from the background, in any unit.
        signal: (h, w) float32.

    Returns:
        For each two parts that share an edge: the lower and the higher number, the depth of the deepest pixel on their
        common line as a share of that of the shallower part, and the median of the signal on that line.
    """
    found: dict[tuple[int, int], list[np.ndarray]] = {}
    for axis in (0, 1):
        n = here.shape[axis]
        a, b = (np.take(here, range(*ends), axis=axis) for ends in ((0, n - 1), (1, n)))
        edge = (a != b) & (a > 0) & (b > 0)
        low, high = np.minimum(a, b)[edge], np.maximum(a, b)[edge]
        values = [
            np.minimum(np.take(plane, range(n - 1), axis=axis), np.take(plane, range(1, n), axis=axis))[edge]
            for plane in (depth, signal)
        ]
        for pair in set(zip(low.tolist(), high.tolist(), strict=True)):
            where = (low == pair[0]) & (high == pair[1])
            found.setdefault(pair, []).append(np.stack([plane[where] for plane in values]))
    result = []
    for (first, second), values in found.items():
        line = np.concatenate(values, axis=1)
        peak = min(depth[here == first].max(), depth[here == second].max())
        result.append((first, second, float(line[0].max() / max(peak, 1e-6)), float(np.median(line[1]))))
    return result


def _one_nucleus(
    here: np.ndarray,
    signal: np.ndarray,
    first: int,
    second: int,
    width: float,
    light: float,
    usual: float,
    options: dict[str, Any],
) -> bool:
    """Whether two neighbouring parts of a piece are one nucleus: alike in brightness, no dark line, no real neck."""
    sizes = [int((here == number).sum()) for number in (first, second)]
    if min(sizes) < options["bud_share"] * max(sizes):
        return True
    levels = [float(np.median(signal[here == number])) for number in (first, second)]
    if min(levels) < options["alike"] * max(levels):
        return False
    if light < options["line"] * min(levels):
        return False
    whole = (here == first) | (here == second)
    wide = width >= options["neck"]
    convex = solidity(whole) >= options["convex"]
    # two nuclei that overlap have a wide neck, and side by side a nearly convex union, but a large one
    return (wide and convex) if whole.sum() > options["large"] * usual else (wide or convex)


def at_border(labels: np.ndarray) -> np.ndarray:
    """Labels (h, w) that the border of the image cuts, in ascending order, without 0."""
    found = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return found[found > 0]


def join_sisters(labels: np.ndarray, signal: np.ndarray, step_um: float, options: dict[str, Any]) -> np.ndarray:
    """Give the two plates of an anaphase one number: the cell has not divided yet.

    Plates are thin, much brighter than the field's nuclei, alike, side by side and nobody else's nearest.

    Args:
        labels: (h, w) int32.
        signal: (h, w) float32 above the background.
        step_um: micrometres a pixel.
        options: `segment.nuclei` or `segment.whole_cells` of the configuration; a reach of 0 joins nothing.

    Returns:
        (h, w) int32; a joined pair has the lower of its numbers.
    """
    count, reach = int(labels.max()), options["sisters_um"]
    if count < 2 or not reach:
        return labels
    boxes = ndimage.find_objects(labels)
    light = medians(signal, labels, boxes)
    plates = []
    for number in np.flatnonzero(light > options["plate_brightness"] * np.median(light)) + 1:
        y, x = np.nonzero(labels[boxes[number - 1]] == number)
        (centre_x, centre_y), sides, _ = cv2.minAreaRect(np.stack([x, y], axis=1).astype(np.float32))
        if (min(sides) + 1) * step_um < options["plate_um"] and max(sides) > 2 * min(sides):
            box = boxes[number - 1]
            plates.append((number, np.array([centre_y + box[0].start, centre_x + box[1].start]) * step_um))
    table = np.arange(count + 1, dtype=np.int32)
    for number, place in plates:
        others = sorted((float(np.hypot(*(place - there))), other) for other, there in plates if other != number)
        if not others or others[0][0] > reach:
            continue
        other = others[0][1]
        if min(light[[number - 1, other - 1]]) >= options["alike"] * max(light[[number - 1, other - 1]]):
            table[max(number, other)] = min(number, other)
    return table[labels]


def _usual_area(parts: np.ndarray) -> float:
    """Median area in pixels of the larger half of the parts: fragments of nuclei do not count."""
    area = np.sort(np.bincount(parts.ravel())[1:])
    return float(np.median(area[area.size // 2 :])) if area.size else 0.0


def solidity(mask: np.ndarray) -> float:
    """Area of a mask over the area of its convex hull, 0 for an empty mask.

    The hull runs through the corners of the pixels, so that a rectangle has exactly 1.
    """
    y, x = np.nonzero(mask)
    if not y.size:
        return 0.0
    # the ends of every row are enough for the hull
    rows, first = np.unique(y, return_index=True)
    last = np.r_[first[1:], y.size] - 1
    corners = [
        (column + dx, row + dy)
        for row, a, b in zip(rows, x[first], x[last], strict=True)
        for column, dx in ((a, 0), (b, 1))
        for dy in (0, 1)
    ]
    hull = cv2.convexHull(np.array(corners, np.float32))
    return float(y.size / cv2.contourArea(hull))


def _without_debris(labels: np.ndarray, signal: np.ndarray, step_um: float, options: dict[str, Any]) -> np.ndarray:
    """Drop what is too small for a nucleus, and what is dim and ragged, as the glow of a cytoplasm is."""
    count = int(labels.max())
    if not count:
        return labels
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:] * step_um**2
    boxes = ndimage.find_objects(labels)
    light = medians(signal, labels, boxes)
    dim = light < 0.5 * np.median(light)
    drop = np.zeros(count + 1, bool)
    drop[1:] = area < options["min_um2"]
    for number, box in enumerate(boxes, start=1):
        if dim[number - 1] and solidity(labels[box] == number) < options["dim_solidity"]:
            drop[number] = True
    return np.where(drop[labels], 0, labels)


def medians(signal: np.ndarray, labels: np.ndarray, boxes: list[tuple[slice, slice]]) -> np.ndarray:
    """Median of the signal (h, w) over each label, whose boxes are given: (number of labels,) float64."""
    return np.array(
        [np.median(signal[box][labels[box] == number]) for number, box in enumerate(boxes, start=1)], np.float64
    )


def _peaks(image: np.ndarray, mask: np.ndarray, radius_px: float) -> np.ndarray:
    """Number the pixels of `mask` that are the highest within `radius_px`: (h, w) int32; plateaus get one number."""
    highest = cv2.dilate(image, disk(max(1.0, radius_px)))
    seeds, _ = ndimage.label((image >= highest) & mask, structure=np.ones((3, 3)))
    return seeds.astype(np.int32)


def _dark_lines(signal: np.ndarray, step_um: float, options: dict[str, Any]) -> np.ndarray:
    """Lines darker than what lies on both sides of them, as between two nuclei that touch."""
    closed = cv2.morphologyEx(signal, cv2.MORPH_CLOSE, disk(options["line_um"] / step_um))
    return signal < options["line"] * closed


def _framed(mask: np.ndarray) -> np.ndarray:
    """The mask with a frame that repeats its edge, so that the field's border is no end of an object."""
    return np.pad(mask, 1, mode="edge").astype(np.uint8)
