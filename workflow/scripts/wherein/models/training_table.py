"""The training table: which units a model learns from, by which labels, and which units it is scored on.

Written once for a model and then read as it is: a later release, other labels or another split do not change a model
that was trained (DESIGN, contract 1).
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from wherein import tables
from wherein.labels import Vocabulary, vocabulary
from wherein.models.labelled import indicator, with_labels, with_words
from wherein.models.scored import KEY
from wherein.reasons import KEPT, PASSED
from wherein.summary import stage_summary

LOG = logging.getLogger(__name__)

TRAIN, VALIDATION, TEST = "train", "validation", "test"

PARTS = (TRAIN, VALIDATION, TEST)
"""What a row is for: the network learns from it, it is chosen and its thresholds are set by it, it is scored on it."""

COLUMNS = ("unit_id", *KEY, "shard", "gene_group", "fold", "part", "reagent", "full_scale")


def make_training_table(
    model: str,
    fields: str,
    split: str,
    samples: str,
    qc: Sequence[str],
    cells: Sequence[str],
    level: str,
    settings: Mapping[str, Any],
    relabelled: Sequence[Sequence[str]],
    table: str,
    shards: str,
    summary: str,
) -> None:
    """Write the training table of one model.

    Args:
        model: the model's name.
        fields: fields.parquet.
        split: split.parquet.
        samples: samples.parquet.
        qc: qc tables of the shards that the model learns from.
        cells: ledgers of these shards.
        level: `cell` or `field`: what one vector describes.
        settings: `vocabulary`, `controls`, `test_fold`, `validation_fold`, `permuted`, `seed`.
        relabelled: a curator's words on single cells: cell_id, then its locations.
        table: the table to write.
        shards: TSV to write, the shards that the table was made of.
        summary: the job's summary.

    Raises:
        ValueError: no unit is left to learn from, or to choose the network by.
    """
    with stage_summary(summary, "training_table", model, ("numpy", "pandas", "pyarrow")) as report:
        words = vocabulary(settings["vocabulary"])
        units = cell_units(cells) if level == "cell" else field_units(qc)
        labelled, _, left_out = with_labels(units, fields, split, samples)
        labelled, notes = with_words(labelled, relabelled)
        told = tables.read_tables([fields], [*KEY, "reagent", "full_scale"])
        labelled = labelled.merge(told, on=KEY, how="left", validate="many_to_one")
        found, lost = training_rows(labelled, words, settings)
        check_parts(model, found, settings)
        metadata = {
            "model": model,
            "level": level,
            "vocabulary": words.name,
            "classes": list(words.classes),
            **{key: settings[key] for key in ("test_fold", "validation_fold", "permuted", "seed")},
        }
        every = tables.read_tables(qc, ["shard"])["shard"].drop_duplicates().sort_values()
        counted = found.groupby("shard").size().reindex(every, fill_value=0)
        tables.write_tsv(shards, pd.DataFrame({"shard": every.tolist(), "units": counted.tolist()}), ["shard", "units"])
        # last: where the table is there, so is what freezes it
        tables.write_table(table, found, schema(words.classes), metadata)
        report.counts = {"in": len(units), "kept": len(found), **left_out, **lost}
        report.notes += notes
        report.extra["parts"] = part_counts(found, words)


def schema(classes: Sequence[str]) -> pa.Schema:
    """Columns of results/training/{model}.parquet in a vocabulary."""
    types = {"fold": pa.int32(), "full_scale": pa.float64()}
    about = [(name, types.get(name, pa.string())) for name in COLUMNS]
    return pa.schema([*about, *((name, pa.bool_()) for name in classes)])


def field_units(qc: Sequence[str]) -> pd.DataFrame:
    """Passed fields: unit_id, field_id, version, shard."""
    judged = tables.read_tables(qc, [*KEY, "shard", "status"])
    passed = judged[judged["status"] == PASSED]
    return passed.assign(unit_id=passed["field_id"] + "@" + passed["version"])[["unit_id", *KEY, "shard"]]


def cell_units(cells: Sequence[str]) -> pd.DataFrame:
    """Kept cells: unit_id, field_id, version, shard."""
    ledger = tables.read_tables(cells, ["cell_id", *KEY, "shard", "status"])
    kept = ledger[ledger["status"] == KEPT]
    return kept.rename(columns={"cell_id": "unit_id"})[["unit_id", *KEY, "shard"]]


def training_rows(
    units: pd.DataFrame, words: Vocabulary, settings: Mapping[str, Any]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows of the table.

    Args:
        units: unit_id, field_id, version, shard, labels, control, gene_group, fold, reagent, full_scale.
        words: the vocabulary.
        settings: as of `make_training_table`.

    Returns:
        rows: COLUMNS and one bool column a class, in the order of `units`.
        left_out: number of the others: `unlabelled` (nothing published that the vocabulary has), `no_fold`.
    """
    truth, known = indicator(units, words, settings["controls"])
    folded = units["fold"].notna().to_numpy()
    keep = known & folded
    rows = units[keep].reset_index(drop=True)
    fold = rows["fold"].astype(int)
    part = np.select([fold == settings["test_fold"], fold == settings["validation_fold"]], [TEST, VALIDATION], TRAIN)
    rows = rows.assign(fold=fold, part=part)[list(COLUMNS)]
    labels = truth[keep]
    if settings["permuted"]:
        labels = permuted(labels, rows, settings["seed"])
    counts = {"unlabelled": int((~known).sum()), "no_fold": int((known & ~folded).sum())}
    classes = pd.DataFrame(labels, columns=list(words.classes))
    return pd.concat([rows, classes], axis=1), {name: count for name, count in counts.items() if count}


def permuted(labels: np.ndarray, rows: pd.DataFrame, seed: int) -> np.ndarray:
    """Labels exchanged between genes, apart from those of the test: what is learned from them is chance.

    Genes rather than units are exchanged, so that as much can be learned by heart as of true labels.

    Args:
        labels: (N, K) bool.
        rows: `gene_group`, `part` of each.
        seed: of the draw.
    """
    changed = labels.copy()
    rng = np.random.default_rng(seed)
    for part in (TRAIN, VALIDATION):
        own = np.flatnonzero(rows["part"] == part)
        genes = [own[places] for places in rows.iloc[own].groupby("gene_group", sort=True).indices.values()]
        for target, source in zip(genes, rng.permutation(len(genes)).tolist(), strict=True):
            changed[target] = labels[genes[source][0]]
    return changed


def check_parts(model: str, rows: pd.DataFrame, settings: Mapping[str, Any]) -> None:
    """Stop where nothing can be learned.

    Raises:
        ValueError: a part that training needs is empty.
    """
    counts = rows["part"].value_counts()
    for part, key in ((TRAIN, None), (VALIDATION, "validation_fold")):
        if not counts.get(part, 0):
            folds = ", ".join(str(fold) for fold in sorted(rows["fold"].unique()))
            raise ValueError(
                f"model {model!r} has no labelled units to {'learn from' if key is None else 'choose the network by'}: "
                f"labelled units lie in the folds {folds or 'none'}; test_fold is {settings['test_fold']} and "
                f"validation_fold {settings['validation_fold']} (models.{model}.training)"
            )


def part_counts(rows: pd.DataFrame, words: Vocabulary) -> dict[str, dict[str, Any]]:
    """For each part the number of its units, fields, genes, and of units of each class."""
    found = {}
    for part in PARTS:
        own = rows[rows["part"] == part]
        classes = own[list(words.classes)].sum()
        found[part] = {
            "units": len(own),
            "fields": len(own[KEY].drop_duplicates()),
            "genes": int(own["gene_group"].nunique()),
            "classes": {name: int(count) for name, count in classes.items()},
        }
    return found
