"""How many connections a host gets, over all jobs that share a cache, and when it is left alone."""

import fcntl
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from wherein.transfer.clock import Clock
from wherein.transfer.errors import TransferError

POLLS_S = (0.02, 0.5)
"""Seconds between two looks for a free connection, at first and at most: many jobs may wait on one network drive."""


def host_of(url: str) -> str:
    """Name of a URL's host, with its port, without a user."""
    return urlsplit(url).netloc.rpartition("@")[2]


class Hosts:
    """Connections of every host, counted by locks on files, which the system frees when a job is killed.

    Attributes:
        connections: most connections to one host at a time, over all threads and jobs with the same folder.
        patience: a host is given up after so many files in a row that it did not give.
    """

    def __init__(self, folder: Path, connections: int, patience: int) -> None:
        self.connections, self.patience = connections, patience
        self._folder = folder
        self._resume_at: dict[str, float] = {}
        self._failed: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def connection(self, host: str, clock: Clock) -> Iterator[float]:
        """Hold one of the host's connections. Waiting for it, and while the host wants a pause, has a time of its own.

        Args:
            host: name of the host, with its port.
            clock: the times that are left.

        Yields:
            time.monotonic() at which the answer has to be there.

        Raises:
            TransferError: `unreachable`, the host was given up, or asked for a pause that is too long; `timed_out`, no
                connection got free in time.
        """
        names = [f"{re.sub(r'[^A-Za-z0-9.-]', '_', host)}.{slot}" for slot in range(self.connections)]
        self._folder.mkdir(parents=True, exist_ok=True)
        poll, most = POLLS_S
        while True:
            self._check(host, clock)
            handle = self._free(names) if time.monotonic() >= self._resume_at.get(host, 0) else None
            if handle is not None:
                try:
                    with clock.connected() as deadline:
                        yield deadline
                finally:
                    os.close(handle)
                return
            clock.wait(random.uniform(0.5, 1) * poll)
            poll = min(2 * poll, most)

    def _free(self, names: Iterable[str]) -> int | None:
        """Lock a connection that nobody holds; None if there is none."""
        for name in names:
            handle = os.open(self._folder / name, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return handle
            except BlockingIOError:
                os.close(handle)
        return None

    def pause(self, host: str, seconds: float) -> None:
        """Open no connection to the host for a while: it asked for it."""
        with self._lock:
            self._resume_at[host] = max(self._resume_at.get(host, 0), time.monotonic() + seconds)

    def note(self, host: str, answered: bool) -> None:
        """Count a file that the host gave, or refused for good, against one for which it could not be reached."""
        with self._lock:
            self._failed[host] = 0 if answered else self._failed[host] + 1

    def _check(self, host: str, clock: Clock) -> None:
        if self._failed[host] >= self.patience:
            raise TransferError(
                "unreachable", f"{host} was given up after {self._failed[host]} files in a row failed", final=True
            )
        pause = self._resume_at.get(host, 0) - time.monotonic()
        if pause > clock.waiting_left:
            raise TransferError(
                "unreachable",
                f"{host} asked to be left alone for {pause:.0f} s more, {max(clock.waiting_left, 0):.0f} s are left to "
                "wait (download.longest_wait_s)",
                final=True,
            )
        if clock.waiting_left <= 0:
            raise TransferError(
                "timed_out", f"no connection to {host} was free in time (download.longest_wait_s)", final=True
            )
