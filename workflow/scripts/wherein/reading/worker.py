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
    """Do what the other end asks: first a reader, then (offset, places in the batch, parts), each answered once.

    A reader has `layout` and `fill(parts, pixels)`; the answer is None, or the error that `fill` ended with.
    """
    reader = connection.recv()
    while True:
        try:
            offset, count, parts = connection.recv()
        except EOFError:
            return
        try:
            reader.fill(parts, reader.layout.pixels(count, memory, offset))
        except Exception as error:  # noqa: BLE001  whatever it is, the other end raises it
            connection.send(_sendable(error))
        else:
            connection.send(None)


def _sendable(error: Exception) -> Exception:
    """The error, or its words where it does not survive the journey."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  an exception may fail in any way when it is made anew
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    # Ctrl-C reaches all processes of a terminal: this one ends when its parent does
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(Connection(int(sys.argv[1])), mmap.mmap(int(sys.argv[2]), 0))
