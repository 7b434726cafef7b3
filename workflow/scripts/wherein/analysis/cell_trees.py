"""Trees of the single cells of one protein, which order its variation from cell to cell (Lu et al. 2019, Fig 6)."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from wherein.analysis.aggregate import Units, protein_names, read_units
from wherein.analysis.atlas_space import read_atlas, scale_of_atlas
from wherein.analysis.clustering import cut, hierarchical_clustering
from wherein.summary import stage_summary
from wherein.tables import TEXT, current_fields, read_metadata, read_tables, write_table

log = logging.getLogger(__name__)

CELL_TREES = pa.schema(
    [
        *((name, TEXT) for name in ("protein", "unit_id", "field_id", "version", "cell_line")),
        ("leaf", pa.int64()),
        ("clade", pa.int64()),
        ("middle", pa.float64()),
        ("location", TEXT),
    ]
)
"""results/atlas/{model}/cell_trees.parquet"""


def cell_trees(
    model: str,
    level: str,
    proteins: str | Path,
    fields: str | Path,
    cells: Sequence[str | Path],
    samples: str | Path,
    embeddings: Sequence[str | Path],
    predictions: str | Path,
    heterogeneity: str | Path,
    settings: dict[str, Any],
    trees: str | Path,
    summary: str | Path,
) -> None:
    """Join the cells of chosen proteins into trees. Only shards that show these proteins are read.

    Args:
        model: name of the model.
        level: `cell` or `field`; fields have no tree of cells, and the table stays empty.
        proteins: results/atlas/{model}/proteins.h5ad, whose scale of the features is taken.
        fields: results/catalog/fields.parquet.
        cells: results/cells/{shard}.parquet of every shard of the model.
        samples: results/samples/samples.parquet.
        embeddings: results/embeddings/{model}/{shard}.parquet, likewise.
        predictions: results/evaluation/{model}/predictions.parquet.
        heterogeneity: results/biology/{model}/heterogeneity.tsv, which names the most striking proteins.
        settings: section `atlas` of the configuration, with `cell_trees`.
        trees: results/atlas/{model}/cell_trees.parquet, written; its metadata hold the tree of each protein.
        summary: results/summaries/cell_trees/{model}.json, written.
    """
    with stage_summary(summary, "cell_trees", model, ("fastcluster", "numpy", "scipy")) as told:
        own = settings["cell_trees"]
        catalog = current_fields(fields)
        catalog["protein"] = protein_names(catalog).where(~catalog["control"].eq(True))
        wanted, absent = _wanted(own, catalog["protein"], heterogeneity) if level == "cell" else ([], [])
        if level != "cell":
            told.notes.append("this model describes fields, not cells: there are no trees of cells")
        if absent:
            told.notes.append(f"atlas.cell_trees.proteins: not in this run: {', '.join(absent)}")
        found: dict[str, list[list[float]]] = {}
        parts = []
        if wanted:
            units = _units_of(wanted, catalog, fields, cells, samples, embeddings)
            scaled = _scaled(units, proteins)
            locations = _locations(predictions, set(units.table["unit_id"]))
            for protein in wanted:
                rows, tree = _tree_of(protein, units.table, scaled, settings, told.notes)
                if len(rows):
                    parts.append(rows.assign(location=[locations.get(unit) for unit in rows["unit_id"]]))
                    found[protein] = tree.tolist()
        table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=CELL_TREES.names)
        write_table(trees, table, CELL_TREES, {"model": model, "trees": found})
        told.counts = {"in": len(wanted), "kept": len(found), "small_sample": len(wanted) - len(found)}
        told.extra = {"seed": settings["seed"], "cells": len(table)}


def _wanted(own: dict[str, Any], known: pd.Series, heterogeneity: str | Path) -> tuple[list[str], list[str]]:
    """Proteins that get a tree, and those that were asked for and are not there."""
    by_case = {name.upper(): name for name in known.dropna().unique()}
    asked = [by_case.get(name.upper()) for name in own["proteins"]]
    absent = [name for name, found in zip(own["proteins"], asked, strict=True) if found is None]
    # a gene may be called NA: only an empty cell is null
    table = pd.read_csv(heterogeneity, sep="\t", keep_default_na=False, na_values=[""], dtype={"gene": str})
    table = table.dropna(subset=["spread_z"]).sort_values(["spread_z", "gene"], ascending=[False, True])
    striking = [name for name in dict.fromkeys(table["gene"]) if name in set(by_case.values())]
    return list(dict.fromkeys([*filter(None, asked), *striking[: own["striking"]]])), absent


def _units_of(
    wanted: list[str],
    catalog: pd.DataFrame,
    fields: str | Path,
    cells: Sequence[str | Path],
    samples: str | Path,
    embeddings: Sequence[str | Path],
) -> Units:
    shards = set(catalog.loc[catalog["protein"].isin(wanted), "shard"])

    def there(paths: Sequence[str | Path]) -> list[str | Path]:
        return [path for path in paths if Path(path).stem in shards]

    return read_units(there(embeddings), fields, there(cells), level="cell", samples=samples)


def _scaled(units: Units, proteins: str | Path) -> np.ndarray:
    """The vectors on the atlas's scale; features that only some shards have are not among them."""
    scale, places = scale_of_atlas(read_atlas(proteins), units.features)
    return scale.apply(units.vectors[:, places])


def _locations(predictions: str | Path, wanted: set[str]) -> dict[str, str]:
    """The location that the model finds most probable, of some units."""
    classes = read_metadata(predictions).get("classes") or []
    if not classes:
        return {}
    table = read_tables([predictions], ["unit_id", *classes])
    table = table[table["unit_id"].isin(wanted)].dropna(subset=classes)
    best = table[classes].to_numpy(float).argmax(axis=1)
    return {unit: classes[one] for unit, one in zip(table["unit_id"], best, strict=True)}


def _tree_of(
    protein: str, table: pd.DataFrame, scaled: np.ndarray, settings: dict[str, Any], notes: list[str]
) -> tuple[pd.DataFrame, np.ndarray]:
    """The cells of one protein, in turns from its fields, and their tree; no rows for a protein of fewer than two.

    Returns:
        Rows of cell_trees.parquet without location: `leaf` is the place in the tree, `clade` is numbered from 1 along
        it, `middle` is the distance from the clade's mean. The tree's leaf k is the k-th row.
    """
    own = settings["cell_trees"]
    place = np.flatnonzero(table["protein"].eq(protein) & ~table["control"])
    if len(place) < 2:
        notes.append(f"{protein}: {len(place)} cells are no tree")
        return pd.DataFrame(columns=CELL_TREES.names), np.zeros((0, 4))
    if len(place) > own["cells"]:
        notes.append(f"{protein}: {own['cells']} of {len(place)} cells are in the tree, in turns from its fields")
        mixed = np.random.default_rng(settings["seed"]).permutation(place)
        turn = table.iloc[mixed].groupby(["field_id", "version"]).cumcount().to_numpy()
        place = np.sort(mixed[np.argsort(turn, kind="stable")[: own["cells"]]])
    points = scaled[place]
    tree, leaf = hierarchical_clustering(points, settings["linkage"], settings["metric"], settings["order_up_to"])
    clade = cut(tree, leaf, own["clades"], None)
    means = np.stack([points[clade == one].mean(axis=0) for one in range(1, clade.max() + 1)])
    rows = table.iloc[place][["unit_id", "field_id", "version", "cell_line"]].reset_index(drop=True)
    rows = rows.assign(protein=protein, leaf=leaf, clade=clade)
    rows["middle"] = np.linalg.norm(points - means[clade - 1], axis=1).astype(float)
    return rows, tree
