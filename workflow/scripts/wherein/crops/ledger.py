"""The ledger: one row for every label of every passed field, kept or not, and why."""

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import pandas as pd
from scipy import ndimage

from wherein.crops.window import window_corner
from wherein.reasons import CELL_REASONS, KEPT, REJECTED

FAULTS = ("unreadable", "not_finite", "empty_mask", "no_vector")
"""Reasons of crops and vectors made elsewhere that no word can keep: there is nothing to measure."""


def measure_shapes(
    nucleus: np.ndarray, cell: np.ndarray, pixel_size_um: float, window_px: int, centre: str
) -> pd.DataFrame:
    """Measure what the masks of a field say of every label.

    Args:
        nucleus: (H, W) labels.
        cell: (H, W) labels, the same number for a nucleus and its cell.
        pixel_size_um: micrometres a pixel.
        window_px: side of the crop's window in pixels of the source.
        centre: what the window is centred on, `nucleus` (the cell, for one without) or `cell` (the nucleus, for one
            without).

    Returns:
        One row for each number that occurs, in ascending order: the columns of the ledger from label to n_nuclei. A
        nucleus without a cell has its own box and centroid in place of a cell's, and null for what is measured over
        the cell.
    """
    labels = np.union1d(np.unique(nucleus), np.unique(cell))
    labels = labels[labels > 0].astype(np.int64)
    shape_of_cell = _shapes(cell, labels)
    shape_of_nucleus = _shapes(nucleus, labels)
    has_cell, has_nucleus = shape_of_cell["area"] > 0, shape_of_nucleus["area"] > 0
    frame = pd.DataFrame({"label": labels})
    for name in ("y", "x", "y0", "x0", "y1", "x1"):
        column = name if len(name) == 1 else f"bbox_{name}"
        frame[column] = np.where(has_cell, shape_of_cell[name], shape_of_nucleus[name])
    frame["nucleus_y"], frame["nucleus_x"] = shape_of_nucleus["y"], shape_of_nucleus["x"]
    for name, shapes, there in (
        ("area_um2", shape_of_cell, has_cell),
        ("nucleus_area_um2", shape_of_nucleus, has_nucleus),
    ):
        frame[name] = np.where(there, shapes["area"] * pixel_size_um**2, np.nan)
    frame["touches_border"] = shape_of_cell["border"] | shape_of_nucleus["border"]
    frame["nucleus_touches_border"] = shape_of_nucleus["border"]
    frame["n_nuclei"] = shape_of_nucleus["pieces"]
    corner = [window_corner(place, window_px) for place in centres(frame, centre)]
    corner = np.array(corner, dtype=np.int64).reshape(-1, 2)
    low, high = (frame[[f"bbox_y{end}", f"bbox_x{end}"]].to_numpy() for end in (0, 1))
    frame["exceeds_window"] = ((low < corner) | (high > corner + window_px)).any(axis=1)
    frame["padded"] = ((corner < 0) | (corner + window_px > cell.shape)).any(axis=1)
    return frame.astype({f"bbox_{name}": np.int32 for name in ("y0", "x0", "y1", "x1")})


def centres(frame: pd.DataFrame, centre: str) -> np.ndarray:
    """Points (y, x) in pixels on which windows are centred: (len(frame), 2) float64.

    Args:
        frame: rows as `measure_shapes` gives them.
        centre: `nucleus` or `cell`, as there.
    """
    of_cell = frame[["y", "x"]].to_numpy(dtype=float)
    of_nucleus = frame[["nucleus_y", "nucleus_x"]].to_numpy(dtype=float)
    return of_cell if centre == "cell" else np.where(np.isnan(of_nucleus), of_cell, of_nucleus)


def measure_intensities(
    frame: pd.DataFrame, images: dict[str, np.ndarray], nucleus: np.ndarray, cell: np.ndarray
) -> pd.DataFrame:
    """Measure the intensity of every label of a field, on the source's own pixels.

    Args:
        frame: rows as `measure_shapes` gives them.
        images: (H, W) by role, in the source's type.
        nucleus: (H, W) labels.
        cell: (H, W) labels.

    Returns:
        A copy with mean_{role} and sum_{role}, nucleus_mean_{role} and nucleus_sum_{role}; null where the label has no
        cell, or no nucleus.
    """
    labels = frame["label"].to_numpy()
    columns: dict[str, np.ndarray] = {}
    for part, mask in (("", cell), ("nucleus_", nucleus)):
        size = np.bincount(mask[mask > 0], minlength=int(labels.max(initial=0)) + 1)[labels]
        for role, total in intensity_sums(images, mask, labels).items():
            with np.errstate(invalid="ignore", divide="ignore"):
                columns[f"{part}mean_{role}"] = np.where(size > 0, total / size, np.nan)
            columns[f"{part}sum_{role}"] = np.where(size > 0, total, np.nan)
    return frame.assign(**columns)


def intensity_sums(images: dict[str, np.ndarray], mask: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Integrated intensity of every label, by role: (len(labels),) float64, exact for integer images.

    Args:
        images: (H, W) by role.
        mask: (H, W) labels.
        labels: numbers to report, in ascending order; 0 for one that does not occur in `mask`.
    """
    where = np.flatnonzero(mask)
    numbers = mask.ravel()[where].astype(np.int64)
    top = int(labels.max(initial=0)) + 1
    return {
        role: np.bincount(numbers, weights=image.ravel()[where], minlength=top)[labels]
        for role, image in images.items()
    }


def decide(frame: pd.DataFrame, settings: dict[str, Any], needs_nucleus: bool) -> pd.DataFrame:
    """Keep or reject every label, with the first reason that holds, in the order of CELL_REASONS.

    Args:
        frame: rows as `measure_shapes` gives them.
        settings: the section `crop` of the configuration, as `settings_for` gives it.
        needs_nucleus: whether a cell without a nucleus is rejected.

    Returns:
        A copy with the columns status and reason.
    """
    no_cell = frame["area_um2"].isna()
    no_nucleus = frame["nucleus_area_um2"].isna()
    edge = {
        # what has no nucleus has to stand for itself
        "nucleus": frame["nucleus_touches_border"] | (no_nucleus & frame["touches_border"]),
        "cell": frame["touches_border"],
        "keep": pd.Series(False, index=frame.index),
    }[settings["border"]]
    largest = settings["max_cell_um2"]
    holds = {
        "border": edge,
        "beyond_field": frame["padded"] & (settings["beyond_field"] == "reject"),
        # comparisons with null are false: a nucleus without a cell is judged by its nucleus alone
        "too_small": (frame["area_um2"] < settings["min_cell_um2"])
        | (frame["nucleus_area_um2"] < settings["min_nucleus_um2"]),
        "too_large": frame["area_um2"] > (np.inf if largest is None else largest),
        "no_nucleus": no_nucleus & needs_nucleus,
        "no_cell": no_cell,
        "multinucleated": (frame["n_nuclei"] > 1) & (settings["multinucleated"] == "reject"),
        "exceeds_window": frame["exceeds_window"] & (settings["exceeds_window"] == "reject"),
    }
    reason = pd.Series(KEPT, index=frame.index, dtype=object)
    for name in reversed([name for name in CELL_REASONS if name in holds]):
        reason[holds[name].astype(bool)] = name
    return frame.assign(reason=reason, status=np.where(reason == KEPT, KEPT, REJECTED))


def settings_for(settings: dict[str, Any], roles: Sequence[str]) -> tuple[dict[str, Any], bool]:
    """Settings of the crop stage for a source with these roles, and whether its cells need a nucleus."""
    own = {key: value for key, value in settings.items() if key != "without_nucleus"}
    if "nucleus" not in roles:
        own |= settings["without_nucleus"]
    wanted = settings["needs_nucleus"]
    return own, "nucleus" in roles if wanted == "auto" else bool(wanted)


def apply_overrides(frame: pd.DataFrame, overrides: Iterable[Sequence[str]]) -> tuple[pd.DataFrame, list[str]]:
    """Follow a curator's words on cells.

    Args:
        frame: rows with cell_id, status, reason and area_um2.
        overrides: decisions as lists in the order of `wherein.overrides.COLUMNS`, those on other cells included.

    Returns:
        A copy with the column override (`who: why`, or null), and a sentence for each word that could not be
        followed: a cell that is not there, a nucleus without a cell, or a crop with one of FAULTS, of which there is
        nothing to keep.
    """
    frame = frame.assign(override=None)
    rows = {cell_id: row for row, cell_id in zip(frame.index, frame["cell_id"], strict=True)}
    notes = []
    for _, cell_id, action, _, who, why in overrides:
        row = rows.get(cell_id)
        if row is None:
            notes.append(f"{who} says {action} of {cell_id}, but there is no such cell")
            continue
        frame.at[row, "override"] = f"{who}: {why}"
        if action == "reject":
            frame.loc[row, ["status", "reason"]] = [REJECTED, "overridden"]
        elif np.isnan(frame.at[row, "area_um2"]):
            reason = frame.at[row, "reason"]
            fault = CELL_REASONS[reason] if reason in FAULTS else "it is a nucleus without a cell"
            notes.append(f"{who} says keep of {cell_id}, but {fault}")
        else:
            frame.loc[row, ["status", "reason"]] = [KEPT, KEPT]
    return frame, notes


def _shapes(mask: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Area, centroid, half-open box, contact with the border and number of pieces of every label; NaN without one."""
    top = int(labels.max(initial=0)) + 1
    y, x = np.nonzero(mask)
    numbers = mask[y, x].astype(np.int64)
    area = np.bincount(numbers, minlength=top)[labels]
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = [np.bincount(numbers, weights=axis, minlength=top)[labels] / area for axis in (y, x)]
    boxes = ndimage.find_objects(mask.astype(np.int32, copy=False), max_label=top - 1) if top > 1 else []
    box = np.zeros((labels.size, 4), np.int64)
    pieces = np.zeros(labels.size, np.int32)
    for row, label in enumerate(labels):
        found = boxes[label - 1]
        if found is not None:
            box[row] = found[0].start, found[1].start, found[0].stop, found[1].stop
            pieces[row] = cv2.connectedComponents((mask[found] == label).astype(np.uint8))[0] - 1
    edge = np.unique(np.concatenate([mask[:1].ravel(), mask[-1:].ravel(), mask[:, :1].ravel(), mask[:, -1:].ravel()]))
    return {
        "area": area,
        "y": centre[0],
        "x": centre[1],
        **dict(zip(("y0", "x0", "y1", "x1"), box.T, strict=True)),
        "border": np.isin(labels, edge),
        "pieces": pieces,
    }
