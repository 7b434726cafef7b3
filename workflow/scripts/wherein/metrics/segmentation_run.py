"""The stage `evaluate`, of outlines: every passed field of the simulated shards against its truth."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from wherein.atomic import atomic_path, write_json
from wherein.metrics.segmentation import MATCH_IOU, Agreement, compare
from wherein.reasons import KEPT, PASSED
from wherein.segmentation.masks import OBJECTS, read_masks
from wherein.summary import stage_summary

log = logging.getLogger(__name__)

COUNTS = ("n_true", "n_found", "matched", "iou_mean")
SCORES = ("recall", "precision", "f1", "false_share", "iou_mean")


def evaluate_segmentation(
    qc: Sequence[str | Path],
    masks: Sequence[str | Path],
    cells: Sequence[str | Path],
    truth: Sequence[str | Path],
    evaluation: dict[str, Any],
    fields: str | Path,
    scores: str | Path,
    summary: str | Path,
) -> None:
    """Compare outlines with the truth of simulated fields, at IoU MATCH_IOU.

    Only fields that passed quality control count. Objects cut by the field's border are not judged
    (`wherein.metrics.segmentation.compare`).

    Args:
        qc: results/qc/{shard}.parquet, one a shard.
        masks: results/masks/{shard}.zarr, in the same order.
        cells: results/cells/{shard}.parquet, in the same order.
        truth: results/truth/{shard}, in the same order.
        evaluation: the section `evaluate` of the configuration; it has no key for outlines.
        fields: table to write, one row a field.
        scores: JSON to write, over all fields and by source.
        summary: JSON to write.
    """
    with stage_summary(summary, "evaluate", "segmentation", ("scipy",)) as report:
        rows = [
            row
            for paths in zip(qc, masks, cells, truth, strict=True)
            for row in _shard_rows(*(Path(path) for path in paths))
        ]
        table = pd.DataFrame([_flat(row) for row in rows], columns=_columns())
        with atomic_path(fields) as partial:
            table.to_csv(partial, sep="\t", index=False, float_format="%.4f")
        write_json(scores, {"iou": MATCH_IOU, "n_fields": len(rows), **_scores(rows)})
        report.counts = {"in": len(rows), "kept": len(rows)}


def _shard_rows(qc: Path, masks: Path, cells: Path, truth: Path) -> list[dict[str, Any]]:
    passed = pq.read_table(qc).to_pandas().query("status == @PASSED", local_dict={"PASSED": PASSED})
    ledger = pq.read_table(cells, columns=["field_id", "version", "label", "status"]).to_pandas()
    kept = ledger[ledger["status"] == KEPT].groupby(["field_id", "version"])["label"].agg(list).to_dict()
    rows = []
    for field in passed.itertuples():
        key = (field.field_id, field.version)
        found, true = read_masks(masks, *key), read_masks(truth / "masks.zarr", *key)
        row: dict[str, Any] = {"field_id": key[0], "version": key[1], "source": field.source}
        for name, true_labels, found_labels in zip(OBJECTS, true, found, strict=True):
            row[name] = compare(true_labels, found_labels)
        # what is handed on to the models: the kept cells alone
        row["kept_cell"] = compare(true[1], np.where(np.isin(found[1], kept.get(key, [])), found[1], 0))
        rows.append(row)
    log.info("%s: %d fields", qc.stem, len(rows))
    return rows


def _columns() -> list[str]:
    return ["field_id", "version", "source", *(f"{count}_{name}" for name in OBJECTS for count in COUNTS)]


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """One row of fields.tsv."""
    counts = {f"{count}_{name}": getattr(row[name], count) for name in OBJECTS for count in COUNTS}
    return {"field_id": row["field_id"], "version": row["version"], "source": row["source"], **counts}


def _scores(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts and scores over all rows, and of each source."""
    sources = sorted({row["source"] for row in rows})
    result = {name: _summed([row[name] for row in rows]) for name in (*OBJECTS, "kept_cell")}
    result["sources"] = {
        source: {
            name: _summed([row[name] for row in rows if row["source"] == source]) for name in (*OBJECTS, "kept_cell")
        }
        for source in sources
    }
    return result


def _summed(parts: list[Agreement]) -> dict[str, float | int | None]:
    total = sum(parts, Agreement())
    scores = {name: getattr(total, name) for name in SCORES}
    return {
        "n_true": total.n_true,
        "n_found": total.n_found,
        "matched": total.matched,
        # JSON has no NaN
        **{name: None if np.isnan(value) else round(value, 6) for name, value in scores.items()},
    }
