"""The pages of gene sets and of complexes: what their templates are given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from wherein.views.gene_set_figures import strongest
from wherein.views.model import read_tsv
from wherein.views.model_pages import records
from wherein.views.site_tables import paths_of

TABLES = (
    *("enrichment_libraries", "identifiers", "prerank", "complexes"),
    *("complex_neighbours", "complex_curve", "set_pairs"),
)
"""Tables of each model that these pages are made from."""

HOW = {
    "translated": "translated to the present symbol",
    "unknown": "not in the table of genes, kept as they stand",
    "ambiguous": "names of several genes, kept as they stand",
    "no_symbol": "proteins without a symbol",
    "in_no_set": "proteins that are in no set",
}
"""What became of a name, in words."""

SHOWN = 8
"""Names, rankings' sets at each end, and nearest pairs are shown up to a multiple of this."""


def gene_set_pages(inputs: Mapping[str, Any], max_q: float) -> list[dict[str, Any]]:
    """What the pages show of each model.

    Args:
        inputs: paths of TABLES, one a model.
        max_q: q at which a finding is set in bold.

    Returns:
        For each model: name, max_q, libraries, losses, rankings, same (the test of pairs of the same complex, None
        without complexes), curve, complexes (chosen ones and the most alike), pairs (of gene sets), nearest.
    """
    paths = {name: {Path(path).parent.name: path for path in paths_of(dict(inputs), name)} for name in TABLES}
    told = []
    for model in paths["enrichment_libraries"]:
        tables = {name: read_tsv(own[model]) for name, own in paths.items()}
        tests = records(tables["set_pairs"])
        asked = bool(tests) and tests[0]["p_permuted"] is not None
        told.append(
            {
                "name": model,
                "max_q": max_q,
                "libraries": records(tables["enrichment_libraries"]),
                "losses": losses(tables["identifiers"]),
                "rankings": rankings(tables["prerank"], max_q),
                "same": tests[0] if asked else None,
                "curve": records(tables["complex_curve"]),
                "complexes": shown_complexes(tables["complexes"]),
                "n_complexes": len(tables["complexes"]),
                "n_chosen": int(tables["complexes"]["chosen"].astype(bool).sum()),
                "pairs": tests[1:],
                "nearest": records(tables["complex_neighbours"].head(5 * SHOWN)),
            }
        )
    return told


def losses(identifiers: pd.DataFrame) -> list[dict[str, Any]]:
    """Names that were translated or lost, counted: of proteins, and of each library.

    Args:
        identifiers: results/biology/{model}/identifiers.tsv.

    Returns:
        what, library (empty for none), how (in words), count, examples.
    """
    rows = []
    for (what, library, how), own in identifiers.fillna("").groupby(["what", "library", "how"], sort=True):
        names = [
            f"{row.identifier} → {row.symbol}" if row.symbol else str(row.identifier)
            for row in own.head(SHOWN).itertuples()
        ]
        kind = "proteins" if what == "protein" else "genes of sets"
        rows.append({"what": kind, "library": library, "how": HOW[str(how)], "count": len(own), "examples": names})
    return rows


def rankings(prerank: pd.DataFrame, max_q: float) -> list[dict[str, Any]]:
    """The strongest sets at the ends of each ranking.

    Args:
        prerank: results/biology/{model}/prerank.tsv.
        max_q: q from which a set counts as found.

    Returns:
        name, n (proteins), n_found, permutations, rows.
    """
    best = strongest(prerank, SHOWN)
    return [
        {
            "name": name,
            "n": int(own["N"].iloc[0]),
            "n_tested": len(own),
            "n_found": int((own["q"] <= max_q).sum()),
            "permutations": int(own["permutations"].iloc[0]),
            "rows": records(best[best["ranking"] == name]),
        }
        for name, own in prerank.groupby("ranking", sort=False)
    ]


def shown_complexes(complexes: pd.DataFrame) -> list[dict[str, Any]]:
    """Complexes that were chosen, then those that look most alike, of several with the same proteins the first."""
    distinct = complexes.drop_duplicates("proteins")
    chosen = complexes[complexes["chosen"].astype(bool)]
    other = distinct[~distinct["proteins"].isin(chosen["proteins"])].head(5 * SHOWN)
    return records(pd.concat([chosen, other]) if len(complexes) else complexes)
