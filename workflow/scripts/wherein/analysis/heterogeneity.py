"""Which proteins differ from cell to cell: spread of the cells' vectors, intensities and predicted locations."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.analysis.aggregate import UnitStream, open_units, scale_of_stream
from wherein.analysis.compartments import CELL_COLUMNS, Pair, choose_pairs, compartment_tables
from wherein.analysis.compartments import COLUMNS as COMPARTMENT_COLUMNS
from wherein.analysis.covariates import LEDGER, NAMES, read_covariates
from wherein.analysis.heterogeneous_samples import COLUMNS as SAMPLE_COLUMNS
from wherein.analysis.heterogeneous_samples import Judgement, comparable, judge, sample_rows
from wherein.analysis.projection import Covariance
from wherein.analysis.published_variation import COLUMNS as PUBLISHED_COLUMNS
from wherein.analysis.published_variation import PUBLISHED, compare_published, published_of
from wherein.analysis.spread import (
    against_others,
    cell_residuals,
    distances,
    from_median,
    limited,
    main_axis,
    trimmed,
    whiten,
)
from wherein.analysis.tested import write_tested
from wherein.analysis.variance_parts import COLUMNS as VARIANCE_COLUMNS
from wherein.analysis.variance_parts import variance_table
from wherein.atomic import atomic_path
from wherein.labels import Vocabulary, vocabulary
from wherein.summary import Summary, stage_summary
from wherein.tables import current_fields, read_metadata, read_tables, write_tsv

log = logging.getLogger(__name__)

COLUMNS = (
    *("gene", "cell_line", "n_cells", "n_fields", "spread", "spread_z", "label_entropy"),
    *("top_location", "top_location_share", "excess", "z", "p", "q", "explained_by", "cells_low", "cells_high"),
)
"""results/biology/{model}/heterogeneity.tsv"""

FIELD_COLUMNS = (
    *("field_id", "version", "gene", "cell_line", "n_cells", "spread", "spread_z"),
    *("intensity_cv", "intensity_cv_z", "label_entropy"),
)
"""results/biology/{model}/heterogeneity_fields.tsv"""

CV_VARIANCE = 0.92
"""Variance of log(robust_cv) of n normal values, times n: asymptotic variance of the difference of two percentiles."""

KEY = ["field_id", "version"]
GROUP = ["protein", "cell_line"]


def measure_heterogeneity(
    model: str,
    fields: str | Path,
    cells: Sequence[str | Path],
    embeddings: Sequence[str | Path],
    predictions: str | Path,
    settings: dict[str, Any],
    words: str,
    outputs: dict[str, str | Path],
    summary: str | Path,
    qc: Sequence[str | Path] = (),
    quality: Sequence[str | Path] = (),
    samples: str | Path | None = None,
) -> None:
    """Tell for each protein and cell line, each sample and each field, how much its cells differ.

    Cells are compared within their field, so that exposure, staining and density, which differ from field to field,
    make nothing heterogeneous. A cell's distance from the mean of its field is measured in units of what is usual in
    the cell line (see `wherein.analysis.spread.whiten`); `spread` is the trimmed mean over the cells, about 1 for a
    protein like the others, and `spread_z` compares it with those of the other proteins in the same cell line (see
    `wherein.analysis.spread.against_others`). p and q ask another thing: whether the cells show more than one pattern
    (see `wherein.analysis.within_samples.judge_samples`).

    Vectors are read block by block; memory holds the scores of each unit on principal components.

    Args:
        model: name of the model.
        fields: results/catalog/fields.parquet.
        cells: results/cells/{shard}.parquet of every shard of the model.
        embeddings: results/embeddings/{model}/{shard}.parquet, likewise.
        predictions: results/evaluation/{model}/predictions.parquet.
        settings: what `heterogeneity_settings` takes of the sections `biology` and `atlas`.
        words: vocabulary of locations between which cells are scored.
        outputs: files of results/biology/{model}/ to write: `heterogeneity` (the most certain first), `fields`,
            `samples`, `variance`, `compartments`, `compartment_cells`, `published`.
        summary: results/summaries/heterogeneity/{model}.json, written.
        qc: results/qc/{shard}.parquet, for the size of fields; without it the distance from the border is not known.
        quality: results/segmentation/{shard}.parquet of the shards that were outlined here.
        samples: results/samples/samples.parquet; without it, samples of any size count.
    """
    with stage_summary(summary, "heterogeneity", model, ("numpy", "scipy", "scikit-learn")) as told:
        units = open_units(embeddings, fields, cells, ledger_columns=["mean_protein", *LEDGER], samples=samples)
        units = without_border(units)
        count(told, units)
        catalog = current_fields(fields).drop_duplicates(KEY)
        table, scores, notes = unit_distances(units, settings)
        told.notes += notes
        table = table.merge(catalog[[*KEY, "plate", *PUBLISHED]], on=KEY, how="left")
        table["location"] = top_locations(table["unit_id"], predictions)
        if not table["location"].notna().any():
            told.notes.append("the model predicts no locations: entropy and shares of locations are empty")
        single = units.level == "cell"
        covariates = read_covariates(table, catalog, qc, quality) if single else table.reindex(columns=list(NAMES))
        compared = comparable(scores, table, covariates, settings) if single else None
        proteins = protein_rows(table, units.level, settings, judge(compared, table, GROUP, settings))
        write_tested(outputs["heterogeneity"], proteins, COLUMNS, "heterogeneity")
        of_fields = field_rows(table, kept_cells(cells, fields), units.level, settings)
        write_tsv(outputs["fields"], of_fields, FIELD_COLUMNS)
        of_samples, found = sample_rows(compared, table, settings)
        write_tested(outputs["samples"], of_samples, SAMPLE_COLUMNS, "heterogeneity_samples")
        write_tsv(outputs["variance"], variance_table(scores, table), VARIANCE_COLUMNS)
        write_compartments(outputs, scores, table, vocabulary(words), settings, told, single)
        published = against_published(proteins, of_fields, table)
        write_tested(outputs["published"], published, PUBLISHED_COLUMNS, "published_variation")
        if single:
            told.notes += missing_judgements(proteins, of_fields, settings) + found
            told.extra["covariates"] = {name: int(covariates[name].notna().sum()) for name in NAMES}


def write_compartments(
    outputs: dict[str, str | Path],
    scores: np.ndarray,
    table: pd.DataFrame,
    words: Vocabulary,
    settings: dict[str, Any],
    told: Summary,
    single: bool,
) -> None:
    """Score cells between pairs of compartments; both tables are empty for a model of fields."""
    sets = [frozenset(words.to_classes(terms)) for terms in table["labels"]] if single else []
    proteins = table.groupby("protein").ngroup().to_numpy()
    wanted = settings["compartments"]
    pairs = [Pair(*names) for names in wanted] if wanted is not None else []
    if single and wanted is None:
        pairs = choose_pairs(sets, proteins, settings["min_pair_proteins"], settings["compartment_pairs"])
        if not pairs:
            told.notes.append(
                f"no two locations of {words.name} are shared by {settings['min_pair_proteins']} proteins with as many "
                "of each alone: no cells are scored between compartments"
            )
    rows, cells = compartment_tables(scores, table, sets, pairs if single else [], settings["min_cells"])
    write_tsv(outputs["compartments"], rows, COMPARTMENT_COLUMNS)
    with atomic_path(outputs["compartment_cells"]) as partial:
        cells[list(CELL_COLUMNS)].to_parquet(partial, index=False, compression="zstd")


def against_published(proteins: pd.DataFrame, of_fields: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of published_variation.tsv: of each protein the mean over its cell lines, or fields."""
    numbers = proteins.set_index("gene")[["spread_z", "z", "label_entropy"]].apply(pd.to_numeric)
    measures = numbers.groupby(level=0).mean()
    intensity = pd.to_numeric(of_fields.set_index("gene")["intensity_cv_z"]).groupby(level=0).mean()
    measures["intensity_cv_z"] = intensity.reindex(measures.index)
    names = zip(table["protein"], table["field_id"], table["version"], strict=True)
    return compare_published(measures, published_of(table[[*KEY, *PUBLISHED]], names))


def without_border(units: UnitStream) -> UnitStream:
    """Leave cells whose nucleus touches the field's border out, as `border`: with `crop.border` `keep` there are some.

    What is seen of a cell that the border cuts differs by where it is cut.
    """
    if units.level != "cell":
        return units
    whole = ~units.table["nucleus_touches_border"].eq(True).to_numpy(bool)
    if whole.all():
        return units
    table = units.table.loc[whole].reset_index(drop=True)
    dropped = {**units.dropped, "border": int((~whole).sum())}
    kept = units.kept.copy()
    kept[np.flatnonzero(kept)[~whole]] = False
    return replace(units, table=table, kept=kept, dropped=dropped)


def count(told: Summary, units: UnitStream) -> None:
    """Count what came and what was measured: units of a protein, controls apart."""
    measured = units.table["protein"].notna() & ~units.table["control"]
    told.counts = {"in": len(units.table) + sum(units.dropped.values()), "kept": int(measured.sum()), **units.dropped}
    controls = int(units.table["control"].sum())
    reasons = {"control": controls, "no_gene": int((~measured).sum()) - controls}
    told.counts.update({reason: number for reason, number in reasons.items() if number})
    told.notes += units.notes
    if units.level == "field":
        told.notes.append(
            "this model describes fields, not cells: spread is that of a protein's fields, is not tested, and tells "
            "nothing of single cells; only intensities are compared from cell to cell"
        )


def unit_distances(units: UnitStream, settings: dict[str, Any]) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    """How far each unit of a protein is from its like: a cell from its field's mean, a field from its protein's.

    Args:
        units: embeddings, as `open_units` gives them.
        settings: what `heterogeneity_settings` takes.

    Returns:
        table: the units of proteins, with `distance` (NaN where a unit is alone) and `axis` (place along the main
            direction in which the units of its protein and cell line differ).
        scores: (N, K) float32 principal components of these units, not limited; the first `components` tell the
            distance.
        notes: what was imputed and left out.
    """
    measured = (units.table["protein"].notna() & ~units.table["control"]).to_numpy()
    scores, notes = unit_scores(units, measured, settings)
    table = units.table.loc[measured].reset_index(drop=True)
    table["cell_line"] = table["cell_line"].fillna("")
    first = scores[:, : settings["components"]]
    like = KEY if units.level == "cell" else GROUP
    own = table.groupby(like, sort=False).ngroup().to_numpy()
    table["distance"], table["axis"] = np.nan, np.nan
    for rows in table.groupby("cell_line", sort=True).indices.values():
        near = limited(from_median(first[rows], own[rows]), settings["clip"])
        whitened = whiten(cell_residuals(near, own[rows]))
        table.loc[rows, "distance"] = distances(whitened)
        line = table.loc[rows]
        for places in line.groupby("protein").indices.values():
            table.loc[rows[places], "axis"] = towards_bright(main_axis(whitened[places]), line.iloc[places])
    return table, scores, notes


def unit_scores(units: UnitStream, measured: np.ndarray, settings: dict[str, Any]) -> tuple[np.ndarray, list[str]]:
    """Places of units among their principal components; vectors are read block by block, three times.

    Args:
        units: embeddings, as `open_units` gives them.
        measured: (all units,) bool, the N of which components are found; all units tell the scale.
        settings: what `heterogeneity_settings` takes.

    Returns:
        (N, K) float32 scores, not limited, and what was imputed and left out.
    """
    scale, notes = scale_of_stream(units, "auto", settings["clip"], settings["scale_units"], settings["seed"])
    # components are found on limited values, but a bright field must not lose its cells' differences to the limit
    products, whole = Covariance(len(units.features), "float64"), replace(scale, clip=None)
    for rows, vectors in units.blocks():
        products.add(scale.apply(vectors[measured[rows]]))
    loadings = products.components(max(settings["components"], settings["pattern_components"])).loadings
    scores = np.empty((np.count_nonzero(measured), len(loadings)), np.float32)
    start = 0
    for rows, vectors in units.blocks():
        found = whole.apply(vectors[measured[rows]]) @ loadings.T
        scores[start : start + len(found)] = found
        start += len(found)
    return scores, notes


def towards_bright(axis: np.ndarray, units: pd.DataFrame) -> np.ndarray:
    """Turn an axis so that it rises with the protein's intensity, where the ledger knows it: its sign is free."""
    if "mean_protein" not in units:
        return axis
    brightness = pd.to_numeric(units["mean_protein"]).to_numpy(float)
    known = np.isfinite(axis) & np.isfinite(brightness)
    together = ((axis[known] - axis[known].mean()) * brightness[known]).sum() if known.any() else 0.0
    return -axis if together < 0 else axis


def top_locations(unit_ids: pd.Series, predictions: str | Path) -> pd.Series:
    """The most probable class of each unit, None where nothing was predicted."""
    classes = read_metadata(predictions).get("classes")
    table = read_tables([predictions])
    if classes is None:
        classes = [name for name in table.columns if name not in ("unit_id", *KEY, "fold")]
    found = pd.Series(None, index=unit_ids.index, dtype=object)
    if not classes or not len(table):
        return found
    values = table[list(classes)].to_numpy(np.float32)
    known = np.isfinite(values).all(axis=1)
    names = np.array(classes, dtype=object)
    best = pd.Series(names[values[known].argmax(axis=1)], index=table.loc[known, "unit_id"])
    best = best[~best.index.duplicated()]
    found[:] = unit_ids.map(best).to_numpy()
    return found.where(found.notna(), None)


def location_entropy(locations: pd.Series, fewest: int) -> float | None:
    """Shannon entropy in bits of units' top locations: 0 where all share one; None for fewer than `fewest`."""
    _, counts = np.unique(locations.dropna().to_numpy(str), return_counts=True)
    if counts.sum() < fewest:
        return None
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def judged_spread(rows: pd.DataFrame, fewest: int) -> pd.DataFrame:
    """Add z of `spread` against the other rows of the same cell line.

    Args:
        rows: columns cell_line, spread, squared_cv (as `trimmed` gives it) and units (their number).
        fewest: rows of a cell line needed for a judgement.
    """
    # the usual variation of single cells, as most rows of the cell line show it
    usual = rows["squared_cv"].astype(float).groupby(rows["cell_line"]).transform("median")
    sampling = (usual / rows["units"].astype(float)).to_numpy()
    found = against_others(rows["spread"].to_numpy(float), sampling, rows["cell_line"].to_numpy(), fewest)
    return rows.assign(spread_z=found.z)


def protein_rows(
    table: pd.DataFrame, level: str, settings: dict[str, Any], judgement: Judgement | None = None
) -> pd.DataFrame:
    """Rows of heterogeneity.tsv from `unit_distances` with the column location, and what `judge` found of them."""
    rows = []
    for (protein, line), own in table.groupby(GROUP, sort=True):
        alike = own["distance"].dropna()
        enough = len(alike) >= (settings["min_cells"] if level == "cell" else 2)
        known = own["location"].dropna()
        counts = known.value_counts()
        top = min(counts.index[counts == counts.max()]) if len(counts) else None
        ends = own.dropna(subset=["axis"]).sort_values(["axis", "unit_id"])["unit_id"]
        shown = min(settings["examples"], len(ends) // 2) if level == "cell" else 0
        rows.append(
            {
                "gene": protein,
                "cell_line": line,
                "n_cells": len(own) if level == "cell" else None,
                "n_fields": len(own[KEY].drop_duplicates()),
                "spread": trimmed(alike)[0] if enough else np.nan,
                "label_entropy": location_entropy(known, settings["min_cells"]),
                "top_location": top,
                "top_location_share": counts[top] / len(known) if top else None,
                "cells_low": ";".join(ends.iloc[:shown]),
                "cells_high": ";".join(ends.iloc[len(ends) - shown :]),
                "squared_cv": trimmed(alike)[1] if enough else np.nan,
                "units": len(alike),
            }
        )
    found = pd.DataFrame(rows, columns=[*dict.fromkeys((*COLUMNS, "squared_cv", "units"))])
    if level == "cell":
        found = judged_spread(found, settings["min_groups"])
    found = found.drop(columns=["squared_cv", "units"])
    if judgement is not None and len(found):
        own = judgement.rows.set_index(GROUP).reindex(pd.MultiIndex.from_frame(found[["gene", "cell_line"]]))
        for name in ("excess", "z", "p", "q", "explained_by"):
            found[name] = own[name].to_numpy()
    order = ["p", "spread_z", "spread", "gene"]
    return found.sort_values(order, ascending=[True, False, False, True], ignore_index=True)


def field_rows(table: pd.DataFrame, ledger: pd.DataFrame, level: str, settings: dict[str, Any]) -> pd.DataFrame:
    """Rows of heterogeneity_fields.tsv.

    Args:
        table: `unit_distances` with the column location.
        ledger: `kept_cells`.
        level: `cell` or `field`.
        settings: section `biology`.
    """
    cells = dict(list(ledger.groupby(KEY)))
    rows = []
    for key, own in table.groupby(KEY, sort=True):
        alike = own["distance"].dropna() if level == "cell" else own["distance"].head(0)
        enough = len(alike) >= settings["min_cells"]
        intensities = cells[key]["mean_protein"].dropna() if key in cells else pd.Series(dtype=float)
        rows.append(
            {
                **dict(zip(KEY, key, strict=True)),
                "gene": own["protein"].iloc[0],
                "cell_line": own["cell_line"].iloc[0],
                "n_cells": len(cells.get(key, ())),
                "spread": trimmed(alike)[0] if enough else np.nan,
                "intensity_cv": robust_cv(intensities.to_numpy(float), settings["min_cells"]),
                "label_entropy": location_entropy(own["location"], settings["min_cells"]) if level == "cell" else None,
                "squared_cv": trimmed(alike)[1] if enough else np.nan,
                "units": len(alike),
                "intensities": len(intensities),
            }
        )
    names = dict.fromkeys((*FIELD_COLUMNS, "squared_cv", "units", "intensities"))
    found = pd.DataFrame(rows, columns=[*names])
    found = judged_spread(found, settings["min_groups"])
    variation = found["intensity_cv"].to_numpy(float)
    sampling = CV_VARIANCE / found["intensities"].clip(lower=1).to_numpy(float)
    judged = against_others(variation, sampling, found["cell_line"].to_numpy(), settings["min_groups"])
    found["intensity_cv_z"] = judged.z
    found = found.drop(columns=["squared_cv", "units", "intensities"])
    order = ["spread_z", "intensity_cv_z", "intensity_cv", "spread"]
    return found.sort_values([*order, *KEY], ascending=[*[False] * 4, True, True], ignore_index=True)


def kept_cells(cells: Sequence[str | Path], fields: str | Path) -> pd.DataFrame:
    """Kept cells of current field versions, those aside whose nucleus touches the border.

    Returns:
        field_id, version, mean_protein (NaN where the source has no protein).
    """
    columns = [*KEY, "status", "mean_protein", "nucleus_touches_border"]
    ledger = read_tables(cells, columns).reindex(columns=columns)
    counts = (ledger["status"] == "kept") & ~ledger["nucleus_touches_border"].eq(True)
    kept = ledger[counts].merge(current_fields(fields)[KEY].drop_duplicates(), on=KEY)
    return kept.assign(mean_protein=pd.to_numeric(kept["mean_protein"]))


def robust_cv(values: np.ndarray, fewest: int) -> float | None:
    """Robust coefficient of variation as flow cytometry defines it: (P84.13 - P15.87) / (2 x median).

    The percentiles are one standard deviation from the median of a normal distribution. The median absolute deviation,
    the usual robust choice, does not see a minority of bright cells, which is just what is looked for.

    Returns:
        The ratio; None for fewer than `fewest` values or a median of 0.
    """
    if len(values) < fewest or np.median(values) <= 0:
        return None
    low, middle, high = np.percentile(values, [15.87, 50, 84.13])
    return float((high - low) / (2 * middle))


def missing_judgements(proteins: pd.DataFrame, fields: pd.DataFrame, settings: dict[str, Any]) -> list[str]:
    """Notes on cell lines in which there was too little to compare with."""
    notes = []
    for table, what in ((proteins, "proteins"), (fields, "fields")):
        for line, own in table.groupby("cell_line"):
            measured = int(own["spread"].notna().sum())
            if measured and not own["spread_z"].notna().any():
                notes.append(
                    f"{line or 'no cell line'}: {measured} {what} are too few to judge one by the others "
                    f"(at least {settings['min_groups']}): spread_z is empty"
                )
    return notes
