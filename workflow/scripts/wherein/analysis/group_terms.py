"""Terms that groups of proteins have in common, each against the proteins the group was drawn from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.stats import false_discovery_control, hypergeom

from wherein.analysis.enrichment import GeneSet, members_in_universe, worth_testing

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
        k, n, K = _overlaps([[place[one] for one in own] for own in asked.values()],
                            [[place[one] for one in members[index]] for index in tested], len(names))  # fmt: skip
        p = upper_tail(k, K[None], n[:, None], len(names))
        q = false_discovery_control(p.ravel()).reshape(p.shape)
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
                        "n": n[row],
                        "K": K[hits],
                        "N": len(names),
                        "genes": [";".join(one for one in members[tested[hit]] if one in found) for hit in hits],
                        "odds_ratio": _odds(k[row, hits], n[row], K[hits], len(names)),
                        "p": p[row, hits],
                        "q": q[row, hits],
                        "n_tests": p.size,
                    }
                )
            )
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(COLUMNS[2:]))


def upper_tail(k: np.ndarray, K: np.ndarray, n: np.ndarray, N: int) -> np.ndarray:
    """Probability of k or more in common, by one call for each distinct (k, K, n).

    Args:
        k: in common.
        K: of the set.
        n: of the group.
        N: of the universe.

    Returns:
        Of the shape that the three have together.
    """
    k, K, n = np.broadcast_arrays(k, K, n)
    triples, back = np.unique(np.stack([k.ravel(), K.ravel(), n.ravel()]), axis=1, return_inverse=True)
    p = hypergeom.sf(triples[0] - 1, N, triples[1], triples[2])
    return np.minimum(p, 1.0)[back.ravel()].reshape(k.shape)


def _overlaps(
    groups: list[list[int]], sets: list[list[int]], universe: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    def matrix(members: list[list[int]]) -> csr_matrix:
        rows = np.repeat(np.arange(len(members)), [len(own) for own in members])
        columns = np.asarray([one for own in members for one in own], np.int64)
        return csr_matrix((np.ones(len(rows), np.int64), (rows, columns)), shape=(len(members), universe))

    own, theirs = matrix(groups), matrix(sets)
    k = np.asarray((own @ theirs.T).todense(), np.int64)
    return k, np.asarray(own.sum(axis=1)).ravel(), np.asarray(theirs.sum(axis=1)).ravel()


def _odds(k: np.ndarray, n: int, K: np.ndarray, N: int) -> np.ndarray:
    """Odds ratio with 1/2 added to each of the four counts (Haldane, Anscombe), so that it is finite."""
    return (k + 0.5) * (N - n - K + k + 0.5) / ((n - k + 0.5) * (K - k + 0.5))
