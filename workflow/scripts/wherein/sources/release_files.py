"""The files that tell the catalog what an image release holds: named here, or to be fetched."""

import os
import re
from typing import Any

from wherein.sources.address import is_remote

KEYS = {
    "table": ("table",),
    "crops": ("table",),
    "vectors": ("table", "labels", "identifiers"),
    "hpa": ("xml", "locations_table"),
    "opencell": ("listing", "targets", "annotations"),
}
"""Keys of each kind of source that name such a file, or a folder of them."""

OWN = {"xml": None, "locations_table": "release", "listing": None}
"""What stands in place of an address for the release's own file."""

NAMES = {
    "xml": "proteinatlas.xml.gz",
    "locations_table": "subcellular_location.tsv",
    "listing": "listing",
    "targets": "targets.csv",
    "annotations": "annotations.csv",
}
"""Name of each fetched file, or folder of files, in the folder of the release."""

GENES = "genes"
"""Folder of the XML of single genes, in the folder of the release."""

ENSEMBL_ID = re.compile(r"ENSG\d{11}", re.IGNORECASE)


def release_folder(name: str, source: dict[str, Any]) -> str:
    """Folder of the fetched files of a source: `resources/releases/{source}/{release}`.

    Characters of the release's name that a path should not have are written as `_`.
    """
    return f"resources/releases/{name}/{re.sub('[^A-Za-z0-9._-]', '_', source['release'])}"


def fetched_keys(source: dict[str, Any]) -> list[str]:
    """Keys of a source whose files are fetched: those that hold an address, or stand for the release's own file."""
    keys = KEYS.get(source["kind"], ()) if source["kind"] not in ("table", "crops", "vectors") else ()
    return [key for key in keys if (key in OWN and source[key] == OWN[key]) or (source[key] and is_remote(source[key]))]


def single_genes(source: dict[str, Any]) -> bool:
    """Whether the XML of single genes is fetched, of those that `only.genes` names, in place of that of all genes."""
    genes = source["only"]["genes"]
    if source["xml"] is not None or not genes:
        return False
    return source["locations_table"] is not None or all(ENSEMBL_ID.fullmatch(gene) for gene in genes)


def local_source(name: str, source: dict[str, Any]) -> dict[str, Any]:
    """A source as the catalog reads it: with the paths of its files, once they are fetched, and without their server.

    Args:
        name: name of the source.
        source: its configuration, with defaults.
    """
    paths = {key: f"{release_folder(name, source)}/{NAMES[key]}" for key in fetched_keys(source)}
    if "xml" in paths and single_genes(source):
        paths["xml"] = f"{release_folder(name, source)}/{GENES}"
    return {key: value for key, value in source.items() if key != "host"} | paths


def release_files(name: str, source: dict[str, Any]) -> list[str]:
    """What a source's fields are listed from: local files, those of a folder one by one, and the folder of the rest."""
    keys = fetched_keys(source)
    paths = [source[key] for key in KEYS.get(source["kind"], ()) if source[key] and key not in keys]
    paths += [source["probabilities"]["table"]] if source.get("probabilities") else []
    return [file for path in paths for file in _files(path)] + ([release_folder(name, source)] if keys else [])


def files_to_fetch_with(source: dict[str, Any]) -> list[str]:
    """Local files that tell what has to be fetched: the table in which the symbols of genes are looked up."""
    keys = fetched_keys(source)
    needed = "xml" in keys and single_genes(source) and "locations_table" not in keys and source["locations_table"]
    return [source["locations_table"]] if needed else []


def _files(path: str) -> list[str]:
    # hidden files are not part of a release: Snakemake keeps its own time stamps in one
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(path, name) for name in sorted(os.listdir(path)) if not name.startswith(".")]


def missing_files(name: str, source: dict[str, Any]) -> list[str]:
    """Sentences on the files of an image release that should be on this machine and are not."""
    keys = fetched_keys(source)
    return [
        f"sources.{name}.{key}: {source[key]} does not exist; name the release's file, its folder, or its address"
        for key in KEYS[source["kind"]]
        if source[key] and key not in keys and not os.path.exists(source[key])
    ]
