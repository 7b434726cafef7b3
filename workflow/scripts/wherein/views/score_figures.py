"""Figures of one model's scores: curves, confusions, groups of fields, leaks, people."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from wherein.views.comparison_figures import logarithmic
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
    words,
)

SPLITS = {"gene_fold": "genes", "field_fold": "fields"}
"""How the figure calls the splits; models are scored by that of genes."""


def plot_scores(model: str, inputs: Mapping[str, str], settings: dict[str, Any], outputs: Mapping[str, str]) -> None:
    """Draw what a model's scores are made of.

    Args:
        model: the model's name.
        inputs: `classes`, `groups`, `tests`, `curves`, `confusion`, `neighbours`, `leaks`, `judges`.
        settings: the section `report` of the configuration.
        outputs: PNGs `curves`, `confusion`, `groups`, `leaks`, `judges`.
    """
    found = {name: _read(path) for name, path in inputs.items() if name != "leaks"}
    leaks = json.loads(Path(inputs["leaks"]).read_text(encoding="utf-8"))
    draw_curves(found["curves"], found["classes"], model, settings, outputs["curves"])
    draw_confusion(found["confusion"], model, settings, outputs["confusion"])
    draw_groups(found["groups"], found["tests"], model, settings, outputs["groups"])
    draw_leaks(found["neighbours"], leaks, model, settings, outputs["leaks"])
    draw_judges(found["judges"], model, settings, outputs["judges"])


def _read(path: str) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype={"value": str, "class": str})


def draw_curves(curves: pd.DataFrame, classes: pd.DataFrame, model: str, settings: dict[str, Any], path: str) -> None:
    """Precision over recall of each location, the working point marked.

    Args:
        curves: results/evaluation/{model}/curves.tsv.
        classes: results/evaluation/{model}/classes.tsv.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    fields = classes[classes["level"] == "field"].set_index("class")
    names = list(dict.fromkeys(curves["class"]))
    columns = 6
    rows = max(-(-len(names) // columns), 1)
    with figure_file(path, 12.5, 1.3 + 1.95 * rows, settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: precision and recall of each location",
            "Over all scored fields. Point: at the thresholds in use, which may differ from fold to fold. AP: average "
            "precision, the mean over folds. Dashed: what guessing gives.",
        )
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes in grid.ravel()[len(names) :]:
            axes.set_axis_off()
        if not names:
            nothing_to_show(grid[0, 0], "no field was scored")
            return
        total = fields["n"].max()
        for axes, name in zip(grid.ravel(), names, strict=False):
            own, row = curves[curves["class"] == name], fields.loc[name]
            axes.plot(own["recall"], own["precision"], color=OKABE_ITO[0], linewidth=1.6)
            axes.plot(row["recall"], row["precision"], "o", color=OKABE_ITO[3], markersize=5)
            share = own["precision"].iloc[-1] if own["recall"].iloc[-1] == 1 else row["n"] / total
            axes.axhline(share, color=GREY, linewidth=0.8, linestyle="--")
            area = "–" if pd.isna(row["average_precision"]) else f"{row['average_precision']:.2f}"
            axes.set_title(f"{shortened(name, 23)}\nn {row['n']:,}, AP {area}", fontsize=8)
            axes.set_xlim(-0.02, 1.02)
            axes.set_ylim(-0.02, 1.05)
            axes.set_xticks([0, 0.5, 1])
        for axes in grid.ravel()[max(len(names) - columns, 0) : len(names)]:
            axes.set_xlabel("recall")
        for axes in grid[:, 0]:
            axes.set_ylabel("precision")


def draw_confusion(confusion: pd.DataFrame, model: str, settings: dict[str, Any], path: str) -> None:
    """What fields with one location are taken for, as shares of each row (Rumetshofer et al. 2019, Fig. 4)."""
    answers = list(dict.fromkeys(confusion["answer"])) or ["most probable"]
    names = [name for name in confusion.columns if name not in ("answer", "class")]
    rows = max(int(confusion.groupby("answer").size().max()) if len(confusion) else 0, 4)
    with figure_file(path, 4.2 + 5.6 * len(answers), 3.0 + 0.27 * rows, settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: what fields with one location are taken for",
            "Rows: the published location, with its fields; columns: the most probable one, before and after the last "
            "layer was tuned to such fields. Shares of the row; where most of a row lies off the diagonal, two "
            "locations look alike to the model.",
        )
        grid = figure.subplots(1, len(answers), squeeze=False)[0]
        if not len(confusion):
            nothing_to_show(grid[0], "no scored field has a single location")
            return
        for axes, answer in zip(grid, answers, strict=True):
            own = confusion[confusion["answer"] == answer]
            shown = [name for name in names if own[name].sum() or name in set(own["class"])]
            _draw_matrix(axes, own.set_index("class")[shown], answer)


def _draw_matrix(axes: Axes, counts: pd.DataFrame, title: str) -> None:
    total = counts.sum(axis=1)
    share = counts.div(total.replace(0, 1), axis=0)
    axes.imshow(share, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for y, name in enumerate(share.index):
        for x, other in enumerate(share.columns):
            value = share.loc[name, other]
            if value >= 0.005:
                colour = "white" if value < 0.55 else INK
                axes.text(x, y, f"{value:.0%}"[:-1], ha="center", va="center", fontsize=6.5, color=colour)
    axes.set_yticks(range(len(share)), [f"{shortened(name, 26)} ({total[name]:,})" for name in share.index])
    axes.set_xticks(range(share.shape[1]), [shortened(name, 24) for name in share.columns], rotation=60, ha="right")
    axes.tick_params(length=0, labelsize=7.5)
    right = sum(counts.loc[name, name] for name in counts.index if name in counts)
    axes.set_title(f"{title}: {right / max(total.sum(), 1):.0%} of {total.sum():,} right")


def draw_groups(groups: pd.DataFrame, tests: pd.DataFrame, model: str, settings: dict[str, Any], path: str) -> None:
    """Mean F1 of groups of fields with intervals; F1 of each location against its training fields.

    Args:
        groups: results/evaluation/{model}/groups.tsv.
        tests: results/evaluation/{model}/tests.tsv.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    means = groups[groups["class"].isna() & (groups["n"] > 0)]
    with figure_file(path, 12.0, 1.7 + max(0.36 * len(means), 3.2), settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: which fields it tells well",
            "Left: mean F1 over locations, line: 95 % of draws of genes; p: two-sample Kolmogorov-Smirnov test of the "
            "fields' own F1, with one location against several, and a cell line against all others. Right: F1 of each "
            "location against its training fields.",
        )
        left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
        if not len(means):
            nothing_to_show(left, "no field was scored")
            right.set_axis_off()
            return
        places = np.arange(len(means))
        left.hlines(places, means["f1_low"], means["f1_high"], color=OKABE_ITO[0], linewidth=5, alpha=0.28)
        left.plot(means["f1"], places, "o", color=OKABE_ITO[0], markersize=7)
        p = {(row.group, row.value): row.p for row in tests.itertuples()}
        for place, row in enumerate(means.itertuples()):
            told = "–" if pd.isna(row.f1) else f"{row.f1:.2f}"
            test = p.get((row.group, row.value))
            told += f"  n {row.n:,}" + (f"  p {test:.2g}" if test is not None and pd.notna(test) else "")
            left.text(1.02, place, told, transform=left.get_yaxis_transform(), va="center", fontsize=8, color=SOFT)
        left.set_yticks(places, [_group_name(row) for row in means.itertuples()])
        left.set_ylim(len(means) - 0.4, -0.6)
        left.set_xlim(0, 1)
        left.grid(axis="x", color="#E8EBEE", linewidth=0.7)
        left.set_axisbelow(True)
        left.set_xlabel("mean F1 over locations")
        _draw_training(right, groups)


def _group_name(row: Any) -> str:
    if row.group == "all":
        return "all fields"
    return f"{row.value} location{'s' if row.value == 'several' else ''}" if row.group == "locations" else row.value


def _draw_training(axes: Axes, groups: pd.DataFrame) -> None:
    own = groups[(groups["group"] == "all") & groups["class"].notna() & (groups["n_train"] > 0)].dropna(subset=["f1"])
    if not len(own):
        nothing_to_show(axes, "what this model was trained on is not known")
        return
    axes.vlines(own["n_train"], own["f1_low"], own["f1_high"], color=OKABE_ITO[0], linewidth=1, alpha=0.25)
    axes.scatter(own["n_train"], own["f1"], s=30, color=OKABE_ITO[0], zorder=3)
    logarithmic(axes)
    axes.set_ylim(-0.04, 1.08)
    axes.set_xlabel("training fields of the location")
    axes.set_ylabel("F1")
    labels = [shortened(name, 24) for name in own["class"]]
    spread_labels(axes, list(zip(own["n_train"], own["f1"], labels, strict=True)), 40)


def draw_leaks(
    neighbours: pd.DataFrame, leaks: Mapping[str, Any], model: str, settings: dict[str, Any], path: str
) -> None:
    """How often the nearest field across a split was prepared together with a field, and what plates tell.

    Args:
        neighbours: results/evaluation/{model}/neighbours.tsv.
        leaks: leaks.json.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    with figure_file(path, 12.0, 4.4, settings["dpi"]) as figure:
        heading(
            figure,
            f"{model}: what its vectors know of the preparation",
            "Left: share of fields whose nearest field on the other side of a split is of the same sample, antibody or "
            "plate, of those that have one there. Models are scored by the split of genes; by one of fields, a metric "
            "learning model found 69 % of samples (Ouyang et al. 2019). Right: how well locations are told, by the "
            "model and by the plate alone.",
        )
        left, right = figure.subplots(1, 2, width_ratios=[1.7, 1])
        _draw_neighbours(left, neighbours)
        _draw_batch(right, leaks["batch"])


def _draw_neighbours(axes: Axes, neighbours: pd.DataFrame) -> None:
    if not (neighbours["n_with_partner"] > 0).any():
        nothing_to_show(axes, "no field has a partner across a split: samples, antibodies and plates are not known")
        return
    # a gap between the splits
    places = np.arange(len(neighbours)) + 0.6 * (neighbours["split"] != neighbours["split"].iloc[0])
    names = []
    for place, row in zip(places, neighbours.itertuples(), strict=True):
        shown = "antibody or tag" if row.attribute == "reagent" else words(row.attribute)
        names.append(f"{shown}, split of {SPLITS.get(row.split, row.split)}")
        if pd.isna(row.share):
            axes.text(0.01, place, "none on the other side: nothing can leak", va="center", fontsize=8, color=SOFT)
            continue
        axes.barh(place, row.share, height=0.6, color=BAD if row.alarm else OKABE_ITO[0])
        axes.plot([row.chance] * 2, [place - 0.36, place + 0.36], color=INK, linewidth=1.6)
        axes.plot([row.chance_alike] * 2, [place - 0.36, place + 0.36], color=INK, linewidth=1.2, linestyle=":")
        told = f"{row.share:.0%} of {row.n_with_partner:,}, p {row.p:.2g}; among alike p {row.p_alike:.2g}"
        axes.text(
            max(row.share, row.chance, row.chance_alike) + 0.015, place, told, va="center", fontsize=7.5, color=SOFT
        )
    axes.set_yticks(places, names)
    axes.set_ylim(places.max() + 0.6, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("nearest field is a partner   (line: by chance; dotted: by chance among fields that look alike)")


def _draw_batch(axes: Axes, batch: Mapping[str, Any]) -> None:
    figures = (
        ("the model", batch["model_auc"], OKABE_ITO[0]),
        ("the model, within plates", batch["model_auc_within"], OKABE_ITO[0]),
        ("the plate alone", batch["plate_auc"], BAD if batch["alarm"] else OKABE_ITO[1]),
        ("plates dealt anew", batch["chance"], GREY),
    )
    if batch["plate_auc"] is None:
        nothing_to_show(axes, "fewer than two plates are known")
        return
    for place, (_, value, colour) in enumerate(figures):
        if value is None:
            axes.text(0.01, place, "no location can be compared within a plate", va="center", fontsize=8, color=BAD)
            continue
        axes.barh(place, value, height=0.6, color=colour)
        axes.text(value + 0.015, place, f"{value:.2f}", va="center", fontsize=8, color=SOFT)
    axes.axvline(0.5, color=SOFT, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(figures)), [name for name, _, _ in figures])
    axes.set_ylim(len(figures) - 0.4, -0.6)
    axes.set_xlim(0, 1.12)
    axes.set_xlabel("mean AUC over locations")
    axes.set_title(f"{batch['n_plates']} plates, p {batch['p']:.2g}")


def draw_judges(judges: pd.DataFrame, model: str, settings: dict[str, Any], path: str) -> None:
    """The model beside people who annotated the same fields (Rumetshofer et al. 2019, Tables 2 and 3)."""
    with figure_file(path, 10.0, 1.8 + max(0.34 * len(judges), 2.2), settings["dpi"]) as figure:
        heading(
            figure,
            f"{model} and people, on fields with one location",
            "Accuracy; point: mean F1 over locations. p: McNemar's test against the model on the same fields.",
        )
        axes = figure.subplots()
        if not len(judges):
            nothing_to_show(
                axes, "no people's annotations of scored fields: name their table under evaluate.annotations"
            )
            return
        places = np.arange(len(judges))
        colours = [OKABE_ITO[0] if group == "model" else "#BFD7E8" for group in judges["group"]]
        axes.barh(places, judges["accuracy"], color=colours, height=0.7)
        axes.plot(judges["f1"], places, "o", color=OKABE_ITO[3], markersize=5)
        for place, row in enumerate(judges.itertuples()):
            told = f"{row.accuracy:.2f}  n {row.n:,}" + ("" if pd.isna(row.p) else f"  p {row.p:.2g}")
            axes.text(1.02, place, told, transform=axes.get_yaxis_transform(), va="center", fontsize=8, color=SOFT)
        axes.set_yticks(places, [shortened(name, 40) for name in judges["judge"]])
        axes.set_ylim(len(judges) - 0.4, -0.6)
        axes.set_xlim(0, 1)
        axes.set_xlabel("accuracy")
