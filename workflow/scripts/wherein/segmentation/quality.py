"""How far each outline can be trusted: contrast across it, solidity, and how much a second method disagrees."""

from typing import Any

import cv2
import numpy as np
import pandas as pd
from scipy import ndimage

from wherein.segmentation.grid import blur, shrink, working_shape
from wherein.segmentation.methods import Outlines
from wherein.segmentation.nuclei import solidity

MEASURES = ("contrast", "nucleus_contrast", "solidity", "nucleus_solidity", "disagreement", "score")
"""Columns of results/segmentation/{shard}.parquet beside the cell's names."""


def measure_outlines(
    images: dict[str, np.ndarray],
    outlines: Outlines,
    second: Outlines | None,
    pixel_size_um: float,
    body_roles: list[str],
    options: dict[str, Any],
) -> tuple[pd.DataFrame, float]:
    """Measure every outline of a field, on a coarse grid.

    Args:
        images: (H, W) by role.
        outlines: what the method found.
        second: what the second method found; None without one.
        pixel_size_um: micrometres a pixel.
        body_roles: roles that show the cells' bodies; the first that is there counts.
        options: `segment.quality` of the configuration.

    Returns:
        measures: one row a label in ascending order: label and MEASURES, NaN for what is not known.
        lost: share of the second method's cells that no object of the first covers by half; NaN without any.
    """
    shape = working_shape(outlines.cell.shape, pixel_size_um, options["grid_um"])
    step = pixel_size_um * outlines.cell.shape[0] / shape[0]
    nucleus, cell = (thinned(labels, shape) for labels in outlines[:2])
    count = int(max(outlines.nucleus.max(initial=0), outlines.cell.max(initial=0)))
    band = options["band_um"] / step
    found = {"label": np.arange(1, count + 1)}
    for prefix, labels, roles in (("", cell, body_roles), ("nucleus_", nucleus, ["nucleus"])):
        role = next((role for role in roles if role in images), None)
        found[f"{prefix}contrast"] = (
            np.full(count, np.nan)
            if role is None
            else contrast(blur(shrink(images[role], shape), 0.5), labels, count, band)
        )
        found[f"{prefix}solidity"] = solidities(labels, count)
    lost = np.nan
    found["disagreement"] = np.full(count, np.nan)
    if second is not None:
        others = [thinned(labels, shape) for labels in second[:2]]
        # what has no cell is compared by its nucleus
        found["disagreement"], lost = disagreement(_bodies(nucleus, cell), _bodies(*others), count)
    found["score"] = np.full(count, np.nan) if outlines.quality is None else np.asarray(outlines.quality, float)
    return pd.DataFrame(found)[["label", *MEASURES]], lost


def thinned(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Labels at the centres of the pixels of a coarser grid: (h, w) int32."""
    rows, columns = (
        ((np.arange(short) + 0.5) * long / short).astype(np.intp)
        for short, long in zip(shape, labels.shape, strict=True)
    )
    return labels[rows][:, columns].astype(np.int32)


def contrast(image: np.ndarray, labels: np.ndarray, count: int, band_px: float) -> np.ndarray:
    """How much brighter a band within each outline is than one beyond it: (in - out) / (in + out).

    Only background counts as beyond: two cells that touch say nothing of their outlines. Brightness is that above the
    darkest part of the field.

    Args:
        image: (h, w) float32.
        labels: (h, w) int32.
        count: highest label.
        band_px: width of each band.

    Returns:
        (count,) float64, -1 to 1; NaN for an object that does not occur or has no background beside it.
    """
    if not count or not (labels == 0).any() or not labels.any():
        return np.full(count, np.nan)
    signal = np.maximum(image - np.percentile(image, 0.5), 0)
    within = cv2.distanceTransform((labels > 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    beyond, nearest = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # OpenCV numbers the pixels of objects; this gives each pixel the object of its nearest one
    owner = np.zeros(int(nearest.max()) + 1, np.int32)
    owner[nearest[labels > 0]] = labels[labels > 0]
    inner = np.where(within <= band_px, labels, 0)
    outer = np.where((labels == 0) & (beyond <= band_px), owner[nearest], 0)
    means = []
    for part in (inner, outer):
        size = np.bincount(part.ravel(), minlength=count + 1)[1:]
        total = np.bincount(part.ravel(), weights=signal.ravel(), minlength=count + 1)[1:]
        means.append(np.divide(total, size, out=np.full(count, np.nan), where=size > 0))
    inside, outside = means
    both = inside + outside
    return np.divide(inside - outside, both, out=np.full(count, np.nan), where=both > 0)


def solidities(labels: np.ndarray, count: int) -> np.ndarray:
    """Area over that of the convex hull, of each label up to `count`: (count,) float64, NaN for one not there."""
    found = np.full(count, np.nan)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            found[number - 1] = solidity(labels[box] == number)
    return found


def disagreement(first: np.ndarray, second: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """How badly the best fitting object of a second method fits each object: 1 - IoU.

    Args:
        first: (h, w) int32, objects of the method.
        second: (h, w) int32, objects of the second method.
        count: highest label of the first.

    Returns:
        (count,) float64, 1 where the second method has nothing, NaN for an object that does not occur.
        Share of the second method's objects that are not covered by half by any of the first; NaN without any.
    """
    other = int(second.max(initial=0))
    joint = np.bincount(first.ravel().astype(np.int64) * (other + 1) + second.ravel(), minlength=1)
    joint = np.pad(joint, (0, (count + 1) * (other + 1) - joint.size)).reshape(count + 1, other + 1)
    sizes, others = joint.sum(axis=1)[1:], joint.sum(axis=0)[1:]
    both = joint[1:, 1:]
    if not other:
        return np.where(sizes > 0, 1.0, np.nan), np.nan
    union = sizes[:, None] + others[None, :] - both
    iou = np.divide(both, union, out=np.zeros(both.shape), where=union > 0)
    there = others > 0
    lost = 1 - (both.max(axis=0, initial=0)[there] * 2 >= others[there]).mean() if there.any() else np.nan
    return np.where(sizes > 0, 1 - iou.max(axis=1, initial=0), np.nan), float(lost)


def _bodies(nucleus: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Cells, and the nuclei that have none."""
    return np.where((cell == 0) & ~np.isin(nucleus, np.unique(cell[cell > 0])), nucleus, cell)
