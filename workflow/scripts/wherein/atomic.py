"""Writing so that a reader sees the old content or the new, never a part."""

import itertools
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ELSEWHERE_S = 86_400
"""Seconds after which what a job of another machine has not touched is taken to be left over: nobody can ask whether
that job is alive."""

LEFTOVER = re.compile(r"\.(?P<target>.+)\.(?P<machine>[^.]+)\.(?P<pid>\d+)-\d+\.(?P<kind>part|old)")
"""Temporary name: of the new content, or of the old one that steps aside."""

_numbers = itertools.count()
_in_use: set[str] = set()
"""Temporary names of this process, made of its id: threads may write to one target at once."""
_looked_at: dict[Path, dict[str, list[Path]]] = {}
"""Temporary names, by target, that were in each folder when this process first wrote there: a folder may hold many
files, and is not listed again for each of them."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` when the block ends without an error.

    Works for files and for folders (a Zarr store). What stood at `path` before is replaced. What killed jobs left of
    earlier tries at the same target is removed.

    Args:
        path: the final name; its folder is made.

    Yields:
        A name in the same folder, on which nothing exists yet.

    Raises:
        FileNotFoundError: the block wrote nothing.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    stem = f".{final.name}.{_machine()}.{os.getpid()}-{next(_numbers)}"
    partial, aside = final.with_name(f"{stem}.part"), final.with_name(f"{stem}.old")
    _in_use.update((partial.name, aside.name))
    try:
        _clean(final)
        yield partial
        if not partial.exists():
            raise FileNotFoundError(f"nothing was written for {final}")
        # a folder cannot be renamed over another: the old one steps aside, and goes when the new one is there
        if final.exists() and (partial.is_dir() or final.is_dir()):
            os.replace(final, aside)
        os.replace(partial, final)
    finally:
        _remove(partial)
        if aside.exists() and not final.exists():
            os.replace(aside, final)
        _remove(aside)
        _in_use.difference_update((partial.name, aside.name))


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON with sorted keys, atomically."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True, default=str) + "\n")


def _machine() -> str:
    """Name of this machine, and of the processes that can be seen from here: containers have ids of their own."""
    space = ""
    with suppress(OSError):
        space = f"-{os.stat('/proc/self/ns/pid').st_ino}"
    return re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname()) + space


def _clean(final: Path) -> None:
    """Remove what killed jobs left of this target; an old content that has stepped aside goes back to its place."""
    folder = final.parent.absolute()
    if folder not in _looked_at:
        found: dict[str, list[Path]] = {}
        for name in os.listdir(folder):
            match = LEFTOVER.fullmatch(name)
            if match:
                found.setdefault(match["target"], []).append(folder / name)
        _looked_at[folder] = found
    for path in _looked_at[folder].pop(final.name, []):
        match = LEFTOVER.fullmatch(path.name)
        if match is None or path.name in _in_use or _may_live(match["machine"], int(match["pid"]), path):
            continue
        with suppress(OSError):  # another job may clean up too, and nothing depends on it
            if match["kind"] == "old" and not final.exists():
                os.replace(path, final)
            _remove(path)


def _may_live(machine: str, pid: int, path: Path) -> bool:
    """Whether the job that made a temporary name may still be at work on it."""
    if machine != _machine():
        return time.time() - _last_touched(path) < ELSEWHERE_S
    if pid == os.getpid():  # of an earlier process with this id, since the name is not in use
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _last_touched(path: Path) -> float:
    """Time of the last change of a file, or of anything in a folder; now where that cannot be told."""
    try:
        inside = (Path(folder) / name for folder, names, files in os.walk(path) for name in (*names, *files))
        return max(os.lstat(item).st_mtime for item in (path, *inside))
    except OSError:
        return time.time()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
