"""Figures of a model's findings: scores per class, enrichment of clusters, differences from cell to cell."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from wherein.views.style import (
    GREY,
    OKABE_ITO,
    SOFT,
    class_styles,
    figure_file,
    heading,
    nothing_to_show,
    shortened,
    spread_labels,
)

MEASURED = {"precision": ("o", OKABE_ITO[0]), "recall": ("s", OKABE_ITO[1])}


def draw_classes(
    classes: pd.DataFrame, scores: dict[str, Any], model: str, settings: dict[str, Any], path: str
) -> None:
    """F1 as bars, precision and recall as marks, n beside them; a panel for each level.

    Args:
        classes: results/evaluation/{model}/classes.tsv.
        scores: results/evaluation/{model}/scores.json.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    scored = classes[classes["n"] > 0]
    levels = list(dict.fromkeys(scored["level"]))
    rows = int(scored["level"].value_counts().max()) if len(scored) else 5
    with figure_file(path, max(7.6, 6.4 * len(levels)), 1.3 + 0.34 * max(rows, 4), settings["dpi"]) as figure:
        heading(figure, f"{model}: how right it is for each location", scores_in_words(scores))
        axes = figure.subplots(1, max(1, len(levels)), squeeze=False)[0]
        if not levels:
            nothing_to_show(
                axes[0], "; ".join(scores.get("notes") or ["no cell or field has a label to score against"])
            )
        for axis, level in zip(axes, levels, strict=False):
            _draw_level(axis, scored[scored["level"] == level], level, scores)
        if levels:
            figure.legend(
                handles=[
                    Line2D([], [], marker="s", linestyle="", markersize=9, color="#BFD7E8", label="F1"),
                    *(
                        Line2D([], [], marker=mark, linestyle="", color=colour, label=name)
                        for name, (mark, colour) in MEASURED.items()
                    ),
                    Line2D([], [], linestyle="--", color=SOFT, label="mean F1 of guessing by frequency"),
                ],
                loc="outside lower center",
                ncols=4,
            )


def scores_in_words(scores: dict[str, Any]) -> str:
    """The scores of a model in one or two sentences; says so where there are none."""
    macro, base = scores.get("macro_f1"), scores.get("baseline_macro_f1")
    if macro is None:
        return "Not scored: " + "; ".join(scores.get("notes") or ["there were no labels"]) + "."
    told = f"Mean F1 over locations {macro:.2f}"
    told += f", against {base:.2f} for labels guessed by their frequency" if base is not None else ""
    elsewhere = any("trained elsewhere" in note for note in scores.get("notes") or [])
    seen = (
        "by a network trained elsewhere, which may have seen them"
        if elsewhere
        else "each scored by a model that had not seen the protein"
    )
    return (
        f"{told}; {scores.get('n_units') or 0:,} {scores.get('level')}s of {scores.get('n_genes') or 0:,} proteins, "
        f"{seen}. n: units that have the location as published."
    )


def _draw_level(axes: Axes, rows: pd.DataFrame, level: str, scores: dict[str, Any]) -> None:
    rows = rows.sort_values("f1", ascending=False, na_position="last")
    places = np.arange(len(rows))
    axes.barh(places, rows["f1"].fillna(0), color="#BFD7E8", height=0.72)
    for name, (mark, colour) in MEASURED.items():
        axes.scatter(rows[name], places, marker=mark, color=colour, s=22, zorder=3, linewidths=0)
    for place, (f1, n) in enumerate(zip(rows["f1"], rows["n"], strict=True)):
        told = "F1 –" if pd.isna(f1) else f"F1 {f1:.2f}"
        axes.text(
            1.02, place, f"{told}  n {n:,}", transform=axes.get_yaxis_transform(), va="center", fontsize=7.5, color=SOFT
        )
    if scores.get("baseline_macro_f1") is not None and level == scores.get("level"):
        axes.axvline(scores["baseline_macro_f1"], linestyle="--", color=SOFT, linewidth=1)
    axes.set_yticks(places, rows["class"])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("score")
    axes.set_title(f"by {level}")


def draw_enrichment(
    enrichment: pd.DataFrame, clusters: pd.DataFrame, model: str, settings: dict[str, Any], path: str
) -> None:
    """Dots at the best terms of each cluster: place and shade are the significance, size is the overlap.

    Args:
        enrichment: results/biology/{model}/enrichment.tsv.
        clusters: results/atlas/{model}/clusters.tsv.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    best = best_terms(leading_terms(enrichment), settings["terms_per_cluster"], settings["max_q"])
    names = {str(row.cluster): _cluster_title(row) for row in clusters.itertuples()}
    with figure_file(
        path, 10.0, 1.5 + max(0.24 * len(best) + 0.16 * best["cluster"].nunique(), 2.0), settings["dpi"]
    ) as figure:
        heading(
            figure,
            f"{model}: what the proteins of a cluster have in common",
            f"The {settings['terms_per_cluster']} most significant terms of each cluster at a false discovery rate of "
            f"at most {settings['max_q']:g} (one-sided hypergeometric test, Benjamini-Hochberg over all sets of a "
            f"library in all clusters); the universe are the {_universe(enrichment)}proteins of this run. Terms that "
            "share a cluster's proteins with a better one are left out.",
        )
        axes = figure.subplots()
        if not len(best):
            nothing_to_show(axes, _why_no_terms(enrichment, settings["max_q"]))
            return
        _draw_terms(axes, best, names)


def leading_terms(enrichment: pd.DataFrame) -> pd.DataFrame:
    """Terms that stand for themselves: without those that share the cluster's proteins with a better one."""
    own = enrichment["representative"]
    return enrichment[own.isna() | own.eq(enrichment["term"])]


def _universe(enrichment: pd.DataFrame) -> str:
    return f"{int(enrichment['N'].iloc[0]):,} " if len(enrichment) else ""


def best_terms(enrichment: pd.DataFrame, most: int, max_q: float) -> pd.DataFrame:
    """The `most` terms with the lowest q of each cluster, of those with q of at most `max_q`, clusters in order."""
    found = enrichment[enrichment["q"] <= max_q].assign(cluster=lambda rows: rows["cluster"].astype(str))
    order = found["cluster"].map(_natural)
    found = found.assign(order=order).sort_values(["order", "q", "p", "term"])
    return found.groupby("cluster", sort=False).head(most).drop(columns="order").reset_index(drop=True)


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (10**9, name)


def _cluster_title(row: Any) -> str:
    return f"cluster {row.cluster} ({row.n_proteins} proteins, mostly {row.top_location})"


def _why_no_terms(enrichment: pd.DataFrame, max_q: float) -> str:
    if not len(enrichment):
        return "no term of the gene sets overlaps a cluster (or no gene sets are configured under biology.gene_sets)"
    return f"none of {len(enrichment):,} terms tested reaches q of {max_q:g}; the lowest is {enrichment['q'].min():.2g}"


def _draw_terms(axes: Axes, best: pd.DataFrame, names: dict[str, str]) -> None:
    significance = -np.log10(best["q"].clip(lower=1e-50))
    places, place, ticks = [], 0.0, []
    for cluster, group in best.groupby("cluster", sort=False):
        axes.text(-0.01, place, names.get(str(cluster), f"cluster {cluster}"), transform=axes.get_yaxis_transform(),
                  ha="right", va="center", fontsize=8, fontweight="bold")  # fmt: skip
        for row in group.itertuples():
            place += 1
            places.append(place)
            ticks.append(f"{shortened(str(row.term), 58)}")
        place += 1.35
    share = best["k"] / best["n"]
    dots = axes.scatter(significance, places, s=18 + 160 * share, c=np.log2(best["odds_ratio"].clip(0.5, 2**8)),
                        cmap="cividis_r", edgecolors="#30363D", linewidths=0.6, zorder=3)  # fmt: skip
    for x, y, row in zip(significance, places, best.itertuples(), strict=True):
        axes.annotate(
            f"{row.k} of {row.n}", (x, y), (9, 0), textcoords="offset points", va="center", fontsize=7, color=SOFT
        )
    axes.set_yticks(places, ticks)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(place - 0.6, -0.8)
    axes.set_xlim(0, float(significance.max()) * 1.15 + 0.1)
    axes.grid(axis="x", color="#E8EBEE", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel("significance, $-\\log_{10}$ q   (beside the dots: proteins of the cluster that have the term)")
    axes.figure.colorbar(dots, ax=axes, label="log$_2$ odds ratio", shrink=0.6, aspect=25)


def draw_heterogeneity(heterogeneity: pd.DataFrame, model: str, settings: dict[str, Any], path: str) -> None:
    """Spread of the cells' vectors against that of their predicted locations; the most striking proteins are named.

    Args:
        heterogeneity: results/biology/{model}/heterogeneity.tsv.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    known = heterogeneity.dropna(subset=["spread_z"])
    with figure_file(path, 10.0, 6.4, settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: proteins that differ from cell to cell",
            "Each point is a protein in a cell line. To the right, its cells differ more than cells of other proteins "
            "do; upward, they are predicted in different locations. Filled: cells show more than one pattern (test "
            f"against cells dealt anew, q at most {settings['max_q']:g}, Benjamini-Hochberg over all points).",
        )
        axes = figure.subplots()
        if not len(known):
            nothing_to_show(axes, "no protein has enough cells (or the model describes fields, not cells)")
            return
        _draw_spread(axes, known, settings)


def _draw_spread(axes: Axes, known: pd.DataFrame, settings: dict[str, Any]) -> None:
    entropy = known["label_entropy"]
    flat = entropy.isna().all()
    height = entropy.fillna(0) if not flat else known["spread"]
    styles = class_styles(sorted(known["cell_line"].fillna("not given").unique()))
    for line, (colour, shape) in styles.items():
        here = known["cell_line"].fillna("not given").eq(line)
        if not here.any():
            continue
        sure = here & (known["q"] <= settings["max_q"])
        axes.scatter(known["spread_z"][here & ~sure], height[here & ~sure], marker=shape, facecolors="none",
                     edgecolors=colour, s=26, linewidths=1, alpha=0.75)  # fmt: skip
        axes.scatter(known["spread_z"][sure], height[sure], marker=shape, color=colour, s=30, linewidths=0, label=line)
    axes.axvline(0, color=GREY, linewidth=0.9, linestyle=":")
    axes.set_xlabel("spread of the cells, z against cells of other proteins in the same cell line")
    axes.set_ylabel("spread of the cells' vectors" if flat else "entropy of the cells' predicted locations (bits)")
    axes.set_title("Differences between the cells of one protein")
    axes.margins(0.06)
    lines = set(known["cell_line"].fillna("not given"))
    handles = [
        Line2D([], [], marker=shape, linestyle="", color=colour, label=line)
        for line, (colour, shape) in styles.items()
        if line in lines
    ]
    axes.legend(handles=handles[:14], title="cell line", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    top = known.assign(height=height).sort_values(["q", "spread_z"], ascending=[True, False])
    points = [(row.spread_z, row.height, row.gene) for row in top.itertuples()]
    spread_labels(axes, points, min(settings["named_proteins"], 40))
