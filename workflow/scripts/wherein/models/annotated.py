"""A model beside people who annotated the same fields (Rumetshofer et al. 2019, sections 3.2 and 4)."""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.labels import Vocabulary, spelling
from wherein.metrics.paired import mcnemar
from wherein.metrics.people import agreement, majority, rightness
from wherein.models.scored import KEY

UNITS = ("field_id", "cell_id")
"""Columns that say what was judged; a table has one of them or both."""

NEEDED = ["annotator", "locations"]

JUDGE_COLUMNS = [
    "judge",
    "group",
    "n",
    "accuracy",
    "f1",
    "precision",
    "recall",
    "both",
    "model_only",
    "judge_only",
    "neither",
    "p",
    "p_exact",
]

UNIT_COLUMNS = [*KEY, "published", "model", "n_people", "n_right", "kind", "answers"]

BOTH_WRONG, PEOPLE_WRONG, MODEL_WRONG = "both_wrong", "people_wrong", "model_wrong"
"""Fields for the gallery: that the model and all people got wrong, that all people did, that the model alone did."""


class AnnotationError(ValueError):
    """A table of annotations that cannot be read."""


def read_annotations(path: str) -> pd.DataFrame:
    """Read a table of people's annotations.

    Args:
        path: CSV, or TSV by its name: `field_id` or, where a single cell was judged, `cell_id` (a table may have
            both), `annotator`, `locations` (separated by `;`), and `group` (expert, scholar; one group without it).

    Returns:
        These five columns as text, `cell_id` empty where a whole field was judged, `locations` as lists.

    Raises:
        AnnotationError: a column is missing, an annotator is empty, a row names neither a field nor a cell, or a cell
            of another field, or a person judged one of them twice.
    """
    table = pd.read_csv(path, sep="\t" if Path(path).suffix == ".tsv" else ",", dtype=str, keep_default_na=False)
    missing = [name for name in NEEDED if name not in table]
    missing = [*missing, *([] if any(name in table for name in UNITS) else ["field_id (or cell_id)"])]
    if missing:
        raise AnnotationError(
            f"{path}: found the columns {', '.join(table.columns)}; annotations need field_id, or cell_id where people "
            f"judged single cells, {', '.join(NEEDED)}, and group where people are of different kinds: "
            f"add {', '.join(missing)}"
        )
    table = table.assign(**{name: table.get(name, "") for name in UNITS})
    _check_rows(path, table)
    table["locations"] = [[term for term in text.split(";") if term.strip()] for text in table["locations"]]
    return table.assign(group=table["group"].replace("", "people") if "group" in table else "people")[
        [*UNITS, "annotator", "group", "locations"]
    ]


def _check_rows(path: str, table: pd.DataFrame) -> None:
    cells, fields = (table["cell_id"] != "").to_numpy(), (table["field_id"] != "").to_numpy()
    pairs = zip(table["field_id"], table["cell_id"], strict=True)
    elsewhere = np.array([not cell.startswith(f"{field}@") for field, cell in pairs], bool)
    wrong = {
        "annotator is empty; every annotation says whose it is of what": (table["annotator"] == "").to_numpy(),
        "field_id and cell_id are empty; every annotation says what was judged": ~fields & ~cells,
        "the cell is of another field; leave field_id empty, or name the cell's own": fields & cells & elsewhere,
    }
    for said, rows in wrong.items():
        if rows.any():
            raise AnnotationError(f"{path}, line {int(np.flatnonzero(rows)[0]) + 2}: {said}")
    judged = table["field_id"].where(~cells, table["cell_id"])
    twice = pd.DataFrame({"judged": judged, "annotator": table["annotator"], "cells": cells}).duplicated()
    if twice.any():
        first = int(np.flatnonzero(twice)[0])
        raise AnnotationError(
            f"{path}: {table['annotator'].iloc[first]} annotates the {'cell' if cells[first] else 'field'} "
            f"{judged.iloc[first]} twice ({int(twice.sum())} such rows); put all locations of one into one row, "
            "separated by `;`"
        )


def beside_people(
    annotations: pd.DataFrame,
    units: pd.DataFrame,
    truth: np.ndarray,
    probabilities: np.ndarray,
    words: Vocabulary,
    seed: int,
    described: Collection[str],
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Compare a model with people on the fields of one location that they annotated, and people with each other.

    Args:
        annotations: field_id, cell_id (empty where a field was judged), annotator, group, locations (lists).
        units: field_id, version of each field.
        truth: (N, K) bool, the published classes.
        probabilities: (N, K), the model's; the most probable class is its answer.
        words: the vocabulary.
        seed: of the draws that decide ties, and of the deals that measure agreement by chance.
        described: ids of all units that the model describes, among which annotated cells, or the field versions that
            they are in, should be.

    Returns:
        judges: one row for the model, each person, the mean and the vote of each group (JUDGE_COLUMNS); McNemar's
            test against the model on the judge's own fields.
        fields: one row a field (UNIT_COLUMNS).
        told: `n_fields`, `n_cells` (annotated), `agreement` and `agreement_of_cells` (of the people, over the fields
            and the cells of the whole table; None where none was judged), `notes`.
    """
    fields, cells = (annotations[(annotations["cell_id"] == "") == whole] for whole in (True, False))
    known = fields[fields["field_id"].isin(units["field_id"])]
    people = list(dict.fromkeys(known["annotator"]))
    judged, given = _judgements(known, "field_id", people, units["field_id"], words.indicator)
    notes = _notes(fields, known, cells, described, words)
    told = {
        "n_fields": 0,
        "n_cells": int(cells["cell_id"].nunique()),
        "agreement": agreed(fields, "field_id", words, seed),
        "agreement_of_cells": agreed(cells, "cell_id", words, seed),
        "notes": notes,
    }
    single = (truth.sum(axis=1) == 1) & np.isfinite(probabilities).all(axis=1) & given.any(axis=0)
    if not single.any():
        notes.append("no annotated field has a single published location and a prediction")
        return pd.DataFrame(columns=JUDGE_COLUMNS), pd.DataFrame(columns=UNIT_COLUMNS), told
    told["n_fields"] = int(single.sum())
    right = truth[single].argmax(axis=1)
    model = probabilities[single].argmax(axis=1)
    answers = _single_answers(judged[:, single], given[:, single])
    group_of = dict(zip(known["annotator"], known["group"], strict=True))
    groups = [group_of[name] for name in people]
    judges = judge_table(people, groups, answers, given[:, single], model, right, len(words.classes), seed)
    table = unit_table(units[single], people, answers, given[:, single], model, right, words)
    return judges, table, told


def agreed(annotations: pd.DataFrame, unit: str, words: Vocabulary, seed: int) -> dict[str, float | None] | None:
    """How far people agree, over all that they judged, whether a model is scored on it or not.

    Args:
        annotations: `unit`, annotator, locations (lists).
        unit: the column that names what was judged.
        words: the vocabulary in whose classes judgements are the same; a term without a class stands for itself.
        seed: of the deals that measure agreement by chance.

    Returns:
        `wherein.metrics.people.Agreement`, rounded and None for NaN; None without annotations.
    """
    if not len(annotations):
        return None
    people, units = (list(dict.fromkeys(annotations[name])) for name in ("annotator", unit))
    judged, given = _judgements(annotations, unit, people, units, partial(_terms, words))
    found = agreement(judged, given, seed)._asdict()
    return {name: None if np.isnan(value) else round(value, 6) for name, value in found.items()}


def _terms(words: Vocabulary, terms_of: Sequence[Sequence[str]]) -> np.ndarray:
    """(N, K + T) bool, the classes of N judgements and the terms without a class."""
    others = [{spelling(term) for term in terms if not words.to_classes([term])} for terms in terms_of]
    named = sorted(set().union(*others))
    rest = np.array([[term in own for term in named] for own in others], bool).reshape(len(others), len(named))
    return np.hstack([words.indicator(terms_of), rest])


def _judgements(
    annotations: pd.DataFrame,
    unit: str,
    people: Sequence[str],
    units: Iterable[str],
    indicator: Callable[[Sequence[Sequence[str]]], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """(P, N, K) what each person said of each unit, by `indicator`; (P, N) whether it was judged."""
    place = {name: column for column, name in enumerate(units)}
    number = {name: row for row, name in enumerate(people)}
    matrix = indicator(annotations["locations"].tolist())
    judged = np.zeros((len(number), len(place), matrix.shape[1]), bool)
    given = np.zeros((len(number), len(place)), bool)
    rows = [number[name] for name in annotations["annotator"]]
    columns = [place[name] for name in annotations[unit]]
    judged[rows, columns] = matrix
    given[rows, columns] = True
    return judged, given


def _notes(
    fields: pd.DataFrame, known: pd.DataFrame, cells: pd.DataFrame, described: Collection[str], words: Vocabulary
) -> list[str]:
    """Sentences on terms that the vocabulary does not have, and on fields and cells that the model does not know."""
    strange = sorted({term for terms in known["locations"] for term in words.unknown(terms)})
    notes = [f"no location of {words.name} is called {', '.join(strange[:5])}: it counts as wrong"] if strange else []
    lost = fields["field_id"].nunique() - known["field_id"].nunique()
    if lost:
        notes.append(f"{lost} annotated fields are not among those that the model is scored on")
    ids = list(dict.fromkeys(cells["cell_id"]))
    # a model of fields describes the field version that the cell is in
    absent = [name for name in ids if name not in described and name.rpartition(":")[0] not in described]
    if absent:
        notes.append(
            f"{len(absent)} of {len(ids)} annotated cells are not among what the model describes: "
            f"{', '.join(absent[:3])}{', ...' if len(absent) > 3 else ''}"
        )
    return notes


def _single_answers(judged: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(P, N) the class where a person named exactly one, else -1: who names several has not told which it is."""
    alone = given & (judged.sum(axis=2) == 1)
    return np.where(alone, judged.argmax(axis=2), -1)


def judge_table(
    people: list[str],
    groups: list[str],
    answers: np.ndarray,
    given: np.ndarray,
    model: np.ndarray,
    right: np.ndarray,
    classes: int,
    seed: int,
) -> pd.DataFrame:
    """JUDGE_COLUMNS of the model, each person, the mean and the vote of each group.

    Args:
        people: P names.
        groups: their groups.
        answers: (P, N) int, -1 for none.
        given: (P, N) bool, whether the person judged the field.
        model: (N,) int, the model's answers.
        right: (N,) int, the published classes.
        classes: K.
        seed: of the draws that decide ties.
    """
    rows: list[dict[str, Any]] = [{"judge": "model", "group": "model", "n": len(right)}]
    rows[0] |= rightness(right, model, classes)
    for name, group, own, seen in zip(people, groups, answers, given, strict=True):
        if seen.any():
            told = rightness(right[seen], own[seen], classes)
            tested = _tested(model[seen] == right[seen], own[seen] == right[seen])
            rows.append({"judge": name, "group": group, "n": int(seen.sum()), **told, **tested})
    for group in dict.fromkeys(groups):
        members = np.array([own == group for own in groups]) & given.any(axis=1)
        own = [row for row in rows if row["group"] == group]
        if members.sum() > 1:
            figures = ("accuracy", "f1", "precision", "recall")
            mean = {name: float(np.mean([row[name] for row in own])) for name in figures}
            rows.append({"judge": f"mean of {group}", "group": group, "n": own[0]["n"], **mean})
            seen = given[members].any(axis=0)
            vote = majority(answers[members][:, seen], right[seen], classes, seed)
            told = {name: getattr(vote, name) for name in figures}
            tested = _tested(model[seen] == right[seen], vote.answers == right[seen])
            rows.append({"judge": f"vote of {group}", "group": group, "n": int(seen.sum()), **told, **tested})
    return pd.DataFrame(rows).reindex(columns=JUDGE_COLUMNS)


def _tested(model: np.ndarray, judge: np.ndarray) -> dict[str, float]:
    found = mcnemar(model, judge)
    return {
        "both": found.both,
        "model_only": found.first,
        "judge_only": found.second,
        "neither": found.neither,
        "p": found.p,
        "p_exact": found.p_exact,
    }


def unit_table(
    units: pd.DataFrame,
    people: list[str],
    answers: np.ndarray,
    given: np.ndarray,
    model: np.ndarray,
    right: np.ndarray,
    words: Vocabulary,
) -> pd.DataFrame:
    """Each annotated field, who said what, and whether it belongs into the gallery of errors: UNIT_COLUMNS."""
    names = np.array([*words.classes, "none, or several"], dtype=object)
    correct = (answers == right) & given
    n_people, n_right = given.sum(axis=0), correct.sum(axis=0)
    fits = model == right
    kind = np.select(
        [~fits & (n_right == 0), fits & (n_right == 0), ~fits & (n_right == n_people)],
        [BOTH_WRONG, PEOPLE_WRONG, MODEL_WRONG],
        "",
    )
    said = [
        ";".join(f"{name}: {names[answers[p, n]]}" for p, name in enumerate(people) if given[p, n])
        for n in range(len(right))
    ]
    return (
        units[KEY]
        .assign(published=names[right], model=names[model], n_people=n_people, n_right=n_right, kind=kind, answers=said)
        .reset_index(drop=True)[UNIT_COLUMNS]
    )
