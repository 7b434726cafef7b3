"""The stage evaluate: how right a model's locations are, on genes that it has not seen.

A model that predicts locations itself (a network with published weights) is scored as it is, in its own vocabulary. For
any other, a classifier is trained on its vectors: for each gene_fold on the units of all other folds, so that every
labelled unit gets its probabilities from a classifier that saw neither its gene nor a near-duplicate of its field. The
hand-crafted baseline of Ouyang et al. 2019 (Loc-CAT) is such a classifier on the vectors of `classic`.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from wherein import tables
from wherein.atomic import write_json
from wherein.embeddings import read_embeddings
from wherein.labels import Vocabulary, vocabulary
from wherein.metrics import classification
from wherein.models.classifier import out_of_fold
from wherein.models.held_out import of_units, thresholds_of_fields, thresholds_of_units, unseen, validated
from wherein.models.labelled import indicator, with_labels, with_words
from wherein.models.scored import KEY, Scored
from wherein.models.statistics import INTERVALS, class_intervals, scorable, write_fields
from wherein.models.truth import score_truth
from wherein.summary import stage_summary

LOG = logging.getLogger(__name__)

CLASS_COLUMNS = [
    *("level", "class", "n", "n_predicted", "precision", "recall", "f1", "auc", "average_precision", "threshold"),
    *INTERVALS,
]


def evaluate_model(
    model: str,
    fields: str,
    split: str,
    qc: Sequence[str],
    cells: Sequence[str],
    embeddings: Sequence[str],
    predictions: Sequence[str],
    truth: Sequence[str],
    settings: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    relabelled: Sequence[Sequence[str]],
    threads: int,
    classes: str,
    scores: str,
    out_predictions: str,
    out_fields: str,
    summary: str,
    samples: str | None = None,
    training: Sequence[str] = (),
    elsewhere: Sequence[str] = (),
) -> None:
    """Score one model.

    Args:
        model: the model's name.
        fields: fields.parquet.
        split: split.parquet.
        qc: qc tables of the model's shards.
        cells: ledgers of the model's shards.
        embeddings: its vectors.
        predictions: its own predictions.
        truth: folders of simulated truth, for the shards that have one.
        settings: the model's configuration.
        evaluation: the configuration's section `evaluate`.
        relabelled: a curator's words on single cells: cell_id, then its locations.
        threads: processes of the classifier.
        classes: table of scores by class to write.
        scores: JSON of scores to write.
        out_predictions: table of probabilities to write.
        out_fields: table of scored fields to write.
        summary: the job's summary.
        samples: samples.parquet; without it, samples of any size count.
        training: training tables of a model that is trained here, or of the members of an ensemble, then of the models
            that they learned from; else empty.
        elsewhere: weights made outside the run from which these trainings began.
    """
    with stage_summary(summary, "evaluate", model, ("numpy", "scikit-learn")) as report:
        level = settings["level"]
        own = next((found for found in map(tables.read_metadata, predictions) if found.get("classes")), None)
        words = vocabulary(own["vocabulary"] if own else evaluation["vocabulary"])
        units, vectors, dimensions, _, notes = read_embeddings(embeddings)
        units, keep, left_out = with_labels(units, fields, split, samples)
        units, told = with_words(units, relabelled)
        notes += told
        scored, found = (
            _own(units, predictions, words, evaluation["controls"], evaluation["published_threshold"])
            if own
            else _trained(units, vectors[keep], words, evaluation, threads)
        )
        notes += found
        # thresholds of a classifier are chosen on all folds, before what training saw is left out
        every, by_field = scored, over_fields(scored, words, evaluation, own is not None)
        if own and training:
            chosen, found = validated(training, predictions, words.classes, settings["threshold"])
            scored = _with_thresholds(scored, thresholds_of_units(chosen, settings["threshold"]))
            by_field = _with_thresholds(by_field, thresholds_of_fields(chosen, settings["threshold"]))
            notes += found
        elif own:
            notes.append("the network was trained elsewhere: which of these proteins it has seen is not known")
        if elsewhere:
            notes.append(
                f"training began from {', '.join(elsewhere)}: which of these proteins those weights have seen is not "
                "known"
            )
        if training:
            fresh, found = unseen(units, training)
            every = scored._replace(units=scored.units.assign(fold=units["fold"].where(fresh)))
            scored, by_field = every.only(fresh), by_field.only(of_units(by_field.units, units[fresh]))
            notes += found
        parts = {"field": by_field} if level == "field" else {"cell": scored, "field": by_field}
        catalog = tables.current_fields(fields)
        judged = {name: scorable(part, catalog) for name, part in parts.items()}
        sure = {name: class_intervals(part, evaluation["draws"], evaluation["seed"]) for name, part in judged.items()}
        frame = [class_table(part, words, name).assign(**sure[name].classes) for name, part in parts.items()]
        tables.write_tsv(classes, pd.concat(frame, ignore_index=True), CLASS_COLUMNS)
        result = {**overall(scored), "intervals": sure[level].means}
        known = score_truth(truth, scored, by_field, words, tables.read_tables(cells), level) if truth else None
        write_json(
            scores,
            {
                "model": model,
                "vocabulary": words.name,
                "level": level,
                "classifier": None if own else evaluation["classifier"],
                "n_dimensions": len(dimensions),
                **result,
                "fields": {**overall(by_field), "intervals": sure["field"].means},
                "truth": known,
                "notes": notes,
            },
        )
        write_probabilities(out_predictions, every, words, model)
        write_fields(out_fields, judged["field"], words, model)
        report.counts = {"in": len(keep), "kept": len(scored.units), **left_out}
        report.notes += notes


def _own(
    units: pd.DataFrame,
    predictions: Sequence[str],
    words: Vocabulary,
    controls: str,
    threshold: float,
) -> tuple[Scored, list[str]]:
    """A model's own predictions beside the published locations, by one threshold for all classes."""
    own = units[["unit_id"]].merge(tables.read_tables(predictions), on="unit_id", how="left")
    probabilities = own[list(words.classes)].to_numpy(np.float32)
    truth, labelled = indicator(units, words, controls)
    thresholds = np.full(probabilities.shape, threshold)
    return Scored(units.assign(fold=np.nan), truth, labelled, probabilities, thresholds), []


def _with_thresholds(scored: Scored, thresholds: np.ndarray) -> Scored:
    """The same units by other thresholds, (K,)."""
    return scored._replace(thresholds=np.tile(thresholds, (len(scored.units), 1)))


def _trained(
    units: pd.DataFrame, vectors: np.ndarray, words: Vocabulary, evaluation: Mapping[str, Any], threads: int
) -> tuple[Scored, list[str]]:
    """A classifier trained on the vectors, fold by fold."""
    truth, labelled = indicator(units, words, evaluation["controls"])
    usable = labelled & units["fold"].notna().to_numpy()
    probabilities, notes = out_of_fold(vectors, truth, usable, units, evaluation, threads)
    if usable.any():
        alone = [name for name, n in zip(words.classes, _folds_of_classes(truth, usable, units), strict=True) if n == 1]
        if alone:
            notes.append(
                f"{len(alone)} classes cannot be learned, since all their genes lie in one fold; they count as never "
                f"found: {', '.join(alone)}"
            )
    scored = Scored(
        units.assign(fold=units["fold"].where(usable)), truth, labelled, probabilities, np.zeros(probabilities.shape)
    )
    return scored._replace(thresholds=thresholds_for(scored, evaluation)), notes


def _folds_of_classes(truth: np.ndarray, usable: np.ndarray, units: pd.DataFrame) -> np.ndarray:
    """(K,) number of folds in which each class occurs."""
    return pd.DataFrame(truth[usable]).groupby(units["fold"].to_numpy(float)[usable]).any().sum(axis=0).to_numpy()


def thresholds_for(scored: Scored, evaluation: Mapping[str, Any]) -> np.ndarray:
    """(N, K) thresholds: for every fold and class that of the label ratio on the labelled units of the other folds.

    The units that a threshold is chosen on got their probabilities from classifiers that had seen the fold in question,
    but the labels of that fold have no part in the choice itself.
    """
    wanted = evaluation["threshold"]
    if wanted != "label_ratio":
        return np.full(scored.probabilities.shape, float(wanted))
    known = scored.scorable
    fold = scored.units["fold"].to_numpy(float)
    thresholds = np.empty(scored.probabilities.shape)
    groups = [*np.unique(fold[np.isfinite(fold)]), np.nan]
    for value in groups:
        inside = np.isnan(fold) if np.isnan(value) else fold == value
        others = known & ~inside
        thresholds[inside] = classification.ratio_thresholds(scored.truth[others], scored.probabilities[others])
    return thresholds


def over_fields(scored: Scored, words: Vocabulary, evaluation: Mapping[str, Any], own: bool) -> Scored:
    """The same by field: probabilities are the means over the field's units, locations what is published of it."""
    if not len(scored.units):
        return scored
    places = scored.units.groupby(KEY, sort=False).indices
    first = [rows[0] for rows in places.values()]
    units = scored.units.iloc[first].reset_index(drop=True)
    units["unit_id"] = units["field_id"] + "@" + units["version"]
    probabilities = np.stack([scored.probabilities[rows].mean(axis=0) for rows in places.values()])
    truth, labelled = scored.truth[first], scored.labelled[first]
    if "field_labels" in units:
        # a curator's words on a single cell are not the field's
        truth, labelled = indicator(units.assign(labels=units["field_labels"]), words, evaluation["controls"])
    fields = Scored(units, truth, labelled, probabilities, scored.thresholds[first])
    return fields if own else fields._replace(thresholds=thresholds_for(fields, evaluation))


def class_table(scored: Scored, words: Vocabulary, level: str) -> pd.DataFrame:
    """One row a class, as classes.tsv has them; figures that nothing could be learned for are NaN."""
    truth, probabilities, predicted = _known(scored)
    if not len(truth):
        empty = pd.DataFrame({"level": level, "class": words.classes, "n": scored.truth[scored.labelled].sum(axis=0)})
        return empty.reindex(columns=CLASS_COLUMNS)
    found = classification.class_scores(truth, predicted)
    found["auc"] = classification.auc(truth, probabilities, _folds(scored))
    found["average_precision"] = classification.average_precision(truth, probabilities, _folds(scored))
    found["threshold"] = pd.DataFrame(scored.thresholds[scored.scorable]).mean(axis=0)
    found.insert(0, "class", words.classes)
    found.insert(0, "level", level)
    return found.reindex(columns=CLASS_COLUMNS)


def overall(scored: Scored) -> dict[str, Any]:
    """The scores over all classes; null where they are not defined."""
    truth, probabilities, predicted = _known(scored)
    units = scored.units[scored.scorable]
    areas = classification.auc(truth, probabilities, _folds(scored))
    precisions = classification.average_precision(truth, probabilities, _folds(scored))
    means = classification.macro_scores(truth, predicted)
    figures = {
        "macro_f1": classification.macro_f1(truth, predicted) if len(truth) else np.nan,
        "micro_f1": classification.micro_f1(truth, predicted) if len(truth) else np.nan,
        "macro_precision": means["precision"],
        "macro_recall": means["recall"],
        "macro_auc": float(np.nanmean(areas)) if np.isfinite(areas).any() else np.nan,
        "macro_average_precision": float(np.nanmean(precisions)) if np.isfinite(precisions).any() else np.nan,
        "baseline_macro_f1": classification.baseline_macro_f1(truth),
        "first_is_right": float(truth[np.arange(len(truth)), probabilities.argmax(axis=1)].mean())
        if len(truth)
        else np.nan,
    }
    return {
        "n_units": len(units),
        "n_fields": len(units[KEY].drop_duplicates()),
        "n_genes": int(units.loc[~units["control"], "gene_group"].nunique()),
        "n_classes": int(truth.any(axis=0).sum()),
        **{name: None if np.isnan(value) else round(float(value), 6) for name, value in figures.items()},
    }


def _folds(scored: Scored) -> np.ndarray:
    """(N,) the fold of each unit that can be scored; -1 for a model trained elsewhere."""
    return scored.units.loc[scored.scorable, "fold"].fillna(-1).to_numpy(float)


def _known(scored: Scored) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, probabilities and predicted classes of the units that can be scored."""
    rows = scored.scorable
    probabilities = scored.probabilities[rows]
    return scored.truth[rows], probabilities, probabilities >= scored.thresholds[rows]


def write_probabilities(path: str, scored: Scored, words: Vocabulary, model: str) -> None:
    """Write predictions.parquet of the evaluation: every unit, its fold and its class probabilities."""
    fold = [None if np.isnan(value) else int(value) for value in scored.units["fold"]]
    units = scored.units[["unit_id", *KEY]].assign(fold=pd.Series(fold, dtype=object))
    values = pd.DataFrame(scored.probabilities, columns=list(words.classes))
    metadata = {"model": model, "vocabulary": words.name, "classes": list(words.classes)}
    tables.write_predictions(path, units, values, metadata)
