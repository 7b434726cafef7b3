"""The shard table: which field version is worked on in which job. Append-only: a shard never changes."""

import csv
import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from wherein.digest import digest

COLUMNS = ("shard", "source", "release", "field_id", "version", "roles", "pixel_size_um")
"""Columns of shards.tsv. `roles` is a comma-separated list."""


class Shard(NamedTuple):
    """One shard as the workflow needs it.

    Attributes:
        name: `{source}-{number}`.
        source: name of the source in the configuration.
        roles: roles that its fields have, in the order of storage.
        members: (field_id, version) of its fields, in the order of the table.
    """

    name: str
    source: str
    roles: tuple[str, ...]
    members: tuple[tuple[str, str], ...]


def read_shards(path: str | Path) -> dict[str, Shard]:
    """Read the shard table, once for each state of the file.

    Args:
        path: shards.tsv.

    Returns:
        Shards by name, in the order of the table; empty if there is no table yet.
    """
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return {}
    return _read(str(path), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _read(path: str, _mtime_ns: int, _size: int) -> dict[str, Shard]:
    rows: dict[str, list[dict[str, str]]] = {}
    with open(path, newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            rows.setdefault(row["shard"], []).append(row)
    return {
        name: Shard(
            name=name,
            source=members[0]["source"],
            roles=tuple(role for role in members[0]["roles"].split(",") if role),
            members=tuple((row["field_id"], row["version"]) for row in members),
        )
        for name, members in rows.items()
    }


def members_digest(shard: Shard) -> str:
    """Digest of a shard's members and roles: a parameter of every rule that works on the shard."""
    return digest([shard.members, shard.roles])
