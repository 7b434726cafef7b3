"""A contrast: which proteins are elsewhere, in other shares or in other amounts in one condition than in another.

Replicates are the unit of every test (`wherein.analysis.replicates`), never cells: a protein's cells of one well have
their well in common. What all proteins of a plate and side share is taken out first (`wherein.analysis.shifts`).
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wherein.analysis.aggregate import open_units, protein_names, scale_of_stream
from wherein.analysis.correction import adjusted
from wherein.analysis.moderated import moderated_t
from wherein.analysis.projection import fit_components
from wherein.analysis.replicates import replicate_names
from wherein.analysis.shifts import Design, find_moved, fit_sides, shared_groups, without_shared
from wherein.analysis.sums import GroupSums
from wherein.analysis.tested import write_tested
from wherein.labels import NEGATIVE
from wherein.reasons import KEPT
from wherein.summary import Summary, stage_summary
from wherein.tables import current_fields, read_metadata, read_tables, write_tsv

log = logging.getLogger(__name__)

KEY = ["field_id", "version"]
ROW = ["protein", "cell_line"]

COLUMNS = ("condition", "cell_line", "plate", "well", "reagent", "sample", "source", "release")
"""Columns of the catalog by which the sides of a contrast can be named."""

PROTEIN_COLUMNS = (
    *(*ROW, "labels", "n_a", "n_b", "units_a", "units_b", "distance", "shift", "statistic", "p", "q", "p_moderated"),
    *("n_tests", "moved", "reason", "from_class", "to_class", "from_change", "to_change", "log2_ratio"),
    *("t_abundance", "p_abundance", "q_abundance", "n_tests_abundance", "reason_abundance", "cells_a", "cells_b"),
)
"""results/biology/{model}/contrasts/{contrast}/proteins.tsv"""

CLASS_COLUMNS = (*ROW, "class", "share_a", "share_b", "change", "t", "p", "q", "n_tests")
"""results/biology/{model}/contrasts/{contrast}/classes.tsv"""

REPLICATE_COLUMNS = ("replicate", "side", *ROW, "reagent", "source", "plate", "well", "n_units", "log2_signal")
"""results/biology/{model}/contrasts/{contrast}/replicates.tsv"""

LEADING = 50
"""Principal components of replicates in which what plates share is found, before those that count are chosen."""


class ContrastError(ValueError):
    """The sides of a contrast name fields that are not there, or the same fields."""


class Replicates(NamedTuple):
    """Means of replicates.

    Attributes:
        table: one row a replicate of a protein: replicate, side (bool), protein, cell_line, reagent, source, plate,
            well, n_units, row (number of its protein and cell line).
        rows: protein and cell_line of each number, and labels.
        vectors: (R, D) mean scaled vectors.
        shares: (R, C) mean predicted probabilities; NaN where nothing was predicted.
        classes: C names.
    """

    table: pd.DataFrame
    rows: pd.DataFrame
    vectors: np.ndarray
    shares: np.ndarray
    classes: list[str]


def contrast_conditions(
    model: str,
    contrast: str,
    level: str,
    fields: str | Path,
    qc: Sequence[str | Path],
    cells: Sequence[str | Path],
    samples: str | Path,
    embeddings: Sequence[str | Path],
    predictions: str | Path,
    abundance: str | Path,
    settings: dict[str, Any],
    proteins: str | Path,
    classes: str | Path,
    replicates: str | Path,
    summary: str | Path,
) -> None:
    """Compare two sides of a run protein by protein.

    Args:
        model: name of the model.
        contrast: name of the contrast.
        level: `cell` or `field`, what one vector describes.
        fields: results/catalog/fields.parquet.
        qc: results/qc/{shard}.parquet of every shard of the model.
        cells: results/cells/{shard}.parquet, likewise.
        samples: results/samples/samples.parquet.
        embeddings: results/embeddings/{model}/{shard}.parquet, likewise.
        predictions: results/evaluation/{model}/predictions.parquet.
        abundance: results/biology/abundance_samples.parquet.
        settings: `a` and `b`, section `biology.contrast`, `replicate`, `examples` and `seed`, and `scale`, `clip` and
            `scale_units` of the section `atlas`.
        proteins, classes, replicates: tables, written.
        summary: results/summaries/contrast/{model}/{contrast}.json, written.

    Raises:
        ContrastError: a side names no field, or a field is on both.
    """
    with stage_summary(summary, "contrast", f"{model}/{contrast}", ("numpy", "scipy")) as told:
        catalog = current_fields(fields).drop_duplicates(KEY)
        catalog["side"] = sides_of(catalog, settings["a"], settings["b"], contrast)
        catalog["replicate"] = replicate_names(catalog, settings["replicate"])
        own_lines = any("cell_line" in settings[side] for side in "ab")
        catalog["line"] = "" if own_lines else catalog["cell_line"].fillna("")
        found = gather(catalog, embeddings, fields, cells, qc, level, samples, predictions, settings, told)
        signal = read_signal(abundance, found.table)
        rows, by_class, notes = compare(found, signal, settings)
        rows = rows.join(example_cells(found.table, found.rows, catalog, cells, settings))
        by_p = rows.sort_values(["p", "protein", "cell_line"], ignore_index=True)
        write_tested(proteins, by_p, PROTEIN_COLUMNS, "contrast_proteins")
        write_tested(classes, by_class, CLASS_COLUMNS, "contrast_classes")
        named = found.table.assign(side=np.where(found.table["side"], "b", "a"), log2_signal=signal)
        write_tsv(replicates, named[list(REPLICATE_COLUMNS)], REPLICATE_COLUMNS)
        told.notes += notes
        told.extra |= {"seed": settings["seed"], "a": settings["a"], "b": settings["b"]}


def sides_of(catalog: pd.DataFrame, a: Mapping[str, Any], b: Mapping[str, Any], contrast: str) -> pd.Series:
    """Side of each field: 0 for a, 1 for b, NaN for neither.

    Args:
        catalog: current fields.
        a, b: column -> value, a list of values, or null for fields that have none.
        contrast: name, for messages.

    Raises:
        ContrastError: a side has no field (the values that are there are told), or a field is on both sides.
    """
    side = pd.Series(np.nan, index=catalog.index)
    chosen = {}
    for name, wanted in (("a", a), ("b", b)):
        rows = pd.Series(True, index=catalog.index)
        for column, value in wanted.items():
            values = value if isinstance(value, list) else [value]
            named = [str(each) for each in values if each is not None]
            fits = catalog[column].astype("string").isin(named).fillna(False).astype(bool)
            rows &= fits | (catalog[column].isna() if None in values else False)
        shown = rows & ~catalog["control"].eq(True)
        if not shown.any():
            raise ContrastError(
                f"biology.contrasts, {contrast}, side {name}: no field of a protein has {told_side(wanted)}. There are "
                + "; ".join(f"{column}: {values_of(catalog, column)}" for column in wanted)
            )
        chosen[name] = rows
    both = chosen["a"] & chosen["b"]
    if both.any():
        raise ContrastError(
            f"biology.contrasts, {contrast}: {int(both.sum())} fields are on both sides, {told_side(a)} and "
            f"{told_side(b)}; name two sides that exclude each other"
        )
    side[chosen["a"]], side[chosen["b"]] = 0.0, 1.0
    return side


def told_side(wanted: Mapping[str, Any]) -> str:
    """A side in words: `condition = drug, cell_line = HeLa`."""
    words = []
    for column, value in wanted.items():
        values = value if isinstance(value, list) else [value]
        words.append(f"{column} = " + " or ".join("(none)" if each is None else str(each) for each in values))
    return ", ".join(words)


def values_of(catalog: pd.DataFrame, column: str, most: int = 20) -> str:
    """The values that a column has, in words."""
    found = sorted({str(value) for value in catalog[column].dropna()})
    shown = ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")
    missing = int(catalog[column].isna().sum())
    return (shown or "nothing") + (f" ({missing} fields have none, which null names)" if missing else "")


def gather(
    catalog: pd.DataFrame,
    embeddings: Sequence[str | Path],
    fields: str | Path,
    cells: Sequence[str | Path],
    qc: Sequence[str | Path],
    level: str,
    samples: str | Path,
    predictions: str | Path,
    settings: dict[str, Any],
    told: Summary,
) -> Replicates:
    """Mean vectors and predictions of every replicate of both sides; counts go to the summary."""
    units = open_units(embeddings, fields, cells, qc, level, samples=samples)
    # sample, reagent and the like of the catalog stand in the units' own columns
    columns = ["side", "replicate", "line", "plate", "well"]
    table = units.table.merge(catalog[[*KEY, *columns]], on=KEY, how="left")
    reason = pd.Series(None, index=table.index, dtype=object)
    reason[table["side"].isna()] = "neither_side"
    reason[reason.isna() & table["control"].eq(True)] = "control"
    reason[reason.isna() & table["protein"].isna()] = "no_gene"
    counts = {str(name): int(number) for name, number in reason.value_counts().items()}
    told.counts = {
        "in": len(table) + sum(units.dropped.values()),
        "kept": int(reason.isna().sum()),
        **units.dropped,
        **counts,
    }
    told.notes += units.notes
    keys = ["protein", "line", "side", "reagent", "replicate"]
    code = pd.Series(-1, index=table.index)
    member = reason.isna()
    code[member] = table[member].groupby(keys, dropna=False, sort=True).ngroup()
    codes = code.to_numpy(np.int64)
    number = int(codes.max(initial=-1)) + 1
    first = table[member].assign(code=codes[member.to_numpy()]).groupby("code").first()
    first = first.reindex(columns=[*keys, "source", "plate", "well", "labels"])
    first["n_units"] = np.bincount(codes[codes >= 0], minlength=number)
    first["side"] = first["side"].astype(float) > 0
    first = first.rename(columns={"line": "cell_line"})
    vectors = np.zeros((number, 0))
    if number:
        scale, notes = scale_of_stream(units, settings["scale"], settings["clip"], settings["scale_units"],
                                       settings["seed"])  # fmt: skip
        told.notes += notes
        sums = GroupSums(number, len(units.features))
        for rows, block in units.blocks():
            sums.add(scale.apply(block), codes[rows])
        vectors = sums.means()[:, scale.used]
    shares, classes = mean_predictions(predictions, table["unit_id"], codes, number)
    rows = first.groupby(ROW, sort=True)["labels"].first().reset_index()
    places = pd.MultiIndex.from_frame(rows[ROW]).get_indexer(pd.MultiIndex.from_frame(first[ROW]))
    rows["labels"] = [
        ";".join(map(str, terms)) if terms is not None and len(terms) else None for terms in rows["labels"]
    ]
    return Replicates(first.assign(row=places).reset_index(drop=True), rows, vectors, shares, classes)


def mean_predictions(
    predictions: str | Path, unit_ids: pd.Series, codes: np.ndarray, number: int
) -> tuple[np.ndarray, list[str]]:
    """(R, C) mean probability of every class in every replicate, and the classes."""
    table = read_tables([predictions]).drop_duplicates("unit_id").set_index("unit_id")
    named = read_metadata(predictions).get("classes")
    classes = [name for name in table.columns if name not in (*KEY, "fold") and (named is None or name in named)]
    classes = [name for name in classes if table[name].notna().any()]
    values = table[classes].reindex(unit_ids).to_numpy(np.float32)
    known = np.isfinite(values).all(axis=1) & bool(classes)
    sums = GroupSums(number, len(classes))
    if known.any():
        sums.add(values[known], codes[known])
    return sums.means(), classes


def read_signal(abundance: str | Path, table: pd.DataFrame) -> np.ndarray:
    """(R,) log2 intensity above background of each replicate; NaN where none was measured."""
    found = read_tables([abundance], ["replicate", "protein", "log2_signal"]).dropna(subset=["protein"])
    known = found.drop_duplicates(["replicate", "protein"]).set_index(["replicate", "protein"])["log2_signal"]
    wanted = pd.MultiIndex.from_frame(table[["replicate", "protein"]])
    return known.reindex(wanted).to_numpy(float) if len(known) else np.full(len(table), np.nan)


def compare(
    found: Replicates, signal: np.ndarray, settings: dict[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """All tests of a contrast.

    Args:
        found: means of replicates.
        signal: (R,) log2 abundance of each.
        settings: as `contrast_conditions` takes them.

    Returns:
        Rows of proteins.tsv in the order of `found.rows` without cells, rows of classes.tsv, and sentences.
    """
    table, rows = found.table, found.rows.copy()
    number = len(rows)
    side = table["side"].to_numpy(bool)
    row = table["row"].to_numpy(np.int64)
    counts = [np.bincount(row[side == own], minlength=number) for own in (False, True)]
    units = [np.bincount(row[side == own], table["n_units"][side == own], number).astype(int) for own in (False, True)]
    rows["n_a"], rows["n_b"], rows["units_a"], rows["units_b"] = *counts, *units
    least = settings["min_replicates"]
    rows["reason"] = None
    rows.loc[np.minimum(*counts) < least, "reason"] = "few_replicates"
    rows.loc[np.minimum(*counts) == 0, "reason"] = "one_side"
    design = design_of(table, number)
    # sides that share no reagent are compared by none of them
    unlike = fit_sides(np.zeros((len(table), 1)), design).weight == 0
    rows.loc[rows["reason"].isna() & unlike, "reason"] = "other_reagents"
    asked = rows["reason"].isna().to_numpy(bool)
    notes = moved_rows(rows, found.vectors, design, asked, settings)
    by_class = class_rows(rows, found, design, asked, settings)
    notes += abundance_rows(rows, signal, table, design, least)
    return rows.reset_index(drop=True), by_class, notes


def design_of(table: pd.DataFrame, number: int, kept: np.ndarray | None = None) -> Design:
    """Blocks are the reagents of a protein; plates and sides share a shift."""
    own = table if kept is None else table[kept]
    block = own.groupby(["row", "reagent"], dropna=False, sort=True).ngroup().to_numpy(np.int64)
    side = own["side"].to_numpy(bool)
    batch = pd.factorize(own["source"].fillna("") + " " + own["plate"].fillna(""), sort=True)[0]
    protein = np.zeros(block.max(initial=-1) + 1, np.int64)
    protein[block] = own["row"].to_numpy(np.int64)
    return Design(block, side, shared_groups(batch, side), protein, number)


def moved_rows(
    rows: pd.DataFrame, vectors: np.ndarray, design: Design, asked: np.ndarray, settings: dict[str, Any]
) -> list[str]:
    """Test the mean vectors, in place: distance, shift, statistic, p, q, p_moderated, n_tests, moved."""
    names = ["distance", "shift", "statistic", "p", "q", "p_moderated"]
    rows[names] = np.nan
    rows["n_tests"], rows["moved"] = int(asked.sum()), False
    if not asked.any() or vectors.shape[1] == 0:
        return ["no protein has replicates enough on both sides"]
    leading = fit_components(vectors.astype(np.float32), LEADING).scores(vectors).astype(float)
    places, shift = without_shared(leading, design)
    values = fit_components(places, settings["components"]).scores(places).astype(float)
    told = find_moved(values, design, asked, settings["permutations"], settings["seed"], places)
    for name in ("distance", "shift", "statistic", "p", "p_moderated"):
        rows[name] = getattr(told, name)
    rows["q"] = adjusted(told.p)
    rows["moved"] = rows["q"] <= settings["max_q"]
    usual = float(np.nanmedian(told.distance))
    found = (
        f"{int(rows['moved'].sum())} of {int(asked.sum())} proteins and cell lines moved (q at most "
        f"{settings['max_q']}, Benjamini-Hochberg; moderated F over {told.components} components, against "
        f"{len(told.null):,} statistics of relabelled replicates, pooled over proteins)"
    )
    shared = (
        f"all proteins share a shift of {np.linalg.norm(shift):.3g}, which was taken out; the sides of a protein lie "
        f"{usual:.3g} apart (median)"
    )
    return [found, shared]


def class_rows(
    rows: pd.DataFrame, found: Replicates, design: Design, asked: np.ndarray, settings: dict[str, Any]
) -> pd.DataFrame:
    """Test the shares of classes, and tell in `rows`, in place, from which class to which a protein's cells went.

    Shares are mean predicted probabilities, tested as the arc sine of their root, whose variance hardly depends on the
    share. A class counts for a protein whose share is at least `min_share` on average over both sides.
    """
    for name in ("from_class", "to_class"):
        rows[name] = None
    rows["from_change"], rows["to_change"] = np.nan, np.nan
    known = np.isfinite(found.shares).all(axis=1) if found.classes else np.zeros(len(found.table), bool)
    if not asked.any() or not known.all():
        return pd.DataFrame(columns=list(CLASS_COLUMNS))
    angles, _ = without_shared(np.arcsin(np.sqrt(np.clip(found.shares, 0, 1))), design)
    fit, plain = fit_sides(angles, design), fit_sides(found.shares.astype(float), design)
    owner = design.protein[design.block]
    told = []
    middle = np.zeros_like(plain.difference)
    middle[owner] = plain.middle
    low, high = middle - plain.difference / 2, middle + plain.difference / 2
    for place, name in enumerate(found.classes):
        squares = np.bincount(owner, fit.residual[:, place] ** 2, design.proteins)
        variance = squares / np.maximum(fit.df, 1)
        own = asked & ((low[:, place] + high[:, place]) / 2 >= settings["min_share"])
        if not own.any():
            continue
        weight = np.where(own, fit.weight, 0.0)
        t, p, _ = moderated_t(fit.difference[:, place], variance, fit.df, weight)
        part = rows.loc[own, ROW].assign(share_a=low[own, place], share_b=high[own, place], t=t[own], p=p[own])
        told.append(part.assign(**{"class": name, "change": plain.difference[own, place]}))
    places = [index for index, name in enumerate(found.classes) if name != NEGATIVE]
    change = plain.difference[:, places]
    names = np.array(found.classes, dtype=object)[places]
    if len(places) > 1:
        for column, pick in (("from", np.argmin), ("to", np.argmax)):
            best = pick(change, axis=1)
            rows[f"{column}_class"] = pd.Series(names[best], rows.index).where(asked, None)
            rows[f"{column}_change"] = np.where(asked, change[np.arange(len(change)), best], np.nan)
    if not told:
        return pd.DataFrame(columns=list(CLASS_COLUMNS))
    by_class = pd.concat(told, ignore_index=True)
    by_class["q"] = adjusted(by_class["p"])
    by_class["n_tests"] = int(by_class["p"].notna().sum())
    return by_class.sort_values(["p", *ROW, "class"], ignore_index=True)


def abundance_rows(
    rows: pd.DataFrame, signal: np.ndarray, table: pd.DataFrame, design: Design, least: int
) -> list[str]:
    """Test the change of abundance, in place: log2_ratio, t_abundance, p_abundance, q_abundance."""
    names = ["log2_ratio", "t_abundance", "p_abundance", "q_abundance"]
    rows[names] = np.nan
    known = np.isfinite(signal)
    own = design_of(table, len(rows), known)
    side, row = own.side, own.protein[own.block]
    counts = np.minimum(*(np.bincount(row[side == each], minlength=len(rows)) for each in (False, True)))
    rows["reason_abundance"] = rows["reason"]
    rows.loc[rows["reason"].isna() & (counts < least), "reason_abundance"] = "no_intensity"
    rows["n_tests_abundance"] = 0
    if not known.any() or not (counts > 0).any():
        return []
    values, shift = without_shared(signal[known][:, None], own)
    fit = fit_sides(values, own)
    asked = rows["reason_abundance"].isna().to_numpy(bool) & (fit.weight > 0)
    squares = np.bincount(row, fit.residual[:, 0] ** 2, len(rows))
    t, p, _ = moderated_t(fit.difference[:, 0], squares / np.maximum(fit.df, 1), fit.df, np.where(asked, fit.weight, 0))
    rows["log2_ratio"] = np.where(fit.weight > 0, fit.difference[:, 0], np.nan)
    rows["t_abundance"], rows["p_abundance"], rows["q_abundance"] = t, p, adjusted(p)
    rows["n_tests_abundance"] = int(np.isfinite(p).sum())
    return [f"all proteins share a change of abundance by {2 ** shift[0]:.3g} times, which was taken out"]


def example_cells(
    table: pd.DataFrame,
    rows: pd.DataFrame,
    catalog: pd.DataFrame,
    cells: Sequence[str | Path],
    settings: dict[str, Any],
) -> pd.DataFrame:
    """Cells of either side of each protein, drawn by chance, one replicate after the other: cells_a, cells_b."""
    ledger = read_tables(cells, ["cell_id", *KEY, "status"])
    ledger = ledger[ledger["status"] == KEPT]
    shown = catalog[catalog["side"].notna() & ~catalog["control"].eq(True)]
    named = shown.assign(protein=protein_names(shown))
    ledger = ledger.merge(named[[*KEY, "side", "replicate", "line", "protein"]], on=KEY)
    rng = np.random.default_rng(settings["seed"])
    ledger = ledger.iloc[rng.permutation(len(ledger))]
    ledger["turn"] = ledger.groupby(["protein", "line", "side", "replicate"]).cumcount()
    ledger = ledger[ledger["turn"] < max(settings["examples"], 1)].sort_values(["turn", "replicate"], kind="stable")
    chosen = ledger.groupby(["protein", "line", "side"])["cell_id"].agg(
        lambda ids: ";".join(ids[: settings["examples"]])
    )
    found = {}
    for name, side in (("cells_a", 0.0), ("cells_b", 1.0)):
        wanted = [(*key, side) for key in rows[ROW].itertuples(index=False, name=None)]
        found[name] = [chosen.get(key) for key in wanted] if len(chosen) else [None] * len(rows)
    return pd.DataFrame(found, index=rows.index)
