"""The atlas of a model: proteins and units on one map, and the clusters that proteins form."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from wherein.analysis.aggregate import Scale, Units, group_means, read_units, scaled_units
from wherein.analysis.clustering import clustered_points, cut, hierarchical_clustering
from wherein.analysis.history import read_history, release_state, space_of, state_rows, write_history
from wherein.analysis.moved import MOVED, compare_states, field_means, samples_of_fields
from wherein.analysis.projection import principal_components, umap_coordinates
from wherein.atomic import atomic_path
from wherein.labels import Vocabulary, vocabulary
from wherein.summary import stage_summary
from wherein.tables import TEXT, write_table, write_tsv

log = logging.getLogger(__name__)

MULTI = "Multi"
"""Location of a protein that has several."""

UNITS = pa.schema(
    [
        *((name, TEXT) for name in ("unit_id", "field_id", "version", "gene", "location", "cell_line")),
        ("control", pa.bool_()),
        ("umap_1", pa.float32()),
        ("umap_2", pa.float32()),
    ]
)
"""results/atlas/{model}/units.parquet"""

CLUSTERS = ("cluster", "n_proteins", "genes", "top_location", "top_location_share")
"""results/atlas/{model}/clusters.tsv"""

PACKAGES = ("anndata", "fastcluster", "numpy", "scikit-learn", "scipy", "umap-learn")


def build_atlas(
    model: str,
    level: str,
    fields: str | Path,
    qc: Sequence[str | Path],
    cells: Sequence[str | Path],
    embeddings: Sequence[str | Path],
    settings: dict[str, Any],
    proteins: str | Path,
    units: str | Path,
    clusters: str | Path,
    history: str | Path,
    moved: str | Path,
    summary: str | Path,
    samples: str | Path | None = None,
) -> None:
    """Map the units and the proteins of a model, cluster the proteins, and tell which moved since the last release.

    Args:
        model: name of the model.
        level: `cell` or `field`, what one vector describes.
        fields: results/catalog/fields.parquet.
        qc: results/qc/{shard}.parquet of every shard of the model.
        cells: results/cells/{shard}.parquet, likewise.
        embeddings: results/embeddings/{model}/{shard}.parquet, likewise.
        settings: section `atlas` of the configuration.
        proteins: results/atlas/{model}/proteins.h5ad, written.
        units: results/atlas/{model}/units.parquet, written.
        clusters: results/atlas/{model}/clusters.tsv, written.
        history: results/atlas/{model}/history.parquet, to which the present release state is added.
        moved: results/atlas/{model}/moved.tsv, written.
        summary: results/summaries/atlas/{model}.json, written.
        samples: results/samples/samples.parquet; without it, samples of any size count.
    """
    with stage_summary(summary, "atlas", model, PACKAGES) as told:
        found = read_units(embeddings, fields, cells, qc, level, samples=samples)
        told.counts = {"in": len(found.table) + sum(found.dropped.values()), "kept": len(found.table), **found.dropped}
        scaled, scale, notes = scaled_units(found, settings["scale"], settings["clip"])
        words = vocabulary(settings["vocabulary"])
        log.info("%s units of %s features", *scaled.shape)
        table, unit_notes = map_units(found.table, scaled, words, settings)
        write_table(units, table, UNITS)
        atlas, protein_notes = map_proteins(found, scaled, scale, words, settings)
        atlas.uns["wherein"] = json.dumps({"model": model, "level": level, "settings": settings}, sort_keys=True)
        with atomic_path(proteins) as partial:
            atlas.write_h5ad(partial)
        write_tsv(clusters, cluster_table(atlas.obs), CLUSTERS)
        state = release_state(fields, found.table["source"])
        rows = state_rows(state, space_of(embeddings, found.features), atlas, scale, found.table)
        before = write_history(history, read_history(history), rows)
        means, samples = field_means(found.table, scaled), samples_of_fields(fields)
        shifts, shift_notes = compare_states(before, rows, means, samples, scale, settings["moved_q"], settings["seed"])
        write_tsv(moved, shifts, MOVED)
        told.notes = [*found.notes, *notes, *unit_notes, *protein_notes, *shift_notes]
        told.extra = {
            "seed": settings["seed"],
            "proteins": atlas.n_obs,
            "features": atlas.n_vars,
            "clusters": int(atlas.obs["cluster"].nunique()),
            "state": state,
            "old_state": before["state"].iloc[0] if len(before) else None,
            "moved": int(shifts["moved"].sum()),
            "relabelled": int(shifts["relabelled"].sum()),
        }


def map_units(
    table: pd.DataFrame, scaled: np.ndarray, words: Vocabulary, settings: dict[str, Any]
) -> tuple[pd.DataFrame, list[str]]:
    """Lay all units out by UMAP of their principal components.

    Args:
        table: the units, as `read_units` gives them.
        scaled: (N, D) float32 on one scale.
        words: vocabulary of locations.
        settings: section `atlas`.

    Returns:
        Rows of units.parquet, null coordinates for units that were not drawn for the map, and notes.
    """
    notes = []
    drawn = np.arange(len(table))
    if len(table) > settings["umap_units"]:
        rng = np.random.default_rng(settings["seed"])
        drawn = np.sort(rng.choice(len(table), settings["umap_units"], replace=False))
        notes.append(f"{len(drawn)} of {len(table)} units, drawn at random, are on the map (atlas.umap_units)")
    scores, _, _ = principal_components(scaled[drawn], settings["components"])
    layout, note = _umap(scores, settings)
    coordinates = np.full((len(table), 2), np.nan, np.float32)
    coordinates[drawn] = layout
    mapped = pd.DataFrame(
        {
            **{name: table[name] for name in ("unit_id", "field_id", "version", "cell_line", "control")},
            "gene": table["protein"],
            "location": [location(words, [labels]) for labels in table["labels"]],
            "umap_1": coordinates[:, 0],
            "umap_2": coordinates[:, 1],
        }
    )
    return mapped, notes + ([f"map of units: {note}"] if note else [])


def map_proteins(
    units: Units, scaled: np.ndarray, scale: Scale, words: Vocabulary, settings: dict[str, Any]
) -> tuple[Any, list[str]]:
    """Average the units of each protein, and map and cluster the proteins.

    Args:
        units: the units; controls and those without a name belong to no protein.
        scaled: (N, D) float32, their vectors on one scale.
        scale: the scale.
        words: vocabulary of locations.
        settings: section `atlas`.

    Returns:
        AnnData of proteins.h5ad as docs/formats.md has it, and notes.
    """
    from anndata import AnnData

    table = units.table
    names = table["protein"].where(~table["control"])
    codes, proteins = pd.factorize(names, sort=True)
    nameless = int((names.isna() & ~table["control"]).sum())
    notes = [f"{nameless} units have no gene and are on the map of units only"] if nameless else []
    means = group_means(scaled, codes, len(proteins))
    scores, loadings, ratio = principal_components(means, settings["components"])
    layout, note = _umap(scores, settings)
    notes += [f"map of proteins: {note}"] if note else []
    points = clustered_points(means, scores, settings["points"])
    tree, leaf = hierarchical_clustering(points, settings["linkage"], settings["metric"], settings["order_up_to"])
    numbers = cut(tree, leaf, settings["clusters"], settings["height"])
    obs, unknown = describe_proteins(table, codes, list(proteins), words)
    if unknown:
        notes.append(f"terms that {settings['vocabulary']} does not know: {', '.join(unknown)}")
    obs["cluster"] = pd.Categorical(numbers.astype(str), [str(n + 1) for n in range(numbers.max(initial=0))])
    obs["leaf"] = leaf
    atlas = AnnData(group_means(_finite(units, scale), codes, len(proteins)).astype(np.float32), obs=obs)
    atlas.var_names = units.features
    atlas.var["centre"], atlas.var["spread"], atlas.var["used"] = scale.centre, scale.spread, scale.used
    atlas.layers["scaled"] = means.astype(np.float32)
    atlas.obsm["X_pca"], atlas.obsm["X_umap"] = scores, layout
    atlas.varm["PCs"] = loadings.T.astype(np.float32)
    atlas.uns["linkage"] = tree
    atlas.uns["pca"] = {"variance_ratio": ratio}
    return atlas, notes


def describe_proteins(
    table: pd.DataFrame, codes: np.ndarray, proteins: list[str], words: Vocabulary
) -> tuple[pd.DataFrame, list[str]]:
    """What is known of each protein.

    Args:
        table: the units, as `read_units` gives them.
        codes: (N,) place of each unit's protein in `proteins`, negative for none.
        proteins: their names.
        words: vocabulary of locations.

    Returns:
        obs of proteins.h5ad without cluster and leaf, and the published terms that the vocabulary does not know.
    """
    rows, unknown = [], set()
    for _, own in table[codes >= 0].groupby(codes[codes >= 0], sort=True):
        once = own.drop_duplicates(["field_id", "version"])
        labels = _distinct(once["labels"])
        unknown.update(words.unknown(labels))
        samples = once[["source", "sample", "reagent", "cell_line"]].drop_duplicates()
        rows.append(
            {
                "genes": ";".join(_distinct(once["genes"])),
                "ensembl_ids": ";".join(_distinct(once["ensembl_ids"])),
                "labels": ";".join(labels),
                "location": location(words, once["labels"]),
                "n_units": len(own),
                "n_fields": len(once),
                "n_samples": len(samples),
                "cell_lines": ";".join(sorted(once["cell_line"].dropna().unique())),
            }
        )
    columns = ("genes", "ensembl_ids", "labels", "location", "n_units", "n_fields", "n_samples", "cell_lines")
    obs = pd.DataFrame(rows, index=pd.Index(proteins, dtype=object), columns=columns)
    # a categorical can say "not known" in an h5ad file, where a plain column of text cannot
    present = set(obs["location"].dropna())
    obs["location"] = pd.Categorical(obs["location"], [name for name in (*words.classes, MULTI) if name in present])
    counts = ["n_units", "n_fields", "n_samples"]
    obs[counts] = obs[counts].astype(np.int64)
    return obs, sorted(unknown)


def location(words: Vocabulary, labels: Sequence[Any]) -> str | None:
    """The class of a protein's labels: the only one, MULTI where there are several, None where there is none."""
    classes = words.to_classes(_distinct(labels))
    return None if not classes else classes[0] if len(classes) == 1 else MULTI


def cluster_table(obs: pd.DataFrame) -> pd.DataFrame:
    """Rows of clusters.tsv: each cluster's proteins in the order of the leaves, and the location most of them share."""
    rows = []
    for cluster, own in obs.sort_values("leaf").groupby("cluster", observed=True):
        counts = own["location"].astype(object).dropna().value_counts()
        # of equally frequent locations, the first by name: value_counts promises no order
        top = min(counts.index[counts == counts.max()]) if len(counts) else None
        share = counts[top] / len(own) if top else None
        rows.append((cluster, len(own), ";".join(own.index), top, share))
    return pd.DataFrame(rows, columns=list(CLUSTERS))


def _umap(scores: np.ndarray, settings: dict[str, Any]) -> tuple[np.ndarray, str | None]:
    return umap_coordinates(
        scores, settings["neighbours"], settings["min_dist"], settings["seed"], settings["exact_neighbours"]
    )


def _finite(units: Units, scale: Scale) -> np.ndarray:
    return np.where(np.isfinite(units.vectors), units.vectors, scale.median.astype(np.float32))


def _distinct(lists: Sequence[Any]) -> list[str]:
    """Members of all lists, each once, in the order of their first appearance."""
    return list(dict.fromkeys(str(item) for items in lists if items is not None for item in items))
