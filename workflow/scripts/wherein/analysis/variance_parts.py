"""Which share of the cells' variance lies between proteins, cell lines, antibodies, plates, fields, and cells."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = (*("gene", "component", "variance", "share", "share_low", "share_high", "levels", "n_cells", "note"),)
"""results/biology/{model}/variance.tsv"""

BLOCKS = 20
"""Groups of proteins that are left out in turn for the intervals."""

FEWEST_CELLS = 10
"""Cells that a protein needs for a partition of its own."""

INDEPENDENT = 1e-9
"""Least eigenvalue of the factors' normal equations, each of unit length, up to which one follows from others."""

FACTORS = ("cell_line", "antibody", "plate", "field")
"""What cells of one protein may differ by, beside themselves."""


def components(scores: np.ndarray, factors: Mapping[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
    """Variance components by the method of moments, summed over all dimensions.

    The product of two different cells is expected to be the sum of the variances of all factors that the two share;
    least squares over all pairs of cells gives the variances (Haseman and Elston 1972; minimum norm quadratic
    unbiased estimation with a prior of independent cells, Rao 1971). Factors may be crossed, nested and unbalanced.
    Pairs are never written out: sums over the levels of each factor and of each two hold all that is needed.

    Args:
        scores: (N, K) on one scale.
        factors: (N,) numbers of levels by name of the factor; a factor that tells no two cells apart in another way
            than one or several before it do, or has one level, or no two cells on one level, is left out.

    Returns:
        variances: by name, `cell` (what is left) last; negative ones are kept as they come.
        notes: why a factor was left out.
    """
    number = len(scores)
    notes: dict[str, str] = {}
    used: dict[str, np.ndarray] = {}
    for name, levels in factors.items():
        codes = np.unique(levels, return_inverse=True)[1].reshape(-1)
        count = int(codes.max(initial=-1)) + 1
        twin = next((other for other, own in used.items() if _same(own, codes)), None)
        if count < 2:
            notes[name] = "one level"
        elif count == number:
            notes[name] = "no two cells on one level"
        elif twin:
            notes[name] = f"the same as {twin}"
        else:
            used[name] = codes
    centred = np.asarray(scores, np.float64) - scores.mean(axis=0)
    square = float((centred**2).sum())
    codes = [np.zeros(number, int), *used.values()]
    sides = np.zeros((len(codes), len(codes)))
    products = np.zeros(len(codes))
    for row, own in enumerate(codes):
        products[row] = _sum_square(centred, own) - square
        for column in range(row, len(codes)):
            shared = _together(own, codes[column])
            sides[row, column] = sides[column, row] = float((np.bincount(shared).astype(float) ** 2).sum()) - number
    apart = _told_apart(sides)
    notes |= {name: "not told apart from those before" for place, name in enumerate(used, 1) if place not in apart}
    solved = np.linalg.lstsq(sides[np.ix_(apart, apart)], products[apart], rcond=None)[0]
    variances = {name: float(solved[apart.index(place)]) for place, name in enumerate(used, 1) if place in apart}
    variances["cell"] = square / max(number, 1) - float(solved.sum())
    return variances, notes


def _together(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    pairs = first.astype(np.int64) * (int(second.max(initial=0)) + 1) + second
    return np.unique(pairs, return_inverse=True)[1].reshape(-1)


def _told_apart(sides: np.ndarray) -> list[int]:
    """Rows of normal equations, from the first on, that are no linear combination of those before.

    Three fields of which each two share another factor say nothing of any of the factors: a least-squares solution of
    least length would look like an answer.
    """
    scale = np.sqrt(np.maximum(np.diag(sides), 1))
    unit = sides / np.outer(scale, scale)
    kept: list[int] = []
    for row in range(len(unit)):
        tried = [*kept, row]
        if np.linalg.eigvalsh(unit[np.ix_(tried, tried)])[0] > INDEPENDENT:
            kept = tried
    return kept


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two factors cut the cells into the same parts."""
    parts = _together(first, second).max(initial=-1)
    return bool(parts == first.max(initial=-1) == second.max(initial=-1))


def _sum_square(scores: np.ndarray, codes: np.ndarray) -> float:
    sums = pd.DataFrame(scores).groupby(codes, sort=False).sum().to_numpy()
    return float((sums**2).sum())


def shares(variances: Mapping[str, float]) -> dict[str, float]:
    """Shares of the total, negative components set to 0."""
    positive = {name: max(0.0, value) for name, value in variances.items()}
    total = sum(positive.values())
    return {name: value / total if total > 0 else np.nan for name, value in positive.items()}


def variance_table(scores: np.ndarray, units: pd.DataFrame) -> pd.DataFrame:
    """Rows of variance.tsv: of the whole run first (gene empty), then of each protein.

    The whole run has `protein` as a further component, and intervals from leaving out a twentieth of the proteins at a
    time (delete-a-group jackknife, Kott 2001). A protein is looked at after the mean of its cell line over all
    proteins was taken out, so that what cell lines differ by in all proteins counts for none.

    Args:
        scores: (N, K) scores of the cells of proteins, as embedded.
        units: the same N rows: protein, cell_line, reagent, plate, field_id, version.
    """
    table = units.assign(
        antibody=_text(units, "reagent") + "/" + _text(units, "protein"),
        field=_text(units, "field_id") + "@" + _text(units, "version"),
    )
    named = {name: _codes(table, name) for name in ("protein", *FACTORS)}
    rows = _rows("", scores, named, table["protein"].nunique())
    if rows and table["protein"].nunique() >= 2 * BLOCKS:
        _add_intervals(rows, scores, named)
    lines = pd.DataFrame(scores).groupby(named["cell_line"]).transform("mean").to_numpy() if len(scores) else scores
    for gene, own in table.groupby("protein", sort=True).indices.items():
        if len(own) >= FEWEST_CELLS:
            rows += _rows(str(gene), scores[own] - lines[own], {name: named[name][own] for name in FACTORS}, 0)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(gene: str, scores: np.ndarray, factors: dict[str, np.ndarray], fewest: int) -> list[dict[str, Any]]:
    if len(scores) < FEWEST_CELLS or not scores.shape[1] or (not gene and fewest < 2):
        return []
    variances, notes = components(scores, factors)
    part = shares(variances)
    rows = []
    for name in [*factors, "cell"]:
        value = variances.get(name, np.nan)
        note = notes.get(name, "negative, counted as 0" if value < 0 else "")
        levels = len(np.unique(factors[name])) if name in factors else len(scores)
        rows.append(
            {
                **dict.fromkeys(COLUMNS),
                "gene": gene or None,
                "component": name,
                "variance": value,
                "share": part.get(name, np.nan),
                "levels": levels,
                "n_cells": len(scores),
                "note": note or None,
            }
        )
    return rows


def _add_intervals(rows: list[dict[str, Any]], scores: np.ndarray, factors: dict[str, np.ndarray]) -> None:
    block = np.random.default_rng(0).permutation(factors["protein"].max() + 1)[factors["protein"]] % BLOCKS
    left = []
    for out in range(BLOCKS):
        kept = block != out
        left.append(shares(components(scores[kept], {name: codes[kept] for name, codes in factors.items()})[0]))
    for row in rows:
        values = np.array([part.get(row["component"], np.nan) for part in left])
        if np.isfinite(values).all() and np.isfinite(row["share"]):
            error = 1.96 * np.sqrt((BLOCKS - 1) / BLOCKS * ((values - values.mean()) ** 2).sum())
            row["share_low"], row["share_high"] = max(0.0, row["share"] - error), min(1.0, row["share"] + error)


def _text(table: pd.DataFrame, name: str) -> pd.Series:
    return table[name].fillna("").astype(str)


def _codes(table: pd.DataFrame, name: str) -> np.ndarray:
    return np.unique(_text(table, name).to_numpy(str), return_inverse=True)[1].reshape(-1)
