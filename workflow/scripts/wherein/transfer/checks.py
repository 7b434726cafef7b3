"""Is a document that came over the line what it should be, from its first byte to its last?

Every check reads the whole file as a stream, so that memory does not grow with it: a compressed file is unpacked to its
checksum, an XML is parsed to the end of its root.
"""

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO
from xml.parsers import expat

from wherein.digest import sha256_of
from wherein.transfer.errors import described

CHUNK = 1 << 20
"""Bytes that are read at once."""

Check = Callable[[Path], None]
"""Reads a file to its end, and raises UnfitError if it is not what it should be."""


class UnfitError(ValueError):
    """A document is not what it should be; the message goes on after the name of the document."""


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that is plain, gzipped, or a zip of one file, by what its first bytes say.

    Args:
        path: the file; its name does not matter.

    Yields:
        A stream of the unpacked content. Who reads it to its end has had its checksum compared.

    Raises:
        UnfitError: the packing is damaged or breaks off, now or while the block reads.
    """
    with path.open("rb") as raw:
        start = raw.read(4)
    try:
        with ExitStack() as stack:
            if start.startswith(b"\x1f\x8b"):
                yield stack.enter_context(gzip.open(path))  # type: ignore[misc]
            elif start == b"PK\x03\x04":
                packed = stack.enter_context(zipfile.ZipFile(path))
                # archives made on a Mac hold a second copy of what the system knows of each file
                files = [item for item in packed.infolist() if not (item.is_dir() or "__MACOSX" in item.filename)]
                if len(files) != 1:
                    raise UnfitError(f"is a zip of {len(files)} files, it must hold one")
                yield stack.enter_context(packed.open(files[0]))
            else:
                yield stack.enter_context(path.open("rb"))
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise UnfitError(f"is damaged or breaks off ({error})") from error


def xml_document(root: str, within: str = "") -> Check:
    """A check for an XML, plain or packed, parsed to its end.

    Args:
        root: name of its root element, without a namespace.
        within: text that has to occur in it.
    """

    def check(path: Path) -> None:
        parser = expat.ParserCreate()
        roots: list[str] = []

        def start(name: str, _: dict[str, str]) -> None:
            roots.append(name.rpartition(":")[2])
            parser.StartElementHandler = None

        parser.StartElementHandler = start
        wanted, rest = within.encode(), b""
        found = not wanted
        try:
            with opened(path) as content:
                while chunk := content.read(CHUNK):
                    parser.Parse(chunk, False)
                    if roots and roots[0] != root:
                        break
                    if not found:
                        seen = rest + chunk
                        found, rest = wanted in seen, seen[-len(wanted) :]
                else:
                    parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise UnfitError(f"is {_head(path)}, and no whole XML of {root} ({error})") from error
        if roots[0] != root:
            raise UnfitError(f"is {_head(path)}, an XML of {roots[0]}; it must be one of {root}")
        if not found:
            raise UnfitError(f"does not name {within}: it is about something else")

    return check


def table_document(columns: Iterable[str], separator: str) -> Check:
    """A check for a table in UTF-8, plain or packed, that has these columns, a row, and as many cells in every row."""
    wanted = tuple(columns)

    def check(path: Path) -> None:
        try:
            with opened(path) as content, io.TextIOWrapper(content, "utf-8-sig", newline="") as lines:
                rows = csv.reader(lines, delimiter=separator)
                header = next(rows, [])
                missing = [name for name in wanted if name not in header]
                if missing:
                    raise UnfitError(f"is {_head(path)}, and no table with the column {', '.join(missing)}")
                count = 0
                for row in rows:
                    if row and len(row) != len(header):
                        raise UnfitError(f"has {len(row)} cells in line {rows.line_num}, its header has {len(header)}")
                    count += bool(row)
        except (UnicodeDecodeError, csv.Error) as error:
            raise UnfitError(f"is {_head(path)}, and no table in UTF-8 ({error})") from error
        if not count:
            raise UnfitError("has a header and no row")

    return check


def gmt_document(path: Path) -> None:
    """A check for gene sets: in each line, separated by tabs, a name, an identifier or nothing, and genes."""
    sets = 0
    try:
        with opened(path) as content, io.TextIOWrapper(content, "utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                cells = line.strip("\r\n").split("\t")
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) < 3 or not cells[0].strip():
                    raise UnfitError(
                        f"is {_head(path)}, and no file of gene sets: line {number} has {len(cells)} columns "
                        "separated by tabs, it must have a name, an identifier or nothing, and genes"
                    )
                sets += any(cell.strip() for cell in cells[2:])
    except UnicodeDecodeError as error:
        raise UnfitError(f"is {_head(path)}, and no text in UTF-8 ({error})") from error
    if not sets:
        raise UnfitError(f"is {_head(path)}, and holds no gene set")


def file_with(sha256: str, size: int) -> Check:
    """A check for one certain file."""

    def check(path: Path) -> None:
        found = sha256_of(path)
        if found != sha256:
            raise UnfitError(
                f"has the sha256 {found} ({path.stat().st_size} bytes), it must be {sha256} ({size} bytes): this is "
                "another or a damaged file"
            )

    return check


def _head(path: Path) -> str:
    with path.open("rb") as content:
        return described(content.read(512))
