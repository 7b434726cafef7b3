"""Probabilities from which a class counts as predicted, chosen on rows that the network did not learn from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from wherein import tables
from wherein.metrics.classification import ratio_thresholds

FIXED = 0.5
"""Where nothing can be chosen: a class that no validation row has."""

COLUMNS = ("class", "n_train", "n_validation", "validation_f1", "label_ratio")


def f1_thresholds(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The threshold of each class with the best F1; of several the one that predicts fewest units.

    Args:
        truth: (N, K) bool.
        scores: (N, K) float.

    Returns:
        (K,) float, in the middle between the lowest score that is taken and the next one below; FIXED for a class that
        no unit has.
    """
    chosen = np.full(truth.shape[1], FIXED)
    for k in np.flatnonzero(truth.any(axis=0)):
        order = np.argsort(-scores[:, k], kind="stable")
        values, hits = scores[order, k].astype(np.float64), np.cumsum(truth[order, k])
        taken = np.arange(1, len(values) + 1)
        f1 = 2 * hits / (taken + hits[-1])
        # equal scores are taken together
        ends = np.append(values[1:] != values[:-1], True)
        best = int(np.argmax(np.where(ends, f1, -1.0)))
        below = values[best + 1] if best + 1 < len(values) else 0.0
        chosen[k] = (values[best] + below) / 2
    return chosen


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
    counted = np.arange(len(scores))[:, None] < wanted
    found = ratio_thresholds(counted, scores)
    return np.where(np.isnan(found), FIXED, found)


def threshold_table(classes: Sequence[str], trained: np.ndarray, truth: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    """All thresholds of a model.

    Args:
        classes: names of the K classes.
        trained: (M, K) bool, labels of the training rows.
        truth: (N, K) bool, labels of the validation rows.
        scores: (N, K) float32, what the model says of these.

    Returns:
        COLUMNS, one row a class.
    """
    return pd.DataFrame(
        {
            "class": list(classes),
            "n_train": trained.sum(axis=0),
            "n_validation": truth.sum(axis=0),
            "validation_f1": f1_thresholds(truth, scores),
            "label_ratio": train_ratio_thresholds(trained, scores),
        }
    )


def write_thresholds(path: str | Path, table: pd.DataFrame) -> None:
    """Write results/models/{model}/thresholds.tsv."""
    tables.write_tsv(path, table, COLUMNS)


def read_thresholds(path: str | Path, classes: Sequence[str], which: str | float) -> np.ndarray:
    """Thresholds of some classes.

    Args:
        path: results/models/{model}/thresholds.tsv.
        classes: names.
        which: `validation_f1`, `label_ratio`, or a number for all.

    Returns:
        (K,) float64.
    """
    if not isinstance(which, str):
        return np.full(len(classes), float(which))
    table = pd.read_csv(path, sep="\t").set_index("class")
    return table.loc[list(classes), which].to_numpy(np.float64)
