"""The files of one field: fetched and checked one by one, let into the cache only if they fit each other."""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wherein.digest import sha256_of
from wherein.transfer.attempts import persistently
from wherein.transfer.cache import Cache, Entry, Note
from wherein.transfer.client import Client
from wherein.transfer.clock import Clock
from wherein.transfer.errors import TransferError
from wherein.transfer.fetch import check_room, fetch
from wherein.transfer.hosts import Hosts
from wherein.transfer.verify import image_size

log = logging.getLogger(__name__)

MD5 = re.compile("[0-9a-f]{32}")

Readings = Sequence[tuple[str | None, ...]]
"""Channel, plane and axes of each role that is taken from one file, as `wherein.readers.read_plane` takes them."""


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
        kept: why the file is the one that was in the cache, though the server was asked for it; None where it was not
            asked, or says that it is the same.
    """

    path: str | None
    sha256: str | None
    bytes: int | None
    fetched: int = 0
    reason: str | None = None
    detail: str | None = None
    drifted: bool = False
    kept: str | None = None


class Found(NamedTuple):
    """What is known of the files of one field while they come, by URL.

    Attributes:
        notes: of those that are there: cached, or whole in their part.
        cached: those that are in the cache as they are.
        failed: what keeps the others.
        good: notes of cached files that are the expected ones: they stay where the server gives nothing better.
        kept: what the server did in place of giving a file that is taken from `good`.
    """

    notes: dict[str, Note]
    cached: set[str]
    failed: dict[str, TransferError]
    good: dict[str, Note]
    kept: dict[str, str]

    def keep(self, url: str, why: str) -> None:
        """Take the file that is in the cache."""
        log.warning("%s; the cached file is used", why)
        self.notes[url], self.kept[url] = self.good[url], why
        self.cached.add(url)


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
            they still differ. A cached file that is the expected one is never given up for what a server says later.
        """
        wanted = {url: (files[url], (states or {}).get(url)) for url in files}
        with self.cache.entries(files) as entries:
            found = Found({}, set(), {}, {}, {})
            for url, entry in entries.items():
                self._obtain(entry, *wanted[url], found)
            # an image that came without the others of its field was let in, and may be the wrong one
            trusted = {url for url in found.cached if found.notes[url].compared}
            for url in odd_ones(found.notes, trusted):
                entries[url].discard()
                if url in found.cached and not self._settings["offline"]:
                    entries[url].forget()
                found.cached.discard(url)
                del found.notes[url]
                self._obtain(entries[url], *wanted[url], found)
            self._sort_out(entries, found, trusted)
            self._admit(entries, found)
            return {url: self._arrival(entries[url], wanted[url][1], found) for url in files}

    def _obtain(self, entry: Entry, readings: Readings, state: str | None, found: Found) -> None:
        """Find an entry's file in the cache, or bring its part to the end; note what it is or why it is not there."""
        known, url = entry.content(), entry.url
        found.good.pop(url, None)
        if known is not None and is_expected(known, state, entry.path):
            found.good[url] = known
        try:
            if url in found.good and (self._settings["offline"] or not self._settings["revalidate"]):
                note = known
            elif self._settings["offline"]:
                how = "" if known is None else f" as it is since it changed on the server (state {state})"
                raise TransferError("offline", f"{url} is not in {self.cache.folder}{how}, and download.offline is on")
            else:
                # of a part that is not whole the server says whether it is still the same
                if entry.came() and (url in found.good or not is_expected(entry.begun(), state, entry.part)):
                    entry.discard()
                note = self._fetch(entry, readings, known)
        except TransferError as error:
            if url in found.good:
                found.keep(url, str(error))
            else:
                found.failed[url] = error
            return
        found.notes[url] = note
        if note is known:
            found.cached.add(url)

    def _sort_out(self, entries: Mapping[str, Entry], found: Found, trusted: set[str]) -> None:
        """Fail images that still differ in size from the others, where the cache has none in their place."""
        for url in odd_ones(found.notes, trusted):
            entries[url].discard()
            if url in found.good and url not in found.cached:
                found.keep(url, f"{url} now has another size than the other images of its field")
        for url in odd_ones(found.notes, trusted):
            sizes = ", ".join(f"{note.height} x {note.width}" for note in found.notes.values() if note.shape)
            found.failed[url] = TransferError("size_mismatch", f"{url}: the field's images differ in size: {sizes}")

    def _admit(self, entries: Mapping[str, Entry], found: Found) -> None:
        """Let all files into the cache that came and are right."""
        right = {url: note for url, note in found.notes.items() if url not in found.failed}
        # two of four that came may be of another field, and fit each other too
        compared = sum(note.shape is not None for note in right.values()) > max(1, len(entries) / 2)
        for url, note in right.items():
            try:
                if url not in found.cached:
                    entries[url].admit(note._replace(compared=compared))
                elif compared and not note.compared:
                    entries[url].annotate(note._replace(compared=True))
            except OSError as error:
                try:
                    check_room(error, self.cache)
                except TransferError as full:
                    found.failed[url] = full
                else:
                    raise

    def _fetch(self, entry: Entry, readings: Readings, known: Note | None) -> Note:
        """Fetch and check one file, trying again where that may help."""
        clock = Clock(self._settings["deadline_s"], self._settings["longest_wait_s"])

        def once() -> Note:
            return self._once(entry, readings, clock, known)

        return persistently(once, entry.url, self._hosts, self._settings, clock)

    def _once(self, entry: Entry, readings: Readings, clock: Clock, known: Note | None) -> Note:
        note = fetch(entry, self._client, self._hosts, self.cache, clock, known)
        if note is known:
            return note
        try:
            shape = image_size(entry.part, entry.url, readings)
        except TransferError:
            entry.discard()
            raise
        height, width = shape or (None, None)
        return note._replace(sha256=sha256_of(entry.part), height=height, width=width)

    def _arrival(self, entry: Entry, state: str | None, found: Found) -> Arrival:
        url = entry.url
        if url in found.failed:
            error = found.failed[url]
            return Arrival(None, None, None, 0, error.reason, str(error))
        note = found.notes[url]
        drifted = not is_expected(note, state, entry.path)
        if drifted:
            log.warning("%s has the state %s, the catalog expects %s", url, note.state.name, state)
        fetched = 0 if url in found.cached else note.bytes
        return Arrival(str(entry.path), note.sha256, note.bytes, fetched, drifted=drifted, kept=found.kept.get(url))


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
