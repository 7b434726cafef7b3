"""Units of a model with what is published of them: labels, folds, a curator's words."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from wherein import tables
from wherein.crops.samples import SMALL, in_small_sample
from wherein.labels import NEGATIVE, Vocabulary
from wherein.models.scored import KEY


def with_labels(
    units: pd.DataFrame, fields: str, split: str, samples: str | None = None
) -> tuple[pd.DataFrame, np.ndarray, dict[str, int]]:
    """Give units their field's labels, control and fold.

    Args:
        units: unit_id, field_id, version.
        fields: fields.parquet.
        split: split.parquet.
        samples: samples.parquet; without it, samples of any size count.

    Returns:
        units: those of current field versions, with `labels`, `control`, `gene_group`, `fold`.
        keep: (N,) bool, which of the given units these are.
        left_out: number of the others, by reason.
    """
    catalog = tables.current_fields(fields)[[*KEY, "labels", "control"]]
    folds = tables.read_tables([split], [*KEY, "gene_group", "gene_fold"])
    together = units.merge(catalog, on=KEY, how="left", indicator="_current").merge(folds, on=KEY, how="left")
    now = together["_current"] == "both"
    small = now & in_small_sample(together, samples) if samples is not None else pd.Series(False, index=now.index)
    keep = (now & ~small).to_numpy()
    reasons = {"retired": int((~now).sum()), SMALL: int(small.sum())}
    current = together[keep].reset_index(drop=True).rename(columns={"gene_fold": "fold"})
    current["control"] = current["control"].eq(True)
    return current.drop(columns="_current"), keep, {name: count for name, count in reasons.items() if count}


def with_words(units: pd.DataFrame, relabelled: Sequence[Sequence[str]]) -> tuple[pd.DataFrame, list[str]]:
    """Put a curator's locations of single cells in the place of those published for their field.

    Args:
        units: with `unit_id` and `labels`.
        relabelled: cell_id, then its locations, for every such cell.

    Returns:
        The units, `field_labels` what is published of their fields, and notes on how many words were followed and which
        name no cell of this model. Without words, the units as they are.
    """
    words = {cell_id: list(locations) for cell_id, *locations in relabelled}
    if not words:
        return units, []
    hit = units["unit_id"].isin(words)
    labels = [words.get(unit, found) for unit, found in zip(units["unit_id"], units["labels"], strict=True)]
    strangers = sorted(set(words) - set(units["unit_id"]))
    notes = [f"{int(hit.sum())} cells have the locations that a curator gave them"]
    notes += [f"a curator relabelled {cell_id}, which is not among the cells of this model" for cell_id in strangers]
    return units.assign(labels=labels, field_labels=units["labels"]), notes


def indicator(units: pd.DataFrame, words: Vocabulary, controls: str) -> tuple[np.ndarray, np.ndarray]:
    """Published classes of every unit, (N, K) bool, and whether they are known, (N,) bool.

    Args:
        units: with `labels` and `control`.
        words: the vocabulary.
        controls: `negative` makes controls the class Negative, where there is one; `leave_out` takes them as unknown.
    """
    terms = [[] if control else list(found) for found, control in zip(units["labels"], units["control"], strict=True)]
    matrix = words.indicator(terms)
    if controls == "negative" and NEGATIVE in words.classes:
        matrix[units["control"].to_numpy(), words.classes.index(NEGATIVE)] = True
    return matrix, matrix.any(axis=1)
