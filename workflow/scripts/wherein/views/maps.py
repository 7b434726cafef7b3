"""Figures of the atlas: maps of cells and of proteins, and the clustered heat map."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.cluster.hierarchy import dendrogram

from wherein.labels import VOCABULARIES, vocabulary
from wherein.views.style import (
    MULTI,
    UNKNOWN,
    class_shades,
    class_styles,
    figure_file,
    heading,
    nothing_to_show,
    spread_labels,
)

HEATMAP_NAMES = 140
"""Most proteins that a heat map can name legibly."""

NO_MAP = "there were too few cells, fields or proteins for a UMAP"


def location_order(vocabularies: Iterable[str | None], seen: Iterable[str]) -> list[str]:
    """Locations in the order of their vocabularies, so that a location has the same colour and shape everywhere.

    Args:
        vocabularies: names; null and unknown ones are passed over.
        seen: locations that occur.

    Returns:
        Every class of the vocabularies, then what else was seen, by name.
    """
    known = [name for words in vocabularies if words in VOCABULARIES for name in vocabulary(words).classes]
    return list(dict.fromkeys([*known, *sorted(set(seen))]))


def how_laid_out(proteins: anndata.AnnData, units: pd.DataFrame | None = None) -> str:
    """How a map came about, as a sentence; "" where the atlas does not say.

    Args:
        proteins: results/atlas/{model}/proteins.h5ad.
        units: results/atlas/{model}/units.parquet, for the map of these.
    """
    said = json.loads(str(proteins.uns.get("wherein", "{}")))
    layout = said.get("layout")
    if not layout:
        return ""
    places = proteins.obsm.get("X_umap", np.empty((0, 2)))
    text = f"{layout}, seed {said['settings']['seed']}, of {said['settings']['components']} principal components"
    if units is not None and "drawn" in units and not units["drawn"].fillna(False).all():
        laid, rest = int(units["drawn"].sum()), int((~units["drawn"].fillna(False).astype(bool)).sum())
        text += f"; {laid:,} laid out and {rest:,} placed among their nearest neighbours"
    return f"{text}{'; the first two of three axes' if places.shape[1] > 2 else ''}."


def draw_units(
    units: pd.DataFrame,
    level: str,
    model: str,
    settings: dict[str, Any],
    order: Sequence[str],
    path: str,
    layout: str = "",
) -> None:
    """Map of cells or fields: proteins in one location in its colour and shape, in several grey, controls circled.

    Args:
        units: results/atlas/{model}/units.parquet.
        level: `cell` or `field`.
        model: name of the model.
        settings: the section `report` of the configuration.
        order: all locations, as `location_order` gives them.
        path: PNG file.
        layout: how the map came about.
    """
    known = sampled(units.dropna(subset=["umap_1", "umap_2"]), settings["points_per_class"])
    with figure_file(path, 10.4, 7.4, settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: map of {len(known):,} {level}s",
            f"Each point is a {level}; near points look alike to the model. Coloured where the protein has one "
            "published location, grey where it has several; controls without a specific signal are circled. A "
            f"location that the model knows well forms its own region. {layout}",
        )
        axes = figure.subplots()
        if not len(known):
            nothing_to_show(axes, NO_MAP)
            return
        location = known["location"].pipe(told)
        control = known["control"].fillna(False).astype(bool)
        size = float(np.clip(26000 / len(known), 3, 22))
        _scatter(axes, known["umap_1"], known["umap_2"], location, order, size, alpha=0.75)
        axes.scatter(known["umap_1"][control], known["umap_2"][control], s=size * 2.2, facecolors="none",
                     edgecolors="black", linewidths=0.8)  # fmt: skip
        _legend(axes, location, order, control=bool(control.any()))
        _plain_map(axes)
        _name_regions(axes, known, location)


def draw_proteins(
    proteins: anndata.AnnData, model: str, settings: dict[str, Any], order: Sequence[str], path: str
) -> None:
    """Map of proteins with the names of as many as fit without covering each other.

    Args:
        proteins: results/atlas/{model}/proteins.h5ad.
        model: name of the model.
        settings: the section `report` of the configuration.
        order: all locations, as `location_order` gives them.
        path: PNG file.
    """
    places = np.asarray(proteins.obsm["X_umap"], float) if "X_umap" in proteins.obsm else np.empty((0, 2))
    known = np.isfinite(places).all(axis=1) if len(places) else np.zeros(proteins.n_obs, bool)
    with figure_file(path, 10.4, 7.4, settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: map of {int(known.sum()):,} proteins",
            "Each point is a protein, the mean over its cells or fields; near proteins look alike to the model. A "
            "protein among those of another location is worth a look: a second location, a wrong label, or an "
            f"unspecific antibody. {how_laid_out(proteins)}",
        )
        axes = figure.subplots()
        if not known.any():
            nothing_to_show(axes, NO_MAP)
            return
        obs, x, y = proteins.obs[known], places[known, 0], places[known, 1]
        location = told(obs["location"])
        _scatter(axes, pd.Series(x, obs.index), pd.Series(y, obs.index), location, order,
                 float(np.clip(9000 / len(obs), 8, 46)), alpha=0.9)  # fmt: skip
        _legend(axes, location, order, control=False)
        _plain_map(axes)
        turns = np.random.default_rng(0).permutation(len(obs))
        spread_labels(axes, [(x[i], y[i], str(obs.index[i])) for i in turns], settings["named_proteins"])


def told(location: pd.Series) -> pd.Series:
    """Locations as texts, null and "" as `no label`."""
    texts = location.astype(object)
    return texts.where(texts.notna() & texts.ne(""), UNKNOWN)


def sampled(units: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most `most` rows of each location, drawn with a fixed seed, in a random order so that no class lies on top."""
    location = told(units["location"])
    mixed = units.iloc[np.random.default_rng(0).permutation(len(units))]
    return mixed[mixed.groupby(location.loc[mixed.index]).cumcount() < most]


def _scatter(
    axes: Axes, x: pd.Series, y: pd.Series, location: pd.Series, order: Sequence[str], size: float, alpha: float
) -> None:
    styles = class_styles(order)
    # grey first, so that what has a colour lies on top
    for name in sorted(styles, key=lambda name: name not in (MULTI, UNKNOWN)):
        here = location.eq(name)
        colour, shape = styles[name]
        axes.scatter(x[here], y[here], s=size, c=colour, marker=shape, alpha=alpha, linewidths=0)


def _classes(location: pd.Series) -> list[str]:
    return sorted(set(location) - {MULTI, UNKNOWN})


def _legend(axes: Axes, location: pd.Series, order: Sequence[str], control: bool) -> None:
    counts = location.value_counts()
    handles = [
        Line2D([], [], marker=shape, linestyle="", color=colour, markersize=6, label=f"{name} ({counts[name]:,})")
        for name, (colour, shape) in class_styles(order).items()
        if name in counts
    ]
    if control:
        handles.append(Line2D([], [], marker="o", linestyle="", markerfacecolor="none", color="black", label="control"))
    axes.legend(handles=handles, title="location", loc="upper left", bbox_to_anchor=(1.0, 1.0), title_fontsize=9)


def _name_regions(axes: Axes, known: pd.DataFrame, location: pd.Series) -> None:
    """Write each class's name at the middle of its points: shapes alone do not tell 19 classes."""
    middles = []
    for name in _classes(location):
        points = known.loc[location.eq(name), ["umap_1", "umap_2"]].to_numpy()
        # the point nearest to the median lies inside the region even where that is bent
        middle = points[np.argmin(((points - np.median(points, axis=0)) ** 2).sum(1))]
        middles.append((middle[0], middle[1], name))
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.78, "edgecolor": "none"}
    spread_labels(axes, middles, len(middles), fontweight="bold", bbox=box)


def _plain_map(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[], xlabel="UMAP 1 (no unit)", ylabel="UMAP 2 (no unit)")
    axes.margins(0.04)


def draw_heatmap(
    proteins: anndata.AnnData, model: str, settings: dict[str, Any], order: Sequence[str], path: str
) -> None:
    """Proteins in the order of their tree, their features as colours, location and cluster beside them.

    Args:
        proteins: results/atlas/{model}/proteins.h5ad.
        model: name of the model.
        settings: the section `report` of the configuration.
        order: all locations, as `location_order` gives them.
        path: PNG file.
    """
    count = proteins.n_obs
    height = float(np.clip(0.115 * count, 5.5, 15)) + 1.2
    with figure_file(path, 12.0, height, settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: {count:,} proteins, clustered by what they look like",
            "Rows are proteins in the order of the tree (left), columns are features, coloured by how far a protein "
            "lies from the mean of all, in standard deviations. Stripes: cluster and published location. One colour of "
            "location within a cluster means that the model found the location by itself.",
        )
        if count < 2:
            nothing_to_show(figure.subplots(), "one protein alone cannot be clustered")
            return
        _draw_tree_and_values(figure, proteins, class_shades(order))


def _draw_tree_and_values(figure: Figure, proteins: anndata.AnnData, shades: dict[str, str]) -> None:
    order = np.argsort(np.asarray(proteins.obs["leaf"], int), kind="stable")
    values = heat_values(np.asarray(proteins.X, np.float64), order)
    tree_axes, cluster_axes, location_axes, heat_axes, legend_axes = figure.subplots(
        1, 5, width_ratios=[1.5, 0.16, 0.22, 7.0, 2.6]
    )
    _draw_tree(tree_axes, proteins)
    location = told(proteins.obs["location"]).iloc[order]
    _stripe(location_axes, [shades[name] for name in location], "location")
    clusters = proteins.obs["cluster"].astype(str).iloc[order]
    turns = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    _stripe(cluster_axes, ["#3E4855" if turns[name] % 2 else "#B9C0C8" for name in clusters], "cluster")
    for name in turns:
        middle = float(np.mean(np.flatnonzero(clusters.to_numpy() == name)))
        cluster_axes.text(-0.7, middle, name, ha="right", va="center", fontsize=7.5)
    image = heat_axes.imshow(values, aspect="auto", cmap="PuOr_r", vmin=-3, vmax=3, interpolation="nearest")
    heat_axes.set(xticks=[], xlabel=f"{proteins.n_vars:,} features, in the order of their own tree")
    heat_axes.yaxis.tick_right()
    named = len(order) <= HEATMAP_NAMES
    heat_axes.set_yticks(range(len(order)) if named else [], proteins.obs_names[order] if named else [], fontsize=6)
    heat_axes.tick_params(length=0)
    legend_axes.set_axis_off()
    counts = location.value_counts()
    handles = [Patch(color=shades[name], label=f"{name} ({counts[name]})") for name in shades if name in counts]
    legend_axes.legend(handles=handles, title="location", loc="upper left", fontsize=7)
    figure.colorbar(image, ax=legend_axes, location="bottom", shrink=0.7, label="standard deviations\nfrom the mean")


def heat_values(vectors: np.ndarray, order: np.ndarray, most_features: int = 400) -> np.ndarray:
    """Standardized features with rows and columns in the order of trees.

    Args:
        vectors: (proteins, features).
        order: (proteins,) row order.
        most_features: of more features, those that vary most are shown.

    Returns:
        (proteins, features shown) z-scores; constant features are left out.
    """
    spread = np.nan_to_num(vectors).std(axis=0)
    scale = np.abs(np.nan_to_num(vectors)).max(axis=0)
    alive = np.flatnonzero(spread > 1e-9 * np.maximum(scale, 1e-300))
    if not len(alive):
        return np.zeros((len(order), 1))
    z = (vectors[:, alive] - np.nanmean(vectors[:, alive], axis=0)) / spread[alive]
    if z.shape[1] > most_features:
        heavy = np.argsort(-np.abs(z).max(axis=0), kind="stable")[:most_features]
        z = z[:, np.sort(heavy)]
    if z.shape[1] > 2:
        from fastcluster import linkage_vector
        from scipy.cluster.hierarchy import leaves_list

        z = z[:, leaves_list(linkage_vector(np.ascontiguousarray(np.nan_to_num(z).T), "ward"))]
    return np.nan_to_num(z)[order]


def _draw_tree(axes: Axes, proteins: anndata.AnnData) -> None:
    axes.set_axis_off()
    if "linkage" not in proteins.uns or len(proteins.uns["linkage"]) != proteins.n_obs - 1:
        axes.text(0.5, 0.5, "no tree\nwas kept", ha="center", fontsize=8)
        return
    with plt.rc_context({"lines.linewidth": 0.7}):
        # thousands of proteins make a deep tree, and scipy draws it by recursion
        import sys

        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, 4 * proteins.n_obs + 1000))
        try:
            dendrogram(np.asarray(proteins.uns["linkage"], float), orientation="left", ax=axes, no_labels=True,
                       link_color_func=lambda _: "#555E69")  # fmt: skip
        finally:
            sys.setrecursionlimit(limit)
    axes.set_ylim(10 * proteins.n_obs, 0)


def _stripe(axes: Axes, colours: list[str], name: str) -> None:
    from matplotlib.colors import to_rgb

    axes.imshow(np.asarray([[to_rgb(colour)] for colour in colours]), aspect="auto", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(name, rotation=90, fontsize=7.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
