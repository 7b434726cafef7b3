"""Classifiers on vectors: what learns locations from a model that predicts none itself."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LOG = logging.getLogger(__name__)


def out_of_fold(
    vectors: np.ndarray,
    truth: np.ndarray,
    usable: np.ndarray,
    units: pd.DataFrame,
    evaluation: Mapping[str, Any],
    threads: int,
) -> tuple[np.ndarray, list[str]]:
    """Probabilities of every unit from classifiers that were trained without its fold.

    Args:
        vectors: (N, D) float32, NaN where unknown.
        truth: (N, K) bool.
        usable: (N,) bool, units whose classes and fold are known. Others get the mean over the classifiers of all
            folds.
        units: `field_id`, `version`, `fold`, `gene_group`, `unit_id` of each unit.
        evaluation: `classifier`, `trees`, `leaf_cells`, `cells_per_field`, `seed`.
        threads: processes.

    Returns:
        probabilities: (N, K) float32; NaN for units that no classifier could be trained for. A class that the other
            folds do not have is 0.
        notes: which folds could not be predicted, and why.
    """
    probabilities = np.full(truth.shape, np.nan, np.float32)
    rest, n_rest = np.zeros(truth.shape), 0
    notes: list[str] = []
    folds = units["fold"].to_numpy(float)
    known = vectors.shape[1] > 0 and usable.any()
    for fold in np.unique(folds[usable]) if known else []:
        held_out = usable & (folds == fold)
        drawn = draw(usable & ~held_out, units, evaluation["cells_per_field"], evaluation["seed"])
        reason = untrainable(truth[drawn], units.iloc[drawn])
        if reason:
            notes.append(f"fold {int(fold)} is not predicted: {reason}")
            continue
        model = fit(vectors[drawn], truth[drawn], evaluation, threads)
        probabilities[held_out] = model(vectors[held_out])
        if (~usable).any():
            rest[~usable] += model(vectors[~usable])
            n_rest += 1
        LOG.info("fold %d: trained on %d units, predicted %d", int(fold), len(drawn), held_out.sum())
    if n_rest:
        probabilities[~usable] = rest[~usable] / n_rest
    if not known:
        notes.append("nothing is predicted: no unit has both a vector and a known location")
    return probabilities, notes


def untrainable(truth: np.ndarray, units: pd.DataFrame) -> str | None:
    """Why a classifier cannot be trained on these units, in words; None if it can."""
    genes = units["gene_group"].nunique()
    if genes < 2:
        return f"the other folds have {genes} gene groups with a known location, a classifier needs 2"
    if not any(0 < n < len(truth) for n in truth.sum(axis=0)):
        return "all units of the other folds have the same locations"
    return None


def draw(rows: np.ndarray, units: pd.DataFrame, most: int, seed: int) -> np.ndarray:
    """At most `most` units of each field, drawn by the seed.

    Args:
        rows: (N,) bool, what to draw from.
        units: `field_id`, `version` of each unit.
        most: units of one field.
        seed: of the draw.

    Returns:
        Sorted indices.
    """
    index = np.flatnonzero(rows)
    shuffled = np.random.default_rng(seed).permutation(index)
    place = units.iloc[shuffled].groupby(["field_id", "version"], sort=False).cumcount().to_numpy()
    return np.sort(shuffled[place < most])


def sample_weights(truth: np.ndarray) -> np.ndarray:
    """Weight of each unit such that rare classes count as much as common ones.

    A class weighs N / (K n), as scikit-learn's `balanced`; a unit weighs the mean over its classes. (Scikit-learn's own
    balancing of several outputs multiplies the weights of all of them, which leaves a few units to rule the forest.)

    Args:
        truth: (N, K) bool.

    Returns:
        (N,) float64; 1 for a unit without a class.
    """
    n = truth.sum(axis=0)
    weight = np.divide(len(truth), max((n > 0).sum(), 1) * n, out=np.zeros(len(n)), where=n > 0)
    count = truth.sum(axis=1)
    return np.divide(truth @ weight, count, out=np.ones(len(truth)), where=count > 0)


def fit(vectors: np.ndarray, truth: np.ndarray, evaluation: Mapping[str, Any], threads: int) -> Any:
    """Train a classifier.

    Args:
        vectors: (N, D), NaN where unknown: the median of the training units stands in.
        truth: (N, K) bool.
        evaluation: `classifier`, `trees`, `leaf_cells`, `seed`.
        threads: processes.

    Returns:
        A function from vectors (M, D) to probabilities (M, K); a class that no or every unit has gets 0 or 1.
    """
    varied = [k for k in range(truth.shape[1]) if 0 < truth[:, k].sum() < len(truth)]
    filled = SimpleImputer(strategy="median", keep_empty_features=True)
    wanted = truth[:, varied] if len(varied) > 1 else truth[:, varied[0]]
    if evaluation["classifier"] == "random_forest":
        learner = RandomForestClassifier(
            n_estimators=evaluation["trees"],
            min_samples_leaf=evaluation["leaf_cells"],
            random_state=evaluation["seed"],
            n_jobs=threads,
        )
        pipeline = make_pipeline(filled, learner)
        pipeline.fit(vectors, wanted, randomforestclassifier__sample_weight=sample_weights(truth))
    else:
        one = LogisticRegression(class_weight="balanced", max_iter=1000, random_state=evaluation["seed"])
        learner = OneVsRestClassifier(one, n_jobs=threads)
        pipeline = make_pipeline(filled, StandardScaler(), learner).fit(vectors, truth[:, varied])

    def predict(given: np.ndarray) -> np.ndarray:
        found = np.tile(truth.all(axis=0).astype(np.float32), (len(given), 1))
        values = pipeline.predict_proba(given)
        if isinstance(values, list):
            values = np.stack([value[:, 1] for value in values], axis=1)
        # of a single output scikit-learn gives the probabilities of both sides
        found[:, varied] = values[:, 1:] if len(varied) == 1 and values.shape[1] == 2 else values
        return found

    return predict
