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

from wherein.channels import MARKERS
from wherein.segmentation.grid import blur, disk, enlarge_labels, filled, in_sequence, shrink, working_shape
from wherein.segmentation.methods import MethodContext, Outlines
from wherein.segmentation.nuclei import noise_level, objects_on_grid, rounding_noise
from wherein.segmentation.pairing import paired


def outline(
    images: dict[str, np.ndarray], pixel_size_um: float, settings: dict[str, Any], context: MethodContext
) -> Outlines:
    """The method `watershed`: nuclei on their channel, cells grown from them over the channels that show the body.

    Args:
        images: (H, W) by role; `nucleus` must be there.
        pixel_size_um: micrometres a pixel.
        settings: the section `segment` of the configuration.
        context: not used.

    Returns:
        The outlines, without scores.
    """
    bodies, structural = bodies_of(images)
    return Outlines(*find_cells(images["nucleus"], bodies, pixel_size_um, settings, structural))


def bodies_of(images: dict[str, np.ndarray]) -> tuple[list[np.ndarray], bool]:
    """Images that show the cells' bodies: the structural markers, True; where there is none, the protein, False."""
    markers = [images[role] for role in MARKERS if role in images]
    return (markers, True) if markers else ([images[role] for role in ("protein",) if role in images], False)


def find_cells(
    nucleus: np.ndarray,
    markers: Sequence[np.ndarray],
    pixel_size_um: float,
    settings: dict[str, Any],
    structural: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Outline the nuclei and cells of a field.

    Args:
        nucleus: (H, W) nucleus channel, any real type.
        markers: images (H, W) that show the cell's body, any number of them.
        pixel_size_um: micrometres a pixel.
        settings: the section `segment` of the configuration.
        structural: whether the markers fill the cell; a protein may be anywhere in it.

    Returns:
        nuclei, cells: (H, W) uint32 each, numbered from 1 without gaps, the same number for a nucleus and its cell;
        every pixel of a nucleus that has a cell belongs to that cell.
    """
    shape = working_shape(nucleus.shape, pixel_size_um, settings["grid_um"])
    step = pixel_size_um * nucleus.shape[0] / shape[0]
    coarse = objects_on_grid(shrink(nucleus, shape), step, settings["nuclei"], rounding_noise(nucleus.dtype))
    coarse, grown = cells_on_grid(coarse, [shrink(marker, shape) for marker in markers], step, settings, structural)
    nuclei, cells = (enlarge_labels(labels, nucleus.shape) for labels in (coarse, grown))
    return paired(nuclei, cells)


def grown(
    nuclei: np.ndarray, images: dict[str, np.ndarray], pixel_size_um: float, settings: dict[str, Any]
) -> Outlines:
    """Grow cells from nuclei that another method found, and bring both to the field's pixels.

    Args:
        nuclei: (h, w) of integers on any grid not finer than the field's, numbered from 1 without gaps.
        images: (H, W) by role.
        pixel_size_um: micrometres a pixel of the images.
        settings: the section `segment` of the configuration.

    Returns:
        The outlines, without scores.
    """
    full = next(iter(images.values())).shape
    bodies, structural = bodies_of(images)
    shape = working_shape(full, pixel_size_um, settings["grid_um"])
    step = pixel_size_um * full[0] / shape[0]
    coarse = cv2.resize(nuclei.astype(np.float64), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)
    fine = enlarge_labels(nuclei, full)
    _, cells = cells_on_grid(
        coarse.astype(np.int32), [shrink(body, shape) for body in bodies], step, settings, structural
    )
    return Outlines(*paired(fine, enlarge_labels(cells, full)))


def cells_on_grid(
    nuclei: np.ndarray,
    markers: Sequence[np.ndarray],
    step_um: float,
    settings: dict[str, Any],
    structural: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Grow cells from nuclei.

    A pixel of the foreground goes to the nucleus that reaches it first, going faster over what is bright for its
    surroundings than over dark seams, and no farther than `reach_um`. Foreground that no nucleus reaches is a cell
    without a nucleus. A nucleus with hardly any foreground around it stays without a cell.

    Args:
        nuclei: (h, w) of integers, numbered from 1 without gaps.
        markers: images (h, w) float32 that show the cell's body; none where only nuclei are imaged: cells are then
            the nuclei, widened by `dilation_um`.
        step_um: micrometres a pixel.
        settings: the section `segment` of the configuration.
        structural: whether the markers fill the cell, as microtubules do; a protein may be anywhere in it.

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
    # going uphill costs: distance from the nearest nucleus raises the hill, brightness lowers it
    hill = away / options["reach_um"] - relief(body, ground, step_um, options, structural)
    reached = ground & (away <= options["reach_um"])
    cells = watershed(hill, seeds, mask=reached)
    rest = _sizable(ground & (cells == 0), options["min_um2"] / step_um**2, options["opening_um"] / step_um)
    cells[rest > 0] = rest[rest > 0] + int(nuclei.max())
    return nuclei, cells


def cell_body(markers: Sequence[np.ndarray], step_um: float, options: dict[str, Any]) -> np.ndarray:
    """Mean of the markers, each smoothed, freed of its background and brought to about 0..1 by the logarithm.

    The logarithm makes thin, dim parts of a cell count beside bright ones, and a dim cell beside a bright one.

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
        least = max(options["contrast"] * noise_level(marker), 1e-4 * float(np.abs(smooth).max()))
        unit = max(least, options["dimmest"] * (high - low), float(np.finfo(np.float32).tiny))
        total += np.log1p(np.maximum(smooth - low, 0) / unit) / np.log1p(max(high - low, unit) / unit)
        seen |= smooth - low > least
    return np.where(seen, total / len(markers), 0).astype(np.float32)


def relief(
    body: np.ndarray, ground: np.ndarray, step_um: float, options: dict[str, Any], structural: bool
) -> np.ndarray:
    """How bright every pixel is for its surroundings, weighted: what draws a growing cell on, or stops it at a seam.

    A bright cell beside a dim one would else take it over. Of a protein only the dark seams count: it may be brightest
    in the nucleus, or right on the membrane where two cells touch.

    Args:
        body: (h, w) float32, as `cell_body` gives it.
        ground: (h, w) bool, the pixels of cells, of which surroundings are made.
        step_um: micrometres a pixel.
        options: `segment.cells` of the configuration.
        structural: whether `body` is made of structural markers.

    Returns:
        (h, w) float32.
    """
    sigma = options["surroundings_um"] / step_um
    inside = ground.astype(np.float32)
    mean = blur(body * inside, sigma) / np.maximum(blur(inside, sigma), np.float32(1e-3))
    if structural:
        return options["brightness_weight"] * (body - mean)
    return options["seam_weight"] * np.minimum(body - mean, 0)


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
