"""A curator's word: which fields and cells to keep, reject or relabel, who says so, and why."""

import csv
import os
import re
from functools import lru_cache
from typing import NamedTuple

from wherein.shards import Shard

COLUMNS = ("level", "id", "action", "value", "who", "why")
ACTIONS = {"field": ("keep", "reject", "relabel"), "cell": ("keep", "reject", "relabel")}


CELL_ID = re.compile(r".+@[0-9a-f]+:[1-9][0-9]*")


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
        ValueError: the file is no table in UTF-8, a column is missing, a word is not allowed, or one thing is decided
            twice.
    """
    if not path:
        return ()
    state = os.stat(path)
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _read(path: str, _mtime_ns: int, _size: int) -> tuple[Override, ...]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [
                (number, [cell.strip() for cell in cells])
                for number, cells in enumerate(csv.reader(file, delimiter="\t"), start=1)
                if any(cells) and not cells[0].startswith("#")
            ]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not written in UTF-8 ({error.reason}); save it as text in UTF-8") from error
    header = rows[0][1] if rows else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise ValueError(
            f"{path}: column {', '.join(missing)} is missing; found {', '.join(header) or 'no header'}; it needs "
            f"{', '.join(COLUMNS)}, separated by tabs"
        )
    found: list[Override] = []
    seen: dict[tuple[str, str, bool], int] = {}
    for number, cells in rows[1:]:
        row = dict(zip(header, cells, strict=False))
        word = Override(*(row.get(name, "") for name in COLUMNS))
        _check(word, f"{path}, row {number}")
        # one word on keeping and one on labels may stand side by side
        key = (word.level, word.id, word.action == "relabel")
        if key in seen:
            raise ValueError(f"{path}, row {number}: {word.id} is decided twice, see row {seen[key]}; keep one")
        seen[key] = number
        found.append(word)
    return tuple(found)


def _check(word: Override, here: str) -> None:
    """Raise ValueError for a decision that cannot be followed."""
    if word.level not in ACTIONS or word.action not in ACTIONS[word.level]:
        raise ValueError(
            f"{here}: found {word.level!r} {word.action!r}; level is field or cell, action is keep, reject or relabel"
        )
    if not word.id or (word.level == "cell" and not CELL_ID.fullmatch(word.id)):
        raise ValueError(
            f"{here}: found {word.id!r} as id; it is a field_id, or a cell_id as the ledger has it "
            "(field_id@version:label)"
        )
    if not word.who or not word.why:
        raise ValueError(f"{here} ({word.id}): who and why must be given")
    if (word.action == "relabel") != bool(word.value):
        raise ValueError(
            f"{here} ({word.id}): relabel needs the locations in the column value, other actions leave it empty"
        )


def field_of(word: Override) -> str:
    """field_id that a decision is about."""
    return word.id if word.level == "field" else word.id.rsplit("@", 1)[0]


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
        if word.level == level and word.action != "relabel" and field_of(word) in fields
    ]


def relabelled_cells(path: str | None) -> list[list[str]]:
    """Decisions on the locations of single cells, which the evaluation follows.

    Args:
        path: the table of decisions, or None.

    Returns:
        A list for each such cell: its cell_id, then the locations, JSON-able for a rule's parameter.
    """
    return [
        [word.id, *(location.strip() for location in word.value.split(";") if location.strip())]
        for word in read_overrides(path)
        if word.level == "cell" and word.action == "relabel"
    ]
