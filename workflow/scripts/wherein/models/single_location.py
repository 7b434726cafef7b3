"""The last layer tuned to fields with a single location, as for the comparison of a network with people.

Rumetshofer et al. 2019 (section 3.2) train the last layer of their network anew on fields of one location, so that it
names one class instead of judging each by itself. Below it nothing changes, so that its input, the stored vector, is
all that is needed: the layer is a linear map onto the classes under cross-entropy.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FEWEST = 2
"""Classes without which there is nothing to tell apart."""


class Round(NamedTuple):
    """One division of the fields.

    Attributes:
        learn: (N,) bool, fields that are learned from, if they have one location.
        tell: (N,) bool, fields that are predicted.
    """

    learn: np.ndarray
    tell: np.ndarray


def rounds_of_folds(fold: np.ndarray) -> list[Round]:
    """Each fold predicted by what was learned from the others; (N,) float, NaN for none (never used)."""
    known = np.isfinite(fold)
    return [Round(known & (fold != value), fold == value) for value in np.unique(fold[known])]


def rounds_of_parts(part: np.ndarray) -> list[Round]:
    """The test rows predicted by what was learned from the others; (N,) text, None for fields without a part."""
    test = part == "test"
    return [Round(np.isin(part, ["train", "validation"]), test)]


def tune_last_layer(vectors: np.ndarray, truth: np.ndarray, rounds: Iterable[Round], seed: int) -> np.ndarray:
    """Probabilities of a last layer that was tuned to fields with one location.

    Args:
        vectors: (N, D) vectors of the fields, NaN where unknown (the median stands in).
        truth: (N, K) bool, their published classes; fields with several are predicted but not learned from.
        rounds: what is learned from and what is predicted.
        seed: of the solver.

    Returns:
        (N, K) float32, rows sum to 1, classes that were not learned are 0; NaN for fields that no round predicts, or
        whose round has fewer than two classes to learn.
    """
    found = np.full(truth.shape, np.nan, np.float32)
    single = truth.sum(axis=1) == 1
    kind = truth.argmax(axis=1)
    for part in rounds:
        learn = part.learn & single
        if not part.tell.any() or len(np.unique(kind[learn])) < FEWEST:
            continue
        model = make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            StandardScaler(),
            LogisticRegression(max_iter=2000, random_state=seed),
        ).fit(vectors[learn], kind[learn])
        told = np.zeros((int(part.tell.sum()), truth.shape[1]), np.float32)
        told[:, model.classes_] = model.predict_proba(vectors[part.tell])
        found[part.tell] = told
    return found
