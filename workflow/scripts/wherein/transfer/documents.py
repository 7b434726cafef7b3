"""Everything that is fetched and is no image: tables, XML, listings, gene sets, weights.

A document goes through the cache of images: it is resumed, locked and content-checked as they are, and only what passes
its own check, and is what resources/lock.tsv says, gets there.
"""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from wherein.digest import sha256_of
from wherein.reasons import PASSING_REASONS
from wherein.transfer.attempts import persistently
from wherein.transfer.cache import Cache, Entry, Note
from wherein.transfer.checks import Check, UnfitError, opened
from wherein.transfer.client import Client
from wherein.transfer.clock import Clock
from wherein.transfer.errors import TransferError
from wherein.transfer.fetch import fetch
from wherein.transfer.hosts import Hosts, host_of
from wherein.transfer.lock import LockError, by_url, check_locked, read_lock
from wherein.transfer.progress import Progress

log = logging.getLogger(__name__)

MOST_THREADS = 16
"""Documents fetched at once, however many hosts there are."""

LEAST_BYTES_PER_S = 20_000
"""A document that comes faster than this gets another deadline when one is over: some have gigabytes."""

ELSEWHERE = ("not_found", "refused", "offline")
"""Reasons for which a document's next address is tried."""


class DocumentError(RuntimeError):
    """A document cannot be had; the message says which, why, and what to do."""


def copied(cached: Path, target: Path) -> None:
    """Put a document where it is wanted, as it is."""
    shutil.copyfile(cached, target)


def unpacked(cached: Path, target: Path) -> None:
    """Put a document where it is wanted, unpacked if it is gzipped or a zip of one file."""
    with opened(cached) as content, target.open("wb") as plain:
        shutil.copyfileobj(content, plain)


class Document(NamedTuple):
    """One document to fetch.

    Attributes:
        urls: its addresses; the first one that the server has counts.
        target: the file to make of it; its folder is made.
        check: what it has to pass.
        place: makes the target of the file in the cache.
        changing: its content is expected to change: the server is asked each time, and the lock does not hold it.
        needed: the run cannot go on without it.
    """

    urls: tuple[str, ...]
    target: Path
    check: Check
    place: Callable[[Path, Path], None] = copied
    changing: bool = False
    needed: bool = True


class Fetched(NamedTuple):
    """What became of a document.

    Attributes:
        url: the address that gave it.
        sha256: of what the server sent.
        bytes: its size.
        fetched: bytes that were not in the cache before.
    """

    url: str
    sha256: str
    bytes: int
    fetched: int


def fetch_documents(
    documents: Sequence[Document], settings: Mapping[str, Any], lock: str | Path
) -> list[Fetched | None]:
    """Bring documents into the cache, check them, and put them where they are wanted.

    Args:
        documents: what to fetch.
        settings: section `download` of the configuration.
        lock: resources/lock.tsv, which is read only.

    Returns:
        What became of each; None for one that the server does not have and that is not needed.

    Raises:
        DocumentError: the disk has no room, or a document did not come, is not what it should be, or not what the lock
            says.
    """
    job = _Job(settings, lock)
    if not settings["offline"] and job.cache.room() <= 0:
        raise DocumentError(
            f"the disk of {job.cache.folder} has less than {settings['min_free_gb']} GB free (download.min_free_gb): "
            "make room, or put download.cache on another disk; then run again"
        )
    hosts = {host_of(url) for document in documents for url in document.urls}
    progress = Progress(len(documents), "documents")

    def one(document: Document) -> Fetched | TransferError | None:
        try:
            found = job.document(document)
        except TransferError as error:
            return error
        progress.add(found.fetched if found else 0)
        return found

    with ThreadPoolExecutor(max(1, min(settings["connections"] * len(hosts), MOST_THREADS))) as pool:
        results = list(pool.map(one, documents))
    errors = [result for result in results if isinstance(result, TransferError)]
    if errors:
        raise DocumentError(_sentence(errors, len(documents), settings["cache"])) from errors[0]
    return [result for result in results if not isinstance(result, TransferError)]


class _Job:
    """Fetches documents; safe in threads."""

    def __init__(self, settings: Mapping[str, Any], lock: str | Path) -> None:
        self.cache = Cache(settings["cache"], int(settings["min_free_gb"] * 1e9))
        self._settings, self._lock = settings, lock
        self._client = Client(settings["connections"], settings["timeout_s"])
        self._hosts = Hosts(self.cache.folder / "hosts", settings["connections"], settings["patience"])
        self._locked = by_url(read_lock(lock))

    def document(self, document: Document) -> Fetched | None:
        """Fetch one document from the first of its addresses that has it.

        Raises:
            TransferError: none of them gives it, or what it gives is not right.
        """
        errors = []
        for url in document.urls:
            try:
                return self._from(url, document)
            except TransferError as error:
                if error.reason not in ELSEWHERE:
                    raise
                errors.append(error)
        if document.needed or any(error.reason != "not_found" for error in errors):
            raise errors[0]
        log.warning("%s; going on without it", errors[0])
        return None

    def _from(self, url: str, document: Document) -> Fetched:
        with self.cache.entries([url]) as entries:
            entry = entries[url]
            known = self._known(entry, document)
            asks = document.changing or self._settings["revalidate"]
            if known is not None and (self._settings["offline"] or not asks):
                note = known
            elif self._settings["offline"]:
                raise TransferError("offline", f"{url} is not in {self.cache.folder}, and download.offline is on")
            else:
                note = self._fetch(entry, document, known)
            if note is not known:
                entry.admit(note)
            document.target.parent.mkdir(parents=True, exist_ok=True)
            document.place(entry.path, document.target)
        return Fetched(url, note.sha256, note.bytes, 0 if note is known else note.bytes)

    def _known(self, entry: Entry, document: Document) -> Note | None:
        """The note of the cached document, if it is right; what is locked as another one counts offline only."""
        note = entry.content()
        if note is None:
            return None
        try:
            document.check(entry.path)
            self._compare(entry, note, document)
        except UnfitError as error:
            log.warning("%s in the cache %s; it is fetched again", entry.url, error)
            return None
        except LockError:
            if self._settings["offline"]:
                raise
            return None
        return note

    def _fetch(self, entry: Entry, document: Document, known: Note | None) -> Note:
        """Fetch and check one document, as long as it keeps coming; the cached one serves where nothing right comes."""
        if known is not None and entry.came():
            entry.discard()  # it came on an earlier day, and the server is to be asked
        while True:
            clock = Clock(self._settings["deadline_s"], self._settings["longest_wait_s"])
            before = _size(entry.part)
            try:
                return persistently(
                    lambda clock=clock: self._once(entry, document, known, clock),
                    entry.url,
                    self._hosts,
                    self._settings,
                    clock,
                )
            except TransferError as error:
                came = _size(entry.part) - before
                if error.reason == "timed_out" and came >= LEAST_BYTES_PER_S * self._settings["deadline_s"]:
                    log.info("%s: %.0f MB so far", entry.url, _size(entry.part) / 1e6)
                    self._hosts.note(host_of(entry.url), answered=True)
                elif known is not None and error.reason in (*PASSING_REASONS, "corrupt"):
                    log.warning("%s; the cached file is used", error)
                    return known
                else:
                    raise

    def _once(self, entry: Entry, document: Document, known: Note | None, clock: Clock) -> Note:
        note = fetch(entry, self._client, self._hosts, self.cache, clock, known)
        if note is known:
            return note
        note = note._replace(sha256=sha256_of(entry.part))
        try:
            document.check(entry.part)
            self._compare(entry, note, document)
        except UnfitError as error:
            entry.discard()
            raise TransferError("corrupt", f"{entry.url} {error}") from error
        except LockError:
            entry.discard()
            raise
        return note

    def _compare(self, entry: Entry, note: Note, document: Document) -> None:
        if not document.changing:
            check_locked(entry.url, note.sha256 or "", self._locked, self._lock)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sentence(errors: Sequence[TransferError], total: int, cache: str) -> str:
    others = f" (the first of {len(errors)} among {total} documents that did not come)" if len(errors) > 1 else ""
    if any(error.reason in PASSING_REASONS for error in errors):
        return f"{errors[0]}{others}. What has arrived stays in {cache}: run again when network and disk are well"
    return f"{errors[0]}{others}"
