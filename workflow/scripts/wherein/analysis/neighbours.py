"""Nearest proteins of every protein, and nearest cells or fields of each protein's most typical ones."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from wherein.analysis.aggregate import UnitStream, open_units
from wherein.analysis.atlas_space import read_atlas
from wherein.analysis.clustering import clustered_points
from wherein.analysis.history import space_of
from wherein.analysis.items import Items, describe, plates_of
from wherein.analysis.nearest import Index, Nearest, memberships, near_vector, nearest_points, recall
from wherein.analysis.placing import SavedMap, read_map
from wherein.analysis.sums import GroupSums
from wherein.labels import Vocabulary, vocabulary
from wherein.summary import Summary, stage_summary
from wherein.tables import TEXT, write_table

log = logging.getLogger(__name__)

SHARED = ("same_reagent", "same_sample", "same_plate")
"""What a protein or unit may share with its neighbour that makes their images alike without their location."""

NEIGHBOURS = pa.schema(
    [
        ("protein", TEXT),
        ("rank", pa.int32()),
        ("neighbour", TEXT),
        ("cosine", pa.float32()),
        ("distance", pa.float32()),
        ("shared_labels", TEXT),
        ("same_label", pa.bool_()),
        *((name, pa.bool_()) for name in SHARED),
    ]
)
"""results/atlas/{model}/neighbours.parquet"""

UNIT_NEIGHBOURS = pa.schema(
    [
        ("protein", TEXT),
        ("unit_id", TEXT),
        ("rank", pa.int32()),
        ("neighbour", TEXT),
        ("neighbour_protein", TEXT),
        ("cosine", pa.float32()),
        ("distance", pa.float32()),
        *((name, pa.bool_()) for name in SHARED),
    ]
)
"""results/atlas/{model}/unit_neighbours.parquet"""


def find_neighbours(
    model: str,
    level: str,
    proteins: str | Path,
    unit_map: str | Path,
    fields: str | Path,
    qc: Sequence[str | Path],
    cells: Sequence[str | Path],
    samples: str | Path,
    embeddings: Sequence[str | Path],
    settings: dict[str, Any],
    neighbours: str | Path,
    unit_neighbours: str | Path,
    summary: str | Path,
) -> None:
    """Find the nearest proteins of every protein, and the nearest units of each protein's most typical ones.

    Proteins are compared where they were clustered, units by the principal components of the map of units. Vectors are
    read once, block by block; of each unit its components are held.

    Args:
        model: name of the model.
        level: `cell` or `field`.
        proteins: results/atlas/{model}/proteins.h5ad.
        unit_map: results/atlas/{model}/map.npz.
        fields: results/catalog/fields.parquet.
        qc, cells, embeddings: of every shard of the model.
        samples: results/samples/samples.parquet.
        settings: what `neighbour_settings` takes of the section `atlas`.
        neighbours: results/atlas/{model}/neighbours.parquet, written.
        unit_neighbours: results/atlas/{model}/unit_neighbours.parquet, written.
        summary: results/summaries/neighbours/{model}.json, written.
    """
    with stage_summary(summary, "neighbours", model, ("numpy", "pynndescent", "scipy")) as told:
        units = open_units(embeddings, fields, cells, qc, level, samples=samples)
        units.table["plate"] = plates_of(units.table, fields)
        atlas, words = read_atlas(proteins), vocabulary(settings["vocabulary"])
        names = [str(name) for name in atlas.obs_names]
        shown = (units.table["protein"].notna() & ~units.table["control"]).to_numpy()
        codes = pd.Categorical(units.table["protein"].where(shown), names).codes.astype(np.int64)
        points = clustered_points(np.asarray(atlas.layers["scaled"]), atlas.obsm["X_pca"], settings["points"])
        items = describe(units.table, codes, len(names), np.asarray(points, np.float64), words)
        table = protein_rows(items, words, settings)
        write_table(neighbours, table, NEIGHBOURS, {"model": model, "settings": settings})
        told.notes += _shares(table, items, told)
        known = read_map(unit_map, level, space_of(embeddings, units.features), units.features)
        near = unit_rows(units, codes, names, known, settings, told)
        write_table(unit_neighbours, near, UNIT_NEIGHBOURS, {"model": model, "settings": settings})
        found = table["protein"].nunique()
        told.counts = {"in": len(names), "kept": found, "no_neighbour": len(names) - found}
        told.extra |= {"seed": settings["seed"], "units": len(units.table)}


def protein_rows(items: Items, words: Vocabulary, settings: dict[str, Any]) -> pd.DataFrame:
    """Rows of neighbours.parquet: the nearest proteins of each, and what they share.

    Args:
        items: the proteins; their vectors are what they are compared by.
        words: vocabulary of their labels.
        settings: `count`, `metric`.
    """
    names = items.table["protein"].astype(str).to_numpy(object)
    near = nearest_points(items.vectors, settings["count"], settings["metric"])
    query, rank = np.nonzero(near.index >= 0)
    other = near.index[query, rank]
    common = items.labels[query] & items.labels[other]
    told = items.labels.any(axis=1)
    shared = [";".join(word for word, there in zip(words.classes, row, strict=True) if there) for row in common]
    samples = [text.split(";") if text else [] for text in items.table["sample"]]
    lists = dict(zip(SHARED, (items.reagents, samples, items.plates), strict=True))
    return pd.DataFrame(
        {
            "protein": names[query],
            "rank": rank + 1,
            "neighbour": names[other],
            "cosine": near.cosine[query, rank],
            "distance": near.distance[query, rank],
            "shared_labels": [text or None for text in shared],
            "same_label": [
                bool(row.any()) if told[a] and told[b] else None for row, a, b in zip(common, query, other, strict=True)
            ],
            **{name: _both(own, query, other) for name, own in lists.items()},
        }
    )


def _both(lists: list[list[str]], query: np.ndarray, other: np.ndarray) -> list[bool | None]:
    """Whether two proteins have a name in common; None where one has none."""
    sets = [set(own) for own in lists]
    return [bool(sets[a] & sets[b]) if sets[a] and sets[b] else None for a, b in zip(query, other, strict=True)]


def _shares(table: pd.DataFrame, items: Items, told: Summary) -> list[str]:
    """How many nearest proteins share a label and how many a plate, against any two proteins; for the summary."""
    first = table[table["rank"] == 1]
    if not len(first):
        return ["there are fewer than two proteins: none has a neighbour"]
    labels = memberships([np.flatnonzero(row).tolist() for row in items.labels])
    pairs = {"same_label": labels, "same_plate": memberships(items.plates), "same_reagent": memberships(items.reagents)}
    found = {}
    for name, member in pairs.items():
        seen = first[name].dropna()
        if len(seen):
            found[name] = {"n": len(seen), "share": float(seen.astype(bool).mean()), "of_any_two": _of_any_two(member)}
    told.extra["nearest"] = found
    words = {"same_label": "a label", "same_plate": "a plate", "same_reagent": "a reagent"}
    return [
        f"{own['share']:.0%} of {own['n']} proteins share {words[name]} with the nearest one, {own['of_any_two']:.0%} "
        "of any two do"
        for name, own in found.items()
    ]


def _of_any_two(member: Any) -> float:
    """Share of the pairs of points, those with a group, that have one in common."""
    there = np.flatnonzero(np.asarray(member.sum(axis=1)).ravel() > 0)
    own = member[there]
    together = sum((own[start : start + 1024] @ own.T).astype(bool).sum() for start in range(0, len(there), 1024))
    pairs = len(there) * (len(there) - 1)
    return float((together - len(there)) / pairs) if pairs else float("nan")


def unit_scores(units: UnitStream, known: SavedMap) -> np.ndarray:
    """(N, K) float32 principal components of all units on a map, read block by block."""
    scores = np.empty((len(units.table), len(known.components.loadings)), np.float32)
    for rows, vectors in units.blocks():
        scores[rows] = known.components.fast_scores(known.scale.apply(vectors))
    return scores


def typical_units(scores: np.ndarray, codes: np.ndarray, groups: int, most: int) -> np.ndarray:
    """Places of the units nearest to the mean of their protein, `most` of each at most, by protein.

    Args:
        scores: (N, K).
        codes: (N,) protein of each unit, negative for none.
        groups: proteins.
        most: of each.
    """
    sums = GroupSums(groups, scores.shape[1])
    sums.add(scores, codes)
    means = sums.means()
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(groups + 1))
    chosen = []
    for group in range(groups):
        own = order[bounds[group] : bounds[group + 1]]
        if len(own):
            away = -near_vector(scores[own], means[group], "euclidean")
            chosen.append(own[np.argsort(away, kind="stable")[:most]])
    return np.concatenate(chosen) if chosen else np.zeros(0, np.int64)


def unit_rows(
    units: UnitStream, codes: np.ndarray, names: list[str], known: SavedMap, settings: dict[str, Any], told: Summary
) -> pd.DataFrame:
    """Rows of unit_neighbours.parquet: the nearest units of each protein's most typical ones.

    Args:
        units: the units, with `plate`.
        codes: (N,) protein of each, negative for controls and those without a name.
        names: of the proteins.
        known: the map of units.
        settings: `count`, `metric`, `queries`, `own`, `exact_units`, `recall_queries`, `seed`.
        told: the summary, which learns how neighbours were found and the recall of an approximate index.
    """
    scores = unit_scores(units, known)
    queries = typical_units(scores, codes, len(names), settings["queries"])
    own = np.full(len(codes), -1) if settings["own"] else codes
    near = _nearest_units(scores, own, queries, settings, told)
    row, rank = np.nonzero(near.index >= 0)
    query, other = queries[row], near.index[row, rank]
    table = units.table
    columns = dict(zip(SHARED, (["reagent"], ["source", "sample"], ["plate"]), strict=True))
    return pd.DataFrame(
        {
            "protein": np.array([*names, None], object)[codes[query]],
            "unit_id": table["unit_id"].to_numpy(object)[query],
            "rank": rank + 1,
            "neighbour": table["unit_id"].to_numpy(object)[other],
            "neighbour_protein": table["protein"].to_numpy(object)[other],
            "cosine": near.cosine[row, rank],
            "distance": near.distance[row, rank],
            **{name: _same(table, wanted, query, other) for name, wanted in columns.items()},
        }
    )


def _same(table: pd.DataFrame, columns: list[str], query: np.ndarray, other: np.ndarray) -> list[bool | None]:
    """Whether two units agree in some columns; None where one of them is not known."""
    own = table[columns].astype(object).to_numpy()
    known = pd.notna(own).all(axis=1)
    return [
        bool((own[a] == own[b]).all()) if known[a] and known[b] else None for a, b in zip(query, other, strict=True)
    ]


def _nearest_units(
    scores: np.ndarray, codes: np.ndarray, queries: np.ndarray, settings: dict[str, Any], told: Summary
) -> Nearest:
    """The nearest units, exactly up to `exact_units`, else by an index whose recall the summary tells."""
    count, metric = settings["count"], settings["metric"]
    apart = memberships([(code,) if code >= 0 else () for code in codes.tolist()])
    if len(scores) <= settings["exact_units"] or not len(queries):
        told.extra["units_found"] = "exactly"
        return nearest_points(scores, count, metric, apart, queries)
    near, exact = Index(scores, metric, settings["seed"]).nearest(count, queries, codes)
    drawn = np.random.default_rng(settings["seed"]).permutation(len(queries))[: settings["recall_queries"]]
    right = nearest_points(scores, count, metric, apart, queries[drawn])
    share = recall(near.index[drawn], right.index)
    told.extra |= {
        "units_found": "approximately",
        "recall": share,
        "recall_queries": len(drawn),
        "exact_queries": exact,
    }
    told.notes.append(
        f"nearest units are those of an approximate index, which finds {share:.1%} of the {count} nearest of "
        f"{len(drawn)} units drawn by chance (atlas.neighbours.exact_units)"
    )
    return near
