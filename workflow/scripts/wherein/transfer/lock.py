"""resources/lock.tsv: what every document that was fetched consisted of, so that no later run gets another unseen."""

import csv
import fcntl
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from wherein.atomic import atomic_path
from wherein.transfer.errors import TransferError

log = logging.getLogger(__name__)


class Locked(NamedTuple):
    """One row of the lock.

    Attributes:
        file: what was made of it, a path below the run's folder.
        url: where it was fetched.
        sha256: of what the server sent, before it was unpacked.
        bytes: its size.
        fetched: day on which this content was first fetched, in UTC (2026-03-01).
    """

    file: str
    url: str
    sha256: str
    bytes: int
    fetched: str


class LockError(TransferError):
    """What a URL gives is not what the lock says. Its reason, `changed`, is none that an image can have."""

    def __init__(self, detail: str) -> None:
        super().__init__("changed", detail, final=True)


def today() -> str:
    """The day in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def read_lock(path: str | Path) -> list[Locked]:
    """Read the lock.

    Args:
        path: resources/lock.tsv; it need not be there.

    Raises:
        LockError: the file has other columns, or a size that is no number.
    """
    try:
        with open(path, newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
    except FileNotFoundError:
        return []
    try:
        return [Locked(**{**row, "bytes": int(row["bytes"])}) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise LockError(
            f"{path} cannot be read ({error}): its columns are {', '.join(Locked._fields)}, separated by tabs; "
            "take it from a backup, or keep its header alone to lock everything anew"
        ) from error


def by_url(rows: Iterable[Locked]) -> dict[str, Locked]:
    """Rows of the lock by their URL; where it has several files of one URL, they hold the same content."""
    return {row.url: row for row in rows}


def check_locked(url: str, sha256: str, locked: Mapping[str, Locked], path: str | Path) -> None:
    """Stop if a URL gives another content than the lock says.

    Args:
        url: where the content comes from.
        sha256: of the content.
        locked: rows of the lock by URL.
        path: the lock, to be named.

    Raises:
        LockError: what was locked, what came, how to accept it.
    """
    row = locked.get(url)
    if row is not None and row.sha256 != sha256:
        raise LockError(
            f"{url} has changed: {path} has the sha256 {row.sha256[:12]}... ({row.bytes:,} bytes, fetched "
            f"{row.fetched}), what came has {sha256[:12]}...; to accept it, delete the row of {row.file} in {path}"
        )


def record(path: str | Path, rows: Iterable[Locked], under: str, changing: Iterable[str] = ()) -> None:
    """Put rows into the lock, in place of all that it has under a file or folder. Two jobs may do so at once.

    A row whose content is still the same keeps its day, and a lock that stays the same is not written.

    Args:
        path: resources/lock.tsv.
        rows: what was fetched.
        under: the file, or the folder of the files.
        changing: URLs whose content is expected to change; that it did is said in the log.

    Raises:
        LockError: another job has locked another content of one of these URLs in the meantime.
    """
    expected = set(changing)
    with _held(Path(path)):
        before = read_lock(path)
        known, locked = {(row.file, row.url): row for row in before}, by_url(before)
        kept = [row for row in before if row.file != under and not row.file.startswith(f"{under}/")]
        for row in rows:
            old = known.get((row.file, row.url))
            if row.url not in expected:
                check_locked(row.url, row.sha256, locked, path)
            elif old and old.sha256 != row.sha256:
                log.info("%s has changed since %s, as it may: %s is locked anew", row.url, old.fetched, row.file)
            kept.append(row._replace(fetched=old.fetched) if old and old.sha256 == row.sha256 else row)
        kept.sort()
        if kept == before:
            return
        with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
            table = csv.writer(lines, delimiter="\t", lineterminator="\n")
            table.writerow(Locked._fields)
            table.writerows(kept)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Keep other threads and jobs from the lock; a killed job's hold is free at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # who held it before put another file in its place: a hold on the old one keeps nobody out
        if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
            break
        os.close(handle)
    try:
        yield
    finally:
        os.close(handle)
