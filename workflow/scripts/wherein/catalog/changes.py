"""The history of changes: what each run of the catalog found to be other than the run before."""

import csv
from collections.abc import Iterable
from pathlib import Path

from wherein.atomic import atomic_path
from wherein.catalog.release import Change


def read_changes(path: str | Path, count: int | None) -> list[Change]:
    """Read the history as far as a finished run of the catalog has written it.

    The table of fields, written after the history, says how many rows belong to it. Rows beyond are those of a run that
    was stopped in between: the next one finds the same changes again.

    Args:
        path: results/catalog/release_diff.tsv; it may be missing.
        count: rows that the table of fields knows of; None where it is not there: all rows count.

    Returns:
        The rows in their order; none where the file is missing or has other columns.
    """
    if not Path(path).exists():
        return []
    with open(path, newline="", encoding="utf-8") as lines:
        rows = csv.reader(lines, delimiter="\t")
        if tuple(next(rows, ())) != Change._fields:
            return []
        return [Change(*row) for row in rows][:count]


def write_changes(path: str | Path, changes: Iterable[Change]) -> None:
    """Write the whole history, atomically; the same rows give the same bytes."""
    with atomic_path(path) as partial, open(partial, "w", newline="", encoding="utf-8") as lines:
        table = csv.writer(lines, delimiter="\t", lineterminator="\n")
        table.writerow(Change._fields)
        table.writerows(changes)
