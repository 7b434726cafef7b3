"""How right predicted locations are: precision, recall, F1, AUC and average precision, and what chance would give.

All functions take `truth` (N, K) bool, which unit has which class, and `scores` (N, K) float, higher for more likely. A
figure that is not defined (no unit has the class, or every one has it) is NaN.
"""

import numpy as np
import pandas as pd
from scipy.stats import rankdata


def class_scores(truth: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """Precision, recall and F1 of each class.

    precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN) (Ouyang et al. 2019, Methods,
    scoring). F1 is 0 where a class that exists is never predicted rightly; precision is NaN where the class is never
    predicted, recall and F1 where no unit has it.

    Args:
        truth: (N, K) bool.
        predicted: (N, K) bool.

    Returns:
        One row a class: n, n_predicted (int), precision, recall, f1.
    """
    right = (truth & predicted).sum(axis=0).astype(float)
    n, n_predicted = truth.sum(axis=0), predicted.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(n_predicted > 0, right / n_predicted, np.nan)
        recall = np.where(n > 0, right / n, np.nan)
        f1 = np.where(n > 0, 2 * right / (n + n_predicted), np.nan)
    return pd.DataFrame({"n": n, "n_predicted": n_predicted, "precision": precision, "recall": recall, "f1": f1})


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 over the classes that some unit has (the measure of Ouyang et al. 2019); NaN where there is none."""
    f1 = class_scores(truth, predicted)["f1"].dropna()
    return float(f1.mean()) if len(f1) else float("nan")


def micro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """F1 over all units and classes together; NaN where there is no label and no prediction."""
    total = truth.sum() + predicted.sum()
    return float(2 * (truth & predicted).sum() / total) if total else float("nan")


def macro_scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Mean precision, recall and F1 over the classes that some unit has.

    A class that units have and that is never predicted counts with a precision of 0, so that a model cannot raise its
    mean by keeping silent.

    Args:
        truth: (N, K) bool.
        predicted: (N, K) bool.

    Returns:
        `precision`, `recall`, `f1`; NaN where no unit has a class.
    """
    found = class_scores(truth, predicted)
    found = found[found["n"] > 0].fillna({"precision": 0.0})
    return {name: float(found[name].mean()) if len(found) else float("nan") for name in ("precision", "recall", "f1")}


def unit_f1(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """F1 of each unit's own set of classes, 2 |both| / (|true| + |predicted|); NaN where both are empty.

    Args:
        truth: (N, K) bool.
        predicted: (N, K) bool.

    Returns:
        (N,) float.
    """
    total = truth.sum(axis=1) + predicted.sum(axis=1)
    both = 2.0 * (truth & predicted).sum(axis=1)
    return np.divide(both, total, out=np.full(len(truth), np.nan), where=total > 0)


def confusion(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Which class units of one class are taken for: the most probable one (Rumetshofer et al. 2019, Fig. 4).

    Args:
        truth: (N, K) bool, exactly one class a unit.
        scores: (N, K) float.

    Returns:
        (K, K) int, rows the true class, columns the most probable one.

    Raises:
        ValueError: a unit has no class, or several.
    """
    if (truth.sum(axis=1) != 1).any():
        raise ValueError("a confusion matrix is of units with exactly one class; leave the others out")
    matrix = np.zeros((truth.shape[1], truth.shape[1]), np.int64)
    if len(truth):
        np.add.at(matrix, (truth.argmax(axis=1), scores.argmax(axis=1)), 1)
    return matrix


def curve(truth: np.ndarray, scores: np.ndarray, most: int) -> pd.DataFrame:
    """Precision and recall of one class at falling thresholds.

    Args:
        truth: (N,) bool.
        scores: (N,) float.
        most: points to keep, spread evenly over recall; the first and the last are among them.

    Returns:
        `threshold`, `precision`, `recall`, by falling threshold; no row where no unit has the class.
    """
    names = ["threshold", "precision", "recall"]
    if not truth.any():
        return pd.DataFrame(columns=names, dtype=float)
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    right = np.cumsum(truth[order])[last]
    found = pd.DataFrame(
        {"threshold": ordered[last], "precision": right / (last + 1), "recall": right / right[-1]}, columns=names
    )
    if len(found) <= most:
        return found
    wanted = np.searchsorted(found["recall"], np.linspace(0, 1, most))
    return found.iloc[np.unique(np.append(np.minimum(wanted, len(found) - 1), [0, len(found) - 1]))]


def baseline_macro_f1(truth: np.ndarray) -> float:
    """Macro F1 of labels drawn by their frequency, in expectation.

    A class that a share p of the units has is predicted for each unit with probability p. Of N units TP is N p p on
    average, FP and FN are each N p (1 - p), so that F1 of the averages is p.
    """
    share = truth.mean(axis=0) if len(truth) else np.zeros(0)
    share = share[share > 0]
    return float(share.mean()) if len(share) else float("nan")


def auc(truth: np.ndarray, scores: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve of each class.

    The probability that a unit with the class scores higher than one without it, ties counting half (Mann and Whitney).
    Scores of different classifiers have no common scale, so that with groups only units of one group are compared: the
    area is the mean over the groups, weighted by the number of such pairs.

    Args:
        truth: (N, K) bool.
        scores: (N, K) float.
        groups: (N,) the classifier that each unit's scores are from; None for one.

    Returns:
        (K,) float; NaN where no pair of units can be compared.
    """
    groups = np.zeros(len(truth)) if groups is None else groups
    above, pairs = np.zeros(truth.shape[1]), np.zeros(truth.shape[1])
    for group in np.unique(groups):
        rows = groups == group
        have, values = truth[rows], scores[rows]
        n = have.sum(axis=0)
        ranks = rankdata(values, axis=0) if len(values) else values
        above += (ranks * have).sum(axis=0) - n * (n + 1) / 2
        pairs += n * (len(have) - n)
    return np.divide(above, pairs, out=np.full(truth.shape[1], np.nan), where=pairs > 0)


def average_precision(truth: np.ndarray, scores: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Area under the steps of precision over recall of each class.

    The sum over thresholds of the gain in recall times the precision there, without interpolation; equal scores pass a
    threshold together. With groups it is taken within each and averaged, weighted by the group's units of the class.

    Args:
        truth: (N, K) bool.
        scores: (N, K) float.
        groups: (N,) the classifier that each unit's scores are from; None for one.

    Returns:
        (K,) float; NaN where no unit has the class.
    """
    groups = np.zeros(len(truth)) if groups is None else groups
    total, n = np.zeros(truth.shape[1]), truth.sum(axis=0)
    for group in np.unique(groups):
        rows = groups == group
        for k in np.flatnonzero(truth[rows].any(axis=0)):
            steps = curve(truth[rows, k], scores[rows, k], len(truth))
            gained = np.diff(steps["recall"], prepend=0.0)
            total[k] += truth[rows, k].sum() * (gained * steps["precision"]).sum()
    return np.divide(total, n, out=np.full(truth.shape[1], np.nan), where=n > 0)


def ratio_thresholds(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The threshold of each class at which as many units are predicted to have it as do.

    The winners of the competition of Ouyang et al. 2019 chose theirs by the label ratio of the training set (Methods,
    team 1). The threshold of highest F1 is no good choice for a class that is hard to tell: it predicts the class for
    every unit.

    Args:
        truth: (N, K) bool.
        scores: (N, K) float, 0 for a class that is ruled out.

    Returns:
        (K,) float, in the middle between the lowest score that is taken and the next one below; NaN, which no score
        reaches, for a class that no unit has.
    """
    thresholds = np.full(truth.shape[1], np.nan)
    for k, n in enumerate(truth.sum(axis=0)):
        values = np.sort(scores[:, k])[::-1]
        # a score of 0 rules a class out, however few units reach more
        taken = min(int(n), int((values > 0).sum()))
        if n == 0:
            continue
        if taken == 0:
            thresholds[k] = np.nextafter(values[0], np.inf) if len(values) else np.nan
        else:
            below = values[taken] if taken < len(values) else 0.0
            thresholds[k] = (values[taken - 1] + below) / 2
            # with equal scores on both sides of the cut all of them are taken
            thresholds[k] = min(max(thresholds[k], np.nextafter(0, 1)), values[taken - 1])
    return thresholds
