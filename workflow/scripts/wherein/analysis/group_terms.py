"""Terms that groups of proteins have in common, each against the proteins the group was drawn from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from wherein.analysis.gene_sets import GeneSet, members_in_universe, worth_testing
from wherein.analysis.overrepresentation import membership, odds_ratios, over_all, overrepresentation

COLUMNS = (
    *("grouping", "label", "cluster", "gene_set_library", "term", "term_id", "k", "n", "K", "N"),
    *("genes", "odds_ratio", "p", "q", "n_tests"),
)
"""results/biology/{model}/enrichment_groups.tsv"""


def group_terms(
    groups: Mapping[str, Sequence[str]],
    symbols: Mapping[str, frozenset[str]],
    libraries: Mapping[str, list[GeneSet]],
    settings: Mapping[str, Any],
) -> pd.DataFrame:
    """Test groups of proteins against gene sets by the hypergeometric test, one question for each library.

    Args:
        groups: name -> its proteins, all of the universe; those below `min_cluster_size` are not tested.
        symbols: the universe: protein -> its genes' symbols in upper case.
        libraries: name -> gene sets.
        settings: min_set_size, max_set_size, min_cluster_size.

    Returns:
        One row a library, group and set with a protein in common, by library, group and p: the columns of COLUMNS
        without grouping and label. `p`: k or more of n proteins drawn from N, of which K are in the set; `q`:
        Benjamini-Hochberg over all `n_tests` pairs of a group and a set of the library, those without overlap
        included.
    """
    names = list(symbols)
    place = {name: number for number, name in enumerate(names)}
    asked = {name: own for name, own in groups.items() if len(own) >= settings["min_cluster_size"]}
    parts = []
    for library, sets in libraries.items():
        members = members_in_universe(sets, dict(symbols))
        tested = worth_testing(members, len(names), settings["min_set_size"], settings["max_set_size"])
        if not tested or not asked:
            continue
        of_sets = membership([[place[one] for one in members[index]] for index in tested], len(names))
        of_groups = membership([[place[one] for one in own] for own in asked.values()], len(names))
        counted = overrepresentation(of_sets, of_groups)
        k, p, q, odds = counted.k, counted.p, over_all(counted.p), odds_ratios(counted)
        for row, (group, own) in enumerate(asked.items()):
            hits = np.flatnonzero(k[row])
            hits = hits[np.lexsort((hits, p[row, hits]))]
            found = set(own)
            parts.append(
                pd.DataFrame(
                    {
                        "cluster": group,
                        "gene_set_library": library,
                        "term": [sets[tested[hit]].term for hit in hits],
                        "term_id": [sets[tested[hit]].term_id for hit in hits],
                        "k": k[row, hits],
                        "n": counted.n[row],
                        "K": counted.K[hits],
                        "N": len(names),
                        "genes": [";".join(one for one in members[tested[hit]] if one in found) for hit in hits],
                        "odds_ratio": odds[row, hits],
                        "p": p[row, hits],
                        "q": q[row, hits],
                        "n_tests": p.size,
                    }
                )
            )
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(COLUMNS[2:]))
