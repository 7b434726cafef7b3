"""The check of every table of fields, before any job."""

import os
import re
from typing import Any

from wherein.exchange.crop_table import crop_fields
from wherein.exchange.vector_table import check_vectors
from wherein.overrides import read_overrides
from wherein.sources.address import is_remote
from wherein.sources.formats import CONVERTER, vendor_format
from wherein.sources.release_files import missing_files
from wherein.sources.table import (
    DRIVE,
    PIXEL_SIZES_UM,
    Table,
    TableError,
    channel_of_row,
    number,
    open_table,
    path_of_row,
    text,
    truth,
)

SHOWN = 10
"""Errors that are shown; the rest are counted."""

MONTHS = {
    **dict.fromkeys(("mar", "mrz", "mär", "03"), "MARCHF"),
    **dict.fromkeys(("sep", "09"), "SEPTIN"),
    **dict.fromkeys(("dec", "dez", "12"), "DELEC"),
}
"""Gene families whose former symbols (MARCH1, SEPT7, DEC1) spreadsheets take for dates, by month."""

LAST_COPY = {"MARCHF": 11, "SEPTIN": 15, "DELEC": 1}
"""Highest number in each family."""

MONTH = r"(?:jan|feb|mar|mär|mrz|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-zä]*\.?"
NOT_A_GENE = re.compile(
    rf"(?:^|[;|,])\s*(?:\d{{1,4}}[-./ ]{{1,2}}{MONTH}(?:[-./ ]\d{{2,4}})?"  # 7-Sep, 01. Mrz, 2007-Sep
    rf"|{MONTH}[-./ ]\d{{1,4}}"  # Sep-07
    r"|\d{1,4}[-./]\d{1,2}(?:[-./]\d{1,4})?(?:[ T]\d\d:\d\d(?::\d\d)?)?"  # 2021-09-07, 09/07/2021
    r"|[-+]?\d+(?:[.,]\d+)?(?:e[-+]?\d+)?"  # 44446, 2.31E+13
    r")\s*(?:$|[;|,])",
    re.IGNORECASE,
)


class Errors(list[str]):
    """Sentences on what is wrong; the first ones are kept, all are counted."""

    total = 0

    def add(self, sentence: str) -> None:
        """Note one error."""
        self.total += 1
        if len(self) < SHOWN:
            self.append(sentence)


def check_tables(config: dict[str, Any]) -> None:
    """Check the tables of all sources and of overrides.

    Reads each table once, and looks for files only until each role's first one is found.

    Args:
        config: the checked configuration, with defaults.

    Raises:
        TableError: one line for each of the first errors: file, row, what was found, what is allowed.
    """
    errors = Errors()
    ids: dict[str, str] = {}
    files: dict[str, str] = {}
    for name, source in config["sources"].items():
        if source["kind"] in ("hpa", "opencell"):
            for sentence in missing_files(name, source):
                errors.add(sentence)
        if source["kind"] == "crops":
            _check_crops(name, source, ids, errors)
        if source["kind"] == "vectors":
            for sentence in check_vectors(name, source):
                errors.add(sentence)
        if source["kind"] != "table":
            continue
        try:
            with open_table(source["table"], source["columns"]) as table:
                TableCheck(name, source, table, ids, files, errors).run()
        except TableError as error:
            errors.add(str(error).replace("sources.*", f"sources.{name}"))
    try:
        read_overrides(config.get("overrides"))
    except FileNotFoundError:
        errors.add(f"{config['overrides']}: the table does not exist; check the configuration key overrides")
    except ValueError as error:
        errors.add(str(error))
    if errors:
        more = [f"... and {errors.total - len(errors)} more"] if errors.total > len(errors) else []
        raise TableError("\n".join([*errors, *more]))


def tells_reagents_apart(source: dict[str, Any]) -> bool:
    """Whether a source has two reagents or more, as far as that is known before the catalog.

    Args:
        source: configuration of the source, with defaults. Releases and the simulator have them.
    """
    if source["kind"] not in ("table", "crops"):
        return True
    found: set[str] = set()
    with open_table(source["table"], source["columns"], required=()) as table:
        place = table.column.get("reagent")
        for _, cells in table.rows if place is not None else ():
            if value := text(cells[place]):
                found.add(value)
            if len(found) > 1:
                return True
    return False


def _check_crops(name: str, source: dict[str, Any], ids: dict[str, str], errors: Errors) -> None:
    """Check a table of crops made elsewhere; its fields are noted in `ids`."""
    problems: list[str] = []
    try:
        fields = crop_fields(name, source, problems)
    except TableError as error:
        fields, problems = [], [str(error).replace("sources.*", f"sources.{name}")]
    for field in fields:
        here = f"{source['table']}, row {field['rows'][0] if field['rows'] else '?'}"
        if field["field_id"] in ids:
            problems.append(
                f"{here}: the field_id {field['field_id']!r} is there twice, see {ids[field['field_id']]}; "
                "give each its own"
            )
        ids.setdefault(field["field_id"], here)
        problems += [f"{here}: {not_a_gene(gene)}" for gene in field["genes"] if NOT_A_GENE.search(gene)]
    for sentence in problems:
        errors.add(sentence)


class TableCheck:
    """The check of one source's table, row by row.

    Attributes:
        ids: where each field_id was seen first, over all sources.
        files: where each file with its channel and plane was seen last, over all sources.
        errors: what is wrong.
    """

    def __init__(
        self,
        name: str,
        source: dict[str, Any],
        table: Table,
        ids: dict[str, str],
        files: dict[str, str],
        errors: Errors,
    ) -> None:
        self.ids, self.files, self.errors = ids, files, errors
        self._name = name
        self._table = table
        self._id = table.column["field_id"]
        self._genes = table.column.get("genes")
        self._size = table.column.get("pixel_size_um")
        self._size_known = source["pixel_size_um"] is not None
        # contents of cells that were found good: columns repeat themselves
        self._checked = [
            (name, table.column[name], set[str]())
            for name in ("pixel_size_um", "full_scale", "control")
            if name in table.column
        ]
        self._roles = [
            (
                path_of_row(table, role["path"]),
                channel_of_row(table, role["channel"]),
                f"&{role['z']}",
                FirstFile(name, role_name, role["path"]),
            )
            for role_name, role in source["roles"].items()
        ]
        self._endings: set[str] = set()

    def run(self) -> None:
        """Check all rows, then what only the whole table tells."""
        here = ""
        for row, cells in self._table.rows:
            here = f"{self._table.path}, row {row}"
            self._check_cells(here, cells)
            paths = self._check_paths(here, cells)
            if not self._size_known and (self._size is None or text(cells[self._size]) is None):
                self._look_for_pixel_size(here, paths)
        if not here:
            self.errors.add(f"{self._table.path}: there is no row below the header; one row a field is needed")
            return
        for *_, first_file in self._roles:
            problem = first_file.conclude(self._table.path)
            if problem:
                self.errors.add(problem)

    def _check_cells(self, here: str, cells: list[str]) -> None:
        field_id = cells[self._id].strip()
        if not field_id or not field_id.isprintable():
            self.errors.add(f"{here}: found {field_id!r} as field_id; each field needs a name of printable characters")
        elif field_id in self.ids:
            self.errors.add(
                f"{here}: the field_id {field_id!r} is there twice, see {self.ids[field_id]}; give each its own"
            )
        else:
            self.ids[field_id] = here
        if self._genes is not None:
            genes = cells[self._genes]
            if not genes.isalpha() and NOT_A_GENE.search(genes):
                self.errors.add(f"{here}: {not_a_gene(genes, self._table.header[self._genes])}")
        for name, place, good in self._checked:
            if cells[place] in good:
                continue
            problem = _wrong(cells[place], name, self._table.header[place])
            if problem:
                self.errors.add(f"{here}: {problem}")
            else:
                good.add(cells[place])

    def _check_paths(self, here: str, cells: list[str]) -> list[str]:
        paths = []
        for path_of, channel_of, suffix, first_file in self._roles:
            path = path_of(cells)
            if path is None:
                continue
            paths.append(path)
            # spelled in another way it is still the same file; most paths have no need of it
            key = f"{os.path.normpath(path) if './' in path or '//' in path else path}#{channel_of(cells)}{suffix}"
            if key in self.files:
                self.errors.add(
                    f"{here}: {path} is used twice, see {self.files[key]}; "
                    "each role of each field needs a file or a channel of its own"
                )
            self.files[key] = here
            if path[-5:] not in self._endings:
                problem = _not_readable(path)
                if problem:
                    self.errors.add(f"{here}: {problem}")
                else:
                    self._endings.add(path[-5:])
            if first_file.path is None:
                first_file.look(path, here)
        return paths

    def _look_for_pixel_size(self, here: str, paths: list[str]) -> None:
        """Ask the files of the first field whose pixel size neither the table nor the configuration says."""
        there = [path for path in paths if is_remote(path) or os.path.exists(path)]
        if not there:
            return
        self._size_known = True  # or told as an error: once is enough
        if not _pixel_size_in(there):
            self.errors.add(
                f"{here}: the pixel size is not known: it is neither in the column pixel_size_um, nor in the files, "
                f"nor in the configuration; write micrometres a pixel under sources.{self._name}.pixel_size_um"
            )


def not_a_gene(cell: str, column: str = "genes") -> str:
    """A sentence for what a spreadsheet made of a gene symbol, and which symbol it may have been."""
    found = NOT_A_GENE.search(cell)
    shown = found.group(0).strip(" ;|,") if found else cell
    guess = likely_symbol(shown)
    what = "a number" if _is_number(shown) else "a date"
    return (
        f"found {what}, {shown!r}, in the column {column}, which a spreadsheet makes of a gene symbol"
        f"{f' (perhaps {guess})' if guess else ''}; write the symbol into cells that are formatted as text"
    )


def likely_symbol(date: str) -> str | None:
    """The gene whose former symbol a spreadsheet reads as this date: SEPTIN7 for 7-Sep, MARCHF1 for 2021-03-01."""
    month = re.search("|".join(filter(str.isalpha, MONTHS)), date.lower())
    day = re.search(r"\d+", date)
    iso = re.match(r"\d{4}-(\d\d)-(\d\d)", date)
    if iso:
        family, copy = MONTHS.get(iso.group(1)), int(iso.group(2))
    elif month and day:
        family, copy = MONTHS[month.group()], int(day.group())
    else:
        return None
    return f"{family}{copy}" if family and copy <= LAST_COPY[family] else None


def _is_number(shown: str) -> bool:
    try:
        float(shown.replace(",", "."))
    except ValueError:
        return False
    return True


def _wrong(cell: str, name: str, column: str) -> str | None:
    """What is wrong with a cell of our column `name`, which the user calls `column`."""
    if name == "control":
        try:
            truth(cell)
        except ValueError:
            return f"found {cell!r} in the column {column}; it must be yes or no (true, false, 1, 0, x or empty)"
        return None
    try:
        value = number(cell)
    except ValueError:
        return f"found {cell!r} in the column {column}; it must be a number above 0"
    low, high = PIXEL_SIZES_UM
    if name == "pixel_size_um" and value is not None and not low <= value <= high:
        return f"found {cell!r} in the column {column}; it must be micrometres a pixel, from {low} to {high:g}"
    return None


class FirstFile:
    """Looks for the first file of a role that exists, and notes what is wrong if there is none.

    Attributes:
        path: the file that was found, None while none was.
    """

    def __init__(self, source: str, role: str, pattern: str) -> None:
        self.path: str | None = None
        self._key = f"sources.{source}.roles.{role}.path"
        self._role = role
        self._pattern = pattern
        self._first = ""
        self._tried = 0

    def look(self, path: str, here: str) -> None:
        """Note a path; look whether it exists if none was found before."""
        self._tried += 1
        self._first = self._first or f"{path} ({here})"
        if is_remote(path) or os.path.exists(path):
            self.path = path

    def conclude(self, table: str) -> str | None:
        """What is wrong once all rows were seen: a role that the whole source lacks."""
        if self.path is not None:
            return None
        if not self._tried:
            return (
                f"{table}: no row names a file for the role {self._role} (path {self._pattern!r}); "
                f"fill the column, or leave the role out of the configuration ({self._key})"
            )
        return (
            f"{table}: not one file of the role {self._role} exists, the first is {self._first}; "
            f"correct {self._key}, which is relative to the table's folder"
        )


def _not_readable(path: str) -> str | None:
    """What is wrong with a path by its spelling alone."""
    if DRIVE.match(path):
        return f"found {path}, a path of another computer; write one that is relative to the table's folder"
    vendor = vendor_format(path)
    if vendor:
        return f"found {path}, which is {vendor} and is not read directly; {CONVERTER}"
    return None


def _pixel_size_in(paths: list[str]) -> bool:
    """Whether one of a field's files says its pixel size, or cannot be read at all."""
    # only here, since it needs the decoders
    from wherein.readers import UnreadableImage, pixel_size

    for path in paths:
        if is_remote(path):
            continue
        try:
            if pixel_size(path) is not None:
                return True
        except UnreadableImage:
            return True
    return False
