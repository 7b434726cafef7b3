"""A curator's word: which fields and cells to keep, reject or relabel, who says so, and why."""

import csv
import os
from functools import lru_cache
from typing import NamedTuple

from wherein.shards import Shard

COLUMNS = ("level", "id", "action", "value", "who", "why")
ACTIONS = {"field": ("keep", "reject", "relabel"), "cell": ("keep", "reject", "relabel")}


class Override(NamedTuple):
    """One decision.

    Attributes:
        level: `field` or `cell`.
        id: a field_id, or a cell_id (`{field_id}@{version}:{label}`).
        action: `keep`, `reject` or `relabel`.
        value: for `relabel`, the locations, separated by `;`.
        who: the curator.
        why: the reason in words.
    """

    level: str
    id: str
    action: str
    value: str
    who: str
    why: str


def read_overrides(path: str | None) -> tuple[Override, ...]:
    """Read the table of decisions, once for each state of the file.

    Args:
        path: a TSV with COLUMNS; lines that start with `#` are comments. None for no table.

    Returns:
        The decisions, in the order of the table.

    Raises:
        ValueError: a column is missing, a word is not allowed, or one thing is decided twice.
    """
    if not path:
        return ()
    state = os.stat(path)
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _read(path: str, _mtime_ns: int, _size: int) -> tuple[Override, ...]:
    with open(path, newline="", encoding="utf-8-sig") as lines:
        table = csv.DictReader((line for line in lines if not line.startswith("#")), delimiter="\t")
        missing = [name for name in COLUMNS if name not in (table.fieldnames or [])]
        if missing:
            raise ValueError(f"{path}: column {', '.join(missing)} is missing; it needs {', '.join(COLUMNS)}")
        found = [Override(*(str(row[name] or "").strip() for name in COLUMNS)) for row in table]
    seen: set[tuple[str, str, bool]] = set()
    for row, word in enumerate(found, start=1):
        if word.level not in ACTIONS or word.action not in ACTIONS[word.level]:
            raise ValueError(
                f"{path}, row {row}: found {word.level!r} {word.action!r}; level is field or cell, "
                "action is keep, reject or relabel"
            )
        if not word.who or not word.why:
            raise ValueError(f"{path}, row {row} ({word.id}): who and why must be given")
        if word.action == "relabel" and not word.value:
            raise ValueError(f"{path}, row {row} ({word.id}): relabel needs the locations in the column value")
        key = (word.level, word.id, word.action == "relabel")
        if key in seen:
            raise ValueError(f"{path}, row {row}: {word.id} is decided twice")
        seen.add(key)
    return tuple(found)


def overrides_for(path: str | None, stage: str, shard: Shard) -> list[list[str]]:
    """Decisions that a stage has to follow for a shard.

    `qc` follows what is said of fields, `crop` what is said of cells. Relabelling is the catalog's and the
    evaluation's business, so that it cuts no cell again.

    Args:
        path: the table of decisions, or None.
        stage: `qc` or `crop`.
        shard: the shard.

    Returns:
        Decisions as lists in the order of COLUMNS, JSON-able for a rule's parameter.
    """
    fields = {field_id for field_id, _ in shard.members}
    level = {"qc": "field", "crop": "cell"}[stage]
    return [
        list(word)
        for word in read_overrides(path)
        if word.level == level and word.action != "relabel" and word.id.rsplit("@", 1)[0] in fields
    ]
