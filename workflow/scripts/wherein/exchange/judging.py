"""The stage qc of crops made elsewhere: which fields have crops that can be read. Whole fields cannot be judged."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from wherein.decoders.image import UnreadableImage
from wherein.exchange.arrays import ArrayFiles
from wherein.exchange.listing import Entry, common_type, read_entry, read_listing, roles_of
from wherein.qc import write_verdicts
from wherein.reasons import FAILED, FIELD_REASONS, PASSED, check_reason
from wherein.summary import stage_summary
from wherein.tables import fields_of_shard

log = logging.getLogger(__name__)

Row = dict[str, Any]


def judge_crops(
    shard: str,
    fields: str | Path,
    listed: str | Path,
    files: str | Path,
    settings: dict[str, Any],
    overrides: Sequence[Sequence[str]],
    qc: str | Path,
    summary: str | Path,
) -> None:
    """Judge every field version of a shard by its crops; write results/qc/{shard}.parquet and the summary.

    Args:
        shard: name of the shard.
        fields: results/catalog/fields.parquet.
        listed: results/catalog/crops.parquet.
        files: results/download/{shard}.parquet.
        settings: the section `qc` of the configuration; `failed_share` and `failed_fields` count.
        overrides: decisions on fields of this shard, in the order of `wherein.overrides.COLUMNS`.
        qc: the table to write.
        summary: the summary to write.

    Raises:
        UnreadableFieldsError: more than `failed_share` of the fields (and `failed_fields` of them) cannot be read.
    """
    with stage_summary(summary, "qc", shard, ("numpy", "tifffile", "imagecodecs")) as told:
        catalog = fields_of_shard(fields, shard)
        source = str(catalog["source"].iloc[0])
        table = pq.read_table(files).to_pandas()
        retired = set(
            zip(*(table.loc[table["reason"] == "retired", name] for name in ("field_id", "version")), strict=True)
        )
        entries = read_listing(listed, shard)
        opened = ArrayFiles()
        rows = []
        for key in zip(catalog["field_id"], catalog["version"], strict=True):
            if key in retired:
                row = {"status": FAILED, "reason": "retired", "detail": FIELD_REASONS["retired"]}
            else:
                row = judge_field(entries[key], opened)
            rows.append({"field_id": key[0], "version": key[1], "shard": shard, "source": source, **row})
            log.info("%d of %d: %s@%s %s", len(rows), len(catalog), *key, row["reason"])
        told.counts.update(write_verdicts(qc, rows, roles_of(entries), overrides, shard, settings))
        told.notes.append("crops made elsewhere: what a whole field shows (focus, counts, contrast) was not judged")


def judge_field(entries: Sequence[Entry], files: ArrayFiles) -> Row:
    """Read all crops of a field, and say whether there is one to work with.

    Args:
        entries: its rows of the table of crops.
        files: open files.

    Returns:
        Columns of results/qc/{shard}.parquet from `status` on; `height` and `width` of the largest crop.
    """
    shapes: list[tuple[int, ...]] = []
    types: list[np.dtype] = []
    wrong: UnreadableImage | None = None
    for entry in entries:
        try:
            found = read_entry(entry, files)
        except UnreadableImage as error:
            wrong = wrong or error
            continue
        shapes.append(next(iter(found.values())).shape)
        types.append(common_type(found))
    if not shapes:
        assert wrong is not None
        return {"status": FAILED, "reason": check_reason(wrong.reason, FIELD_REASONS), "detail": str(wrong)}
    return {
        "status": PASSED,
        "reason": PASSED,
        "detail": None,
        "height": max(shape[1] for shape in shapes),
        "width": max(shape[2] for shape in shapes),
        "dtype": np.result_type(*types).name,
    }
