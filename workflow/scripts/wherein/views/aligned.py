"""Figure of maps that were laid over one another, side by side."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D

from wherein.tables import read_metadata
from wherein.views.maps import location_order, told
from wherein.views.style import INK, MULTI, UNKNOWN, class_styles, figure_file, heading, nothing_to_show, spread_labels

ACROSS = 3
"""Maps in a row."""


def plot_aligned(aligned: str, vocabulary: str, settings: dict[str, Any], figure: str) -> None:
    """Draw maps side by side on the same axes, the proteins that lie farthest from where they lay before by name.

    Args:
        aligned: results/aligned/models.parquet or results/aligned/releases/{model}.parquet.
        vocabulary: name of the vocabulary of locations.
        settings: the section `report` of the configuration.
        figure: PNG file.
    """
    table, about = pd.read_parquet(aligned), read_metadata(aligned)
    table["location"] = told(table["location"])
    names = table["map"].drop_duplicates().tolist()
    across = min(ACROSS, max(1, len(names)))
    down = -(-max(1, len(names)) // across)
    with figure_file(figure, 4.4 * across + 3.7, 4.3 * down + 1.2, settings["dpi"]) as drawing:
        heading(
            drawing,
            f"{table['protein'].nunique():,} proteins on {len(names)} aligned maps",
            f"Each point is a protein at its place by AlignedUMAP ({about.get('layout')}; alignment "
            f"{about.get('alignment')}, window {about.get('window')}, seed {about.get('seed')}), all maps on the same "
            f"axes{', the first two of three' if table['umap_3'].notna().any() else ''}. Coloured where it has one "
            "published location, grey where it has several. Named are those that lie farthest from their place on the "
            "map before: no test, but a place to look.",
        )
        whole, beside = drawing.subfigures(1, 2, width_ratios=[4.4 * across, 3.7])
        panels = whole.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
        for panel in panels[max(1, len(names)) :]:
            panel.set_axis_off()
        if not names:
            nothing_to_show(panels[0], "no map has proteins enough for UMAP")
            return
        styles = class_styles(location_order([vocabulary], table["location"]))
        for panel, name in zip(panels, names, strict=False):
            _draw(panel, table[table["map"] == name], styles, settings["named_proteins"] // max(1, 2 * len(names)))
            panel.set_title(name)
        _legend(beside, table, styles)


def _draw(axes: Axes, own: pd.DataFrame, styles: dict[str, tuple[str, str]], most: int) -> None:
    size = float(np.clip(6000 / len(own), 5, 30))
    # grey first, so that what has a colour lies on top
    for name in sorted(styles, key=lambda name: name not in (MULTI, UNKNOWN)):
        here = own["location"].eq(name)
        colour, shape = styles[name]
        axes.scatter(own["umap_1"][here], own["umap_2"][here], s=size, c=colour, marker=shape, alpha=0.85, linewidths=0)
    axes.set(xticks=[], yticks=[], xlabel="UMAP 1 (no unit)", ylabel="UMAP 2 (no unit)")
    axes.margins(0.05)
    far = own.dropna(subset=["shift"]).nlargest(most, "shift")
    spread_labels(axes, list(zip(far["umap_1"], far["umap_2"], far["protein"], strict=True)), most, color=INK)


def _legend(beside: SubFigure, table: pd.DataFrame, styles: dict[str, tuple[str, str]]) -> None:
    counts = table.drop_duplicates("protein")["location"].value_counts()
    handles = [
        Line2D([], [], marker=shape, linestyle="", color=colour, markersize=6, label=f"{name} ({counts[name]:,})")
        for name, (colour, shape) in styles.items()
        if name in counts
    ]
    beside.legend(handles=handles, title="location", loc="upper left", title_fontsize=9)
