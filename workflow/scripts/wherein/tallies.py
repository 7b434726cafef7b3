"""What jobs say that they counted, checked against the tables that they wrote."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from wherein.reasons import KEPT, PASSED

Line = tuple[str, str, str, str, int]
"""stage, source, item, reason, count"""


class BalanceError(ValueError):
    """Something was lost or counted twice on the way; the message says where and how many."""


def segment_lines(summaries: Iterable[str | Path], qc: pd.DataFrame, cells: pd.DataFrame) -> list[Line]:
    """Fields that were outlined, and whether the ledger has every outline.

    Args:
        summaries: results/summaries/segment/{shard}.json.
        qc: shard, status.
        cells: shard; one row a label.

    Returns:
        Lines of the stage segment by source.

    Raises:
        BalanceError: a shard's fields or labels do not agree with those of the stages beside it.
    """
    passed = Counter(qc["shard"][qc["status"] == PASSED])
    labels = Counter(cells["shard"]) if len(cells) else Counter()
    counts: dict[str, Counter[str]] = {}
    for job in map(_summary, summaries):
        shard, objects = job["item"], job["objects"]
        _agree("segment", shard, "fields that passed qc", passed[shard], "fields outlined", job["counts"]["in"])
        outlined = objects["cells"] + objects["nuclei_without_cell"]
        _agree("crop", shard, "labels in the masks", outlined, "rows in the ledger", labels[shard])
        counts.setdefault(_source(shard), Counter()).update(job["counts"])
    return _lines("segment", "fields", counts)


def download_fates(files: pd.DataFrame) -> pd.Series:
    """What became of each field version at download: kept, or the reason of its first role that has no file at all.

    Args:
        files: field_id, version, role, status, reason. A role has several files where a field's crops are spread over
            them; masks have the role null.

    Returns:
        kept or a reason, by (field_id, version), in the order of `files`.

    Raises:
        BalanceError: a file failed without a reason.
    """
    failed = files["reason"].where(files["status"] != "ok")
    if (failed.isna() & (files["status"] != "ok")).any():
        raise BalanceError("download: a file failed without a reason")
    rows = files[["field_id", "version", "role"]].assign(why=failed, fails=failed.notna())
    roles = rows.groupby(["field_id", "version", "role"], sort=False, dropna=False)
    told = roles.agg(why=("why", "first"), fails=("fails", "all"))
    return told["why"].where(told["fails"]).groupby(level=[0, 1], sort=False).first().fillna(KEPT)


def import_check(summaries: Iterable[str | Path], qc: pd.DataFrame, cells: pd.DataFrame) -> None:
    """Check that every field of crops made elsewhere was imported, and every crop that was found is in the ledger.

    Args:
        summaries: results/summaries/import_crops/{shard}.json.
        qc: shard, status.
        cells: shard; one row a crop.

    Raises:
        BalanceError: a shard's fields or crops do not agree with those of the stages beside it.
    """
    passed = Counter(qc["shard"][qc["status"] == PASSED])
    rows = Counter(cells["shard"]) if len(cells) else Counter()
    for job in map(_summary, summaries):
        shard = job["item"]
        _agree("import_crops", shard, "fields that passed qc", passed[shard], "fields imported", job["fields"])
        _agree("import_crops", shard, "crops found", job["counts"]["in"], "rows in the ledger", rows[shard])


def embed_lines(
    summaries: Sequence[str | Path], embeddings: Sequence[str | Path], qc: pd.DataFrame, cells: pd.DataFrame
) -> list[Line]:
    """Cells or fields that each model described.

    Args:
        summaries: results/summaries/embed/{model}/{shard}.json.
        embeddings: results/embeddings/{model}/{shard}.parquet of the same models and shards, in the same order.
        qc: shard, status.
        cells: shard, status.

    Returns:
        Lines of the stage embed by model and source.

    Raises:
        BalanceError: a model had other units than were kept, or wrote another number of vectors than it says.
    """
    kept = {
        "field": Counter(qc["shard"][qc["status"] == PASSED]),
        "cell": Counter(cells["shard"][cells["status"] == KEPT]) if len(cells) else Counter(),
    }
    counts: dict[tuple[str, str], dict[str, Counter[str]]] = {}
    for summary, path in zip(summaries, embeddings, strict=True):
        job, vectors = _summary(summary), pq.read_metadata(path).num_rows
        model, shard = Path(path).parent.name, Path(path).stem
        level = json.loads(pq.read_schema(path).metadata[b"wherein"])["level"]
        stage = f"embed {model}"
        _agree(stage, shard, f"{level}s kept before", kept[level][shard], f"{level}s read", job["counts"]["in"])
        _agree(stage, shard, f"{level}s described", job["counts"][KEPT], "vectors written", vectors)
        by_source = counts.setdefault((stage, f"{level}s"), {})
        by_source.setdefault(_source(shard), Counter()).update(job["counts"])
    return [line for (stage, item), by_source in counts.items() for line in _lines(stage, item, by_source)]


def _summary(path: str | Path) -> dict[str, Any]:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _source(shard: str) -> str:
    return shard.rsplit("-", 1)[0]


def _agree(stage: str, shard: str, left: str, one: int, right: str, other: int) -> None:
    if one != other:
        raise BalanceError(
            f"{stage}, shard {shard}: {one} {left}, but {other} {right}; run this stage again for it "
            f"(snakemake --forcerun {stage.split()[0]})"
        )


def _lines(stage: str, item: str, counts: dict[str, Counter[str]]) -> list[Line]:
    found: list[Line] = []
    for source, own in counts.items():
        if own["in"] != sum(own.values()) - own["in"]:
            raise BalanceError(f"{stage}, source {source}: {dict(own)} does not add up: in is not kept plus reasons")
        rest = sorted((reason, count) for reason, count in own.items() if reason not in ("in", KEPT))
        told = [("in", own["in"]), (KEPT, own[KEPT]), *rest]
        found += [(stage, source, item, reason, count) for reason, count in told]
    return found
