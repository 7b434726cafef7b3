"""Cells without a location: the limit that controls set to a cell's largest probability of one.

Le et al. 2022 call a cell Negative whose image's labels the model does not see in it, at a fixed probability. What a
model says of cells without any signal is known where there are controls: a cell that is no more certain than nearly all
of theirs shows nothing, whatever its most probable location.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.analysis.controls import LIMIT_COLUMNS, NONE, control_limits, held_out_share
from wherein.analysis.replicates import replicate_names
from wherein.labels import NEGATIVE
from wherein.reasons import KEPT
from wherein.tables import current_fields, read_tables

KEY = ["field_id", "version"]


def location_limits(
    table: pd.DataFrame, classes: list[str], fields: str | Path, cells: Sequence[str | Path], settings: dict[str, Any]
) -> tuple[pd.Series, pd.DataFrame]:
    """The limit that each cell's largest probability of a location has to exceed.

    Args:
        table: unit_id, field_id, version and a column of probabilities for each class.
        classes: names of the classes; Negative is no location.
        fields: results/catalog/fields.parquet.
        cells: results/cells/{shard}.parquet of every shard of the model.
        settings: `negative` and `replicate` of the section `biology`.

    Returns:
        Limits by unit_id, without those that no controls set; and LIMIT_COLUMNS, one row a source and plate.
    """
    places = [name for name in classes if name != NEGATIVE]
    empty = pd.Series(dtype=float), pd.DataFrame(columns=list(LIMIT_COLUMNS))
    if settings["negative"]["percentile"] is None or not places:
        return empty
    catalog = current_fields(fields).drop_duplicates(KEY)
    catalog["replicate"] = replicate_names(catalog, settings["replicate"])
    ledger = read_tables(cells, ["cell_id", "status"])
    kept = ledger.loc[ledger["status"] == KEPT, "cell_id"]
    units = table[table["unit_id"].isin(set(kept))].merge(
        catalog[[*KEY, "source", "plate", "replicate", "control"]], on=KEY
    )
    if not len(units):
        return empty
    units["control"] = units["control"].eq(True)
    values = largest(units, places)
    own = settings["negative"]
    limits = control_limits(values, units, own["percentile"], own["min_control_cells"])
    known = limits.basis != NONE
    return pd.Series(limits.limit[known], units.loc[known, "unit_id"].to_numpy()), limits.table


def largest(units: pd.DataFrame, places: Sequence[str]) -> np.ndarray:
    """(N,) largest probability of a location of each cell; NaN where one is not known."""
    return units[list(places)].to_numpy(float).max(axis=1)


def limit_note(limits: pd.DataFrame, percentile: float | None) -> str:
    """A sentence on what set the limit, and how many cells of controls are above one that other controls set."""
    if percentile is None:
        return "controls set no limit to what is Negative (biology.negative.percentile is null)"
    set_by = limits[limits["basis"] != NONE] if len(limits) else limits
    if not len(set_by):
        return (
            "no limit was set to what is Negative, as there are too few cells of controls: the labels' rule alone tells"
        )
    above, held = held_out_share(limits)
    told = (
        f"{above} of {held} cells of controls ({above / held:.1%}) would be in a location by the limit of other "
        "controls"
        if held
        else "no cell of a control could be held against other controls"
    )
    return (
        f"a cell is Negative where its largest probability of a location is within the controls' percentile "
        f"{percentile:g} ({set_by['limit'].min():.2f} to {set_by['limit'].max():.2f}); {told}"
    )
