"""The cache of fetched files: an entry is a file and a note on it, and both are checked whenever it is used."""

import fcntl
import json
import os
import posixpath
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from wherein.atomic import write_json
from wherein.digest import digest, sha256_of
from wherein.transfer.state import RemoteState, bare


class Note(NamedTuple):
    """What is known of a fetched file.

    Attributes:
        url: where it comes from.
        etag: the server's tag of the content, None where it gave none.
        last_modified: the server's date of the content, as it wrote it.
        bytes: size; None while it is not known.
        sha256: of the whole file; None while it is not complete.
        height: pixels of the image that was decoded, None where nothing was.
        width: pixels of the image that was decoded.
        compared: its size was that of most images of its field, two at least.
    """

    url: str
    etag: str | None = None
    last_modified: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    height: int | None = None
    width: int | None = None
    compared: bool = False

    @property
    def state(self) -> RemoteState:
        """What the server said of the content."""
        return RemoteState(bare(self.etag), self.last_modified, self.bytes)

    @property
    def shape(self) -> tuple[int, int] | None:
        """(H, W) of the decoded image."""
        return None if self.height is None or self.width is None else (self.height, self.width)


class Entry:
    """The place of one URL in the cache. Whoever changes it holds its lock.

    Attributes:
        url: where the file comes from.
        path: the file, once it is complete and found right.
        part: the file as far as it has come.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        name = digest(url, 32)
        stem = folder / name[:2] / name
        self.path = stem.with_name(name + suffix(url))
        self.part = stem.with_name(name + ".part")
        self._note = stem.with_name(name + ".json")
        self._part_note = stem.with_name(name + ".part.json")
        self._lock = stem.with_name(name + ".lock")

    def noted(self) -> Note | None:
        """The note of a complete entry, whose file is not looked at; None if there is none."""
        return _read(self._note, self.url)

    def content(self) -> Note | None:
        """The note of a complete entry whose file still has the size and sha256 that it had; else None."""
        note = self.noted()
        if note is None or note.sha256 is None or not self.path.is_file() or self.path.stat().st_size != note.bytes:
            return None
        return note if sha256_of(self.path) == note.sha256 else None

    def begun(self) -> Note | None:
        """The note of a download that stopped on its way, None if none did."""
        return _read(self._part_note, self.url) if self.part.is_file() else None

    def came(self) -> bool:
        """Whether a download has come to its end and was stopped before it was let in."""
        note = self.begun()
        return note is not None and note.bytes is not None and self.part.stat().st_size == note.bytes

    def begin(self, note: Note) -> None:
        """Start a download anew."""
        self.discard()
        write_json(self._part_note, note._asdict())
        self.part.touch()

    def complete(self, note: Note) -> None:
        """Note the size of a download that has come to its end."""
        write_json(self._part_note, note._asdict())

    def admit(self, note: Note) -> None:
        """Let the part be the entry's file; a job that is killed in between finds it as it was."""
        self.annotate(note)
        os.replace(self.part, self.path)
        self._part_note.unlink(missing_ok=True)

    def annotate(self, note: Note) -> None:
        """Put another note on the file."""
        write_json(self._note, note._asdict())

    def forget(self) -> None:
        """Trust the entry's file no more; it stays until another one takes its place."""
        self._note.unlink(missing_ok=True)

    def discard(self) -> None:
        """Forget what has come so far."""
        self.part.unlink(missing_ok=True)
        self._part_note.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other threads and jobs from this entry; a killed job's lock is free at once."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(handle, fcntl.LOCK_EX)
            # who held it before removed the file: a lock on what has no name anymore keeps nobody out
            with suppress(FileNotFoundError):
                if os.fstat(handle).st_ino == self._lock.stat().st_ino:
                    break
            os.close(handle)
        try:
            yield
        finally:
            self._lock.unlink(missing_ok=True)
            os.close(handle)


class Cache:
    """Entries in a folder that runs and jobs share.

    Attributes:
        folder: where they are.
        least_free: bytes that have to stay free on its disk.
    """

    def __init__(self, folder: str | Path, least_free: int) -> None:
        self.folder = Path(folder).absolute()
        self.least_free = least_free
        self.folder.mkdir(parents=True, exist_ok=True)

    def entry(self, url: str) -> Entry:
        """The place of a URL, which is not locked."""
        return Entry(self.folder, url)

    @contextmanager
    def entries(self, urls: Iterable[str]) -> Iterator[dict[str, Entry]]:
        """Lock the entries of these URLs, in an order that is the same for all jobs, so that none waits in a ring."""
        entries = {url: self.entry(url) for url in urls}
        with ExitStack() as stack:
            for entry in sorted(entries.values(), key=lambda entry: entry.part):
                stack.enter_context(entry.locked())
            yield entries

    def room(self) -> int:
        """Bytes that may still be written."""
        return shutil.disk_usage(self.folder).free - self.least_free


def suffix(url: str) -> str:
    """Ending of the file that a URL names, `.tif.gz` as a whole; empty where it names none."""
    found = re.search(r"(?:\.(?:ome|tiff?))?\.[A-Za-z0-9]{1,8}$", posixpath.basename(urlsplit(url).path))
    return found.group(0).lower() if found else ""


def _read(path: Path, url: str) -> Note | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        note = Note(**content)
    except (OSError, ValueError, TypeError):  # none, or cut short when the machine went down
        return None
    return note if note.url == url else None
