"""How far a job's downloads are, said in its log."""

import logging
import threading
import time

log = logging.getLogger(__name__)

EVERY_S = 10.0
"""Seconds between two lines."""


class Progress:
    """Counts fields and bytes from any thread, and says now and then how far it is.

    Attributes:
        total: number of fields.
        what: what they are; of others than fields bytes are told once there are any.
    """

    def __init__(self, total: int, what: str = "fields") -> None:
        self.total, self.what = total, what
        self._done = self._bytes = 0
        self._start = self._said = time.monotonic()
        self._lock = threading.Lock()

    def add(self, fetched_bytes: int = 0) -> None:
        """Count a field; `fetched_bytes` is 0 where all of it was in the cache."""
        with self._lock:
            self._done += 1
            self._bytes += fetched_bytes
            now = time.monotonic()
            if now - self._said >= EVERY_S or self._done == self.total:
                self._said = now
                log.info("%s", self.line(now - self._start))

    def line(self, seconds: float) -> str:
        """The state after so many seconds: fields, bytes, rate, and the time that the rest will take."""
        rate = self._bytes / max(seconds, 1e-3)
        text = f"{self._done} of {self.total} {self.what}"
        if self._bytes or self.what == "fields":
            text += f", {self._bytes / 1e6:,.1f} MB fetched, {rate / 1e6:.1f} MB/s"
        if self._done < self.total:
            left = seconds / self._done * (self.total - self._done)
            text += f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"
        return text
