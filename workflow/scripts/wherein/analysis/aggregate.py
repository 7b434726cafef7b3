"""Embeddings of all shards as one matrix on one scale, and their means over proteins."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.crops.samples import SMALL, in_small_sample
from wherein.embeddings import read_embeddings
from wherein.tables import current_fields, read_metadata, read_tables

log = logging.getLogger(__name__)

NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

ROUNDING = 1e-6
"""Float32 holds seven digits: what varies by less than this share of its size only varies by rounding."""

FIELD_COLUMNS = ("source", "genes", "ensembl_ids", "labels", "reagent", "sample", "cell_line", "control")
"""What the catalog says of a field and units carry on."""


@dataclass
class Units:
    """Embeddings of a model and what is known of each unit.

    Attributes:
        table: one row a unit: unit_id, field_id, version, protein (None without a name), the columns FIELD_COLUMNS of
            its field and, at level cell, those asked of the ledger.
        vectors: (N, D) float32, NaN where the model could not measure.
        features: D names.
        named: whether the model itself names its features (they then have units of their own).
        level: `cell` or `field`.
        dropped: units left out, by reason.
        notes: sentences on what was found.
    """

    table: pd.DataFrame
    vectors: np.ndarray
    features: list[str]
    named: bool
    level: str
    dropped: dict[str, int]
    notes: list[str]


@dataclass
class Scale:
    """How features are brought to one scale: `(x - centre) / spread`, NaN first replaced by `median`.

    Attributes:
        median: (D,) float64, what stands in for NaN.
        centre: (D,) float64.
        spread: (D,) float64.
        used: (D,) bool; False for a feature that is the same for all units, or known for none.
        clip: scaled values are limited to plus and minus this.
    """

    median: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    used: np.ndarray
    clip: float | None

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Impute, centre, scale and limit (N, D) vectors; unused features become 0. Float32."""
        scaled = filled(vectors, self.median).astype(np.float32)
        scaled -= self.centre.astype(np.float32)
        scaled /= self.spread.astype(np.float32)
        if self.clip is not None:
            np.clip(scaled, -self.clip, self.clip, out=scaled)
        scaled[:, ~self.used] = 0
        return scaled


def read_units(
    embeddings: Sequence[str | Path],
    fields: str | Path,
    cells: Sequence[str | Path],
    qc: Sequence[str | Path] = (),
    level: str | None = None,
    ledger_columns: Sequence[str] = (),
    samples: str | Path | None = None,
) -> Units:
    """Embeddings of the units that count: of current field versions, and neither rejected nor overridden since.

    Args:
        embeddings: results/embeddings/{model}/{shard}.parquet of every shard.
        fields: results/catalog/fields.parquet.
        cells: results/cells/{shard}.parquet of every shard, joined at level cell.
        qc: results/qc/{shard}.parquet of every shard, joined at level field where given.
        level: `cell` or `field`; by default what the embeddings say of themselves.
        ledger_columns: further columns of the ledger that the units should carry.
        samples: results/samples/samples.parquet; without it, samples of any size count.

    Raises:
        EmbeddingError: shards have no feature in common.
    """
    units, vectors, features, named, notes = read_embeddings(embeddings)
    said = [read_metadata(path).get("level") for path in embeddings]
    level = level or next((found for found in said if found), "cell")
    key = ["field_id", "version"]
    catalog = current_fields(fields)[[*key, *FIELD_COLUMNS]].drop_duplicates(key)
    table = units.merge(catalog, on=key, how="left", indicator="_current")
    reason = pd.Series(np.where(table["_current"] == "both", None, "retired"), index=table.index, dtype=object)
    if level == "cell":
        ledger = read_tables(cells, ["cell_id", "status", "reason", *ledger_columns])
        ledger = ledger.reindex(columns=["cell_id", "status", "reason", *ledger_columns])
        table = table.merge(ledger.rename(columns={"cell_id": "unit_id"}), on="unit_id", how="left")
        accepted = "kept"
    else:
        verdicts = read_tables(qc, [*key, "status", "reason"]).reindex(columns=[*key, "status", "reason"])
        table = table.merge(verdicts, on=key, how="left")
        accepted = "passed"
    known = level == "cell" or bool(qc)
    if known:
        out = reason.isna() & (table["status"] != accepted)
        reason[out] = table.loc[out, "reason"].fillna("retired")
    if samples is not None:
        reason[reason.isna() & in_small_sample(table, samples)] = SMALL
    kept = reason.isna().to_numpy()
    table = table.loc[kept].drop(columns=["_current", "status", "reason"]).reset_index(drop=True)
    table["protein"] = [
        protein_name(genes, ids) for genes, ids in zip(table["genes"], table["ensembl_ids"], strict=True)
    ]
    table["control"] = table["control"].eq(True)
    dropped = {str(name): int(count) for name, count in reason[~kept].value_counts().items()}
    return Units(table, vectors[kept], features, named, level, dropped, notes)


def protein_name(genes: Any, ensembl_ids: Any) -> str | None:
    """Name of the protein that a field shows: its symbols joined by `/`, else its Ensembl ids, else None."""
    for names in (genes, ensembl_ids):
        found = [] if names is None else [str(name) for name in names if name is not None and str(name)]
        if found:
            return "/".join(dict.fromkeys(found))
    return None


def filled(vectors: np.ndarray, median: np.ndarray) -> np.ndarray:
    """A copy of (N, D) vectors with `median` (D,) where they are not finite."""
    return np.where(np.isfinite(vectors), vectors, median.astype(vectors.dtype))


def fit_scale(vectors: np.ndarray, method: str, clip: float | None = None) -> Scale:
    """Find centre and spread of each feature.

    Args:
        vectors: (N, D), NaN where unknown.
        method: `robust` (median; 1.4826 x median absolute deviation, or the standard deviation where more than half of
            the units are alike), `standard` (mean and standard deviation) or `none` (centred only).
        clip: limit of scaled values; not used for `none`.

    Raises:
        ValueError: the method is none of these.
    """
    if method not in ("robust", "standard", "none"):
        raise ValueError(f"scale {method!r}: allowed are robust, standard, none")
    count = vectors.shape[1]
    median, centre, spread, used = np.zeros(count), np.zeros(count), np.ones(count), np.zeros(count, bool)
    # column by column: a copy of all units in float64 would double the memory
    for index in range(count):
        column = vectors[:, index].astype(np.float64)
        column = column[np.isfinite(column)]
        if not len(column):
            continue
        median[index] = np.median(column)
        deviation = column.std()
        centre[index] = median[index] if method == "robust" else column.mean()
        used[index] = deviation > ROUNDING * np.abs(column).max()
        if used[index] and method != "none":
            mad = NORMAL_MAD * np.median(np.abs(column - median[index])) if method == "robust" else 0.0
            spread[index] = mad if mad > ROUNDING * abs(median[index]) else deviation
    return Scale(median, centre, spread, used, None if method == "none" else clip)


def scaled_units(units: Units, method: str, clip: float | None) -> tuple[np.ndarray, Scale, list[str]]:
    """Bring a model's features to one scale.

    Args:
        units: the embeddings.
        method: as `fit_scale` takes it, or `auto`: `robust` where the model names its features, else `none`.
        clip: limit of scaled values.

    Returns:
        scaled: (N, D) float32, 0 in features that tell nothing.
        scale: what was applied.
        notes: sentences on what was imputed and what was not used.
    """
    chosen = ("robust" if units.named else "none") if method == "auto" else method
    scale = fit_scale(units.vectors, chosen, clip)
    notes = []
    unknown = int((~np.isfinite(units.vectors)).sum())
    if unknown:
        notes.append(f"{unknown} of {units.vectors.size} values were not known and took the feature's median")
    idle = [name for name, used in zip(units.features, scale.used, strict=True) if not used]
    if idle and len(units.table):
        shown = ", ".join(idle[:10]) + (f" and {len(idle) - 10} more" if len(idle) > 10 else "")
        notes.append(f"{len(idle)} of {len(units.features)} features are the same for all units and not used: {shown}")
    return scale.apply(units.vectors), scale, notes


def group_means(vectors: np.ndarray, codes: np.ndarray, groups: int) -> np.ndarray:
    """Mean vector of each group.

    Args:
        vectors: (N, D) finite.
        codes: (N,) number of each unit's group, 0 to groups - 1; a negative one belongs to none.
        groups: number of groups.

    Returns:
        (groups, D) float64, NaN for a group without units.
    """
    member = codes >= 0
    order = np.argsort(codes[member], kind="stable")
    rows = np.flatnonzero(member)[order]
    counts = np.bincount(codes[member], minlength=groups)
    means = np.full((groups, vectors.shape[1]), np.nan)
    start = 0
    for group, count in enumerate(counts):
        if count:
            means[group] = vectors[rows[start : start + count]].mean(axis=0, dtype=np.float64)
        start += count
    return means
