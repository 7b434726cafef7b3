"""What a labelled data set looks like: how many classes a unit has, which ones together, how unequal they are."""

import numpy as np
import pandas as pd


def cardinality(truth: np.ndarray) -> pd.DataFrame:
    """How many units have one class, two, and so on (Ouyang et al. 2019, Fig. 1c).

    Args:
        truth: (N, K) bool.

    Returns:
        `n_classes` (from 0, those that occur), `n` (units), `share`.
    """
    number, n = np.unique(truth.sum(axis=1), return_counts=True)
    return pd.DataFrame({"n_classes": number, "n": n, "share": n / max(len(truth), 1)})


def combinations(truth: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """The sets of classes that occur, the most frequent first; equal ones in the order of the vocabulary.

    Args:
        truth: (N, K) bool.
        classes: names of the K classes.

    Returns:
        `classes` (joined by `;`), `n_classes`, `n` (units); units without a class are left out.
    """
    columns = ["classes", "n_classes", "n"]
    labelled = truth[truth.any(axis=1)]
    if not len(labelled):
        return pd.DataFrame(columns=columns)
    sets, n = np.unique(labelled, axis=0, return_counts=True)
    found = pd.DataFrame(
        {
            "classes": [";".join(name for name, has in zip(classes, row, strict=True) if has) for row in sets],
            "n_classes": sets.sum(axis=1),
            "n": n,
        }
    )
    # np.unique sorts False first, so that the reverse is the vocabulary's order
    return found.iloc[::-1].sort_values("n", ascending=False, kind="stable").reset_index(drop=True)[columns]


def imbalance(truth: np.ndarray) -> float:
    """Units of the most frequent class over those of the rarest that some unit has; NaN without a class."""
    n = truth.sum(axis=0)
    n = n[n > 0]
    return float(n.max() / n.min()) if len(n) else float("nan")


def spread_over_folds(truth: np.ndarray, folds: np.ndarray, number: int) -> tuple[float, float]:
    """How unequally classes, and units, lie over folds.

    Label distribution: the mean over classes and folds of | ratio of units with the class to those without it in the
    fold - the same ratio in all |. Unit distribution: the mean over folds of | units in the fold - N / folds |
    (both from Sechidis, Tsoumakas and Vlahavas 2011).

    Args:
        truth: (N, K) bool.
        folds: (N,) int, from 0 to number - 1.
        number: folds.

    Returns:
        Label distribution and unit distribution, 0 where all folds are alike. A class that every unit of a fold has
        is left out of that fold.
    """
    share = np.stack([truth[folds == fold].sum(axis=0) for fold in range(number)]).astype(float)
    size = np.array([(folds == fold).sum() for fold in range(number)], float)
    whole = truth.sum(axis=0)
    named = (whole > 0) & (whole < len(truth))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = share / (size[:, None] - share)
        distance = np.abs(ratio - whole / (len(truth) - whole))[:, named]
    distance = distance[np.isfinite(distance)]
    return float(distance.mean()) if distance.size else 0.0, float(np.abs(size - size.mean()).mean())
