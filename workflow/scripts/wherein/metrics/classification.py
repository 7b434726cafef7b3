"""How right predicted locations are: precision, recall, F1 and AUC of each class, and what chance would give.

All functions take `truth` (N, K) bool, which unit has which class, and `scores` (N, K) float, higher for more likely. A
figure that is not defined (no unit has the class, or every one has it) is NaN.
"""

import numpy as np
import pandas as pd
from scipy.stats import rankdata


def class_scores(truth: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """Precision, recall and F1 of each class.

    precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN) (Paper 1, Methods, scoring). F1 is
    0 where a class that exists is never predicted rightly; precision is NaN where the class is never predicted, recall
    and F1 where no unit has it.

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
    """Mean F1 over the classes that some unit has (Paper 1's measure); NaN where there is none."""
    f1 = class_scores(truth, predicted)["f1"].dropna()
    return float(f1.mean()) if len(f1) else float("nan")


def micro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """F1 over all units and classes together; NaN where there is no label and no prediction."""
    total = truth.sum() + predicted.sum()
    return float(2 * (truth & predicted).sum() / total) if total else float("nan")


def baseline_macro_f1(truth: np.ndarray) -> float:
    """Macro F1 of labels drawn by their frequency, in expectation.

    A class that a share p of the units has is predicted for each unit with probability p. Of N units TP is N p p on
    average, FP and FN are each N p (1 - p), so that F1 of the averages is p.
    """
    share = truth.mean(axis=0) if len(truth) else np.zeros(0)
    share = share[share > 0]
    return float(share.mean()) if len(share) else float("nan")


def auc(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each class.

    The probability that a unit with the class scores higher than one without it, ties counting half (Mann and Whitney).

    Returns:
        (K,) float; NaN where all units have the class or none has it.
    """
    areas = np.full(truth.shape[1], np.nan)
    for k in range(truth.shape[1]):
        n = int(truth[:, k].sum())
        without = len(truth) - n
        if n and without:
            above = rankdata(scores[:, k])[truth[:, k]].sum() - n * (n + 1) / 2
            areas[k] = above / (n * without)
    return areas


def best_thresholds(truth: np.ndarray, scores: np.ndarray, otherwise: float = 0.5) -> np.ndarray:
    """The threshold of each class that gives the highest F1 when scores at or above it count as predicted.

    Args:
        truth: (N, K) bool.
        scores: (N, K) float.
        otherwise: threshold of a class that no unit has.

    Returns:
        (K,) float. A threshold lies in the middle between the lowest score that is taken and the next one below; of
        several that are equally good, the highest.
    """
    thresholds = np.full(truth.shape[1], otherwise)
    for k in range(truth.shape[1]):
        n = truth[:, k].sum()
        if n == 0:
            continue
        order = np.argsort(-scores[:, k], kind="stable")
        sorted_scores = scores[order, k]
        right = np.cumsum(truth[order, k])
        f1 = 2 * right / (n + np.arange(1, len(order) + 1))
        # equal scores are taken together or not at all
        last = np.append(sorted_scores[1:] < sorted_scores[:-1], True)
        f1 = np.where(last, f1, -1.0)
        best = int(np.argmax(f1))
        below = sorted_scores[best + 1] if best + 1 < len(order) else 0.0
        thresholds[k] = (sorted_scores[best] + min(below, sorted_scores[best])) / 2
    return thresholds
