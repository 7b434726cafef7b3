"""What a user asks to find: a protein, a unit, or a file of examples."""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple


class QueryError(ValueError):
    """A query that names nothing in the run."""


class Examples(NamedTuple):
    """A list of examples: names of units or proteins that show a pattern, and of some that do not."""

    positive: list[str]
    negative: list[str]


def query_name(query: str) -> str:
    """The folder of a query's answer: its letters and digits, and a digest where these are not all of it."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", Path(query).stem if is_file(query) else query).strip("_.") or "query"
    return plain if plain == query else f"{plain[:60]}-{hashlib.sha256(query.encode()).hexdigest()[:8]}"


def is_file(query: str) -> bool:
    """Whether a query names a file of examples that is there."""
    return Path(query).is_file()


def read_examples(path: str | Path) -> Examples:
    """Read a list of examples: a name a line, one that begins with `-` shows the pattern not; `#` starts a remark.

    Of lines with tabs or commas, as a table of results has them, the first part counts.

    Raises:
        QueryError: nobody shows the pattern.
    """
    positive, negative = [], []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        name = re.split(r"[\t,]", line.split("#")[0])[0].strip()
        if name.startswith("-"):
            negative.append(name[1:].strip())
        elif name:
            positive.append(name)
    if not positive:
        raise QueryError(
            f"{path} has no example: write the name of a cell, a field or a protein on each line, `-` before those "
            "that do not show the pattern"
        )
    return Examples(positive, negative)
