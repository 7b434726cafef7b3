"""Starting the processes that train one network: one for each GPU of this machine, or a launcher's over several.

The process that starts them loads no torch: it hands on signals, waits, and starts anew where a GPU ran out of memory.
"""

import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from string import Template
from types import FrameType
from typing import Any

from wherein.atomic import write_json
from wherein.models.training.signals import SIGNALS, TRY_AGAIN, Interrupted

LOG = logging.getLogger(__name__)

SCRIPTS = Path(__file__).resolve().parents[3]

PROCESS = "wherein.models.train_process"
"""Module that each process runs."""

ORDER = "order.json"
"""File in the folder of the state that tells the processes what to train."""

PARTS_WANTED = "parts"
"""File in which a process of several that ran out of memory leaves word for the next start."""

LOOK_SECONDS = 0.2
"""Seconds between two looks at the processes."""

PATIENCE_SECONDS = 30.0
"""Seconds that the others have to end after one has failed."""


class ProcessFailedError(RuntimeError):
    """A process of several failed; its own error stands before this one in the log."""


def train_together(processes: int, launcher: str | None, threads: int, state: str, **job: Any) -> None:
    """Train a network with one process or several.

    Args:
        processes: on this machine, one for each GPU, or sharing the processor.
        launcher: command that starts the processes in place of this one, an srun line say, with `$VARIABLES`; None to
            start them here.
        threads: of the processor, for all processes together.
        state: folder of what trainings go on from, which all processes see.
        job: the other arguments of `wherein.models.train.train_model`, JSON-able.

    Raises:
        ProcessFailedError: a process ended with an error.
        Interrupted: told to stop; the state is saved.
    """
    job |= {"threads": max(threads // processes, 1), "state": state}
    if processes == 1 and launcher is None:
        from wherein.models.train_process import train  # loads torch

        train(job)
        return
    folder = Path(state)
    order = folder / ORDER
    write_json(order, job)
    relay = _Relay(launcher)
    try:
        with relay:
            code = _until_memory_suffices(order, processes, launcher, relay)
    finally:
        order.unlink(missing_ok=True)
        with suppress(OSError):  # the state of a training that is to go on may lie there
            folder.rmdir()
    if code and relay.asked:
        raise Interrupted
    if code:
        raise ProcessFailedError(
            f"training failed in one of its processes, which ended with code {code}: its error stands above"
        )


def _until_memory_suffices(order: Path, processes: int, launcher: str | None, relay: "_Relay") -> int:
    """Run the processes, again after one that ran out of memory left word to cut batches smaller; the exit code."""
    while True:
        before = _parts_wanted(order.parent)
        relay.children = _started(order, processes, launcher)
        relay.hand_on()
        code = _wait(relay)
        if not code or relay.asked or _parts_wanted(order.parent) == before:
            return code
        LOG.warning("a process ran out of memory: all start again, and batches go in more parts")


def _started(order: Path, processes: int, launcher: str | None) -> list[subprocess.Popen[bytes]]:
    """The processes, or the launcher that starts them."""
    command = [sys.executable, "-m", PROCESS, str(order)]
    paths = os.pathsep.join([str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    common = {**os.environ, "PYTHONPATH": paths, "MASTER_PORT": str(_free_port())}
    if launcher is not None:
        common["MASTER_ADDR"] = socket.gethostname()
        words = [Template(word).safe_substitute(common) for word in shlex.split(launcher)]
        LOG.info("starting processes by: %s", shlex.join([*words, *command]))
        return [subprocess.Popen([*words, *command], env=common, stdin=subprocess.DEVNULL)]
    common |= {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": str(processes)}
    LOG.info("starting %d processes", processes)
    return [
        # nothing is ever said to them: the end of their input tells them that this process is gone
        subprocess.Popen(
            [*command, "--with-parent"],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,
        )
        for rank in range(processes)
    ]


def _wait(relay: "_Relay") -> int:
    """Wait for all processes; once one has failed the others are ended. The first code of a failure, else TRY_AGAIN."""
    ends = None
    failed = 0
    while relay.alive():
        if not failed:
            failed = next((child.returncode for child in relay.children if child.returncode not in (None, 0)), 0)
            failed = 0 if failed == TRY_AGAIN else failed
        if failed and ends is None:
            ends = time.monotonic() + PATIENCE_SECONDS
            relay.tell(signal.SIGTERM)
        if ends is not None and time.monotonic() > ends:
            relay.tell(signal.SIGKILL)
        time.sleep(LOOK_SECONDS)
    for child in relay.children:
        if child.stdin is not None:
            child.stdin.close()
    codes = [child.returncode for child in relay.children if child.returncode]
    return failed or next((code for code in codes if code != TRY_AGAIN), TRY_AGAIN if codes else 0)


class _Relay:
    """While the block runs, SIGTERM and SIGUSR1 go on to the children, as the one of them that these take as a word.

    Args:
        launcher: what the child is, if it starts processes in its turn.

    Attributes:
        word: the signal that is sent.
        children: who they go to.
        asked: whether one has come.
    """

    def __init__(self, launcher: str | None) -> None:
        # srun ends its tasks at once when it is terminated, and hands on this one
        self.word = signal.SIGUSR1 if launcher and Path(shlex.split(launcher)[0]).name == "srun" else signal.SIGTERM
        self.children: Sequence[subprocess.Popen[bytes]] = ()
        self.asked = False
        self._before: Mapping[signal.Signals, Any] = {}

    def __enter__(self) -> "_Relay":
        self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        # an error here, or Ctrl-C: nobody else will end them
        self.tell(signal.SIGKILL)

    def alive(self) -> list[subprocess.Popen[bytes]]:
        """Children that have not ended."""
        return [child for child in self.children if child.poll() is None]

    def tell(self, number: int) -> None:
        """Send a signal to all children that have not ended."""
        for child in self.alive():
            child.send_signal(number)

    def hand_on(self) -> None:
        """Tell children that were started just now what had come before."""
        if self.asked:
            self.tell(self.word)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        LOG.warning("got %s: handing it on to the processes", signal.Signals(number).name)
        self.asked = True
        self.tell(self.word)


def _parts_wanted(folder: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in folder.glob(f"*/{PARTS_WANTED}")}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])
