"""Figures of gene sets: what was found by universe and correction, complexes, pairs of sets, rankings."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from wherein.views.model import read_tsv
from wherein.views.style import (
    BAD,
    GREY,
    INK,
    OKABE_ITO,
    SOFT,
    figure_file,
    heading,
    nothing_to_show,
    shortened,
    spread_labels,
)

FOUND = (
    ("n_found", "this run's proteins, all tests", OKABE_ITO[0]),
    ("n_found_permuted", "the same, by exchanging proteins", OKABE_ITO[5]),
    ("n_found_gseapy", "gseapy's correction", OKABE_ITO[1]),
    ("n_found_genome", "a whole genome", OKABE_ITO[3]),
)
"""Ways to count what was found: column of enrichment_libraries.tsv, name, colour."""

NO_COMPLEXES = (
    "no complexes are configured (biology.complexes.file), or no two proteins of this run are in the same one"
)

SHOWN_TERMS = 6
"""Gene sets drawn at each end of a ranking."""


def plot_gene_sets(model: str, inputs: Mapping[str, str], settings: dict[str, Any], outputs: Mapping[str, str]) -> None:
    """Draw all figures of gene sets and complexes.

    Args:
        model: name of the model.
        inputs: paths of the tables libraries, prerank, curve, pairs and set_pairs.
        settings: the section `report` of the configuration.
        outputs: PNGs gene_sets, complexes, set_pairs and prerank.
    """
    tests = read_tsv(inputs["set_pairs"])
    draw_found(read_tsv(inputs["libraries"]), model, settings, outputs["gene_sets"])
    same = tests.iloc[0] if len(tests) else None
    draw_complexes(read_tsv(inputs["curve"]), read_tsv(inputs["pairs"]), same, model, settings, outputs["complexes"])
    draw_set_pairs(tests.iloc[1:], model, settings, outputs["set_pairs"])
    draw_rankings(read_tsv(inputs["prerank"]), model, settings, outputs["prerank"])


def draw_found(libraries: pd.DataFrame, model: str, settings: dict[str, Any], path: str) -> None:
    """Pairs of cluster and set that count as enriched, by universe and correction.

    Args:
        libraries: results/biology/{model}/enrichment_libraries.tsv.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    shown = [(column, name, colour) for column, name, colour in FOUND if libraries[column].notna().any()]
    height = 1.7 + max(len(libraries) * (0.26 * len(shown) + 0.3), 1.6)
    with figure_file(path, 9.4, height, settings["dpi"]) as figure:
        alpha = libraries["alpha"].iloc[0] if len(libraries) else 0.05
        heading(
            figure,
            f"{model}: terms found, by universe and correction",
            f"Pairs of cluster and gene set at a false discovery rate of {alpha:g} (one-sided hypergeometric test). "
            "Against a whole genome, whatever the proteins of this run have in common is found in every cluster.",
        )
        axes = figure.subplots()
        if not len(libraries):
            nothing_to_show(axes, "no gene sets are configured (biology.gene_sets)")
            return
        step = 1 / (len(shown) + 1)
        for turn, (column, name, colour) in enumerate(shown):
            places = np.arange(len(libraries)) + (turn - (len(shown) - 1) / 2) * step
            values = libraries[column].fillna(0)
            axes.barh(places, values, height=step * 0.86, color=colour, label=name)
            for place, value in zip(places, values, strict=True):
                axes.annotate(f"{int(value):,}", (value, place), (4, 0), textcoords="offset points", va="center",
                              fontsize=8, color=SOFT)  # fmt: skip
        names = [
            f"{row.gene_set_library}\n{int(row.n_tests):,} tests, N = {int(row.N):,}" for row in libraries.itertuples()
        ]
        axes.set_yticks(range(len(libraries)), names)
        axes.set_ylim(len(libraries) - 0.45, -0.55)
        axes.margins(x=0.12)
        axes.set_xlabel("pairs of cluster and gene set")
        figure.legend(loc="outside lower center", ncols=len(shown))


def draw_complexes(
    curve: pd.DataFrame,
    pairs: pd.DataFrame,
    same: pd.Series | None,
    model: str,
    settings: dict[str, Any],
    path: str,
) -> None:
    """Share of nearest proteins of the same complex by how alike they are, and correlations of pairs.

    Args:
        curve: results/biology/{model}/complex_curve.tsv.
        pairs: results/biology/{model}/complex_pairs.tsv.
        same: the test of pairs of the same complex, the first row of set_pairs.tsv.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    with figure_file(path, 11.0, 5.2, settings["dpi"]) as figure:
        n = int(curve["n"].iloc[0]) if len(curve) else 0
        heading(
            figure,
            f"{model}: do proteins of a complex look alike?",
            f"Universe: the {n:,} proteins of this run that are in a complex with another one of it. Left: bars are "
            "95 % intervals (Wilson), the band is what random exchanges of the proteins' names give (95 %). Right: all "
            "pairs of these proteins.",
        )
        if not len(curve):
            nothing_to_show(figure.subplots(), NO_COMPLEXES)
            return
        left, right = figure.subplots(1, 2)
        _draw_curve(left, curve)
        _draw_pairs(right, pairs, same)


def _draw_curve(axes: Axes, curve: pd.DataFrame) -> None:
    places = np.arange(len(curve))
    axes.fill_between(places, curve["chance_low"], curve["chance_high"], color="#E4E7EB", label="by chance")
    axes.plot(places, curve["chance"], color=GREY, linestyle="--", linewidth=1)
    share = curve["share"]
    errors = np.maximum([share - curve["share_low"], curve["share_high"] - share], 0)
    axes.errorbar(places, share, yerr=errors, color=OKABE_ITO[0], marker="o", capsize=2, label="nearest protein")
    above = ["all" if value <= -1 else f"{value:g}" for value in curve["r_above"]]
    ticks = [f"{value}\nn = {count}" for value, count in zip(above, curve["n"].astype(int), strict=True)]
    axes.set_xticks(places, ticks, fontsize=6.5 if len(ticks) > 9 else 8)
    # room for the legend above the curve
    axes.set(ylim=(0, 1.3), xlabel="correlation with the nearest protein is above", title="Nearest proteins")
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_ylabel("share with a complex in common")
    axes.legend(loc="upper left")


def _draw_pairs(axes: Axes, pairs: pd.DataFrame, same: pd.Series | None) -> None:
    middle = (pairs["r_from"] + pairs["r_to"]) / 2
    for column, name, colour in (("n_other", "other pairs", GREY), ("n_same", "same complex", OKABE_ITO[0])):
        total = max(int(pairs[column].sum()), 1)
        axes.step(
            middle, pairs[column] / total, where="mid", color=colour, label=f"{name} ({int(pairs[column].sum()):,})"
        )
    axes.set(xlabel="Pearson's correlation of the proteins' mean vectors", ylabel="share of the pairs",
             title="Pairs of proteins", xlim=(-1, 1))  # fmt: skip
    # room for the legend and the test above the curves
    axes.set_ylim(0, 1.55 * axes.get_ylim()[1])
    axes.legend(loc="upper left")
    if same is not None and pd.notna(same["p_permuted"]):
        text = (
            f"a pair of the same complex is more alike\nin {100 * same['auc']:.1f} % of comparisons (50 % by chance)\n"
            f"p = {same['p_permuted']:.3g} ({int(same['permutations']):,} exchanges of names)\n"
            f"p = {same['p']:.2g} (Mann-Whitney, as if\npairs were independent)"
        )
        axes.text(0.985, 0.97, text, transform=axes.transAxes, ha="right", va="top", fontsize=8, color=INK)


def draw_set_pairs(tests: pd.DataFrame, model: str, settings: dict[str, Any], path: str) -> None:
    """How proteins of two sets lean to either, a panel a pair.

    Args:
        tests: rows of set_pairs.tsv for pairs of gene sets.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    asked = tests[tests["p_permuted"].notna()]
    with figure_file(path, 9.4, 1.5 + max(2.3 * len(asked), 2.2), settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: gene sets told apart",
            "Each mark is a protein that is in one of the two sets alone: its mean correlation with the other proteins "
            "of the first set, less that with those of the second.",
        )
        if not len(asked):
            nothing_to_show(figure.subplots(), "no pair of sets has two proteins of this run in each")
            return
        for axes, (_, row) in zip(figure.subplots(len(asked), 1, squeeze=False)[:, 0], asked.iterrows(), strict=True):
            _draw_leanings(axes, row)


def _draw_leanings(axes: Axes, row: pd.Series) -> None:
    rng = np.random.default_rng(0)
    named = []
    for turn, side in enumerate("ab"):
        scores = [float(score) for score in str(row[f"scores_{side}"]).split(";")]
        places = turn + rng.uniform(-0.16, 0.16, len(scores))
        colour, mark = ((OKABE_ITO[0], "o"), (OKABE_ITO[3], "s"))[turn]
        axes.scatter(scores, places, color=colour, marker=mark, s=26, alpha=0.85, linewidths=0)
        axes.plot([np.median(scores)] * 2, [turn - 0.3, turn + 0.3], color=INK, linewidth=1.4)
        named += list(zip(scores, places, str(row[f"proteins_{side}"]).split(";"), strict=True))
    axes.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    ticks = [f"{shortened(str(row[side]), 40)}\n{int(row[f'n_{side}'])} proteins" for side in "ab"]
    axes.set_yticks([0, 1], ticks)
    axes.set_ylim(1.5, -0.5)
    axes.margins(x=0.1)
    axes.set_xlabel("leaning to the first set (difference of mean correlations)")
    axes.set_title(
        f"{row['question']}: told apart in {100 * row['auc']:.0f} % of comparisons (50 % by chance)\n"
        f"p = {row['p_permuted']:.2g}, q = {row['q']:.2g} over {int(row['n_tests'])} questions; Mann-Whitney "
        f"p = {row['p']:.2g}",
        fontsize=9,
        fontweight="normal",
    )
    spread_labels(axes, named, 40)


def draw_rankings(prerank: pd.DataFrame, model: str, settings: dict[str, Any], path: str) -> None:
    """The strongest gene sets at both ends of each ranking.

    Args:
        prerank: results/biology/{model}/prerank.tsv.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    best = strongest(prerank, SHOWN_TERMS)
    rankings = list(dict.fromkeys(best["ranking"]))
    rows = best["ranking"].value_counts().reindex(rankings).tolist() if len(best) else []
    with figure_file(path, 9.4, 1.6 + max(0.23 * sum(rows) + 0.75 * len(rows), 1.8), settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: gene sets at the ends of rankings",
            "Normalized enrichment score of gseapy's prerank, random sets of the same size scoring about 1 or -1. "
            f"Filled: q at most {settings['max_q']:g} (Benjamini-Hochberg over all sets and rankings of a library).",
        )
        if not len(best):
            nothing_to_show(figure.subplots(), "no gene set has enough proteins in a ranking (biology.prerank)")
            return
        panels = figure.subplots(len(rankings), 1, squeeze=False, height_ratios=[count + 1.5 for count in rows])[:, 0]
        for axes, ranking in zip(panels, rankings, strict=True):
            _draw_ranking(axes, best[best["ranking"] == ranking], ranking, settings["max_q"])
        panels[-1].set_xlabel("normalized enrichment score (no unit)")
        figure.legend(handles=_ends(), loc="outside lower center", ncols=2)


def strongest(prerank: pd.DataFrame, most: int) -> pd.DataFrame:
    """The `most` sets of lowest p at each end of each ranking, from the upper end to the lower."""
    upper = prerank["nes"] > 0
    ordered = prerank.assign(upper=upper, strength=prerank["nes"].abs()).sort_values(
        ["p", "strength"], ascending=[True, False], kind="stable"
    )
    best = ordered.groupby(["ranking", "upper"], sort=False).head(most)
    order = {name: place for place, name in enumerate(dict.fromkeys(prerank["ranking"]))}
    best = best.assign(order=best["ranking"].map(order)).sort_values(["order", "nes"], ascending=[True, False])
    return best.drop(columns=["upper", "strength", "order"]).reset_index(drop=True)


def _draw_ranking(axes: Axes, rows: pd.DataFrame, ranking: str, max_q: float) -> None:
    places = np.arange(len(rows))
    colours = np.where(rows["nes"] > 0, OKABE_ITO[0], BAD)
    axes.hlines(places, 0, rows["nes"], color=colours, linewidth=1.2)
    sure = (rows["q"] <= max_q).to_numpy()
    axes.scatter(rows["nes"][sure], places[sure], c=colours[sure], s=34, zorder=3)
    axes.scatter(rows["nes"][~sure], places[~sure], facecolors="white", edgecolors=colours[~sure], s=34, zorder=3)
    axes.axvline(0, color=GREY, linewidth=0.8)
    names = [f"{shortened(str(row.term), 52)} ({row.gene_set_library}, {row.K})" for row in rows.itertuples()]
    axes.set_yticks(places, names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_title(f"{ranking}, {int(rows['N'].iloc[0]):,} proteins")


def _ends() -> list[Line2D]:
    return [
        Line2D([], [], marker="o", color=colour, label=name)
        for colour, name in ((OKABE_ITO[0], "at the upper end"), (BAD, "at the lower end"))
    ]
