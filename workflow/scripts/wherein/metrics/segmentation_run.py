"""The stage `evaluate`, of outlines: every passed field whose objects are known, by every method of the run."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from wherein.atomic import write_json
from wherein.decoders.image import UnreadableImage
from wherein.metrics.segmentation import MATCH_IOU
from wherein.metrics.segmentation_objects import (
    SIZES,
    agreement,
    curve,
    object_table,
    scores,
    size_class,
    size_limits,
)
from wherein.metrics.segmentation_truth import Truth
from wherein.reasons import KEPT, PASSED
from wherein.segmentation.masks import OBJECTS, read_masks
from wherein.summary import Summary, stage_summary
from wherein.tables import REAL, TEXT, current_fields, read_metadata, write_table, write_tsv

log = logging.getLogger(__name__)

KEPT_CELL = "kept_cell"
"""Beside OBJECTS: the cells that the ledger keeps, which are what models see."""

OF_FIELD = ("field_id", "version", "source", "cell_line", "method")

MEASURES = (
    *("n_true", "n_found", "matched", "recall", "precision", "f1", "false_share", "iou_mean", "average_precision"),
    *("count_error", "count_bias", "n_split", "n_merged", "split_share", "merged_share"),
)
"""What `wherein.metrics.segmentation_objects.scores` gives."""

COUNTS = ("n_true", "n_found", "matched", "n_split", "n_merged")
"""Those of them that are whole numbers."""

METHOD_COLUMNS = (
    *("source", "method", "in_use", "object", "group", "value", "low_um2", "high_um2", "n_fields"),
    *MEASURES,
    "seconds_per_field",
)

FIELD_COLUMNS = (
    *("field_id", "version", "source", "cell_line", "method", "in_use", "seconds"),
    *(
        f"{count}_{name}"
        for name in OBJECTS
        for count in ("n_true", "n_found", "matched", "f1", "iou_mean", "n_split", "n_merged")
    ),
)

CURVE_COLUMNS = (
    *("source", "method", "object", "iou", "n_true", "n_found", "matched", "recall", "precision", "f1"),
    "average_precision",
)

OBJECTS_TABLE = pa.schema(
    [
        *((name, TEXT) for name in (*OF_FIELD, "object")),
        ("true_label", pa.int64()),
        ("found_label", pa.int64()),
        ("iou", REAL),
        ("true_um2", REAL),
        ("found_um2", REAL),
        ("true_cut", pa.bool_()),
        ("found_cut", pa.bool_()),
        ("parts", pa.int64()),
        ("sharing", pa.int64()),
        ("size", TEXT),
    ]
)
"""results/evaluation/segmentation/objects.parquet"""


def evaluate_segmentation(
    inputs: dict[str, Any], patterns: dict[str, dict[str, str | None]], outputs: dict[str, str]
) -> None:
    """Compare the outlines of every method with the truth, object by object.

    Only fields that passed quality control count. Objects cut by the field's border are not judged
    (`wherein.metrics.segmentation.compare`).

    Args:
        inputs: paths by the names that the rule gives them: `fields` (results/catalog/fields.parquet), and of each
            shard with truth `qc`, `cells`, `masks` and `quality` (results/segmentation/{shard}.parquet); `truth`
            (results/truth/{shard} of simulated shards); `other_masks` and `other_quality`
            (results/methods/{method}/{shard}.zarr and .parquet) of the methods beside the one in use.
        patterns: label images of people by source and object, with `{field_id}` in place of the field's name.
        outputs: files to write by name: `objects`, `fields`, `methods`, `curves`, `scores`, `summary`.
    """
    with stage_summary(outputs["summary"], "evaluate", "segmentation", ("scipy",)) as report:
        fields = current_fields(inputs["fields"]).set_index(["field_id", "version"])
        truth = Truth(inputs.get("truth", []), patterns)
        told = [
            each
            for masks, quality, qc, cells in zip(
                *(inputs[name] for name in ("masks", "quality", "qc", "cells")), strict=True
            )
            for each in _shard(masks, quality, qc, cells, _others(inputs, Path(masks).stem), fields, truth, report)
        ]
        seen = pd.DataFrame([row for row, _ in told], columns=[*OF_FIELD, "in_use", "seconds"])
        parts = [table for _, table in told if len(table)]
        objects = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=OBJECTS_TABLE.names)
        objects = with_sizes(objects)
        write_table(outputs["objects"], objects, OBJECTS_TABLE)
        write_tsv(outputs["fields"], field_scores(seen, objects), FIELD_COLUMNS)
        methods = method_scores(seen, objects)
        write_tsv(outputs["methods"], methods, METHOD_COLUMNS)
        write_tsv(outputs["curves"], curves(objects), CURVE_COLUMNS)
        write_json(outputs["scores"], run_scores(seen, objects))
        in_use = seen[seen["in_use"].astype(bool)]
        report.counts = {"in": len(in_use), "kept": len(in_use)}
        report.extra["methods"] = sorted(seen["method"].unique())


def _others(inputs: dict[str, Any], shard: str) -> dict[str, tuple[str, str]]:
    """Masks and qualities of the other methods that worked on a shard."""
    quality = {(Path(path).parent.name, Path(path).stem): path for path in inputs.get("other_quality", [])}
    return {
        Path(path).parent.name: (path, quality[Path(path).parent.name, shard])
        for path in inputs.get("other_masks", [])
        if Path(path).stem == shard
    }


def _shard(
    masks: str,
    quality: str,
    qc: str,
    cells: str,
    others: dict[str, tuple[str, str]],
    fields: pd.DataFrame,
    truth: Truth,
    report: Summary,
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Each field and method of a shard: what is known of the field, and its objects."""
    passed = pq.read_table(qc).to_pandas().query("status == @PASSED", local_dict={"PASSED": PASSED})
    ledger = pq.read_table(cells, columns=["field_id", "version", "label", "status"]).to_pandas()
    kept = ledger[ledger["status"] == KEPT].groupby(["field_id", "version"])["label"].agg(list).to_dict()
    used = method_of(masks)
    ways = {used: (masks, quality), **{name: paths for name, paths in others.items() if name != used}}
    seconds = {name: seconds_of(path) for name, (_, path) in ways.items()}
    shard, judged = Path(masks).stem, 0
    for field in passed.itertuples():
        key = (field.field_id, field.version)
        if key not in fields.index:
            continue
        known = fields.loc[key]
        true = _true_labels(truth, shard, field, pd.notna(known["uri_nucleus"]), report)
        for name, (path, _) in ways.items() if true else ():
            found = dict(zip(OBJECTS, read_masks(path, *key), strict=True))
            if name == used and "cell" in true:
                found[KEPT_CELL] = np.where(np.isin(found["cell"], kept.get(key, [])), found["cell"], 0)
            row = dict(zip(OF_FIELD, (*key, field.source, known["cell_line"], name), strict=True))
            tables = [
                object_table(true[_truth_of(part)], labels, float(known["pixel_size_um"])).assign(object=part)
                for part, labels in found.items()
                if _truth_of(part) in true
            ]
            table = pd.concat(tables, ignore_index=True)
            yield {**row, "in_use": name == used, "seconds": seconds[name].get(key)}, table.assign(**row)
        judged += bool(true)
    log.info("%s: %d fields with truth, by %s", shard, judged, ", ".join(ways))


def _truth_of(part: str) -> str:
    return "cell" if part == KEPT_CELL else part


def _true_labels(truth: Truth, shard: str, field: Any, nuclei: bool, report: Summary) -> dict[str, np.ndarray]:
    """True labels of a field; none, with a note, where they cannot be read or do not fit the field."""
    try:
        true = truth.read(shard, field.source, field.field_id, field.version, nuclei)
    except (UnreadableImage, ValueError) as error:
        report.notes.append(f"{field.field_id}@{field.version} is not judged: {error}")
        return {}
    shape = (int(field.height), int(field.width))
    for name, labels in true.items():
        if labels.shape != shape:
            report.notes.append(
                f"{field.field_id}@{field.version} is not judged: its true labels ({name}) are {labels.shape[0]} x "
                f"{labels.shape[1]} px, and the field {shape[0]} x {shape[1]}; they must be of one size"
            )
            return {}
    return true


def method_of(masks: str | Path) -> str:
    """The method by which a store of masks was made, as its attributes say."""
    return str(zarr.open_group(masks, mode="r").attrs["method"])


def seconds_of(quality: str | Path) -> dict[tuple[str, str], float]:
    """Seconds that each field took, by field_id and version."""
    told = read_metadata(quality).get("fields", [])
    return {(field["field_id"], field["version"]): field["seconds"] for field in told}


def with_sizes(objects: pd.DataFrame) -> pd.DataFrame:
    """Objects with the column `size`: their third among the true objects of their source, the same for all methods."""
    if not len(objects):
        return objects.assign(size=None)
    objects = objects.assign(size=None)
    for (_, part), rows in objects.groupby(["source", objects["object"].map(_truth_of)], sort=False):
        # every method has the same truth: one of them gives the limits
        one = rows[(rows["method"] == rows["method"].iloc[0]) & (rows["object"] == part)]
        limits = size_limits(one)
        if not np.isnan(limits[0]):
            objects.loc[rows.index, "size"] = np.array(SIZES)[size_class(rows, limits)]
    return objects


def method_scores(seen: pd.DataFrame, objects: pd.DataFrame) -> pd.DataFrame:
    """Every measure of every method: over a source, by its cell lines, and by size.

    Args:
        seen: one row a field and method, columns OF_FIELD, in_use, seconds.
        objects: rows of all methods, with sizes.

    Returns:
        Columns METHOD_COLUMNS; `group` is `all`, `cell line` or `size`.
    """
    rows = []
    for (source, method), fields in seen.groupby(["source", "method"], sort=False):
        mine = objects[(objects["source"] == source) & (objects["method"] == method)]
        head = {"source": source, "method": method, "in_use": bool(fields["in_use"].iloc[0])}
        for part, table in mine.groupby("object", sort=False):
            for group, value, chosen, own in _groups(fields, table):
                low, high = _range(chosen) if group == "size" else (np.nan, np.nan)
                rows.append(
                    {
                        **head,
                        "object": part,
                        "group": group,
                        "value": value,
                        "low_um2": low,
                        "high_um2": high,
                        "n_fields": len(own),
                        **scores(chosen),
                        "seconds_per_field": own["seconds"].astype(float).mean() if group == "all" else np.nan,
                    }
                )
    return pd.DataFrame(rows, columns=list(METHOD_COLUMNS))


def _groups(
    fields: pd.DataFrame, objects: pd.DataFrame
) -> Iterator[tuple[str, str | None, pd.DataFrame, pd.DataFrame]]:
    """Name of a group, its value, its objects, its fields."""
    yield "all", None, objects, fields
    for line in sorted(fields["cell_line"].dropna().unique()):
        yield "cell line", line, objects[objects["cell_line"] == line], fields[fields["cell_line"] == line]
    for size in SIZES:
        chosen = objects[objects["size"] == size]
        if len(chosen):
            yield "size", size, chosen, fields


def _range(objects: pd.DataFrame) -> tuple[float, float]:
    judged = objects.loc[(objects["true_label"] > 0) & ~objects["true_cut"].astype(bool), "true_um2"]
    return (float(judged.min()), float(judged.max())) if len(judged) else (np.nan, np.nan)


def field_scores(seen: pd.DataFrame, objects: pd.DataFrame) -> pd.DataFrame:
    """What each method found in each field: columns FIELD_COLUMNS, worst fields first in each source and method."""
    groups = dict(list(objects.groupby(["field_id", "version", "method", "object"], sort=False)))
    empty = objects.head(0)
    rows = []
    for row in seen.to_dict("records"):
        for part in OBJECTS:
            mine = groups.get((row["field_id"], row["version"], row["method"], part), empty)
            told, total = scores(mine), agreement(mine)
            known = {**told, "f1": total.f1, "iou_mean": total.iou_mean}
            row.update({name: known[name.removesuffix(f"_{part}")] for name in FIELD_COLUMNS if name.endswith(part)})
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(FIELD_COLUMNS))
    return table.sort_values(
        ["source", "in_use", "method", "f1_cell", "f1_nucleus"],
        ascending=[True, False, True, True, True],
        ignore_index=True,
    )


def curves(objects: pd.DataFrame) -> pd.DataFrame:
    """Scores at every overlap from 0.5 to 0.95, by source, method and object."""
    parts = [
        curve(rows).assign(source=source, method=method, object=part)
        for (source, method, part), rows in objects.groupby(["source", "method", "object"], sort=False)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(CURVE_COLUMNS))


def run_scores(seen: pd.DataFrame, objects: pd.DataFrame) -> dict[str, Any]:
    """Scores of the methods in use over all fields and by source, and of every method by source; JSON-able."""
    used = seen[seen["in_use"].astype(bool)]
    mine = objects.merge(used[list(OF_FIELD)], on=list(OF_FIELD), how="inner")
    return {
        "iou": MATCH_IOU,
        "n_fields": len(used),
        **_by_object(mine),
        "sources": {source: _by_object(mine[mine["source"] == source]) for source in sorted(used["source"].unique())},
        "methods": {
            source: {
                method: _by_object(rows)
                for method, rows in objects[objects["source"] == source].groupby("method", sort=False)
            }
            for source in sorted(seen["source"].unique())
        },
    }


def _by_object(objects: pd.DataFrame) -> dict[str, dict[str, float | int | None]]:
    names = [name for name in (*OBJECTS, KEPT_CELL) if (objects["object"] == name).any()]
    return {name: _plain(scores(objects[objects["object"] == name])) for name in names}


def _plain(values: dict[str, float]) -> dict[str, float | int | None]:
    # JSON has no NaN
    return {
        name: None if np.isnan(value) else (int(value) if name in COUNTS else round(value, 6))
        for name, value in values.items()
    }
