"""What a model that was trained here is scored on: genes that it has never seen, by thresholds chosen without them."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from wherein import tables
from wherein.models.scored import KEY
from wherein.models.training_table import TEST
from wherein.split import CONTROL


def unseen(units: pd.DataFrame, training: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Which units a model may be scored on: those of the test fold whose genes and fields it did not learn from.

    A later release may give a gene of the training table new fields, or join two genes: they count as seen.

    Args:
        units: field_id, version, gene_group, fold.
        training: training tables of the model, or of the members of an ensemble.

    Returns:
        keep: (N,) bool.
        notes: what is scored, in words.
    """
    keep = np.ones(len(units), bool)
    names = units["field_id"] + "@" + units["version"]
    groups = [_genes([name]) if isinstance(name, str) else set() for name in units["gene_group"]]
    folds = set()
    for path in training:
        known = tables.read_metadata(path)
        rows = tables.read_tables([path], [*KEY, "gene_group", "part"])
        rows = rows[rows["part"] != TEST]
        # controls have no gene: of them single fields are told apart
        genes = _genes(rows["gene_group"].dropna()) - {CONTROL}
        fields = set(rows["field_id"] + "@" + rows["version"])
        keep &= (units["fold"] == known["test_fold"]).to_numpy()
        keep &= np.array([genes.isdisjoint(group) for group in groups], bool) & ~names.isin(fields).to_numpy()
        folds.add(known["test_fold"])
    told = ", ".join(str(fold) for fold in sorted(folds))
    return keep, [f"scored on {int(keep.sum())} units of genes in fold {told}, which training never saw"]


def _genes(groups: Iterable[str]) -> set[str]:
    """Genes of some groups: a group is named by all of them, and gets another name when one more joins it."""
    return {gene for group in groups for gene in group.split("/")}


def of_units(fields: pd.DataFrame, units: pd.DataFrame) -> np.ndarray:
    """Which fields some units are of: (N,) bool; both tables have field_id and version."""
    chosen = set(units[KEY].itertuples(index=False, name=None))
    return np.array([key in chosen for key in fields[KEY].itertuples(index=False, name=None)], bool)
