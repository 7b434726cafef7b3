"""The rule break_down: what a model's scores are made of, and how it stands beside people.

It reads the scored fields that the rule evaluate leaves, so that a change here trains no classifier anew.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wherein import tables
from wherein.atomic import write_json
from wherein.embeddings import read_embeddings
from wherein.labels import Vocabulary
from wherein.models.annotated import JUDGE_COLUMNS, UNIT_COLUMNS, beside_people, read_annotations
from wherein.models.scored import KEY
from wherein.models.single_location import rounds_of_folds, rounds_of_parts, tune_last_layer
from wherein.models.statistics import (
    CURVE_COLUMNS,
    GROUP_COLUMNS,
    TEST_COLUMNS,
    Fields,
    confusion_table,
    curve_table,
    group_table,
    group_tests,
    learned_from_table,
    learned_in_folds,
    mean_vectors,
    read_fields,
    tuned_scores,
)
from wherein.summary import stage_summary

LOG = logging.getLogger(__name__)

MOST_PROBABLE, TUNED = "most probable", "last layer tuned"
"""Answers of a model on fields with one location, as confusion.tsv names them."""


def break_down(
    model: str,
    scored: str,
    fields: str,
    split: str,
    embeddings: Sequence[str],
    training: Sequence[str],
    annotations: str | None,
    evaluation: Mapping[str, Any],
    outputs: Mapping[str, str],
    summary: str,
) -> None:
    """Break a model's scores down.

    Args:
        model: the model's name.
        scored: results/evaluation/{model}/fields.parquet.
        fields: fields.parquet of the catalog.
        split: split.parquet.
        embeddings: the model's vectors.
        training: its training table, where it is trained here; the first of several counts.
        annotations: the table of people's annotations; None or empty for none.
        evaluation: the configuration's section `evaluate`.
        outputs: paths of `groups`, `tests`, `curves`, `confusion`, `judges`, `annotated`, `breakdown`.
        summary: the job's summary.
    """
    with stage_summary(summary, "break_down", model, ("numpy", "scipy", "scikit-learn")) as report:
        found, words = read_fields(scored)
        draws, seed = evaluation["draws"], evaluation["seed"]
        catalog = tables.current_fields(fields)
        table = tables.read_tables([training[0]]) if training else None
        learned = learned_in_folds(found, words) if table is None else learned_from_table(table, catalog, words)
        tables.write_tsv(outputs["groups"], group_table(found, learned, words, draws, seed), GROUP_COLUMNS)
        tables.write_tsv(outputs["tests"], group_tests(found), TEST_COLUMNS)
        tables.write_tsv(outputs["curves"], curve_table(found, words), CURVE_COLUMNS)
        tuned = tuned_probabilities(found, embeddings, split, table, words, seed)
        answers = {MOST_PROBABLE: found.probabilities, TUNED: tuned}
        matrix = [confusion_table(found.truth, own, words).assign(answer=name) for name, own in answers.items()]
        tables.write_tsv(
            outputs["confusion"], pd.concat(matrix, ignore_index=True), ["answer", "class", *words.classes]
        )
        network = table is not None or not (found.folds >= 0).any()
        people = _people(annotations, found, tuned if network else None, words, seed, embeddings)
        tables.write_tsv(outputs["judges"], people.judges, JUDGE_COLUMNS)
        tables.write_tsv(outputs["annotated"], people.fields, UNIT_COLUMNS)
        told = {
            "model": model,
            "vocabulary": words.name,
            "tuned": tuned_scores(found.truth, found.probabilities, tuned),
        }
        write_json(outputs["breakdown"], {**told, "people": people.told})
        report.counts = {"in": len(found.truth), "kept": len(found.truth)}
        report.notes += people.told["notes"] if people.told else []


def tuned_probabilities(
    found: Fields,
    embeddings: Sequence[str],
    split: str,
    table: pd.DataFrame | None,
    words: Vocabulary,
    seed: int,
) -> np.ndarray:
    """(N, K) probabilities of the scored fields from a last layer that was tuned to fields with one location.

    A network that was trained here is tuned on its own training and validation rows; for any other, each fold is
    predicted by what was learned from the others.

    Args:
        found: the scored fields.
        embeddings: the model's vectors.
        split: split.parquet.
        table: the model's training table; None where it has none.
        words: the vocabulary.
        seed: of the solver.
    """
    units, vectors, _, _, _ = read_embeddings(embeddings)
    places = units.groupby(KEY, sort=False).indices
    means = pd.DataFrame(mean_vectors(vectors, places.values()))
    means[KEY] = list(places) if places else pd.DataFrame(columns=KEY)
    if table is None:
        folds = tables.read_tables([split], [*KEY, "gene_fold"])
        rows = found.units[KEY].merge(folds, on=KEY, how="left")
        truth, rounds = found.truth, rounds_of_folds(rows["gene_fold"].to_numpy(float))
    else:
        classes = [name for name in words.classes if name in table]
        rows = table.groupby([*KEY, "part"], as_index=False)[classes].max()
        truth = rows.reindex(columns=list(words.classes), fill_value=False).to_numpy(bool)
        rounds = rounds_of_parts(rows["part"].to_numpy(str))
    own = rows[KEY].merge(means, on=KEY, how="left").drop(columns=KEY).to_numpy(np.float32)
    told = pd.DataFrame(tune_last_layer(own, truth, rounds, seed), columns=list(words.classes))
    if table is None:
        return told.to_numpy(np.float64)
    test = (rows["part"] == "test").to_numpy()
    back = found.units[KEY].merge(pd.concat([rows[KEY], told], axis=1)[test], on=KEY, how="left")
    return back[list(words.classes)].to_numpy(np.float64)


class _People(NamedTuple):
    judges: pd.DataFrame
    fields: pd.DataFrame
    told: dict[str, Any] | None


def _people(
    annotations: str | None,
    found: Fields,
    tuned: np.ndarray | None,
    words: Vocabulary,
    seed: int,
    embeddings: Sequence[str],
) -> _People:
    """The model beside people; a network answers by its tuned last layer, where that can tell all their fields."""
    if not annotations:
        return _People(pd.DataFrame(columns=JUDGE_COLUMNS), pd.DataFrame(columns=UNIT_COLUMNS), None)
    table = read_annotations(annotations)
    judged = table.loc[table["cell_id"] == "", "field_id"]
    asked = found.units["field_id"].isin(judged).to_numpy()
    whole = tuned is not None and bool(asked.any()) and bool(np.isfinite(tuned[asked]).all())
    answers = tuned if tuned is not None and whole else found.probabilities
    described = set(tables.read_tables(embeddings, ["unit_id"])["unit_id"])
    judges, fields, told = beside_people(table, found.units, found.truth, answers, words, seed, described)
    return _People(judges, fields, {**told, "answer": TUNED if whole else MOST_PROBABLE})
