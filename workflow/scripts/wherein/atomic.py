"""Writing so that a reader sees the old content or the new, never a part."""

import glob
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` when the block ends without an error.

    Works for files and for folders (a Zarr store). What stood at `path` before is replaced.

    Args:
        path: the final name; its folder is made.

    Yields:
        A name in the same folder, on which nothing exists yet.

    Raises:
        FileNotFoundError: the block wrote nothing.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f".{final.name}.{os.getpid()}.part")
    aside = final.with_name(f".{final.name}.{os.getpid()}.old")
    _remove(partial)
    try:
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


def sweep(path: str | Path) -> None:
    """Remove what writers of `path` left beside it when they were killed. For paths that have one writer only."""
    final = Path(path)
    for ending in ("part", "old"):
        for left in final.parent.glob(f".{glob.escape(final.name)}.*.{ending}"):
            _remove(left)


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON with sorted keys, atomically."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True, default=str) + "\n")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
