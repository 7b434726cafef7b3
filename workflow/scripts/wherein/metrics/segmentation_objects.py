"""Outlines against the truth, object by object: one table from which every score is counted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from wherein.metrics.segmentation import (
    IOU_LEVELS,
    MATCH_IOU,
    Agreement,
    border_labels,
    match,
    overlaps,
    splits_and_merges,
)

OBJECT_COLUMNS = (
    *("true_label", "found_label", "iou", "true_um2", "found_um2", "true_cut", "found_cut"),
    *("parts", "sharing"),
)

SIZES = ("small", "medium", "large")
"""Thirds of the true objects of a source."""

LOWEST = IOU_LEVELS[0]
"""From an overlap of one half on, an object fits one other at most: one matching serves all levels."""


def object_table(true: np.ndarray, found: np.ndarray, pixel_size_um: float) -> pd.DataFrame:
    """Match the objects of a field one to one, at the lowest of IOU_LEVELS.

    Args:
        true: (H, W) labels, 0 for background.
        found: (H, W) labels, 0 for background.
        pixel_size_um: micrometres a pixel.

    Returns:
        One row a matched pair, a true object without a found one, or a found one without a true one, those at the
        border included: `true_label`, `found_label` (0 for none), `iou` (0 for none), `true_um2`, `found_um2` (NaN for
        none), `true_cut`, `found_cut` (touches the field's border), `parts`, `sharing` (as `splits_and_merges`; 0
        without a true object).

    Raises:
        ValueError: the images differ in shape.
    """
    pairs = overlaps(true, found)
    chosen = match(pairs, LOWEST)
    true_cut = np.isin(pairs.true_labels, border_labels(true))
    parts, sharing = splits_and_merges(pairs, true_cut)
    missed = np.setdiff1d(np.arange(pairs.true_labels.size), pairs.true[chosen])
    false = np.setdiff1d(np.arange(pairs.found_labels.size), pairs.found[chosen])
    t = np.concatenate([pairs.true[chosen], missed, np.full(false.size, -1)]).astype(np.int64)
    f = np.concatenate([pairs.found[chosen], np.full(missed.size, -1), false]).astype(np.int64)
    area = pixel_size_um**2
    frame = pd.DataFrame(
        {
            "true_label": _of(pairs.true_labels, t, 0).astype(np.int64),
            "found_label": _of(pairs.found_labels, f, 0).astype(np.int64),
            "iou": np.concatenate([pairs.iou[chosen], np.zeros(missed.size + false.size)]),
            "true_um2": _of(pairs.true_size * area, t, np.nan),
            "found_um2": _of(pairs.found_size * area, f, np.nan),
            "true_cut": _of(true_cut, t, False),
            "found_cut": _of(np.isin(pairs.found_labels, border_labels(found)), f, False),
            "parts": _of(parts, t, 0),
            "sharing": _of(sharing, t, 0),
        },
        columns=list(OBJECT_COLUMNS),
    )
    return frame.sort_values(["true_label", "found_label"], ignore_index=True)


def _of(values: np.ndarray, place: np.ndarray, none: Any) -> np.ndarray:
    """Values at the places; `none` where the place is -1."""
    return np.append(values, np.asarray(none, dtype=np.result_type(values, type(none))))[place]


def agreement(objects: pd.DataFrame, level: float = MATCH_IOU) -> Agreement:
    """Count as `wherein.metrics.segmentation.compare` does, from rows of `object_table`.

    Args:
        objects: rows of any number of fields.
        level: least IoU of a pair (inclusive), one half or more.

    Returns:
        Counts over the objects that are judged.
    """
    fits = objects["iou"].to_numpy() >= level
    inner = (objects["true_label"].to_numpy() > 0) & ~objects["true_cut"].to_numpy(bool)
    false = (objects["found_label"].to_numpy() > 0) & ~objects["found_cut"].to_numpy(bool) & ~fits
    right = fits & inner
    return Agreement(
        n_true=int(inner.sum()),
        n_found=int(right.sum() + false.sum()),
        matched=int(right.sum()),
        iou_sum=float(objects["iou"].to_numpy()[right].sum()),
    )


def scores(objects: pd.DataFrame) -> dict[str, float]:
    """Every measure of a set of objects.

    Args:
        objects: rows of `object_table`, with the columns field_id and version beside them.

    Returns:
        `n_true`, `n_found`, `matched`, `recall`, `precision`, `f1`, `false_share`, `iou_mean`, all at
        MATCH_IOU; `average_precision`, the mean over IOU_LEVELS; `count_error`, what the fields' counts are off by,
        sum of |found - true| over the number of true objects, and `count_bias`, the same with its sign; `n_split`,
        `n_merged`, true objects in several parts, or in one outline with others; `split_share`, `merged_share` of the
        true objects. NaN where a figure is not defined.
    """
    total = agreement(objects)
    fields = [agreement(group) for _, group in objects.groupby(["field_id", "version"], sort=False)]
    wrong = sum(abs(field.n_found - field.n_true) for field in fields)
    judged = objects[(objects["true_label"] > 0) & ~objects["true_cut"].astype(bool)]
    n_split, n_merged = int((judged["parts"] > 1).sum()), int((judged["sharing"] > 1).sum())
    return {
        "n_true": total.n_true,
        "n_found": total.n_found,
        "matched": total.matched,
        "recall": total.recall,
        "precision": total.precision,
        "f1": total.f1,
        "false_share": total.false_share,
        "iou_mean": total.iou_mean,
        "average_precision": float(np.mean([agreement(objects, level).average_precision for level in IOU_LEVELS])),
        "count_error": _share(wrong, total.n_true),
        "count_bias": _share(total.n_found - total.n_true, total.n_true),
        "n_split": n_split,
        "n_merged": n_merged,
        "split_share": _share(n_split, total.n_true),
        "merged_share": _share(n_merged, total.n_true),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def curve(objects: pd.DataFrame, levels: Sequence[float] = IOU_LEVELS) -> pd.DataFrame:
    """Precision, recall, F1 and average precision at each overlap.

    Args:
        objects: rows of `object_table`.
        levels: overlaps, one half or more.

    Returns:
        One row a level: iou, n_true, n_found, matched, recall, precision, f1, average_precision.
    """
    names = ("n_true", "n_found", "matched", "recall", "precision", "f1", "average_precision")
    found = [(level, agreement(objects, level)) for level in levels]
    return pd.DataFrame(
        [{"iou": level, **{name: getattr(total, name) for name in names}} for level, total in found],
        columns=["iou", *names],
    )


def size_limits(objects: pd.DataFrame) -> tuple[float, float]:
    """Areas in square micrometres between the thirds of the true objects that are judged; NaN without any."""
    judged = objects.loc[(objects["true_label"] > 0) & ~objects["true_cut"].astype(bool), "true_um2"]
    if not len(judged):
        return float("nan"), float("nan")
    low, high = np.quantile(judged.to_numpy(float), (1 / 3, 2 / 3))
    return float(low), float(high)


def size_class(objects: pd.DataFrame, limits: tuple[float, float]) -> np.ndarray:
    """Place in SIZES of each row: by the true object, by the found one where there is no true one.

    Args:
        objects: rows of `object_table`.
        limits: as `size_limits` gives them.

    Returns:
        (N,) int64.
    """
    area = objects["true_um2"].fillna(objects["found_um2"]).to_numpy(float)
    return np.searchsorted(np.asarray(limits), area, side="left")
