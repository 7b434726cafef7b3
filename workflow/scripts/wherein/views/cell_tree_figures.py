"""Figures of trees of cells: one protein's cells, what they look like in each clade (Lu et al. 2019, Fig 6)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.cluster.hierarchy import dendrogram

from wherein.tables import read_tables
from wherein.views.cell_pictures import CropImages
from wherein.views.composites import composite, contrast, fitted, grey, legend_in_words, reduced
from wherein.views.pages import file_name
from wherein.views.style import INK, OKABE_ITO, SOFT, figure_file, heading

SHOWN = 6
"""Cells shown of each clade: those nearest to its mean."""

TILE_PX = 132


def draw_cell_trees(
    trees: pd.DataFrame,
    links: dict[str, list[list[float]]],
    inputs: dict[str, Any],
    model: str,
    settings: dict[str, Any],
    folder: Path,
) -> None:
    """Draw one figure a protein.

    Args:
        trees: results/atlas/{model}/cell_trees.parquet.
        links: protein -> its tree, as the table's metadata have it.
        inputs: paths `cells` and `crops`.
        model: name of the model.
        settings: the section `report` of the configuration.
        folder: where the PNGs go.
    """
    if not links:
        return
    shown = trees.sort_values("middle").groupby(["protein", "clade"]).head(SHOWN)
    columns = ["cell_id", "source", "shard", "crop_index"]
    paths = [inputs["cells"]] if isinstance(inputs["cells"], str) else list(inputs["cells"])
    ledger = read_tables(paths, columns)
    ledger = ledger[ledger["cell_id"].isin(set(shown["unit_id"])) & ledger["crop_index"].notna()]
    stores = [inputs["crops"]] if isinstance(inputs["crops"], str) else list(inputs["crops"])
    images = CropImages(stores)
    for protein, rows in trees.groupby("protein", sort=False):
        own = ledger[ledger["cell_id"].isin(set(shown.loc[shown["protein"] == protein, "unit_id"]))]
        pictures = _pictures(own, images, settings)
        # the tree's leaf k is the k-th row of the table
        draw_cell_tree(rows.reset_index(drop=True), links[protein], pictures, protein, model, settings,
                       folder / f"{file_name(protein)}.png")  # fmt: skip


def _pictures(cells: pd.DataFrame, images: CropImages, settings: dict[str, Any]) -> dict[str, tuple[np.ndarray, str]]:
    """cell_id -> composite and protein side by side, at one contrast a source, and the colours in words."""
    found: dict[str, tuple[np.ndarray, str]] = {}
    for _, own in cells.groupby("source", sort=False):
        channels = images.read(own)
        together = {role: np.concatenate([cell[role].ravel() for cell in channels]) for role in channels[0]}
        limits = contrast(together, settings["low_percentile"], settings["high_percentile"])
        for cell_id, cell in zip(own["cell_id"], channels, strict=True):
            small, _ = reduced(cell, TILE_PX)
            role = "protein" if "protein" in small else next(iter(small))
            pair = [fitted(composite(small, limits), TILE_PX), fitted(grey(small[role], limits[role]), TILE_PX)]
            found[cell_id] = (np.concatenate(pair, axis=0), legend_in_words(list(cell)))
    return found


def draw_cell_tree(
    rows: pd.DataFrame,
    links: list[list[float]],
    pictures: dict[str, tuple[np.ndarray, str]],
    protein: str,
    model: str,
    settings: dict[str, Any],
    path: Path,
) -> None:
    """The tree of one protein's cells, stripes of field and predicted location, and cells of each clade.

    Args:
        rows: rows of cell_trees.parquet of this protein.
        links: its tree.
        pictures: cell_id -> picture and its colours in words.
        protein: name.
        model: name of the model.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    clades = int(rows["clade"].max())
    words = next((text for _, text in pictures.values()), "")
    with figure_file(path, 11.0, 2.3 + 1.95 * clades, settings["dpi"]) as figure:
        heading(
            figure,
            f"{protein}: {len(rows)} cells by {model}",
            f"Left: the cells in the order of their tree, with the field they are from and the location that the model "
            f"finds most probable. Right: of each of the {clades} highest clades the cells nearest to its mean; above "
            f"{words}, below the protein alone, all at one contrast. A clade of one field only may tell of that field "
            "rather than of the protein.",
        )
        left, right = figure.subfigures(1, 2, width_ratios=[3.4, 7.6])
        _tree_and_stripes(left, rows, links)
        _cells_of_clades(right, rows, pictures, clades)


def _tree_and_stripes(figure: Any, rows: pd.DataFrame, links: list[list[float]]) -> None:
    tree_axes, clade_axes, field_axes, location_axes = figure.subplots(1, 4, width_ratios=[2.6, 0.2, 0.3, 0.3])
    dendrogram(np.asarray(links, float), orientation="left", ax=tree_axes, no_labels=True,
               link_color_func=lambda _: "#555E69")  # fmt: skip
    tree_axes.set_ylim(10 * len(rows), 0)
    tree_axes.set_axis_off()
    order = np.argsort(rows["leaf"].to_numpy())
    _stripe(clade_axes, [("#3E4855", "#B9C0C8")[one % 2] for one in rows["clade"].to_numpy()[order]], "clade")
    for one in range(1, int(rows["clade"].max()) + 1):
        own = np.flatnonzero(rows["clade"].to_numpy()[order] == one)
        clade_axes.text(0, own.mean(), str(one), ha="center", va="center", fontsize=8,
                        color=INK,
                        bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"})  # fmt: skip
    fields = list(dict.fromkeys(rows["field_id"]))
    greys = {name: str(0.25 + 0.6 * number / max(1, len(fields) - 1)) for number, name in enumerate(fields)}
    _stripe(field_axes, [greys[name] for name in rows["field_id"].to_numpy()[order]], f"field ({len(fields)})")
    location = rows["location"].where(rows["location"].notna(), "not told").to_numpy(object)[order]
    counts = pd.Series(location).value_counts()
    colours = {
        name: OKABE_ITO[number] if number < len(OKABE_ITO) else "#C9CDD2" for number, name in enumerate(counts.index)
    }
    _stripe(location_axes, [colours[name] for name in location], "location")
    shown = [f"{name} ({count})" for name, count in counts.head(len(OKABE_ITO)).items()]
    handles = [Patch(color=colours[name]) for name in counts.index[: len(OKABE_ITO)]]
    figure.legend(handles=handles, labels=shown, loc="outside lower left", fontsize=7,
                  title="most probable location", title_fontsize=7.5)  # fmt: skip


def _stripe(axes: Axes, colours: list[str], name: str) -> None:
    axes.imshow(np.asarray([[to_rgb(colour)] for colour in colours]), aspect="auto", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(name, rotation=90, fontsize=7.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _cells_of_clades(
    figure: Figure, rows: pd.DataFrame, pictures: dict[str, tuple[np.ndarray, str]], clades: int
) -> None:
    grid = figure.subplots(clades, 1, squeeze=False)[:, 0]
    for one, axes in enumerate(grid, 1):
        own = rows[rows["clade"] == one].sort_values("middle")
        told = own["location"].dropna().value_counts()
        text = f"clade {one}: {len(own)} cells of {own['field_id'].nunique()} fields"
        if len(told):
            text += f", mostly {told.index[0]} ({told.iloc[0] / len(own):.0%})"
        axes.set_title(text, fontsize=8.5)
        tiles = [pictures[cell][0] for cell in own["unit_id"].head(SHOWN) if cell in pictures]
        blank = np.full((2 * TILE_PX, TILE_PX, 3), 255, np.uint8)
        gap = np.full((2 * TILE_PX, 4, 3), 255, np.uint8)
        strip = [part for tile in (tiles + [blank] * SHOWN)[:SHOWN] for part in (tile, gap)]
        axes.imshow(np.concatenate(strip, axis=1), interpolation="antialiased")
        axes.set_axis_off()
        if not tiles:
            axes.text(0.5, 0.5, "no pictures of these cells", ha="center", transform=axes.transAxes, color=SOFT)
