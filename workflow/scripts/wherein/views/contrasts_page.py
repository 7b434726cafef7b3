"""The page of contrasts: which proteins are elsewhere or in other amounts in one condition than in another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from wherein.views.model import read_tsv
from wherein.views.site_data import Pictures, examples_of, put
from wherein.views.site_tables import paths_of
from wherein.views.style import (
    BAD,
    GREY,
    INK,
    OKABE_ITO,
    figure_file,
    heading,
    nothing_to_show,
    shortened,
    spread_labels,
)

SHOWN = 60
"""Rows of a contrast, the most certain first, whose example cells are drawn."""

REASONS = {
    "one_side": "seen on one side only",
    "few_replicates": "too few replicates on a side",
    "other_reagents": "no reagent is on both sides",
    "no_intensity": "too few replicates with an intensity",
}
"""Why a protein has no p, in words."""


def contrast_tables(inputs: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, pd.DataFrame]]:
    """The tables of every model and contrast: `proteins`, `classes`, `replicates`."""
    found: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}
    for name in ("proteins", "classes", "replicates"):
        for path in paths_of(dict(inputs), f"contrast_{name}"):
            contrast = Path(path).parent
            found.setdefault((contrast.parents[1].name, contrast.name), {})[name] = read_tsv(path)
    return found


def wanted_cells(inputs: Mapping[str, Any]) -> list[str]:
    """Cells of both sides of the most certain rows of every contrast."""
    wanted: list[str] = []
    for tables in contrast_tables(inputs).values():
        for row in tables["proteins"].head(SHOWN).itertuples():
            wanted += [cell for ids in (row.cells_a, row.cells_b) if isinstance(ids, str) for cell in ids.split(";")]
    return wanted


def contrast_pages(
    inputs: Mapping[str, Any],
    summaries: list[dict[str, Any]],
    folder: Path,
    pictures: Pictures,
    settings: dict[str, Any],
) -> list[dict[str, Any]]:
    """Write data and figures of the page.

    Args:
        inputs: paths of contrast_proteins, contrast_classes and contrast_replicates, one a model and contrast.
        summaries: of all jobs.
        folder: of the pages.
        pictures: where the pictures of cells are.
        settings: the section `report` of the configuration.

    Returns:
        For each model and contrast what the template is given: model, name, key (of the data), figure, a, b (the sides
        in words), notes, n (rows), n_tests, n_moved, n_replicates, n_abundance and n_abundance_tests (amounts that
        changed, and were tested), n_classes and n_class_tests (shares of classes, likewise), reasons (in words, and
        how many).
    """
    told = {each["item"]: each for each in summaries if each["stage"] == "contrast"}
    pages = []
    for (model, name), tables in contrast_tables(inputs).items():
        rows, classes = tables["proteins"], tables["classes"]
        key = f"contrast-{model}-{name}"
        put(folder / "data" / f"{key}.js", key, page_data(rows, classes, pictures))
        figure = f"figures/{model}/contrast-{name}.png"
        summary = told.get(f"{model}/{name}", {})
        sides = {side: side_in_words(summary.get(side, {})) for side in "ab"}
        draw_contrast(rows, f"{model}: {name}", sides, settings, folder / figure)
        reasons = rows["reason"].dropna().value_counts()
        pages.append(
            {
                "model": model,
                "name": name,
                "key": key,
                "figure": figure,
                **sides,
                "notes": summary.get("notes", []),
                "n": len(rows),
                "n_tests": int(rows["p"].notna().sum()),
                "n_moved": int(rows["moved"].astype(bool).sum()) if len(rows) else 0,
                "n_replicates": len(tables["replicates"]),
                "n_abundance": int((rows["q_abundance"] <= settings["max_q"]).sum()),
                "n_abundance_tests": int(rows["q_abundance"].notna().sum()),
                "n_classes": int((classes["q"] <= settings["max_q"]).sum()) if len(classes) else 0,
                "n_class_tests": int(classes["p"].notna().sum()) if len(classes) else 0,
                "reasons": [(REASONS.get(str(why), str(why)), int(count)) for why, count in reasons.items()],
            }
        )
    return pages


def side_in_words(side: Mapping[str, Any]) -> str:
    """A side of a contrast as people read it: `condition heat, cell line HeLa`."""
    words = []
    for column, value in side.items():
        values = value if isinstance(value, list) else [value]
        names = ["none" if each is None else str(each) for each in values]
        words.append(f"{column.replace('_', ' ')} {' or '.join(names)}")
    return ", ".join(words)


def page_data(rows: pd.DataFrame, classes: pd.DataFrame, pictures: Pictures) -> dict[str, Any]:
    """What the page's tables show: proteins with pictures of cells of either side, and changed classes."""
    columns = [name for name in rows.columns if name not in ("cells_a", "cells_b", "reason", "reason_abundance")]
    return {
        "proteins": {
            **{name: rows[name] for name in columns},
            "moved": rows["moved"].astype(bool).tolist(),
            "reason": [REASONS.get(why, why) if isinstance(why, str) else None for why in rows["reason"]],
            **{side: [examples_of(ids, pictures) for ids in rows[f"cells_{side}"]] for side in "ab"},
        },
        "classes": {name: classes[name] for name in classes.columns},
    }


def draw_contrast(
    rows: pd.DataFrame, title: str, sides: Mapping[str, str], settings: dict[str, Any], path: str | Path
) -> None:
    """Shift against change of abundance, quantiles of p, and from which class to which proteins moved.

    Args:
        rows: proteins.tsv.
        title: of the figure.
        sides: `a` and `b` in words.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    tested = rows[rows["p"].notna()]
    with figure_file(path, 14.0, 5.4, settings["dpi"]) as figure:
        heading(
            figure,
            title,
            f"Side a: {sides['a']}; side b: {sides['b']}. {len(tested)} proteins and cell lines with replicates on "
            "both sides (wells, not cells, are counted). Left: distance of the mean vectors, in standard deviations of "
            "a replicate, after what all proteins share was taken out. Middle: p of the shift (moderated F against "
            "relabelled replicates, pooled over proteins) and of abundance (moderated t). Right: proteins that moved.",
        )
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.15, 0.85, 1.1))
        if not len(tested):
            for axes in (left, middle, right):
                nothing_to_show(axes, "no protein has replicates enough on both sides")
            return
        _draw_change(left, tested, settings["named_proteins"])
        _draw_quantiles(middle, tested)
        _draw_from_to(right, tested[tested["moved"].astype(bool)])


def _draw_change(axes: Axes, rows: pd.DataFrame, most: int) -> None:
    moved = rows["moved"].astype(bool)
    brighter = rows["log2_ratio"].astype(float)
    x = brighter.fillna(0.0)
    for chosen, colour, label in ((~moved, GREY, "not moved"), (moved, BAD, "moved")):
        axes.scatter(x[chosen], rows.loc[chosen, "shift"], s=22, color=colour, label=f"{label} ({int(chosen.sum())})",
                     linewidths=0, alpha=0.85)  # fmt: skip
    axes.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xlabel("abundance, log$_2$ b over a" if brighter.notna().any() else "abundance was not measured")
    axes.set_ylabel("shift, standard deviations of a replicate")
    axes.set_title("Change of place and of amount")
    axes.legend(loc="best")
    axes.margins(0.12)
    named = rows[moved].head(most)
    points = [(float(x[row]), float(named.loc[row, "shift"]), str(named.loc[row, "protein"])) for row in named.index]
    spread_labels(axes, points, most, color=INK)


def _draw_quantiles(axes: Axes, rows: pd.DataFrame) -> None:
    top = 1.0
    for column, colour, label in (("p", OKABE_ITO[0], "shift"), ("p_abundance", OKABE_ITO[1], "abundance")):
        values = np.sort(rows[column].dropna().to_numpy(float))
        if not len(values):
            continue
        expected = -np.log10((np.arange(len(values)) + 0.5) / len(values))
        # strong findings would flatten all the others
        axes.scatter(expected, np.minimum(-np.log10(np.maximum(values, 1e-300)), 10.0), s=16, color=colour, label=label,
                     linewidths=0, alpha=0.85)  # fmt: skip
        top = max(top, float(expected.max()))
    axes.plot([0, top], [0, top], color="#444", linewidth=0.9, linestyle=":")
    axes.set_xlabel("expected $-\\log_{10}$ p")
    axes.set_ylabel("found $-\\log_{10}$ p (drawn up to 10)")
    axes.set_title("Quantiles of p")
    axes.legend(loc="upper left")


def _draw_from_to(axes: Axes, rows: pd.DataFrame) -> None:
    known = rows.dropna(subset=["from_class", "to_class"])
    if not len(known):
        why = "nothing moved" if not len(rows) else "the model predicts no classes"
        nothing_to_show(axes, why)
        return
    counts = pd.crosstab(known["from_class"], known["to_class"])
    axes.imshow(counts.to_numpy(float), cmap="Blues", vmin=0, vmax=max(2.0, float(counts.to_numpy().max()) * 1.3))
    for (row, column), value in np.ndenumerate(counts.to_numpy()):
        if value:
            axes.text(column, row, str(value), ha="center", va="center", fontsize=8.5)
    axes.set_xticks(range(counts.shape[1]), [shortened(name, 22) for name in counts.columns], rotation=40, ha="right")
    axes.set_yticks(range(counts.shape[0]), [shortened(name, 22) for name in counts.index])
    # few classes do not make giant squares
    axes.set_xlim(-0.5, max(counts.shape[1], 4) - 0.5)
    axes.set_ylim(max(counts.shape[0], 4) - 0.5, -0.5)
    axes.set_xlabel("to: share rises most")
    axes.set_ylabel("from: share falls most")
    axes.set_title("Where moved proteins went")
