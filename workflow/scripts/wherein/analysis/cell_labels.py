"""Locations of single cells beside those of their image: sets of labels, and proteins in one location at a time."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.analysis.aggregate import FIELD_COLUMNS, protein_names
from wherein.analysis.controls import LIMIT_COLUMNS
from wherein.analysis.correction import adjusted
from wherein.analysis.exclusive import Call, Rates, estimate_rates, exclusive_p
from wherein.analysis.negative import limit_note, location_limits
from wherein.analysis.tested import write_tested
from wherein.crops.samples import in_small_sample
from wherein.labels import NEGATIVE, vocabulary
from wherein.summary import Summary, stage_summary
from wherein.tables import current_fields, read_metadata, read_tables, write_tsv

log = logging.getLogger(__name__)

SAMPLE_COLUMNS = (
    *("sample", "gene", "cell_line", "image_labels", "n_cells", "n_fields", "label_sets", "n_label_sets"),
    *("set_entropy", "label_entropy", "cells_as_image", "negative_share", "heterogeneous"),
)
"""results/biology/{model}/cell_labels.tsv"""

EXCLUSIVE_COLUMNS = (
    *("gene", "cell_line", "image_labels", "n_cells", "n_fields", "single_labels", "n_several", "n_negative"),
    *("exclusive", "p", "q"),
)
"""results/biology/{model}/exclusive.tsv"""

KEY = ["field_id", "version"]


def label_cells(
    model: str,
    fields: str | Path,
    cells: Sequence[str | Path],
    samples: str | Path,
    predictions: str | Path,
    settings: dict[str, Any],
    limits: str | Path,
    labels: str | Path,
    exclusive: str | Path,
    summary: str | Path,
) -> None:
    """Give each cell the labels of its image that the model sees in it, and compare cells of one sample.

    Args:
        model: name of the model.
        fields: results/catalog/fields.parquet.
        cells: results/cells/{shard}.parquet of every shard of the model.
        samples: results/samples/samples.parquet.
        predictions: results/evaluation/{model}/predictions.parquet.
        settings: section `biology` of the configuration.
        limits: results/biology/{model}/negative.tsv, written.
        labels: results/biology/{model}/cell_labels.tsv, written.
        exclusive: results/biology/{model}/exclusive.tsv, written.
        summary: results/summaries/cell_labels/{model}.json, written.
    """
    with stage_summary(summary, "cell_labels", model, ("numpy", "scipy")) as told:
        table, classes = read_predicted(predictions)
        units = read_labelled(table, classes, fields, cells, samples, predictions, told)
        values = units[classes].to_numpy(np.float32)
        seen = told_classes(values, settings["cell_label_rule"])
        set_by_controls, told_limits = location_limits(table, classes, fields, cells, settings)
        write_tsv(limits, told_limits, LIMIT_COLUMNS)
        if classes and len(units):
            limit = units["unit_id"].map(set_by_controls).to_numpy(float)
            seen, empty = with_limit(values, seen, limit, classes)
            told.notes.append(limit_note(told_limits, settings["negative"]["percentile"]))
            told.extra["negative"] = {"cells": len(units), "below_limit": int(empty.sum())}
        image = np.array(units["image"].tolist(), dtype=bool).reshape(len(units), len(classes))
        write_tsv(labels, sample_rows(units, seen & image, image, classes, settings), SAMPLE_COLUMNS)
        rows, rates = exclusive_rows(units, seen, image, classes, settings)
        write_tested(exclusive, rows, EXCLUSIVE_COLUMNS, "exclusive")
        if rates is not None:
            told.extra["mistakes"] = {"both": rates.both, "scatter": rates.scatter}
            alone, sure = rows["exclusive"].astype(bool), rows["q"] <= settings["heterogeneity_q"]
            told.notes.append(
                f"{int(alone.sum())} of {len(rows)} proteins and cell lines of several image labels have cells of one "
                f"label only; {int((alone & sure).sum())} of them are not explained by the model's mistakes (q at most "
                f"{settings['heterogeneity_q']}, Benjamini-Hochberg over {int(rows['p'].notna().sum())})"
            )


def read_predicted(predictions: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """The table of probabilities and its classes; none of them for a model that predicts none."""
    table = read_tables([predictions])
    classes = read_metadata(predictions).get("classes")
    if classes is None:
        classes = [name for name in table.columns if name not in ("unit_id", *KEY, "fold")]
    return table, [name for name in classes if name in table]


def read_labelled(
    table: pd.DataFrame,
    classes: list[str],
    fields: str | Path,
    cells: Sequence[str | Path],
    samples: str | Path,
    predictions: str | Path,
    told: Summary,
) -> pd.DataFrame:
    """Cells with a known protein, image labels and probabilities, whose nucleus does not touch the border.

    Returns:
        The rows of `table` that count, with the catalog's columns, `protein` and `image`: (C,) bool of each.
    """
    ledger = read_tables(cells, ["cell_id", "status", "nucleus_touches_border"])
    ledger = ledger.reindex(columns=["cell_id", "status", "nucleus_touches_border"])
    units = table.merge(ledger.rename(columns={"cell_id": "unit_id"}), on="unit_id", how="left")
    catalog = current_fields(fields)[[*KEY, *FIELD_COLUMNS]].drop_duplicates(KEY)
    units = units.merge(catalog, on=KEY, how="left", indicator="_current")
    reason = pd.Series(None, index=units.index, dtype=object)

    def leave(rows: pd.Series | np.ndarray, why: str) -> None:
        reason[reason.isna() & np.asarray(rows, bool)] = why

    leave(units["status"].isna(), "no_cell")
    leave((units["_current"] != "both") | (units["status"] != "kept"), "retired")
    leave(in_small_sample(units, samples), "small_sample")
    leave(units["control"].eq(True), "control")
    leave(units["nucleus_touches_border"].eq(True), "border")
    units["protein"] = protein_names(units)
    leave(units["protein"].isna(), "no_gene")
    known = np.isfinite(units[classes].to_numpy(np.float32)).all(axis=1) if classes else np.zeros(len(units), bool)
    leave(~known, "not_predicted")
    units["image"] = image_classes(units, classes, predictions)
    leave([not own.any() for own in units["image"]], "no_label")
    kept = units[reason.isna()].reset_index(drop=True)
    counts = {str(name): int(number) for name, number in reason.value_counts().items()}
    told.counts = {"in": len(units), "kept": len(kept), **counts}
    if not classes:
        told.notes.append("the model predicts no locations: there are no labels of single cells")
    elif counts.get("no_cell") == len(units) and len(units):
        told.notes.append("this model describes fields, not cells: there are no labels of single cells")
    kept["cell_line"] = kept["cell_line"].fillna("")
    return kept


def image_classes(units: pd.DataFrame, classes: list[str], predictions: str | Path) -> list[np.ndarray]:
    """(C,) bool for each unit: classes of the predictions' vocabulary that its image is labelled with."""
    name = read_metadata(predictions).get("vocabulary")
    if not classes or name is None:
        return [np.zeros(len(classes), bool)] * len(units)
    words = vocabulary(name)
    place = {own: index for index, own in enumerate(classes)}
    known: dict[tuple[str, ...], np.ndarray] = {}
    found = []
    for terms in units["labels"]:
        key = tuple(terms) if terms is not None and not isinstance(terms, float) else ()
        if key not in known:
            row = np.zeros(len(classes), bool)
            row[[place[own] for own in words.to_classes(key) if own in place and own != NEGATIVE]] = True
            known[key] = row
        found.append(known[key])
    return found


def told_classes(probabilities: np.ndarray, rule: str) -> np.ndarray:
    """Classes that a model tells of each cell.

    Args:
        probabilities: (N, C).
        rule: `rounded`: those of probability 1/2 and more (Le et al. 2022, Methods, step 3: the product of image label
            and cell label, rounded); `row_maximum`: those of more than 5/8 of the cell's largest (the same paper's
            released code: over the row's maximum, to quarters, then to whole numbers).

    Raises:
        ValueError: no such rule.
    """
    if rule == "rounded":
        return probabilities >= 0.5
    if rule == "row_maximum":
        largest = probabilities.max(axis=1, keepdims=True) if probabilities.size else probabilities
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(largest > 0, probabilities / largest, 0) > 0.625
    raise ValueError(f"cell_label_rule {rule!r}: allowed are rounded, row_maximum")


def with_limit(
    probabilities: np.ndarray, seen: np.ndarray, limit: np.ndarray, classes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Let controls say which cells are in no location: those whose largest probability of one is within the limit.

    A cell above the limit is somewhere: it has its most probable location, if the rule gives it none.

    Args:
        probabilities: (N, C).
        seen: (N, C) bool, what the rule tells.
        limit: (N,), NaN where controls set none; the rule then has the last word.
        classes: C names; Negative is no location.

    Returns:
        (N, C) bool, and (N,) bool: cells within the limit.
    """
    places = np.flatnonzero([name != NEGATIVE for name in classes])
    if not len(places):
        return seen, np.zeros(len(seen), bool)
    values = probabilities[:, places]
    with np.errstate(invalid="ignore"):
        empty = values.max(axis=1) <= limit
        rescued = (values.max(axis=1) > limit) & ~seen[:, places].any(axis=1)
    told = seen & ~empty[:, None]
    told[np.flatnonzero(rescued), places[values[rescued].argmax(axis=1)]] = True
    return told, empty


def entropy(counts: np.ndarray) -> float:
    """Shannon entropy in bits."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def sample_rows(
    units: pd.DataFrame, labels: np.ndarray, image: np.ndarray, classes: list[str], settings: dict[str, Any]
) -> pd.DataFrame:
    """Rows of cell_labels.tsv.

    Args:
        units: `read_labelled`.
        labels: (N, C) bool, the image's labels that the model tells of each cell; none is Negative.
        image: (N, C) bool, the image's labels.
        classes: C names.
        settings: section `biology`.
    """
    rows = []
    names = np.array(classes, dtype=object)
    for (sample, gene, line), own in units.groupby(["sample", "protein", "cell_line"], dropna=False).indices.items():
        if len(own) < settings["min_cells"]:
            continue
        sets = pd.Series([";".join(names[row]) or NEGATIVE for row in labels[own]]).value_counts()
        sets = sets.iloc[np.lexsort((sets.index, -sets.to_numpy()))]
        counts = labels[own].sum(axis=0)
        rows.append(
            {
                "sample": sample if isinstance(sample, str) else None,
                "gene": gene,
                "cell_line": line,
                "image_labels": ";".join(names[image[own].any(axis=0)]),
                "n_cells": len(own),
                "n_fields": len(units.loc[own, KEY].drop_duplicates()),
                "label_sets": " | ".join(f"{name} {number}" for name, number in sets.items()),
                "n_label_sets": len(sets),
                "set_entropy": entropy(sets.to_numpy(float)),
                "label_entropy": entropy(counts.astype(float)) if counts.sum() else np.nan,
                "cells_as_image": float((labels[own] == image[own]).all(axis=1).mean()),
                "negative_share": float((~labels[own].any(axis=1)).mean()),
                "heterogeneous": len(sets) > 1,
            }
        )
    found = pd.DataFrame(rows, columns=list(SAMPLE_COLUMNS))
    return found.sort_values(["set_entropy", "gene", "cell_line"], ascending=[False, True, True], ignore_index=True)


def exclusive_rows(
    units: pd.DataFrame, seen: np.ndarray, image: np.ndarray, classes: list[str], settings: dict[str, Any]
) -> tuple[pd.DataFrame, Rates | None]:
    """Rows of exclusive.tsv: proteins of several image labels in one cell line, the most convincing first.

    Args:
        units: `read_labelled`.
        seen: (N, C) bool, all classes that the model tells of each cell.
        image: (N, C) bool, the image's labels.
        classes: C names.
        settings: section `biology`.

    Returns:
        The rows, and the rates of mistakes that they were judged by (None where there is no cell).
    """
    if not len(units):
        return pd.DataFrame(columns=list(EXCLUSIVE_COLUMNS)), None
    numbers = units.groupby(["protein", "cell_line"], sort=True).ngroup().to_numpy()
    rates = estimate_rates(seen, image, numbers)
    names = np.array(classes, dtype=object)
    labels = seen & image
    rows = []
    several = image.sum(axis=1) > 1
    for number in np.unique(numbers[several]):
        own = np.flatnonzero(several & (numbers == number))
        if len(own) < settings["min_cells"]:
            continue
        alone = labels[own].sum(axis=1) == 1
        call = Call(labels[own][alone].sum(axis=0), int((labels[own].sum(axis=1) > 1).sum()), len(own))
        locations = np.flatnonzero(image[own].any(axis=0))
        singles = [f"{names[place]} {call.single[place]}" for place in locations if call.single[place]]
        rows.append(
            {
                "gene": units["protein"].iloc[own[0]],
                "cell_line": units["cell_line"].iloc[own[0]],
                "image_labels": ";".join(names[locations]),
                "n_cells": len(own),
                "n_fields": len(units.loc[own, KEY].drop_duplicates()),
                "single_labels": " | ".join(singles),
                "n_several": call.several,
                "n_negative": int((~labels[own].any(axis=1)).sum()),
                "exclusive": call.exclusive,
                "p": exclusive_p(call, locations.tolist(), rates),
            }
        )
    found = pd.DataFrame(rows, columns=list(EXCLUSIVE_COLUMNS))
    found["q"] = adjusted(found["p"])
    return found.sort_values(["p", "n_cells", "gene"], ascending=[True, False, True], ignore_index=True), rates
