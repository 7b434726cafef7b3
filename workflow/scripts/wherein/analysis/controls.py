"""What cells without a specific protein signal look like: the background and the limit that controls set.

Controls (secondary antibody only, untagged strain) of the same plate count first, those of the same source where a
plate has too few, and no one where a source has none. A control's own cells are held against the other controls alone,
so that how many of them lie above the limit is an honest share.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

PLATE, SOURCE, NONE = "plate", "source", "none"
"""Whose controls a cell is held against."""

NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

LIMIT_COLUMNS = (
    *("source", "plate", "basis", "n_controls", "n_cells", "background", "spread", "limit"),
    *("held_out_cells", "held_out_above", "held_out_share"),
)
"""One row a source and plate: what its cells are held against, and how its own controls fare against the others."""


class Limits(NamedTuple):
    """What controls say of each cell; all (N,).

    Attributes:
        basis: PLATE, SOURCE or NONE.
        middle: median of the controls; NaN without any.
        spread: 1.4826 x their median absolute deviation.
        limit: their percentile.
        table: LIMIT_COLUMNS.
    """

    basis: np.ndarray
    middle: np.ndarray
    spread: np.ndarray
    limit: np.ndarray
    table: pd.DataFrame


def control_limits(values: np.ndarray, cells: pd.DataFrame, percentile: float, least: int) -> Limits:
    """Hold every cell against the controls of its plate, else of its source.

    Args:
        values: (N,) a measure of each cell; NaN where unknown.
        cells: source, plate (null where unknown), replicate (what a preparation is) and control, in their order.
        percentile: of the controls' cells, which is the limit.
        least: fewest cells of controls.
    """
    number = len(cells)
    basis = np.full(number, NONE, dtype=object)
    middle, spread, limit = (np.full(number, np.nan) for _ in range(3))
    known = np.isfinite(values)
    control = cells["control"].to_numpy(bool) & known
    plates = cells["plate"].fillna("").to_numpy(object)
    sources = cells["source"].fillna("").to_numpy(object)
    replicates = cells["replicate"].to_numpy(object)
    rows = []

    def take(rows_of: np.ndarray, own: np.ndarray, name: str) -> bool:
        if own.sum() < least:
            return False
        basis[rows_of] = name
        middle[rows_of], spread[rows_of], limit[rows_of] = measures(values[own], percentile)
        return True

    for source in dict.fromkeys(sources):
        of_source = sources == source
        for plate in dict.fromkeys(plates[of_source]):
            here = of_source & (plates == plate)
            own = control & here if plate else np.zeros(number, bool)
            found = own if take(here, own, PLATE) else control & of_source
            if found is not own:
                take(here, found, SOURCE)
            told = measures(values[found], percentile) if basis[here][0] != NONE else (np.nan,) * 3
            for replicate in dict.fromkeys(replicates[here & control]):
                mine = here & control & (replicates == replicate)
                basis[mine], middle[mine], spread[mine], limit[mine] = NONE, np.nan, np.nan, np.nan
                if not take(mine, own & (replicates != replicate), PLATE):
                    take(mine, control & of_source & (replicates != replicate), SOURCE)
            held = here & control & np.isfinite(limit)
            above = int((values[held] > limit[held]).sum())
            rows.append(
                {
                    "source": source,
                    "plate": plate or None,
                    "basis": PLATE if own.sum() >= least else SOURCE if np.isfinite(told[0]) else NONE,
                    "n_controls": len(set(replicates[found])),
                    "n_cells": int(found.sum()),
                    "background": told[0],
                    "spread": told[1],
                    "limit": told[2],
                    "held_out_cells": int(held.sum()),
                    "held_out_above": above,
                    "held_out_share": above / held.sum() if held.any() else np.nan,
                }
            )
    return Limits(basis, middle, spread, limit, pd.DataFrame(rows, columns=list(LIMIT_COLUMNS)))


def measures(values: np.ndarray, percentile: float) -> tuple[float, float, float]:
    """Median, 1.4826 x median absolute deviation, and percentile of (n,) finite values."""
    middle = float(np.median(values))
    return middle, float(NORMAL_MAD * np.median(np.abs(values - middle))), float(np.percentile(values, percentile))


def held_out_share(table: pd.DataFrame) -> tuple[int, int]:
    """Cells of controls above a limit that other controls set, and how many could be held against one."""
    return int(table["held_out_above"].sum()), int(table["held_out_cells"].sum())
