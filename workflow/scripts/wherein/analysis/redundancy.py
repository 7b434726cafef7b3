"""Terms that say the same of a cluster: each is named under the best one whose proteins it shares."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

MEASURES = ("jaccard", "overlap")


def representatives(hits: csr_matrix, order: Sequence[int], at_least: float, measure: str) -> np.ndarray:
    """Give each term the first better one that it resembles, by the proteins of the cluster that both hold.

    Greedy, from the best term to the worst: a term that resembles a representative is named under it, any other
    becomes one. `jaccard` is the shared proteins over all of both, `overlap` over those of the smaller (Merico et al.
    2010, PLoS ONE 5:e13984, "Enrichment Map", which compares whole sets).

    Args:
        hits: (terms, proteins of the cluster), 1 where a term holds a protein; none is empty.
        order: places of the terms, the best first.
        at_least: similarity from which a term is redundant, 0 to 1.
        measure: `jaccard` or `overlap`.

    Returns:
        (terms,) int64, place of each term's representative, its own for a representative.

    Raises:
        ValueError: the measure is neither of them.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure {measure!r}: allowed are {', '.join(MEASURES)}")
    sizes = np.asarray(hits.sum(axis=1)).ravel().astype(float)
    shared = (hits @ hits.T).toarray().astype(float)
    least = np.minimum(sizes[:, None], sizes[None])
    whole = least if measure == "overlap" else sizes[:, None] + sizes[None] - shared
    alike = shared / np.maximum(whole, 1) >= at_least
    found = np.full(len(sizes), -1, np.int64)
    for place in order:
        if found[place] < 0:
            found[place] = place
            found[alike[place] & (found < 0)] = place
    return found
