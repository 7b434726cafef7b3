"""Fetching what an image release publishes besides its images: XML, tables, listings."""

import csv
import io
import logging
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wherein.atomic import atomic_path
from wherein.sources.address import is_remote
from wherein.sources.release_files import ENSEMBL_ID, GENES, NAMES, fetched_keys, single_genes
from wherein.transfer.checks import opened, table_document, xml_document
from wherein.transfer.documents import Document, DocumentError, Fetched, fetch_documents, unpacked
from wherein.transfer.lock import Locked, record, today

log = logging.getLogger(__name__)

LOCATIONS = table_document(("Gene", "Gene name"), "\t")
TARGETS = table_document(("ensg_id", "target_name"), ",")
ANNOTATIONS = table_document(("ensg_id", "target_name", "annotation_name", "annotation_grade"), ",")
XML = "proteinAtlas"
LISTING = "ListBucketResult"

LOCATION_TABLES = ("download/tsv/subcellular_location.tsv.zip", "download/subcellular_location.tsv.zip")
"""Where releases have their location table: those since 2024, then those before."""

PREFIX = "microscopy/raw/"
"""Folder of OpenCell's bucket that holds the images of fields."""

Fetch = Callable[[Sequence[Document]], list[Fetched | None]]


def fetch_release(name: str, source: dict[str, Any], folder: str, lock: str, settings: Mapping[str, Any]) -> None:
    """Fetch the files of a release that the catalog reads.

    Args:
        name: name of the source.
        source: its configuration, with defaults; kind `hpa` or `opencell`.
        folder: `resources/releases/{source}/{release}`, written as a whole; what it held is replaced.
        lock: resources/lock.tsv, in which the rows of the folder are replaced.
        settings: section `download` of the configuration.

    Raises:
        DocumentError: a file cannot be had, or is not what it should be or was.
        TableError: none of the genes that the configuration names is in the release.
    """
    rows: list[Locked] = []
    changing: set[str] = set()

    def fetch(documents: Sequence[Document]) -> list[Fetched | None]:
        found = fetch_documents(documents, settings, lock)
        for document, got in zip(documents, found, strict=True):
            if got is not None:
                file = f"{folder}/{document.target.relative_to(partial).as_posix()}"
                rows.append(Locked(file, got.url, got.sha256, got.bytes, today()))
                changing.update([got.url] if document.changing else [])
        return found

    with atomic_path(folder) as partial:
        partial.mkdir()
        if source["kind"] == "hpa":
            fetch_atlas(source, partial, fetch)
        else:
            fetch_opencell(source, partial, fetch)
        record(lock, rows, folder, changing)
    log.info("%s: %d files, %.1f MB", name, len(rows), sum(row.bytes for row in rows) / 1e6)


def host_of_release(source: dict[str, Any]) -> str:
    """Address of the host of a release of the Human Protein Atlas, without a slash at its end."""
    named = "www" if source["release"] == "current" else source["release"]
    return (source["host"] or f"https://{named}.proteinatlas.org").rstrip("/")


def fetch_atlas(source: dict[str, Any], folder: Path, fetch: Fetch) -> None:
    """Fetch the location table and the XML of a release of the Human Protein Atlas, as far as they are not local.

    Args:
        source: configuration of the source, with defaults.
        folder: where they are written.
        fetch: fetches documents.
    """
    keys, host = fetched_keys(source), host_of_release(source)
    changing = source["release"] == "current"
    table = source["locations_table"]
    if "locations_table" in keys:
        urls = (table,) if is_remote(table) else tuple(f"{host}/{path}" for path in LOCATION_TABLES)
        table = folder / NAMES["locations_table"]
        fetch([Document(urls, table, LOCATIONS, unpacked, changing)])
    if "xml" not in keys:
        return
    if single_genes(source):
        fetch_genes(source["only"]["genes"], Path(table) if table else None, host, folder / GENES, changing, fetch)
        return
    url = source["xml"] or f"{host}/download/proteinatlas.xml.gz"
    fetch([Document((url,), folder / NAMES["xml"], xml_document(XML), changing=changing)])


def fetch_genes(
    names: Sequence[str], table: Path | None, host: str, folder: Path, changing: bool, fetch: Fetch
) -> None:
    """Fetch the XML of single genes, side by side; those that the release does not have are told in the log.

    Args:
        names: Ensembl ids or symbols.
        table: the location table, in which symbols are looked up; None where there are none.
        host: address of the release's host.
        folder: where they are written, each as `{Ensembl id}.xml`.
        changing: whether the release goes on changing.
        fetch: fetches documents.

    Raises:
        DocumentError: the release has none of them.
    """
    genes = ensembl_ids(names, table)
    documents = []
    for gene in genes:
        check = xml_document(XML, gene)
        documents.append(
            Document((f"{host}/{gene}.xml",), folder / f"{gene}.xml", check, unpacked, changing, needed=False)
        )
    if not any(fetch(documents)):
        raise DocumentError(
            f"only.genes: {host} has none of the genes {', '.join(names[:10])}"
            f"{f' and {len(names) - 10} more' if len(names) > 10 else ''}; check their spelling and the release"
        )


def ensembl_ids(names: Sequence[str], table: Path | None) -> list[str]:
    """Ensembl ids of genes, sorted; unknown symbols are told in the log.

    Args:
        names: Ensembl ids or symbols, in upper or lower case. A symbol may stand for several genes.
        table: the location table, plain or packed.
    """
    known = defaultdict(list)
    if table is not None:
        LOCATIONS(table)
        with opened(table) as content, io.TextIOWrapper(content, "utf-8-sig", newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                known[row["Gene name"].upper()].append(row["Gene"])
    genes = set()
    for name in names:
        found = [name] if ENSEMBL_ID.fullmatch(name) else known[name.upper()]
        genes.update(gene.upper() for gene in found)
        if not found:
            log.warning("only.genes: the release's location table has no gene of the symbol %s", name)
    return sorted(genes)


def fetch_opencell(source: dict[str, Any], folder: Path, fetch: Fetch) -> None:
    """Fetch the listing of OpenCell's bucket and its tables, as far as they are not local.

    Args:
        source: configuration of the source, with defaults.
        folder: where they are written.
        fetch: fetches documents.
    """
    keys = fetched_keys(source)
    tables = [
        Document((source[key],), folder / NAMES[key], check, unpacked)
        for key, check in (("targets", TARGETS), ("annotations", ANNOTATIONS))
        if key in keys
    ]
    if tables:
        fetch(tables)
    if "listing" in keys:
        first = source["listing"] or f"{source['bucket'].rstrip('/')}/?list-type=2&prefix={quote(PREFIX, safe='')}"
        fetch_listing(first, folder / NAMES["listing"], fetch)


def fetch_listing(first: str, folder: Path, fetch: Fetch) -> None:
    """Fetch all pages of a bucket's listing (ListObjectsV2), each of which names the next one.

    Args:
        first: address of the first page.
        folder: where they are written, as `0001.xml` and so on.
        fetch: fetches documents.

    Raises:
        DocumentError: a page says that it is not the last one, but not which one follows, or one that was there before.
    """
    url, tokens = first, set()
    while url:
        page = folder / f"{len(tokens) + 1:04d}.xml"
        fetch([Document((url,), page, xml_document(LISTING), changing=True)])
        token = next_page(page)
        if token is None:
            return
        if not token or token in tokens:
            raise DocumentError(
                f"{url} is not the last page of the listing, but names {token!r} as the next one; the address has to "
                "ask for list-type=2"
            )
        tokens.add(token)
        url = f"{first}{'&' if '?' in first else '?'}continuation-token={quote(token, safe='')}"


def next_page(page: Path) -> str | None:
    """Token of the page that follows a page of a listing; empty if it does not say, None after the last one."""
    told = {}
    with opened(page) as content:
        for _, element in ET.iterparse(content):
            told[element.tag.rpartition("}")[2]] = (element.text or "").strip()
    return told.get("NextContinuationToken", "") if told.get("IsTruncated") == "true" else None
