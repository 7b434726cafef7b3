"""Tables of vectors made elsewhere: what configuration says of them, and what is wrong before any job.

Read when the workflow is parsed, so nothing heavy is imported here; vectors are read by
`wherein.exchange.vector_reading`.
"""

import gzip
import os
import re
from typing import Any, NamedTuple

from wherein.sources.table import LIST_COLUMNS, TEXT_COLUMNS, likely_separator

COLUMNS = ("field_id", *LIST_COLUMNS, *TEXT_COLUMNS, "control")
"""Our names of the columns that a table of vectors may have; none has to be there."""

PARQUET, ANNDATA, TEXT = "parquet", "h5ad", "text"
"""Formats, known by a file's first bytes."""

MAGIC = {b"PAR1": PARQUET, b"\x89HDF": ANNDATA}


class Place(NamedTuple):
    """Where one vector of a field is.

    Attributes:
        number: of the row among those of its field, from 0.
        row: in the table, from 0.
        probability_row: in the table of probabilities; None without one.
        digest: of the row's numbers, 12 hexadecimal characters.
        reason: why it does not go on; None if it does.
        detail: what was found, in words; None.
    """

    number: int
    row: int
    probability_row: int | None
    digest: str
    reason: str | None
    detail: str | None


def file_format(path: str) -> str:
    """Format of a table of vectors: `parquet`, `h5ad` or `text` (plain or gzipped).

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return MAGIC.get(file.read(4), TEXT)


def check_vectors(name: str, source: dict[str, Any]) -> list[str]:
    """Sentences on what is wrong with a source of vectors, as far as names of files and headers tell."""
    keys = ("table", "labels", "identifiers")
    paths = {f"sources.{name}.{key}": source[key] for key in keys if source[key]}
    if source["probabilities"]:
        paths[f"sources.{name}.probabilities.table"] = source["probabilities"]["table"]
    told = [f"{key}: {path} does not exist" for key, path in paths.items() if not os.path.isfile(path)]
    if told:
        return told
    try:
        re.compile(source["features"] or "")
    except re.error as error:
        return [f"sources.{name}.features: {source['features']!r} is no regular expression ({error})"]
    if file_format(source["table"]) != TEXT:
        return []
    header = text_header(source["table"])
    if len(header) < 2:
        return [f"{source['table']}: found {len(header)} columns; a table of vectors has a column for each feature"]
    return [
        f"{source['table']}, row 1: there is no column {theirs!r}, which sources.{name}.columns names for {ours}; "
        f"the table begins with {', '.join(header[:8])}"
        for ours, theirs in source["columns"].items()
        if theirs not in header
    ]


def text_header(path: str) -> list[str]:
    """Names of the columns of a text table, plain or gzipped."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with (gzip.open if packed else open)(path, "rt", encoding="utf-8-sig") as lines:
        first = lines.readline().rstrip("\r\n")
    return [name.strip().strip('"') for name in first.split(likely_separator(first))]
