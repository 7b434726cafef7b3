"""A model beside people who annotated the same fields (Rumetshofer et al. 2019, sections 3.2 and 4)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.labels import Vocabulary
from wherein.metrics.paired import mcnemar
from wherein.metrics.people import agreement, majority, rightness
from wherein.models.scored import KEY

NEEDED = ["field_id", "annotator", "locations"]

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
        path: CSV, or TSV by its name: `field_id`, `annotator`, `locations` (separated by `;`), and `group` (expert,
            scholar; one group without it).

    Returns:
        These four columns as text, `locations` as lists.

    Raises:
        AnnotationError: a column is missing, a field or an annotator is empty, or a person judged a field twice.
    """
    table = pd.read_csv(path, sep="\t" if Path(path).suffix == ".tsv" else ",", dtype=str, keep_default_na=False)
    missing = [name for name in NEEDED if name not in table]
    if missing:
        raise AnnotationError(
            f"{path}: found the columns {', '.join(table.columns)}; annotations need {', '.join(NEEDED)}, and group "
            f"where people are of different kinds: add {', '.join(missing)}"
        )
    for name in ("field_id", "annotator"):
        if (table[name] == "").any():
            line = int(np.flatnonzero(table[name] == "")[0]) + 2
            raise AnnotationError(f"{path}, line {line}: {name} is empty; every annotation says whose it is of what")
    twice = table[table.duplicated(["field_id", "annotator"])]
    if len(twice):
        first = twice.iloc[0]
        raise AnnotationError(
            f"{path}: {first['annotator']} annotates the field {first['field_id']} twice ({len(twice)} such rows); "
            "put all locations of a field into one row, separated by `;`"
        )
    table["locations"] = [[term for term in text.split(";") if term.strip()] for text in table["locations"]]
    return table.assign(group=table["group"].replace("", "people") if "group" in table else "people")[
        ["field_id", "annotator", "group", "locations"]
    ]


def beside_people(
    annotations: pd.DataFrame,
    units: pd.DataFrame,
    truth: np.ndarray,
    probabilities: np.ndarray,
    words: Vocabulary,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Compare a model with people on the fields of one location that they annotated.

    Args:
        annotations: field_id, annotator, group, locations (lists).
        units: field_id, version of each field.
        truth: (N, K) bool, the published classes.
        probabilities: (N, K), the model's; the most probable class is its answer.
        words: the vocabulary.
        seed: of the draws that decide ties, and of the deals that measure agreement by chance.

    Returns:
        judges: one row for the model, each person, the mean and the vote of each group (JUDGE_COLUMNS); McNemar's
            test against the model on the judge's own fields.
        fields: one row a field (UNIT_COLUMNS).
        told: `n_fields`, `agreement`, `notes`.
    """
    known = annotations[annotations["field_id"].isin(units["field_id"])]
    people = list(dict.fromkeys(known["annotator"]))
    judged, given, notes = _judgements(known, people, units, words)
    lost = annotations["field_id"].nunique() - known["field_id"].nunique()
    if lost:
        notes.append(f"{lost} annotated fields are not among those that the model is scored on")
    told = {"n_fields": 0, "agreement": agreement(judged, given, seed)._asdict(), "notes": notes}
    single = (truth.sum(axis=1) == 1) & np.isfinite(probabilities).all(axis=1) & given.any(axis=0)
    if not single.any():
        notes.append("no annotated field has a single published location and a prediction")
        return pd.DataFrame(columns=JUDGE_COLUMNS), pd.DataFrame(columns=UNIT_COLUMNS), _plain(told)
    told["n_fields"] = int(single.sum())
    right = truth[single].argmax(axis=1)
    model = probabilities[single].argmax(axis=1)
    answers = _single_answers(judged[:, single], given[:, single])
    group_of = dict(zip(known["annotator"], known["group"], strict=True))
    groups = [group_of[name] for name in people]
    judges = judge_table(people, groups, answers, given[:, single], model, right, len(words.classes), seed)
    fields = unit_table(units[single], people, answers, given[:, single], model, right, words)
    return judges, fields, _plain(told)


def _judgements(
    known: pd.DataFrame, people: list[str], units: pd.DataFrame, words: Vocabulary
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(P, N, K) classes, (P, N) whether judged, notes on terms that the vocabulary does not have."""
    place = {name: row for row, name in enumerate(units["field_id"])}
    judged = np.zeros((len(people), len(units), len(words.classes)), bool)
    given = np.zeros((len(people), len(units)), bool)
    matrix = words.indicator(known["locations"].tolist())
    number = {name: row for row, name in enumerate(people)}
    rows = [number[name] for name in known["annotator"]]
    columns = [place[name] for name in known["field_id"]]
    judged[rows, columns] = matrix
    given[rows, columns] = True
    strange = sorted({term for terms in known["locations"] for term in words.unknown(terms)})
    notes = [f"no location of {words.name} is called {', '.join(strange[:5])}: it counts as wrong"] if strange else []
    return judged, given, notes


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


def _plain(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same with figures rounded and null for NaN, as JSON has them."""
    found = {
        name: None
        if isinstance(value, float) and np.isnan(value)
        else round(value, 6)
        if isinstance(value, float)
        else value
        for name, value in told["agreement"].items()
    }
    return {**told, "agreement": found}
