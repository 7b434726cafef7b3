"""What a model that was trained here is scored on: genes that it has never seen, by thresholds chosen without them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from wherein import tables
from wherein.models.scored import KEY
from wherein.models.thresholds import Learned, choose_thresholds
from wherein.models.training_table import TEST, TRAIN, VALIDATION
from wherein.split import CONTROL


class Validated(NamedTuple):
    """What thresholds of a model are chosen on.

    Attributes:
        fields: (N,) field version of each validation row.
        truth: (N, K) bool, labels of the validation rows.
        scores: (N, K) float32, what the model says of them.
        trained: (M, K) bool, labels of the training rows.
        trained_fields: (M,) field version of each training row.
        trained_scores: (M, K) float32, what the model says of the training rows; NaN where it says nothing.
    """

    fields: np.ndarray
    truth: np.ndarray
    scores: np.ndarray
    trained: np.ndarray
    trained_fields: np.ndarray
    trained_scores: np.ndarray

    @property
    def heard(self) -> np.ndarray:
        """(M,) bool: training rows of which the model says something."""
        return np.isfinite(self.trained_scores).all(axis=1)


def validated(
    training: Sequence[str], predictions: Sequence[str], classes: Sequence[str], which: str | float
) -> tuple[Validated, list[str]]:
    """Stored predictions of the validation rows of a model, and of its training rows.

    Args:
        training: training tables: the model's own or those of its members, whose first one's rows count, then those of
            models that they learned from. A row of whose gene or field one of them was trained is left out.
        predictions: what the model itself predicts, of all its shards.
        classes: columns of both.
        which: as `choose_thresholds` takes it, for the notes.

    Returns:
        The rows that are there, and notes on what thresholds are chosen on and on rows that are not there.
    """
    own = tables.read_tables([training[0]], ["unit_id", *KEY, "gene_group", "part", *classes])
    rows = own[own["part"] == VALIDATION]
    clean = np.ones(len(rows), bool)
    for path in training[1:]:
        other = tables.read_tables([path], [*KEY, "gene_group", "part"])
        clean &= ~learned_from(rows, other[other["part"] == TRAIN])
    said = tables.read_tables(predictions).set_index("unit_id")[list(classes)]
    scores = said.reindex(rows["unit_id"]).to_numpy(np.float32)
    heard = np.isfinite(scores).all(axis=1)
    keep = clean & heard
    kept, learned = rows[keep], own[own["part"] == TRAIN]
    found = Validated(
        (kept["field_id"] + "@" + kept["version"]).to_numpy(str),
        kept[list(classes)].to_numpy(bool),
        scores[keep],
        learned[list(classes)].to_numpy(bool),
        (learned["field_id"] + "@" + learned["version"]).to_numpy(str),
        said.reindex(learned["unit_id"]).to_numpy(np.float32),
    )
    if which == "train_f1":
        notes = [f"thresholds were chosen on {int(found.heard.sum())} units of the training rows"]
        if not found.heard.all():
            notes.append(f"the model says nothing of {int((~found.heard).sum())} of {len(learned)} training rows")
        return found, notes
    notes = [f"thresholds were chosen on {int(keep.sum())} units of the validation rows"]
    if not heard.all():
        notes.append(f"the model says nothing of {int((~heard).sum())} of {len(rows)} validation rows")
    if not clean.all():
        notes.append(f"{int((~clean).sum())} validation rows are no such to a model that this one learned from")
    return found, notes


def thresholds_of_units(found: Validated, which: str | float) -> np.ndarray:
    """(K,) thresholds of single units. All cells of a field weigh as much as one field: they are alike."""
    heard = found.heard
    learned = Learned(found.trained[heard], found.trained_scores[heard], _shares(found.trained_fields[heard]))
    return choose_thresholds(which, found.trained, found.truth, found.scores, _shares(found.fields), learned)


def thresholds_of_fields(found: Validated, which: str | float) -> np.ndarray:
    """(K,) thresholds of fields, whose probabilities are the means over their units."""
    truth, scores = _by_field(found.fields, found.truth), _by_field(found.fields, found.scores)
    trained = _by_field(found.trained_fields, found.trained)
    heard = found.heard
    labels, said = (
        _by_field(found.trained_fields[heard], each[heard]) for each in (found.trained, found.trained_scores)
    )
    return choose_thresholds(which, trained > 0, truth > 0, scores, learned=Learned(labels > 0, said))


def _shares(fields: np.ndarray) -> np.ndarray:
    """(N,) what each row is of its field."""
    _, place, count = np.unique(fields, return_inverse=True, return_counts=True)
    return 1 / count[place]


def _by_field(fields: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means over the rows of each field, (fields, K)."""
    names, place = np.unique(fields, return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, place, values)
    return sums / np.bincount(place, minlength=len(names))[:, None]


def unseen(units: pd.DataFrame, training: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Which units a model may be scored on: those of the test fold whose genes and fields it did not learn from.

    A later release may give a gene of the training table new fields, or join two genes: they count as seen.

    Args:
        units: field_id, version, gene_group, fold.
        training: training tables of the model, or of the members of an ensemble, and of all models that they learned
            from (starts, teachers).

    Returns:
        keep: (N,) bool.
        notes: what is scored, in words.
    """
    keep = np.ones(len(units), bool)
    folds = set()
    for path in training:
        known = tables.read_metadata(path)
        rows = tables.read_tables([path], [*KEY, "gene_group", "part"])
        keep &= (units["fold"] == known["test_fold"]).to_numpy()
        keep &= ~learned_from(units, rows[rows["part"] != TEST])
        folds.add(known["test_fold"])
    told = ", ".join(str(fold) for fold in sorted(folds))
    return keep, [f"scored on {int(keep.sum())} units of genes in fold {told}, which training never saw"]


def learned_from(units: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """Units of whose field, or of one of whose genes, some rows of a training table are: (N,) bool.

    Args:
        units: field_id, version, gene_group.
        rows: the same columns.
    """
    # controls have no gene: of them single fields are told apart
    genes = _genes(rows["gene_group"].dropna()) - {CONTROL}
    fields = set(rows["field_id"] + "@" + rows["version"])
    groups = [_genes([name]) if isinstance(name, str) else set() for name in units["gene_group"]]
    shared = np.array([not genes.isdisjoint(group) for group in groups], bool)
    return shared | (units["field_id"] + "@" + units["version"]).isin(fields).to_numpy()


def _genes(groups: Iterable[str]) -> set[str]:
    """Genes of some groups: a group is named by all of them, and gets another name when one more joins it."""
    return {gene for group in groups for gene in group.split("/")}


def of_units(fields: pd.DataFrame, units: pd.DataFrame) -> np.ndarray:
    """Which fields some units are of: (N,) bool; both tables have field_id and version."""
    chosen = set(units[KEY].itertuples(index=False, name=None))
    return np.array([key in chosen for key in fields[KEY].itertuples(index=False, name=None)], bool)
