"""Samples with too few cells: counted over all their fields, whichever shards these are in.

A ledger belongs to its shard and never waits for another, but a sample's fields may lie in several shards (a later
release added some). So the count is a table of the run, which whoever reads cells of all shards follows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from wherein.reasons import CELL_REASONS, KEPT, REJECTED, check_reason
from wherein.summary import stage_summary
from wherein.tables import SAMPLES, current_fields, read_tables, write_table

KEY = ["field_id", "version"]

SMALL = check_reason("small_sample", CELL_REASONS)


def count_samples(
    fields: str | Path,
    cells: Sequence[str | Path],
    least: Mapping[str, int],
    samples: str | Path,
    summary: str | Path,
) -> None:
    """Judge every sample of the run by its number of kept cells.

    Args:
        fields: results/catalog/fields.parquet.
        cells: results/cells/{shard}.parquet of every shard.
        least: fewest cells of a sample, by source.
        samples: table to write, results/samples/samples.parquet.
        summary: JSON to write; it counts cells.
    """
    with stage_summary(summary, "samples", "run", ("pandas",)) as report:
        ledger = read_tables(cells, [*KEY, "status"])
        kept = ledger[ledger["status"] == KEPT].groupby(KEY).size() if len(ledger) else pd.Series(dtype=int)
        table = judged_samples(current_fields(fields), kept, least)
        write_table(samples, table, SAMPLES)
        small = table["status"] == REJECTED
        cells_in, lost = int(table["n_cells"].sum()), int(table.loc[small, "n_cells"].sum())
        report.counts = {"in": cells_in, "kept": cells_in - lost, **({SMALL: lost} if lost else {})}
        found = table[small].groupby(["source", "sample"], dropna=False)["sample_cells"].first()
        report.notes += [
            f"{source}: the sample {sample} has {count} cells in all its fields, of {least[source]} that it needs"
            for (source, sample), count in found.items()
        ]


def judged_samples(fields: pd.DataFrame, kept: pd.Series, least: Mapping[str, int]) -> pd.DataFrame:
    """Count the kept cells of each field and of its sample.

    Args:
        fields: current field versions, with field_id, version, source, sample.
        kept: number of kept cells by (field_id, version); fields without any may be missing.
        least: fewest cells of a sample, by source; fields of other sources are left out.

    Returns:
        Rows of results/samples/samples.parquet, in the order of `fields`. A field without a sample is one of its own.
    """
    table = fields.loc[fields["source"].isin(list(least)), [*KEY, "source", "sample"]].reset_index(drop=True)
    table["n_cells"] = [int(kept.get(key, 0)) for key in zip(table["field_id"], table["version"], strict=True)]
    group = table["sample"].where(table["sample"].notna(), "field " + table["field_id"])
    table["sample_cells"] = table.groupby([table["source"], group])["n_cells"].transform("sum")
    table["least_cells"] = table["source"].map(least)
    small = table["sample_cells"] < table["least_cells"]
    return table.assign(status=small.map({True: REJECTED, False: KEPT}), reason=small.map({True: SMALL, False: KEPT}))


def in_small_sample(units: pd.DataFrame, samples: str | Path) -> pd.Series:
    """Which units belong to a sample with too few cells: bool, by the index of `units` (field_id, version)."""
    table = read_tables([samples], [*KEY, "status"])
    small = pd.MultiIndex.from_frame(table.loc[table["status"] == REJECTED, KEY])
    return pd.Series(pd.MultiIndex.from_frame(units[KEY]).isin(small), index=units.index)
