"""Tables of fields as people have them: separators, byte-order marks, Windows paths, lists in one cell."""

import csv
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

TEXT_COLUMNS = ("plate", "well", "position", "reagent", "cell_line", "condition", "sample", "reliability")
LIST_COLUMNS = ("ensembl_ids", "genes", "labels")
NUMBER_COLUMNS = ("pixel_size_um", "full_scale")
COLUMNS = ("field_id", *LIST_COLUMNS, *TEXT_COLUMNS, "control", *NUMBER_COLUMNS)
"""Our names of the columns that a table may have; only field_id must be there."""

NOTHING = frozenset({"", "NA", "N/A", "NaN", "nan", "None", "null"})
"""What programs write into a cell of which nothing is known."""

YES = frozenset({"true", "yes", "1", "x"})
NO = frozenset({"false", "no", "0"})

PIXEL_SIZES_UM = (0.005, 10.0)
"""Micrometres a pixel that a light microscope can have; what lies outside is another unit."""

PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
WHOLE = re.compile(r"^(\d+)\.0+$")
DRIVE = re.compile(r"[A-Za-z]:/")
ABSOLUTE = re.compile(r"/|[A-Za-z]:/|https?://")
"""How a path begins that is not relative to the table's folder; a URL is one too."""


class TableError(ValueError):
    """A table, or how the configuration reads it, is wrong; one line for each error."""


class Table(NamedTuple):
    """A table that is open for reading.

    Attributes:
        path: the file.
        separator: what stands between two cells.
        header: names of the columns, as the user has them.
        column: place of each of our columns that the table has.
        rows: the number of each row, as a spreadsheet counts them (the header is row 1), and its cells.
    """

    path: str
    separator: str
    header: list[str]
    column: dict[str, int]
    rows: Iterator[tuple[int, list[str]]]


@contextmanager
def open_table(
    path: str, columns: dict[str, str], names: Sequence[str] = COLUMNS, required: Sequence[str] = ("field_id",)
) -> Iterator[Table]:
    """Open a table of fields.

    Args:
        path: CSV or TSV; cells stand between tabs, semicolons or commas.
        columns: names that the table has for our columns, ours first.
        names: our columns.
        required: those that must be there.

    Yields:
        The table; its rows have as many cells as the header.

    Raises:
        TableError: the file is missing or no table, or a column is missing.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except OSError as error:
        raise TableError(f"{path}: the table cannot be opened ({error.strerror}); check sources.*.table") from error
    if start == b"PK\x03\x04" or start == b"\xd0\xcf\x11\xe0":
        raise TableError(f"{path} is an Excel workbook; save it as 'CSV UTF-8' and name that file")
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        with open(path, newline="", encoding=encoding) as lines:
            yield _table(path, lines, columns, names, required)
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not written in UTF-8 ({error.reason}); save it as 'CSV UTF-8'") from error
    except csv.Error as error:
        raise TableError(f"{path} cannot be read as a table: {error}") from error


def _table(path: str, lines: Any, columns: dict[str, str], names: Sequence[str], required: Sequence[str]) -> Table:
    first = lines.readline()
    numbered = 1
    separator = ""
    if first.lower().startswith("sep="):  # Excel's own word for the separator
        separator = first[4:5]
        first = lines.readline()
        numbered = 2
    separator = separator or likely_separator(first)
    header = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
    if not any(header):
        raise TableError(f"{path}: the first row is empty; it must name the columns ({', '.join(names)})")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise TableError(f"{path}, row 1: the column {', '.join(twice)} is there twice; rename one")
    column = {}
    for name in names:
        theirs = columns.get(name, name)
        if theirs in header:
            column[name] = header.index(theirs)
        elif name in columns:
            raise TableError(
                f"{path}, row 1: there is no column {theirs!r}, which sources.*.columns names for {name}; "
                f"the table has {', '.join(header)}"
            )
    for name in required:
        if name not in column:
            raise TableError(
                f"{path}, row 1: the column {name} is missing; the table has {', '.join(header)}; "
                f"rename a column, or name it under sources.*.columns as {name}"
            )
    return Table(path, separator, header, column, _rows(path, lines, separator, len(header), numbered))


def likely_separator(line: str) -> str:
    """Separator of a header line: a tab if there is one, else the more frequent of `;` and `,`."""
    bare = re.sub(r'"[^"]*"', "", line)
    if "\t" in bare:
        return "\t"
    return ";" if bare.count(";") > bare.count(",") else ","


def _rows(path: str, lines: Any, separator: str, width: int, before: int) -> Iterator[tuple[int, list[str]]]:
    for number, cells in enumerate(csv.reader(lines, delimiter=separator), start=before + 1):
        missing = width - len(cells)
        if missing > 0:
            # spreadsheets drop empty cells at the end, and leave empty rows
            cells += [""] * missing
        if missing < 0 and any(cell.strip() for cell in cells[width:]):
            raise TableError(
                f"{path}, row {number}: found {len(cells)} cells for {width} columns; "
                f"put quotes around a text that holds {separator!r}"
            )
        if any(cells):
            yield number, cells


def text(cell: str) -> str | None:
    """A cell's text without blanks around it; None where nothing is known."""
    cell = cell.strip()
    return None if cell in NOTHING else cell


def items(cell: str) -> list[str]:
    """A cell's list: separated by `;`, by `|` where there is no `;`, else by `,`; each item once."""
    separator = next((mark for mark in ";|" if mark in cell), ",")
    found = (text(item) for item in cell.split(separator))
    return list(dict.fromkeys(item for item in found if item))


def number(cell: str) -> float | None:
    """A cell's number, None where nothing is known. A decimal comma is understood.

    Raises:
        ValueError: no positive number.
    """
    cell = cell.strip()
    if cell in NOTHING:
        return None
    value = float(cell.replace(",", ".", 1) if "." not in cell else cell)
    if not 0 < value < float("inf"):
        raise ValueError(f"{cell} is not above 0")
    return value


def truth(cell: str) -> bool:
    """A cell's yes or no; nothing is no.

    Raises:
        ValueError: neither.
    """
    word = cell.strip().lower()
    if word in YES:
        return True
    if word in NO or cell.strip() in NOTHING:
        return False
    raise ValueError(f"{cell!r} is neither yes nor no")


def path_of_row(table: Table, pattern: str) -> Callable[[list[str]], str | None]:
    """Make a function that gives the path of a row's image.

    Args:
        table: the open table.
        pattern: path or URL with columns of the table (the user's names or ours) in braces. What is not absolute is
            relative to the table's folder; backslashes are understood as slashes.

    Returns:
        A function of a row's cells; it gives None where a cell that the pattern needs is empty.

    Raises:
        TableError: the pattern names a column that the table does not have.
    """
    places = _places(table, pattern, "path")
    folder = os.path.dirname(os.path.abspath(table.path)) + "/"
    shape = PLACEHOLDER.sub("%s", pattern.replace("%", "%%")).replace("\\", "/")
    known_start = not shape.startswith("%s")
    if known_start and not ABSOLUTE.match(shape):
        shape = folder.replace("%", "%%") + shape

    def path(cells: list[str]) -> str | None:
        values = tuple([cells[place].strip() for place in places])
        for value in values:
            if value in NOTHING:
                return None
        found = shape % values
        if "\\" in found:
            found = found.replace("\\", "/")
        if known_start or ABSOLUTE.match(found):
            return found
        return folder + found

    return path


def channel_of_row(table: Table, channel: str | int | None) -> Callable[[list[str]], str | None]:
    """Make a function that gives the channel of a row's image.

    Args:
        table: the open table.
        channel: index or name, with columns of the table in braces where it differs from row to row; None for none.

    Returns:
        A function of a row's cells; it gives None where a cell that it needs is empty. A number is written without its
        fraction: programs write 3.0 into a column of whole numbers of which one is missing.

    Raises:
        TableError: a column is named that the table does not have.
    """
    pattern = None if channel is None else str(channel)
    places = [] if pattern is None else _places(table, pattern, "channel")
    if not places:
        return lambda cells: pattern
    shape = PLACEHOLDER.sub("%s", str(pattern).replace("%", "%%"))

    def value(cells: list[str]) -> str | None:
        found = [cells[place].strip() for place in places]
        if NOTHING.intersection(found):
            return None
        return shape % tuple(WHOLE.sub(r"\1", cell) for cell in found)

    return value


def _places(table: Table, pattern: str, what: str) -> list[int]:
    """Places of the columns that a pattern names in braces."""
    places = []
    for name in PLACEHOLDER.findall(pattern):
        place = table.header.index(name) if name in table.header else table.column.get(name)
        if place is None:
            raise TableError(
                f"{table.path}, row 1: there is no column {name!r}, which the {what} {pattern!r} needs; "
                f"the table has {', '.join(table.header)}"
            )
        places.append(place)
    return places
