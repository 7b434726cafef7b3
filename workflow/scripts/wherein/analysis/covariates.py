"""What a cell's vector owes to its size, its place in the cell cycle, and how well it is outlined."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import f as fisher

from wherein.analysis.aggregate import NORMAL_MAD, group_means
from wherein.tables import read_tables

GROUPS = {
    "cycle": ("nucleus_area_um2", "nucleus_sum_nucleus"),
    "size": ("area_um2",),
    "outline": ("border_um", "contrast", "nucleus_contrast", "solidity", "nucleus_solidity", "disagreement", "score"),
}
"""Covariates by what they stand for: the nucleus' area and integrated DNA stain for the cell cycle, the cell's area,
and all that tells how far its outline can be trusted."""

NAMES = tuple(name for names in GROUPS.values() for name in names)

LEDGER = (
    *("area_um2", "nucleus_area_um2", "nucleus_sum_nucleus", "nucleus_touches_border"),
    *("bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1"),
)
"""Columns of the ledger that covariates are made from."""

FAR_UM = 20.0
"""Distances to the field's border beyond this, about the width of a cell, count the same."""

LIMIT = 3.0
"""Standardized covariates are limited to plus and minus this."""

PER_COVARIATE = 10
"""Cells of a line for each term that is regressed; where there are fewer, nothing is."""

KEY = ["field_id", "version"]


def read_covariates(
    units: pd.DataFrame, fields: pd.DataFrame, qc: Sequence[str | Path], quality: Sequence[str | Path]
) -> pd.DataFrame:
    """Covariates of cells.

    Args:
        units: cells with unit_id, field_id, version and the columns LEDGER.
        fields: the catalog, with field_id, version and pixel_size_um.
        qc: results/qc/{shard}.parquet, for the size of each field.
        quality: results/segmentation/{shard}.parquet of the shards that were outlined here.

    Returns:
        One row a cell, in the order of `units`, the columns NAMES as float64, NaN where not known: of crops made
        elsewhere nothing tells how they were outlined, nor how far they lie from a border.
    """
    measured = ["contrast", "nucleus_contrast", "solidity", "nucleus_solidity", "disagreement", "score"]
    outlines = read_tables(quality, ["cell_id", *measured]).reindex(columns=["cell_id", *measured])
    outlines = outlines.drop_duplicates("cell_id").set_index("cell_id").reindex(units["unit_id"])
    sizes = read_tables(qc, [*KEY, "height", "width"]).reindex(columns=[*KEY, "height", "width"])
    scale = fields[[*KEY, "pixel_size_um"]].drop_duplicates(KEY)
    place = units[KEY].merge(sizes.drop_duplicates(KEY), on=KEY, how="left").merge(scale, on=KEY, how="left")
    numbers = {name: _numbers(units, name) for name in LEDGER if name.startswith("bbox")}
    size = {name: pd.to_numeric(place[name]).to_numpy(float) for name in ("height", "width", "pixel_size_um")}
    edges = [numbers["bbox_y0"], numbers["bbox_x0"]]
    edges += [size["height"] - numbers["bbox_y1"], size["width"] - numbers["bbox_x1"]]
    found = {name: _numbers(units, name) for name in ("area_um2", "nucleus_area_um2", "nucleus_sum_nucleus")}
    outlined = units["unit_id"].isin(read_ids(quality)).to_numpy()
    border = np.minimum(np.min(edges, axis=0) * size["pixel_size_um"], FAR_UM)
    found["border_um"] = np.where(outlined, border, np.nan)
    found |= {name: pd.to_numeric(outlines[name]).to_numpy(float) for name in measured}
    return pd.DataFrame(found, index=units.index)[list(NAMES)]


def read_ids(quality: Sequence[str | Path]) -> set[str]:
    """Cells that were outlined here."""
    return set(read_tables(quality, ["cell_id"]).reindex(columns=["cell_id"])["cell_id"])


def _numbers(units: pd.DataFrame, name: str) -> np.ndarray:
    if name not in units:
        return np.full(len(units), np.nan)
    return pd.to_numeric(units[name]).to_numpy(float)


def standardized(values: np.ndarray, fields: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Covariates as differences from their field's mean, in robust standard deviations of the cell line, limited.

    Args:
        values: (N, Q), NaN where unknown; such cells take their field's mean.
        fields: (N,) number of the field of each cell.
        lines: (N,) number of its cell line.

    Returns:
        (N, Q) float64; 0 where nothing is known or nothing differs.
    """
    found = np.zeros(values.shape)
    for column in range(values.shape[1]):
        own = values[:, column]
        known = np.isfinite(own)
        if not known.any():
            continue
        means = group_means(own[:, None], np.where(known, fields, -1), fields.max() + 1)[fields, 0]
        centred = np.where(known, own - means, 0.0)
        for line in np.unique(lines):
            mine = known & (lines == line)
            scale = NORMAL_MAD * np.median(np.abs(centred[mine])) if mine.any() else 0.0
            if scale > 0:
                found[mine, column] = np.clip(centred[mine] / scale, -LIMIT, LIMIT)
    return found


def without_covariates(
    residuals: np.ndarray, covariates: np.ndarray, fields: np.ndarray, lines: np.ndarray
) -> np.ndarray:
    """Take out of residuals what covariates explain in all proteins alike, by least squares in each cell line.

    Terms are the covariates and their squares, all as differences from their field's mean. What a covariate does to one
    protein alone stays.

    Args:
        residuals: (N, D) differences of cells from their field's mean.
        covariates: (N, Q) as `standardized` gives them.
        fields: (N,) number of the field.
        lines: (N,) number of the cell line.

    Returns:
        (N, D) float64.
    """
    left = np.array(residuals, np.float64)
    terms = np.concatenate([covariates, covariates**2], axis=1)
    terms = terms - group_means(terms, fields, fields.max() + 1)[fields] if len(terms) else terms
    for line in np.unique(lines):
        mine = np.flatnonzero(lines == line)
        own = terms[mine][:, np.abs(terms[mine]).max(axis=0) > 0]
        if own.shape[1] and len(mine) >= PER_COVARIATE * own.shape[1]:
            left[mine] -= own @ np.linalg.lstsq(own, left[mine], rcond=None)[0]
    return left


def explained(
    axis: np.ndarray, covariates: np.ndarray, names: Sequence[str], fields: np.ndarray, samples: np.ndarray, number: int
) -> pd.DataFrame:
    """How much of the differences of a sample's cells follows each group of covariates.

    Args:
        axis: (N,) place of each cell along the direction in which its sample scatters; NaN where not judged.
        covariates: (N, Q) as `standardized` gives them.
        names: Q names.
        fields: (N,) number of the field.
        samples: (N,) number of the sample.
        number: S.

    Returns:
        S rows: for each of GROUPS `{group}_r2` (share of the variance within fields that least squares explain) and
        `{group}_p` (F test of that regression against none); NaN where a sample has no covariate of the group, or
        fewer than 3 cells more than the regression needs.
    """
    table = pd.DataFrame(index=range(number))
    known = np.isfinite(axis)
    if not known.any():
        return table.reindex(columns=[f"{group}_{what}" for group in GROUPS for what in ("r2", "p")]).astype(float)
    centred = np.zeros(len(axis))
    centred[known] = axis[known] - group_means(axis[known][:, None], fields[known], fields.max() + 1)[fields[known], 0]
    rows = pd.Series(np.flatnonzero(known)).groupby(samples[known]).indices
    places = np.flatnonzero(known)
    for group, members in GROUPS.items():
        columns = [index for index, name in enumerate(names) if name in members]
        r2, p = np.full(number, np.nan), np.full(number, np.nan)
        for sample, own in rows.items():
            mine = places[own]
            terms = covariates[np.ix_(mine, columns)]
            # numbered anew: a run has more fields than samples, and each sample a few of them
            here, of = np.unique(fields[mine], return_inverse=True)
            terms = terms - group_means(terms, of, len(here))[of]
            terms = terms[:, terms.std(axis=0) > 0]
            slopes, _, rank, _ = np.linalg.lstsq(terms, centred[mine], rcond=None)
            # covariates that say the same count once: where a cell is its nucleus, half of them do
            spare = len(mine) - len(here) - int(rank)
            total = float((centred[mine] ** 2).sum())
            if not rank or spare < 3 or total <= 0:
                continue
            r2[sample] = 1 - float(((centred[mine] - terms @ slopes) ** 2).sum()) / total
            ratio = (r2[sample] / rank) / max((1 - r2[sample]) / spare, 1e-12)
            p[sample] = fisher.sf(ratio, rank, spare)
        table[f"{group}_r2"], table[f"{group}_p"] = r2, p
    return table
