"""The page of abundance: how much of each protein there is, above which background."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from wherein.views.model import read_tsv
from wherein.views.model_pages import records
from wherein.views.site_data import put, together
from wherein.views.site_tables import paths_of
from wherein.views.style import BAD, GREY, OKABE_ITO, figure_file, heading, nothing_to_show, shortened

REASONS = {
    "no_controls": "its source has no controls",
    "one_control": "its source has one control sample alone",
    "controls_alike": "its control samples do not differ",
    "no_signal": "no intensity above 0",
}
"""Why no protein was called, in words."""

FIGURE = "figures/abundance.png"


def abundance_page(
    inputs: Mapping[str, Any],
    judged: pd.DataFrame,
    sources: Mapping[str, Any],
    folder: Path,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Write data and figure of the page.

    Args:
        inputs: paths of abundance, abundance_samples and abundance_background.
        judged: fields with `protein` and `labels`.
        sources: the section `sources` of the configuration.
        folder: of the pages.
        settings: the section `report` of the configuration.

    Returns:
        What the template is given: n (rows), n_tests, n_detected, background (rows), reasons (in words, and how many),
        figure, drawn (sources that are simulated).
    """
    rows = pd.read_parquet(paths_of(dict(inputs), "abundance")[0])
    background = read_tsv(paths_of(dict(inputs), "abundance_background")[0])
    named = judged.dropna(subset=["protein"]).groupby("protein")["labels"]
    first = {name: together(lists) for name, lists in named}
    rows["labels"] = [";".join(first.get(name, [])) or None for name in rows["protein"]]
    content = {name: rows[name] for name in rows.columns if name not in ("reason", "detected")}
    content["reason"] = [REASONS.get(why, why) if isinstance(why, str) else None for why in rows["reason"]]
    content["detected"] = [None if pd.isna(value) else bool(value) for value in rows["detected"]]
    put(folder / "data" / "abundance.js", "abundance", content)
    draw_abundance(rows, settings, folder / FIGURE)
    reasons = rows["reason"].dropna().value_counts()
    return {
        "n": len(rows),
        "n_tests": int(rows["p"].notna().sum()),
        "n_detected": int(rows["detected"].eq(True).sum()),
        "background": records(background),
        "reasons": [(REASONS.get(str(why), str(why)), int(count)) for why, count in reasons.items()],
        "figure": FIGURE,
        "drawn": [name for name, source in sources.items() if source["kind"] == "simulated"],
    }


def draw_abundance(rows: pd.DataFrame, settings: dict[str, Any], path: str | Path) -> None:
    """Signal over location, and the share of detected proteins of each location.

    Args:
        rows: abundance.parquet with `labels`.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    labels = rows["labels"].astype(object).fillna("").astype(str)
    place = labels.where(~labels.str.contains(";"), "several").replace("", "none published")
    order = [name for name in place.value_counts().index if name not in ("several", "none published")]
    order += [name for name in ("several", "none published") if (place == name).any()]
    with figure_file(path, 12.0, max(3.6, 1.6 + 0.27 * len(order)), settings["dpi"]) as figure:
        heading(
            figure,
            "Abundance beside localization",
            f"{len(rows)} proteins in a source, cell line and condition. Left: mean protein intensity of their cells "
            "above the background of controls, as a share of the full scale (of the intensity, where a source tells no "
            "full scale); lines: medians. Right: share called brighter than controls (one-sided t over samples, "
            "Benjamini-Hochberg over all that were tested).",
        )
        left, right = figure.subplots(1, 2, width_ratios=(1.6, 1.0), sharey=True)
        if not len(rows):
            nothing_to_show(left, "no cell has an intensity")
            nothing_to_show(right, "no cell has an intensity")
            return
        _draw_signal(left, rows, place, order)
        _draw_detected(right, rows, place, order)


def _draw_signal(axes: Axes, rows: pd.DataFrame, place: pd.Series, order: list[str]) -> None:
    whole = rows["relative"].notna().all()
    values = rows["relative" if whole else "signal"].astype(float) * (100 if whole else 1)
    rng = np.random.default_rng(0)
    for number, name in enumerate(order):
        own = values[place == name].to_numpy()
        axes.scatter(
            own, number + rng.uniform(-0.22, 0.22, len(own)), s=13, color=OKABE_ITO[0], alpha=0.7, linewidths=0
        )
        axes.plot([np.median(own)] * 2, [number - 0.33, number + 0.33], color="black", linewidth=1.4)
    axes.axvline(0, color=GREY, linewidth=0.9, linestyle=":")
    axes.set_yticks(range(len(order)), [f"{shortened(name, 34)} ({int((place == name).sum())})" for name in order])
    axes.invert_yaxis()
    axes.set_xlabel("mean intensity above background, % of full scale" if whole else "mean intensity above background")
    axes.set_title("How much there is")


def _draw_detected(axes: Axes, rows: pd.DataFrame, place: pd.Series, order: list[str]) -> None:
    if not rows["p"].notna().any():
        nothing_to_show(axes, "nothing was tested: a source needs two control samples at least")
        return
    for number, name in enumerate(order):
        own = rows[(place == name) & rows["p"].notna()]
        if len(own):
            found = int(own["detected"].eq(True).sum())
            axes.barh(number, 100 * found / len(own), color=BAD if not found else OKABE_ITO[2], height=0.62)
            axes.annotate(f"{found} of {len(own)}", (100 * found / len(own), number), (5, -3), fontsize=7.5,
                          textcoords="offset points")  # fmt: skip
    axes.set_xlim(0, 118)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xlabel("detected, %")
    axes.set_title("Brighter than controls")
