"""The feature spectrum: features in the order of their own tree, and locations told by them (Kobayashi et al. 2022)."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from wherein.analysis.clustering import cut, hierarchical_clustering

ORGANELLES = (
    *("protein", "location", "predicted_1", "r_1", "predicted_2", "r_2", "predicted_3", "r_3"),
    *("rank", "r_location"),
)
"""results/atlas/{model}/organelles.tsv"""


class Spectrum(NamedTuple):
    """Features in their order.

    Attributes:
        features: (K,) places of the features in the order of the tree.
        correlation: (K, K) float32, Pearson's r of two features over the proteins, in that order.
        cluster: (K,) int64, cluster of each, numbered from 1 in that order.
        tree: (K - 1, 4) as scipy writes it; leaf k is the k-th in that order.
    """

    features: np.ndarray
    correlation: np.ndarray
    cluster: np.ndarray
    tree: np.ndarray


def feature_spectrum(vectors: np.ndarray, clusters: int, most: int, order_up_to: int) -> Spectrum:
    """Order features by how alike their profiles over the proteins are (Methods, "Feature spectrum").

    As seaborn's clustermap does by its defaults, which the paper took: the rows of the matrix of correlations are
    joined by average linkage of their Euclidean distances.

    Args:
        vectors: (N, D), one row a protein.
        clusters: clusters that the tree of features is cut into.
        most: most features; of more, those that vary most are taken. Constant ones are left out.
        order_up_to: as `hierarchical_clustering` takes it.
    """
    values = np.asarray(vectors, np.float64)
    spread = values.std(axis=0) if len(values) > 1 else np.zeros(values.shape[1])
    size = np.abs(values).max(axis=0, initial=0)
    alive = np.flatnonzero(spread > 1e-9 * np.maximum(size, 1e-300))
    kept = np.sort(alive[np.argsort(-spread[alive], kind="stable")[:most]])
    if not len(kept):
        return Spectrum(kept, np.zeros((0, 0), np.float32), np.zeros(0, np.int64), np.zeros((0, 4)))
    z = (values[:, kept] - values[:, kept].mean(axis=0)) / spread[kept]
    r = np.clip(z.T @ z / len(z), -1, 1)
    tree, leaf = hierarchical_clustering(r, "average", "euclidean", order_up_to)
    order = np.argsort(leaf)
    number = cut(tree, leaf, clusters, None)[order]
    tree = tree.copy()
    leaves = tree[:, :2] < len(kept)
    tree[:, :2][leaves] = leaf[tree[:, :2][leaves].astype(np.int64)]
    return Spectrum(kept[order], r[np.ix_(order, order)].astype(np.float32), number, tree)


def location_spectra(vectors: np.ndarray, locations: np.ndarray, names: list[str]) -> np.ndarray:
    """Mean vector of the proteins of each location: (N, D) and (N,) names to (L, D) float64."""
    return np.stack([vectors[locations == name].mean(axis=0, dtype=np.float64) for name in names])


def organelles(vectors: np.ndarray, locations: np.ndarray, names: list[str]) -> np.ndarray:
    """Correlation of each protein's spectrum with that of each location, itself left out of its own.

    Args:
        vectors: (N, D).
        locations: (N,) the one location of each protein; what is not among `names` is no reference.
        names: L locations of two proteins at least.

    Returns:
        (N, L) float64, Pearson's r; 0 where one of the two does not vary.
    """
    values = np.asarray(vectors, np.float64)
    means = location_spectra(values, locations, names)
    r = _unit(values) @ _unit(means).T
    for column, name in enumerate(names):
        own = np.flatnonzero(locations == name)
        others = (means[column] * len(own) - values[own]) / (len(own) - 1)
        r[own, column] = (_unit(values[own]) * _unit(others)).sum(axis=1)
    return r


def organelle_table(r: np.ndarray, locations: np.ndarray, names: list[str], proteins: list[str]) -> pd.DataFrame:
    """Rows of organelles.tsv: the three most alike locations of each protein, and the place of its own among all.

    Args:
        r: (N, L) as `organelles` gives it.
        locations: (N,) location of each protein, None where it has several or none.
        names: the L locations.
        proteins: names.
    """
    order = np.argsort(-r, axis=1, kind="stable")
    place = {name: column for column, name in enumerate(names)}
    own = np.asarray([place.get(name, -1) for name in locations])
    table = pd.DataFrame({"protein": proteins, "location": [name if name in place else None for name in locations]})
    rows = np.arange(len(r))
    for turn in range(3):
        there = turn < len(names)
        best = order[:, turn] if there else None
        table[f"predicted_{turn + 1}"] = [names[column] for column in best] if there else None
        table[f"r_{turn + 1}"] = r[rows, best] if there else np.nan
    rank = (order == own[:, None]).argmax(axis=1) + 1 if len(names) else np.zeros(len(r), int)
    table["rank"] = pd.array(np.where(own >= 0, rank, -1), "Int64")
    table.loc[own < 0, "rank"] = pd.NA
    table["r_location"] = np.where(own >= 0, r[rows, own] if len(names) else np.nan, np.nan)
    return table[list(ORGANELLES)]


class Accuracy(NamedTuple):
    """How often the own location is among the first.

    Attributes:
        n: proteins judged.
        locations: locations among which they were told.
        top: shares within the first, two and three.
        chance: mean of the first of these where locations are dealt anew among the proteins.
        p: share of such deals, the found one among them, that do as well.
    """

    n: int
    locations: int
    top: tuple[float, float, float]
    chance: float
    p: float


def organelle_accuracy(
    vectors: np.ndarray, locations: np.ndarray, names: list[str], permutations: int, seed: int
) -> Accuracy:
    """Accuracy of `organelles` over the proteins of `names`, and what chance gives.

    Args:
        vectors, locations, names: as `organelles` takes them; other proteins are passed over.
        permutations: deals of the locations.
        seed: of the deals.
    """
    judged = np.isin(locations, names)
    values, true = np.asarray(vectors, np.float64)[judged], locations[judged]
    if len(names) < 2:
        return Accuracy(int(judged.sum()), len(names), (np.nan, np.nan, np.nan), np.nan, np.nan)

    def ranks(known: np.ndarray) -> np.ndarray:
        r = organelles(values, known, names)
        own = r[np.arange(len(r)), [names.index(name) for name in known]]
        # itself is one; a location that is as much alike counts as before it, or spectra without a shape were all right
        return (r >= own[:, None]).sum(axis=1) - 1

    found = ranks(true)
    top = tuple(float((found < turn).mean()) for turn in (1, 2, 3))
    rng = np.random.default_rng(seed)
    dealt = np.asarray([(ranks(rng.permutation(true)) < 1).mean() for _ in range(permutations)])
    p = (1 + (dealt >= top[0] - 1e-12).sum()) / (1 + permutations)
    return Accuracy(len(true), len(names), top, float(dealt.mean()) if permutations else np.nan, float(p))


def _unit(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
