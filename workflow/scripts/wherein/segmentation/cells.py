"""Outlines of cells, without trained weights: grown from the nuclei over the channels that show the cell's body.

All sizes are micrometres.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from wherein.segmentation.grid import blur, disk, enlarge_labels, filled, in_sequence, shrink, working_shape
from wherein.segmentation.nuclei import noise_level, objects_on_grid, rounding_noise


def find_cells(
    nucleus: np.ndarray, markers: Sequence[np.ndarray], pixel_size_um: float, settings: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Outline the nuclei and cells of a field.

    Args:
        nucleus: (H, W) nucleus channel, any real type.
        markers: images (H, W) that show the cell's body, any number of them.
        pixel_size_um: micrometres a pixel.
        settings: the section `segment` of the configuration.

    Returns:
        nuclei, cells: (H, W) uint32 each, numbered from 1 without gaps, the same number for a nucleus and its cell;
        every pixel of a nucleus that has a cell belongs to that cell.
    """
    shape = working_shape(nucleus.shape, pixel_size_um, settings["grid_um"])
    step = pixel_size_um * nucleus.shape[0] / shape[0]
    coarse = objects_on_grid(shrink(nucleus, shape), step, settings["nuclei"], rounding_noise(nucleus.dtype))
    coarse, grown = cells_on_grid(coarse, [shrink(marker, shape) for marker in markers], step, settings)
    nuclei, cells = (enlarge_labels(labels, nucleus.shape) for labels in (coarse, grown))
    return paired(nuclei, cells)


def paired(nuclei: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put nuclei inside their cells and number both from 1 without gaps, in the order that they have.

    Args:
        nuclei: (H, W) of integers.
        cells: (H, W) of integers, the same number for a nucleus and its cell.

    Returns:
        nuclei, cells: (H, W) uint32.
    """
    count = int(max(nuclei.max(initial=0), cells.max(initial=0)))
    has_cell = np.zeros(count + 1, bool)
    has_cell[np.unique(cells)] = True
    has_cell[0] = False
    inside = has_cell[nuclei]
    cells = np.where(inside, nuclei, cells)
    # a nucleus without a cell lies in nobody's cell
    cells = np.where((nuclei > 0) & ~inside, 0, cells)
    there = np.zeros(count + 1, bool)
    there[np.unique(nuclei)] = True
    there[np.unique(cells)] = True
    there[0] = False
    table = np.where(there, np.cumsum(there), 0).astype(np.uint32)
    return table[nuclei], table[cells]


def cells_on_grid(
    nuclei: np.ndarray, markers: Sequence[np.ndarray], step_um: float, settings: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Grow cells from nuclei.

    A pixel of the foreground goes to the nucleus that reaches it first, going faster over bright than over dark
    ground, and no farther than `reach_um`. Foreground that no nucleus reaches is a cell without a nucleus. A nucleus
    with hardly any foreground around it stays without a cell.

    Args:
        nuclei: (h, w) of integers, numbered from 1 without gaps.
        markers: images (h, w) float32 that show the cell's body; none where only nuclei are imaged: cells are then
            the nuclei, widened by `dilation_um`.
        step_um: micrometres a pixel.
        settings: the section `segment` of the configuration.

    Returns:
        nuclei, cells: (h, w) int32 each, the same number for a nucleus and its cell; numbers of cells without a
        nucleus follow those of the nuclei.
    """
    options = settings["cells"]
    nuclei = nuclei.astype(np.int32)
    away = _distance_from(nuclei > 0, step_um)
    if not markers:
        return nuclei, _nearest(nuclei, away <= options["dilation_um"])
    body = cell_body(markers, step_um, options)
    # a protein of the nucleus would else hide the dim cytoplasm around it
    ground = cell_ground(body, away > options["clear_of_nuclei_um"], step_um, options)
    alone = _without_cell(nuclei, ground, step_um, options)
    seeds = np.where(alone[nuclei], 0, nuclei)
    ground = filled(ground | (seeds > 0), options["hole_um2"] / step_um**2)
    # going uphill costs: brightness lowers the hill, distance from the nearest nucleus raises it
    hill = away / options["reach_um"] - options["brightness_weight"] * body
    reached = ground & (away <= options["reach_um"])
    cells = watershed(hill, seeds, mask=reached)
    rest = _sizable(ground & (cells == 0), options["min_um2"] / step_um**2, options["opening_um"] / step_um)
    cells[rest > 0] = rest[rest > 0] + int(nuclei.max())
    return nuclei, cells


def cell_body(markers: Sequence[np.ndarray], step_um: float, options: dict[str, Any]) -> np.ndarray:
    """Mean of the markers, each smoothed, freed of its background and brought to 0..1 by the root.

    The root makes thin, dim parts of a cell count beside the bright ground around the nucleus.

    Args:
        markers: images (h, w) float32.
        step_um: micrometres a pixel.
        options: `segment.cells` of the configuration.

    Returns:
        (h, w) float32, 0 where no marker stands out from its noise.
    """
    total = np.zeros(markers[0].shape, np.float32)
    seen = np.zeros(markers[0].shape, bool)
    for marker in markers:
        smooth = blur(marker, options["smoothing_um"] / step_um)
        low, high = np.percentile(smooth, (0.5, 99))
        total += np.sqrt(np.clip((smooth - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1))
        seen |= smooth - low > max(options["contrast"] * noise_level(marker), 1e-4 * float(np.abs(smooth).max()))
    return np.where(seen, total / len(markers), 0).astype(np.float32)


def cell_ground(body: np.ndarray, counted: np.ndarray, step_um: float, options: dict[str, Any]) -> np.ndarray:
    """Pixels of cells: those brighter than `level` of the way from the background to Otsu's threshold.

    Args:
        body: (h, w) float32, as `cell_body` gives it.
        counted: (h, w) bool, pixels from which the threshold is taken.
        step_um: micrometres a pixel.
        options: `segment.cells` of the configuration.

    Returns:
        (h, w) bool.
    """
    values = body[counted] if counted.any() else body.ravel()
    otsu = float(threshold_otsu(values))
    dark = values[values <= otsu]
    background = float(np.median(dark)) if dark.size else 0.0
    threshold = background + options["level"] * (otsu - background)
    ground = cv2.morphologyEx(
        (body > threshold).astype(np.uint8), cv2.MORPH_OPEN, disk(options["opening_um"] / step_um)
    )
    return filled(ground > 0, options["hole_um2"] / step_um**2)


def _distance_from(mask: np.ndarray, step_um: float) -> np.ndarray:
    """Distance in micrometres of every pixel from `mask`; infinite where there is none."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) * step_um


def _nearest(labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The nearest label's number for every pixel of `mask`."""
    if not labels.any():
        return np.zeros_like(labels)
    indices = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return np.where(mask, labels[tuple(indices)], 0)


def _without_cell(nuclei: np.ndarray, ground: np.ndarray, step_um: float, options: dict[str, Any]) -> np.ndarray:
    """Which nuclei have hardly any foreground in and around them: (number of nuclei + 1,) bool."""
    ring = _nearest(nuclei, _distance_from(nuclei > 0, step_um) <= options["ring_um"])
    size = np.bincount(ring.ravel(), minlength=int(nuclei.max()) + 1)
    covered = np.bincount(ring[ground], minlength=size.size)
    alone = covered < options["ring_share"] * size
    alone[0] = False
    return alone


def _sizable(mask: np.ndarray, least_px: float, opening_px: float) -> np.ndarray:
    """Number the pieces of `mask` that are large enough once thin bridges and seams are gone: (h, w) int32."""
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disk(2 * opening_px))
    pieces, _ = ndimage.label(opened)
    size = np.bincount(pieces.ravel())
    small = size < least_px
    small[0] = True
    return in_sequence(np.where(small[pieces], 0, pieces))
