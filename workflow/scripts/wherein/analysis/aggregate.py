"""Embeddings of all shards on one scale, and their means over proteins: as one matrix, or block by block."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.analysis.sums import Moments
from wherein.crops.samples import SMALL, in_small_sample
from wherein.embeddings import BLOCK, Embeddings, matrix_of, open_embeddings
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


@dataclass
class UnitStream:
    """Units of a model whose vectors are still on the disk: more than fit in memory.

    Attributes:
        table, features, named, level, dropped, notes: as of `Units`.
        embeddings: what the vectors are read from.
        kept: (all vectors there are,) bool, which of them are units that count, in the order of `table`.
    """

    table: pd.DataFrame
    features: list[str]
    named: bool
    level: str
    dropped: dict[str, int]
    notes: list[str]
    embeddings: Embeddings
    kept: np.ndarray

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Read the vectors a few at a time.

        Yields:
            rows: the rows of `table`.
            vectors: (rows, D) float32, NaN where the model could not measure.
        """
        start = 0
        for vectors in self.embeddings.blocks(self.kept):
            yield slice(start, start + len(vectors)), vectors
            start += len(vectors)


def open_units(
    embeddings: Sequence[str | Path],
    fields: str | Path,
    cells: Sequence[str | Path],
    qc: Sequence[str | Path] = (),
    level: str | None = None,
    ledger_columns: Sequence[str] = (),
    samples: str | Path | None = None,
) -> UnitStream:
    """Find the units that count: of current field versions, and neither rejected nor overridden since.

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
    found = open_embeddings(embeddings)
    said = [read_metadata(path).get("level") for path in embeddings]
    level = level or next((named for named in said if named), "cell")
    key = ["field_id", "version"]
    catalog = current_fields(fields)[[*key, *FIELD_COLUMNS]].drop_duplicates(key)
    catalog["protein"] = protein_names(catalog)
    catalog["control"] = catalog["control"].eq(True)
    table = found.units.merge(catalog, on=key, how="left", indicator="_current")
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
    columns = ["unit_id", *key, *FIELD_COLUMNS, *(ledger_columns if level == "cell" else ()), "protein"]
    table = table.loc[kept, columns].reset_index(drop=True)
    table["control"] = table["control"].eq(True)
    dropped = {str(name): int(count) for name, count in reason[~kept].value_counts().items()}
    return UnitStream(table, found.features, found.named, level, dropped, found.notes, found, kept)


def read_units(
    embeddings: Sequence[str | Path],
    fields: str | Path,
    cells: Sequence[str | Path],
    qc: Sequence[str | Path] = (),
    level: str | None = None,
    ledger_columns: Sequence[str] = (),
    samples: str | Path | None = None,
) -> Units:
    """The units that `open_units` finds, with all their vectors in memory."""
    found = open_units(embeddings, fields, cells, qc, level, ledger_columns, samples)
    vectors = matrix_of(found.embeddings, found.kept)
    return Units(found.table, vectors, found.features, found.named, found.level, found.dropped, found.notes)


def protein_name(genes: Any, ensembl_ids: Any) -> str | None:
    """Name of the protein that a field shows: its symbols joined by `/`, else its Ensembl ids, else None."""
    for names in (genes, ensembl_ids):
        found = [] if names is None else [str(name) for name in names if name is not None and str(name)]
        if found:
            return "/".join(dict.fromkeys(found))
    return None


def protein_names(fields: pd.DataFrame) -> pd.Series:
    """`protein_name` of each row of a table with the columns `genes` and `ensembl_ids`; object."""
    named = zip(fields["genes"], fields["ensembl_ids"], strict=True)
    return pd.Series([protein_name(genes, ids) for genes, ids in named], fields.index, dtype=object)


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
    return _scale(_moments(vectors), vectors, method, clip)


def _moments(vectors: np.ndarray) -> Moments:
    moments = Moments(vectors.shape[1])
    for start in range(0, len(vectors), BLOCK):
        moments.add(vectors[start : start + BLOCK])
    return moments


def _scale(moments: Moments, drawn: np.ndarray, method: str, clip: float | None) -> Scale:
    """The scale of features of known moments; medians are those of the (n, D) vectors that were drawn."""
    if method not in ("robust", "standard", "none"):
        raise ValueError(f"scale {method!r}: allowed are robust, standard, none")
    known = moments.count > 0
    deviation = np.sqrt(moments.squares / np.maximum(moments.count, 1))
    used = known & (deviation > ROUNDING * moments.largest)
    median, mad = _medians(drawn, moments.mean)
    median[~known], mad[~known] = 0.0, 0.0
    centre = median if method == "robust" else moments.mean
    spread = np.ones(len(known))
    if method == "robust":
        spread[used] = np.where(mad > ROUNDING * np.abs(median), mad, deviation)[used]
    elif method == "standard":
        spread[used] = deviation[used]
    return Scale(median, centre.copy(), spread, used, None if method == "none" else clip)


def _medians(vectors: np.ndarray, otherwise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and 1.4826 x median absolute deviation of each feature; `otherwise` and 0 where no value is known."""
    median, mad = otherwise.astype(np.float64), np.zeros(vectors.shape[1])
    # few columns at once: a copy of all units in float64 would double the memory
    for start in range(0, vectors.shape[1], 32):
        for place, column in enumerate(np.ascontiguousarray(vectors[:, start : start + 32].T, np.float64), start):
            column = column[np.isfinite(column)]
            if len(column):
                median[place] = np.median(column)
                mad[place] = NORMAL_MAD * np.median(np.abs(column - median[place]))
    return median, mad


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
    moments = _moments(units.vectors)
    scale = _scale(moments, units.vectors, chosen_method(method, units.named), clip)
    return scale.apply(units.vectors), scale, scale_notes(units.features, moments, scale)


def scale_of_stream(
    units: UnitStream, method: str, clip: float | None, most: int, seed: int
) -> tuple[Scale, list[str]]:
    """Find the scale of more units than fit in memory, as `scaled_units` finds it; reads all vectors once.

    Args:
        units: the embeddings.
        method, clip: as `scaled_units` takes them.
        most: units from which medians are found; of more, so many are drawn by chance.
        seed: seed of the draw.

    Returns:
        scale: what to apply.
        notes: sentences on what will be imputed, what is not used, and from what medians come.
    """
    number, width = len(units.table), len(units.features)
    chosen = chosen_method(method, units.named)
    places = np.arange(number)
    notes = []
    if number > most:
        places = np.sort(np.random.default_rng(seed).choice(number, most, replace=False))
        if chosen == "robust":
            notes.append(f"medians are those of {most} of {number} units, drawn by chance (atlas.scale_units)")
    drawn = np.empty((len(places), width), np.float32)
    moments = Moments(width)
    for rows, vectors in units.blocks():
        moments.add(vectors)
        first, last = np.searchsorted(places, [rows.start, rows.stop])
        drawn[first:last] = vectors[places[first:last] - rows.start]
    scale = _scale(moments, drawn, chosen, clip)
    return scale, notes + scale_notes(units.features, moments, scale)


def chosen_method(method: str, named: bool) -> str:
    """What `auto` stands for: `robust` where a model names its features, which have units of their own, else `none`."""
    return ("robust" if named else "none") if method == "auto" else method


def scale_notes(features: Sequence[str], moments: Moments, scale: Scale) -> list[str]:
    """Sentences on what was imputed and what was not used."""
    notes = []
    if moments.unknown:
        total = moments.rows * len(features)
        notes.append(f"{moments.unknown} of {total} values were not known and took the feature's median")
    idle = [name for name, used in zip(features, scale.used, strict=True) if not used]
    if idle and moments.rows:
        shown = ", ".join(idle[:10]) + (f" and {len(idle) - 10} more" if len(idle) > 10 else "")
        notes.append(f"{len(idle)} of {len(features)} features are the same for all units and not used: {shown}")
    return notes


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
