"""The stage embed of vectors made elsewhere: those of a shard's rows, and their class probabilities."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wherein.exchange.vector_listing import read_vector_listing
from wherein.exchange.vector_reading import numbered, open_vectors, vector_digests
from wherein.exchange.vector_table import Place
from wherein.labels import Vocabulary, vocabulary
from wherein.reasons import KEPT, PASSED
from wherein.summary import stage_summary
from wherein.tables import read_tables, write_predictions, write_vectors

log = logging.getLogger(__name__)


class ChangedTableError(ValueError):
    """A table of vectors is another one than the catalog saw."""


class Unit(NamedTuple):
    """A vector to hand on."""

    unit_id: str
    field_id: str
    version: str
    place: Place


def embed_vectors(
    model: str,
    shard: str,
    listed: str | Path,
    qc: str | Path,
    cells: str | Path,
    source: dict[str, Any],
    embeddings: str | Path,
    predictions: str | Path,
    summary: str | Path,
) -> None:
    """Hand the vectors of a shard on as embeddings, and class probabilities as predictions.

    Args:
        model: name of the model that stands for the vectors.
        shard: the shard.
        listed: results/catalog/vectors.parquet.
        qc: results/qc/{shard}.parquet.
        cells: results/cells/{shard}.parquet.
        source: configuration of the source.
        embeddings: results/embeddings/{model}/{shard}.parquet to write.
        predictions: results/predictions/{model}/{shard}.parquet to write; without columns of classes where the source
            has no probabilities.
        summary: JSON to write.

    Raises:
        ChangedTableError: the table changed since the catalog was written.
    """
    with stage_summary(summary, "embed", f"{model}/{shard}", ("numpy", "pandas", "pyarrow", "anndata")) as told:
        listing = read_vector_listing(listed, shard)
        units = _units(listing, qc, cells, source["level"])
        table = open_vectors(source["table"], source["key"], source["features"], source["columns"])
        vectors = table.rows([unit.place.row for unit in units])
        values, columns = _probabilities(units, source)
        _check(units, vectors, values, source["table"])
        about = {
            "model": model,
            "kind": "published",
            "level": source["level"],
            "dimensions": [] if numbered(table.features) else table.features,
            "roles": [],
            "weights": source["space"],
            "weights_sha256": None,
            "normalization": None,
        }
        frame = pd.DataFrame([unit[:3] for unit in units], columns=["unit_id", "field_id", "version"])
        write_vectors(embeddings, frame, vectors, about)
        classes, notes = pd.DataFrame(index=frame.index), []
        if values is not None:
            words = vocabulary(source["probabilities"]["vocabulary"])
            classes, notes = in_vocabulary(values, columns, words)
            about |= {"vocabulary": words.name, "classes": list(words.classes)}
        else:
            about |= {"vocabulary": None, "classes": []}
        write_predictions(predictions, frame, classes, about)
        told.counts = {"in": len(units), "kept": len(units)}
        told.extra["model"] = {key: value for key, value in about.items() if key not in ("dimensions", "classes")}
        told.notes += [*notes, *table.notes]
        log.info("%d vectors of %d features", *vectors.shape)


def in_vocabulary(values: np.ndarray, columns: Sequence[str], words: Vocabulary) -> tuple[pd.DataFrame, list[str]]:
    """Class probabilities under the names of a vocabulary.

    Args:
        values: (N, K) float32.
        columns: names of the K columns, in any release's spelling.
        words: the vocabulary.

    Returns:
        One column a class of the vocabulary: of several columns that mean one class the highest, 0 for a class that no
        column means (NaN for rows without any); and sentences on columns and classes without a counterpart.
    """
    meaning = [words.to_classes([name]) for name in columns]
    table, missing = {}, []
    for name in words.classes:
        own = [place for place, classes in enumerate(meaning) if name in classes]
        if not own:
            missing.append(name)
        silent = np.where(np.isfinite(values).all(axis=1), np.float32(0), np.float32(np.nan))
        table[name] = values[:, own].max(axis=1) if own else silent
    lost = [name for name, classes in zip(columns, meaning, strict=True) if not classes]
    notes = [f"columns that mean no class of {words.name}: {', '.join(lost)}"] if lost else []
    if missing:
        notes.append(f"classes of {words.name} that no column means count as never predicted: {', '.join(missing)}")
    return pd.DataFrame(table), notes


def _units(listing: dict[tuple[str, str], list[Place]], qc: str | Path, cells: str | Path, level: str) -> list[Unit]:
    """Units in the order of qc, or of the ledger."""
    if level == "field":
        verdicts = read_tables([qc], ["field_id", "version", "status"])
        passed = verdicts[verdicts["status"] == PASSED]
        keys = list(zip(passed["field_id"], passed["version"], strict=True))
        return [Unit("@".join(key), *key, listing[key][0]) for key in keys]
    ledger = read_tables([cells], ["cell_id", "field_id", "version", "label", "status"])
    kept = ledger[ledger["status"] == KEPT]
    cells_of = zip(kept["cell_id"], kept["field_id"], kept["version"], kept["label"], strict=True)
    return [Unit(cell, *key, listing[key[0], key[1]][int(label) - 1]) for cell, *key, label in cells_of]


def _probabilities(units: Sequence[Unit], source: dict[str, Any]) -> tuple[np.ndarray | None, list[str]]:
    """(N, K) class probabilities of the units, NaN for those without any, and names of the columns; None without."""
    if not source["probabilities"]:
        return None, []
    table = open_vectors(source["probabilities"]["table"], None, None, source["columns"])
    known = [number for number, unit in enumerate(units) if unit.place.probability_row is not None]
    values = np.full((len(units), len(table.features)), np.nan, np.float32)
    values[known] = table.rows([units[number].place.probability_row or 0 for number in known])
    return values, table.features


def _check(units: Sequence[Unit], vectors: np.ndarray, values: np.ndarray | None, path: str) -> None:
    found = vector_digests(vectors, values)
    changed = [unit for unit, own in zip(units, found, strict=True) if unit.place.digest != own]
    if changed:
        raise ChangedTableError(
            f"{path}: {len(changed)} of {len(units)} rows are not those that the catalog saw, the first is that of "
            f"{changed[0].field_id}: list the table anew (snakemake catalog --forcerun catalog), then run again"
        )
