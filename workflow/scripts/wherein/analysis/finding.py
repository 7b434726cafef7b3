"""The answer to a query: the proteins and units that look most like a protein, a unit, or a few examples."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from wherein.analysis.items import Items
from wherein.analysis.nearest import near_vector, nearest_points
from wherein.analysis.rare_pattern import Ranking, search, whiten_scores
from wherein.analysis.sums import GroupSums
from wherein.queries import Examples, QueryError

PROTEINS = ("rank", "protein", "labels", "score", "n_units", "n_found")
"""results/find/{asked}/{model}/proteins.tsv"""

UNITS = ("rank", "unit_id", "protein", "cell_line", "labels", "score", "asked", "same_sample", "same_plate")
"""results/find/{asked}/{model}/units.tsv"""

TRUST = ("example", "protein", "rank", "background", "method")
"""results/find/{asked}/{model}/trust.tsv"""


@dataclass
class Answer:
    """What a query found.

    Attributes:
        kind: `protein`, `unit` or `examples`.
        asked: places of the units that were asked with; those of a protein are its most typical ones.
        proteins, units, trust: rows of the tables.
        method: how they were ranked, in words.
        ranking: of a search by examples.
        notes: sentences.
    """

    kind: str
    asked: np.ndarray
    proteins: pd.DataFrame
    units: pd.DataFrame
    trust: pd.DataFrame
    method: str
    ranking: Ranking | None = None
    notes: list[str] = field(default_factory=list)


def answer(
    query: str | Examples,
    table: pd.DataFrame,
    scores: np.ndarray,
    codes: np.ndarray,
    items: Items,
    settings: dict[str, Any],
) -> Answer:
    """Find what looks like a query.

    Args:
        query: name of a protein (symbol or Ensembl id, in any case) or of a unit, or examples.
        table: the units, with protein, sample, plate.
        scores: (N, K) float32 their principal components.
        codes: (N,) protein of each, negative for none.
        items: the proteins; their vectors are what they are compared by.
        settings: `count`, `metric`, `own`, `proteins`, `background`, `hard`, `seed`.

    Raises:
        QueryError: the run has nothing of this name.
    """
    if isinstance(query, Examples):
        return _by_examples(query, table, scores, codes, items, settings)
    units = units_named(query, table)
    if len(units) == 1:
        return _of_unit(int(units[0]), table, scores, codes, items, settings)
    if len(units):
        return _by_examples(Examples([query], []), table, scores, codes, items, settings)
    protein = protein_of(query, items)
    if protein is None:
        raise QueryError(
            f"query {query!r}: no protein, Ensembl id, cell or field of this run, nor a file. Names are those of the "
            "pages, of units.parquet, or of a file with an example on each line"
        )
    return _of_protein(protein, table, scores, codes, items, settings)


def units_named(name: str, table: pd.DataFrame) -> np.ndarray:
    """Places of the units that a name means: a unit, the field of a cell (where units are fields), a field's cells."""
    names = table["unit_id"].to_numpy(object)
    for wanted in (name, name.rsplit(":", 1)[0]):
        exact = np.flatnonzero(names == wanted)
        if len(exact):
            return exact
    return np.flatnonzero((table["field_id"] + "@" + table["version"] == name) | (table["field_id"] == name))


def protein_of(query: str, items: Items) -> int | None:
    """Place of the protein that a name means: its own, else one of its genes or Ensembl ids, in any case."""
    wanted = query.casefold()
    names = [str(name).casefold() for name in items.table["protein"]]
    if wanted in names:
        return names.index(wanted)
    known = [[name.casefold() for name in own] for own in items.genes]
    if "ensembl_ids" in items.table:
        known = [
            [*own, *str(ids).casefold().split(";")] for own, ids in zip(known, items.table["ensembl_ids"], strict=True)
        ]
    return next((row for row, own in enumerate(known) if wanted in own), None)


def _of_protein(
    protein: int, table: pd.DataFrame, scores: np.ndarray, codes: np.ndarray, items: Items, settings: dict[str, Any]
) -> Answer:
    own = np.flatnonzero(codes == protein)
    mean = scores[own].mean(axis=0, dtype=np.float64)
    typical = own[np.argsort(-near_vector(scores[own], mean, "euclidean"), kind="stable")]
    near = nearest_points(items.vectors, settings["proteins"], settings["metric"], queries=np.array([protein]))
    worth = near.cosine if settings["metric"] == "cosine" else -near.distance
    there = near.index[0] >= 0
    others = codes != protein if not settings["own"] else np.ones(len(codes), bool)
    others[own] = False
    ranked = _ranked(near_vector(scores, mean, settings["metric"]), others, settings["count"])
    method = f"{settings['metric']} of the protein's mean, of proteins where they were clustered, of units on the map"
    return Answer(
        "protein",
        typical,
        _protein_rows(near.index[0][there], worth[0][there], items, codes, ranked[0]),
        _unit_rows(table, *ranked, typical),
        pd.DataFrame(columns=list(TRUST)),
        method,
    )


def _of_unit(
    unit: int, table: pd.DataFrame, scores: np.ndarray, codes: np.ndarray, items: Items, settings: dict[str, Any]
) -> Answer:
    others = np.ones(len(codes), bool) if settings["own"] or codes[unit] < 0 else codes != codes[unit]
    others[unit] = False
    ranked = _ranked(near_vector(scores, scores[unit], settings["metric"]), others, settings["count"])
    sums = GroupSums(len(items.table), scores.shape[1])
    sums.add(scores, codes)
    near = near_vector(sums.means(), scores[unit], settings["metric"])
    own = np.arange(len(near)) != (codes[unit] if not settings["own"] else -1)
    proteins = _ranked(near, own, settings["proteins"])
    method = f"{settings['metric']} on the map's principal components, of proteins by the mean of their units there"
    return Answer(
        "unit",
        np.array([unit]),
        _protein_rows(*proteins, items, codes, ranked[0]),
        _unit_rows(table, *ranked, np.array([unit])),
        pd.DataFrame(columns=list(TRUST)),
        method,
    )


def _by_examples(
    query: Examples, table: pd.DataFrame, scores: np.ndarray, codes: np.ndarray, items: Items, settings: dict[str, Any]
) -> Answer:
    positive, lost = _places(query.positive, table, codes, items)
    negative, more = _places(query.negative, table, codes, items)
    if not len(positive):
        raise QueryError(f"none of the {len(query.positive)} examples is in this run: {', '.join(query.positive[:5])}")
    both = np.intersect1d(positive, negative)
    negative = np.setdiff1d(negative, positive)
    found = search(whiten_scores(scores), positive, negative, settings)
    others = np.ones(len(table), bool)
    others[positive], others[negative] = False, False
    ranked = _ranked(found.scores, others, settings["count"])
    counts = np.bincount(codes[ranked[0]][codes[ranked[0]] >= 0], minlength=len(items.table))
    share = counts / np.maximum(np.bincount(codes[codes >= 0], minlength=len(items.table)), 1)
    best = np.lexsort((-share, -counts))[: settings["proteins"]]
    best = best[counts[best] > 0]
    trust = pd.DataFrame(
        {
            "example": table["unit_id"].to_numpy(object)[positive],
            "protein": table["protein"].to_numpy(object)[positive],
            "rank": found.left_out,
            "background": found.background,
            "method": found.method,
        }
    )
    notes = [f"{len(lost)} examples are not in this run: {', '.join(lost[:5])}"] if lost else []
    notes += [f"{len(more)} counter-examples are not in this run: {', '.join(more[:5])}"] if more else []
    notes += [f"{len(both)} units are both example and counter-example, and count as examples"] if len(both) else []
    return Answer(
        "examples",
        positive,
        _protein_rows(best, share[best], items, codes, ranked[0]),
        _unit_rows(table, *ranked, positive),
        trust,
        found.method,
        found,
        [*notes, trust_in_words(found)],
    )


def trust_in_words(found: Ranking) -> str:
    """What the left-out examples say of a search."""
    if not np.isfinite(found.left_out).any():
        return "with one example nothing can be left out: whether the search can be trusted is not known"
    chance = (found.background + 1) / 2
    told = ", ".join(f"{name} {value:.3f}" for name, value in found.precision.items())
    return (
        f"each example left out and looked for by the others: median rank {np.median(found.left_out):g} among "
        f"{found.background} units drawn by chance ({chance:g} if the search knew nothing); taken is {found.method} "
        f"(mean of 1 / rank: {told})"
    )


def _places(names: list[str], table: pd.DataFrame, codes: np.ndarray, items: Items) -> tuple[np.ndarray, list[str]]:
    """Units that names mean, of a protein all of them, and the names that mean none."""
    found: list[int] = []
    lost = []
    for name in names:
        own = units_named(name, table)
        if not len(own) and (protein := protein_of(name, items)) is not None:
            own = np.flatnonzero(codes == protein)
        found += own.tolist()
        lost += [] if len(own) else [name]
    return np.array(sorted(set(found)), np.int64), lost


def _ranked(worth: np.ndarray, allowed: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The places of the highest values among those that are allowed, the highest first, and the values."""
    rows = np.flatnonzero(allowed & np.isfinite(worth))
    best = rows[np.argsort(-worth[rows], kind="stable")[:count]]
    return best, worth[best]


def _protein_rows(
    rows: np.ndarray, worth: np.ndarray, items: Items, codes: np.ndarray, found: np.ndarray
) -> pd.DataFrame:
    hits = np.bincount(codes[found][codes[found] >= 0], minlength=len(items.table))
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(rows) + 1),
            "protein": items.table["protein"].to_numpy(object)[rows],
            "labels": items.table["labels"].to_numpy(object)[rows],
            "score": worth,
            "n_units": np.bincount(codes[codes >= 0], minlength=len(items.table))[rows],
            "n_found": hits[rows],
        }
    )


def _unit_rows(table: pd.DataFrame, rows: np.ndarray, worth: np.ndarray, asked: np.ndarray) -> pd.DataFrame:
    own = table.iloc[rows]
    seen = table.iloc[asked]
    samples = set(zip(seen["source"], seen["sample"], strict=True))
    plates = set(seen["plate"].dropna())
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(rows) + 1),
            "unit_id": own["unit_id"].to_numpy(object),
            "protein": own["protein"].to_numpy(object),
            "cell_line": own["cell_line"].to_numpy(object),
            "labels": [";".join(names) if names is not None else "" for names in own["labels"]],
            "score": worth,
            "asked": len(asked),
            "same_sample": [
                pair in samples if pd.notna(pair[1]) else None
                for pair in zip(own["source"], own["sample"], strict=True)
            ],
            "same_plate": [
                plate in plates if plate is not None and pd.notna(plate) else None for plate in own["plate"]
            ],
        }
    )
