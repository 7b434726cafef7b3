"""Figures of single cells: the test of heterogeneity, parts of the variance, published variation, compartments."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from wherein.views.model import read_tsv
from wherein.views.style import GREY, OKABE_ITO, figure_file, heading, nothing_to_show, words

PARTS = ("protein", "cell_line", "antibody", "plate", "field", "cell")
"""Components of the variance in the order in which they are drawn."""

MEASURES = {
    "z": "more than one pattern (test)",
    "spread_z": "spread of the cells",
    "label_entropy": "entropy of predicted locations",
    "intensity_cv_z": "variation of intensity",
}

SHOWN = 4
"""Proteins that the figure of compartments shows for each pair, those whose cells scatter most."""


def plot_single_cells(model: str, inputs: dict[str, str], settings: dict[str, Any], outputs: dict[str, str]) -> None:
    """Draw what is told of the cells of a model.

    Args:
        model: name of the model.
        inputs: paths of samples, variance, published, compartments and cells (of compartments).
        settings: the section `report` of the configuration.
        outputs: PNGs tests and compartments.
    """
    tables = {name: read_tsv(inputs[name]) for name in ("samples", "variance", "published", "compartments")}
    draw_tests(tables["samples"], tables["variance"], tables["published"], model, settings, outputs["tests"])
    cells = pd.read_parquet(inputs["cells"])
    draw_compartments(tables["compartments"], cells, model, settings, outputs["compartments"])


def draw_tests(
    samples: pd.DataFrame,
    variance: pd.DataFrame,
    published: pd.DataFrame,
    model: str,
    settings: dict[str, Any],
    path: str,
) -> None:
    """QQ plot of the test of heterogeneity, parts of the variance, and comparison with published variation.

    Args:
        samples: results/biology/{model}/heterogeneity_samples.tsv.
        variance: results/biology/{model}/variance.tsv.
        published: results/biology/{model}/published_variation.tsv.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    judged = int(samples["p"].notna().sum())
    with figure_file(path, 13.0, 5.0, settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: single cells of one sample",
            f"Left: p of {judged} samples (one-sided test that cells show more than one pattern, against cells dealt "
            "anew within the cell line) beside p of the same samples after their cells were dealt anew, which has to "
            "lie on the line. Middle: parts of the cells' variance. Right: proteins that the source says to vary.",
        )
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 0.9, 1.2))
        _draw_qq(left, samples)
        _draw_variance(middle, variance)
        _draw_published(right, published)


def _draw_qq(axes: Axes, samples: pd.DataFrame) -> None:
    if not samples["p"].notna().any():
        nothing_to_show(axes, "no sample could be tested (too few cells or samples, or a model of fields)")
        return
    # p of strong findings would flatten all the others
    limit = 10.0
    for column, colour, label in (
        ("p", OKABE_ITO[5 % len(OKABE_ITO)], "this run"),
        ("p_exchanged", GREY, "cells dealt anew"),
    ):
        values = np.sort(samples[column].dropna().to_numpy(float))
        expected = -np.log10((np.arange(len(values)) + 0.5) / max(len(values), 1))
        found = -np.log10(np.maximum(values, 1e-300))
        axes.scatter(expected, np.minimum(found, limit), s=16, color=colour, label=label, linewidths=0, alpha=0.8)
    top = -np.log10(0.5 / max(int(samples["p"].notna().sum()), 1))
    axes.plot([0, top], [0, top], color="#444", linewidth=0.9, linestyle=":")
    axes.set_xlabel("expected $-\\log_{10}$ p")
    axes.set_ylabel(f"found $-\\log_{{10}}$ p (drawn up to {limit:g})")
    axes.set_title("Heterogeneity of samples")
    axes.legend(loc="upper left")


def _draw_variance(axes: Axes, variance: pd.DataFrame) -> None:
    whole = variance[variance["gene"].isna()].set_index("component")
    if not len(whole):
        nothing_to_show(axes, "too few cells to part their variance")
        return
    names = [name for name in PARTS if name in whole.index]
    places = np.arange(len(names))[::-1]
    shares = whole.loc[names, "share"].astype(float).to_numpy() * 100
    axes.barh(places, np.nan_to_num(shares), color=OKABE_ITO[0], height=0.62)
    for place, name, share in zip(places, names, shares, strict=True):
        row = whole.loc[name]
        if pd.notna(row["share_low"]):
            ends = 100 * float(row["share_low"]), 100 * float(row["share_high"])
            axes.plot(ends, [place, place], color="#333", linewidth=1.2)
        known = np.isfinite(share)
        note = row["note"] if isinstance(row["note"], str) else ""
        text = (f"{share:.1f} %" if known else "") + (f" ({note})" if note else "")
        axes.annotate(text, (float(np.nan_to_num(share)), place), (6, 7), textcoords="offset points", fontsize=7)
    axes.set_yticks(places, [f"{words(name)} ({int(whole.loc[name, 'levels'])})" for name in names])
    reach = pd.to_numeric(whole["share_high"]).fillna(0).max() * 100
    axes.set_xlim(0, max(10.0, float(np.nanmax(shares)) * 1.35, float(reach) * 1.03))
    axes.set_xlabel("share of the variance, % (lines: 95 % over proteins)")
    axes.set_title("What cells differ by")


def _draw_published(axes: Axes, published: pd.DataFrame) -> None:
    if not len(published):
        nothing_to_show(axes, "the source does not say of enough proteins of this run that they vary")
        return
    ticks = []
    for place, row in enumerate(published.itertuples()):
        axes.plot([row.auc_low, row.auc_high], [-place, -place], color="#333", linewidth=1.2)
        axes.plot(row.auc, -place, "o", color=OKABE_ITO[0] if row.q <= 0.05 else GREY)
        ticks.append(f"{words(str(row.published))}\n{MEASURES.get(str(row.measure), str(row.measure))}")
        text = f"{row.n_with} of {row.n_with + row.n_without}, q {row.q:.2g}"
        axes.annotate(text, (1.0, -place), (-2, 6), textcoords="offset points", ha="right", fontsize=7)
    axes.axvline(0.5, color=GREY, linewidth=0.9, linestyle=":")
    axes.set_yticks([-place for place in range(len(ticks))], ticks, fontsize=7)
    axes.set_xlim(0, 1)
    axes.set_xlabel("area under the curve (Mann-Whitney test, Benjamini-Hochberg)")
    axes.set_title("Beside published variation")


def draw_compartments(rows: pd.DataFrame, cells: pd.DataFrame, model: str, settings: dict[str, Any], path: str) -> None:
    """Scores of cells between two compartments, as Figure 5 of Lu et al. 2019.

    Args:
        rows: results/biology/{model}/compartments.tsv.
        cells: results/biology/{model}/compartment_cells.parquet.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    pairs = list(dict.fromkeys(zip(cells["first"], cells["second"], strict=True)))
    height = max(1, (len(pairs) + 1) // 2)
    with figure_file(path, 13.0, 1.2 + 3.3 * height, settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: cells between two compartments",
            "Logarithm of a cell's distance to the mean of cells of the first compartment over that to the second, "
            "cells of its own protein left out: below 0 it is nearer the first. Violins: cells of images annotated to "
            "one alone, or to both, with quartiles; dots: single cells of the proteins of both that scatter most.",
        )
        if not pairs:
            nothing_to_show(
                figure.subplots(), "no pair of locations has proteins enough (or the model describes fields)"
            )
            return
        every = figure.subplots(height, 2, squeeze=False).ravel()
        for axes, pair in zip(every, pairs, strict=False):
            own = cells[(cells["first"] == pair[0]) & (cells["second"] == pair[1])]
            _draw_pair(axes, own, rows[(rows["first"] == pair[0]) & (rows["second"] == pair[1])], pair)
        for axes in every[len(pairs) :]:
            axes.set_axis_off()


def _draw_pair(axes: Axes, cells: pd.DataFrame, rows: pd.DataFrame, pair: tuple[str, str]) -> None:
    ticks = []
    for place, (group, name) in enumerate((("first", pair[0]), ("second", pair[1]), ("both", "both"))):
        values = cells.loc[cells["labels"] == group, "score"].to_numpy(float)
        proteins = cells.loc[cells["labels"] == group, "gene"].nunique()
        if len(values) > 1:
            body = axes.violinplot([values], [place], widths=0.8, showextrema=False)["bodies"][0]
            body.set_facecolor(OKABE_ITO[place])
            body.set_alpha(0.55)
            low, middle, high = np.percentile(values, [25, 50, 75])
            axes.plot([place, place], [low, high], color="black", linewidth=4, solid_capstyle="butt")
            axes.plot(place, middle, "o", color="white", markersize=4)
        ticks.append(f"{name}\n{len(values)} cells,\n{proteins} proteins")
    striking = rows[rows["labels"] == "both"].sort_values("sd", ascending=False).head(SHOWN)
    for place, row in enumerate(striking.itertuples(), start=3):
        own = cells[(cells["gene"] == row.gene) & (cells["cell_line"].fillna("") == (row.cell_line or ""))]
        spread = np.linspace(-0.22, 0.22, len(own))
        axes.scatter(place + spread, own["score"], s=7, color="#333", linewidths=0, alpha=0.7)
        ticks.append(f"{row.gene}\n{row.cell_line}\nsd {row.sd:.2g}")
    axes.axhline(0, color=GREY, linewidth=0.9, linestyle=":")
    axes.set_xticks(range(len(ticks)), ticks, fontsize=7)
    axes.set_ylabel("log ratio of distances")
    axes.set_title(f"{pair[0]} and {pair[1]}")
