"""The Human Protein Atlas' XML, read gene by gene: many gigabytes pass through, one gene at a time is in memory."""

import gzip
import os
import re
import xml.etree.ElementTree as ET
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

from wherein.sources.table import TableError

CHUNK = 1 << 20
"""Bytes that are parsed at once."""

KEPT = frozenset(
    {
        "entry",
        "name",
        "identifier",
        "antibody",
        "cellExpression",
        "verification",
        "subAssay",
        "data",
        "cellLine",
        "location",
        "assayImage",
        "image",
        "imageUrl",
    }
)
"""Elements that lead to images; what stands below any other is dropped as soon as it has been read."""

BULK = re.compile(rb"<((?:rna|tissue)Expression)(?=[\s/>])[^>]*>")
"""Start of the elements that most of the file is made of. They are cut out before the parser, which takes most of the
time, sees them."""

TECHNOLOGIES = frozenset(("ICC/IF", "IF"))
"""Names of immunofluorescence of cells in the attribute `technology`."""

ENSEMBL_ID = re.compile(r"ENSG\d{11}")


class GeneImage(NamedTuple):
    """One image as the entry of one gene names it.

    Attributes:
        ensembl_id: Ensembl id of the gene.
        gene: its symbol; empty if the entry has none.
        antibody: id of the antibody (HPA030741, CAB079904).
        cell_line: as published.
        main: locations that the annotators call main, as published, in this cell line.
        others: the other locations.
        go_ids: Gene Ontology ids by location, where the entry tells them.
        antibody_reliability: the antibody's own verification, type `reliability`; empty if none.
        antibody_validation: the antibody's own verification, type `validation`; empty if none.
        gene_reliability: the verification of the gene's summary; empty if none.
        url: address of the image as published.
    """

    ensembl_id: str
    gene: str
    antibody: str
    cell_line: str
    main: tuple[str, ...]
    others: tuple[str, ...]
    go_ids: tuple[tuple[str, str], ...]
    antibody_reliability: str
    antibody_validation: str
    gene_reliability: str
    url: str


def read_images(path: str, seen: Counter[str]) -> Iterator[GeneImage]:
    """Read all immunofluorescence images of all antibodies.

    Args:
        path: the XML of all genes or of one, plain or gzipped; or a folder of them.
        seen: counts what is read (`genes`, `antibodies`), what is passed over (`selected`, `other_subassays`), and
            the hosts of the entries (`host v18.proteinatlas.org`).

    Yields:
        Images in the order of the file; files of a folder in the order of their names.

    Raises:
        TableError: a file is missing, no XML of the atlas, or breaks off.
    """
    for file in xml_files(path):
        for entry in _entries(file):
            yield from _images_of(entry, seen)


def xml_files(path: str) -> list[str]:
    """The file itself, or the XML files of a folder in the order of their names.

    Raises:
        TableError: nothing is there, or the folder has no XML file.
    """
    if not os.path.isdir(path):
        return [path]
    files = [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.endswith((".xml", ".xml.gz"))]
    if not files:
        raise TableError(f"{path}: the folder has no file that ends in .xml or .xml.gz; put the genes' XML there")
    return files


def _entries(path: str) -> Iterator[ET.Element]:
    """Elements `entry` of one file, each valid until the next one is asked for."""
    read = 0
    parser = ET.XMLPullParser(("end",))
    try:
        with _opened(path) as content:
            for chunk in without_bulk(iter(lambda: content.read(CHUNK), b"")):
                parser.feed(chunk)
                for entry in _complete(parser):
                    yield entry
                    read += 1
                    entry.clear()
            parser.close()
    except (ET.ParseError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TableError(
            f"{path} is not whole or no XML: after {read} genes it breaks off ({error}); fetch the file again"
        ) from error
    if not read:
        raise TableError(f"{path} holds no gene (no element `entry`): it is no XML of the Human Protein Atlas")


def without_bulk(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut the elements that BULK begins out of an XML; they do not contain each other.

    Args:
        chunks: the XML, cut anywhere.

    Yields:
        The rest of it. An element that does not end takes all that follows with it, so that the parser complains.
    """
    rest, end = b"", None
    for chunk in chunks:
        text, rest = rest + chunk, b""
        kept, here = [], 0
        while True:
            mark = (end or BULK).search(text, here)
            if mark is None:
                break
            if end is None:
                kept.append(text[here : mark.start()])
            here = mark.end()
            closed = end is not None or mark.group().endswith(b"/>")
            end = None if closed else re.compile(rb"</" + mark.group(1) + rb"\s*>")
        # a tag that the chunk cuts is judged with the next one
        cut = text.rfind(b"<", here)
        if cut < 0 or text.find(b">", cut) >= 0:
            cut = len(text)
        rest = text[cut:]
        if end is None:
            kept.append(text[here:cut])
        yield b"".join(kept)
    if end is None:
        yield rest


def _complete(parser: ET.XMLPullParser) -> Iterator[ET.Element]:
    for _, element in parser.read_events():
        if element.tag == "entry":
            yield element
        elif element.tag not in KEPT and len(element):
            element.clear()


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    try:
        raw = open(path, "rb")  # noqa: SIM115 - closed below, whichever reader lies over it
    except OSError as error:
        raise TableError(
            f"{path}: the XML cannot be opened ({error.strerror}); check sources.*.xml, a file or a folder"
        ) from error
    with raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not zipped:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as content:
            yield content  # type: ignore[misc]


def _images_of(entry: ET.Element, seen: Counter[str]) -> Iterator[GeneImage]:
    seen["genes"] += 1
    url = entry.get("url", "")
    if url:
        seen[f"host {url.split('//')[-1].split('/')[0]}"] += 1
    ensembl_id = _ensembl_id(entry, url)
    if ensembl_id is None:
        seen["genes without an Ensembl id"] += 1
        return
    gene = _text(entry.find("name"))
    own = _immunofluorescence(entry)
    of_gene = next((word for word in (_verification(assay, "reliability") for assay in own) if word), "")
    for antibody in entry.findall("antibody"):
        assays = _immunofluorescence(antibody)
        seen["antibodies"] += bool(assays)
        for assay in assays:
            for data in _human_data(assay, seen):
                places = [(_text(place), place) for place in data.findall("location")]
                main = (name for name, place in places if name and place.get("status", "").lower() == "main")
                others = (name for name, place in places if name and place.get("status", "").lower() != "main")
                first = GeneImage(
                    ensembl_id=ensembl_id,
                    gene=gene,
                    antibody=antibody.get("id", "").strip(),
                    cell_line=_text(data.find("cellLine")),
                    main=tuple(dict.fromkeys(main)),
                    others=tuple(dict.fromkeys(others)),
                    go_ids=tuple((name, place.get("GOId", "")) for name, place in places if name and place.get("GOId")),
                    antibody_reliability=_verification(assay, "reliability"),
                    antibody_validation=_verification(assay, "validation"),
                    gene_reliability=of_gene,
                    url="",
                )
                for address in _urls(data, seen):
                    yield first._replace(url=address)


def _ensembl_id(entry: ET.Element, url: str) -> str | None:
    found = ENSEMBL_ID.search(url)
    named = (identifier.get("id", "") for identifier in entry.findall("identifier"))
    return found.group() if found else next((name for name in named if ENSEMBL_ID.fullmatch(name)), None)


def _immunofluorescence(parent: ET.Element) -> list[ET.Element]:
    return [assay for assay in parent.findall("cellExpression") if assay.get("technology") in TECHNOLOGIES]


def _verification(assay: ET.Element, kind: str) -> str:
    return next((_text(word) for word in assay.findall("verification") if word.get("type") == kind), "")


def _human_data(assay: ET.Element, seen: Counter[str]) -> Iterator[ET.Element]:
    for part in assay.findall("subAssay"):
        if part.get("type", "human") != "human":
            seen["other_subassays"] += 1
            continue
        yield from part.findall("data")


def _urls(data: ET.Element, seen: Counter[str]) -> Iterable[str]:
    for image in data.findall("assayImage/image"):
        address = _text(image.find("imageUrl"))
        if image.get("imageType", "sampleImage") != "sampleImage":
            seen["selected"] += 1
        elif address:
            yield address


def _text(element: ET.Element | None) -> str:
    return "" if element is None or element.text is None else element.text.strip()
