"""Proteins and samples of a run, and what is known of each: labels, genes, reagents, plates."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wherein.labels import Vocabulary
from wherein.tables import current_fields

KEY = ["field_id", "version"]


class Items(NamedTuple):
    """Proteins, or samples, and what is known of them.

    Attributes:
        table: one row each: protein, sample, reagents, cell_lines, n_units; text, lists joined by `;`.
        vectors: (N, D), NaN where there are none.
        labels: (N, C) bool.
        genes, reagents, plates: N lists of names.
        fields: N lists of (field_id, version).
    """

    table: pd.DataFrame
    vectors: np.ndarray
    labels: np.ndarray
    genes: list[list[str]]
    reagents: list[list[str]]
    plates: list[list[str]]
    fields: list[list[tuple[str, str]]]


def plates_of(table: pd.DataFrame, fields: str | Path) -> pd.Series:
    """The plate of each unit's field, with its source; None where it is not known."""
    catalog = current_fields(fields)[[*KEY, "source", "plate"]].drop_duplicates(KEY)
    named = catalog["source"].astype(object) + "/" + catalog["plate"]
    plate = table[KEY].merge(catalog[KEY].assign(plate=named), on=KEY, how="left")["plate"]
    return pd.Series(plate.astype(object).where(plate.notna(), None).to_numpy(), table.index, dtype=object)


def describe(
    table: pd.DataFrame,
    codes: np.ndarray,
    count: int,
    vectors: np.ndarray,
    words: Vocabulary,
) -> Items:
    """Put together what is known of each item.

    Args:
        table: the units, with `plate`.
        codes: (units,) number of each one's item, negative for none.
        count: N items.
        vectors: (N, D) of the items.
        words: vocabulary of the labels.
    """
    inside = table[codes >= 0].assign(_item=codes[codes >= 0])
    sizes = np.bincount(inside["_item"], minlength=count)
    once = inside.drop_duplicates(["_item", *KEY])
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    lists: dict[str, list[list[str]]] = {name: [[] for _ in range(count)] for name in ("genes", "reagent", "plate")}
    labels = np.zeros((count, len(words.classes)), bool)
    fields: list[list[tuple[str, str]]] = [[] for _ in range(count)]
    for item, own in once.groupby("_item", sort=True):
        members = [name for names in own["genes"] for name in (names if names is not None else [])]
        lists["genes"][item] = list(dict.fromkeys([*map(str, members), str(own["protein"].iloc[0])]))
        for name in ("reagent", "plate"):
            lists[name][item] = sorted(own[name].dropna().astype(str).unique())
        labels[item] = words.indicator([[t for names in own["labels"] if names is not None for t in names]])[0]
        rows[item] = {
            "protein": own["protein"].iloc[0],
            "sample": ";".join(sorted(own["sample"].dropna().astype(str).unique())),
            "reagents": ";".join(lists["reagent"][item]),
            "cell_lines": ";".join(sorted(own["cell_line"].dropna().astype(str).unique())),
            "n_units": int(sizes[item]),
        }
        fields[item] = list(zip(own["field_id"], own["version"], strict=True))
    columns = ["protein", "sample", "reagents", "cell_lines", "n_units"]
    about = pd.DataFrame(rows, columns=columns)
    return Items(about, vectors, labels, lists["genes"], lists["reagent"], lists["plate"], fields)
