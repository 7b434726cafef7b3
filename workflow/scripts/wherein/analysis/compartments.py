"""Where between two compartments each cell of a protein lies (Lu et al. 2019, Figure 5)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

COLUMNS = (
    *("first", "second", "gene", "cell_line", "labels", "n_cells", "n_fields", "mean", "sd", "mean_z", "sd_ratio"),
)
"""results/biology/{model}/compartments.tsv"""

CELL_COLUMNS = ("first", "second", "labels", "cell_id", "gene", "cell_line", "score")
"""results/biology/{model}/compartment_cells.parquet"""

ONE, OTHER, BOTH = "first", "second", "both"


class Pair(NamedTuple):
    """Two compartments and the proteins that are annotated to one of them alone, or to both."""

    first: str
    second: str


def choose_pairs(sets: Sequence[frozenset[str]], proteins: np.ndarray, fewest: int, most: int) -> list[Pair]:
    """The pairs of locations that most proteins have together, each location also having proteins of its own.

    Args:
        sets: locations of each of N cells' images.
        proteins: (N,) number of the protein.
        fewest: proteins that each of the three groups of a pair needs.
        most: pairs wanted.
    """
    members: dict[frozenset[str], set[int]] = {}
    for own, protein in zip(sets, proteins, strict=True):
        members.setdefault(own, set()).add(int(protein))
    alone = {next(iter(own)): len(found) for own, found in members.items() if len(own) == 1}
    both = {own: len(found) for own, found in members.items() if len(own) == 2}
    usable = [own for own in both if both[own] >= fewest and all(alone.get(name, 0) >= fewest for name in own)]
    ordered = sorted(usable, key=lambda own: (-both[own], sorted(own)))
    return [Pair(*sorted(own)) for own in ordered[:most]]


def groups_of(sets: Sequence[frozenset[str]], pair: Pair) -> np.ndarray:
    """(N,) `first`, `second` (annotated to that compartment alone), `both` (to exactly the two), else empty."""
    names = {frozenset({pair.first}): ONE, frozenset({pair.second}): OTHER, frozenset(pair): BOTH}
    return np.array([names.get(own, "") for own in sets], dtype=object)


def log_ratio(scores: np.ndarray, groups: np.ndarray, proteins: np.ndarray) -> np.ndarray:
    """Logarithm of a cell's distance to the first compartment's mean over that to the second's.

    Negative is nearer the first. Means are over all cells of images annotated to one compartment alone; those of the
    cell's own protein are left out, or a protein would lie near itself.

    Args:
        scores: (N, K).
        groups: (N,) as `groups_of` gives them.
        proteins: (N,) number of the protein.

    Returns:
        (N,) float64, NaN for cells of no group and where a compartment has no other protein.
    """
    found = np.full(len(scores), np.nan)
    wanted = np.flatnonzero(groups != "")
    number = int(proteins.max(initial=0)) + 1
    distance = {}
    for group in (ONE, OTHER):
        mine = np.flatnonzero(groups == group)
        of_protein = np.bincount(proteins[mine], minlength=number)
        sums = (
            pd.DataFrame(scores[mine]).groupby(proteins[mine]).sum().reindex(range(number), fill_value=0.0).to_numpy()
        )
        count = len(mine) - of_protein[proteins[wanted]]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (sums.sum(axis=0) - sums[proteins[wanted]]) / np.where(count > 0, count, np.nan)[:, None]
        distance[group] = np.linalg.norm(scores[wanted] - mean, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found[wanted] = np.log(distance[ONE] / distance[OTHER])
    return np.where(np.isfinite(found), found, np.nan)


def compartment_tables(
    scores: np.ndarray,
    units: pd.DataFrame,
    sets: Sequence[frozenset[str]],
    pairs: Sequence[Pair],
    fewest_cells: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of cells, and their mean and standard deviation for each protein and cell line.

    Args:
        scores: (N, K) of cells; the mean of each cell line over all cells is taken out here.
        units: the same N rows: unit_id, field_id, version, protein, cell_line.
        sets: locations of each cell's image.
        pairs: which compartments to compare.
        fewest_cells: cells that a row needs.

    Returns:
        rows: columns COLUMNS, by pair and falling `sd`; `mean_z` is the mean's distance from the middle of the two
            single groups' medians in units of half their distance (-1 the first's, 1 the second's), `sd_ratio` the
            standard deviation over the median one of proteins of one compartment alone in the same pair.
        cells: columns CELL_COLUMNS.
    """
    proteins = np.unique(units["protein"].to_numpy(str), return_inverse=True)[1].reshape(-1) if len(units) else []
    lines = pd.DataFrame(scores).groupby(units["cell_line"].to_numpy(str)).transform("mean").to_numpy()
    rows, cells = [], []
    for pair in pairs:
        groups = groups_of(sets, pair)
        values = log_ratio(scores - lines, groups, np.asarray(proteins))
        known = np.isfinite(values)
        own = units.loc[known, ["unit_id", "field_id", "version", "protein", "cell_line"]].assign(
            labels=groups[known], score=values[known], first=pair.first, second=pair.second
        )
        cells.append(own.rename(columns={"unit_id": "cell_id", "protein": "gene"}))
        rows.append(_rows(own, pair, fewest_cells))
    if not rows:
        return pd.DataFrame(columns=list(COLUMNS)), pd.DataFrame(columns=list(CELL_COLUMNS))
    found = pd.concat(rows, ignore_index=True)[list(COLUMNS)]
    return found, pd.concat(cells, ignore_index=True)[list(CELL_COLUMNS)]


def _rows(cells: pd.DataFrame, pair: Pair, fewest_cells: int) -> pd.DataFrame:
    middle = {group: cells.loc[cells["labels"] == group, "score"].median() for group in (ONE, OTHER)}
    half = (middle[OTHER] - middle[ONE]) / 2
    found = []
    for (gene, line, group), own in cells.groupby(["protein", "cell_line", "labels"], sort=True):
        if len(own) >= fewest_cells:
            mean = own["score"].mean()
            found.append(
                {
                    "first": pair.first,
                    "second": pair.second,
                    "gene": gene,
                    "cell_line": line,
                    "labels": group,
                    "n_cells": len(own),
                    "n_fields": len(own[["field_id", "version"]].drop_duplicates()),
                    "mean": mean,
                    "sd": own["score"].std(ddof=1),
                    "mean_z": (mean - middle[ONE] - half) / half if half > 0 else np.nan,
                }
            )
    table = pd.DataFrame(found, columns=[*COLUMNS])
    usual = table.loc[table["labels"] != BOTH, "sd"].astype(float).median()
    table["sd_ratio"] = table["sd"].astype(float) / usual if usual > 0 else np.nan
    return table.sort_values(["sd", "gene"], ascending=[False, True], ignore_index=True)
