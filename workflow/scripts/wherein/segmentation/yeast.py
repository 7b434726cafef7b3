"""The method `yeast`: whole budding cells on what reference there is (Lu et al. 2019, methods, yeast cells).

The paper outlines cells on a cytosolic, a bright-field or a nuclear-pore reference with one pre-trained network
(YeastSpotter) and drops those below 5 % or above 95 % of the crop's area, which the stage `crop` does here, with a
reason for each. Without weights, three looks need three ways to the cells' bodies; what follows is the same: what
touches is cut at its necks, then every bud is given back to its mother.
"""

from typing import Any

import cv2
import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from wherein.segmentation.grid import blur, coarsened, disk, enlarge_labels, in_sequence
from wherein.segmentation.methods import MethodContext, Outlines
from wherein.segmentation.nuclei import at_border, necks, noise_level, objects_on_grid, rounding_noise
from wherein.segmentation.pairing import paired
from wherein.segmentation.whole_cells import compressed, is_bright_field, solid_from_outlines


def outline(
    images: dict[str, np.ndarray], pixel_size_um: float, settings: dict[str, Any], context: MethodContext
) -> Outlines:
    """Outline whole budding cells; where the reference shows nuclear pores, their nuclei too.

    Args:
        images: (H, W) by role; the cells are found on `reference`, or on `protein` where there is none.
        pixel_size_um: micrometres a pixel.
        settings: the section `segment` of the configuration.
        context: not used.

    Returns:
        The outlines, without scores.
    """
    body, options = settings["whole_cells"], settings["yeast"]
    image = images["reference"] if "reference" in images else images["protein"]
    coarse, step = coarsened(image, pixel_size_um, body["grid_um"])
    nuclei, cells = yeast_on_grid(coarse, step, body, options, rounding_noise(image.dtype))
    return Outlines(*paired(enlarge_labels(nuclei, image.shape), enlarge_labels(cells, image.shape)))


def yeast_on_grid(
    image: np.ndarray, step_um: float, body: dict[str, Any], options: dict[str, Any], least_noise: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Outline budding cells on the working grid.

    Args:
        image: (h, w) float32.
        step_um: micrometres a pixel.
        body: `segment.whole_cells` of the configuration.
        options: `segment.yeast` of the configuration.
        least_noise: noise that the image has at least, though it may show none.

    Returns:
        nuclei, cells: (h, w) int32, the same number for a nucleus and its cell; no nuclei where the reference shows
        none.
    """
    look = body["look"] if body["look"] != "auto" else "outlines" if is_bright_field(image) else "bright"
    solid = solid_from_outlines(image, step_um, body) if look == "outlines" else compressed(image, step_um, body)
    # buds are joined below, once it is known which part is whose
    parts = objects_on_grid(solid, step_um, body | {"bud_share": 0}, trust_border=False)
    rings = np.zeros(parts.shape, np.int32)
    if look == "bright":
        rings = find_rings(image, step_um, body["contrast"] * max(noise_level(image), least_noise), options)
        seen = show_pores(image, parts, rings, step_um, options)
        if seen is None:
            rings[:] = 0
        if seen == "bare":
            parts[:] = 0
    cells = with_buds(parts, solid, rings, step_um, options)
    return nuclei_of(rings, cells, step_um, options)


def find_rings(image: np.ndarray, step_um: float, lowest: float, options: dict[str, Any]) -> np.ndarray:
    """Find the bright rings that pores of the nuclear envelope make, each filled.

    Args:
        image: (h, w) float32.
        step_um: micrometres a pixel.
        lowest: brightness above its surroundings that a ring has at least.
        options: `segment.yeast` of the configuration.

    Returns:
        (h, w) int32, numbered from 1 without gaps.
    """
    radius = options["ring_um"] / 2 / step_um
    full = cv2.morphologyEx(image, cv2.MORPH_CLOSE, disk(0.8 * radius))
    above = full - blur(cv2.morphologyEx(full, cv2.MORPH_OPEN, disk(2 * radius)), radius)
    smooth = blur(above, 0.5 * radius)
    least = max(lowest, options["dimmest_ring"] * float(np.percentile(smooth, 99.5)))
    peaks, count = ndimage.label((smooth >= cv2.dilate(smooth, disk(radius))) & (smooth > least))
    basins = watershed(-smooth, peaks, mask=smooth > least / 2)
    tops = np.zeros(count + 1, np.float32)
    if count:
        tops[1:] = ndimage.maximum(smooth, basins, np.arange(1, count + 1))
    return in_sequence(np.where((basins > 0) & (above > options["ring_level"] * tops[basins]), basins, 0))


def show_pores(
    image: np.ndarray, parts: np.ndarray, rings: np.ndarray, step_um: float, options: dict[str, Any]
) -> str | None:
    """Whether the rings are nuclei, and whether more than they is seen.

    Args:
        image: (h, w) float32.
        parts: (h, w) int32, what was found of the cells.
        rings: (h, w) int32.
        step_um: micrometres a pixel.
        options: `segment.yeast` of the configuration.

    Returns:
        `cells` where rings are much smaller and brighter than the cells that they lie in, in most of the cells; `bare`
        where what was found of the cells is no larger than a nucleus and the rings are hollow; else None.
    """
    if not rings.any():
        return None
    count = int(parts.max())
    area = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    ground = float(np.median(image[parts == 0])) if (parts == 0).any() else float(image.min())
    if not count or np.median(area) * step_um**2 < 2 * np.pi * (options["ring_um"] / 2) ** 2:
        boxes = ndimage.find_objects(rings)
        rims = np.array([image[box].max() for box in boxes]) - ground
        middles = np.array([image[box][tuple(side // 2 for side in image[box].shape)] for box in boxes]) - ground
        return "bare" if np.median(middles / np.maximum(rims, 1e-30)) < options["hollow"] else None
    covered = np.bincount(parts[rings > 0], minlength=count + 1)[1:]
    numbers = np.arange(1, count + 1)
    bright = ndimage.maximum(np.where(rings > 0, image, ground), parts, numbers) - ground
    dim = np.maximum(ndimage.median(image, parts, numbers) - ground, 1e-6 * np.abs(bright).max() + 1e-30)
    small = np.median(covered / area) < 0.5
    return "cells" if small and np.median(bright / dim) > options["ring_brightness"] else None


def with_buds(
    parts: np.ndarray, solid: np.ndarray, rings: np.ndarray, step_um: float, options: dict[str, Any]
) -> np.ndarray:
    """Give each bud the number of its mother: the larger neighbour with the widest neck between them.

    A mother has one bud and a bud one mother. Where nuclei are seen, a part without one is a bud whatever its size:
    the nucleus enters the bud late. A part that the image's border cuts is no bud: neither its size nor whether it has
    a nucleus is known, and at the edge of a crop it is mostly another cell.

    Args:
        parts: (h, w) int32, cells cut at their necks.
        solid: (h, w) float32, where cells are above 0.
        rings: (h, w) int32, nuclei, or none.
        step_um: micrometres a pixel.
        options: `segment.yeast` of the configuration.

    Returns:
        (h, w) int32, numbered from 1 without gaps.
    """
    area = np.bincount(parts.ravel())
    ringed = np.bincount(parts[rings > 0], minlength=area.size) > 0
    framed = np.pad(parts > 0, 1, mode="edge").astype(np.uint8)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1] * step_um
    cut = np.zeros(area.size, bool)
    cut[at_border(parts)] = True
    pairs = []
    for first, second, width, _ in necks(parts, depth, solid):
        bud, mother = sorted((first, second), key=lambda number: area[number])
        if ringed.any() and ringed[first] != ringed[second]:
            bud, mother = (first, second) if ringed[second] else (second, first)
            width += 1
        elif area[bud] > options["bud_share"] * area[mother] or width < options["bud_neck"]:
            continue
        if not cut[bud]:
            pairs.append((width, bud, mother))
    table = np.arange(area.size, dtype=np.int32)
    taken: set[int] = set()
    for _, bud, mother in sorted(pairs, reverse=True):
        if not {bud, mother} & taken:
            table[bud] = mother
            taken |= {bud, mother}
    return in_sequence(table[parts])


def nuclei_of(
    rings: np.ndarray, cells: np.ndarray, step_um: float, options: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Number nuclei as their cells; a nucleus whose cell is not seen gets one, as wide as cells usually are around it.

    Args:
        rings: (h, w) int32.
        cells: (h, w) int32.
        step_um: micrometres a pixel.
        options: `segment.yeast` of the configuration.

    Returns:
        nuclei, cells: (h, w) int32.
    """
    count = int(rings.max())
    if not count:
        return rings, cells
    in_cells = np.bincount(rings[(rings > 0) & (cells > 0)], minlength=count + 1)
    bare = in_cells * 2 < np.bincount(rings.ravel(), minlength=count + 1)
    bare[0] = False
    nuclei = np.where((rings > 0) & ~bare[rings], cells, 0)
    if not bare.any():
        return nuclei, cells
    seeds = np.where(bare[rings], rings + int(cells.max()), 0)
    away, (y, x) = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    near = (away * step_um <= options["body_um"]) & (cells == 0)
    return np.where(seeds > 0, seeds, nuclei), np.where(near, seeds[y, x], cells)
