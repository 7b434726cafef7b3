"""Gene sets that gather at the ends of a ranking of all proteins, by gseapy."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wherein.analysis.gene_sets import members_in_universe, read_gmt, sets_by_symbol, symbols_of_proteins
from wherein.analysis.overrepresentation import over_all
from wherein.analysis.tested import write_tested
from wherein.identifiers import read_identifiers
from wherein.summary import stage_summary

log = logging.getLogger(__name__)

COLUMNS = (
    *("ranking", "gene_set_library", "term", "term_id", "K", "N", "es", "nes"),
    *("p", "q", "q_gseapy", "n_tests", "permutations", "leading"),
)
"""results/biology/{model}/prerank.tsv"""


def enrich_rankings(
    model: str,
    proteins: str | Path,
    heterogeneity: str | Path,
    settings: dict[str, Any],
    prerank: str | Path,
    summary: str | Path,
    threads: int = 1,
) -> None:
    """Ask which gene sets gather at an end of each ranking of the proteins.

    Args:
        model: name of the model.
        proteins: results/atlas/{model}/proteins.h5ad.
        heterogeneity: results/biology/{model}/heterogeneity.tsv.
        settings: what `prerank_settings` takes of the section `biology`.
        prerank: results/biology/{model}/prerank.tsv, written: by library, ranking and p.
        summary: results/summaries/prerank/{model}.json, written.
        threads: of gseapy; the tables are the same for any number.
    """
    with stage_summary(summary, "prerank", model, ("anndata", "gseapy")) as told:
        from anndata import read_h5ad

        atlas = read_h5ad(proteins)
        known = read_identifiers(settings["identifiers"]) if settings["identifiers"] else None
        symbols, _ = symbols_of_proteins(atlas.obs, known)
        found = rankings(atlas, read_spread(heterogeneity), settings)
        ranked = {name: values for name, values in found.items() if len(values) >= settings["min_set_size"] * 2}
        told.counts = {"in": len(found), "kept": len(ranked), "small_sample": len(found) - len(ranked)}
        told.notes += [
            f"{name}: {len(values)} proteins, too few for sets of {settings['min_set_size']} or more"
            for name, values in found.items()
            if name not in ranked
        ]
        parts = []
        for library, path in settings["gene_sets"].items():
            sets, _ = sets_by_symbol(read_gmt(path), known, library)
            members = members_in_universe(sets, symbols)
            own = [preranked(values, members, settings, threads) for values in ranked.values()]
            own = [part.assign(ranking=name) for name, part in zip(ranked, own, strict=True)]
            rows = pd.concat([part for part in own if len(part)]) if any(len(part) for part in own) else None
            if rows is None:
                told.notes.append(f"{library}: no set has {settings['min_set_size']} proteins or more in a ranking")
                continue
            rows["term"] = [sets[place].term for place in rows["set"]]
            rows["term_id"] = [sets[place].term_id for place in rows["set"]]
            rows = rows.assign(gene_set_library=library, q=over_all(rows["p"].to_numpy()), n_tests=len(rows))
            told.notes.append(f"{library}: q over {len(rows)} tests, {len(ranked)} rankings")
            parts.append(rows.assign(permutations=settings["permutations"]).drop(columns="set"))
        table = pd.concat(parts) if parts else pd.DataFrame(columns=list(COLUMNS))
        write_tested(prerank, table, COLUMNS, "prerank")
        told.extra = {"seed": settings["seed"]}


def rankings(atlas: Any, spread: pd.Series, settings: dict[str, Any]) -> dict[str, pd.Series]:
    """What proteins are ranked by.

    Args:
        atlas: proteins.h5ad, with the scores of proteins on principal components in obsm X_pca.
        spread: z of the spread of each protein's cells, by protein.
        settings: leading (components), heterogeneity (bool).

    Returns:
        name of the ranking -> value of each protein that has one; a ranking whose values are all the same is left out.
    """
    scores = np.asarray(atlas.obsm["X_pca"], float) if "X_pca" in atlas.obsm else np.zeros((atlas.n_obs, 0))
    names = [str(name) for name in atlas.obs_names]
    found = {
        f"component {number + 1}": pd.Series(scores[:, number], names)
        for number in range(min(settings["leading"], scores.shape[1]))
    }
    if settings["heterogeneity"]:
        found["differences from cell to cell"] = spread[spread.index.isin(names)]
    finite = {name: values[np.isfinite(values)] for name, values in found.items()}
    return {name: values for name, values in finite.items() if values.nunique() > 1}


def read_spread(heterogeneity: str | Path) -> pd.Series:
    """How much each protein's cells differ: the mean of `spread_z` over its cell lines, weighted by its cells."""
    # a gene may be called NA: only an empty cell is null
    table = pd.read_csv(heterogeneity, sep="\t", keep_default_na=False, na_values=[""], dtype={"gene": str})
    table = table.dropna(subset=["gene", "spread_z", "n_cells"])
    weighted = (table["spread_z"] * table["n_cells"]).groupby(table["gene"]).sum()
    return (weighted / table.groupby("gene")["n_cells"].sum()).astype(float)


def preranked(values: pd.Series, members: list[list[str]], settings: dict[str, Any], threads: int = 1) -> pd.DataFrame:
    """Gene set enrichment analysis of one ranking (Subramanian et al. 2005, PNAS 102:15545).

    Args:
        values: of each protein of the ranking.
        members: for each set its proteins.
        settings: permutations, min_set_size, max_set_size, seed.
        threads: of gseapy.

    Returns:
        One row a set of allowed size, by p: set (place in `members`), K (its proteins in the ranking), N (proteins of
        the ranking), es, nes (the score over the mean of its null of the same sign), p (against random sets of the same
        size whose score has the same sign, the set itself counted as one of them; gseapy does not), q_gseapy (its own
        false discovery rate, over this ranking), leading (proteins up to the peak of the running sum, joined by `;`).
    """
    import gseapy

    # gseapy turns numbers into Entrez ids and changes case: names of our own pass unchanged
    names = list(values.index)
    token = {name: f"P{place}" for place, name in enumerate(names)}
    own = {f"S{place}": [token[name] for name in names_ if name in token] for place, names_ in enumerate(members)}
    most = min(settings["max_set_size"], len(names) - 1)
    own = {key: genes for key, genes in own.items() if settings["min_set_size"] <= len(genes) <= most}
    columns = ["set", "K", "N", "es", "nes", "p", "q_gseapy", "leading"]
    if not own:
        return pd.DataFrame(columns=columns)
    ranking = pd.DataFrame({"protein": [token[name] for name in names], "value": values.to_numpy(float)})
    found = gseapy.prerank(
        rnk=ranking,
        gene_sets=own,
        min_size=settings["min_set_size"],
        max_size=most,
        permutation_num=settings["permutations"],
        seed=settings["seed"],
        threads=threads,
        outdir=None,
        no_plot=True,
    ).res2d

    def named(lead: str) -> str:
        return ";".join(names[int(short[1:])] for short in str(lead).split(";") if short)

    # gseapy tells the share and not of how many: about half of the random sets score on the same side. Where one side
    # is rarer its p comes out too small, and that of the other too large, so that over both sides they hold
    like = settings["permutations"] / 2
    table = pd.DataFrame(
        {
            "set": [int(term[1:]) for term in found["Term"]],
            "K": [len(own[term]) for term in found["Term"]],
            "N": len(names),
            "es": found["ES"].astype(float).to_numpy(),
            "nes": found["NES"].astype(float).to_numpy(),
            "p": ((1 + like * found["NOM p-val"].astype(float).fillna(1.0)) / (1 + like)).to_numpy(),
            "q_gseapy": found["FDR q-val"].astype(float).to_numpy(),
            "leading": [named(lead) for lead in found["Lead_genes"]],
        },
        columns=columns,
    )
    return table.sort_values(["p", "set"], ignore_index=True)
