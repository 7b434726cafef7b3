"""Which samples have cells of more than one pattern, and whether that follows the cycle, size or outline of cells."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from wherein.analysis.aggregate import group_means
from wherein.analysis.correction import adjusted
from wherein.analysis.covariates import GROUPS, NAMES, explained, standardized, without_covariates
from wherein.analysis.spread import from_median, limited
from wherein.analysis.within_samples import Tested, judge_samples

COLUMNS = (
    *("sample", "gene", "cell_line", "reagent", "n_cells", "n_fields", "excess", "z", "p", "q", "minority_share"),
    *("cycle_r2", "cycle_p", "size_r2", "size_p", "outline_r2", "outline_p", "explained_by", "heterogeneous"),
    *("p_exchanged", "cells_low", "cells_high"),
)
"""results/biology/{model}/heterogeneity_samples.tsv"""

EXPLAINS = 0.01
"""A covariate explains a sample's differences if its own F test has a smaller p than this."""

FEWEST_ON_PLATE = 3
"""Samples on a plate by which its shift can be told; those of plates with fewer are compared within their cell line."""

CELLS_PER_COMPONENT = 400
"""Cells for each component that is looked at: with fewer, the directions of patterns drown in those of chance."""

LIMIT = 5.0
"""Robust standard deviations to which cells are limited along a component, so that none moves its sample's mean far."""

FEWEST_COMPONENTS = 5
"""Components that are looked at in any case."""

SAMPLE = ["source", "sample", "protein", "cell_line"]


@dataclass
class Compared:
    """Cells that can be compared within and between fields.

    Attributes:
        scores: (N, K) principal components without what covariates explain in all proteins alike, outliers limited.
        field: (N,) number of the field.
        line: (N,) number of the cell line.
        covariates: (N, Q) as `standardized` gives them, of NAMES.
    """

    scores: np.ndarray
    field: np.ndarray
    line: np.ndarray
    covariates: np.ndarray


@dataclass
class Judgement:
    """Groups of cells, judged.

    Attributes:
        rows: one row a group: the columns that make it, n_cells, n_fields and those of COLUMNS that a test gives.
        code: (N,) number of each cell's row.
        tested: what the test found.
    """

    rows: pd.DataFrame
    code: np.ndarray
    tested: Tested


def comparable(scores: np.ndarray, table: pd.DataFrame, covariates: pd.DataFrame, settings: dict[str, Any]) -> Compared:
    """Take out of cells' scores what covariates explain, and limit outliers.

    Args:
        scores: (N, K) principal components.
        table: the same N cells: field_id, version, cell_line.
        covariates: as `read_covariates` gives them.
        settings: section `biology`: `pattern_components`.
    """
    told = max(FEWEST_COMPONENTS, len(scores) // CELLS_PER_COMPONENT)
    scores = scores[:, : min(settings["pattern_components"], told)]
    field = table.groupby(["field_id", "version"], sort=False).ngroup().to_numpy()
    line = table.groupby("cell_line", sort=True).ngroup().to_numpy()
    near = from_median(scores, field) if len(scores) else np.array(scores, np.float64)
    # in place from here on: of many cells a further copy is a gigabyte
    whole = scores - near
    for number in np.unique(line):
        near[line == number] = limited(near[line == number], LIMIT)
    if not len(scores):
        return Compared(near, field, line, np.zeros((0, len(NAMES))))
    values = standardized(covariates[list(NAMES)].to_numpy(float), field, line)
    means = group_means(near, field, field.max() + 1)[field]
    near -= means
    whole += means
    del means
    whole += without_covariates(near, values, field, line)
    return Compared(whole, field, line, values)


def judge(
    compared: Compared | None,
    table: pd.DataFrame,
    columns: list[str],
    settings: dict[str, Any],
    exchanged: bool = False,
) -> Judgement | None:
    """Test groups of cells.

    Args:
        compared: the cells; None for a model of fields, which has none.
        table: the same N cells.
        columns: columns of `table` that make a group, the cell line among them.
        settings: section `biology`.
        exchanged: deal the cells anew among the groups of a cell line first.
    """
    if compared is None:
        return None
    groups = table.groupby(columns, sort=True, dropna=False)
    code = groups.ngroup().to_numpy()
    rows = groups.size().rename("n_cells").reset_index()
    number = len(rows)
    pairs = pd.DataFrame({"code": code, "field": compared.field}).drop_duplicates()
    rows["n_fields"] = pairs["code"].value_counts().reindex(range(number)).to_numpy()
    first = np.full(number, 0)
    first[code[::-1]] = np.arange(len(code))[::-1]
    line = compared.line[first] if number else np.zeros(0, int)
    tested = judge_samples(
        compared.scores,
        compared.field,
        code,
        line,
        batches(table["plate"].iloc[first], line),
        settings["min_cells"],
        settings["min_groups"],
        settings["heterogeneity_seed"],
        exchanged,
    )
    rows["excess"], rows["z"], rows["p"] = tested.excess, tested.z, tested.p
    rows["q"] = adjusted(rows["p"])
    follows = explained(tested.axis, compared.covariates, NAMES, compared.field, code, number)
    rows = pd.concat([rows, follows], axis=1)
    rows["explained_by"] = [explanation(row) for row in follows.to_dict("records")]
    return Judgement(rows, code, tested)


def batches(plates: pd.Series, lines: np.ndarray) -> np.ndarray:
    """Number of the batch of each sample: its cell line on its plate, where that has FEWEST_ON_PLATE samples."""
    text = plates.fillna("").astype(str).to_numpy(str)
    together = np.array([f"{line}/{plate}" for line, plate in zip(lines, text, strict=True)], dtype=str)
    if not len(together):
        return np.zeros(0, int)
    _, codes, counts = np.unique(together, return_inverse=True, return_counts=True)
    few = (counts[codes] < FEWEST_ON_PLATE) | (text == "")
    return np.unique(np.where(few, np.array([f"{line}" for line in lines]), together), return_inverse=True)[1]


def explanation(row: dict[str, float]) -> str | None:
    """Groups of covariates that a sample's differences follow, the clearest first, joined by `;`."""
    found = sorted((row[f"{name}_p"], name) for name in GROUPS if row[f"{name}_p"] <= EXPLAINS)
    return ";".join(name for _, name in found) or None


def minority(axis: np.ndarray) -> float:
    """Share of the smaller of the two groups into which values along an axis fall best (Otsu 1979).

    The cut is where the variance between the two sides is largest.
    """
    ordered = np.sort(axis)
    number = len(ordered)
    if number < 2 or ordered[0] == ordered[-1]:
        return np.nan
    below = np.arange(1, number)
    sums = np.cumsum(ordered)
    means = sums[:-1] / below, (sums[-1] - sums[:-1]) / (number - below)
    cut = int(below[np.argmax(below * (number - below) * (means[1] - means[0]) ** 2)])
    return min(cut, number - cut) / number


def sample_rows(
    compared: Compared | None, table: pd.DataFrame, settings: dict[str, Any]
) -> tuple[pd.DataFrame, list[str]]:
    """Rows of heterogeneity_samples.tsv, the most certain first, and notes on them.

    Args:
        compared: the cells; None for a model of fields.
        table: the same N cells: unit_id and what SAMPLE names, reagent, plate.
        settings: section `biology`.
    """
    found = judge(compared, table, SAMPLE, settings)
    if found is None or not len(found.rows):
        return pd.DataFrame(columns=list(COLUMNS)), []
    null = judge(compared, table, SAMPLE, settings, exchanged=True)
    rows = found.rows.rename(columns={"protein": "gene"})
    rows["p_exchanged"] = null.tested.p if null else np.nan
    rows["reagent"] = table.groupby(found.code)["reagent"].first().reindex(range(len(rows))).to_numpy()
    places = pd.Series(found.tested.axis).groupby(found.code).indices
    ids = table["unit_id"].to_numpy(object)
    for code, own in places.items():
        known = own[np.isfinite(found.tested.axis[own])]
        if not len(known):
            continue
        ordered = known[np.argsort(found.tested.axis[known], kind="stable")]
        shown = min(settings["examples"], len(ordered) // 2)
        rows.loc[code, "minority_share"] = minority(found.tested.axis[ordered])
        rows.loc[code, "cells_low"] = ";".join(ids[ordered[:shown]])
        rows.loc[code, "cells_high"] = ";".join(ids[ordered[len(ordered) - shown :]])
    badly = rows["explained_by"].fillna("").str.contains("outline")
    rows["heterogeneous"] = (rows["q"] <= settings["heterogeneity_q"]) & ~badly
    rows = rows.reindex(columns=list(COLUMNS)).sort_values(
        ["p", "gene", "cell_line", "sample"], ignore_index=True, na_position="last"
    )
    return rows, notes_on(rows, found.tested, settings)


def notes_on(rows: pd.DataFrame, tested: Tested, settings: dict[str, Any]) -> list[str]:
    """What was found, in words."""
    judged = int(rows["p"].notna().sum())
    if not judged:
        return ["no sample has cells, and no cell line samples enough for a test of heterogeneity"]
    significant = rows["q"] <= settings["heterogeneity_q"]
    location, scale = tested.spread
    doubtful = int((significant & ~rows["heterogeneous"]).sum())
    found = (
        f"{int(significant.sum())} of {judged} samples have cells of more than one pattern (q at most "
        f"{settings['heterogeneity_q']}, Benjamini-Hochberg over {judged}); in {doubtful} of them that follows how "
        "well cells are outlined, and these are not called heterogeneous"
    )
    return [found, f"usual samples: location {location:.2f} and scale {scale:.2f} against cells dealt anew"]
