"""What the proteins of a cluster have in common: gene sets that they share more often than chance."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from wherein.analysis.gene_sets import (
    LOSSES,
    GeneSet,
    has_cellular_components,
    members_in_universe,
    read_genome,
    read_gmt,
    sets_by_symbol,
    symbols_of_proteins,
    worth_testing,
)
from wherein.analysis.overrepresentation import (
    Overlaps,
    membership,
    odds_ratios,
    over_all,
    over_overlapping,
    overrepresentation,
    tail_probability,
)
from wherein.analysis.redundancy import representatives
from wherein.analysis.set_null import Null, permutation_null
from wherein.analysis.tested import write_tested
from wherein.identifiers import read_identifiers
from wherein.summary import stage_summary
from wherein.tables import write_tsv

log = logging.getLogger(__name__)

COLUMNS = (
    *("cluster", "gene_set_library", "term", "term_id", "k", "n", "K", "N"),
    *("genes", "odds_ratio", "p", "q", "q_gseapy", "p_permuted", "q_permuted", "n_tests", "representative"),
    *("K_genome", "N_genome", "p_genome", "q_genome"),
)
"""results/biology/{model}/enrichment.tsv"""

LIBRARIES = (
    *("gene_set_library", "n_sets", "n_tested", "n_clusters", "n_tests", "N", "n_covered", "n_without_set"),
    *("min_set_size", "max_set_size", "alpha", "n_found", "n_found_gseapy", "n_found_genome", "n_found_permuted"),
    *("permutations", "seed", "n_by_chance", "p_5_percent", "q_ratio", "cellular_components"),
)
"""results/biology/{model}/enrichment_libraries.tsv"""

ALPHA = 0.05
"""False discovery rate at which `enrichment_libraries.tsv` counts what was found."""

TRIMMED_UP_TO = 0.05
"""Terms with a larger p, uncorrected, are not worth a place in a group of terms that say the same."""


class Universe(NamedTuple):
    """What clusters are drawn from.

    Attributes:
        symbols: protein -> its genes' symbols.
        genome: symbols of a whole genome that no protein of the run has; None if it was not asked for.
    """

    symbols: dict[str, frozenset[str]]
    genome: frozenset[str] | None


def enrich_clusters(
    model: str,
    proteins: str | Path,
    settings: dict[str, Any],
    enrichment: str | Path,
    libraries: str | Path,
    identifiers: str | Path,
    summary: str | Path,
) -> None:
    """Test each cluster of an atlas against every gene set of every library.

    The universe are the proteins of this run, not the genome: a set is enriched only against what could have been
    found. Proteins are counted, not genes: a reagent that binds several genes of a family is one protein, which belongs
    to a set if one of its genes does. One question is asked of a library, which of its terms any cluster is rich in, so
    that q corrects over all its sets in all clusters.

    Args:
        model: name of the model.
        proteins: results/atlas/{model}/proteins.h5ad.
        settings: what `enrichment_settings` takes of the section `biology`.
        enrichment: results/biology/{model}/enrichment.tsv, written: rows with at least one protein in common, by
            library, cluster and p.
        libraries: results/biology/{model}/enrichment_libraries.tsv, written: what was asked of each library.
        identifiers: results/biology/{model}/identifiers.tsv, written: names of genes that were translated or lost.
        summary: results/summaries/enrich/{model}.json, written.
    """
    with stage_summary(summary, "enrich", model, ("anndata", "scipy")) as told:
        known = read_identifiers(settings["identifiers"]) if settings["identifiers"] else None
        obs = read_proteins(proteins)
        symbols, lost = symbols_of_proteins(obs, known)
        genome = read_genome(settings["genome"], known) if settings["genome"] else None
        universe = Universe(symbols, None if genome is None else genome - frozenset().union(*symbols.values()))
        clusters = clusters_of(obs)
        asked = {name: own for name, own in clusters.items() if len(own) >= settings["min_cluster_size"]}
        told.counts = {"in": len(clusters), "kept": len(asked), "small_sample": len(clusters) - len(asked)}
        told.notes += _about_run(symbols, clusters, asked, settings)
        parts, described = [], []
        for library, path in settings["gene_sets"].items():
            sets, renamed = sets_by_symbol(read_gmt(path), known, library)
            lost += renamed
            rows, about, notes, without = enrich_library(library, sets, asked, universe, settings)
            lost += [
                {"what": "protein", "library": library, "identifier": name, "symbol": None, "how": "in_no_set"}
                for name in without
            ]
            told.notes += notes
            parts.append(rows)
            described.append(about)
        filled = [part for part in parts if len(part)]
        rows = pd.concat(filled) if filled else pd.DataFrame(columns=list(COLUMNS))
        write_tested(enrichment, rows, COLUMNS, "enrichment")
        about = pd.DataFrame(described, columns=list(LIBRARIES))
        write_tested(libraries, about, LIBRARIES, "enrichment_libraries")
        write_tsv(identifiers, pd.DataFrame(lost, columns=list(LOSSES)), LOSSES)
        told.extra = {"seed": settings["seed"], "libraries": described}


def read_proteins(proteins: str | Path) -> pd.DataFrame:
    """What is known of each protein, from proteins.h5ad."""
    from anndata import read_h5ad

    return read_h5ad(proteins, backed="r").obs


def clusters_of(obs: pd.DataFrame) -> dict[str, list[str]]:
    """Names of the proteins of each cluster, clusters in their order.

    Args:
        obs: of proteins.h5ad, with a categorical column `cluster`.
    """
    cluster = obs["cluster"].astype(str)
    ordered = obs["cluster"].cat.categories if len(obs) else []
    return {str(name): [str(own) for own in obs.index[cluster == str(name)]] for name in ordered}


def enrich_library(
    library: str, sets: list[GeneSet], clusters: dict[str, list[str]], universe: Universe, settings: dict[str, Any]
) -> tuple[pd.DataFrame, dict[str, Any], list[str], list[str]]:
    """Test all sets of a library in all clusters.

    Args:
        library: name of the gene sets.
        sets: the sets, with symbols as the universe has them.
        clusters: the proteins of each cluster that is asked; no protein is in two.
        universe: what they were drawn from.
        settings: min_set_size, max_set_size, permutations, seed, trim, trim_by.

    Returns:
        Rows of enrichment.tsv, the row of enrichment_libraries.tsv, notes, and proteins that are in no set.
    """
    symbols, names = universe.symbols, list(universe.symbols)
    members = members_in_universe(sets, symbols)
    tested = worth_testing(members, len(symbols), settings["min_set_size"], settings["max_set_size"])
    place = {name: number for number, name in enumerate(names)}
    of_sets = membership([[place[name] for name in members[index]] for index in tested], len(names))
    of_clusters = membership([[place[name] for name in own] for own in clusters.values()], len(names))
    found = overrepresentation(of_sets, of_clusters)
    null = _null(of_sets, of_clusters, found, settings)
    kept = [sets[index] for index in tested]
    columns = _corrected(found, null, kept, universe.genome)
    groups = _grouped(found, of_sets, of_clusters, _sizes(kept), settings)
    rows = _rows(library, kept, list(clusters), names, found, of_sets, of_clusters, {**columns, "group": groups})
    covered = {name for own in members for name in own}
    without = [name for name, own in symbols.items() if own and name not in covered]
    about = _about(library, sets, found, columns, null, settings)
    about |= {"n_covered": len(covered), "n_without_set": len(without)}
    return rows, about, _library_notes(about, without, sets), without


def enrich(cluster: list[str], members: list[list[str]], universe: list[str]) -> pd.DataFrame:
    """Over-representation of one cluster in each of many sets.

    Args:
        cluster: proteins of the cluster, part of the universe.
        members: for each set that is tested, its proteins in the universe.
        universe: all proteins.

    Returns:
        One row for each set with a protein in common, by p: set (place in `members`), k (in common), n (in the
        cluster), K (in the set), N (in the universe), proteins (list), odds_ratio, p (to have k or more in common), q
        (Benjamini-Hochberg over all `members`, those without overlap included: they were tested too), q_gseapy
        (over those with an overlap only).
    """
    place = {name: number for number, name in enumerate(universe)}
    of_sets = membership([[place[name] for name in own] for own in members], len(universe))
    of_cluster = membership([[place[name] for name in cluster]], len(universe))
    found = overrepresentation(of_sets, of_cluster)
    here = np.flatnonzero(found.k[0])
    here = here[np.lexsort((here, found.p[0, here]))]
    hit = set(of_cluster.indices)
    table = {"set": here, "k": found.k[0, here], "n": len(hit), "K": found.K[here], "N": found.N}
    table["proteins"] = [[universe[i] for i in _row(of_sets, index) if i in hit] for index in here]
    table |= {"odds_ratio": odds_ratios(found)[0, here], "p": found.p[0, here]}
    table |= {"q": over_all(found.p)[0, here], "q_gseapy": over_overlapping(found)[0, here]}
    return pd.DataFrame(table)


def _null(of_sets: csr_matrix, of_clusters: csr_matrix, found: Overlaps, settings: dict[str, Any]) -> Null | None:
    if not settings["permutations"] or not found.p.size:
        return None
    labels = np.full(found.N, -1, np.int64)
    labels[of_clusters.indices] = np.repeat(np.arange(of_clusters.shape[0]), np.diff(of_clusters.indptr))
    return permutation_null(of_sets, labels, found, settings["permutations"], settings["seed"])


def _corrected(
    found: Overlaps, null: Null | None, sets: list[GeneSet], genome: frozenset[str] | None
) -> dict[str, np.ndarray | None]:
    """Everything that is said of a pair of cluster and set beside its counts: (C, T) each."""
    told: dict[str, np.ndarray | None] = {
        "odds_ratio": odds_ratios(found), "p": found.p, "q": over_all(found.p), "q_gseapy": over_overlapping(found),
        "p_permuted": null.p if null else None, "q_permuted": null.q if null else None,
    }  # fmt: skip
    if genome is not None:
        beside = np.array([len(one.genes & genome) for one in sets], np.int64)
        total, size = found.N + len(genome), found.K + beside
        whole = np.broadcast_to(size[None], found.k.shape)
        p = np.ones(found.k.shape)
        here = found.k > 0
        drawn = np.broadcast_to(found.n[:, None], found.k.shape)
        p[here] = tail_probability(found.k[here], whole[here], drawn[here], total)
        told |= {"K_genome": whole, "N_genome": np.full(found.k.shape, total), "p_genome": p, "q_genome": over_all(p)}
    return told


def _sizes(sets: list[GeneSet]) -> np.ndarray:
    """Genes of each set, of this run or not: of two sets with the same p, the smaller one says more."""
    return np.array([len(one.genes) for one in sets], np.int64)


def _grouped(
    found: Overlaps, of_sets: csr_matrix, of_clusters: csr_matrix, sizes: np.ndarray, settings: dict[str, Any]
) -> np.ndarray:
    """(C, T) place of the set under which each is named, negative for one that is not worth a name."""
    groups = np.full(found.p.shape, -1, np.int64)
    for cluster in range(len(found.n)):
        here = np.flatnonzero((found.k[cluster] > 0) & (found.p[cluster] <= TRIMMED_UP_TO))
        if not len(here):
            continue
        if settings["trim"] is None:
            groups[cluster, here] = here
            continue
        hits = of_sets[here][:, _row(of_clusters, cluster)]
        best = np.lexsort((here, sizes[here], found.p[cluster, here]))
        groups[cluster, here] = here[representatives(hits, best, settings["trim"], settings["trim_by"])]
    return groups


def _rows(
    library: str,
    sets: list[GeneSet],
    clusters: list[str],
    names: list[str],
    found: Overlaps,
    of_sets: csr_matrix,
    of_clusters: csr_matrix,
    columns: dict[str, np.ndarray | None],
) -> pd.DataFrame:
    own, place = np.nonzero(found.k)
    order = np.lexsort((place, _sizes(sets)[place], found.p[own, place], own))
    own, place = own[order], place[order]
    hits = [set(_row(of_clusters, cluster)) for cluster in range(len(clusters))]
    groups = columns["group"]
    assert groups is not None
    told = {name: values[own, place] for name, values in columns.items() if name != "group" and values is not None}
    return pd.DataFrame(
        {
            "cluster": [clusters[row] for row in own],
            "gene_set_library": library,
            "term": [sets[column].term for column in place],
            "term_id": [sets[column].term_id for column in place],
            "k": found.k[own, place], "n": found.n[own], "K": found.K[place], "N": found.N,
            "genes": [
                ";".join(names[i] for i in _row(of_sets, column) if i in hits[row])
                for row, column in zip(own, place, strict=True)
            ],
            **told,
            "n_tests": found.p.size,
            "representative": [sets[group].term if group >= 0 else None for group in groups[own, place]],
        }
    )  # fmt: skip


def _about(
    library: str,
    sets: list[GeneSet],
    found: Overlaps,
    columns: dict[str, np.ndarray | None],
    null: Null | None,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """The row of enrichment_libraries.tsv, without what a library covers."""
    clusters, tested = found.p.shape
    here = found.k > 0
    q, theirs = columns["q"], columns["q_gseapy"]
    assert q is not None
    assert theirs is not None
    sure = q <= ALPHA
    threshold = float(found.p[sure].max()) if sure.any() else None
    genome, permuted = columns.get("q_genome"), columns["q_permuted"]
    ratio = (q[here] / theirs[here]).max() if here.any() else None
    return {
        "gene_set_library": library, "n_sets": len(sets), "n_tested": tested, "n_clusters": clusters,
        "n_tests": found.p.size, "N": found.N, "min_set_size": settings["min_set_size"],
        "max_set_size": settings["max_set_size"], "alpha": ALPHA, "n_found": int(sure.sum()),
        "n_found_gseapy": int(((theirs <= ALPHA) & here).sum()),
        "n_found_genome": None if genome is None else int(((genome <= ALPHA) & here).sum()),
        "n_found_permuted": None if permuted is None else int(((permuted <= ALPHA) & here).sum()),
        "permutations": settings["permutations"] if null else 0, "seed": settings["seed"],
        "n_by_chance": null.expected(threshold) if null and threshold is not None else None,
        "p_5_percent": float(np.quantile(null.smallest, 0.05)) if null else None,
        "q_ratio": None if ratio is None else float(ratio), "cellular_components": has_cellular_components(sets),
    }  # fmt: skip


def _about_run(
    symbols: dict[str, frozenset[str]],
    clusters: dict[str, list[str]],
    asked: dict[str, list[str]],
    settings: dict[str, Any],
) -> list[str]:
    notes = [f"the universe are the {len(symbols)} proteins of this run"]
    nameless = [name for name, own in symbols.items() if not own]
    if nameless:
        notes.append(f"{len(nameless)} proteins have no gene symbol and are in no set: {_shown(nameless)}")
    if not settings["gene_sets"]:
        notes.append("no gene sets are configured (biology.gene_sets): nothing was tested")
    if len(asked) < len(clusters):
        few = settings["min_cluster_size"]
        notes.append(f"{len(clusters) - len(asked)} clusters of fewer than {few} proteins were not tested")
    return notes


def _library_notes(about: dict[str, Any], without: list[str], sets: list[GeneSet]) -> list[str]:
    """What a library covers of the universe, what it does not know, and where it comes from."""
    library = about["gene_set_library"]
    covered = about["n_covered"]
    scope = f"{about['n_tests']} tests ({about['n_clusters']} clusters)"
    notes = [
        f"{library}: {about['n_tested']} of {about['n_sets']} sets tested, {covered} proteins in any; q over {scope}"
    ]
    if without:
        notes.append(f"{library}: {len(without)} proteins are in none of its sets: {_shown(without)}")
    if has_cellular_components(sets):
        notes.append(
            f"{library} has cellular components of the Gene Ontology, some of which the Human Protein Atlas assigned "
            "from its images: for proteins of that atlas this is no independent evidence. Sets made "
            "from a file of annotations (biology.gene_sets) leave them out"
        )
    return notes


def _row(matrix: csr_matrix, row: int) -> np.ndarray:
    return matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]


def _shown(names: list[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
