"""results/catalog/crops.parquet: the files of crops made elsewhere, field by field."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wherein.channels import ROLES, in_order
from wherein.decoders.image import UnreadableImage
from wherein.exchange.arrays import ArrayFiles
from wherein.exchange.crop_table import Part
from wherein.tables import TEXT, write_table

CROPS = pa.schema(
    [
        ("source", TEXT),
        ("shard", TEXT),
        ("field_id", TEXT),
        ("version", TEXT),
        ("number", pa.int32()),
        ("part", TEXT),
        ("path", TEXT),
        ("key", TEXT),
        ("channel", pa.int32()),
        ("axes", TEXT),
        ("index", TEXT),
    ]
)
"""results/catalog/crops.parquet"""

KEY = ["field_id", "version"]

Entry = dict[str, Part]
"""A row of the table of crops: its parts by name, roles in the order of storage."""


def write_listing(path: str | Path, planned: Iterable[Mapping[str, Any]]) -> None:
    """Write where the crops of all field versions are; versions of before keep their rows.

    Args:
        path: the table; what stands there is the last one.
        planned: current rows of the catalog; those with `parts` are of tables of crops.
    """
    now = {(row["field_id"], row["version"]): row for row in planned if row.get("parts")}
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist() if Path(path).exists() else []
    rows = [row for row in rows if (row["field_id"], row["version"]) not in now]
    for row in now.values():
        about = {name: row[name] for name in ("source", "shard", *KEY)}
        rows += [{**about, **part._asdict(), "path": part.path or None} for part in row["parts"]]
    write_table(path, pd.DataFrame(rows, columns=CROPS.names), CROPS)


def read_listing(path: str | Path, shard: str) -> dict[tuple[str, str], list[Entry]]:
    """Read the rows of one shard's fields.

    Returns:
        (field_id, version) -> its rows, in the order of the table of crops.
    """
    return _entries(pq.read_table(path, filters=[("shard", "=", shard)]).to_pylist())


def listed_fields(path: str | Path) -> dict[tuple[str, str], list[Entry]]:
    """The same of all shards."""
    return _entries(pq.read_table(path).to_pylist())


def _entries(rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[Entry]]:
    found: dict[tuple[str, str], dict[int, Entry]] = {}
    for row in rows:
        part = Part(**{name: row[name] for name in Part._fields} | {"path": row["path"] or ""})
        entry = found.setdefault((row["field_id"], row["version"]), {}).setdefault(part.number, {})
        entry[part.part] = part
    return {key: [entries[number] for number in sorted(entries)] for key, entries in found.items()}


def roles_of(entries: Mapping[tuple[str, str], list[Entry]]) -> list[str]:
    """Roles of a shard's fields, in the order of storage."""
    return in_order({part for field in entries.values() for entry in field for part in entry if part in ROLES})


def read_entry(entry: Entry, files: ArrayFiles) -> dict[str, np.ndarray]:
    """Open the crops of one row.

    Args:
        entry: its parts.
        files: open files.

    Returns:
        (N, H, W) by part, all of one shape, in the files' own types; pixels may still have to be read.

    Raises:
        UnreadableImage: the first thing that is wrong; `size_mismatch` where the parts differ in number or size.
    """
    found = {name: files.crops(part) for name, part in entry.items()}
    first, *others = found
    for name in others:
        if len(found[name]) != len(found[first]):
            raise UnreadableImage(
                "size_mismatch",
                f"{first} has {len(found[first])} crops ({entry[first].path}), "
                f"but {name} {len(found[name])} ({entry[name].path})",
            )
        if found[name].shape != found[first].shape:
            one, other = (" x ".join(map(str, found[part].shape[1:])) for part in (first, name))
            raise UnreadableImage(
                "size_mismatch", f"the crops of {first} are {one} pixels, those of {name} {other} ({entry[name].path})"
            )
    if not found[first].size:
        raise UnreadableImage("unsupported_format", f"{entry[first].path} holds no crop")
    return found


def common_type(found: Mapping[str, np.ndarray]) -> np.dtype:
    """The narrowest type that holds the pixels of all roles."""
    return np.result_type(*(array.dtype.newbyteorder("=") for role, array in found.items() if role in ROLES))
