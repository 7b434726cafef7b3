"""How well outlines and points agree with the truth."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

MATCH_IOU = 0.6
"""Overlap from which on an outline is found: what the single-cell challenge of the Human Protein Atlas asks (HPA
single-cell classification 2022, methods)."""

IOU_LEVELS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Overlaps from 0.5 to 0.95 at which precision, recall, F1 and average precision are given (2018 Data Science Bowl,
Caicedo et al. 2019, Nature Methods 16, 1247)."""

INSIDE = 0.5
"""An object lies in another one if at least this share of its pixels does."""

PART = 0.1
"""What covers less of an object than this is a speck in it, and no part of a split or of a merge. No paper's constant:
large enough that a sliver of a neighbour makes no error, small enough for a nucleus cut off unevenly."""


@dataclass(frozen=True)
class Overlaps:
    """Every pair of a true and a found object that share a pixel.

    Attributes:
        true_labels: (T,) numbers of the true objects, ascending.
        found_labels: (F,) numbers of the found objects, ascending.
        true: (P,) places in `true_labels`.
        found: (P,) places in `found_labels`.
        iou: (P,) float64, pixels in both over pixels in either.
        shared: (P,) int64, pixels in both.
        true_size: (T,) int64, pixels of the true objects.
        found_size: (F,) int64, pixels of the found objects.
    """

    true_labels: np.ndarray
    found_labels: np.ndarray
    true: np.ndarray
    found: np.ndarray
    iou: np.ndarray
    shared: np.ndarray
    true_size: np.ndarray
    found_size: np.ndarray


@dataclass(frozen=True)
class Agreement:
    """Counts of one comparison.

    Attributes:
        n_true: objects that are there.
        n_found: objects that were found.
        matched: pairs of them that fit.
        iou_sum: sum of the overlaps of the pairs.
    """

    n_true: int = 0
    n_found: int = 0
    matched: int = 0
    iou_sum: float = 0.0

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(
            self.n_true + other.n_true,
            self.n_found + other.n_found,
            self.matched + other.matched,
            self.iou_sum + other.iou_sum,
        )

    @property
    def recall(self) -> float:
        """Share of the true objects that were found; NaN where there are none."""
        return self.matched / self.n_true if self.n_true else float("nan")

    @property
    def precision(self) -> float:
        """Share of the found objects that are true; NaN where nothing was found."""
        return self.matched / self.n_found if self.n_found else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 2 matched / (true + found); NaN where there is nothing at all."""
        total = self.n_true + self.n_found
        return 2 * self.matched / total if total else float("nan")

    @property
    def average_precision(self) -> float:
        """Matched pairs over all that is true or found, TP / (TP + FP + FN); NaN where there is nothing at all.

        What cell segmentation calls average precision (2018 Data Science Bowl; Stringer et al. 2021, Nature Methods
        18, 100): outlines have no ranking by confidence of which a curve could be drawn.
        """
        total = self.n_true + self.n_found - self.matched
        return self.matched / total if total else float("nan")

    @property
    def false_share(self) -> float:
        """Share of the found objects that fit no true one: 1 - precision."""
        return 1 - self.precision

    @property
    def iou_mean(self) -> float:
        """Mean overlap of the pairs; NaN without any."""
        return self.iou_sum / self.matched if self.matched else float("nan")


def overlaps(true: np.ndarray, found: np.ndarray) -> Overlaps:
    """Intersection over union of all pairs of objects, from the joint histogram of the two label images.

    Args:
        true: (H, W) labels, 0 for background.
        found: (H, W) labels, 0 for background.

    Returns:
        The pairs that share a pixel.

    Raises:
        ValueError: the images differ in shape.
    """
    if true.shape != found.shape:
        raise ValueError(f"the true labels are {true.shape}, the found ones {found.shape}; they must be of one shape")
    true_labels, true_place, true_size = _dense(true)
    found_labels, found_place, found_size = _dense(found)
    joint = np.bincount(true_place * found_labels.size + found_place, minlength=true_labels.size * found_labels.size)
    t, f = np.divmod(np.flatnonzero(joint), found_labels.size)
    both = joint[joint > 0]
    real = (true_labels[t] > 0) & (found_labels[f] > 0)
    t, f, both = t[real], f[real], both[real]
    iou = both / (true_size[t] + found_size[f] - both)
    true_zero, found_zero = (int(labels.size > 0 and labels[0] == 0) for labels in (true_labels, found_labels))
    return Overlaps(
        true_labels=true_labels[true_zero:],
        found_labels=found_labels[found_zero:],
        true=t - true_zero,
        found=f - found_zero,
        iou=iou,
        shared=both,
        true_size=true_size[true_zero:],
        found_size=found_size[found_zero:],
    )


def _dense(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels that occur, each pixel's place among them, and their sizes.

    Counting takes a hundredth of the time of sorting; it needs memory for the highest label, so that sorting is left
    for images whose labels are scattered.
    """
    flat = labels.ravel()
    if flat.size and int(flat.max()) > 4 * flat.size:
        found, place, size = np.unique(flat, return_inverse=True, return_counts=True)
        return found, place, size
    counts = np.bincount(flat)
    found = np.flatnonzero(counts)
    places = np.zeros(counts.size, np.intp)
    places[found] = np.arange(found.size)
    return found, places[flat], counts[found]


def match(pairs: Overlaps, threshold: float = MATCH_IOU) -> np.ndarray:
    """Match true and found objects one to one: as many pairs as can be, and of those the best overlapping.

    Args:
        pairs: as `overlaps` gives them.
        threshold: least IoU of a pair (inclusive).

    Returns:
        (K,) places in `pairs`, ascending by true object.
    """
    good = np.flatnonzero((pairs.iou >= threshold) & (pairs.iou > 0))
    score = np.zeros((pairs.true_labels.size, pairs.found_labels.size))
    # one pair more outweighs any gain in overlap
    score[pairs.true[good], pairs.found[good]] = 1 + pairs.iou[good] / (1 + good.size)
    rows, columns = linear_sum_assignment(score, maximize=True)
    place = {(int(pairs.true[k]), int(pairs.found[k])): int(k) for k in good}
    chosen = [place[pair] for pair in zip(rows.tolist(), columns.tolist(), strict=True) if pair in place]
    return np.array(chosen, dtype=np.int64)


def compare(true: np.ndarray, found: np.ndarray, threshold: float = MATCH_IOU) -> Agreement:
    """Count the objects of a field that were found.

    Objects cut by the border of the field are not judged: how much of them is in view is a matter of chance. A true
    object counts if it does not touch the border. A found object counts if it does not touch the border, or fits a
    true object that counts; one that fits a cut object is neither right nor false.

    Args:
        true: (H, W) labels, 0 for background.
        found: (H, W) labels, 0 for background.
        threshold: least IoU of a pair (inclusive).

    Returns:
        Counts over the objects that are judged.
    """
    pairs = overlaps(true, found)
    chosen = match(pairs, threshold)
    true_inner = ~np.isin(pairs.true_labels, border_labels(true))
    found_inner = ~np.isin(pairs.found_labels, border_labels(found))
    judged = chosen[true_inner[pairs.true[chosen]]]
    found_inner[pairs.found[chosen]] = False
    return Agreement(
        n_true=int(true_inner.sum()),
        n_found=int(found_inner.sum()) + judged.size,
        matched=judged.size,
        iou_sum=float(pairs.iou[judged].sum()),
    )


def splits_and_merges(pairs: Overlaps, cut: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Into how many parts each true object was split, and with how many others it was put into one.

    A found object is a part of a true one if at least INSIDE of it lies there and it covers at least PART of it. A true
    object is in a found one under the same condition with the roles exchanged.

    Args:
        pairs: as `overlaps` gives them.
        cut: (T,) bool, true objects that the field's border cuts: what nothing in view tells from its neighbour is
            not merged with it; None for none.

    Returns:
        parts: (T,) int64, found objects that are parts of the true one; a split from 2 on.
        sharing: (T,) int64, true objects, itself among them, in the found one that this one lies in; a merge from 2
            on, 0 where it lies in none.
    """
    of_true, of_found = pairs.shared / pairs.true_size[pairs.true], pairs.shared / pairs.found_size[pairs.found]
    is_part, is_in = (of_found >= INSIDE) & (of_true >= PART), (of_true >= INSIDE) & (of_found >= PART)
    parts = np.bincount(pairs.true[is_part], minlength=pairs.true_labels.size)
    if cut is not None:
        is_in &= ~cut[pairs.true]
    held = np.bincount(pairs.found[is_in], minlength=pairs.found_labels.size)
    sharing = np.zeros(pairs.true_labels.size, np.int64)
    # halves of an object may lie in two found ones: the fuller one counts
    np.maximum.at(sharing, pairs.true[is_in], held[pairs.found[is_in]])
    return parts, sharing


def border_labels(labels: np.ndarray) -> np.ndarray:
    """Numbers that occur in the outermost pixels of a label image (H, W), 0 left out."""
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.unique(edge[edge > 0])


def compare_points(true: np.ndarray, found: np.ndarray, distance: float) -> Agreement:
    """Match points one to one, as many pairs as can be, and of those the closest.

    Args:
        true: (T, 2) coordinates.
        found: (F, 2) coordinates, in the same unit.
        distance: farthest that two points of a pair may lie apart (inclusive).

    Returns:
        Counts; `iou_sum` is 0.
    """
    true, found = np.asarray(true, float).reshape(-1, 2), np.asarray(found, float).reshape(-1, 2)
    apart = np.hypot(*(true[:, None] - found[None]).transpose(2, 0, 1))
    near = apart <= distance
    score = np.where(near, 1 + (1 - apart / max(distance, 1e-12)) / (1 + near.sum()), 0)
    rows, columns = linear_sum_assignment(score, maximize=True)
    return Agreement(len(true), len(found), int(near[rows, columns].sum()))
