"""What a release changed: fields that came, changed, were relabelled or went, and proteins that moved on the map."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from wherein.analysis.aggregate import protein_names

CHANGES = {
    "added": "a field that was not there before",
    "changed": "another version: its pixels, or what they depend on, changed",
    "relabelled": "other published locations, or a curator's",
    "removed": "a field that is not there anymore",
}
"""Kinds of changes of a field, in the order of the pages."""

MOST_ROWS = 20000
"""Most changes of fields that the pages hold: a browser reads them all at once."""

MARKED = ("moved", "relabelled")
"""What the atlas says of a protein that changed."""


def read_changes(diff: str, fields: str) -> pd.DataFrame:
    """Read the history of changes, with the protein of each field.

    Args:
        diff: results/catalog/release_diff.tsv.
        fields: results/catalog/fields.parquet.

    Returns:
        The table's columns as text, "" where nothing is known, and `protein`; in the order of the table.
    """
    table = pd.read_csv(diff, sep="\t", dtype=str, keep_default_na=False)
    known = pq.read_table(fields, columns=["source", "field_id", "genes", "ensembl_ids"]).to_pandas()
    known = known.drop_duplicates(["source", "field_id"], keep="last")
    known["protein"] = protein_names(known)
    return table.merge(known[["source", "field_id", "protein"]], on=["source", "field_id"], how="left")


def summary_of_changes(changes: pd.DataFrame) -> list[dict[str, Any]]:
    """Number of fields by kind of change, for each step of a source from one release to the next.

    Args:
        changes: as `read_changes` gives them.

    Returns:
        Steps, the newest first: source, old_release, release, first (whether it is the source's first release), and
        one count for each kind of change.
    """
    steps: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in changes.itertuples():
        key = (row.source, row.old_release, row.release)
        step = steps.setdefault(
            key,
            {"source": row.source, "old_release": row.old_release, "release": row.release,
             "first": not row.old_release, **dict.fromkeys(CHANGES, 0)},
        )  # fmt: skip
        step[row.change] += 1
    return list(steps.values())[::-1]


def news(changes: pd.DataFrame) -> pd.DataFrame:
    """Changes that are news: not the first fields of a source; the newest first."""
    return changes[changes["old_release"] != ""][::-1]


def release_data(changes: pd.DataFrame, places: dict[str, int]) -> dict[str, Any]:
    """The changes of fields as the pages' scripts read them.

    Args:
        changes: as `read_changes` gives them.
        places: proteins that have a page.

    Returns:
        Columns, and `total`, the number of changes that there are.
    """
    told = news(changes)
    shown = told.head(MOST_ROWS)
    columns = ("source", "old_release", "release", "field_id", "change", "old", "new")
    return {
        "total": len(told),
        "meaning": CHANGES,
        **{name: shown[name] for name in columns},
        "protein": [name if isinstance(name, str) else None for name in shown["protein"]],
        "known": [name in places for name in shown["protein"]],
    }


def moves(moved: pd.DataFrame) -> dict[str, Any]:
    """Proteins of a model in two release states as the pages' scripts read them, the marked ones alone.

    Args:
        moved: results/atlas/{model}/moved.tsv.

    Returns:
        `old_state`, `state` (None while there is only one), `compared` (proteins that both have), `tested`
        (how many of them have a p), `moved` and `relabelled` (how many are marked so), and `rows`: columns of the
        marked ones.
    """
    marked = moved[moved["mark"].isin(MARKED)]
    # labels are lists in a text; what is not known stays null
    texts = ("protein", "protein_before", "mark", "labels_before", "labels_after", "labels_added", "labels_removed")
    numbers = ("n_fields_before", "n_fields_after", "shift", "expected", "q", "neighbours_kept",
               "umap_1_before", "umap_2_before", "umap_1", "umap_2")  # fmt: skip
    return {
        "old_state": moved["old_state"].iloc[0] if len(moved) else None,
        "state": moved["state"].iloc[0] if len(moved) else None,
        "compared": len(moved),
        "tested": int(moved["p"].notna().sum()),
        **{mark: int((marked["mark"] == mark).sum()) for mark in MARKED},
        "relabelledToo": [bool(flag) for flag in marked["relabelled"].astype(str) == "True"],
        "rows": {
            **{name: marked[name].astype(object).where(marked[name].notna(), None) for name in texts},
            **{name: marked[name].astype(float) for name in numbers},
        },
    }


def mark_of(moved: pd.DataFrame, proteins: Sequence[str]) -> dict[str, list[Any]]:
    """What the pages say of each protein: its mark.

    Args:
        moved: results/atlas/{model}/moved.tsv.
        proteins: names.

    Returns:
        `mark`: `moved`, `relabelled`, `unchanged`, or None where there is nothing to compare with; `row`: its number
        among the rows of `moves`, or None.
    """
    mark = dict(zip(moved["protein"], moved["mark"], strict=True))
    row = {name: number for number, name in enumerate(moved.loc[moved["mark"].isin(MARKED), "protein"])}
    told = [(mark[name] if mark[name] in MARKED else "unchanged") if name in mark else None for name in proteins]
    return {"mark": told, "row": [row.get(name) for name in proteins]}
