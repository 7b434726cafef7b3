"""A process that decodes images into memory which it shares with the process that started it.

Started by `wherein.reading.batches` as `python -m wherein.reading.worker CONNECTION MEMORY`, the numbers of two file
descriptors that it inherits. It ends when the other end of the connection is closed.
"""

import mmap
import pickle
import signal
import sys
from multiprocessing.connection import Connection


def serve(connection: Connection, memory: mmap.mmap) -> None:
    """Do what the other end asks: first a reader, then (ticket, offset, places in the batch, parts), answered in order.

    A reader has `layout` and `fill(parts, pixels)`; the answer is the ticket and None, or the error that `fill` ended
    with.
    """
    reader = connection.recv()
    while True:
        try:
            ticket, offset, count, parts = connection.recv()
        except (EOFError, OSError):
            return
        found = None
        try:
            reader.fill(parts, reader.layout.pixels(count, memory, offset))
        except Exception as error:  # noqa: BLE001  whatever it is, the other end raises it
            found = _sendable(error)
        try:
            connection.send((ticket, found))
        except OSError:
            # the other end has gone: nobody wants this batch
            return


def _sendable(error: Exception) -> Exception:
    """The error, or its words where it does not survive the journey."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  an exception may fail in any way when it is made anew
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    # Ctrl-C reaches all processes of a terminal, and a time limit all of a cluster's job: this one ends when its
    # parent does, which may want to save what it has first
    for told in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(told, signal.SIG_IGN)
    serve(Connection(int(sys.argv[1])), mmap.mmap(int(sys.argv[2]), 0))
