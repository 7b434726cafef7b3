"""Which proteins moved on the map since the release before, and which were only given other labels."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.linalg import orthogonal_procrustes

from wherein.analysis.aggregate import Scale
from wherein.analysis.correction import adjusted
from wherein.analysis.projection import nearest
from wherein.analysis.scatter import Exchange, Scatter, estimate_scatter, probabilities
from wherein.labels import spelling

MOVED = (
    "protein", "protein_before", "old_state", "state",
    "labels_before", "labels_after", "labels_added", "labels_removed",
    "n_units_before", "n_units_after", "n_fields_before", "n_fields_after", "n_fields_kept",
    "shift", "expected", "p", "q", "neighbours_kept",
    "umap_1_before", "umap_2_before", "umap_1", "umap_2",
    "moved", "relabelled", "mark",
)  # fmt: skip
"""results/atlas/{model}/moved.tsv"""

NEIGHBOURS = 10
"""Nearest proteins that are compared."""

SAME = 0.02
"""Shift over the length of a protein's vector below which it counts as the same: the limits of outlying units follow
from all units of a state, and so are not quite the same in two (0.003 was seen, of 1,800 cells and 2,000)."""

Pairs = list[tuple[int, int]]


class FieldMeans(NamedTuple):
    """Mean vectors of the present field versions.

    Attributes:
        names: (F,) `{field_id}@{version}`.
        proteins: (F,) name of the protein of each.
        means: (F, D) float32, on the scale of the present state.
    """

    names: np.ndarray
    proteins: np.ndarray
    means: np.ndarray


def samples_of_fields(fields: str | Path) -> dict[str, str]:
    """Preparation of each field version that there ever was: its sample, in its well where that is known.

    A sample that a later release shows in another well was prepared again. A field of no known sample is one of its
    own.

    Args:
        fields: results/catalog/fields.parquet.

    Returns:
        Names of preparations by `{field_id}@{version}`.
    """
    columns = ("source", "field_id", "version", "sample", "plate", "well")
    table = pq.read_table(fields, columns=list(columns))
    return {
        f"{field_id}@{version}": "/".join(
            (source, sample, plate or "", well or "") if sample is not None else (source, "", field_id)
        )
        for source, field_id, version, sample, plate, well in zip(
            *(table.column(name).to_pylist() for name in columns), strict=True
        )
    }


def compare_states(
    before: pd.DataFrame,
    now: pd.DataFrame,
    fields: FieldMeans,
    samples: dict[str, str],
    scale: Scale,
    most_q: float,
    seed: int,
) -> tuple[pd.DataFrame, list[str]]:
    """Compare the proteins of two release states.

    Args:
        before: rows of history.parquet of the last other state; none for a first release.
        now: those of the present state.
        fields: means of the present field versions.
        samples: sample of each field version of both states.
        scale: of the present state.
        most_q: highest q of a protein that counts as moved.
        seed: seed of the draws.

    Returns:
        Rows of moved.tsv, sorted by p, then by name, and notes.
    """
    pairs = same_proteins(before, now)
    if not pairs:
        return pd.DataFrame(columns=MOVED), []
    old = before.iloc[[row for row, _ in pairs]].reset_index(drop=True)
    new = now.iloc[[row for _, row in pairs]].reset_index(drop=True)
    places = _scaled(old, scale), _scaled(new, scale)
    found = pd.DataFrame(
        {
            "protein": new["protein"],
            "protein_before": old["protein"],
            "old_state": old["state"],
            "state": new["state"],
            "n_units_before": old["n_units"],
            "n_units_after": new["n_units"],
            "n_fields_before": old["n_fields"],
            "n_fields_after": new["n_fields"],
            "n_fields_kept": [len(set(a) & set(b)) for a, b in zip(old["fields"], new["fields"], strict=True)],
            "shift": np.sqrt(((places[1] - places[0]) ** 2).sum(axis=1)),
            "neighbours_kept": neighbours_kept(*places),
            "umap_1": new["umap_1"],
            "umap_2": new["umap_2"],
        }
    ).join(_labels(old, new))
    laid = laid_over(old[["umap_1", "umap_2"]].to_numpy(float), new[["umap_1", "umap_2"]].to_numpy(float))
    found["umap_1_before"], found["umap_2_before"] = laid[:, 0], laid[:, 1]
    found, notes = _judged(found, old, new, fields, samples, seed)
    found["moved"] = (found["q"] <= most_q).to_numpy()
    found["mark"] = np.where(found["moved"], "moved", np.where(found["relabelled"], "relabelled", ""))
    same = (found["n_fields_kept"] == found["n_fields_before"]) & (found["n_fields_kept"] == found["n_fields_after"])
    other = same & (found["shift"] > SAME * np.sqrt((places[1] ** 2).sum(axis=1)))
    if other.any():
        notes.append(
            f"{int(other.sum())} of {int(same.sum())} proteins with the same field versions as in {old['state'][0]} "
            "have other vectors: settings, cells or code changed, and shifts tell of that, too"
        )
    return found[list(MOVED)].sort_values(["p", "protein"], kind="stable", ignore_index=True), notes


def same_proteins(before: pd.DataFrame, now: pd.DataFrame) -> Pairs:
    """Rows of the same protein in two states: of the same name, or renamed with the same Ensembl ids.

    Returns:
        (row of before, row of now), in the order of now.
    """
    place = {name: row for row, name in enumerate(before["protein"])}
    names = set(now["protein"])
    left = [row for name, row in place.items() if name not in names]
    ids = [frozenset(before["ensembl_ids"].iloc[row]) for row in left]
    once = Counter(ids)
    renamed = {own: row for own, row in zip(ids, left, strict=True) if own and once[own] == 1}
    pairs = []
    for row, (name, own) in enumerate(zip(now["protein"], now["ensembl_ids"], strict=True)):
        other = place[name] if name in place else renamed.pop(frozenset(own), None)
        if other is not None:
            pairs.append((other, row))
    return pairs


def exchanged(old: pd.Series, new: pd.Series, samples: dict[str, str]) -> Exchange | None:
    """How the fields of a protein changed, or None where they are the same.

    Args:
        old, new: its rows of history.parquet, with `fields` and `field_units`.
        samples: sample of each field version.
    """
    if set(old["fields"]) == set(new["fields"]):
        return None
    change: Counter[str] = Counter()
    for row, sign in ((new, 1.0), (old, -1.0)):
        units = np.asarray(row["field_units"], float)
        for name, share in zip(row["fields"], units / units.sum(), strict=True):
            change[name] += sign * share
    of_sample: Counter[str] = Counter()
    for name, share in change.items():
        of_sample[samples.get(name, name)] += share
    return Exchange(np.array(list(change.values())), np.array(list(of_sample.values())))


def neighbours_kept(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Share of each protein's NEIGHBOURS nearest ones that stay the same.

    Args:
        before, after: (P, D) places of the same proteins.

    Returns:
        (P,) shares; NaN where there is only one protein.
    """
    count = min(NEIGHBOURS, len(before) - 1)
    if count < 1:
        return np.full(len(before), np.nan)
    sides = [nearest(places, count + 1)[0][:, 1:] for places in (before, after)]
    kept = [len(np.intersect1d(a, b)) for a, b in zip(*sides, strict=True)]
    return np.array(kept) / count


def laid_over(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Lay (P, 2) points over a target by shift, rotation or reflection, and one scale (Procrustes).

    Points that have no extent are shifted only.
    """
    middle, centre = points.mean(axis=0), target.mean(axis=0)
    moved, fixed = points - middle, target - centre
    extent = (moved**2).sum()
    if not extent > 0 or not (fixed**2).sum() > 0:
        return moved + centre
    turn, stretch = orthogonal_procrustes(moved, fixed)
    return moved @ turn * (stretch / extent) + centre


def _judged(
    found: pd.DataFrame,
    old: pd.DataFrame,
    new: pd.DataFrame,
    fields: FieldMeans,
    samples: dict[str, str],
    seed: int,
) -> tuple[pd.DataFrame, list[str]]:
    """Add expected, p and q: the shifts of proteins whose fields changed against the scatter of fields."""
    found["expected"], found["p"], found["q"] = np.nan, np.nan, np.nan
    exchanges = {
        row: exchange
        for row in range(len(new))
        if (exchange := exchanged(old.iloc[row], new.iloc[row], samples)) is not None
    }
    if not exchanges:
        return found, []
    scatter = _scatter(old, fields, samples, seed)
    if scatter is None:
        return found, ["too few fields of one protein are there to tell by how much proteins move by chance"]
    notes = []
    if not len(scatter.sample_pool):
        notes.append(
            "what preparations differ by beyond their fields is nothing, or not known: new ones count as fields"
        )
    row_of = {name: number for number, name in enumerate(np.unique(fields.proteins.astype(str)))}
    rows = [row for row, exchange in exchanges.items() if scatter.expected_square(exchange) > 0]
    chosen = [exchanges[row] for row in rows]
    numbers = np.array([row_of[new["protein"].iloc[row]] for row in rows], int)
    squares = np.array([scatter.expected_square(exchange) for exchange in chosen])
    found.loc[rows, "expected"] = np.sqrt(squares * scatter.scale[numbers])
    shifts = found.loc[rows, "shift"].to_numpy(float)
    found.loc[rows, "p"] = probabilities(shifts**2, numbers, chosen, scatter, seed)
    found.loc[rows, "q"] = adjusted(found.loc[rows, "p"])
    return found, notes


def _scatter(old: pd.DataFrame, fields: FieldMeans, samples: dict[str, str], seed: int) -> Scatter | None:
    _, proteins = np.unique(fields.proteins.astype(str), return_inverse=True)
    there = {name for names in old["fields"] for name in names}
    kept = np.array([name in there for name in fields.names], bool)
    of_sample, _ = pd.factorize(pd.Series([samples.get(name, name) for name in fields.names], dtype=object))
    return estimate_scatter(fields.means, proteins, kept, of_sample, proteins.max(initial=-1) + 1, seed)


def _scaled(rows: pd.DataFrame, scale: Scale) -> np.ndarray:
    vectors = np.stack([np.asarray(vector, np.float64) for vector in rows["vector"]])
    scaled = (vectors - scale.centre) / scale.spread
    scaled[:, ~scale.used] = 0
    return scaled


def _labels(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for before, after in zip(old["labels"], new["labels"], strict=True):
        was, has = ({spelling(name) for name in names} for names in (before, after))
        added = [name for name in after if spelling(name) not in was]
        removed = [name for name in before if spelling(name) not in has]
        rows.append((*(";".join(names) for names in (before, after, added, removed)), bool(added or removed)))
    return pd.DataFrame(rows, columns=["labels_before", "labels_after", "labels_added", "labels_removed", "relabelled"])
