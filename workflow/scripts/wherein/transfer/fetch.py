"""One file over HTTP, into the part of its cache entry; what has come before is not asked for again."""

import errno
import re
import time

import urllib3
from urllib3.exceptions import HTTPError, IncompleteRead, InvalidHeader, MaxRetryError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as NoAnswerError
from urllib3.util import Retry

from wherein.transfer.cache import Cache, Entry, Note
from wherein.transfer.client import Client
from wherein.transfer.clock import Clock
from wherein.transfer.errors import TransferError
from wherein.transfer.hosts import Hosts, host_of

CHUNK = 1 << 18
"""Most bytes that are taken from the line at once."""

GONE = (400, 404, 410)
"""Answers for a file that is not there; the Human Protein Atlas says 400 for the TIFF of a withdrawn antibody."""

TRY_AGAIN = (408, 425, 429)
"""Answers below 500 that ask to come back later."""


def fetch(entry: Entry, client: Client, hosts: Hosts, cache: Cache, clock: Clock, known: Note | None = None) -> Note:
    """Bring the part of an entry to its end, with one request.

    Args:
        entry: the locked entry. A download that stopped goes on if the server says that the file is still the same.
        client: the connections.
        hosts: how many of them there may be.
        cache: what disk there is.
        clock: the times that are left.
        known: the note of the cached file, which stays if the server says that it is still the same.

    Returns:
        The note of the complete part, without sha256; or `known`.

    Raises:
        TransferError: it did not come, or not all of it; what came stays in the part.
    """
    note = entry.begun()
    if entry.came():
        return note
    host = host_of(entry.url)
    with hosts.connection(host, clock) as deadline:
        try:
            response = client.get(entry.url, _headers(entry, note, known), deadline - time.monotonic())
            try:
                if response.status == 304 and known is not None:
                    return known
                return _receive(response, entry, note, cache)
            except TransferError as error:
                if error.wait_s:
                    hosts.pause(host, error.wait_s)
                raise
            finally:
                # a connection whose answer was read to its end is back in the pool already
                response.close()
        except HTTPError as error:
            if time.monotonic() >= deadline:
                come = entry.part.stat().st_size if entry.part.exists() else 0
                raise TransferError(
                    "timed_out", f"{entry.url}: only {come:,} bytes came before the deadline", final=True
                ) from error
            raise told(entry.url, error) from error
        except OSError as error:
            check_room(error, cache)
            raise


def check_room(error: OSError, cache: Cache) -> None:
    """Raise TransferError `disk_full` where that is what an error says."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise TransferError("disk_full", f"the disk of {cache.folder} is full", final=True) from error


def _headers(entry: Entry, note: Note | None, known: Note | None) -> dict[str, str]:
    """Headers that ask for the rest of a begun file, or for nothing if the cached one is still the same."""
    come = entry.part.stat().st_size if note is not None else 0
    if note is not None and come and _validator(note):
        return {"Range": f"bytes={come}-", "If-Range": _validator(note)}
    if known is None:
        return {}
    asked = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
    return {name: value for name, value in asked.items() if value}


def _validator(note: Note) -> str | None:
    """What tells a file's content: a strong tag, or its date."""
    return note.etag if note.etag and not note.etag.startswith("W/") else note.last_modified


def _receive(response: urllib3.BaseHTTPResponse, entry: Entry, note: Note | None, cache: Cache) -> Note:
    """Write the body behind what is there, or in its place."""
    if response.status == 416:
        entry.discard()  # asked for what lies behind its end, the server would say so for ever
    check_status(response, entry.url)
    fresh = Note(entry.url, response.headers.get("ETag"), response.headers.get("Last-Modified"))
    if response.status == 206:
        start, total = content_range(response)
        goes_on = note is not None and start == entry.part.stat().st_size and note.bytes in (None, total)
        if note is None or not goes_on or note.state.differs(fresh.state):
            entry.discard()
            raise TransferError("truncated_download", f"{entry.url}: the rest that was sent does not fit the beginning")
    else:
        start, total = 0, content_length(response)
        note = fresh._replace(bytes=total)
        entry.begin(note)
    if total is not None and total - start > cache.room():
        raise TransferError(
            "disk_full", f"{entry.url} has {total:,} bytes, for which {cache.folder} has no room", final=True
        )
    size = start
    # buffered, for on a disk that fills up a single write may take the beginning of a chunk alone, and say nothing
    with entry.part.open("ab") as content:
        while chunk := response.read1(CHUNK):
            content.write(chunk)
            size += len(chunk)
            if total is None and cache.room() <= 0:
                raise TransferError(
                    "disk_full", f"{entry.url} does not end, and {cache.folder} has no more room", final=True
                )
    if total is not None and size != total:
        raise TransferError("truncated_download", f"{entry.url}: {size:,} of {total:,} bytes came")
    complete = note._replace(bytes=size)
    entry.complete(complete)
    return complete


def check_status(response: urllib3.BaseHTTPResponse, url: str) -> None:
    """Raise TransferError where an answer is neither the file nor a part of it."""
    status = response.status
    if status in (200, 206):
        return
    said = f"{url}: the server answered {status} {response.reason or ''}".rstrip()
    if status in GONE:
        raise TransferError("not_found", said, final=True)
    if status >= 500 or status in TRY_AGAIN:
        raise TransferError("unreachable", said, wait_s=_retry_after(response))
    if status == 416:  # asked for what lies behind the end: the file is another one now
        raise TransferError("truncated_download", said)
    raise TransferError("refused", said, final=True)


def _retry_after(response: urllib3.BaseHTTPResponse) -> float | None:
    """Seconds that the server asks to wait; it writes a number or a date."""
    said = response.headers.get("Retry-After")
    try:
        return Retry().parse_retry_after(said) if said else None
    except InvalidHeader:
        return None


def content_range(response: urllib3.BaseHTTPResponse) -> tuple[int, int | None]:
    """First byte of a part that was sent, -1 where the server does not say, and bytes of the whole, None likewise."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if not found:
        return -1, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def content_length(response: urllib3.BaseHTTPResponse) -> int | None:
    """Bytes that an answer says to send; None where it does not."""
    said = response.headers.get("Content-Length", "")
    return int(said) if said.isdigit() else None


def told(url: str, error: HTTPError) -> TransferError:
    """What an error of the line means."""
    cause: BaseException = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    # a refused connection is a kind of ConnectTimeoutError in urllib3
    if isinstance(cause, NoAnswerError) and not isinstance(cause, NewConnectionError):
        return TransferError("timed_out", f"{url}: {cause}")
    if isinstance(cause, IncompleteRead) or any(isinstance(item, IncompleteRead) for item in cause.args):
        return TransferError("truncated_download", f"{url}: {cause}")
    if isinstance(cause, SSLError):
        return TransferError(
            "unreachable",
            f"{url}: {cause}; where your network has certificates of its own, name their file in REQUESTS_CA_BUNDLE",
            final=True,
        )
    return TransferError("unreachable", f"{url}: {cause}")
