"""The files of one field: fetched and checked one by one, let into the cache only if they fit each other."""

import logging
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from wherein.reasons import PASSING_REASONS
from wherein.transfer.cache import Cache, Entry, Note, sha256_of
from wherein.transfer.client import Client
from wherein.transfer.errors import TransferError
from wherein.transfer.fetch import fetch
from wherein.transfer.hosts import Hosts
from wherein.transfer.verify import image_size

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 120
"""Seconds that the growing pause between two tries comes to at most; a server may ask for more."""

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
    """

    path: str | None
    sha256: str | None
    bytes: int | None
    fetched: int = 0
    reason: str | None = None
    detail: str | None = None


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

    def field(self, files: Mapping[str, Readings]) -> dict[str, Arrival]:
        """Bring the files of one field into the cache.

        Args:
            files: what is read of each URL.

        Returns:
            What became of each URL. Where the images differ in size, those that differ from most others (from the
            cached ones, if there are any) are fetched once more, and kept out if they still differ.
        """
        with self.cache.entries(files) as entries:
            notes: dict[str, Note] = {}
            cached: set[str] = set()
            failed: dict[str, TransferError] = {}
            for url, entry in entries.items():
                self._obtain(entry, files[url], notes, cached, failed)
            for url in odd_ones(notes, cached):
                entries[url].discard()
                del notes[url]
                self._obtain(entries[url], files[url], notes, cached, failed)
            for url in odd_ones(notes, cached):
                sizes = ", ".join(f"{note.height} x {note.width}" for note in notes.values() if note.shape)
                failed[url] = TransferError("size_mismatch", f"{url}: the field's images differ in size: {sizes}")
                entries[url].discard()
            for url, note in notes.items():
                if url not in failed and url not in cached:
                    entries[url].admit(note)
            return {url: self._arrival(entries[url], notes.get(url), url in cached, failed.get(url)) for url in files}

    def _obtain(
        self,
        entry: Entry,
        readings: Readings,
        notes: dict[str, Note],
        cached: set[str],
        failed: dict[str, TransferError],
    ) -> None:
        """Find an entry's file in the cache, or bring its part to the end; note what it is or why it is not there."""
        known = entry.content()
        try:
            if known is not None and (self._settings["offline"] or not self._settings["revalidate"]):
                found = known
            elif self._settings["offline"]:
                raise TransferError("offline", f"{entry.url} is not in {self.cache.folder}, and download.offline is on")
            else:
                found = self._fetch(entry, readings, known)
        except TransferError as error:
            if known is None or error.reason not in PASSING_REASONS:
                failed[entry.url] = error
                return
            log.warning("%s; the cached file is used", error)
            found = known
        notes[entry.url] = found
        if found is known:
            cached.add(entry.url)

    def _fetch(self, entry: Entry, readings: Readings, known: Note | None) -> Note:
        """Fetch and check one file, trying again where that may help."""
        host = urlsplit(entry.url).netloc.rpartition("@")[2]
        deadline = time.monotonic() + self._settings["deadline_s"]
        for tried in range(self._settings["retries"] + 1):
            try:
                note = self._once(entry, readings, deadline, known)
            except TransferError as error:
                pause = pause_s(tried, self._settings["backoff_s"], error.wait_s)
                if error.final or tried == self._settings["retries"] or time.monotonic() + pause > deadline:
                    self._hosts.note(host, answered=error.reason not in PASSING_REASONS)
                    raise
                log.info("%s; trying again in %.1f s", error, pause)
                time.sleep(pause)
            else:
                self._hosts.note(host, answered=True)
                return note
        raise AssertionError("the last try returns or raises")

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

    def _arrival(self, entry: Entry, note: Note | None, cached: bool, error: TransferError | None) -> Arrival:
        if error is not None:
            return Arrival(None, None, None, 0, error.reason, str(error))
        return Arrival(str(entry.path), note.sha256, note.bytes, 0 if cached else note.bytes)


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


def pause_s(tried: int, first: float, asked: float | None = None) -> float:
    """Seconds before the next try: doubled each time, shortened by up to a half at random, or what the server asks."""
    return asked or random.uniform(0.5, 1) * min(first * 2**tried, LONGEST_PAUSE_S)
