"""Scores against simulated truth: what each cell really is, and what became of mislabelled samples.

Only the stage evaluate reads truth.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein import tables
from wherein.labels import NEGATIVE, Vocabulary
from wherein.metrics import classification
from wherein.models.scored import KEY, Scored
from wherein.segmentation.masks import read_masks


def score_truth(
    truth: Sequence[str],
    cells: Scored,
    fields: Scored,
    words: Vocabulary,
    ledger: pd.DataFrame,
    level: str,
) -> dict[str, Any]:
    """Scores against the simulated truth.

    Args:
        truth: folders results/truth/{shard}.
        cells: units with their probabilities.
        fields: the same by field.
        words: the vocabulary.
        ledger: ledgers of all shards.
        level: `cell` or `field`.

    Returns:
        For cells (where units are cells): n_units, macro_f1, micro_f1 against each cell's own locations, and
        n_unmatched (cells that lie on no drawn cell). For fields: the same against the protein's locations. And what
        became of mislabelled samples.
    """
    found: dict[str, Any] = {}
    field_truth = tables.read_tables([str(Path(folder) / "fields.parquet") for folder in truth])
    if level == "cell":
        found["cell"] = _cells(truth, cells, words, ledger)
    found["field"] = _fields(field_truth, fields, words)
    found["mislabelled"] = mislabelled(field_truth, fields, words)
    return found


def _cells(truth: Sequence[str], cells: Scored, words: Vocabulary, ledger: pd.DataFrame) -> dict[str, Any]:
    places = cells.units.merge(
        ledger[["cell_id", "y", "x", "nucleus_y", "nucleus_x"]], left_on="unit_id", right_on="cell_id", how="left"
    )
    own: list[list[str] | None] = [None] * len(places)
    simulated = np.zeros(len(places), bool)
    for folder in truth:
        drawn = tables.read_tables([str(Path(folder) / "cells.parquet")])
        locations = {(row.field_id, row.version, int(row.label)): list(row.locations) for row in drawn.itertuples()}
        known = {tuple(key) for key in tables.read_tables([str(Path(folder) / "fields.parquet")])[KEY].to_numpy()}
        for (field_id, version), part in places.groupby(KEY, sort=False):
            if (field_id, version) not in known:
                continue
            simulated[part.index] = True
            nucleus, cell = read_masks(Path(folder) / "masks.zarr", field_id, version)
            for place, label in zip(part.index, drawn_labels(part, nucleus, cell), strict=True):
                own[place] = locations.get((field_id, version, label))
    matched = np.array([found is not None for found in own], bool)
    return {**_scores(own, matched, cells, words), "n_unmatched": int((simulated & ~matched).sum())}


def drawn_labels(places: pd.DataFrame, nucleus: np.ndarray, cell: np.ndarray) -> list[int]:
    """Label of the drawn cell under each found cell: the nucleus under its nucleus' centre, else the cell there.

    Args:
        places: y, x, nucleus_y, nucleus_x in pixels, one row a found cell.
        nucleus: (H, W) drawn nuclei.
        cell: (H, W) drawn cells.

    Returns:
        Labels; 0 where nothing was drawn.
    """
    labels = []
    for row in places.itertuples():
        y, x = (row.y, row.x) if np.isnan(row.nucleus_y) else (row.nucleus_y, row.nucleus_x)
        if np.isnan(y) or np.isnan(x):
            labels.append(0)
            continue
        place = (min(round(y), nucleus.shape[0] - 1), min(round(x), nucleus.shape[1] - 1))
        labels.append(int(nucleus[place] or cell[place]))
    return labels


def _fields(field_truth: pd.DataFrame, fields: Scored, words: Vocabulary) -> dict[str, Any]:
    known = fields.units[KEY].merge(field_truth[[*KEY, "protein_locations"]], on=KEY, how="left")["protein_locations"]
    return _scores(known, known.notna().to_numpy(), fields, words)


def _scores(locations: Sequence[Any], known: np.ndarray, scored: Scored, words: Vocabulary) -> dict[str, Any]:
    """Scores of the units whose true locations are known; a control, which has none, is Negative."""
    terms = [list(value) if flag else [] for value, flag in zip(locations, known, strict=True)]
    matrix = words.indicator(terms)
    if NEGATIVE in words.classes:
        matrix[known & scored.units["control"].to_numpy(), words.classes.index(NEGATIVE)] = True
    rows = known & matrix.any(axis=1) & np.isfinite(scored.probabilities).all(axis=1)
    predicted = scored.probabilities[rows] >= scored.thresholds[rows]
    macro, micro = classification.macro_f1(matrix[rows], predicted), classification.micro_f1(matrix[rows], predicted)
    return {"n_units": int(rows.sum()), "macro_f1": _figure(macro), "micro_f1": _figure(micro)}


def mislabelled(field_truth: pd.DataFrame, fields: Scored, words: Vocabulary) -> dict[str, Any]:
    """What a model makes of samples whose published label is wrong.

    A field is the more suspicious, the less probable its published locations are: 1 minus their mean probability.

    Args:
        field_truth: truth/{shard}/fields.parquet of all shards.
        fields: fields with their probabilities.
        words: the vocabulary.

    Returns:
        n_fields (mislabelled ones that have a prediction), `truth_preferred` (those whose true locations are more
        probable than the published ones), `auc` (probability that a mislabelled field is more suspicious than a rightly
        labelled one; null without both), `fields` (their names).
    """
    known = fields.units[KEY].merge(field_truth[[*KEY, "protein_locations", "mislabelled"]], on=KEY, how="left")
    rows = known["protein_locations"].notna().to_numpy() & fields.scorable & ~fields.units["control"].to_numpy()
    real = words.indicator(
        [list(value) if flag else [] for value, flag in zip(known["protein_locations"], rows, strict=True)]
    )
    rows &= real.any(axis=1)
    wrong = known["mislabelled"].eq(True).to_numpy() & rows
    published = _mean_probability(fields.probabilities, fields.truth)
    area = classification.auc(wrong[rows][:, None], (1 - published[rows])[:, None])[0] if rows.any() else np.nan
    return {
        "n_fields": int(wrong.sum()),
        "truth_preferred": int((_mean_probability(fields.probabilities, real) > published)[wrong].sum()),
        "auc": _figure(area),
        "fields": sorted(fields.units.loc[wrong, "field_id"]),
    }


def _mean_probability(probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(N,) mean of the probabilities of each unit's classes, (N, K) bool."""
    count = classes.sum(axis=1)
    total = np.where(classes, probabilities, 0).sum(axis=1)
    return np.divide(total, count, out=np.zeros(len(count)), where=count > 0)


def _figure(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
