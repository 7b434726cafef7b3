"""The stage `index_crops`: one index over the crop stores of a run."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wherein import tables
from wherein.atomic import atomic_path
from wherein.crops.store import CropStore
from wherein.digest import digest
from wherein.reading.index import CELLS, CELLS_FILE, FIELDS, FIELDS_FILE
from wherein.reasons import KEPT, REJECTED
from wherein.summary import stage_summary

KEY = ["field_id", "version"]

STORE = ("roles", "window_px", "window_um", "dtype", "pixel_size_um", "n_crops", "nucleus_distance", "metadata_crc32c")
"""What the index says of a shard's crop store."""


def index_run(
    fields: str | Path,
    qc: Sequence[str | Path],
    cells: Sequence[str | Path],
    crops: Sequence[str | Path],
    split: str | Path,
    samples: str | Path,
    index: str | Path,
    summary: str | Path,
) -> None:
    """Write the index of all kept cells of current field versions.

    Args:
        fields: results/catalog/fields.parquet.
        qc: qc tables of all shards.
        cells: ledgers of all shards.
        crops: crop stores of the same shards, in the same order.
        split: results/split/split.parquet.
        samples: results/samples/samples.parquet.
        index: folder to write, results/index.
        summary: JSON to write.

    Raises:
        ValueError: a ledger and its store do not hold the same cells.
    """
    with stage_summary(summary, "index_crops", "run", ("pyarrow", "pandas")) as report:
        known = described_fields(fields, qc, split, samples)
        parts = [_shard_rows(ledger, store, known) for ledger, store in zip(cells, crops, strict=True)]
        retired = sum(part.retired for part in parts)
        n_cells = write_index(
            index,
            pd.concat([part.fields for part in parts], ignore_index=True) if parts else pd.DataFrame(),
            [part.cells for part in parts],
            {part.shard: part.store for part in parts},
        )
        report.counts = {"in": n_cells + retired, "kept": n_cells, "retired": retired}


def described_fields(
    fields: str | Path, qc: Iterable[str | Path], split: str | Path, samples: str | Path
) -> pd.DataFrame:
    """What the index says of a current field version, by (field_id, version): columns of FIELDS but the counts."""
    current = tables.current_fields(fields)
    measures = tables.read_tables(qc, [*KEY, "contrast", "focus_protein", "saturated_protein"])
    folds = tables.read_tables([split], [*KEY, "gene_group", "gene_fold", "field_fold"])
    judged = tables.read_tables([samples], [*KEY, "status"])
    small = judged[KEY].assign(small_sample=judged["status"] == REJECTED)
    rows = current
    for more in (measures, folds, small):
        rows = rows.merge(more, on=KEY, how="left")
    symbols = [_protein(genes, ids) for genes, ids in zip(rows["genes"], rows["ensembl_ids"], strict=True)]
    rows["protein"] = pd.Series(symbols, index=rows.index, dtype=object).where(~rows["control"].astype(bool))
    return rows.set_index(KEY, drop=False)


def write_index(
    folder: str | Path, fields: pd.DataFrame, cells: Sequence[pa.Table], stores: dict[str, dict[str, Any]]
) -> int:
    """Write an index atomically.

    Args:
        folder: what to write.
        fields: columns of FIELDS, in the order of the cells; each row has `n_cells` of them.
        cells: tables with the columns of CELLS but `field`; together as many rows as the fields count.
        stores: for each shard what STORE names.

    Returns:
        Number of cells.
    """
    counts = fields["n_cells"].to_numpy(np.int64) if len(fields) else np.zeros(0, np.int64)
    fields = fields.assign(first_cell=np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(counts) else [])
    schema = pa.schema([field for field in CELLS if field.name != "field"])
    rows = (
        pa.concat_tables(table.select(schema.names).cast(schema) for table in cells) if cells else schema.empty_table()
    )
    if len(rows) != counts.sum():
        raise ValueError(f"{folder}: {len(rows)} cells for fields that count {counts.sum()}")
    rows = rows.add_column(0, "field", pa.array(np.repeat(np.arange(len(counts), dtype=np.int32), counts)))
    with atomic_path(folder) as partial:
        partial.mkdir()
        tables.write_table(partial / FIELDS_FILE, fields, FIELDS, {"stores": stores, "digest": _digest(fields, rows)})
        # numbers that hardly repeat: a dictionary would cost more than it saves
        pq.write_table(rows, partial / CELLS_FILE, compression="zstd", use_dictionary=["field", "n_nuclei"])
    return len(rows)


def _digest(fields: pd.DataFrame, cells: pa.Table) -> str:
    names = [fields[name].tolist() for name in (*KEY, "n_cells")] if len(fields) else []
    labels = cells["label"].to_numpy().tobytes()
    return digest([names, hashlib.sha256(labels).hexdigest()])


class _ShardRows:
    """What one shard adds to the index."""

    def __init__(self, shard: str, fields: pd.DataFrame, cells: pa.Table, store: dict[str, Any], retired: int) -> None:
        self.shard = shard
        self.fields = fields
        self.cells = cells
        self.store = store
        self.retired = retired


def _shard_rows(ledger: str | Path, path: str | Path, known: pd.DataFrame) -> _ShardRows:
    store = CropStore(path)
    shard = str(store.attributes["shard"])
    names = [name for name in CELLS.names if name != "field"]
    kept = tables.read_tables([ledger], [*KEY, "cell_id", "status", *names])
    kept = kept[kept["status"] == KEPT].sort_values("crop_index", kind="stable")
    if kept["cell_id"].tolist() != [store.cell_ids[row] for row in kept["crop_index"].astype(np.int64)]:
        raise ValueError(f"{ledger} and {path} do not hold the same cells: run `crop` of {shard} again")
    current = pd.MultiIndex.from_frame(kept[KEY]).isin(known.index)
    rows = kept[current]
    counts = rows.groupby(KEY, sort=False).size()
    fields = known.loc[list(counts.index)].reset_index(drop=True).assign(n_cells=counts.to_numpy(), shard=shard)
    schema = pa.schema([field for field in CELLS if field.name != "field"])
    arrays = [pa.array(rows[field.name].tolist(), field.type, from_pandas=True) for field in schema]
    # a store of before there was such an array does not speak of it
    known_of_store = {"nucleus_distance": False, **store.attributes, "dtype": store.dtype.name, "n_crops": len(store)}
    about = {name: known_of_store[name] for name in STORE}
    columns = [name for name in FIELDS.names if name in fields]
    return _ShardRows(shard, fields[columns], pa.Table.from_arrays(arrays, schema=schema), about, int((~current).sum()))


def _protein(genes: Any, ids: Any) -> str | None:
    names = list(genes) if genes is not None and len(genes) else list(ids) if ids is not None else []
    return "/".join(names) or None
