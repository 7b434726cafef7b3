"""Tables of crops made elsewhere: which files hold the crops of each field, and where in them each role is.

Read when the workflow is parsed, so nothing heavy is imported here; pixels are read by `wherein.exchange.arrays`.
"""

import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from wherein.channels import ROLES, in_order, uri_column
from wherein.sources.address import is_remote
from wherein.sources.table import COLUMNS as FIELD_COLUMNS
from wherein.sources.table import (
    LIST_COLUMNS,
    NUMBER_COLUMNS,
    PIXEL_SIZES_UM,
    TEXT_COLUMNS,
    Table,
    TableError,
    channel_of_row,
    items,
    number,
    open_table,
    path_of_row,
    text,
    truth,
)

COLUMNS = (*FIELD_COLUMNS, "index")
"""Our names of the columns that a table of crops may have; none has to be there."""

CELL_MASK, NUCLEUS_MASK, DISTANCE = "cell_mask", "nucleus_mask", "nucleus_distance"
EXTRAS = (CELL_MASK, NUCLEUS_MASK, DISTANCE)
"""Parts of a crop beside its roles, by their names in the configuration."""

INDEX = re.compile(r"(\d+)(?::(\d+))?")
"""A crop's number in its file, from 0, or the first and the one after the last of several."""

SHARED = (*TEXT_COLUMNS, *LIST_COLUMNS, "control", *NUMBER_COLUMNS)
"""What all rows of a field have to agree on."""

Row = dict[str, Any]
"""A row of fields.parquet as the catalog plans it, by column; `parts` lists its files."""

END = 1 << 62
"""After the last crop of any file."""


class Part(NamedTuple):
    """Where one image of the crops of a table's row is.

    Attributes:
        number: of the row among those of its field, from 0.
        part: a role, or one of EXTRAS.
        path: of the file; empty where the table names none.
        key: name of the array in an npz; None for its only one.
        channel: position on the axis C; None where there is none.
        axes: of the array, one letter each: N crops, C channels, Y, X.
        index: which crops of the file, as the table says it; None for all.
    """

    number: int
    part: str
    path: str
    key: str | None
    channel: int | None
    axes: str
    index: str | None


def span(index: str | None) -> tuple[int, int]:
    """First crop, and the one after the last, that an index names."""
    if index is None:
        return 0, END
    found = INDEX.fullmatch(index)
    if not found:
        raise ValueError(f"{index!r} is neither a number from 0 on nor two of them as in 0:60")
    first = int(found[1])
    return first, int(found[2]) if found[2] else first + 1


def declared_parts(source: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Roles, in the order of storage, and EXTRAS that a source has, with what the configuration says of each."""
    found = {role: {**source["roles"][role], "axes": source["axes"]} for role in in_order(source["roles"])}
    for name in EXTRAS:
        words = source[name]
        if words is not None:
            # without a channel it is an array of its own, like that of the roles but for the channels
            axes = source["axes"] if words["channel"] is not None else source["axes"].replace("C", "")
            found[name] = {**words, "axes": words["axes"] or axes}
    return found


def crop_fields(name: str, source: dict[str, Any], problems: list[str]) -> list[Row]:
    """List the fields of a table of crops.

    Rows with the same field_id are one field, in the order of the table; without such a column a file is a field, named
    after it.

    Args:
        name: of the source.
        source: its configuration, with defaults.
        problems: gets a sentence for everything that is wrong.

    Returns:
        Columns of fields.parquet that the table knows, `roles`, and `parts`: a list of Part.

    Raises:
        TableError: the table cannot be read at all.
    """
    fields: dict[str, Row] = {}
    first_row: dict[str, int] = {}
    claims: dict[tuple[Any, ...], list[tuple[int, int, int]]] = {}
    parts = declared_parts(source)
    problems += _wrong_channels(name, parts)
    with open_table(source["table"], source["columns"], COLUMNS, required=()) as table:
        finders = _finders(table, parts)
        for line, cells in table.rows:
            here = f"{table.path}, row {line}"
            try:
                field = _field(table, cells, source, parts, finders)
                told = _parts_of_row(table, cells, parts, finders, len(field["rows"]))
            except ValueError as error:
                problems.append(f"{here}: {error}")
                continue
            known = fields.setdefault(field["field_id"], field)
            before = first_row.setdefault(field["field_id"], line)
            differing = [key for key in SHARED if known[key] != field[key]]
            if known["named_after"] != field["named_after"]:
                problems.append(
                    f"{here}: {field['named_after']} and {known['named_after']} (row {before}) would both be the field "
                    f"{field['field_id']!r}: give the table a column field_id, or name it under columns"
                )
                continue
            if differing:
                problems.append(
                    f"{here}: the field {field['field_id']!r} has another {', '.join(differing)} than in row {before}; "
                    "crops of one field share what is known of it: give the table a column field_id that tells them "
                    "apart, or name it under columns"
                )
                continue
            number_in_field = len(known["rows"])
            known["rows"].append(line)
            known["parts"] += [part._replace(number=number_in_field) for part in told]
            for part in told:
                key = (part.part, os.path.normpath(part.path), part.key, part.channel)
                if part.path:
                    claims.setdefault(key, []).append((*span(part.index), line))
        if not first_row and not problems:
            problems.append(f"{table.path}: there is no row below the header; one row a file of crops, or a crop")
    problems += _used_twice(source["table"], claims)
    problems += _nowhere(name, source["table"], list(fields.values()), parts)
    return list(fields.values())


Finders = dict[str, tuple[Callable[[list[str]], str | None], Callable[[list[str]], str | None]]]


def _finders(table: Table, parts: dict[str, dict[str, Any]]) -> Finders:
    """For each part, functions that give the path and the key of a row."""
    return {
        part: (path_of_row(table, words["path"]), channel_of_row(table, words["key"])) for part, words in parts.items()
    }


def _field(
    table: Table, cells: list[str], source: dict[str, Any], parts: dict[str, dict[str, Any]], finders: Finders
) -> Row:
    """What a row says of its field."""

    def cell(name: str) -> str:
        return cells[table.column[name]] if name in table.column else ""

    field_id, file = cell("field_id").strip(), None
    if not field_id:
        file = finders[next(iter(parts))][0](cells)
        field_id = os.path.splitext(os.path.basename(file))[0] if file else ""
    if not field_id or not field_id.isprintable():
        raise ValueError("neither the column field_id nor a file's name tells which field these crops are of")
    row: Row = {"field_id": field_id, "named_after": file, "rows": [], "parts": []}
    row["roles"] = [part for part in parts if part in ROLES]
    row |= {name: text(cell(name)) for name in TEXT_COLUMNS}
    row |= {name: items(cell(name)) for name in LIST_COLUMNS}
    row["control"] = truth(cell("control"))
    row["pixel_size_um"] = number(cell("pixel_size_um")) or source["pixel_size_um"]
    row["full_scale"] = number(cell("full_scale")) or source["full_scale"]
    low, high = PIXEL_SIZES_UM
    if row["pixel_size_um"] is None or not low <= row["pixel_size_um"] <= high:
        raise ValueError(
            f"the pixel size of {field_id!r} is {row['pixel_size_um']}; files do not say it: write micrometres "
            f"a pixel, {low} to {high:g}, under pixel_size_um of the source or into the column"
        )
    for role in row["roles"]:
        row[uri_column(role)] = f"crops:{os.path.normpath(finders[role][0](cells) or '')}"
    return row


def _parts_of_row(
    table: Table, cells: list[str], parts: dict[str, dict[str, Any]], finders: Finders, place: int
) -> list[Part]:
    index = text(cells[table.column["index"]]) if "index" in table.column else None
    if index is not None:
        index = re.sub(r"\.0+\b", "", index)
        first, end = span(index)
        if end <= first:
            raise ValueError(f"found {index!r} in the column index; the second number has to be above the first")
        without = [part for part, words in parts.items() if "N" not in words["axes"]]
        if without:
            raise ValueError(f"found {index!r} in the column index, but the axes of {without[0]} have no N to count on")
    told = []
    for part, (path_of, key_of) in finders.items():
        path = path_of(cells)
        # a mask that is not there is no loss: the whole crop stands in for it
        if path is None and part in EXTRAS:
            continue
        if path and is_remote(path):
            raise ValueError(f"found {path}; crops are read from files on this machine: download it first")
        words = parts[part]
        told.append(Part(place, part, path or "", key_of(cells), words["channel"], words["axes"], index))
    return told


def _wrong_channels(name: str, parts: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"sources.{name}: {part} names channel {words['channel']}, but its axes {words['axes']} have no C"
        for part, words in parts.items()
        if words["channel"] is not None and "C" not in words["axes"]
    ]


def _used_twice(path: str, claims: dict[tuple[Any, ...], list[tuple[int, int, int]]]) -> list[str]:
    """A sentence for each crop of a file that two rows name."""
    told = []
    for (part, file, *_), spans in claims.items():
        end, line = -1, 0
        for first, after, row in sorted(spans):
            if first < end:
                told.append(f"{path}, row {row}: {part} of crop {first} of {file} is used twice, see row {line}")
            if after > end:
                end, line = after, row
    return told


def _nowhere(name: str, path: str, fields: list[Row], parts: dict[str, dict[str, Any]]) -> list[str]:
    """A sentence for each part of which not one file exists."""
    found: set[str] = set()
    named: dict[str, str] = {}
    for field in fields:
        for part in field["parts"]:
            named.setdefault(part.part, part.path)
            if part.part not in found and part.path and os.path.exists(part.path):
                found.add(part.part)
        if len(found) == len(parts):
            return []
    return [
        f"{path}: not one file of {part} exists, the first is {named[part] or 'not named'}; correct sources.{name}, "
        "paths are relative to the table's folder"
        for part in parts
        if part in named and part not in found
    ]


def fields_or_error(name: str, source: dict[str, Any]) -> list[Row]:
    """`crop_fields` of a table that was checked before.

    Raises:
        TableError: something is wrong after all.
    """
    problems: list[str] = []
    fields = crop_fields(name, source, problems)
    if problems:
        raise TableError("\n".join(problems[:10]))
    return fields
