"""The log of one job: everything it says, native code and tracebacks included, goes to one file."""

import logging
import os
import sys
import time


def open_log(path: str) -> None:
    """Send file descriptors 1 and 2 and the logging module to `path`.

    Assigning `sys.stderr` alone would lose what subprocesses and native libraries write.

    Args:
        path: the rule's log file; its folder exists (Snakemake makes it).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)sZ %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        force=True,
    )
