"""Figures of the clusters: the feature spectrum, stability, and clusters within one location."""

import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wherein.atomic import atomic_path
from wherein.tables import read_metadata
from wherein.views.cell_tree_figures import draw_cell_trees
from wherein.views.maps import heat_values
from wherein.views.model import read_tsv
from wherein.views.pages import file_name
from wherein.views.style import BAD, GOOD, GREY, INK, OKABE_ITO, SOFT, figure_file, heading, nothing_to_show

STRIPES = ("#3E4855", "#B9C0C8")
"""Colours of clusters that follow one another."""

MOST_SPECTRA = 24
"""Most locations whose spectra are drawn."""

VALID, DOUBTFUL = 0.75, 0.6
"""Mean Jaccard indices above which Hennig 2007 calls a cluster valid, and below which not to be trusted."""


def plot_clusters(model: str, inputs: dict[str, Any], settings: dict[str, Any], outputs: dict[str, str]) -> None:
    """Draw all figures of the rule.

    Args:
        model: name of the model.
        inputs: paths by the names that the rule gives them.
        settings: the section `report` of the configuration.
        outputs: PNGs spectrum and stability, folders within and cell_trees.
    """
    groups, terms = read_tsv(inputs["groups"]), read_tsv(inputs["terms"])
    draw_spectrum(anndata.read_h5ad(inputs["spectrum"]), model, settings, outputs["spectrum"])
    draw_stability(groups, model, settings, outputs["stability"])
    proteins = anndata.read_h5ad(inputs["proteins"])
    members = read_tsv(inputs["members"])
    with atomic_path(outputs["within"]) as folder:
        folder.mkdir()
        inside = groups[groups["grouping"] == "within"]
        for label in dict.fromkeys(inside["label"]):
            path = folder / f"{file_name(label)}.png"
            draw_within(proteins, members, inside, terms, label, model, settings, path)
    trees = pd.read_parquet(inputs["trees"])
    links = read_metadata(inputs["trees"]).get("trees") or {}
    with atomic_path(outputs["cell_trees"]) as folder:
        folder.mkdir()
        draw_cell_trees(trees, links, inputs, model, settings, folder)


def draw_spectrum(spectrum: anndata.AnnData, model: str, settings: dict[str, Any], path: str) -> None:
    """Correlations of features in the order of their tree, and below them the mean spectrum of each location.

    Args:
        spectrum: results/atlas/{model}/spectrum.h5ad.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    said = json.loads(str(spectrum.uns["wherein"]))["organelles"]
    names = [str(name) for name in spectrum.uns.get("locations", [])][:MOST_SPECTRA]
    height = 6.4 + 0.36 * max(1, len(names))
    with figure_file(path, 9.4, height, settings["dpi"]) as figure:
        heading(figure, f"{model}: spectrum of {spectrum.n_obs:,} features", _in_words(said))
        if spectrum.n_obs < 2:
            nothing_to_show(figure.subplots(), "too few features vary between the proteins")
            return
        rows = [5.2, 0.16, *[0.34] * len(names)]
        axes = figure.subplots(len(rows), 1, height_ratios=rows)
        _correlations(figure, axes[0], spectrum)
        _clusters_of_features(axes[1], spectrum.obs["cluster"].to_numpy(int))
        values = np.asarray(spectrum.obsm["locations"], float) if names else np.zeros((spectrum.n_obs, 0))
        limit = float(np.percentile(np.abs(values), 97)) if values.size else 1.0
        for number, name in enumerate(names):
            _spectrum_of(axes[2 + number], values[:, number], name, limit or 1.0)
        if names:
            axes[-1].set_xlabel("features, in the order of their tree; bars: mean of the location's proteins, in the "
                                f"atlas's scaled units, cut off at {limit:.2g}", color=SOFT)  # fmt: skip


def _in_words(said: dict[str, Any]) -> str:
    text = (
        "Features that rise and fall together over the proteins stand together; each location has a pattern of its own."
    )
    if said["top"][0] is None or not np.isfinite(said["top"][0]):
        return text + " Too few proteins have one published location to tell locations by their spectra."
    first, second, third = (f"{share:.0%}" for share in said["top"])
    return (
        f"{text} Told by its spectrum alone, itself left out, a protein's own location comes first for {first} of "
        f"{said['n']} proteins among {said['locations']} locations (within two {second}, within three {third}; "
        f"{said['chance']:.0%} where locations are dealt anew, p = {said['p']:.2g} by {said['permutations']:,} deals)."
    )


def _correlations(figure: Figure, axes: Axes, spectrum: anndata.AnnData) -> None:
    image = axes.imshow(np.asarray(spectrum.X), aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[], ylabel="features")
    figure.colorbar(image, ax=axes, shrink=0.7, label="Pearson's r")


def _clusters_of_features(axes: Axes, clusters: np.ndarray) -> None:
    axes.imshow(np.asarray([[to_rgb(STRIPES[one % 2]) for one in clusters]]), aspect="auto", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_ylabel("cluster", rotation=0, ha="right", va="center", fontsize=8)
    width = len(clusters)
    for one in np.unique(clusters):
        own = np.flatnonzero(clusters == one)
        if len(own) >= 0.02 * width:
            colour = "white" if one % 2 == 0 else INK
            axes.text(own.mean(), 0, str(one), ha="center", va="center", fontsize=7, color=colour)


def _spectrum_of(axes: Axes, values: np.ndarray, name: str, limit: float) -> None:
    axes.bar(np.arange(len(values)), np.clip(values, -limit, limit), width=1.0, color=OKABE_ITO[0], linewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.5)
    axes.set(xlim=(-0.5, len(values) - 0.5), ylim=(-limit, limit), xticks=[], yticks=[])
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_stability(groups: pd.DataFrame, model: str, settings: dict[str, Any], path: str) -> None:
    """How well each cluster comes again, by grouping.

    Args:
        groups: results/atlas/{model}/groups.tsv.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    known = groups[groups["stability"].notna()]
    height = 2.4 + 0.2 * max(4, len(known))
    with figure_file(path, 8.6, height, settings["dpi"]) as figure:
        drawn = int(known["draws"].max()) if len(known) else 0
        what = known["resampled"].iloc[0] if len(known) else "proteins"
        heading(
            figure,
            f"{model}: which clusters come again",
            f"Clustered {drawn} times anew with {what} drawn by bootstrap: likeness (Jaccard index) of each cluster "
            "with the new one most like it. Point: mean, line: from the 10th percentile, cross: mean where members "
            "are dealt anew.",
        )
        axes = figure.subplots()
        if not len(known):
            nothing_to_show(axes, "nothing was drawn anew (atlas.groupings.draws is 0, or there are too few proteins)")
            return
        names = {"tree": "cluster", "leiden": "community", "named": ""}
        labels = [f"{names[row.grouping]} {row.cluster} ({row.n_proteins:,})".strip() for row in known.itertuples()]
        y = np.arange(len(known))[::-1]
        mean = known["stability"].to_numpy(float)
        colours = [GOOD if one >= VALID else BAD if one < DOUBTFUL else OKABE_ITO[1] for one in mean]
        axes.hlines(y, known["stability_low"], mean, color=colours, linewidth=1.4)
        axes.scatter(mean, y, c=colours, s=26, zorder=3)
        axes.scatter(known["stability_chance"], y, marker="x", c=GREY, s=16, linewidths=1)
        for level in (DOUBTFUL, VALID):
            axes.axvline(level, color=GREY, linewidth=0.7, linestyle=":")
        axes.set(xlim=(0, 1.02), ylim=(-0.8, len(known) - 0.2), xlabel="Jaccard index")
        axes.set_yticks(y, labels, fontsize=7 if len(known) > 30 else 8)
        handles = [
            Line2D([], [], marker="o", linestyle="", color=colour, label=text)
            for colour, text in ((GOOD, "valid"), (OKABE_ITO[1], "in doubt"), (BAD, "not to be trusted"))
        ]
        handles.append(Line2D([], [], marker="x", linestyle="", color=GREY, label="by chance"))
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), title="after Hennig 2007")


def draw_within(
    proteins: anndata.AnnData,
    members: pd.DataFrame,
    groups: pd.DataFrame,
    terms: pd.DataFrame,
    label: str,
    model: str,
    settings: dict[str, Any],
    path: str | Path,
) -> None:
    """Heat map of the proteins of one location, clustered by themselves, with the best term of each cluster.

    Args:
        proteins: results/atlas/{model}/proteins.h5ad.
        members: members.tsv, rows in the order of `proteins`.
        groups: rows of groups.tsv of clusters within locations.
        terms: enrichment_groups.tsv.
        label: the location.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    here = np.flatnonzero((members["location"] == label) & members["within_leaf"].notna())
    order = here[np.argsort(members["within_leaf"].to_numpy(float)[here])]
    every = np.arange(proteins.n_obs)
    # scaled over all proteins, so that what this location has in common is seen too
    values = heat_values(np.asarray(proteins.layers["scaled"], np.float64), every)[order]
    names = [str(name) for name in proteins.obs_names[order]]
    height = float(np.clip(0.15 * len(order), 2.0, 16)) + 1.6
    with figure_file(path, 11.0, height, settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: {len(order)} proteins of {label} alone",
            "Clustered by themselves, features centred and scaled over all proteins of the run. Right: each cluster's "
            "most significant term against the other proteins of this location (hypergeometric test; q: "
            "Benjamini-Hochberg over all clusters of this location and sets of the library).",
        )
        stripe, heat, side = figure.subplots(1, 3, width_ratios=[0.14, 6.0, 3.2])
        clusters = members["within"].astype(float).astype("Int64").astype(str).to_numpy(object)[order]
        turns = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
        stripe.imshow(
            np.asarray([[to_rgb(STRIPES[turns[name] % 2])] for name in clusters]),
            aspect="auto",
            interpolation="nearest",
        )
        stripe.set(xticks=[], yticks=[])
        image = heat.imshow(values, aspect="auto", cmap="PuOr_r", vmin=-3, vmax=3, interpolation="nearest")
        heat.set(xticks=[], xlabel=f"{values.shape[1]:,} features, in the order of their own tree")
        heat.yaxis.tick_right()
        heat.set_yticks(range(len(names)) if len(names) <= 90 else [], names if len(names) <= 90 else [], fontsize=6.5)
        heat.tick_params(length=0)
        side.set(ylim=(len(order) - 0.5, -0.5), xlim=(0, 1))
        side.set_axis_off()
        own = terms[(terms["grouping"] == "within") & (terms["label"] == label)]
        for name in turns:
            rows = np.flatnonzero(clusters == name)
            best = own[own["cluster"].astype(str) == name].sort_values("p").head(1)
            side.plot([0.02, 0.02], [rows[0] - 0.3, rows[-1] + 0.3], color=INK, linewidth=1.2)
            text = f"cluster {name}: {len(rows)}"
            if len(best):
                row = best.iloc[0]
                text += f"\n{_short(row['term'])}\n{row['k']} of {row['n']}, q = {row['q']:.2g}"
            side.text(0.05, rows.mean(), text, va="center", fontsize=7)
        figure.colorbar(
            image, ax=side, location="bottom", shrink=0.7, label="standard deviations from\nthe mean of all"
        )


def _short(text: str, most: int = 44) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
