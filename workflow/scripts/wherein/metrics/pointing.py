"""How much of attention maps lies on what they should lie on."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from wherein.metrics import bootstrap
from wherein.metrics.paired import wilcoxon_better

TARGETS = ("signal", "compartment")
"""What a map is held against: where the protein's image is bright, and where a simulated field has the location."""

POINTING_COLUMNS = [
    *("kind", "class", "n", "n_genes"),
    *(
        f"{target}{what}"
        for target in TARGETS
        for what in ("_n", "", "_low", "_high", "_even", "_even_low", "_even_high", "_p")
    ),
    "compartment_cells",
]


class Pointing(NamedTuple):
    """How well maps point at what is marked.

    Attributes:
        share: (...) share of each map's sum that lies on the mask; NaN where the map is zero everywhere.
        by_chance: (...) share of the pixels that the mask covers: what an even map would have.
    """

    share: np.ndarray
    by_chance: np.ndarray


def pointing(maps: np.ndarray, masks: np.ndarray) -> Pointing:
    """How much of each map lies on a mask: the protein's signal, or the compartment that a class names.

    Args:
        maps: (..., H, W), zero or more, of the masks' size.
        masks: (..., H, W) bool, of a shape that goes together with that of `maps`.

    Returns:
        The shares, in the shape of both without the last two axes.

    Raises:
        ValueError: a map has a value below zero, or height and width differ.
    """
    maps, masks = np.asarray(maps, np.float64), np.asarray(masks, bool)
    if maps.shape[-2:] != masks.shape[-2:]:
        raise ValueError(f"maps are {maps.shape[-2:]}, masks {masks.shape[-2:]}: bring maps to the masks' size first")
    if (maps < 0).any():
        raise ValueError("maps have values below zero: attention has none")
    total = maps.sum(axis=(-2, -1))
    on = (maps * masks).sum(axis=(-2, -1))
    total, on, by_chance = np.broadcast_arrays(total, on, masks.mean(axis=(-2, -1)))
    return Pointing(np.divide(on, total, out=np.full(on.shape, np.nan), where=total > 0), by_chance)


def pointing_table(rows: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """Mean shares of each kind of map, over the classes and of each, with intervals over genes.

    Args:
        rows: one row a map: `kind`, `class`, `cluster` (the gene group), and for each of TARGETS its share and
            `{target}_even`, the share of an even map; NaN where there is none. `compartment_cells`: the share of a map
            that is even over the cells.
        draws: of genes with replacement.
        seed: of the draws.

    Returns:
        POINTING_COLUMNS, kinds in the order of the rows; `class` is empty in the row of the mean over the classes,
        which comes first. An interval takes two genes at least. `{target}_p` stands in the row of the mean alone:
        one-sided paired Wilcoxon test over the classes that maps lie on the target no more than even ones do.
    """
    parts = [_of_kind(own, draws, seed).assign(kind=kind) for kind, own in rows.groupby("kind", sort=False)]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return table.reindex(columns=POINTING_COLUMNS)


def _of_kind(own: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    classes = list(dict.fromkeys(own["class"]))
    genes = own.groupby("class", sort=False)["cluster"].nunique()
    table = pd.DataFrame({"class": ["", *classes]})
    table["n"] = [len(own), *own["class"].value_counts()[classes]]
    table["n_genes"] = [own["cluster"].nunique(), *genes]
    chosen = bootstrap.draw_clusters(own["cluster"].to_numpy(str), draws, seed)
    for target in TARGETS:
        # an even map counts where there is a share beside it
        both = own[[target, f"{target}_even"]].to_numpy(np.float64)
        known = np.isfinite(both).all(axis=1)
        table[f"{target}_n"] = [known.sum(), *(own["class"][known].value_counts().reindex(classes, fill_value=0))]
        means = []
        for column, name in ((0, target), (1, f"{target}_even")):
            values = np.where(known, both[:, column], np.nan)
            table[name], table[f"{name}_low"], table[f"{name}_high"] = _means(values, own, classes, chosen)
            means.append(table[name].to_numpy(np.float64)[1:])
        table.loc[0, f"{target}_p"] = wilcoxon_better(*means)
    cells = np.where(known, own["compartment_cells"].to_numpy(np.float64), np.nan)
    table["compartment_cells"], _, _ = _means(cells, own, classes, chosen)
    return table


def _means(
    values: np.ndarray, own: pd.DataFrame, classes: list[str], chosen: bootstrap.Draws
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the classes, then that of each, with both ends of their intervals: (1 + K,) each."""
    known = np.isfinite(values)
    place = own["class"].map({name: number for number, name in enumerate(classes)}).to_numpy()
    sums, counts = (np.zeros((chosen.weights.shape[1], len(classes))) for _ in range(2))
    np.add.at(sums, (chosen.cluster[known], place[known]), values[known])
    np.add.at(counts, (chosen.cluster[known], place[known]), 1)
    points = _ratio(sums.sum(axis=0), counts.sum(axis=0))
    drawn = _ratio(chosen.weights @ sums, chosen.weights @ counts)
    mean = bootstrap.macro(points[None])
    found = np.concatenate([mean, points])
    low, high = bootstrap.interval(np.concatenate([bootstrap.macro(drawn)[:, None], drawn], axis=1), found)
    # draws of one gene are all alike: that tells nothing of others
    alone = np.concatenate([[np.count_nonzero(counts.any(axis=1))], np.count_nonzero(counts, axis=0)]) < 2
    return found, np.where(alone, np.nan, low), np.where(alone, np.nan, high)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.shape(bottom), np.nan), where=bottom > 0)
