"""How much each unit counts where vectors are put together: by the quality of its outline."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from wherein.tables import read_tables

LEAST_WEIGHT = 0.01
"""Weight of the worst outline: a group of nothing but bad ones still has a vector."""


def unit_weights(
    method: str, quality: Sequence[str], unit_ids: np.ndarray, level: str
) -> tuple[np.ndarray | None, list[str]]:
    """How much each unit counts.

    Args:
        method: `none`, or `quality`: the product of what the segmentation tells of a cell between 0 and 1, its
            solidity, 1 - its disagreement with the second method, and the method's own score; what it does not tell
            counts as 1.
        quality: results/segmentation/{shard}.parquet.
        unit_ids: of the units.
        level: `cell` or `field`.

    Returns:
        (N,) float64, None where all count alike; and sentences.
    """
    if method == "none":
        return None, []
    if level != "cell" or not quality:
        return None, ["all units count alike: there are no outlines whose quality could be a weight"]
    table = read_tables(quality, ["cell_id", "solidity", "disagreement", "score"]).set_index("cell_id")
    table = table.astype(float).reindex(unit_ids)
    told = pd.DataFrame({"solidity": table["solidity"], "fit": 1 - table["disagreement"], "score": table["score"]})
    weights = told.clip(0, 1).fillna(1.0).prod(axis=1).clip(lower=LEAST_WEIGHT).to_numpy()
    unknown = int(told.isna().all(axis=1).sum())
    notes = [f"{unknown} units have no outline of the run and count in full"] if unknown else []
    return weights, notes
