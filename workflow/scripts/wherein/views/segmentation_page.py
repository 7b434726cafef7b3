"""The page of segmentation: every method against the truth, and the fields whose outlines deserve a look first."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from wherein.metrics.segmentation import IOU_LEVELS
from wherein.readers import UnreadableImage
from wherein.reasons import KEPT
from wherein.segmentation.masks import read_masks
from wherein.tables import read_metadata, read_tables
from wherein.views.composites import composite, contrast, outlines, painted, reduced, reduced_labels
from wherein.views.examples import FieldImages
from wherein.views.segmentation import outlined

log = logging.getLogger(__name__)

WORSE = {"contrast": -1, "nucleus_contrast": -1, "solidity": -1, "nucleus_solidity": -1, "disagreement": 1}
"""Measures of an outline (results/segmentation): 1 where a larger value is worse, -1 where a smaller one is."""

OF_FIELD = ("contrast", "solidity", "disagreement", "lost")
"""Those that are told of a field: medians over its cells, and what the second method alone found."""

WORST_SHARE = 0.1
"""A field is as doubtful as the cell that this share of its cells exceeds: a few wrong outlines count, one does not.
On simulated fields this follows a field's F1 better than the mean or the median of its cells."""

MARKED_SHARE = 0.05
"""Share of a source's cells, the most doubtful ones, that pictures mark."""

MARKED_LINE = (255, 60, 255)

PICTURE_PX = 760
"""Longest side of a field's picture."""

QUALITY_COLUMNS = (
    *("field_id", "version", "shard", "method", "second", "n_nuclei", "n_cells", *OF_FIELD),
    *("reason", "detail", "seconds"),
)

TEXTS = ("field_id", "version", "source", "cell_line", "method", "object", "group", "value", "in_use")
"""Columns of text in the tables of results/evaluation/segmentation."""

OBJECT_WORDS = {"nucleus": "nuclei", "cell": "cells", "kept_cell": "cells that the ledger keeps"}


def field_quality(paths: Sequence[str]) -> pd.DataFrame:
    """What is known of each field's outlines without any truth.

    Args:
        paths: results/segmentation/{shard}.parquet of all shards.

    Returns:
        Columns QUALITY_COLUMNS, one row a field.
    """
    rows = []
    for path in paths:
        told = read_metadata(path)
        head = {"shard": Path(path).stem, "method": told.get("method"), "second": told.get("second")}
        rows += [{**head, **field} for field in told.get("fields", [])]
    table = pd.DataFrame(rows).reindex(columns=list(QUALITY_COLUMNS))
    numeric = ["n_nuclei", "n_cells", *OF_FIELD, "seconds"]
    texts = [name for name in QUALITY_COLUMNS if name not in numeric]
    # an empty table would have none but real columns
    return table.astype(dict.fromkeys(texts, object)).astype(dict.fromkeys(numeric, float))


def cell_quality(paths: Sequence[str], judged: pd.DataFrame) -> pd.DataFrame:
    """Every outline with its doubt.

    Args:
        paths: results/segmentation/{shard}.parquet of all shards.
        judged: one row a current field version, with its source.

    Returns:
        field_id, version, label, source, doubt.
    """
    cells = read_tables(paths, ["field_id", "version", "label", *WORSE])
    cells = cells.astype({"field_id": object, "version": object})
    cells = cells.merge(judged[["field_id", "version", "source"]], on=["field_id", "version"], how="inner")
    return cells.assign(doubt=doubt(cells, cells["source"]))[["field_id", "version", "label", "source", "doubt"]]


def doubt(cells: pd.DataFrame, source: pd.Series) -> pd.Series:
    """How much an outline is to be doubted beside the others of its source.

    Args:
        cells: one row an outline, with the measures in WORSE.
        source: source of each row.

    Returns:
        0 (best) to 1 (worst): the mean of its ranks in its source by the measures in WORSE that it has; null without
        any.
    """
    ranks = pd.DataFrame(index=cells.index)
    for name, sign in WORSE.items():
        # a dark outline on bright ground has a contrast below 0: near 0 is what is doubtful
        values = sign * cells[name].astype(float).abs()
        number = values.groupby(source).transform("count")
        ranks[name] = (values.groupby(source).rank() - 1) / (number - 1).clip(lower=1)
    return ranks.mean(axis=1)


def field_doubt(fields: pd.DataFrame, cells: pd.DataFrame) -> np.ndarray:
    """How much the outlines of each field are to be doubted.

    Args:
        fields: rows of `field_quality`.
        cells: as `cell_quality` gives them.

    Returns:
        (N,) float: the doubt that WORST_SHARE of the field's outlines exceed; 1 for a field on which segmentation
        failed or that has no outline.
    """
    worst = cells.groupby(["field_id", "version"])["doubt"].quantile(1 - WORST_SHARE).rename("doubt")
    found = fields[["field_id", "version"]].merge(worst.reset_index(), on=["field_id", "version"], how="left")["doubt"]
    nothing = (fields["n_cells"].fillna(0) == 0) & (fields["n_nuclei"].fillna(0) == 0)
    return np.where(fields["reason"].notna() | nothing, 1.0, found.fillna(0).to_numpy(float))


def marked_labels(cells: pd.DataFrame) -> dict[tuple[str, str], np.ndarray]:
    """Labels of the most doubtful outlines of each source, MARKED_SHARE of them, by field_id and version."""
    limit = cells.groupby("source")["doubt"].transform(lambda values: values.quantile(1 - MARKED_SHARE))
    chosen = cells[cells["doubt"] > limit]
    return {key: rows["label"].to_numpy() for key, rows in chosen.groupby(["field_id", "version"])}


def page_table(quality: pd.DataFrame, cells: pd.DataFrame, judged: pd.DataFrame, scored: pd.DataFrame) -> pd.DataFrame:
    """Every outlined field with its quality and, where truth is known, its scores; the most doubtful first.

    Args:
        quality: as `field_quality` gives it.
        cells: as `cell_quality` gives them.
        judged: one row a current field version, with source, protein and cell_line.
        scored: results/evaluation/segmentation/fields.tsv; empty without truth.

    Returns:
        QUALITY_COLUMNS, source, protein, cell_line, pixel_size_um, doubt, f1_nucleus, f1_cell.
    """
    known = judged[["field_id", "version", "source", "protein", "cell_line", "pixel_size_um"]]
    table = quality.merge(known, on=["field_id", "version"], how="inner")
    used = scored[scored["in_use"].astype(bool)]
    columns = ["field_id", "version", "f1_nucleus", "f1_cell"]
    if not len(used):
        used = pd.DataFrame(columns=columns)
    table = table.merge(used[columns], on=["field_id", "version"], how="left")
    table["doubt"] = field_doubt(table, cells)
    return table.sort_values(["doubt", "field_id"], ascending=[False, True], ignore_index=True)


def draw_doubtful(
    table: pd.DataFrame,
    ledger: pd.DataFrame,
    images: FieldImages,
    masks: dict[str, str],
    marked: dict[tuple[str, str], np.ndarray],
    folder: Path,
    settings: dict[str, Any],
) -> list[dict[str, Any]]:
    """Draw outlines over the most doubtful fields, one WebP file each.

    Args:
        table: as `page_table` gives it.
        ledger: all rows of results/cells.
        images: where the pixels come from.
        masks: shard -> path of its masks.
        marked: as `marked_labels` gives them.
        folder: where the files go; it is made.
        settings: the section `report` of the configuration.

    Returns:
        For each picture `file`, `kept`, `outlined` and the row's own columns; a field that cannot be read is left out.
    """
    folder.mkdir()
    drawn = []
    for row in table.head(settings["doubtful_fields"]).to_dict("records"):
        key = (row["field_id"], row["version"])
        try:
            small, _ = reduced(images.read(*key), PICTURE_PX)
            nucleus, cell = read_masks(masks[row["shard"]], *key)
        except (UnreadableImage, KeyError) as error:
            log.info("no picture of the outlines of %s@%s: %s", *key, error)
            continue
        picture = composite(small, contrast(small, settings["low_percentile"], settings["high_percentile"]))
        mine = ledger[(ledger["field_id"] == key[0]) & (ledger["version"] == key[1])]
        kept = mine.loc[mine["status"] == KEPT, "label"].to_numpy()
        name = f"field-{len(drawn):03d}.webp"
        shown = outlined(picture, nucleus, cell, kept)
        suspects = reduced_labels(np.where(np.isin(cell, marked.get(key, [])), cell, 0), shown.shape[:2])
        shown = painted(shown, outlines(suspects), MARKED_LINE)
        Image.fromarray(shown).save(folder / name, format="WEBP", quality=settings["image_quality"], method=2)
        size = {"height": shown.shape[0], "width": shown.shape[1]}
        drawn.append({"file": name, "kept": len(kept), "outlined": len(mine), **size, **row})
    return drawn


def method_tables(methods: pd.DataFrame, curves: pd.DataFrame) -> list[dict[str, Any]]:
    """The methods side by side, for each source and object.

    Args:
        methods: results/evaluation/segmentation/methods.tsv.
        curves: results/evaluation/segmentation/curves.tsv.

    Returns:
        `source`, `object` (in words), `fields`, `objects`, `rows` (of whole source, best F1 first), `groups` (by cell
        line and size), `levels` and `curves` (F1 at each overlap, by method).
    """
    told = []
    for (source, part), rows in methods.groupby(["source", "object"], sort=False):
        whole = rows[rows["group"] == "all"].sort_values("f1", ascending=False)
        groups = rows[rows["group"] != "all"]
        mine = curves[(curves["source"] == source) & (curves["object"] == part)]
        f1 = {method: table.set_index("iou")["f1"] for method, table in mine.groupby("method", sort=False)}
        told.append(
            {
                "source": source,
                "object": OBJECT_WORDS[part],
                "fields": int(whole["n_fields"].max()),
                "objects": int(whole["n_true"].max()),
                "rows": _plain(whole),
                "groups": _plain(groups),
                "levels": [f"{level:g}" for level in IOU_LEVELS],
                "curves": [
                    {"method": method, "values": [_number(f1[method].get(level)) for level in IOU_LEVELS]}
                    for method in whole["method"]
                ],
            }
        )
    return told


def _plain(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows for the template: None where nothing is known."""
    return [
        {name: _number(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in rows.to_dict("records")
    ]


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def read_scores(paths: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The tables of results/evaluation/segmentation by name (methods, curves, fields); empty ones without truth."""
    found = {Path(path).stem: _read(path) for path in paths}
    columns = {
        "methods": ["source", "object", "method", "group", "in_use"],
        "curves": ["source", "object", "method"],
        "fields": ["field_id", "version", "in_use"],
    }
    return {name: found.get(name, pd.DataFrame(columns=columns[name])) for name in columns}


def _read(path: str) -> pd.DataFrame:
    # a version may consist of digits alone, a field or a line may be called NA
    table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype=dict.fromkeys(TEXTS, str))
    return table.assign(in_use=table["in_use"] == "True") if "in_use" in table else table
