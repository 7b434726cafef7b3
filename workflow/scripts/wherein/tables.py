"""The tables that stages hand on: their columns, and how they are written and read."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wherein.atomic import atomic_path
from wherein.channels import ROLES, uri_column

TEXT = pa.string()
TEXTS = pa.list_(pa.string())
REAL = pa.float64()

FIELDS = pa.schema(
    [
        ("field_id", TEXT),
        ("version", TEXT),
        ("shard", TEXT),
        ("source", TEXT),
        ("release", TEXT),
        ("first_release", TEXT),
        ("retired_in", TEXT),
        ("plate", TEXT),
        ("well", TEXT),
        ("position", TEXT),
        ("ensembl_ids", TEXTS),
        ("genes", TEXTS),
        ("reagent", TEXT),
        ("cell_line", TEXT),
        ("condition", TEXT),
        ("sample", TEXT),
        ("control", pa.bool_()),
        ("labels", TEXTS),
        ("labels_published", TEXTS),
        ("reliability", TEXT),
        ("pixel_size_um", REAL),
        ("full_scale", REAL),
        ("relabelled_by", TEXT),
        ("labels_main", TEXTS),
        ("go_ids", TEXTS),
        ("variation_intensity", TEXTS),
        ("variation_spatial", TEXTS),
        ("cycle_dependent", TEXTS),
        *((uri_column(role), TEXT) for role in ROLES),
    ]
)
"""results/catalog/fields.parquet"""

FILES = pa.schema(
    [
        ("field_id", TEXT),
        ("version", TEXT),
        ("role", TEXT),
        ("path", TEXT),
        ("channel", TEXT),
        ("z", TEXT),
        ("sha256", TEXT),
        ("bytes", pa.int64()),
        ("status", TEXT),
        ("reason", TEXT),
        ("detail", TEXT),
        ("url", TEXT),
        ("gain", pa.int32()),
        ("bin", pa.int32()),
        ("axes", TEXT),
    ]
)
"""results/download/{shard}.parquet"""

SEGMENTATION = pa.schema(
    [
        ("cell_id", TEXT),
        ("field_id", TEXT),
        ("version", TEXT),
        ("label", pa.int32()),
        *(
            (name, pa.float32())
            for name in ("contrast", "nucleus_contrast", "solidity", "nucleus_solidity", "disagreement", "score")
        ),
    ]
)
"""results/segmentation/{shard}.parquet"""

SAMPLES = pa.schema(
    [
        ("field_id", TEXT),
        ("version", TEXT),
        ("source", TEXT),
        ("sample", TEXT),
        ("n_cells", pa.int32()),
        ("sample_cells", pa.int32()),
        ("least_cells", pa.int32()),
        ("status", TEXT),
        ("reason", TEXT),
    ]
)
"""results/samples/samples.parquet"""

REMOTE = pa.schema(
    [
        ("url", TEXT),
        ("etag", TEXT),
        ("last_modified", TEXT),
        ("bytes", pa.int64()),
        ("revision", pa.int32()),
    ]
)
"""results/catalog/remote.parquet"""

SPLIT = pa.schema(
    [
        ("field_id", TEXT),
        ("version", TEXT),
        ("gene_group", TEXT),
        ("gene_fold", pa.int32()),
        ("field_fold", pa.int32()),
        ("phash", TEXT),
    ]
)
"""results/split/split.parquet"""


def qc_schema(roles: Sequence[str]) -> pa.Schema:
    """Columns of results/qc/{shard}.parquet for a source with these roles."""
    return pa.schema(
        [
            ("field_id", TEXT),
            ("version", TEXT),
            ("shard", TEXT),
            ("source", TEXT),
            ("status", TEXT),
            ("reason", TEXT),
            ("detail", TEXT),
            ("override", TEXT),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("dtype", TEXT),
            ("n_marker", pa.int32()),
            ("n_nuclei", pa.int32()),
            ("n_nuclei_all", pa.int32()),
            ("contrast", REAL),
            *((f"focus_{role}", REAL) for role in roles),
            *((f"saturated_{role}", REAL) for role in roles),
            ("marker_fit", REAL),
            ("phash", TEXT),
        ]
    )


def cells_schema(roles: Sequence[str]) -> pa.Schema:
    """Columns of results/cells/{shard}.parquet, the ledger, for a source with these roles."""
    return pa.schema(
        [
            ("cell_id", TEXT),
            ("field_id", TEXT),
            ("version", TEXT),
            ("shard", TEXT),
            ("source", TEXT),
            ("label", pa.int32()),
            ("status", TEXT),
            ("reason", TEXT),
            ("override", TEXT),
            ("y", REAL),
            ("x", REAL),
            ("nucleus_y", REAL),
            ("nucleus_x", REAL),
            ("bbox_y0", pa.int32()),
            ("bbox_x0", pa.int32()),
            ("bbox_y1", pa.int32()),
            ("bbox_x1", pa.int32()),
            ("area_um2", REAL),
            ("nucleus_area_um2", REAL),
            ("touches_border", pa.bool_()),
            ("nucleus_touches_border", pa.bool_()),
            ("exceeds_window", pa.bool_()),
            ("padded", pa.bool_()),
            ("n_nuclei", pa.int32()),
            *(
                (f"{part}{what}_{role}", REAL)
                for part in ("", "nucleus_")
                for what in ("mean", "sum")
                for role in roles
            ),
            ("crop_index", pa.int32()),
        ]
    )


def write_table(
    path: str | Path, frame: pd.DataFrame, schema: pa.Schema, metadata: dict[str, Any] | None = None
) -> None:
    """Write a table atomically, with exactly the schema's columns.

    Args:
        path: the Parquet file.
        frame: the rows; missing columns become null, NaN and None become null.
        schema: the columns to write, in order.
        metadata: JSON-able content that is kept in the file under the key `wherein`.

    Raises:
        ValueError: `frame` has a column that the schema does not know.
    """
    unknown = [name for name in frame.columns if name not in schema.names]
    if unknown:
        raise ValueError(f"{path}: unknown columns {unknown}; the table has {schema.names}")
    arrays = [
        pa.array(frame[name].tolist(), field.type, from_pandas=True)
        if name in frame
        else pa.nulls(len(frame), field.type)
        for name, field in zip(schema.names, schema, strict=True)
    ]
    _write(path, pa.Table.from_arrays(arrays, schema=schema), metadata)


def write_vectors(
    path: str | Path, units: pd.DataFrame, vectors: np.ndarray, metadata: dict[str, Any] | None = None
) -> None:
    """Write embeddings atomically.

    Args:
        path: the Parquet file.
        units: columns unit_id, field_id, version; one row a vector.
        vectors: (N, D) float32.
        metadata: JSON-able content that is kept in the file under the key `wherein`.
    """
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    columns = [pa.array(units[name].tolist(), TEXT) for name in ("unit_id", "field_id", "version")]
    vector = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    names = ["unit_id", "field_id", "version", "vector"]
    _write(path, pa.Table.from_arrays([*columns, vector], names=names), metadata)


def read_vectors(paths: Iterable[str | Path]) -> tuple[pd.DataFrame, np.ndarray]:
    """Read embeddings of any number of shards.

    Returns:
        units: columns unit_id, field_id, version.
        vectors: (N, D) float32; (0, 0) where there are no units at all.
    """
    units, vectors = [], []
    for path in paths:
        table = pq.read_table(path)
        units.append(table.select(["unit_id", "field_id", "version"]).to_pandas())
        column = table.column("vector").combine_chunks()
        if len(column):
            vectors.append(column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1))
    together = (
        pd.concat(units, ignore_index=True) if units else pd.DataFrame(columns=["unit_id", "field_id", "version"])
    )
    return together, np.concatenate(vectors) if vectors else np.zeros((0, 0), np.float32)


def write_predictions(
    path: str | Path, units: pd.DataFrame, probabilities: pd.DataFrame, metadata: dict[str, Any] | None = None
) -> None:
    """Write class probabilities atomically.

    Args:
        path: the Parquet file.
        units: columns unit_id, field_id, version, and any integer columns to keep (fold).
        probabilities: one column a class, values 0 to 1, as many rows as units.
        metadata: JSON-able content that is kept in the file under the key `wherein`.
    """
    schema = [(name, TEXT if name in ("unit_id", "field_id", "version") else pa.int32()) for name in units.columns]
    arrays = [pa.array(units[name].tolist(), kind, from_pandas=True) for name, kind in schema]
    arrays += [pa.array(probabilities[name].to_numpy(np.float32)) for name in probabilities.columns]
    _write(path, pa.Table.from_arrays(arrays, names=[*units.columns, *probabilities.columns]), metadata)


def read_tables(paths: Iterable[str | Path], columns: list[str] | None = None) -> pd.DataFrame:
    """Read the same table of any number of shards into one frame; columns that shards lack are there, and null."""
    frames = []
    for path in paths:
        have = pq.read_schema(path).names
        wanted = None if columns is None else [name for name in columns if name in have]
        frames.append(pq.read_table(path, columns=wanted).to_pandas())
    names = columns if columns is not None else list(dict.fromkeys(name for frame in frames for name in frame))
    filled = [frame for frame in frames if len(frame)] or frames[:1]
    return pd.concat(filled, ignore_index=True).reindex(columns=names) if filled else pd.DataFrame(columns=names)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What a table says of itself under the key `wherein`; empty if nothing."""
    found = (pq.read_schema(path).metadata or {}).get(b"wherein")
    return json.loads(found) if found else {}


def current_fields(path: str | Path) -> pd.DataFrame:
    """Field versions that are not retired, as fields.parquet has them."""
    frame = pq.read_table(path).to_pandas()
    return frame[frame["retired_in"].isna()].reset_index(drop=True)


def fields_of_shard(path: str | Path, shard: str) -> pd.DataFrame:
    """Field versions of one shard, the retired ones included, in the order of fields.parquet."""
    return pq.read_table(path, filters=[("shard", "=", shard)]).to_pandas()


def write_tsv(path: str | Path, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Write a small table as tab-separated text atomically, nothing where a value is not known.

    Args:
        path: the file.
        frame: the rows; columns that are missing are left empty.
        columns: the columns to write, in order.

    Raises:
        ValueError: `frame` has a column that is not among `columns`.
    """
    unknown = [name for name in frame.columns if name not in columns]
    if unknown:
        raise ValueError(f"{path}: unknown columns {unknown}; the table has {list(columns)}")
    with atomic_path(path) as partial:
        frame.reindex(columns=list(columns)).to_csv(partial, sep="\t", index=False, float_format="%.8g")


def _write(path: str | Path, table: pa.Table, metadata: dict[str, Any] | None) -> None:
    if metadata is not None:
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), b"wherein": json.dumps(metadata).encode()}
        )
    with atomic_path(path) as partial:
        pq.write_table(table, partial, compression="zstd")
