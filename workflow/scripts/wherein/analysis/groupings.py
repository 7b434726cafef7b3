"""Groups of proteins beside the atlas's clusters: communities, clades asked for, clusters within one location.

For each group how it would come again, for each grouping how it agrees with published locations, and for each group
what its proteins have in common; and the spectrum of the features.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.analysis.agreement import agreement
from wherein.analysis.clades import best_clade_overlap, leaves_of, smallest_clade
from wherein.analysis.clustering import (
    clustered_points,
    cut,
    default_clusters,
    hierarchical_clustering,
    standardized,
)
from wherein.analysis.communities import leiden, shared_neighbours
from wherein.analysis.gene_sets import read_gmt
from wherein.analysis.group_terms import COLUMNS as TERMS
from wherein.analysis.group_terms import group_terms
from wherein.analysis.projection import nearest, principal_components
from wherein.analysis.spectrum import (
    ORGANELLES,
    feature_spectrum,
    location_spectra,
    organelle_accuracy,
    organelle_table,
    organelles,
)
from wherein.analysis.stability import Stability, best_overlap, resamples, summarized
from wherein.analysis.tested import STATED, TESTED, write_tested
from wherein.atomic import atomic_path
from wherein.summary import stage_summary
from wherein.tables import write_tsv

log = logging.getLogger(__name__)

MULTI = "Multi"
"""What the atlas calls the location of a protein with several."""

TREE, LEIDEN, NAMED, WITHIN = "tree", "leiden", "named", "within"

GROUPS = (
    *("grouping", "label", "cluster", "n_proteins", "genes", "top_location", "top_location_share", "height"),
    *("stability", "stability_low", "stability_chance", "draws", "resampled"),
)
"""results/atlas/{model}/groups.tsv"""

MEMBERS = ("protein", "location", "leaf", TREE, LEIDEN, NAMED, WITHIN, "within_leaf")
"""results/atlas/{model}/members.tsv"""

AGREEMENT = (
    *("grouping", "proteins", "n_proteins", "n_clusters", "n_locations", "ari", "ari_low", "ari_high", "ami"),
    *("ari_chance_high", "p", "permutations"),
)
"""results/atlas/{model}/agreement.tsv"""

PACKAGES = ("anndata", "fastcluster", "numpy", "scikit-learn", "scipy")


def group_proteins(
    model: str,
    proteins: str | Path,
    settings: dict[str, Any],
    biology: dict[str, Any],
    groups: str | Path,
    members: str | Path,
    agreements: str | Path,
    organelle: str | Path,
    spectrum: str | Path,
    terms: str | Path,
    summary: str | Path,
) -> None:
    """Group the proteins of an atlas in further ways, and tell how far to trust each.

    Args:
        model: name of the model.
        proteins: results/atlas/{model}/proteins.h5ad.
        settings: section `atlas` of the configuration, with `groupings`.
        biology: of section `biology`: gene_sets (local files), min_set_size, max_set_size, min_cluster_size.
        groups: results/atlas/{model}/groups.tsv, written.
        members: results/atlas/{model}/members.tsv, written.
        agreements: results/atlas/{model}/agreement.tsv, written.
        organelle: results/atlas/{model}/organelles.tsv, written.
        spectrum: results/atlas/{model}/spectrum.h5ad, written.
        terms: results/biology/{model}/enrichment_groups.tsv, written.
        summary: results/summaries/cluster/{model}.json, written.
    """
    from anndata import read_h5ad

    with stage_summary(summary, "cluster", model, PACKAGES) as told:
        atlas = read_h5ad(proteins)
        table = _Proteins(atlas, settings)
        told.counts = {"in": atlas.n_obs, "kept": atlas.n_obs}
        own = {TREE: table.cluster, LEIDEN: table.communities(table.points)}
        named, missing = _named(table)
        inside = _within(table)
        told.notes += missing
        lacking = sorted(set(table.own["within"] or []) - {label for label, _ in inside.members})
        if lacking:
            told.notes.append(
                f"no two proteins have one of these locations alone (atlas.groupings.within): {', '.join(lacking)}"
            )
        masks = np.zeros((atlas.n_obs, len(named.members)), bool)
        for column, held in enumerate(named.members.values()):
            masks[held, column] = True
        stable, clades = _resampled(table, own, masks)
        rows = [row for name, labels in own.items() for row in _rows(table, name, labels, stable[name])]
        rows += [{**row, **_came_again(clades, one, table.own)} for one, row in enumerate(named.rows)]
        write_tsv(groups, pd.DataFrame([*rows, *inside.rows], columns=list(GROUPS)), GROUPS)
        columns = {TREE: own[TREE] + 1, LEIDEN: own[LEIDEN] + 1, NAMED: named.column, WITHIN: inside.column}
        filled = pd.DataFrame({"protein": table.names, "location": table.single, "leaf": table.leaf, **columns})
        filled["within_leaf"] = inside.leaf
        write_tsv(members, filled, MEMBERS)
        agreed = _agreements(table, own)
        write_tested(agreements, agreed, AGREEMENT, "agreement")
        found = _terms(table, own, named, inside, biology)
        write_tested(terms, found, TERMS, "enrichment_groups")
        told.extra = {
            "seed": settings["seed"],
            "ari": {row["grouping"]: row["ari"] for row in agreed.to_dict("records")},
            **_spectrum(table, spectrum, organelle),
        }
        told.notes.append(
            "adjusted Rand index against published single locations: "
            + ", ".join(
                f"{row.grouping} {row.ari:.2f} ({row.ari_low:.2f} to {row.ari_high:.2f}, n = {row.n_proteins})"
                for row in agreed.itertuples()
            )
        )


class _Proteins:
    """What the steps share: the atlas, its points, and ways to cluster some of them again."""

    def __init__(self, atlas: Any, settings: dict[str, Any]) -> None:
        self.settings, self.own = settings, settings["groupings"]
        self.names = [str(name) for name in atlas.obs_names]
        self.scaled = np.asarray(atlas.layers["scaled"], np.float32)
        self.features = [str(name) for name in atlas.var_names]
        self.points = clustered_points(self.scaled, np.asarray(atlas.obsm["X_pca"]), settings["points"])
        self.tree = np.asarray(atlas.uns["linkage"], np.float64).reshape(-1, 4)
        self.leaf = atlas.obs["leaf"].to_numpy(np.int64)
        self.cluster = atlas.obs["cluster"].astype(str).astype(int).to_numpy() - 1
        location = atlas.obs["location"].astype(object)
        self.location = location.where(location.notna(), None).to_numpy(object)
        self.single = np.asarray([None if name == MULTI else name for name in self.location], object)
        self.symbols = {
            name: frozenset(gene.upper() for gene in str(genes).replace("/", ";").split(";") if gene)
            for name, genes in zip(self.names, atlas.obs["genes"], strict=True)
        }

    def linked(self, points: np.ndarray, order: bool = False) -> tuple[np.ndarray, np.ndarray]:
        most = self.settings["order_up_to"] if order else 0
        return hierarchical_clustering(points, self.settings["linkage"], self.settings["metric"], most)

    def cut_again(self, points: np.ndarray, number: int) -> np.ndarray:
        tree, leaf = self.linked(points)
        return cut(tree, leaf, number, None) - 1

    def communities(self, points: np.ndarray) -> np.ndarray:
        """Communities of proteins; in a small atlas neighbourhoods are no larger than a cluster of the tree."""
        count = min(self.own["neighbours"], round(len(points) / default_clusters(len(points))))
        if count < 2:
            return np.zeros(len(points), np.int64)
        graph = shared_neighbours(nearest(np.asarray(points, np.float64), count)[0])
        return leiden(graph, self.own["resolution"], self.settings["seed"])

    def drawn(self, rows: np.ndarray, columns: np.ndarray | None) -> np.ndarray:
        """The points of some proteins, or of all by some features."""
        if columns is None:
            return self.points[rows]
        scaled = self.scaled[:, columns]
        if self.settings["points"] == "features":
            return standardized(scaled)
        return principal_components(scaled, self.settings["components"])[0]

    def row(self, grouping: str, cluster: str, members: np.ndarray, label: str | None = None) -> dict[str, Any]:
        """Row of groups.tsv without height and stability; members in the order of the leaves."""
        ordered = members[np.argsort(self.leaf[members], kind="stable")]
        known = pd.Series(self.location[ordered], dtype=object).dropna().value_counts()
        top = min(known.index[known == known.max()]) if len(known) else None
        return {
            "grouping": grouping,
            "label": label,
            "cluster": cluster,
            "n_proteins": len(members),
            "genes": ";".join(self.names[one] for one in ordered),
            "top_location": top,
            "top_location_share": known[top] / len(members) if top else None,
        }


class _Groups:
    """Rows of groups.tsv, members of each group, and columns of members.tsv."""

    def __init__(self, number: int) -> None:
        self.rows: list[dict[str, Any]] = []
        self.members: dict[tuple[str | None, str], np.ndarray] = {}
        self.column: list[str | None] = [None] * number
        self.leaf = pd.array([pd.NA] * number, "Int64")


def _resampled(
    table: _Proteins, groupings: dict[str, np.ndarray], named: np.ndarray
) -> tuple[dict[str, Stability], Stability]:
    """How well clusters and communities, and clades asked for, come again.

    Args:
        table: the proteins.
        groupings: TREE and LEIDEN: cluster of each protein, from 0.
        named: (N, G) bool, members of the clades.
    """
    number, count = len(table.names), int(groupings[TREE].max(initial=-1)) + 1
    sizes = {name: int(labels.max(initial=-1)) + 1 for name, labels in groupings.items()}
    overlap = {name: [np.empty((0, size))] for name, size in sizes.items()}
    chance = {name: [np.empty((0, size))] for name, size in sizes.items()}
    clades = [np.empty((0, named.shape[1]))]
    draws = table.own["draws"] if number > 1 else 0
    for rows, columns, rng in resamples(
        number, len(table.features), table.own["resample"], draws, table.settings["seed"]
    ):
        points = table.drawn(rows, columns)
        tree, leaf = table.linked(points)
        again = {TREE: cut(tree, leaf, count, None) - 1, LEIDEN: table.communities(points)}
        for name, labels in groupings.items():
            overlap[name].append(best_overlap(labels[rows], again[name], sizes[name])[None])
            chance[name].append(best_overlap(labels[rows], rng.permutation(again[name]), sizes[name])[None])
        clades.append(best_clade_overlap(tree, named[rows])[None])
    found = {name: summarized(np.concatenate(overlap[name]), np.concatenate(chance[name])) for name in groupings}
    of_clades = np.concatenate(clades)
    return found, summarized(of_clades, np.full_like(of_clades, np.nan))


def _rows(table: _Proteins, grouping: str, labels: np.ndarray, stable: Stability) -> list[dict[str, Any]]:
    rows = []
    for one in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == one)
        height = _height(table.tree, members) if grouping == TREE else None
        rows.append(
            {**table.row(grouping, str(one + 1), members), "height": height, **_came_again(stable, one, table.own)}
        )
    return rows


def _height(tree: np.ndarray, members: np.ndarray) -> float:
    """Height at which the members of a clade are joined."""
    node = smallest_clade(tree, members)
    return 0.0 if node <= len(tree) else float(tree[node - len(tree) - 1, 2])


def _came_again(found: Stability, one: int, own: dict[str, Any]) -> dict[str, Any]:
    return {
        "stability": found.mean[one],
        "stability_low": found.low[one],
        "stability_chance": found.chance[one],
        "draws": int(found.draws[one]),
        "resampled": own["resample"],
    }


def _named(table: _Proteins) -> tuple[_Groups, list[str]]:
    """Clades that the configuration names by proteins they hold."""
    found, notes = _Groups(len(table.names)), []
    place = {name.upper(): number for number, name in enumerate(table.names)}
    for name, asked in table.own["named"].items():
        absent = [one for one in asked["holds"] if one.upper() not in place]
        if absent:
            notes.append(f"cluster {name} (atlas.groupings.named): no protein {', '.join(absent)} in this run")
        holds = [place[one.upper()] for one in asked["holds"] if one.upper() in place]
        if not holds or len(table.names) < 2:
            continue
        node = smallest_clade(table.tree, holds, asked["size"])
        members = leaves_of(table.tree, node)
        height = 0.0 if node <= len(table.tree) else float(table.tree[node - len(table.tree) - 1, 2])
        found.rows.append({**table.row(NAMED, name, members), "height": height})
        found.members[(None, name)] = members
        for one in members:
            found.column[one] = name if found.column[one] is None else f"{found.column[one]};{name}"
    return found, notes


def _within(table: _Proteins) -> _Groups:
    """Clusters of the proteins of one location alone, on the scale of all proteins (Lu et al. 2019, S4 and S5)."""
    found = _Groups(len(table.names))
    sizes = pd.Series(table.single, dtype=object).dropna().value_counts()
    labels = table.own["within"]
    labels = sorted(sizes.index[sizes >= table.own["within_min"]]) if labels is None else labels
    for label in labels:
        members = np.flatnonzero(table.single == label)
        if len(members) < 2:
            continue
        tree, leaf = table.linked(table.points[members], order=True)
        flat = cut(tree, leaf, table.own["within_clusters"], None)
        for one in range(1, flat.max() + 1):
            own = members[flat == one]
            height = _height(tree, np.flatnonzero(flat == one))
            found.rows.append({**table.row(WITHIN, str(one), own, label), "height": height})
            found.members[(label, str(one))] = own
        for one, number, place in zip(members, flat, leaf, strict=True):
            found.column[one] = str(number)
            found.leaf[one] = int(place)
    return found


def _agreements(table: _Proteins, own: dict[str, np.ndarray]) -> pd.DataFrame:
    """Rows of agreement.tsv: groupings of all proteins, and of the single-location proteins by themselves."""
    single = np.asarray([name is not None for name in table.single], bool)
    true = table.single[single].astype(str)
    compared = [(name, "all were clustered", labels[single]) for name, labels in own.items()]
    if single.sum() > 1:
        points, kinds = table.points[single], len(set(true))
        compared.append(("tree of single locations", "those of one location", table.cut_again(points, kinds)))
        compared.append(("leiden of single locations", "those of one location", table.communities(points)))
    rows = []
    for name, clustered, labels in compared:
        found = agreement(labels, true, table.own["permutations"], table.settings["seed"])
        rows.append(
            {
                "grouping": name,
                "proteins": clustered,
                "n_proteins": found.n,
                "n_clusters": found.clusters,
                "n_locations": found.locations,
                "ari": found.ari,
                "ari_low": found.low,
                "ari_high": found.high,
                "ami": found.ami,
                "ari_chance_high": found.chance_high,
                "p": found.p,
                "permutations": table.own["permutations"],
            }
        )
    return pd.DataFrame(rows, columns=list(AGREEMENT))


def _terms(
    table: _Proteins, own: dict[str, np.ndarray], named: _Groups, inside: _Groups, biology: dict[str, Any]
) -> pd.DataFrame:
    """Rows of enrichment_groups.tsv; the atlas's own clusters stand in enrichment.tsv."""
    libraries = {name: read_gmt(path) for name, path in biology["gene_sets"].items()}
    communities = {
        str(one + 1): [table.names[place] for place in np.flatnonzero(own[LEIDEN] == one)]
        for one in range(own[LEIDEN].max(initial=-1) + 1)
    }
    clades = {key[1]: [table.names[one] for one in held] for key, held in named.members.items()}
    asked = [(LEIDEN, None, communities, table.symbols), (NAMED, None, clades, table.symbols)]
    for label in dict.fromkeys(key[0] for key in inside.members):
        held = {key[1]: [table.names[one] for one in held] for key, held in inside.members.items() if key[0] == label}
        universe = {name: table.symbols[name] for names in held.values() for name in names}
        asked.append((WITHIN, label, held, universe))
    parts = []
    for grouping, label, groups, universe in asked:
        part = group_terms(groups, universe, libraries, biology)
        parts.append(part.assign(grouping=grouping, label=label)[list(TERMS)])
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(TERMS))


def _spectrum(table: _Proteins, path: str | Path, organelle: str | Path) -> dict[str, Any]:
    """Write spectrum.h5ad and organelles.tsv; what the summary says of them."""
    from anndata import AnnData

    own = table.own
    most = table.settings["order_up_to"]
    found = feature_spectrum(table.scaled, own["spectrum_clusters"], own["spectrum_features"], most)
    counts = pd.Series(table.single, dtype=object).dropna().value_counts()
    names = sorted(counts.index[counts >= 2])
    locations = np.asarray(["" if name is None else name for name in table.single], object)
    values = table.scaled[:, found.features]
    r = organelles(values, locations, names) if names else np.zeros((len(table.names), 0))
    write_tsv(organelle, organelle_table(r, table.single, names, table.names), ORGANELLES)
    accuracy = organelle_accuracy(values, locations, names, own["permutations"], table.settings["seed"])
    obs = pd.DataFrame(
        {"cluster": found.cluster, "place": np.arange(len(found.features))},
        index=pd.Index([table.features[one] for one in found.features], dtype=object),
    )
    data = AnnData(found.correlation, obs=obs)
    if names:
        data.obsm["locations"] = location_spectra(values, locations, names).T.astype(np.float32)
        data.uns["locations"] = np.asarray(names, object)
    data.uns["linkage"] = found.tree
    told = {
        "n": accuracy.n,
        "locations": accuracy.locations,
        "top": list(accuracy.top),
        "chance": accuracy.chance,
        "p": accuracy.p,
        "permutations": own["permutations"],
        "features": len(found.features),
        "features_of": len(table.features),
        "clusters": int(found.cluster.max(initial=0)),
    }
    told |= {name: getattr(TESTED["organelles"], name) for name in STATED}
    data.uns["wherein"] = json.dumps({"organelles": told})
    with atomic_path(path) as partial:
        data.write_h5ad(partial)
    return {"organelles": told}
