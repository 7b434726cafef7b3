"""The files of one field: fetched and checked one by one, let into the cache only if they fit each other."""

import hashlib
import logging
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wherein.reasons import PASSING_REASONS
from wherein.transfer.attempts import persistently
from wherein.transfer.cache import Cache, Entry, Note, sha256_of
from wherein.transfer.client import Client
from wherein.transfer.errors import TransferError
from wherein.transfer.fetch import fetch
from wherein.transfer.hosts import Hosts
from wherein.transfer.verify import image_size

log = logging.getLogger(__name__)

MD5 = re.compile("[0-9a-f]{32}")

Readings = Sequence[tuple[str | None, str]]
"""Channel and plane of each role that is taken from one file."""


class Arrival(NamedTuple):
    """What became of one file.

    Attributes:
        path: the file in the cache; None where it did not arrive.
        sha256: of the file.
        bytes: its size.
        fetched: bytes that were not in the cache before.
        reason: why it did not arrive, one of `wherein.reasons.DOWNLOAD_REASONS`.
        detail: a sentence on that.
        drifted: the server has by now other content than was expected, and this is it.
    """

    path: str | None
    sha256: str | None
    bytes: int | None
    fetched: int = 0
    reason: str | None = None
    detail: str | None = None
    drifted: bool = False


class Downloader:
    """Fetches the files of fields into a cache; safe in threads.

    Attributes:
        cache: the cache.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.cache = Cache(settings["cache"], int(settings["min_free_gb"] * 1e9))
        self._settings = settings
        self._client = Client(settings["connections"], settings["timeout_s"])
        self._hosts = Hosts(self.cache.folder / "hosts", settings["connections"], settings["patience"])

    def field(
        self, files: Mapping[str, Readings], states: Mapping[str, str | None] | None = None
    ) -> dict[str, Arrival]:
        """Bring the files of one field into the cache.

        Args:
            files: what is read of each URL.
            states: what the content of a URL is called (`RemoteState.name`), where one is expected. A cached file of
                another state is fetched again, and never taken in its place.

        Returns:
            What became of each URL. Where the images differ in size, those that differ from most others (from the
            cached ones, if there are any that were compared with others before) are fetched once more, and kept out if
            they still differ.
        """
        with self.cache.entries(files) as entries:
            notes: dict[str, Note] = {}
            cached: set[str] = set()
            failed: dict[str, TransferError] = {}
            wanted = {url: (files[url], (states or {}).get(url)) for url in files}
            for url, entry in entries.items():
                self._obtain(entry, *wanted[url], notes, cached, failed)
            # an image that came without the others of its field was let in, and may be the wrong one
            trusted = {url for url in cached if notes[url].compared}
            for url in odd_ones(notes, trusted):
                entries[url].discard()
                if not self._settings["offline"]:
                    entries[url].forget()
                cached.discard(url)
                del notes[url]
                self._obtain(entries[url], *wanted[url], notes, cached, failed)
            for url in odd_ones(notes, trusted):
                sizes = ", ".join(f"{note.height} x {note.width}" for note in notes.values() if note.shape)
                failed[url] = TransferError("size_mismatch", f"{url}: the field's images differ in size: {sizes}")
                entries[url].discard()
            compared = sum(note.shape is not None and url not in failed for url, note in notes.items()) > 1
            for url, note in notes.items():
                if url not in failed and url not in cached:
                    entries[url].admit(note._replace(compared=compared))
            return {
                url: self._arrival(entries[url], wanted[url][1], notes.get(url), url in cached, failed.get(url))
                for url in files
            }

    def _obtain(
        self,
        entry: Entry,
        readings: Readings,
        state: str | None,
        notes: dict[str, Note],
        cached: set[str],
        failed: dict[str, TransferError],
    ) -> None:
        """Find an entry's file in the cache, or bring its part to the end; note what it is or why it is not there."""
        known = entry.content()
        expected = known is not None and is_expected(known, state, entry.path)
        try:
            if known is not None and expected and (self._settings["offline"] or not self._settings["revalidate"]):
                found = known
            elif self._settings["offline"]:
                how = "" if known is None else f" as it is since it changed on the server (state {state})"
                raise TransferError(
                    "offline", f"{entry.url} is not in {self.cache.folder}{how}, and download.offline is on"
                )
            else:
                if entry.came() and not is_expected(entry.begun(), state, entry.part):
                    entry.discard()  # of a part that is not whole the server says whether it is still the same
                found = self._fetch(entry, readings, known)
        except TransferError as error:
            if known is None or not expected or error.reason not in PASSING_REASONS:
                failed[entry.url] = error
                return
            log.warning("%s; the cached file is used", error)
            found = known
        notes[entry.url] = found
        if found is known:
            cached.add(entry.url)

    def _fetch(self, entry: Entry, readings: Readings, known: Note | None) -> Note:
        """Fetch and check one file, trying again where that may help."""
        deadline = time.monotonic() + self._settings["deadline_s"]

        def once() -> Note:
            return self._once(entry, readings, deadline, known)

        return persistently(once, entry.url, self._hosts, self._settings, deadline)

    def _once(self, entry: Entry, readings: Readings, deadline: float, known: Note | None) -> Note:
        note = fetch(entry, self._client, self._hosts, self.cache, deadline, known)
        if note is known:
            return note
        try:
            shape = image_size(entry.part, entry.url, readings)
        except TransferError:
            entry.discard()
            raise
        height, width = shape or (None, None)
        return note._replace(sha256=sha256_of(entry.part), height=height, width=width)

    def _arrival(
        self, entry: Entry, state: str | None, note: Note | None, cached: bool, error: TransferError | None
    ) -> Arrival:
        if error is not None:
            return Arrival(None, None, None, 0, error.reason, str(error))
        drifted = not is_expected(note, state, entry.path)
        if drifted:
            log.warning("%s has the state %s, the catalog expects %s", entry.url, note.state.name, state)
        return Arrival(str(entry.path), note.sha256, note.bytes, 0 if cached else note.bytes, drifted=drifted)


def is_expected(note: Note, state: str | None, file: Path) -> bool:
    """Whether a file is the one that is expected.

    Args:
        note: what its server said of it.
        state: name of its content (`RemoteState.name`); None expects nothing.
        file: the file, whole or not.

    Returns:
        True as well where a mirror gives tags of its own and `state` is the file's MD5, as the tags of S3 are for files
        that were uploaded in one piece.
    """
    if state is None or note.state.is_called(state):
        return True
    return bool(MD5.fullmatch(state)) and file.is_file() and md5_of(file) == state


def md5_of(path: Path) -> str:
    """MD5 of a file, as 32 hexadecimal characters."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def odd_ones(notes: Mapping[str, Note], trusted: set[str]) -> list[str]:
    """URLs whose image differs in size from most others of the field, the trusted ones counting before all others.

    Args:
        notes: what is known of each image.
        trusted: URLs that are not doubted.

    Returns:
        All that are not trusted, where no size has a majority.
    """
    shapes = {url: note.shape for url, note in notes.items() if note.shape is not None}
    if len(set(shapes.values())) < 2:
        return []
    counts = Counter(shape for url, shape in shapes.items() if url in trusted) or Counter(shapes.values())
    (shape, most), *others = counts.most_common()
    right = shape if not others or most > others[0][1] else None
    return [url for url, found in shapes.items() if found != right and url not in trusted]
