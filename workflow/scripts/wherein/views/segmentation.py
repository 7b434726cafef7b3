"""Figures of segmentation: outlines over fields, and what the outlines measure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from wherein.readers import UnreadableImage
from wherein.reasons import CELL_REASONS, KEPT, PASSED
from wherein.segmentation.masks import read_masks
from wherein.tables import read_tables
from wherein.views.composites import composite, contrast, legend_in_words, outlines, painted, reduced, reduced_labels
from wherein.views.examples import FieldImages, fields_with_verdict, in_turns
from wherein.views.style import BAD, GOOD, OKABE_ITO, figure_file, heading, nothing_to_show, words

CELL_LINE = (255, 255, 255)
REJECTED_LINE = (255, 150, 30)
NUCLEUS_LINE = (0, 255, 255)
SHOWN_PX = 900


def plot_segmentation(
    fields: str,
    files: Sequence[str],
    qc: Sequence[str],
    masks: Sequence[str],
    cells: Sequence[str],
    settings: dict[str, Any],
    overlays: str,
    measures: str,
) -> None:
    """Draw outlines over fields of every source and cell line, and counts and sizes of the cells.

    Args:
        fields: results/catalog/fields.parquet.
        files: results/download/{shard}.parquet of all shards.
        qc: results/qc/{shard}.parquet of all shards.
        masks: results/masks/{shard}.zarr of all shards.
        cells: results/cells/{shard}.parquet of all shards.
        settings: the section `report` of the configuration.
        overlays: PNG of the outlines.
        measures: PNG of counts and sizes.
    """
    judged = fields_with_verdict(fields, qc)
    ledger = read_tables(cells)
    draw_overlays(judged, ledger, FieldImages(files), {Path(path).stem: path for path in masks}, settings, overlays)
    draw_measures(judged, ledger, settings, measures)


def draw_overlays(
    judged: pd.DataFrame,
    ledger: pd.DataFrame,
    images: FieldImages,
    masks: dict[str, str],
    settings: dict[str, Any],
    path: str,
) -> None:
    """Outlines of nuclei, kept and rejected cells over composites, with a scale bar.

    Args:
        judged: as `fields_with_verdict` gives it.
        ledger: all rows of results/cells.
        images: where the pixels come from.
        masks: shard -> path of its masks.
        settings: the section `report` of the configuration.
        path: PNG file.
    """
    passed = judged[judged["status"] == PASSED]
    chosen = in_turns(passed, ["source", "cell_line"], settings["overlay_fields"])
    columns = max(1, min(3, len(chosen)))
    rows = max(1, -(-len(chosen) // columns))
    tall = float((chosen["height"] / chosen["width"]).max()) if len(chosen) else 0.6
    with figure_file(path, max(6.5, 4.5 * columns), 0.9 + (0.35 + 4.3 * tall) * rows, settings["dpi"]) as figure:
        heading(
            figure,
            "Outlines of nuclei and cells over fields",
            "Cyan: nuclei. White: cells that were kept. Orange: cells that were not (at the border, too small, without "
            "a nucleus, ...). Look for cells that were merged, split or missed. Colours: "
            + legend_in_words(["protein", "nucleus", "microtubules", "er", "reference"]) + ".",
        )  # fmt: skip
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes:
            axis.set_axis_off()
        if not len(chosen):
            why = "no field passed quality control" if len(judged) else "there are only crops that were made elsewhere"
            nothing_to_show(axes[0], f"{why}, so nothing was outlined")
        for axis, (_, field) in zip(axes, chosen.iterrows(), strict=False):
            _draw_overlay(axis, field, ledger, images, masks, settings)


def _draw_overlay(
    axes: Axes,
    field: pd.Series,
    ledger: pd.DataFrame,
    images: FieldImages,
    masks: dict[str, str],
    settings: dict[str, Any],
) -> None:
    key = (field["field_id"], field["version"])
    try:
        small, scale = reduced(images.read(*key), SHOWN_PX)
        nucleus, cell = read_masks(masks[field["shard"]], *key)
    except (UnreadableImage, KeyError) as error:
        nothing_to_show(axes, f"{field['field_id']}: {error}")
        return
    picture = composite(small, contrast(small, settings["low_percentile"], settings["high_percentile"]))
    mine = ledger[(ledger["field_id"] == key[0]) & (ledger["version"] == key[1])]
    kept = mine.loc[mine["status"] == KEPT, "label"].to_numpy()
    axes.imshow(outlined(picture, nucleus, cell, kept), interpolation="nearest")
    lines = [name for name in (field["name"], field["cell_line"]) if name]
    axes.set_title(f"{' · '.join(lines) or field['field_id']}: {len(kept)} of {len(mine)} kept", fontsize=9.5)
    scale_bar(axes, picture.shape[:2], settings["scale_bar_um"], field["pixel_size_um"] / scale)


def outlined(picture: np.ndarray, nucleus: np.ndarray, cell: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Draw outlines on a picture.

    Args:
        picture: (h, w, 3) uint8.
        nucleus: (H, W) uint32 labels; larger than the picture where that was reduced.
        cell: (H, W) uint32 labels.
        kept: labels of the cells that were kept.

    Returns:
        (h, w, 3) uint8.
    """
    shape = picture.shape[:2]
    small_cell, small_nucleus = reduced_labels(cell, shape), reduced_labels(nucleus, shape)
    edge = outlines(small_cell)
    good = np.isin(small_cell, kept)
    picture = painted(picture, edge & ~good, REJECTED_LINE)
    picture = painted(picture, edge & good, CELL_LINE)
    return painted(picture, outlines(small_nucleus), NUCLEUS_LINE)


def scale_bar(axes: Axes, shape: tuple[int, int], length_um: float, pixel_um: float) -> None:
    """Draw a bar of `length_um`, halved until it fits, at the lower right of an image of `shape` pixels."""
    while length_um / pixel_um > 0.6 * shape[1]:
        length_um /= 2
    length = length_um / pixel_um
    y, x = shape[0] * 0.955, shape[1] * 0.96
    for width, colour in ((5.5, "black"), (3.0, "white")):
        axes.plot([x - length, x], [y, y], color=colour, linewidth=width, solid_capstyle="butt")
    label = axes.text(
        x - length / 2, y - shape[0] * 0.018, f"{length_um:g} µm", ha="center", va="bottom", color="white"
    )
    label.set_bbox({"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "pad": 1.5})
    label.set_fontsize(8)


def draw_measures(judged: pd.DataFrame, ledger: pd.DataFrame, settings: dict[str, Any], path: str) -> None:
    """Why labels were kept or not, cells a field, and areas of cells and nuclei, by cell line."""
    with figure_file(path, 11.0, 6.6, settings["dpi"]) as figure:
        kept = ledger[ledger["status"] == KEPT] if len(ledger) else ledger
        heading(
            figure,
            f"{len(kept):,} of {len(ledger):,} outlined cells were kept",
            "Every outlined nucleus or cell has one row in the ledger and one reason. Sizes are those of kept cells; "
            "cell lines with more than one peak, or a long tail, point to merged or split cells.",
        )
        axes = figure.subplots(2, 2)
        if not len(ledger):
            for axis in axes.ravel():
                nothing_to_show(axis, "no cell was outlined")
            return
        _draw_reasons(axes[0, 0], ledger)
        kept = kept.merge(judged[["field_id", "version", "cell_line"]], on=["field_id", "version"], how="left")
        kept["cell_line"] = kept["cell_line"].fillna("cell line not given")
        _draw_groups(axes[0, 1], _per_field(judged, kept), "kept cells in a field", "Cells in a field")
        areas = {name: group.dropna().to_numpy() for name, group in kept.groupby("cell_line")["area_um2"]}
        _draw_groups(axes[1, 0], areas, "area of a cell in µm²", "Cell size")
        areas = {name: group.dropna().to_numpy() for name, group in kept.groupby("cell_line")["nucleus_area_um2"]}
        _draw_groups(axes[1, 1], areas, "area of a nucleus in µm²", "Nucleus size")


def _per_field(judged: pd.DataFrame, kept: pd.DataFrame) -> dict[str, np.ndarray]:
    passed = judged[judged["status"] == PASSED]
    counts = kept.groupby(["field_id", "version"]).size().rename("n")
    joined = passed.merge(counts, left_on=["field_id", "version"], right_index=True, how="left")
    lines = joined["cell_line"].fillna("cell line not given")
    return {name: group.fillna(0).to_numpy() for name, group in joined["n"].groupby(lines)}


def _draw_reasons(axes: Axes, ledger: pd.DataFrame) -> None:
    found = ledger["reason"].value_counts()
    reasons = [reason for reason in (KEPT, *CELL_REASONS) if reason in found]
    counts = found.reindex(reasons).to_numpy()
    axes.barh(range(len(reasons)), counts, color=[GOOD if reason == KEPT else BAD for reason in reasons], height=0.68)
    for row, count in enumerate(counts):
        share = f"{count:,}  ({count / len(ledger):.0%})"
        axes.annotate(share, (count, row), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(reasons)), [words(reason) for reason in reasons])
    axes.set_ylim(max(len(reasons), 3) - 0.5, -0.5)
    axes.margins(x=0.25)
    axes.set_xlabel("labels")
    axes.set_title("Outlined objects by reason")


def _draw_groups(axes: Axes, groups: dict[str, np.ndarray], text: str, title: str, most: int = 12) -> None:
    largest = sorted((name for name in groups if len(groups[name])), key=lambda name: -len(groups[name]))[:most]
    shown = sorted(largest)
    axes.set_title(title)
    if not shown:
        nothing_to_show(axes, "no kept cell has this measure")
        return
    rng = np.random.default_rng(0)
    boxes = axes.boxplot(
        [groups[name] for name in shown], orientation="horizontal", widths=0.55, showfliers=False, patch_artist=True,
        medianprops={"color": "black", "linewidth": 1.4}, boxprops={"linewidth": 0.8}, whis=(5, 95),
    )  # fmt: skip
    for number, (name, box) in enumerate(zip(shown, boxes["boxes"], strict=True)):
        box.set(facecolor=OKABE_ITO[number % len(OKABE_ITO)], alpha=0.55)
        points = groups[name]
        if len(points) > 300:
            points = rng.choice(points, 300, replace=False)
        axes.scatter(
            points, number + 1 + rng.uniform(-0.2, 0.2, len(points)), s=5, color="#333A44", alpha=0.35, linewidths=0
        )
    axes.set_yticks(range(1, len(shown) + 1), [f"{name}\nn = {len(groups[name]):,}" for name in shown])
    axes.invert_yaxis()
    axes.set_xlabel(text + " (box: quartiles, whiskers: 5 to 95 %)")
    axes.set_xlim(left=0)
