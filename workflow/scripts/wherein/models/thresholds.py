"""Probabilities from which a class counts as predicted, chosen on rows that the network did not learn from.

Or on those that it learned from, where that is asked for.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from wherein.metrics.classification import ratio_thresholds

FIXED = 0.5
"""Where nothing can be chosen: no validation row has any class, or, by label ratio, too few to have this one."""

SURE = 1e-3
"""Probabilities count as this far from 0 and 1: how sure a network is of what it learned by heart says nothing."""

BINS = 2001
"""Steps of the logit from which thresholds are chosen, 0.007 apart."""

OFFSET_SPREAD, SLOPE_SPREAD = 0.3, 0.1
"""Standard deviations of a class's own offset and logarithmic slope around those of all classes. Chosen among 0.3, 1
and 2 and among 0.1, 0.3 and 0.5 by scores on validation genes that were left out, and by simulation (docs/networks.md,
Thresholds)."""

COMMON_OFFSET_SPREAD, COMMON_SLOPE_SPREAD = 3.0, 2.0
"""The same of what all classes have in common, around probabilities as they are: wide, so that rows decide."""


class Counts(NamedTuple):
    """Units of each class by the logit of their probability.

    Attributes:
        logits: (BINS,) middles of the steps, rising.
        with_class: (K, BINS) units that have the class, each with its weight.
        without: (K, BINS) those that have it not.
    """

    logits: np.ndarray
    with_class: np.ndarray
    without: np.ndarray


class Learned(NamedTuple):
    """What a model says of rows that it learned from.

    Attributes:
        truth: (M, K) bool, their labels.
        scores: (M, K) probabilities.
        weights: (M,) what a row weighs; None for 1.
    """

    truth: np.ndarray
    scores: np.ndarray
    weights: np.ndarray | None = None


def counted(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> Counts:
    """Count units by the logit of their probability.

    Args:
        truth: (N, K) bool.
        scores: (N, K) probabilities.
        weights: (N,) what a unit weighs; None for 1.
    """
    end = np.log((1 - SURE) / SURE)
    kept = np.clip(scores.astype(np.float64), SURE, 1 - SURE)
    places = np.rint((np.log(kept) - np.log1p(-kept) + end) / (2 * end) * (BINS - 1)).astype(int)
    found = np.zeros((2, truth.shape[1], BINS))
    for k in range(truth.shape[1]):
        for side, rows in enumerate((truth[:, k], ~truth[:, k])):
            own = None if weights is None else weights[rows]
            found[side, k] = np.bincount(places[rows, k], own, BINS)
    return Counts(np.linspace(-end, end, BINS), found[0], found[1])


def recalibrated(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """Slope and offset of each class that make probabilities of logits (Platt 1999), those of one class held to all's.

    A class has few validation rows, of two or three genes often. Its own slope and offset would follow these rows; held
    to what all classes have in common by normal priors, they follow them only as far as many rows say the same.

    Args:
        counts: as `counted` gives them.

    Returns:
        (K,) slopes, above 0, and (K,) offsets, of the maximum a posteriori; the probability of a class is the logistic
        function of slope x logit + offset.
    """
    classes = len(counts.with_class)
    every = counts.with_class + counts.without

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        slope, offset, slopes, offsets = values[0], values[1], values[2 : 2 + classes], values[2 + classes :]
        factor = np.exp(slope + slopes)[:, None]
        sums = factor * counts.logits + (offset + offsets)[:, None]
        off = every / (1 + np.exp(-sums)) - counts.with_class
        by_slope, by_offset = (off * factor * counts.logits).sum(axis=1), off.sum(axis=1)
        spreads = np.array([COMMON_SLOPE_SPREAD, COMMON_OFFSET_SPREAD, *[SLOPE_SPREAD] * classes,
                            *[OFFSET_SPREAD] * classes])  # fmt: skip
        value = (every * np.logaddexp(0, sums) - counts.with_class * sums).sum() + ((values / spreads) ** 2).sum() / 2
        return value, np.concatenate([[by_slope.sum(), by_offset.sum()], by_slope, by_offset]) + values / spreads**2

    found = minimize(loss, np.zeros(2 + 2 * classes), jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    return np.exp(found[0] + found[2 : 2 + classes]), found[1] + found[2 + classes :]


def f1_thresholds(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The threshold of each class with the best F1 to be expected of other units like these.

    The best threshold on the rows themselves is no good one where they are few: it lies wherever the last of three
    genes happens to. So probabilities are recalibrated first (`recalibrated`), and the threshold is where they are half
    of the best F1 that they let expect (Lipton et al. 2014, theorem 1), counted on these units.

    Args:
        truth: (N, K) bool.
        scores: (N, K) probabilities.
        weights: (N,) what a unit weighs for the recalibration, less than 1 for cells of one field; None for 1.

    Returns:
        (K,) float, from SURE to 1 - SURE; FIXED where no unit has any class. A class that no unit has takes what all
        classes have in common.
    """
    chosen = np.full(truth.shape[1], FIXED)
    if not truth.any():
        return chosen
    slopes, offsets = recalibrated(counted(truth, scores, weights))
    counts = counted(truth, scores)
    number = counts.with_class + counts.without
    sums = slopes[:, None] * counts.logits + offsets[:, None]
    for k in range(truth.shape[1]):
        half = best_expected_f1(number[k], 1 / (1 + np.exp(-sums[k]))) / 2
        cut = (np.log(half) - np.log1p(-half) - offsets[k]) / slopes[k]
        chosen[k] = np.clip(1 / (1 + np.exp(-cut)), SURE, 1 - SURE)
    return chosen


def best_expected_f1(number: np.ndarray, probabilities: np.ndarray) -> float:
    """The best F1 over all thresholds, with expected counts in the place of counts.

    Args:
        number: (B,) units with each probability.
        probabilities: (B,) rising.
    """
    hits, taken = (number * probabilities)[::-1].cumsum(), number[::-1].cumsum()
    return float((2 * hits / (taken + hits[-1])).max())


def train_ratio_thresholds(trained: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The threshold of each class at which as large a share of units is predicted as had it in training.

    Ouyang et al. 2019 (methods, team 1), on scores of units that were not learned from.

    Args:
        trained: (M, K) bool, labels of the training rows.
        scores: (N, K) float.

    Returns:
        (K,) float; FIXED where that share is less than one unit.
    """
    wanted = np.rint(trained.mean(axis=0) * len(scores)).astype(int)
    # the function counts labels alone: so many units, whichever
    counted_so = np.arange(len(scores))[:, None] < wanted
    found = ratio_thresholds(counted_so, scores)
    return np.where(np.isnan(found), FIXED, found)


def choose_thresholds(
    which: str | float,
    trained: np.ndarray,
    truth: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray | None = None,
    learned: Learned | None = None,
) -> np.ndarray:
    """Thresholds of a model.

    Args:
        which: `validation_f1`, `train_f1` (Rumetshofer et al. 2019, section 3, FCN-Seg: "the threshold for each class
            is optimized on the training set"), `label_ratio`, or a number for all.
        trained: (M, K) bool, labels of the training rows.
        truth: (N, K) bool, labels of the validation rows.
        scores: (N, K) float32, what the model says of these.
        weights: (N,) what a validation row weighs; None for 1.
        learned: what the model says of the training rows; `train_f1` needs it.

    Returns:
        (K,) float64.

    Raises:
        ValueError: `train_f1` without what the model says of the training rows.
    """
    if not isinstance(which, str):
        return np.full(truth.shape[1], float(which))
    if which == "label_ratio":
        return train_ratio_thresholds(trained, scores)
    if which == "train_f1":
        if learned is None:
            raise ValueError("threshold train_f1: nothing is known of what the model says of the training rows")
        return f1_thresholds(*learned)
    return f1_thresholds(truth, scores, weights)
