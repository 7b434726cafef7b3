"""The atlas of a model: proteins and units on one map, and the clusters that proteins form."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial as bound
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from wherein.analysis.aggregate import Scale, UnitStream, filled, open_units, scale_of_stream
from wherein.analysis.clustering import clustered_points, cut, hierarchical_clustering
from wherein.analysis.history import read_history, release_state, space_of, state_rows, write_history
from wherein.analysis.layout import Layout, layout_of, map_neighbours, umap_coordinates
from wherein.analysis.levels import Blocks, group_vectors
from wherein.analysis.moved import MOVED, FieldMeans, compare_states, samples_of_fields
from wherein.analysis.placing import SavedMap, place, read_map, save_map
from wherein.analysis.projection import Components, Covariance, principal_components
from wherein.analysis.scanpy_names import name_components, name_map
from wherein.analysis.sums import GroupSums
from wherein.analysis.tested import write_tested
from wherein.analysis.unit_weights import unit_weights
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
        ("umap_3", pa.float32()),
        ("drawn", pa.bool_()),
    ]
)
"""results/atlas/{model}/units.parquet"""

CLUSTERS = ("cluster", "n_proteins", "genes", "top_location", "top_location_share")
"""results/atlas/{model}/clusters.tsv"""

PACKAGES = ("anndata", "fastcluster", "numpy", "scikit-learn", "scipy", "umap-learn")


class Gathered(NamedTuple):
    """What one reading of all vectors gives.

    Attributes:
        means: (P, D) float64, mean vector of each protein.
        scaled: (P, D) float64, mean of its scaled vectors.
        fields: means of the scaled vectors of each field version.
        components: principal components of all scaled vectors.
    """

    means: np.ndarray
    scaled: np.ndarray
    fields: FieldMeans
    components: Components


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
    unit_map: str | Path,
    history: str | Path,
    moved: str | Path,
    summary: str | Path,
    samples: str | Path | None = None,
    onto: str | Path | None = None,
    quality: Sequence[str | Path] = (),
) -> None:
    """Map the units and the proteins of a model, cluster the proteins, and tell which moved since the last release.

    Vectors are read block by block, three times: for the scale, for means and principal components, and for the places
    of the units among these. Memory grows with what is known of each unit and with the number of fields, not with all
    vectors.

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
        unit_map: results/atlas/{model}/map.npz, written.
        history: results/atlas/{model}/history.parquet, to which the present release state is added.
        moved: results/atlas/{model}/moved.tsv, written.
        summary: results/summaries/atlas/{model}.json, written.
        samples: results/samples/samples.parquet; without it, samples of any size count.
        onto: a map.npz that a run saved, onto which the units are placed; without it they are laid out anew.
        quality: results/segmentation/{shard}.parquet of those shards that were outlined, where units are weighted.

    Raises:
        MapError: the map to place units on was made of other vectors.
    """
    with stage_summary(summary, "atlas", model, PACKAGES) as told:
        found = open_units(embeddings, fields, cells, qc, level, samples=samples)
        told.counts = {"in": len(found.table) + sum(found.dropped.values()), "kept": len(found.table), **found.dropped}
        space = space_of(embeddings, found.features)
        known = None if onto is None else read_map(onto, level, space, found.features)
        layout = layout_of(settings)
        log.info("%s units of %s features", len(found.table), len(found.features))
        scale, notes = scale_of_stream(
            found, settings["scale"], settings["clip"], settings["scale_units"], settings["seed"]
        )
        codes, names = protein_codes(found.table)
        weights, weight_notes = unit_weights(settings["weights"], quality, found.table["unit_id"], level)
        notes += weight_notes
        gathered = gather(found, scale, codes, len(names), settings["components"], settings["aggregation"], weights)
        words = vocabulary(settings["vocabulary"])
        table, saved, unit_notes = map_units(found, scale, gathered.components, words, layout, settings, space, known)
        write_table(units, table, UNITS)
        save_map(unit_map, saved)
        atlas, protein_notes = map_proteins(found, gathered, scale, codes, names, words, layout, settings)
        said = {"model": model, "level": level, "settings": settings}
        said |= {"layout": layout.told() if known is None else "places on a saved map", "laid_out": len(saved.scores)}
        said["clip"] = scale.clip
        atlas.uns["wherein"] = json.dumps(said, sort_keys=True)
        with atomic_path(proteins) as partial:
            atlas.write_h5ad(partial)
        write_tsv(clusters, cluster_table(atlas.obs), CLUSTERS)
        state = release_state(fields, found.table["source"])
        rows = state_rows(state, space, atlas, scale, found.table)
        before = write_history(history, read_history(history), rows)
        preparations = samples_of_fields(fields)
        shifts, shift_notes = compare_states(
            before, rows, gathered.fields, preparations, scale, settings["moved_q"], settings["seed"]
        )
        write_tested(moved, shifts, MOVED, "moved")
        told.notes = [*found.notes, *notes, *unit_notes, *protein_notes, *shift_notes]
        told.extra = {
            "seed": settings["seed"],
            "layout": said["layout"],
            "laid_out": len(saved.scores),
            "placed": int(len(table) - table["drawn"].sum()),
            "proteins": atlas.n_obs,
            "features": atlas.n_vars,
            "clusters": int(atlas.obs["cluster"].nunique()),
            "state": state,
            "old_state": before["state"].iloc[0] if len(before) else None,
            "moved": int(shifts["moved"].sum()),
            "relabelled": int(shifts["relabelled"].sum()),
        }


def protein_codes(table: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Number of each unit's protein, negative for controls and units without a name, and the proteins' names."""
    codes, names = pd.factorize(table["protein"].where(~table["control"]), sort=True)
    return codes, list(names)


def gather(
    units: UnitStream,
    scale: Scale,
    codes: np.ndarray,
    proteins: int,
    components: int,
    aggregation: str = "mean",
    weights: np.ndarray | None = None,
) -> Gathered:
    """Read all vectors once for the means of proteins and fields, and for the principal components.

    Anything but a mean needs all units of a protein at once: vectors are then read again, as often as memory asks for.

    Args:
        units: the units.
        scale: how features are brought to one scale.
        codes: (N,) number of each unit's protein, negative for none.
        proteins: how many there are.
        components: most principal components wanted.
        aggregation: what makes a protein's vector of its units' (`wherein.analysis.levels.METHODS`).
        weights: (N,) how much each unit counts for its protein and its field; None for all alike. Principal components
            are those of all units alike.
    """
    table, width = units.table, len(units.features)
    names = (table["field_id"] + "@" + table["version"]).where(~table["control"] & table["protein"].notna())
    field_codes, field_names = pd.factorize(names, sort=True)
    own = pd.Series(table["protein"].to_numpy(), index=names).groupby(level=0).first()
    raw, scaled, fields = GroupSums(proteins, width), GroupSums(proteins, width), GroupSums(len(field_names), width)
    products = Covariance(width)
    for rows, vectors in units.blocks():
        block = scale.apply(vectors)
        weighed = None if weights is None else weights[rows]
        raw.add(filled(vectors, scale.median), codes[rows], weighed)
        scaled.add(block, codes[rows], weighed)
        fields.add(block, field_codes[rows], weighed)
        products.add(block)
    field_means = FieldMeans(
        np.asarray(field_names, object), own.reindex(field_names).to_numpy(object), fields.means().astype(np.float32)
    )
    means = raw.means(), scaled.means()
    if aggregation != "mean":
        fill, apply = bound(filled, median=scale.median), scale.apply
        means = tuple(
            group_vectors(_chosen(units, own), codes, proteins, width, aggregation, weights) for own in (fill, apply)
        )
    return Gathered(*means, field_means, products.components(components))


def _chosen(units: UnitStream, change: Callable[[np.ndarray], np.ndarray]) -> Blocks:
    """Reads the vectors of some units of a stream, changed."""

    def blocks(wanted: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for rows, vectors in units.blocks():
            inside = np.flatnonzero(wanted[rows])
            if len(inside):
                yield rows.start + inside, change(vectors[inside])

    return blocks


def map_units(
    units: UnitStream,
    scale: Scale,
    components: Components,
    words: Vocabulary,
    layout: Layout,
    settings: dict[str, Any],
    space: str,
    known: SavedMap | None = None,
) -> tuple[pd.DataFrame, SavedMap, list[str]]:
    """Lay units out by UMAP of their principal components, and place the others among them.

    Args:
        units: the units.
        scale: how features are brought to one scale.
        components: principal components of the scaled vectors.
        words: vocabulary of locations.
        layout: settings of UMAP.
        settings: section `atlas`.
        space: digest of the vectors' space.
        known: a map onto which all units are placed; None to lay them out anew.

    Returns:
        Rows of units.parquet, the map, and notes.
    """
    table = units.table
    if known is not None:
        scale, components = known.scale, known.components
    scores = np.empty((len(table), len(components.loadings)), np.float32)
    for rows, vectors in units.blocks():
        scores[rows] = components.fast_scores(scale.apply(vectors))
    locations = unit_locations(table, words)
    if known is None:
        drawn, notes = draw_units(locations, settings)
        laid, note = umap_coordinates(scores[drawn], layout)
        notes += [f"map of units: {note}"] if note else []
        saved = SavedMap(units.level, space, units.features, scale, components, scores[drawn], laid, layout.neighbours)
    else:
        drawn, saved = np.zeros(len(table), bool), known
        notes = [f"the {len(table)} units are placed on a saved map of {len(known.scores)} (atlas.onto_map)"]
    places = np.full((len(table), saved.places.shape[1]), np.nan, np.float32)
    places[drawn] = saved.places[: np.count_nonzero(drawn)]
    places[~drawn] = place(
        scores[~drawn], saved.scores, saved.places, saved.neighbours, settings["exact_neighbours"], settings["seed"]
    )
    mapped = pd.DataFrame(
        {
            **{name: table[name] for name in ("unit_id", "field_id", "version", "cell_line", "control")},
            "gene": table["protein"],
            "location": locations,
            **{f"umap_{axis + 1}": column for axis, column in enumerate(places.T)},
            "drawn": drawn,
        }
    )
    return mapped, saved, notes


def unit_locations(table: pd.DataFrame, words: Vocabulary) -> np.ndarray:
    """Class of each unit's field: the only one, MULTI where there are several, None where there is none."""
    codes, fields = pd.factorize(table["field_id"] + "@" + table["version"])
    first = np.zeros(len(fields), int)
    first[codes[::-1]] = np.arange(len(table))[::-1]
    labels = table["labels"].to_numpy()
    of_field = np.array([location(words, [labels[row]]) for row in first], object)
    return of_field[codes] if len(codes) else np.zeros(0, object)


def draw_units(locations: np.ndarray, settings: dict[str, Any]) -> tuple[np.ndarray, list[str]]:
    """Draw the units that UMAP lays out: so many of each location at most, then so many at most of all.

    Args:
        locations: (N,) class of each unit, or None.
        settings: section `atlas`.

    Returns:
        (N,) bool, and notes.
    """
    number, rng = len(locations), np.random.default_rng(settings["seed"])
    order = rng.permutation(number)
    turn = pd.Series(locations[order], dtype=object).fillna("").pipe(lambda own: own.groupby(own).cumcount())
    chosen = order[turn.to_numpy() < settings["units_per_class"]][: settings["umap_units"]]
    drawn = np.zeros(number, bool)
    drawn[chosen] = True
    if drawn.all():
        return drawn, []
    note = (
        f"{len(chosen)} of {number} units were laid out, drawn by chance, at most {settings['units_per_class']} of a "
        f"location (atlas.units_per_class) and {settings['umap_units']} in all (atlas.umap_units); the others are "
        "placed among their nearest neighbours"
    )
    return drawn, [note]


def map_proteins(
    units: UnitStream,
    gathered: Gathered,
    scale: Scale,
    codes: np.ndarray,
    names: list[str],
    words: Vocabulary,
    layout: Layout,
    settings: dict[str, Any],
) -> tuple[Any, list[str]]:
    """Map and cluster the proteins by the means of their units.

    Args:
        units: the units; controls and those without a name belong to no protein.
        gathered: means of the proteins.
        scale: how features are brought to one scale.
        codes: (N,) number of each unit's protein, negative for none.
        names: of the proteins.
        words: vocabulary of locations.
        layout: settings of UMAP.
        settings: section `atlas`.

    Returns:
        AnnData of proteins.h5ad as docs/formats.md has it, and notes.
    """
    from anndata import AnnData

    table = units.table
    nameless = int((table["protein"].isna() & ~table["control"]).sum())
    notes = [f"{nameless} units have no gene and are on the map of units only"] if nameless else []
    scores, loadings, ratio = principal_components(gathered.scaled, settings["components"])
    near = map_neighbours(scores, layout)
    places, note = umap_coordinates(scores, layout, near)
    notes += [f"map of proteins: {note}"] if note else []
    points = clustered_points(gathered.scaled, scores, settings["points"])
    tree, leaf = hierarchical_clustering(points, settings["linkage"], settings["metric"], settings["order_up_to"])
    numbers = cut(tree, leaf, settings["clusters"], settings["height"])
    obs, unknown = describe_proteins(table, codes, names, words)
    if unknown:
        notes.append(f"terms that {settings['vocabulary']} does not know: {', '.join(unknown)}")
    obs["cluster"] = pd.Categorical(numbers.astype(str), [str(n + 1) for n in range(numbers.max(initial=0))])
    obs["leaf"] = leaf
    atlas = AnnData(gathered.means.astype(np.float32), obs=obs)
    atlas.var_names = units.features
    atlas.var["centre"], atlas.var["spread"], atlas.var["used"] = scale.centre, scale.spread, scale.used
    atlas.layers["scaled"] = gathered.scaled.astype(np.float32)
    atlas.obsm["X_pca"], atlas.obsm["X_umap"] = scores, places
    atlas.varm["PCs"] = loadings.T.astype(np.float32)
    atlas.uns["linkage"] = tree
    name_components(atlas, ratio)
    name_map(atlas, layout, near)
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
    counts = np.bincount(codes[codes >= 0], minlength=len(proteins))
    fields = table.assign(_protein=codes)[codes >= 0].drop_duplicates(["field_id", "version"])
    for code, once in fields.groupby("_protein", sort=True):
        labels = _distinct(once["labels"])
        unknown.update(words.unknown(labels))
        samples = once[["source", "sample", "reagent", "cell_line"]].drop_duplicates()
        rows.append(
            {
                "genes": ";".join(_distinct(once["genes"])),
                "ensembl_ids": ";".join(_distinct(once["ensembl_ids"])),
                "labels": ";".join(labels),
                "location": location(words, once["labels"]),
                "n_units": counts[code],
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
    numbers = ["n_units", "n_fields", "n_samples"]
    obs[numbers] = obs[numbers].astype(np.int64)
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


def _distinct(lists: Sequence[Any]) -> list[str]:
    """Members of all lists, each once, in the order of their first appearance."""
    return list(dict.fromkeys(str(item) for items in lists if items is not None for item in items))
