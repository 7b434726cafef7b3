"""From the networks' maps to outlines: watershed on the networks' own grid, then smooth outlines on the field's pixels.

All sizes are micrometres. Nothing here needs torch.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from wherein.segmentation.grid import disk, enlarge_labels, filled, in_sequence
from wherein.segmentation.methods import Outlines
from wherein.segmentation.nuclei import join_sisters
from wherein.segmentation.pairing import paired

BACKGROUND, BORDER, BODY = range(3)
"""Places of the maps, as in `wherein.segmentation.networks.architectures.CLASSES`."""

LEVELS = 32
"""Heights of the hill that cells climb when they share out the ground. On ground that is level they then meet halfway;
with as many heights as float32 has, noise would decide."""


class Maps(NamedTuple):
    """What the networks say of one field, and what is needed to make outlines of it.

    Attributes:
        nucleus: (3, h, w) float16, chances of background, border and body.
        cell: (3, h, w) float16, the same for cells.
        signal: (h, w) float16, the nucleus channel over its background, linear.
        shape: (H, W) of the field.
        step_um: micrometres a pixel of the maps.
    """

    nucleus: np.ndarray
    cell: np.ndarray
    signal: np.ndarray
    shape: tuple[int, int]
    step_um: float


def outlines(maps: Maps, settings: dict[str, Any]) -> Outlines:
    """Draw the outlines of one field.

    Args:
        maps: what the networks say.
        settings: the section `segment` of the configuration.

    Returns:
        Outlines on the field's pixels; the quality is the mean chance of an object's pixels to be one's, of its
        nucleus or of its cell, whichever is less.
    """
    options = settings["unet"]
    nucleus, cell = (np.asarray(plane, np.float32) for plane in (maps.nucleus, maps.cell))
    nuclei = nuclei_on_grid(nucleus, np.asarray(maps.signal, np.float32), maps.step_um, options, settings["nuclei"])
    nuclei, cells = paired(*cells_from_maps(nuclei, cell, maps.step_um, options))
    quality = certainty(nuclei, cells, nucleus, cell)
    fine = [on_field(labels.astype(np.int32), maps.shape) for labels in (nuclei, cells)]
    count = len(quality) + 1
    kept = np.flatnonzero(sum(np.bincount(labels.ravel(), minlength=count) for labels in fine)[1:])
    return Outlines(*paired(*fine), quality[kept])


def nuclei_on_grid(
    chances: np.ndarray, signal: np.ndarray, step_um: float, options: dict[str, Any], sisters: dict[str, Any]
) -> np.ndarray:
    """Nuclei: each begins where the network is sure of a body, and grows to the edge of the foreground.

    Args:
        chances: (3, h, w) float32 of background, border and body.
        signal: (h, w) float32, brightness of the nucleus channel over its background.
        step_um: micrometres a pixel.
        options: `segment.unet` of the configuration.
        sisters: `segment.nuclei`, whose `sisters_um`, `plate_um`, `plate_brightness` and `alike` tell the two plates of
            an anaphase.

    Returns:
        (h, w) int32, numbered from 1 without gaps.
    """
    mask = chances[BACKGROUND] < 1 - options["foreground"]
    seeds = _cores(chances, options["seed"], options["seed_um2"] / step_um**2)
    parts = watershed(_hill(chances), seeds, mask=mask)
    parts = np.where(parts > 0, parts, _pieces_without(parts, mask))
    joined = join_sisters(_bright(in_sequence(parts), signal, options["dimmest"]), signal, step_um, sisters)
    return _tidied(joined, options["min_nucleus_um2"] / step_um**2, options["hole_um2"] / step_um**2)


def cells_from_maps(
    nuclei: np.ndarray, chances: np.ndarray, step_um: float, options: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Cells: each grows from its nucleus over the foreground and stops at borders.

    A body without a nucleus that is large enough is a cell of its own. A nucleus with hardly any foreground stays
    without a cell.

    Args:
        nuclei: (h, w) int32, numbered from 1 without gaps.
        chances: (3, h, w) float32 of background, border and body of cells.
        step_um: micrometres a pixel.
        options: `segment.unet` of the configuration.

    Returns:
        nuclei, cells: (h, w) int32 each, the same number for a nucleus and its cell; numbers of cells without a
        nucleus follow those of the nuclei.
    """
    mask = chances[BACKGROUND] < 1 - options["foreground"]
    count = int(nuclei.max(initial=0))
    size = np.bincount(nuclei.ravel(), minlength=count + 1)
    alone = np.bincount(nuclei[mask], minlength=count + 1) < options["nucleus_share"] * size
    alone[0] = False
    seeds = np.where(alone[nuclei], 0, nuclei)
    least = options["min_cell_um2"] / step_um**2
    others = _cores(chances, options["seed"], least)
    # a core that holds a piece of a nucleus is that nucleus' cell
    taken = np.unique(others[nuclei > 0])
    free = (others > 0) & ~np.isin(others, taken)
    seeds = np.where(free, others + count, seeds)
    ground = mask | (seeds > 0)
    cells = watershed(_hill(chances), seeds, mask=ground)
    holes = options["hole_um2"] / step_um**2
    cells = _tidied(cells, 0, holes, renumber=False)
    # nobody grows over what has no seed; what is large enough there is a cell without a sure core
    rest, _ = ndimage.label(
        cv2.morphologyEx((mask & (cells == 0)).astype(np.uint8), cv2.MORPH_OPEN, disk(options["opening_um"] / step_um))
    )
    rest = _tidied(rest, least, holes)
    cells = np.where((cells == 0) & (rest > 0), rest + int(cells.max(initial=0)) + count, cells)
    return nuclei, cells


def certainty(nuclei: np.ndarray, cells: np.ndarray, nucleus: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """How sure the networks are of each object: the mean chance of foreground over its pixels.

    Args:
        nuclei: (h, w) of integers.
        cells: (h, w) of integers; together numbered from 1 without gaps.
        nucleus: (3, h, w) chances of the nucleus network.
        cell: (3, h, w) chances of the cell network.

    Returns:
        (n,) float32, 0 to 1: of its nucleus or of its cell, whichever is less.
    """
    count = int(max(nuclei.max(initial=0), cells.max(initial=0)))
    lowest = np.ones(count + 1)
    for labels, chances in ((nuclei, nucleus), (cells, cell)):
        size = np.bincount(labels.ravel(), minlength=count + 1)
        total = np.bincount(labels.ravel(), 1 - chances[BACKGROUND].ravel().astype(np.float64), minlength=count + 1)
        lowest = np.minimum(lowest, np.where(size > 0, total / np.maximum(size, 1), 1))
    return np.clip(lowest[1:], 0, 1).astype(np.float32)


def on_field(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bring labels (h, w) to the field's pixels: smooth outlines on a finer grid, the pixels' centres on a coarser."""
    if shape[0] >= labels.shape[0] and shape[1] >= labels.shape[1]:
        return enlarge_labels(labels, shape)
    rows, columns = (
        np.minimum((np.arange(n) + 0.5) * side // n, side - 1).astype(np.intp)
        for n, side in zip(shape, labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)].astype(np.uint32)


def _bright(labels: np.ndarray, signal: np.ndarray, dimmest: float) -> np.ndarray:
    """Drop nuclei much dimmer than the others of the field, and number the rest from 1."""
    count = int(labels.max(initial=0))
    if not count:
        return labels
    light = ndimage.median(signal, labels, np.arange(1, count + 1))
    # each counts as much as it covers, so that specks do not say what is usual
    size = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = np.argsort(light)
    usual = light[order][np.searchsorted(np.cumsum(size[order]), size.sum() / 2)]
    return in_sequence(np.where(np.r_[False, light < dimmest * usual][labels], 0, labels))


def _hill(chances: np.ndarray) -> np.ndarray:
    """Height that growing objects climb: borders are ridges, sure bodies are low."""
    return np.round(LEVELS * (1 + chances[BORDER] - chances[BODY])).astype(np.int32)


def _cores(chances: np.ndarray, level: float, least_px: float) -> np.ndarray:
    """Number the pieces of sure body of at least `least_px` pixels: (h, w) int32."""
    pieces, _ = ndimage.label(chances[BODY] - chances[BORDER] > level)
    small = np.bincount(pieces.ravel()) < least_px
    return in_sequence(np.where(small[pieces], 0, pieces))


def _pieces_without(labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Number the pieces of a mask in which no label is, after the labels' own numbers."""
    pieces, count = ndimage.label(mask)
    with_label = np.zeros(count + 1, bool)
    with_label[np.unique(pieces[labels > 0])] = True
    return np.where(with_label[pieces] | ~mask, 0, pieces + int(labels.max(initial=0)))


def _tidied(labels: np.ndarray, least_px: float, hole_px: float, renumber: bool = True) -> np.ndarray:
    """Fill each object's holes where they are nobody's, drop what is too small, and number the rest from 1."""
    out = labels.astype(np.int32)
    for number, box in enumerate(ndimage.find_objects(out), start=1):
        if box is None:
            continue
        mine = out[box] == number
        if mine.sum() < least_px:
            out[box][mine] = 0
            continue
        whole = filled(np.pad(mine, 1), hole_px)[1:-1, 1:-1]
        out[box][whole & (out[box] == 0)] = number
    return in_sequence(out) if renumber else out
