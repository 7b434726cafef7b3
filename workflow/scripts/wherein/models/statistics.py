"""What a model's scores are made of: intervals over genes, groups of fields, training counts, confusions, curves."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from wherein.labels import Vocabulary, vocabulary
from wherein.metrics import bootstrap, classification
from wherein.metrics.paired import kolmogorov_smirnov
from wherein.models.scored import KEY, Scored
from wherein.tables import TEXT, TEXTS, read_metadata, read_tables, write_table

RANKED = ("auc", "average_precision")
COUNTED = ("precision", "recall", "f1")
MEASURES = (*COUNTED, *RANKED)

INTERVALS = [f"{name}_{end}" for name in MEASURES for end in ("low", "high")]
"""Columns that classes.tsv has beside the measures: the interval of each."""

GROUP_COLUMNS = ["group", "value", "class", "n", "n_train", "precision", "recall", "f1", "f1_low", "f1_high"]

TEST_COLUMNS = ["group", "value", "other", "n", "n_other", "f1", "f1_other", "distance", "p"]

CURVE_COLUMNS = ["class", "threshold", "precision", "recall"]

CURVE_POINTS = 100
"""Points of a curve that are kept: more than a figure shows."""

ABOUT = ["sample", "plate", "reagent", "cell_line"]
"""What the catalog says of a field that scores are broken down by."""


FIELD_SCHEMA = pa.schema(
    [
        *((name, TEXT) for name in ("unit_id", *KEY, "gene_group", "cluster", *ABOUT)),
        ("control", pa.bool_()),
        ("fold", pa.int32()),
        ("published", TEXTS),
        ("predicted", TEXTS),
    ]
)
"""results/evaluation/{model}/fields.parquet, before the columns of the classes."""


class Fields(NamedTuple):
    """Fields that can be scored, with what is known of each.

    Attributes:
        units: of Scored, with `sample`, `plate`, `reagent`, `cell_line` and `cluster` (what is drawn as a whole).
        truth: (N, K) bool.
        predicted: (N, K) bool.
        probabilities: (N, K) float.
        folds: (N,) float, the classifier that each prediction is from; -1 for one that was trained elsewhere.
    """

    units: pd.DataFrame
    truth: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    folds: np.ndarray


def scorable(scored: Scored, catalog: pd.DataFrame) -> Fields:
    """The units that can be scored, with what the catalog says of their fields.

    Args:
        scored: units with their probabilities.
        catalog: rows of fields.parquet.
    """
    rows = scored.scorable
    units = scored.units[rows].reset_index(drop=True)
    units = units.drop(columns=[name for name in ABOUT if name in units])
    units = units.merge(catalog[[*KEY, *ABOUT]], on=KEY, how="left", validate="many_to_one")
    probabilities = scored.probabilities[rows]
    return Fields(
        units=units.assign(cluster=clusters(units)),
        truth=scored.truth[rows],
        predicted=probabilities >= scored.thresholds[rows],
        probabilities=probabilities,
        folds=units["fold"].fillna(-1).to_numpy(float),
    )


def clusters(units: pd.DataFrame) -> pd.Series:
    """What is drawn as a whole for intervals: the group of genes; for a control its sample, else its field."""
    control = units["control"].astype(bool)
    alone = units["sample"].fillna(units["field_id"]).astype(str)
    return units["gene_group"].where(~control & units["gene_group"].notna(), "control: " + alone)


class Sure(NamedTuple):
    """Intervals, 95 % of the draws of genes.

    Attributes:
        classes: one row a class, INTERVALS.
        means: of each mean (`macro_f1`, `macro_precision`, ..., `micro_f1`) its two ends; None where it has none.
    """

    classes: pd.DataFrame
    means: dict[str, list[float] | None]


def class_intervals(fields: Fields, draws: int, seed: int) -> Sure:
    """Intervals of every class's measures and of their means, 95 % of the draws of genes.

    Args:
        fields: what is scored.
        draws: number of draws.
        seed: of the draws.
    """
    chosen = bootstrap.draw_clusters(fields.units["cluster"].to_numpy(str), draws, seed)
    found = bootstrap.resampled_counts(fields.truth, fields.predicted, chosen)
    micro = found.pop("micro_f1")
    absent = ~np.isfinite(found["recall"])
    points = classification.class_scores(fields.truth, fields.predicted)[[*COUNTED]].to_dict("series")
    macro = classification.macro_scores(fields.truth, fields.predicted)
    found |= bootstrap.resampled_ranks(fields.truth, fields.probabilities, chosen, fields.folds)
    points["auc"] = classification.auc(fields.truth, fields.probabilities, fields.folds)
    points["average_precision"] = classification.average_precision(fields.truth, fields.probabilities, fields.folds)
    macro |= {name: _mean(points[name]) for name in RANKED}
    table = pd.DataFrame(np.nan, index=range(fields.truth.shape[1]), columns=INTERVALS)
    means = {"micro_f1": ends(micro, classification.micro_f1(fields.truth, fields.predicted))}
    for name, values in found.items():
        table[f"{name}_low"], table[f"{name}_high"] = bootstrap.interval(values, np.asarray(points[name], float))
        means[f"macro_{name}"] = ends(bootstrap.macro(values, absent if name in COUNTED else None), macro[name])
    return Sure(table, means)


def ends(values: np.ndarray, point: float) -> list[float] | None:
    """The interval of one figure over its draws, as JSON has it; None where there is no figure."""
    low, high = bootstrap.interval(values, point)
    return None if np.isnan(low) else [round(float(low), 6), round(float(high), 6)]


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def groups_of(fields: Fields) -> Iterator[tuple[str, str, np.ndarray]]:
    """Groups of fields: all, those with one and with several locations, each cell line; name, value, (N,) bool."""
    yield "all", "", np.ones(len(fields.truth), bool)
    n = fields.truth.sum(axis=1)
    yield "locations", "one", n == 1
    yield "locations", "several", n > 1
    lines = fields.units["cell_line"]
    for line in sorted(lines.dropna().unique()):
        yield "cell_line", line, (lines == line).to_numpy()


def group_table(fields: Fields, train: pd.DataFrame | None, words: Vocabulary, draws: int, seed: int) -> pd.DataFrame:
    """Scores by group of fields, of each class and their mean.

    Args:
        fields: fields, one row each.
        train: what was learned from: `cell_line`, `n_locations`, `weight` (share of the trainings that had the field)
            and one bool column a class; None where it is not known.
        words: the vocabulary.
        draws: of the intervals.
        seed: of the draws.

    Returns:
        GROUP_COLUMNS; the rows without a class hold the means.
    """
    parts = []
    for group, value, rows in groups_of(fields):
        truth, predicted = fields.truth[rows], fields.predicted[rows]
        chosen = bootstrap.draw_clusters(fields.units.loc[rows, "cluster"].to_numpy(str), draws, seed)
        again = bootstrap.resampled_counts(truth, predicted, chosen)["f1"]
        table = classification.class_scores(truth, predicted)[["n", *COUNTED]]
        table["f1_low"], table["f1_high"] = bootstrap.interval(again, table["f1"].to_numpy())
        table.insert(0, "class", words.classes)
        mean = {"class": "", "n": int(rows.sum()), **classification.macro_scores(truth, predicted)}
        mean["f1_low"], mean["f1_high"] = map(float, bootstrap.interval(bootstrap.macro(again), mean["f1"]))
        learned = None if train is None else _of_group(train, group, value)
        mean["n_train"] = np.nan if learned is None else learned["weight"].sum()
        table["n_train"] = (
            np.nan if learned is None else [learned.loc[learned[name], "weight"].sum() for name in words.classes]
        )
        both = pd.concat([pd.DataFrame([mean]), table[table["n"] > 0]], ignore_index=True)
        parts.append(both.assign(group=group, value=value))
    return pd.concat(parts, ignore_index=True)[GROUP_COLUMNS]


def _of_group(train: pd.DataFrame, group: str, value: str) -> pd.DataFrame:
    if group == "cell_line":
        return train[train["cell_line"] == value]
    if group == "locations":
        return train[train["n_locations"] == 1] if value == "one" else train[train["n_locations"] > 1]
    return train


def learned_in_folds(fields: Fields, words: Vocabulary) -> pd.DataFrame | None:
    """What classifiers trained fold by fold learned from: each field by all of them but its own fold's.

    Returns:
        As `train` of group_table, `weight` the share of classifiers that had the field; None for predictions from
        elsewhere.
    """
    number = len(np.unique(fields.folds))
    if not len(fields.folds) or (fields.folds < 0).any():
        return None
    found = fields.units[["cell_line"]].assign(n_locations=fields.truth.sum(axis=1), weight=(number - 1) / number)
    return pd.concat([found, pd.DataFrame(fields.truth, columns=list(words.classes))], axis=1)


def learned_from_table(rows: pd.DataFrame, catalog: pd.DataFrame, words: Vocabulary) -> pd.DataFrame:
    """What a network learned from: the training rows of its table, one a field.

    Args:
        rows: results/training/{model}.parquet.
        catalog: rows of fields.parquet.
        words: the vocabulary.

    Returns:
        As `train` of group_table.
    """
    classes = [name for name in words.classes if name in rows]
    own = rows[rows["part"] == "train"].groupby(KEY, as_index=False)[classes].max()
    found = own.merge(catalog[[*KEY, "cell_line"]], on=KEY, how="left")
    found = found.reindex(columns=[*KEY, "cell_line", *words.classes])
    truth = found[list(words.classes)].fillna(False).astype(bool)
    found[list(words.classes)] = truth
    return found.assign(n_locations=truth.sum(axis=1), weight=1.0)


def group_tests(fields: Fields) -> pd.DataFrame:
    """Whether fields of a group are told better than others: two-sample Kolmogorov-Smirnov on each field's own F1.

    Fields with one location against those with several (Ouyang et al. 2019, methods, who compare teams' scores), and
    each cell line against all others.

    Returns:
        TEST_COLUMNS; f1 is the mean over the fields.
    """
    own = classification.unit_f1(fields.truth, fields.predicted)
    found = []
    for group, value, rows in groups_of(fields):
        if group == "all" or (group, value) == ("locations", "several"):
            continue
        other = fields.truth.sum(axis=1) > 1 if group == "locations" else ~rows
        if not rows.any() or not other.any():
            continue
        distance, p = kolmogorov_smirnov(own[rows], own[other])
        found.append(
            {
                "group": group,
                "value": value,
                "other": "several" if group == "locations" else "all others",
                "n": int(rows.sum()),
                "n_other": int(other.sum()),
                "f1": float(np.nanmean(own[rows])),
                "f1_other": float(np.nanmean(own[other])),
                "distance": distance,
                "p": p,
            }
        )
    return pd.DataFrame(found, columns=TEST_COLUMNS)


def curve_table(fields: Fields, words: Vocabulary) -> pd.DataFrame:
    """Precision and recall of each class at falling thresholds, over all fields together: CURVE_COLUMNS."""
    parts = [
        classification.curve(fields.truth[:, k], fields.probabilities[:, k], CURVE_POINTS).assign(**{"class": name})
        for k, name in enumerate(words.classes)
        if fields.truth[:, k].any()
    ]
    return pd.concat(parts, ignore_index=True)[CURVE_COLUMNS] if parts else pd.DataFrame(columns=CURVE_COLUMNS)


def confusion_table(truth: np.ndarray, probabilities: np.ndarray, words: Vocabulary) -> pd.DataFrame:
    """What fields with one location are taken for.

    Args:
        truth: (N, K) bool.
        probabilities: (N, K) float, NaN for fields without a prediction.
        words: the vocabulary.

    Returns:
        `class` (published), one column a class (number of fields whose most probable class it is); classes that no
        field has alone are left out of the rows.
    """
    single = (truth.sum(axis=1) == 1) & np.isfinite(probabilities).all(axis=1)
    matrix = classification.confusion(truth[single], probabilities[single])
    table = pd.DataFrame(matrix, columns=list(words.classes))
    table.insert(0, "class", words.classes)
    return table[matrix.sum(axis=1) > 0].reset_index(drop=True)


def write_fields(path: str, fields: Fields, words: Vocabulary, model: str) -> None:
    """Write every scored field: what is published, what is predicted, and the probabilities.

    Args:
        path: results/evaluation/{model}/fields.parquet.
        fields: one row a field.
        words: the vocabulary.
        model: the model's name.
    """
    classes = np.array(words.classes, dtype=object)
    about = fields.units[[name for name in FIELD_SCHEMA.names if name in fields.units]].assign(
        published=[list(classes[row]) for row in fields.truth],
        predicted=[list(classes[row]) for row in fields.predicted],
    )
    probabilities = pd.DataFrame(fields.probabilities, columns=list(words.classes))
    schema = pa.schema([*FIELD_SCHEMA, *((name, pa.float32()) for name in words.classes)])
    metadata = {"model": model, "vocabulary": words.name, "classes": list(words.classes)}
    write_table(path, pd.concat([about, probabilities], axis=1), schema, metadata)


def read_fields(path: str) -> tuple[Fields, Vocabulary]:
    """The same read again, with the vocabulary."""
    words = vocabulary(read_metadata(path)["vocabulary"])
    table = read_tables([path])
    place = {name: number for number, name in enumerate(words.classes)}
    truth, predicted = (np.zeros((len(table), len(place)), bool) for _ in range(2))
    for matrix, name in ((truth, "published"), (predicted, "predicted")):
        for row, own in enumerate(table[name]):
            matrix[row, [place[each] for each in own]] = True
    fields = Fields(
        units=table[FIELD_SCHEMA.names],
        truth=truth,
        predicted=predicted,
        probabilities=table[list(words.classes)].to_numpy(np.float64).reshape(len(table), len(words.classes)),
        folds=table["fold"].fillna(-1).to_numpy(float),
    )
    return fields, words


def tuned_scores(truth: np.ndarray, probabilities: np.ndarray, tuned: np.ndarray) -> dict[str, Any] | None:
    """How right the most probable class of fields with one location is, before and after the last layer was tuned.

    Args:
        truth: (N, K) bool.
        probabilities: (N, K) of the model.
        tuned: (N, K) of single_location.tune_last_layer, NaN where it does not predict.

    Returns:
        n_fields, accuracy, macro_f1, tuned_accuracy, tuned_macro_f1; None where no field has a single location and
        both predictions.
    """
    rows = (truth.sum(axis=1) == 1) & np.isfinite(tuned).all(axis=1) & np.isfinite(probabilities).all(axis=1)
    if not rows.any():
        return None
    told: dict[str, Any] = {"n_fields": int(rows.sum())}
    for prefix, values in (("", probabilities), ("tuned_", tuned)):
        chosen = np.zeros(truth[rows].shape, bool)
        chosen[np.arange(len(chosen)), values[rows].argmax(axis=1)] = True
        told[f"{prefix}accuracy"] = round(float((chosen & truth[rows]).any(axis=1).mean()), 6)
        told[f"{prefix}macro_f1"] = round(classification.macro_scores(truth[rows], chosen)["f1"], 6)
    return told


def mean_vectors(vectors: np.ndarray, places: Iterable[np.ndarray]) -> np.ndarray:
    """(F, D) mean of each field's vectors; NaN for a feature that no unit of the field shows.

    Args:
        vectors: (N, D), NaN where unknown.
        places: for each field the rows of its units.
    """
    means = []
    for rows in places:
        known = np.isfinite(vectors[rows])
        count = known.sum(axis=0)
        total = np.where(known, vectors[rows], 0).sum(axis=0, dtype=np.float64)
        means.append(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))
    return np.stack(means).astype(np.float32) if means else np.zeros((0, vectors.shape[1]), np.float32)
