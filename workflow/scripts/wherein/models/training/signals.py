"""Being told to stop: a training saves its state and ends so that it is started again."""

import logging
import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

LOG = logging.getLogger(__name__)

TRY_AGAIN = 75
"""Exit code of a training that was told to stop and may go on: EX_TEMPFAIL of sysexits.h, which schedulers are given
as the code to requeue."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""SIGTERM is what Slurm, Snakemake and torchrun send before they kill, SIGUSR1 what `sbatch --signal` often is."""


ECHO_SECONDS = 10.0
"""A signal within so many seconds of the first is the same word once more: schedulers send it to every process of a
job, and the process that started others hands it on to them."""


class Interrupted(SystemExit):
    """A training was told to stop, and has saved its state: the exit code is TRY_AGAIN."""

    def __init__(self) -> None:
        super().__init__(TRY_AGAIN)


class StopSignals:
    """While the block runs, SIGTERM and SIGUSR1 only leave word. A later one does what it did before.

    In a thread other than the main one, which gets no signals, nothing changes.

    Attributes:
        asked: whether a signal has come.
    """

    def __init__(self) -> None:
        self.asked = False
        self._heard = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            LOG.warning("got %s: saving the state after this step, then ending", signal.Signals(number).name)
            self.asked, self._heard = True, time.monotonic()
        elif time.monotonic() - self._heard > ECHO_SECONDS:
            self._restore()
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
