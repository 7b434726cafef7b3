"""Whether proteins that the source says to vary from cell to cell are those that vary here."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import mannwhitneyu

from wherein.analysis.correction import adjusted

COLUMNS = ("measure", "published", "n_with", "n_without", "auc", "auc_low", "auc_high", "p", "q")
"""results/biology/{model}/published_variation.tsv"""

PUBLISHED = ("variation_spatial", "variation_intensity", "cycle_dependent")
"""Columns of the catalog that say so."""

FEWEST = 3
"""Proteins with, and without, that a comparison needs."""


def published_of(fields: pd.DataFrame, names: Iterable[tuple[str, str, str]]) -> pd.DataFrame:
    """Which proteins are published to vary.

    Args:
        fields: rows of the catalog with field_id, version and PUBLISHED.
        names: protein, field_id and version of cells or fields.

    Returns:
        Index protein; one bool column for each of PUBLISHED: some field of the protein names a location there.
    """
    links = pd.DataFrame(sorted(set(names)), columns=["protein", "field_id", "version"])
    told = fields.drop_duplicates(["field_id", "version"]).set_index(["field_id", "version"])
    rows = told.reindex(pd.MultiIndex.from_frame(links[["field_id", "version"]]))
    flags = {
        name: [values is not None and isinstance(values, Iterable) and len(list(values)) > 0 for values in rows[name]]
        if name in rows
        else [False] * len(links)
        for name in PUBLISHED
    }
    return pd.DataFrame(flags, index=links["protein"].to_numpy()).groupby(level=0).any()


def compare_published(measures: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Compare each measure between proteins that are published to vary and the others.

    Args:
        measures: index protein (each once), one float column a measure, larger for more variation; NaN where unknown.
        published: as `published_of` gives it.

    Returns:
        Columns COLUMNS, one row a measure and published column with FEWEST proteins on both sides. `auc`: probability
        that a published protein has the larger value, ties by half; its interval: `auc_interval`.
        p: two-sided Mann-Whitney test; q: Benjamini-Hochberg over all rows.
    """
    rows = []
    for name in published.columns:
        varies = published[name].reindex(measures.index).fillna(False).astype(bool)
        for measure in measures.columns:
            values = pd.to_numeric(measures[measure]).astype(float)
            known = values.notna()
            with_, without = values[known & varies].to_numpy(), values[known & ~varies].to_numpy()
            if min(len(with_), len(without)) < FEWEST:
                continue
            test = mannwhitneyu(with_, without, alternative="two-sided")
            auc = float(test.statistic) / (len(with_) * len(without))
            limits = dict(zip(("auc_low", "auc_high"), auc_interval(auc, len(with_), len(without)), strict=True))
            counts = {"n_with": len(with_), "n_without": len(without)}
            rows.append(
                {"measure": measure, "published": name, **counts, "auc": auc, **limits, "p": float(test.pvalue)}
            )
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    found["q"] = adjusted(found["p"])
    return found


def auc_interval(auc: float, with_: int, without: int) -> tuple[float, float]:
    """Areas under the curve that the one found does not contradict at 95 %.

    The standard error is that of the limit, not of the area found, as in Wilson's interval of a share: at an area of 1
    the latter is 0, and a few proteins would seem to leave no doubt (Newcombe 2006, Stat. Med. 25:559).
    """

    def beyond(limit: float) -> float:
        return abs(auc - limit) - 1.96 * hanley_mcneil(limit, with_, without)

    least = 1e-9
    low = brentq(beyond, 0.0, max(auc - least, 0.0)) if auc > least else 0.0
    high = brentq(beyond, min(auc + least, 1.0), 1.0) if auc < 1 - least else 1.0
    return float(low), float(high)


def hanley_mcneil(auc: float, with_: int, without: int) -> float:
    """Standard error of an area under the curve of so many positives and negatives (Hanley and McNeil 1982, eq. 1)."""
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (with_ - 1) * (first - auc**2) + (without - 1) * (second - auc**2)
    return float(np.sqrt(max(variance, 0.0) / (with_ * without)))
