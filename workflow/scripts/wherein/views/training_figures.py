"""Figures of a network that was trained here: how its training went, and how well its maps point."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from wherein.views.style import (
    GREY,
    INK,
    OKABE_ITO,
    SOFT,
    figure_file,
    heading,
    nothing_to_show,
    shortened,
)

KINDS = {"right": "told rightly", "missed": "missed", "false": "predicted falsely"}
"""How figures and pages call what became of a map's class."""

TARGETS = {"signal": "on the protein's signal", "compartment": "on the drawn compartment"}


def plot_training(model: str, inputs: Mapping[str, str], settings: dict[str, Any], outputs: Mapping[str, str]) -> None:
    """Draw the figures of one network.

    Args:
        model: the model's name.
        inputs: `history` (history.csv), `train` (summary of the training), `shares` (pointing.tsv).
        settings: the section `report` of the configuration.
        outputs: PNGs `history` and `pointing`.
    """
    told = json.loads(Path(inputs["train"]).read_text(encoding="utf-8"))
    draw_history(pd.read_csv(inputs["history"]), told.get("best_epoch"), model, settings, outputs["history"])
    draw_pointing(read_pointing(inputs["shares"]), model, settings, outputs["pointing"])


def read_pointing(path: str) -> pd.DataFrame:
    """Read pointing.tsv; `class` is "" in the rows of means."""
    table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype={"kind": str, "class": str})
    return table.assign(**{"class": table["class"].fillna("")})


def draw_history(history: pd.DataFrame, best: int | None, model: str, settings: dict[str, Any], path: str) -> None:
    """Losses, validation score and learning rate by epoch.

    Args:
        history: results/models/{model}/history.csv.
        best: the epoch whose weights were kept; None where nothing chose one.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    with figure_file(path, 12.0, 3.9, settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: its training",
            "Losses are means over images, those of training before each step. Score: mean F1 of the validation genes "
            "at probability 0.5 (where an image has exactly one class the share told rightly). Line: the epoch that "
            "was kept; it was chosen by these genes, so that its score is too good.",
        )
        losses, score, rate = figure.subplots(1, 3)
        if not len(history):
            for axes in (losses, rate):
                axes.set_axis_off()
            nothing_to_show(score, "no epoch was finished")
            return
        _line(losses, history, "train_loss", "training", OKABE_ITO[0])
        _line(losses, history, "validation_loss", "validation", OKABE_ITO[3])
        losses.legend()
        if history["macro_f1"].notna().any():
            _line(score, history, "macro_f1", "validation", OKABE_ITO[3])
            score.set_ylim(0, 1)
        else:
            nothing_to_show(score, "there are no validation rows")
        score.set_title("validation score")
        _line(rate, history, "learning_rate", "", INK)
        rate.set_yscale("log" if (history["learning_rate"] > 0).all() else "linear")
        rate.set_title("learning rate")
        losses.set_title("loss")
        for axes in (losses, score, rate):
            if best is not None and axes.axison:
                axes.axvline(best, color=GREY, linewidth=1, linestyle="--", zorder=0)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _line(axes: Axes, history: pd.DataFrame, column: str, label: str, colour: str) -> None:
    known = history.dropna(subset=[column])
    axes.plot(known["epoch"], known[column], color=colour, linewidth=1.6, label=label,
              marker="o" if len(known) < 30 else None, markersize=3)  # fmt: skip


def draw_pointing(shares: pd.DataFrame, model: str, settings: dict[str, Any], path: str) -> None:
    """How much of the maps of each location lies on the protein's signal and on the drawn compartment.

    Args:
        shares: `read_pointing`.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    rows = [
        (kind, row)
        for kind in KINDS
        for row in shares[shares["kind"] == kind].to_dict("records")
        # a false prediction has no compartment, and its classes say little one by one
        if row["class"] == "" or kind == "right"
    ]
    rows.sort(key=lambda pair: pair[1]["class"] != "")
    with figure_file(path, 12.0, 1.9 + max(0.27 * len(rows), 2.0), settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: where it looks",
            "Share of the attention map of a location that lies on the protein's bright pixels, and, in simulated "
            "fields, where the protein was drawn. Point and line: mean and 95 % of draws of genes with replacement; "
            "tick: an even map; cross: a map that is even over the cells. p: one-sided paired Wilcoxon test over the "
            "locations that maps lie there no more than even ones.",
        )
        grid = figure.subplots(1, 2, sharey=True)
        if not rows:
            grid[1].set_axis_off()
            nothing_to_show(grid[0], "no location has a map: nothing was scored, or the network predicts none")
            return
        for axes, (target, label) in zip(grid, TARGETS.items(), strict=True):
            _draw_shares(axes, rows, target, label)
        names = [
            f"all locations, {KINDS[kind]}" if not row["class"] else shortened(row["class"], 34) for kind, row in rows
        ]
        grid[0].set_yticks(range(len(rows)), names)
        grid[0].set_ylim(len(rows) - 0.4, -0.6)


def _draw_shares(axes: Axes, rows: list[tuple[str, dict[str, Any]]], target: str, label: str) -> None:
    if not any(pd.notna(row[target]) for _, row in rows):
        nothing_to_show(axes, "no compartment is known: it is of simulated human fields" if target == "compartment"
                        else "the network does not see the protein")  # fmt: skip
        return
    for place, (_, row) in enumerate(rows):
        colour = OKABE_ITO[3] if not row["class"] else OKABE_ITO[0]
        if pd.isna(row[target]):
            axes.text(0.01, place, "–", va="center", fontsize=8, color=SOFT)
            continue
        if pd.notna(row[f"{target}_low"]):
            axes.hlines(place, row[f"{target}_low"], row[f"{target}_high"], color=colour, linewidth=5, alpha=0.28)
        axes.plot(row[target], place, "o", color=colour, markersize=6)
        axes.plot(row[f"{target}_even"], place, "|", color=INK, markersize=12, markeredgewidth=1.6)
        if target == "compartment" and pd.notna(row["compartment_cells"]):
            axes.plot(row["compartment_cells"], place, "x", color=SOFT, markersize=5)
        told = f"{_percent(row[target])}, even {_percent(row[f'{target}_even'])}, n {row[f'{target}_n']:,.0f}"
        told += f", p {row[f'{target}_p']:.2g}" if pd.notna(row[f"{target}_p"]) else ""
        axes.text(1.01, place, told, transform=axes.get_yaxis_transform(), va="center", fontsize=7.5, color=SOFT)
    largest = np.nanmax([row[name] for _, row in rows for name in (target, f"{target}_high", f"{target}_even")])
    axes.set_xlim(0, min(1.0, largest * 1.08 + 0.02))
    axes.grid(axis="x", color="#E8EBEE", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"share of the map {label}")


def _percent(share: float) -> str:
    """A share in percent; small ones, which a thin structure has, with a decimal."""
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"
