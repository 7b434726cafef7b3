"""Fetching gene sets: a GMT file from an address, or a library of Enrichr by its name, as gseapy takes them."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wherein.atomic import atomic_path
from wherein.transfer.checks import gmt_document, opened
from wherein.transfer.documents import Document, DocumentError, fetch_documents, unpacked
from wherein.transfer.lock import Locked, record, today

SERVICES = {
    "human": "Enrichr",
    "mouse": "Enrichr",
    "fly": "FlyEnrichr",
    "yeast": "YeastEnrichr",
    "worm": "WormEnrichr",
    "fish": "FishEnrichr",
}
"""Part of the server's address for each organism; human and mouse share their libraries."""


def fetch_gene_sets(
    name: str, source: str | Mapping[str, str], server: str, target: str, lock: str, settings: Mapping[str, Any]
) -> None:
    """Fetch gene sets and write them as a plain GMT file.

    Args:
        name: their name in the configuration.
        source: address of a GMT file, plain, gzipped or zipped; or `library` and `organism`. All sets of a library are
            taken; `gseapy.get_library` leaves out those of more than 2,000 genes unless told otherwise.
        server: address of the server of libraries.
        target: resources/gene_sets/fetched/{name}.gmt; it appears when it is whole.
        lock: resources/lock.tsv.
        settings: section `download` of the configuration.

    Raises:
        DocumentError: it cannot be had, is no file of gene sets, or another one than before.
    """
    if isinstance(source, str):
        url, place, hint = source, unpacked, f"check biology.gene_sets.{name}"
    else:
        url, place = library_url(server, source["library"], source["organism"]), write_library
        hint = (
            f"biology.gene_sets.{name} asks for the library {source['library']} ({source['organism']}): the libraries "
            f"are listed on {server.rstrip('/')}/{SERVICES[source['organism']]}/#libraries"
        )
    with atomic_path(target) as partial:
        try:
            (found,) = fetch_documents([Document((url,), partial, gmt_document, place)], settings, lock)
        except DocumentError as error:
            raise DocumentError(f"gene sets {name}: {error}; {hint}") from error
        record(lock, [Locked(target, found.url, found.sha256, found.bytes, today())], target)


def library_url(server: str, library: str, organism: str) -> str:
    """Address of a library."""
    return f"{server.rstrip('/')}/{SERVICES[organism]}/geneSetLibrary?mode=text&libraryName={quote(library)}"


def write_library(text: Path, target: Path) -> None:
    """Write a library as a GMT file.

    Args:
        text: what the server sends: in each line a term, a description or nothing, and genes, some with a weight behind
            a comma, which goes.
        target: the GMT file. Of a term that is there twice the last one counts, as for gseapy.
    """
    sets: dict[str, list[str]] = {}
    with opened(text) as content, io.TextIOWrapper(content, "utf-8") as lines:
        for line in lines:
            cells = line.strip().split("\t")
            genes = [gene for gene in (cell.split(",")[0] for cell in cells[2:]) if gene]
            if genes:
                sets[cells[0]] = [cells[1], *genes]
    with target.open("w", encoding="utf-8", newline="") as written:
        written.writelines("\t".join((term, *cells)) + "\n" for term, cells in sets.items())
