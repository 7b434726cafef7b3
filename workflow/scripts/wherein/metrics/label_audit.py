"""How many of the labels that are known to be wrong the label audit finds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.atomic import write_json
from wherein.metrics.classification import auc
from wherein.summary import stage_summary
from wherein.tables import current_fields, read_tables

FIRST = (10, 20, 50)
"""Heads of the ranking of which precision is told."""

KEY = ["field_id", "version"]


def evaluate_audit(
    model: str,
    by_protein: str | Path,
    by_sample: str | Path,
    fields: str | Path,
    truth: Sequence[str | Path],
    scores: str | Path,
    summary: str | Path,
) -> None:
    """Compare the audit of a model with the samples whose labels the simulator made wrong.

    Args:
        model: name of the model.
        by_protein: results/biology/{model}/audit.tsv.
        by_sample: results/biology/{model}/audit_samples.tsv.
        fields: results/catalog/fields.parquet.
        truth: results/truth/{shard} of the simulated shards.
        scores: results/evaluation/{model}/audit.json, written.
        summary: results/summaries/evaluate_audit/{model}.json, written.
    """
    with stage_summary(summary, "evaluate_audit", model, ("numpy", "pandas")) as told:
        wrong = wrong_samples(fields, truth)
        found: dict[str, Any] = {"model": model}
        for level, path in (("proteins", by_protein), ("samples", by_sample)):
            table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype={"protein": str})
            found[level] = judged(table, wrong, level) if truth else None
        write_json(scores, found)
        own = found["samples"]
        told.counts = {"in": 0, "kept": 0} if own is None else {"in": own["n"], "kept": own["n"]}
        told.extra = {name: found[name] for name in ("proteins", "samples")}
        told.notes = sentences(found)


def wrong_samples(fields: str | Path, truth: Sequence[str | Path]) -> set[tuple[str, str]]:
    """Protein and sample of the fields whose labels were made wrong."""
    paths = [str(Path(folder) / "fields.parquet") for folder in truth]
    if not paths:
        return set()
    drawn = read_tables(paths, [*KEY, "gene", "mislabelled"])
    drawn = drawn[drawn["mislabelled"].eq(True)]
    table = current_fields(fields)[[*KEY, "sample"]].merge(drawn, on=KEY)
    return set(zip(table["gene"].astype(str), table["sample"].astype(str), strict=True))


def judged(table: pd.DataFrame, wrong: set[tuple[str, str]], level: str) -> dict[str, Any]:
    """How well the audit ranks what is wrong.

    Args:
        table: audit.tsv or audit_samples.tsv.
        wrong: protein and sample of what is wrong.
        level: `proteins`, which are wrong if any sample of theirs is, or `samples`.

    Returns:
        n (judged), n_wrong, share_wrong, auc (probability that a wrong one is contradicted more than a right one; None
        without both), precision (of the first 10, 20 and 50: share that is wrong), most (the highest that could be),
        found (wrong ones with a q of at most 0.05), false (right ones with such a q).
    """
    rows = table[table["score"].notna()].sort_values("rank")
    if level == "proteins":
        names = {protein for protein, _ in wrong}
        mark = rows["protein"].isin(names).to_numpy()
    else:
        pairs = zip(rows["protein"].astype(str), rows["sample"].astype(str), strict=True)
        mark = np.array([pair in wrong for pair in pairs], bool)
    count = int(mark.sum())
    area = auc(mark[:, None], rows["score"].to_numpy(float)[:, None])[0] if len(rows) else np.nan
    sure = (rows["q"] <= 0.05).to_numpy()
    heads = [first for first in FIRST if first <= len(rows)]
    return {
        "n": len(rows),
        "n_wrong": count,
        "share_wrong": count / len(rows) if len(rows) else None,
        "auc": None if np.isnan(area) else round(float(area), 6),
        "precision": {str(first): float(mark[:first].mean()) for first in heads},
        "most": {str(first): min(1.0, count / first) for first in heads},
        "found": int((mark & sure).sum()),
        "false": int((~mark & sure).sum()),
    }


def sentences(found: dict[str, Any]) -> list[str]:
    """What the report says of it."""
    told = []
    for level in ("proteins", "samples"):
        own = found[level]
        if own and own["n_wrong"]:
            head = "20" if "20" in own["precision"] else next(iter(own["precision"]), None)
            among = (
                f"{round(own['precision'][head] * int(head))} of the first {head} are such ({own['most'][head]:.0%} "
                "at most could be)"
                if head
                else "too few to rank"
            )
            area = "" if own["auc"] is None else f", AUC {own['auc']:.3f}"
            told.append(
                f"label audit of {level}: {own['n_wrong']} of {own['n']} were given wrong labels; {among}{area}"
            )
    return told
