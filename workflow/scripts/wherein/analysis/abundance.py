"""How much of each protein there is: intensities of the ledger above the background that controls set.

Cells are put together by their median in each field, fields by their mean in each replicate, replicates by their mean
in each protein, cell line and condition; intervals and tests go over replicates. Intensities are the source's own: they
compare within a source whose exposure is the same, and between sources only as a share of the full scale.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import t as student

from wherein.analysis.aggregate import protein_names
from wherein.analysis.controls import LIMIT_COLUMNS, NONE, Limits, control_limits, held_out_share
from wherein.analysis.correction import adjusted
from wherein.analysis.replicates import replicate_names
from wherein.analysis.tested import STATED, stated
from wherein.crops.samples import in_small_sample
from wherein.reasons import KEPT
from wherein.summary import Summary, stage_summary
from wherein.tables import TEXT, current_fields, read_tables, write_table, write_tsv

log = logging.getLogger(__name__)

KEY = ["field_id", "version"]
REAL = pa.float64()
WHOLE = pa.int64()

CATALOG = ("source", "genes", "ensembl_ids", "sample", "reagent", "cell_line", "condition", "plate", "well", "control",
           "full_scale", "pixel_size_um")  # fmt: skip

SAMPLES = pa.schema(
    [
        *((name, TEXT) for name in ("replicate", "source", "sample", "plate", "well", "protein", "reagent")),
        *((name, TEXT) for name in ("cell_line", "condition")),
        ("control", pa.bool_()),
        *((name, WHOLE) for name in ("n_cells", "n_fields", "cells_in_saturated_fields")),
        ("background_from", TEXT),
        *((name, REAL) for name in ("background", "mean", "signal", "relative", "integrated", "log2_signal")),
        ("below_background", pa.bool_()),
        *((name, REAL) for name in ("share_above", "saturated")),
    ]
)
"""results/biology/abundance_samples.parquet"""

PROTEINS = pa.schema(
    [
        *((name, TEXT) for name in ("protein", "source", "cell_line", "condition")),
        *((name, WHOLE) for name in ("n_cells", "n_fields", "n_samples", "cells_in_saturated_fields")),
        ("background_from", TEXT),
        *((name, REAL) for name in ("mean", "signal", "signal_low", "signal_high", "relative")),
        *((name, REAL) for name in ("integrated", "integrated_low", "integrated_high")),
        *((name, REAL) for name in ("share_above", "share_low", "share_high")),
        *((name, REAL) for name in ("log2_over_controls", "t", "df", "p", "q")),
        ("n_tests", WHOLE),
        ("n_controls", WHOLE),
        ("controls_of", TEXT),
        ("detected", pa.bool_()),
        *((name, TEXT) for name in ("reason", *STATED)),
    ]
)
"""results/biology/abundance.parquet"""


def measure_abundance(
    fields: str | Path,
    qc: Sequence[str | Path],
    cells: Sequence[str | Path],
    samples: str | Path,
    settings: dict[str, Any],
    proteins: str | Path,
    preparations: str | Path,
    background: str | Path,
    summary: str | Path,
) -> None:
    """Measure the protein's intensity above background in every replicate and protein.

    Args:
        fields: results/catalog/fields.parquet.
        qc: results/qc/{shard}.parquet of every shard.
        cells: results/cells/{shard}.parquet, likewise.
        samples: results/samples/samples.parquet.
        settings: section `biology.abundance` of the configuration, and `replicate`.
        proteins: results/biology/abundance.parquet, written.
        preparations: results/biology/abundance_samples.parquet, written.
        background: results/biology/abundance_background.tsv, written.
        summary: results/summaries/abundance/run.json, written.
    """
    with stage_summary(summary, "abundance", "run", ("numpy", "scipy")) as told:
        table = read_cells(fields, qc, cells, samples, settings["replicate"], told)
        limits = control_limits(table["mean_protein"].to_numpy(float), table, settings["percentile"],
                                settings["min_control_cells"])  # fmt: skip
        rows = sample_rows(table, limits)
        found = protein_rows(rows, settings)
        write_table(preparations, rows, SAMPLES)
        write_table(proteins, stated(found, "abundance"), PROTEINS)
        write_tsv(background, limits.table, LIMIT_COLUMNS)
        told.notes += notes(found, limits, settings)
        told.extra["detected"] = {
            "tested": int(found["p"].notna().sum()),
            "detected": int(found["detected"].eq(True).sum()),
        }


def read_cells(
    fields: str | Path,
    qc: Sequence[str | Path],
    cells: Sequence[str | Path],
    samples: str | Path,
    unit: str,
    told: Summary,
) -> pd.DataFrame:
    """Kept cells of current fields with an intensity, and what the catalog says of them; counts go to the summary."""
    ledger = read_tables(
        cells, ["cell_id", *KEY, "status", "touches_border", "area_um2", "mean_protein", "sum_protein"]
    )
    catalog = current_fields(fields)[[*KEY, *CATALOG]].drop_duplicates(KEY)
    catalog["replicate"] = replicate_names(catalog, unit)
    catalog["protein"] = protein_names(catalog).where(~catalog["control"].eq(True), None)
    table = ledger.merge(catalog, on=KEY, how="left", indicator="_current")
    table = table.merge(read_tables(qc, [*KEY, "saturated_protein"]).drop_duplicates(KEY), on=KEY, how="left")
    table["control"] = table["control"].eq(True)
    reason = pd.Series(None, index=table.index, dtype=object)

    def leave(rows: pd.Series, why: str) -> None:
        reason[reason.isna() & rows] = why

    leave((table["_current"] != "both") | (table["status"] != KEPT), "retired")
    leave(in_small_sample(table, samples) & ~table["control"], "small_sample")
    leave(pd.to_numeric(table["mean_protein"]).isna(), "no_intensity")
    leave(table["protein"].isna() & ~table["control"], "no_gene")
    kept = table[reason.isna()].reset_index(drop=True)
    for name in ("mean_protein", "sum_protein", "area_um2", "full_scale", "pixel_size_um", "saturated_protein"):
        kept[name] = pd.to_numeric(kept[name]).astype(float)
    counts = {str(name): int(number) for name, number in reason.value_counts().items()}
    told.counts = {"in": len(table), "kept": len(kept), **counts}
    return kept


def sample_rows(table: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """Rows of abundance_samples.parquet.

    Args:
        table: `read_cells`.
        limits: what the controls say of each of these cells.
    """
    if not len(table):
        return pd.DataFrame(columns=SAMPLES.names)
    own = table.copy()
    own["background_from"] = limits.basis
    own["background"] = np.where(limits.basis == NONE, np.nan, limits.middle)
    below = np.nan_to_num(limits.middle)
    own["signal"] = own["mean_protein"] - below
    own["relative"] = own["signal"] / own["full_scale"]
    pixels = own["area_um2"] / own["pixel_size_um"] ** 2
    # a cell that the field's border cuts has no sum
    whole = ~own["touches_border"].eq(True)
    own["integrated"] = (own["sum_protein"] - below * pixels).where(whole)
    own["above"] = np.where(np.isfinite(limits.limit), own["mean_protein"] > limits.limit, np.nan)
    own["floor"] = limits.spread
    own["in_saturated"] = own["saturated_protein"] > 0
    by_field = own.groupby(["replicate", "protein", *KEY], dropna=False, sort=False)
    middles = by_field[["mean_protein", "signal", "relative", "integrated", "background", "floor"]].median()
    middles["saturated"] = by_field["saturated_protein"].first()
    by_replicate = middles.groupby(level=["replicate", "protein"], dropna=False, sort=False)
    rows = by_replicate.mean()
    grouped = own.groupby(["replicate", "protein"], dropna=False, sort=False)
    rows["share_above"] = grouped["above"].mean()
    rows["n_cells"] = grouped.size()
    rows["n_fields"] = by_replicate.size()
    rows["cells_in_saturated_fields"] = grouped["in_saturated"].sum()
    columns = ["source", "sample", "plate", "well", "reagent", "cell_line", "condition", "control", "background_from"]
    rows = rows.join(grouped[columns].agg(lambda values: values.iloc[0])).reset_index()
    # what is no more than the background has no logarithm: one standard deviation of the controls' cells stands for it
    floor = rows["floor"].where(rows["floor"] > 0)
    rows["below_background"] = np.where(rows["background_from"] == NONE, False, rows["signal"] < floor.fillna(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log2(np.fmax(rows["signal"].to_numpy(float), floor.to_numpy(float)))
    rows["log2_signal"] = np.where(np.isfinite(logs), logs, np.nan)
    rows = rows.rename(columns={"mean_protein": "mean"}).drop(columns="floor")
    return rows.sort_values(["control", "protein", "source", "replicate"], ignore_index=True)[SAMPLES.names]


def protein_rows(samples: pd.DataFrame, settings: dict[str, Any]) -> pd.DataFrame:
    """Rows of abundance.parquet.

    Args:
        samples: `sample_rows`.
        settings: section `biology.abundance`.
    """
    keys = ["protein", "source", "cell_line", "condition"]
    shown = samples[~samples["control"].astype(bool)]
    controls = samples[samples["control"].astype(bool)]
    rows = []
    for key, own in shown.groupby(keys, dropna=False, sort=True):
        row: dict[str, Any] = dict(zip(keys, (None if pd.isna(name) else name for name in key), strict=True))
        row |= {name: int(own[name].sum()) for name in ("n_cells", "n_fields", "cells_in_saturated_fields")}
        row["n_samples"] = len(own)
        row["background_from"] = ";".join(sorted(set(own["background_from"])))
        for name in ("mean", "relative"):
            row[name] = float(own[name].mean())
        for name, short in (("signal", "signal"), ("integrated", "integrated"), ("share_above", "share")):
            row[name], row[f"{short}_low"], row[f"{short}_high"] = interval(own[name].to_numpy(float))
        if np.isfinite(row["share_low"]):
            row["share_low"], row["share_high"] = max(row["share_low"], 0.0), min(row["share_high"], 1.0)
        row |= detection(own, controls[controls["source"] == row["source"]])
        rows.append(row)
    found = pd.DataFrame(rows, columns=PROTEINS.names)
    tested = found["p"].notna()
    found["q"] = adjusted(found["p"])
    found["detected"] = found["q"].le(settings["max_q"]).astype(object).where(tested, None)
    found.loc[tested, "n_tests"] = int(tested.sum())
    return found


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of (n,) values over samples and the ends of its 95 % interval by Student's t; NaN ends for one sample."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.nan, np.nan, np.nan
    mean = float(known.mean())
    if len(known) < 2:
        return mean, np.nan, np.nan
    half = float(student.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return mean, mean - half, mean + half


def detection(own: pd.DataFrame, controls: pd.DataFrame) -> dict[str, Any]:
    """Whether samples are brighter than controls: one-sided t of log2 means, with the controls' scatter alone.

    A protein that is not there gives samples that are like controls, so the scatter between control samples is all that
    the hypothesis knows of, and one sample of a protein can be judged. Samples are held against the controls of their
    plates where these alone leave two degrees of freedom, else against all of their source.

    Args:
        own: samples of a protein, with plate and mean.
        controls: control samples of the same source.

    Returns:
        log2_over_controls, t, df, p, n_controls, controls_of (`plate` or `source`), reason (null if tested).
    """
    known = controls[controls["mean"] > 0]
    values = np.log2(own["mean"].where(own["mean"] > 0))
    empty: dict[str, Any] = {"n_controls": len(known), "p": np.nan}
    if len(known) < 2:
        return empty | {"reason": "no_controls" if not len(known) else "one_control"}
    if values.isna().any():
        return empty | {"reason": "no_signal"}
    logs = np.log2(known["mean"])
    plates = logs.groupby(known["plate"].fillna(""))
    on_plates = bool(own["plate"].notna().all()) and set(own["plate"]) <= set(known["plate"].dropna())
    if on_plates and len(known) - plates.ngroups >= 2:
        df, where = len(known) - plates.ngroups, "plate"
        spread = float(((logs - plates.transform("mean")) ** 2).sum() / df)
        held = values - own["plate"].map(plates.mean())
        shares = own["plate"].value_counts() / len(own)
        uncertain = float((shares**2 / plates.size().reindex(shares.index)).sum())
    else:
        df, where = len(known) - 1, "source"
        spread, held, uncertain = float(logs.var(ddof=1)), values - logs.mean(), 1 / len(known)
    if spread <= 0:
        return empty | {"reason": "controls_alike"}
    over = float(held.mean())
    t = over / np.sqrt(spread * (1 / len(own) + uncertain))
    told = {"log2_over_controls": over, "t": t, "df": float(df), "p": float(student.sf(t, df)), "reason": None}
    return empty | told | {"controls_of": where}


def notes(found: pd.DataFrame, limits: Limits, settings: dict[str, Any]) -> list[str]:
    """Sentences on backgrounds and calls."""
    told = []
    without = limits.table.loc[limits.table["basis"] == NONE, "source"].unique()
    if len(without):
        told.append(
            f"no background: {', '.join(without)} has fewer than {settings['min_control_cells']} cells of controls; "
            "intensities there are as measured"
        )
    above, held = held_out_share(limits.table)
    if held:
        told.append(
            f"{above} of {held} cells of controls ({above / held:.1%}) are above the limit that other controls set "
            f"(percentile {settings['percentile']:g})"
        )
    tested = int(found["p"].notna().sum())
    if tested:
        told.append(
            f"{int(found['detected'].eq(True).sum())} of {tested} proteins, cell lines and conditions are brighter "
            f"than controls (one-sided t over samples, q at most {settings['max_q']}, Benjamini-Hochberg)"
        )
    elif len(found):
        told.append("no protein could be called detected: a source needs two control samples at least")
    return told
