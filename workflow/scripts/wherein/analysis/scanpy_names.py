"""What scanpy looks for in proteins.h5ad: components, map and graph of nearest neighbours under its own names."""

import warnings
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from wherein.analysis.layout import Layout

Neighbours = tuple[np.ndarray, np.ndarray]
"""(N, k) indices and distances, each point its own first, as `wherein.analysis.projection.nearest` gives them."""


def name_components(data: Any, variance_ratio: np.ndarray) -> None:
    """Write `uns['pca']` as scanpy's `pp.pca` does.

    Args:
        data: AnnData with obsm X_pca, (N, K), changed.
        variance_ratio: (K,) shares of the total variance.
    """
    scores = np.asarray(data.obsm["X_pca"], np.float64)
    variance = scores.var(axis=0, ddof=1) if len(scores) > 1 else np.zeros(scores.shape[1])
    data.uns["pca"] = {"variance": variance, "variance_ratio": variance_ratio}


def name_map(data: Any, layout: Layout, neighbours: Neighbours | None) -> None:
    """Write `uns['umap']`, `uns['neighbors']` and the two matrices in obsp as scanpy's `pp.neighbors` and `tl.umap` do.

    Args:
        data: AnnData with obsm X_pca, changed; as it is without neighbours.
        layout: settings of UMAP.
        neighbours: from which the map was laid out; None where there are none.
    """
    if neighbours is None:
        return
    # umap takes seconds to import: who comes here has mapped
    from umap.umap_ import find_ab_params

    data.obsp["connectivities"], data.obsp["distances"] = neighbour_graph(*neighbours, layout.seed)
    data.uns["neighbors"] = {
        "connectivities_key": "connectivities",
        "distances_key": "distances",
        "params": {
            "n_neighbors": neighbours[0].shape[1],
            "method": "umap",
            "metric": "euclidean",
            "random_state": layout.seed,
            "use_rep": "X_pca",
        },
    }
    a, b = find_ab_params(1.0, layout.min_dist)
    data.uns["umap"] = {
        "params": {"a": float(a), "b": float(b), "min_dist": layout.min_dist, "random_state": layout.seed}
    }


def neighbour_graph(indices: np.ndarray, distances: np.ndarray, seed: int) -> tuple[csr_matrix, csr_matrix]:
    """UMAP's weights of the links between neighbours, and their distances.

    Args:
        indices: (N, k), each point its own first.
        distances: (N, k) euclidean.
        seed: of a search for neighbours that is not made here.

    Returns:
        connectivities: (N, N) float32, symmetric, in (0, 1] (McInnes et al. 2018, section 3.1).
        distances: (N, N) float64, k - 1 in each row, of copies of a point an explicit 0.
    """
    from umap.umap_ import fuzzy_simplicial_set

    number, count = indices.shape
    near = indices[:, 1:].ravel(), np.asarray(distances[:, 1:], np.float64).ravel()
    starts = np.arange(number + 1) * (count - 1)
    apart = csr_matrix((near[1], near[0], starts), shape=(number, number))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="umap")
        found = fuzzy_simplicial_set(
            # the points themselves are not asked for where their neighbours are known
            np.zeros((number, 1), np.float32),
            count,
            np.random.RandomState(seed),
            "euclidean",
            knn_indices=indices,
            knn_dists=distances.astype(np.float32),
        )
    linked = csr_matrix(found[0])
    for each in (linked, apart):
        each.sort_indices()
    return linked, apart
