"""The stage import_vectors: rows of a table of vectors get their verdict, and cells their rows in the ledger."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.crops.ledger import apply_overrides
from wherein.exchange.vector_listing import read_vector_listing
from wherein.exchange.vector_table import Place
from wherein.qc import write_verdicts
from wherein.reasons import CELL_REASONS, FAILED, FIELD_REASONS, KEPT, PASSED, REJECTED, check_reason
from wherein.summary import stage_summary
from wherein.tables import FILES, cells_schema, fields_of_shard, write_table

log = logging.getLogger(__name__)

Key = tuple[str, str]

NOTHING_THERE = ("no_vector", "not_finite")
"""Reasons that no curator's word can lift."""


def import_vectors(
    shard: str,
    fields: str | Path,
    listed: str | Path,
    source: dict[str, Any],
    settings: dict[str, Any],
    field_words: Sequence[Sequence[str]],
    cell_words: Sequence[Sequence[str]],
    files: str | Path,
    qc: str | Path,
    cells: str | Path,
    summary: str | Path,
) -> None:
    """Judge the fields of a shard by their rows of the table of vectors, and write what later stages ask for.

    Args:
        shard: name of the shard.
        fields: results/catalog/fields.parquet.
        listed: results/catalog/vectors.parquet.
        source: configuration of the source; `table` and `level` count.
        settings: the section `qc` of the configuration; `failed_share` and `failed_fields` count.
        field_words: a curator's words on fields, as lists in the order of `wherein.overrides.COLUMNS`.
        cell_words: the same on cells.
        files: results/download/{shard}.parquet to write: the table, for each field.
        qc: results/qc/{shard}.parquet to write.
        cells: results/cells/{shard}.parquet to write; without rows at level field.
        summary: JSON to write; it counts fields.
    """
    with stage_summary(summary, "import_vectors", shard, ("pandas", "pyarrow")) as told:
        catalog = fields_of_shard(fields, shard)
        keys = list(zip(catalog["field_id"], catalog["version"], strict=True))
        gone = catalog["retired_in"].notna().to_numpy()
        name = str(catalog["source"].iloc[0])
        listing = read_vector_listing(listed, shard)
        write_table(files, _files(keys, gone, source["table"]), FILES)
        about = {"shard": shard, "source": name}
        rows = [{"field_id": key[0], "version": key[1], **about, **_verdict(listing.get(key), source)} for key in keys]
        told.counts.update(write_verdicts(qc, rows, [], field_words, shard, settings))
        ledger, notes = _ledger(shard, name, listing if source["level"] == "cell" else {}, cell_words)
        passed = {(row["field_id"], row["version"]) for row in rows if row["status"] == PASSED}
        passed |= {key for key in listing if _kept_by(field_words, key)}
        inside = np.array([key in passed for key in zip(ledger["field_id"], ledger["version"], strict=True)], bool)
        ledger = ledger[inside]
        write_table(cells, ledger, cells_schema([]))
        told.notes += notes
        told.extra["cells"] = dict(Counter(ledger["reason"]))


def _files(keys: Sequence[Key], gone: np.ndarray, table: str) -> pd.DataFrame:
    rows = [
        {
            "field_id": field_id,
            "version": version,
            "path": table,
            "status": "failed" if retired else "ok",
            "reason": "retired" if retired else None,
            "gain": 1,
            "bin": 1,
        }
        for (field_id, version), retired in zip(keys, gone, strict=True)
    ]
    return pd.DataFrame(rows)


def _verdict(places: Sequence[Place] | None, source: dict[str, Any]) -> dict[str, Any]:
    """Status, reason and detail of a field: at level cell it passes with one cell that has a vector."""
    if places is None:
        return {"status": FAILED, "reason": "retired", "detail": FIELD_REASONS["retired"]}
    wrong = next((place for place in places if place.reason == "unknown_identifier"), None)
    if wrong is None and all(place.reason for place in places):
        wrong = places[0]
    if wrong is None:
        return {"status": PASSED, "reason": PASSED, "detail": None}
    status = FAILED if wrong.reason in NOTHING_THERE else REJECTED
    detail = f"row {wrong.row + 1} of {Path(source['table']).name}: {wrong.detail}"
    return {"status": status, "reason": check_reason(str(wrong.reason), FIELD_REASONS), "detail": detail}


def _kept_by(words: Sequence[Sequence[str]], key: Key) -> bool:
    return any(word[1] == key[0] and word[2] == "keep" for word in words)


def _ledger(
    shard: str, source: str, listing: dict[Key, list[Place]], words: Sequence[Sequence[str]]
) -> tuple[pd.DataFrame, list[str]]:
    """Rows of the ledger, one a cell, and notes on words that could not be followed."""
    rows = []
    for (field_id, version), places in listing.items():
        for place in places:
            # what speaks against the field as a whole is told in qc
            reason = place.reason if place.reason in CELL_REASONS else None
            rows.append(
                {
                    "cell_id": f"{field_id}@{version}:{place.number + 1}",
                    "field_id": field_id,
                    "version": version,
                    "shard": shard,
                    "source": source,
                    "label": place.number + 1,
                    "status": REJECTED if reason else KEPT,
                    "reason": reason or KEPT,
                    # null where there is nothing to keep, as `apply_overrides` asks for
                    "area_um2": np.nan if reason in NOTHING_THERE else 0.0,
                }
            )
    columns = ["cell_id", "field_id", "version", "shard", "source", "label", "status", "reason", "area_um2"]
    ledger, notes = apply_overrides(pd.DataFrame(rows, columns=columns), words)
    return ledger.drop(columns="area_um2"), notes
