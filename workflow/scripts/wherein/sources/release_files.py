"""The files on this machine that tell the catalog what an image release holds."""

import os
from typing import Any

from wherein.sources.address import is_remote

KEYS = {"table": ("table",), "hpa": ("xml", "locations_table"), "opencell": ("listing", "targets", "annotations")}
"""Keys of each kind of source that name such a file, or a folder of them."""


def release_files(source: dict[str, Any]) -> list[str]:
    """Files that a source's fields are listed from; those of a folder one by one."""
    paths = [source[key] for key in KEYS.get(source["kind"], ()) if source[key]]
    return [file for path in paths for file in _files(path)]


def _files(path: str) -> list[str]:
    # hidden files are not part of a release: Snakemake keeps its own time stamps in one
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(path, name) for name in sorted(os.listdir(path)) if not name.startswith(".")]


def missing_files(name: str, source: dict[str, Any]) -> list[str]:
    """Sentences on the files of an image release that are not there."""
    sentences = []
    for key in KEYS[source["kind"]]:
        path = source[key]
        if not path:
            continue
        if is_remote(path):
            sentences.append(
                f"sources.{name}.{key}: found {path}; it must be on this machine: fetch it and name the file here"
            )
        elif not os.path.exists(path):
            sentences.append(f"sources.{name}.{key}: {path} does not exist; name the release's file or its folder")
    return sentences
