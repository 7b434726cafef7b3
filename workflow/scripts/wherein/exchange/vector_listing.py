"""results/catalog/vectors.parquet: rows of tables of vectors made elsewhere, field by field."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wherein.exchange.vector_table import Place
from wherein.tables import TEXT, write_table

VECTORS = pa.schema(
    [
        ("source", TEXT),
        ("shard", TEXT),
        ("field_id", TEXT),
        ("version", TEXT),
        ("number", pa.int32()),
        ("row", pa.int64()),
        ("probability_row", pa.int64()),
        ("digest", TEXT),
        ("reason", TEXT),
        ("detail", TEXT),
    ]
)
"""results/catalog/vectors.parquet"""

KEY = ["field_id", "version"]


def write_vector_listing(path: str | Path, planned: Iterable[Mapping[str, Any]]) -> None:
    """Write where the vectors of all current field versions are.

    A version that is gone has no row: the table that held its vectors may be another one by now.

    Args:
        path: the table.
        planned: current rows of the catalog; those with `vectors` are of tables of vectors.
    """
    columns: dict[str, list[Any]] = {name: [] for name in VECTORS.names}
    for row in planned:
        for place in row.get("vectors", ()):
            for name in ("source", "shard", *KEY):
                columns[name].append(row[name])
            for name, value in place._asdict().items():
                columns[name].append(value)
    write_table(path, pd.DataFrame(columns, dtype=object), VECTORS)


def read_vector_listing(path: str | Path, shard: str) -> dict[tuple[str, str], list[Place]]:
    """Rows of one shard's fields.

    Returns:
        (field_id, version) -> its rows, in the order of the table of vectors.
    """
    found: dict[tuple[str, str], list[Place]] = {}
    for row in pq.read_table(path, filters=[("shard", "=", shard)]).to_pylist():
        place = Place(**{name: row[name] for name in Place._fields})
        found.setdefault((row["field_id"], row["version"]), []).append(place)
    return {key: sorted(places) for key, places in found.items()}
