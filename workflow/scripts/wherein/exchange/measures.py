"""Masks and measures of crops made elsewhere."""

import cv2
import numpy as np
import pandas as pd

from wherein.crops.cut import ANOTHER, NONE, THIS

NOT_FINITE, EMPTY_MASK = "not_finite", "empty_mask"


def masks_of(
    shape: tuple[int, int, int],
    cell: np.ndarray | None,
    nucleus: np.ndarray | None,
    distance: np.ndarray | None,
) -> np.ndarray:
    """Masks as the store of crops has them.

    Without a mask of the cell the whole crop is the cell. Without one of the nucleus, pixels with a distance above 0
    are nucleus; without distances there is none. Of several cells in a mask the crop's own is the one nearest its
    middle; its nucleus is the one that covers most of it.

    Args:
        shape: N, H, W.
        cell: (N, H, W) labels, 0 for background; None for none.
        nucleus: (N, H, W) labels, of the same numbers as `cell` or others; None for none.
        distance: (N, H, W) signed distance to the nuclear boundary; None for none.

    Returns:
        (N, 2, H, W) uint8, cell then nucleus: NONE, THIS or ANOTHER.
    """
    out = np.full((shape[0], 2, *shape[1:]), NONE, np.uint8)
    if nucleus is None and distance is not None:
        nucleus = np.stack([cv2.connectedComponents((image > 0).astype(np.uint8))[1] for image in distance])
    for row, (own_cell, own_nucleus) in enumerate(out):
        if cell is None:
            own_cell[:] = THIS
        else:
            _mark(own_cell, cell[row], nearest_label(cell[row]))
        if nucleus is not None:
            labels = nucleus[row]
            _mark(own_nucleus, labels, nearest_label(labels) if cell is None else _covering(labels, own_cell == THIS))
    return out


def _mark(out: np.ndarray, labels: np.ndarray, own: float) -> None:
    out[labels != 0] = ANOTHER
    if own:
        out[labels == own] = THIS


def nearest_label(labels: np.ndarray) -> float:
    """Number of the object in a (H, W) mask that lies nearest its middle; of those as near the smallest; 0 for none."""
    y, x = np.nonzero(labels)
    if not len(y):
        return 0
    away = (y - (labels.shape[0] - 1) / 2) ** 2 + (x - (labels.shape[1] - 1) / 2) ** 2
    return labels[y, x][away == away.min()].min()


def _covering(labels: np.ndarray, cell: np.ndarray) -> float:
    """Number of the object that has most pixels in a cell; 0 for none."""
    numbers, counts = np.unique(labels[cell & (labels != 0)], return_counts=True)
    return numbers[counts.argmax()] if len(numbers) else 0


def measure_crops(
    images: dict[str, np.ndarray],
    masks: np.ndarray,
    pixel_size_um: float,
    given: bool,
    distance: np.ndarray | None = None,
) -> pd.DataFrame:
    """Measure each crop as the ledger has it; coordinates are those of the crop itself.

    Args:
        images: (N, H, W) by role.
        masks: (N, 2, H, W) as `masks_of` gives them.
        pixel_size_um: micrometres a pixel.
        given: whether the cell's mask came with the crop; what touches the edge of such a crop is taken to go on
            beyond it.
        distance: (N, H, W) distances to the nuclear boundary that came with the crops; they have to be finite too.

    Returns:
        One row a crop: the ledger's columns from `y` to the intensities, `exceeds_window` among them, and `fault`
        (NOT_FINITE, EMPTY_MASK or None); rows with one are null in what is measured.
    """
    cell, nucleus = masks[:, 0] == THIS, masks[:, 1] == THIS
    frame = pd.DataFrame(index=range(len(masks)))
    area = cell.sum((1, 2))
    for prefix, mask in (("", cell), ("nucleus_", nucleus)):
        size = mask.sum((1, 2))
        there = np.where(size > 0, size, np.nan)
        for axis, name in ((1, "y"), (2, "x")):
            along = mask.sum(3 - axis)
            frame[f"{prefix}{name}"] = (along * np.arange(along.shape[1])).sum(1) / there
        frame[f"{prefix}area_um2"] = there * pixel_size_um**2
        for role, image in images.items():
            total = np.where(mask, image, 0).sum((1, 2), dtype=np.float64)
            frame[f"{prefix}sum_{role}"] = np.where(size > 0, total, np.nan)
            frame[f"{prefix}mean_{role}"] = total / there
    for axis, name in ((1, "y"), (2, "x")):
        occupied = cell.any(3 - axis)
        frame[f"bbox_{name}0"] = occupied.argmax(1)
        frame[f"bbox_{name}1"] = occupied.shape[1] - occupied[:, ::-1].argmax(1)
    edge = np.ones(cell.shape[1:], bool)
    edge[1:-1, 1:-1] = False
    frame["exceeds_window"] = (cell & edge).any((1, 2)) & given
    frame["n_nuclei"] = [cv2.connectedComponents(one.astype(np.uint8))[0] - 1 for one in nucleus]
    finite = np.ones(len(masks), bool)
    for image in (*images.values(), *(() if distance is None else (distance,))):
        if image.dtype.kind == "f":
            finite &= np.isfinite(image).all((1, 2))
    frame["fault"] = np.where(~finite, NOT_FINITE, np.where(area == 0, EMPTY_MASK, None))
    measured = [name for name in frame if name.split("_")[0] in ("y", "x", "nucleus", "area", "sum", "mean")]
    frame.loc[frame["fault"].notna(), measured] = np.nan
    return frame
