"""Two times of one file: that with a connection, and that without."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Counts the time in which a file may come, and apart from it the time that it waits.

    Attributes:
        left: seconds that are left with a connection.
        waiting_left: seconds that are left for waiting: for a connection that is free, and in pauses.
        asked: whether a connection was ever held.
    """

    def __init__(self, seconds: float, waiting: float) -> None:
        self.left, self.waiting_left = seconds, waiting
        self.asked = False

    @contextmanager
    def connected(self) -> Iterator[float]:
        """Count the time of the block as one with a connection.

        Yields:
            time.monotonic() at which the block has to be done.
        """
        self.asked = True
        start = time.monotonic()
        try:
            yield start + self.left
        finally:
            self.left -= time.monotonic() - start

    def wait(self, seconds: float) -> None:
        """Sleep, and count it as waiting."""
        start = time.monotonic()
        time.sleep(seconds)
        self.waiting_left -= time.monotonic() - start
