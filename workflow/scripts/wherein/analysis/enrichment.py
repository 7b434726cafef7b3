"""What the proteins of a cluster have in common: gene sets that they share more often than chance."""

import gzip
import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from wherein.summary import stage_summary
from wherein.tables import write_tsv

log = logging.getLogger(__name__)

COLUMNS = (
    *("cluster", "gene_set_library", "term", "term_id", "k", "n", "K", "N"),
    *("genes", "odds_ratio", "p", "q", "q_gseapy"),
)
"""results/biology/{model}/enrichment.tsv"""

ID_IN_NAME = re.compile(r"\s*\(([A-Za-z]+[:_]\w+|R-[A-Z]{3}-\d+)\)\s*$")
"""An identifier in brackets at the end of a term's name, as in `nucleolus (GO:0005730)`."""

ID = re.compile(r"[A-Za-z]+[:_]\w+|R-[A-Z]{3}-\d+")
"""The second column of a GMT file, where it holds an identifier rather than a description or an address."""


class GeneSetError(ValueError):
    """A file of gene sets that cannot be read; the message says where and what was expected."""


class GeneSet(NamedTuple):
    """One line of a GMT file.

    Attributes:
        term: name, without an identifier.
        term_id: identifier; None if the line has none.
        genes: symbols, in upper case.
    """

    term: str
    term_id: str | None
    genes: frozenset[str]


def enrich_clusters(
    model: str,
    proteins: str | Path,
    settings: dict[str, Any],
    enrichment: str | Path,
    summary: str | Path,
) -> None:
    """Test each cluster of an atlas against every gene set of every library.

    The universe are the proteins of this run, not the genome: a set is enriched only against what could have been
    found. Proteins are counted, not genes: a reagent that binds several genes of a family is one protein, which belongs
    to a set if one of its genes does.

    Args:
        model: name of the model.
        proteins: results/atlas/{model}/proteins.h5ad.
        settings: section `biology` of the configuration.
        enrichment: results/biology/{model}/enrichment.tsv, written: rows with at least one protein in common, by
            cluster, library and p.
        summary: results/summaries/enrich/{model}.json, written.
    """
    with stage_summary(summary, "enrich", model, ("anndata", "gseapy", "scipy")) as told:
        symbols, clusters = read_clusters(proteins)
        asked = {name: own for name, own in clusters.items() if len(own) >= settings["min_cluster_size"]}
        told.counts = {"in": len(clusters), "kept": len(asked), "small_sample": len(clusters) - len(asked)}
        told.notes.append(f"the universe are the {len(symbols)} proteins of this run")
        nameless = [name for name, own in symbols.items() if not own]
        if nameless:
            told.notes.append(f"{len(nameless)} proteins have no gene symbol and are in no set: {_shown(nameless)}")
        if not settings["gene_sets"]:
            told.notes.append("no gene sets are configured (biology.gene_sets): nothing was tested")
        if len(asked) < len(clusters):
            few = settings["min_cluster_size"]
            told.notes.append(f"{len(clusters) - len(asked)} clusters of fewer than {few} proteins were not tested")
        parts = []
        for library, path in settings["gene_sets"].items():
            sets = read_gmt(path)
            members = members_in_universe(sets, symbols)
            tested = worth_testing(members, len(symbols), settings["min_set_size"], settings["max_set_size"])
            told.notes += library_notes(library, members, tested, symbols)
            for cluster, own in asked.items():
                found = enrich(own, [members[index] for index in tested], list(symbols))
                parts.append(described(found, [sets[index] for index in tested], cluster, library))
        filled = [part for part in parts if len(part)]
        write_tsv(enrichment, pd.concat(filled) if filled else pd.DataFrame(columns=list(COLUMNS)), COLUMNS)


def read_clusters(proteins: str | Path) -> tuple[dict[str, frozenset[str]], dict[str, list[str]]]:
    """Gene symbols of each protein in upper case, and the proteins of each cluster, from proteins.h5ad."""
    from anndata import read_h5ad

    obs = read_h5ad(proteins).obs
    symbols = {
        str(name): frozenset(gene.upper() for gene in str(genes).replace("/", ";").split(";") if gene)
        for name, genes in zip(obs.index, obs["genes"], strict=True)
    }
    cluster = obs["cluster"].astype(str)
    ordered = obs["cluster"].cat.categories if len(obs) else []
    return symbols, {str(name): [str(own) for own in obs.index[cluster == str(name)]] for name in ordered}


def read_gmt(path: str | Path) -> list[GeneSet]:
    """Read gene sets: a line a set, tab-separated, name, identifier or description, then symbols.

    Args:
        path: a GMT file, plain or compressed (.gz).

    Returns:
        The sets in the order of the file, sets without genes left out.

    Raises:
        GeneSetError: the file is missing or is no GMT file.
    """
    path = Path(path)
    if not path.is_file():
        raise GeneSetError(f"gene sets {path}: there is no such file; biology.gene_sets names a GMT file")
    opened = gzip.open if path.suffix == ".gz" else open
    sets = []
    try:
        with opened(path, "rt", encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                parts = [part.strip() for part in line.rstrip("\r\n").split("\t")]
                if not any(parts):
                    continue
                if len(parts) < 3:
                    raise GeneSetError(
                        f"gene sets {path}, line {number}: found {len(parts)} columns separated by tabs; "
                        "a GMT file has a name, an identifier or description, and one gene or more"
                    )
                genes = frozenset(part.upper() for part in parts[2:] if part)
                if genes:
                    sets.append(GeneSet(*_named(parts[0], parts[1]), genes))
    except (UnicodeDecodeError, OSError) as error:
        raise GeneSetError(f"gene sets {path}: neither UTF-8 text nor text compressed by gzip ({error})") from error
    return sets


def _named(name: str, second: str) -> tuple[str, str | None]:
    in_name = ID_IN_NAME.search(name)
    term = name[: in_name.start()] if in_name else name
    if ID.fullmatch(second):
        return term, second
    return term, in_name.group(1) if in_name else None


def members_in_universe(sets: list[GeneSet], symbols: dict[str, frozenset[str]]) -> list[list[str]]:
    """Proteins of the universe that each set holds.

    Args:
        sets: gene sets.
        symbols: the universe: protein -> its genes' symbols in upper case.

    Returns:
        For each set, names of its proteins in the order of `symbols`.
    """
    proteins_of: dict[str, list[int]] = {}
    for place, own in enumerate(symbols.values()):
        for gene in own:
            proteins_of.setdefault(gene, []).append(place)
    names = list(symbols)
    known = proteins_of.keys()
    return [[names[i] for i in sorted({i for gene in one.genes & known for i in proteins_of[gene]})] for one in sets]


def worth_testing(members: list[list[str]], universe: int, smallest: int, largest: int | None) -> list[int]:
    """Places of the sets worth a test: neither too small nor too large in the universe, nor all of it."""
    top = universe - 1 if largest is None else min(largest, universe - 1)
    return [index for index, own in enumerate(members) if smallest <= len(own) <= top]


def enrich(cluster: list[str], members: list[list[str]], universe: list[str]) -> pd.DataFrame:
    """Over-representation of a cluster in each of many sets, by the hypergeometric test of gseapy, offline.

    Args:
        cluster: proteins of the cluster, part of the universe.
        members: for each set that is tested, its proteins in the universe.
        universe: all proteins.

    Returns:
        One row for each set with a protein in common, by p: set (place in `members`), k (in common), n (in the
        cluster), K (in the set), N (in the universe), proteins (list), odds_ratio (with 1/2 added to each of the four
        counts, after Haldane and Anscombe, so that it is finite), p (to have k or more in common), q
        (Benjamini-Hochberg over all `members`, those without overlap included: they were tested too), q_gseapy
        (over those with an overlap only).
    """
    # gseapy turns numbers into Entrez ids and changes case: names of our own pass unchanged
    token = {name: f"P{place}" for place, name in enumerate(universe)}
    keys = {f"S{place}": place for place, own in enumerate(members) if own}
    columns = ["set", "k", "n", "K", "N", "proteins", "odds_ratio", "p", "q", "q_gseapy"]
    hit = set(cluster)
    if not cluster or not any(hit.intersection(members[place]) for place in keys.values()):
        return pd.DataFrame(columns=columns)
    import gseapy

    found = gseapy.enrich(
        gene_list=[token[name] for name in cluster],
        gene_sets={key: [token[name] for name in members[place]] for key, place in keys.items()},
        background=list(token.values()),
        outdir=None,
        no_plot=True,
    ).results
    place = found["Term"].map(keys)
    proteins = [[universe[i] for i in sorted(int(short[1:]) for short in own.split(";"))] for own in found["Genes"]]
    p = np.minimum(found["P-value"].to_numpy(float), 1.0)
    tested = np.ones(len(members))
    tested[place.to_numpy()] = p
    table = pd.DataFrame(
        {
            "set": place,
            "k": [len(names) for names in proteins],
            "n": len(cluster),
            "K": [len(members[index]) for index in place],
            "N": len(universe),
            "proteins": proteins,
            "odds_ratio": found["Odds Ratio"].to_numpy(float),
            "p": p,
            "q": false_discovery_control(tested)[place.to_numpy()],
            "q_gseapy": found["Adjusted P-value"].to_numpy(float),
        },
        columns=columns,
    )
    return table.sort_values(["p", "set"], ignore_index=True)


def described(found: pd.DataFrame, sets: list[GeneSet], cluster: str, library: str) -> pd.DataFrame:
    """Rows of enrichment.tsv from what `enrich` found in `sets`."""
    own = [sets[index] for index in found["set"]]
    table = found.drop(columns=["set", "proteins"]).assign(
        cluster=cluster,
        gene_set_library=library,
        term=[one.term for one in own],
        term_id=[one.term_id for one in own],
        genes=[";".join(names) for names in found["proteins"]],
    )
    return table[list(COLUMNS)]


def library_notes(
    library: str, members: list[list[str]], tested: list[int], symbols: dict[str, frozenset[str]]
) -> list[str]:
    """What a library covers of the universe, and what it does not know."""
    covered = {name for own in members for name in own}
    lost = [name for name, own in symbols.items() if own and name not in covered]
    notes = [f"{library}: {len(tested)} of {len(members)} sets tested, which hold {len(covered)} proteins of this run"]
    if lost:
        notes.append(f"{library}: {len(lost)} proteins are in none of its sets: {_shown(lost)}")
    return notes


def _shown(names: list[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
