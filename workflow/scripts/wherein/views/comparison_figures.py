"""Figures of all models side by side, named after the figures of the papers that they follow."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from wherein.views.style import (
    GREY,
    INK,
    OKABE_ITO,
    SOFT,
    class_styles,
    figure_file,
    heading,
    nothing_to_show,
    shortened,
    spread_labels,
)

NO_MODEL = "no model was scored: no source has the roles that a configured model needs, or nothing is labelled"


def draw_scores(table: pd.DataFrame, settings: dict[str, Any], path: str) -> None:
    """Macro F1 of every model with its interval, and of fields with one and with several locations.

    Args:
        table: analysis.compare.model_table.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    known = table.dropna(subset=["f1"])
    with figure_file(path, 9.0, 1.9 + 0.42 * max(len(known), 3), settings["dpi"]) as figure:
        heading(
            figure,
            "How right each model is",
            "Mean F1 over locations, of fields of proteins that the model had not seen. Line: 95 % of draws of genes "
            "with replacement. Ticks: the same for labels guessed by their frequency.",
        )
        axes = figure.subplots()
        if not len(known):
            nothing_to_show(axes, NO_MODEL)
            return
        places = np.arange(len(known))
        axes.hlines(places, known["f1_low"], known["f1_high"], color=OKABE_ITO[0], linewidth=5, alpha=0.28)
        axes.plot(known["f1"], places, "o", color=OKABE_ITO[0], markersize=8, label="all fields")
        axes.plot(known["f1_one"], places, "^", color=OKABE_ITO[2], markersize=6, label="one location")
        axes.plot(known["f1_several"], places, "s", color=OKABE_ITO[3], markersize=5, label="several locations")
        axes.plot(known["baseline_f1"], places, "|", color=SOFT, markersize=12, label="guessed by frequency")
        for place, row in enumerate(known.itertuples()):
            told = f"{row.f1:.3f}" + (f" ({row.f1_low:.3f} to {row.f1_high:.3f})" if pd.notna(row.f1_low) else "")
            axes.text(1.02, place, told, transform=axes.get_yaxis_transform(), va="center", fontsize=8, color=SOFT)
        names = [f"{shortened(row.model, 34)}\n{row.vocabulary}, {row.n_fields:,} fields" for row in known.itertuples()]
        axes.set_yticks(places, names)
        axes.set_ylim(len(known) - 0.4, -0.6)
        axes.set_xlim(0, 1)
        axes.grid(axis="x", color="#E8EBEE", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.set_xlabel("mean F1 over locations")
        figure.legend(loc="outside lower center", ncols=4)


def draw_precision_recall(table: pd.DataFrame, settings: dict[str, Any], path: str) -> None:
    """Mean precision against mean recall of all models, with lines of equal F1 (Ouyang et al. 2019, Fig. 2b)."""
    known = table.dropna(subset=["precision", "recall"])
    with figure_file(path, 7.2, 6.6, settings["dpi"]) as figure:
        heading(
            figure,
            "Precision and recall of all models",
            "Means over locations. Thin lines: 95 % of draws of genes. Grey curves: equal F1 of precision and recall.",
        )
        axes = figure.subplots()
        if not len(known):
            nothing_to_show(axes, NO_MODEL)
            return
        equal_f1(axes)
        styles = class_styles(known["model"])
        for row in known.itertuples():
            colour, shape = styles[row.model]
            axes.plot([row.recall_low, row.recall_high], [row.precision] * 2, color=colour, linewidth=1, alpha=0.6)
            axes.plot([row.recall] * 2, [row.precision_low, row.precision_high], color=colour, linewidth=1, alpha=0.6)
            axes.scatter(row.recall, row.precision, color=colour, marker=shape, s=60, zorder=3)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        points = [(row.recall, row.precision, shortened(row.model, 30)) for row in known.itertuples()]
        spread_labels(axes, points, len(points))


def equal_f1(axes: Axes) -> None:
    """Curves of equal F1 in a plane of recall and precision."""
    recall = np.linspace(0.01, 1, 200)
    for level in (0.2, 0.4, 0.6, 0.8):
        # below half of it no precision reaches this F1
        possible = recall > level / 2 + 1e-6
        precision = level * recall[possible] / (2 * recall[possible] - level)
        inside = precision <= 1
        axes.plot(recall[possible][inside], precision[inside], color="#D8DDE3", linewidth=0.8, zorder=1)
        axes.text(0.985, level / (2 - level) + 0.012, f"F1 {level:.1f}", fontsize=7, color=GREY, ha="right")


def draw_classes_of_models(classes: pd.DataFrame, order: list[str], settings: dict[str, Any], path: str) -> None:
    """F1 of each location by each model as a table of shades (Rumetshofer et al. 2019, Table 7).

    Args:
        classes: analysis.compare.class_table.
        order: models, in the order of the columns.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    whole = classes[classes["group"] == "all"]
    names = whole.groupby("class", sort=False)["n"].max().sort_values(ascending=False, kind="stable")
    shown = [name for name in order if name in set(whole["model"])]
    with figure_file(path, 3.9 + 0.85 * max(len(shown), 3), 2.4 + 0.27 * max(len(names), 4), settings["dpi"]) as figure:
        heading(
            figure,
            "F1 of each location by each model",
            "Bold: the best. n: fields that have the location as published.",
        )
        axes = figure.subplots()
        if not len(names):
            nothing_to_show(axes, NO_MODEL)
            return
        values = whole.pivot_table(index="class", columns="model", values="f1").reindex(
            index=names.index, columns=shown
        )
        axes.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        best = values.max(axis=1)
        for y, name in enumerate(values.index):
            for x, model in enumerate(shown):
                value = values.loc[name, model]
                if pd.notna(value):
                    weight = "bold" if value == best[name] > 0 else "normal"
                    colour = "white" if value < 0.55 else INK
                    axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour, weight=weight)
        axes.set_yticks(range(len(names)), [f"{name}  (n {n:,})" for name, n in names.items()])
        axes.set_xticks(range(len(shown)), [shortened(name, 26) for name in shown], rotation=35, ha="right")
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)


def draw_training_counts(classes: pd.DataFrame, order: list[str], settings: dict[str, Any], path: str) -> None:
    """F1 of each location, over all fields and in each cell line, against what it was learned from.

    Ouyang et al. 2019, Fig. 2a, and Fig. S1 for cell lines.
    """
    known = classes.dropna(subset=["n_train", "f1"])
    known = known[known["n_train"] > 0]
    shown = [name for name in order if name in set(known["model"])]
    columns = min(len(shown), 3) or 1
    rows = -(-len(shown) // columns) or 1
    with figure_file(path, 1.2 + 3.9 * max(columns, 2), 1.6 + 3.1 * rows, settings["dpi"]) as figure:
        heading(
            figure,
            "F1 against the number of training fields",
            "Filled: a location over all fields. Open: a location in one cell line, against its training fields in "
            "that cell line.",
        )
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes in grid.ravel()[len(shown) :]:
            axes.set_axis_off()
        if not shown:
            nothing_to_show(grid[0, 0], "no model tells what it was trained on: none was trained here")
            return
        for axes, name in zip(grid.ravel(), shown, strict=False):
            _draw_counts(axes, known[known["model"] == name], name)
        for axes in grid[-1]:
            axes.set_xlabel("training fields")
        for axes in grid[:, 0]:
            axes.set_ylabel("F1")


def _draw_counts(axes: Axes, own: pd.DataFrame, name: str) -> None:
    lines = own[own["group"] == "cell_line"]
    whole = own[own["group"] == "all"].sort_values("n_train", ascending=False)
    axes.scatter(lines["n_train"], lines["f1"], s=13, facecolors="none", edgecolors=OKABE_ITO[5], linewidths=0.8)
    axes.scatter(whole["n_train"], whole["f1"], s=26, color=OKABE_ITO[0], zorder=3)
    logarithmic(axes)
    axes.set_ylim(-0.04, 1.08)
    axes.set_title(shortened(name, 34))
    labels = [shortened(text, 22) for text in whole["class"]]
    points = list(zip(whole["n_train"], whole["f1"], labels, strict=True))
    spread_labels(axes, points, 40)


def draw_speed(table: pd.DataFrame, settings: dict[str, Any], path: str) -> None:
    """F1 against speed and parameters (Rumetshofer et al. 2019, Table 6)."""
    panels = (
        ("fields_per_second", "fields a second, one job", "no job tells how long it took"),
        ("parameters", "parameters", "no model was trained here: those of others are not counted"),
    )
    with figure_file(path, 12.0, 4.4, settings["dpi"]) as figure:
        heading(
            figure,
            "What a score costs",
            "Mean F1 with its interval. Left: how fast fields are described, reading and writing included.",
        )
        _draw_against(figure, table, panels)


def draw_input_sizes(table: pd.DataFrame, settings: dict[str, Any], path: str) -> None:
    """F1 against the size of what a network sees (Rumetshofer et al. 2019, Fig. 8)."""
    missing = "no network was trained here"
    panels = (
        ("tile_px", "pixels of the image that the network sees at once", missing),
        ("input_px", "pixels of a field's longer side", f"{missing} on fields shrunk to a number of pixels"),
    )
    with figure_file(path, 12.0, 4.4, settings["dpi"]) as figure:
        heading(
            figure,
            "F1 against the size of the images",
            "Mean F1 with its interval. Lines join networks that differ in nothing but the size of their images (keys "
            "field_px, pixel_size_um, tile_px, batch); others differ in more than what this figure shows.",
        )
        for axes, column in zip(_draw_against(figure, table, panels), ("tile_px", "input_px"), strict=True):
            known = table.dropna(subset=["f1", column]).sort_values(column)
            for _, same in known.groupby("family"):
                if same[column].nunique() > 1:
                    axes.plot(same[column], same["f1"], color=GREY, linewidth=1.2, zorder=1)


def _draw_against(figure: Figure, table: pd.DataFrame, panels: Sequence[tuple[str, str, str]]) -> list[Axes]:
    """F1 of all models against some columns, one panel each: column, label, and what to say where nothing is known."""
    known = table.dropna(subset=["f1"])
    styles = class_styles(known["model"])
    grid = list(figure.subplots(1, len(panels), sharey=True))
    for axes, (column, label, missing) in zip(grid, panels, strict=True):
        own = known.dropna(subset=[column]).to_dict("records")
        if not own:
            nothing_to_show(axes, missing)
            continue
        for row in own:
            colour, shape = styles[row["model"]]
            axes.plot([row[column]] * 2, [row["f1_low"], row["f1_high"]], color=colour, linewidth=1, alpha=0.6)
            axes.scatter(row[column], row["f1"], color=colour, marker=shape, s=50, zorder=3)
        logarithmic(axes)
        axes.set_ylim(0, 1)
        axes.set_xlabel(label)
        spread_labels(axes, [(row[column], row["f1"], shortened(row["model"], 24)) for row in own], 30)
    grid[0].set_ylabel("mean F1 over locations")
    return grid


def draw_labels(labels: pd.DataFrame, vocabulary: str, settings: dict[str, Any], path: str) -> None:
    """What the labelled fields look like: locations of a field, how frequent each is, which stand together.

    Ouyang et al. 2019, Figs. 1c and 2a.
    """
    parts = {name: labels[labels["what"] == name] for name in ("cardinality", "class", "combination")}
    classes = parts["class"][parts["class"]["n"] > 0].sort_values("n", ascending=False)
    several = parts["combination"][parts["combination"]["n_classes"] > 1].head(20)
    height = 1.7 + 0.24 * max(len(classes), len(several), 6)
    with figure_file(path, 13.0, height, settings["dpi"]) as figure:
        sets = len(parts["combination"])
        heading(
            figure,
            "The labelled fields",
            f"Published locations in the vocabulary {vocabulary}: {len(classes)} occur, in {sets} combinations, "
            f"{int((parts['combination']['n_classes'] > 1).sum())} of them with several locations.",
        )
        left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1.6, 1.9])
        if not len(classes):
            for axes in (left, right):
                axes.set_axis_off()
            nothing_to_show(middle, "no field has a published location")
            return
        counts = parts["cardinality"]
        left.bar(counts["value"], counts["n"], color=OKABE_ITO[0], width=0.7)
        for x, (n, share) in enumerate(zip(counts["n"], counts["share"], strict=True)):
            left.text(x, n, f"{n:,}\n{share:.0%}", ha="center", va="bottom", fontsize=7.5, color=SOFT)
        left.set_ylim(0, counts["n"].max() * 1.15)
        left.set_xlabel("locations of a field")
        left.set_ylabel("fields")
        _bars(middle, classes["value"].tolist(), classes["n"].tolist(), "Each location", log=True)
        names = [shortened(name.replace(";", " + "), 46) for name in several["value"]]
        _bars(right, names, several["n"].tolist(), "The most frequent sets", log=False)


def _bars(axes: Axes, names: list[str], counts: list[int], title: str, log: bool) -> None:
    axes.set_title(title)
    if not names:
        nothing_to_show(axes, "no field has several locations")
        return
    places = np.arange(len(names))
    axes.barh(places, counts, color="#BFD7E8", height=0.72)
    for place, count in zip(places, counts, strict=True):
        axes.text(count, place, f" {count:,}", va="center", fontsize=7.5, color=SOFT)
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.12)
    if log:
        logarithmic(axes)
    axes.set_xlabel("fields" + (", logarithmic" if log else ""))


def logarithmic(axes: Axes) -> None:
    """A logarithmic axis of x, with plain numbers at 1, 2 and 5."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_locator(NullLocator())
