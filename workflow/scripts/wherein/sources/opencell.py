"""Fields of OpenCell, from the listing of its public bucket and its tables of targets and annotations."""

import csv
import gzip
import os
import re
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

from wherein.channels import in_order, uri_column
from wherein.digest import digest
from wherein.labels import spelling
from wherein.sources.address import Address, to_uri
from wherein.sources.choose import Filter, chosen
from wherein.sources.hpa_xml import xml_files
from wherein.sources.table import TableError
from wherein.transfer.state import RemoteState, bare

Row = dict[str, Any]

CHANNELS = {"nucleus": "0", "protein": "1"}
"""Channel of each role in the files: Hoechst, then the tagged protein."""

KEY = re.compile(r"OC-FOV_(?P<gene>.+)_(?P<ensembl_id>ENSG\d{11})_CID(?P<line>\d+)_FID(?P<fov>\d+)_(?P<kind>\w+)\.tif")
"""File name of a field: gene, Ensembl id, number of the cell line, number of the field, `proj` or `stack`."""

AXES = {"proj": "C2YX", "stack": "ZC2YX"}
"""Order of the pages in files that do not declare it."""

CELL_LINE = "HEK293T"
"""Cells of all fields (Paper 4, methods)."""

MAIN_GRADE = 3
"""Grade of the most prominent locations, 1 to 3."""

FULL_SCALE = 65535.0


class Annotations(NamedTuple):
    """Locations and their grades, the most prominent first: by Ensembl id, and by symbol.

    Attributes:
        genes: by Ensembl id.
        symbols: by symbol. For 36 targets the tables name different Ensembl ids of the same symbol, on the reference
            and on alternative sequences of the genome.
    """

    genes: dict[str, list[tuple[str, int]]]
    symbols: dict[str, list[tuple[str, int]]]


class Listed(NamedTuple):
    """One file of the bucket: its key, and size and ETag, which tell its content."""

    key: str
    size: int
    etag: str


def opencell_fields(source: dict[str, Any]) -> tuple[list[Row], list[str]]:
    """List the fields of the bucket that the configuration asks for.

    Args:
        source: configuration of the source, with defaults.

    Returns:
        Rows with the columns of fields.parquet that do not depend on other releases, sorted by field_id, with `roles`,
        `dtype` and `listed`, the state that the listing tells of each URL; and sentences on what was passed over.

    Raises:
        TableError: a listing or table is missing, not whole, or no such file.
    """
    targets = read_targets(source["targets"]) if source["targets"] else {}
    annotations = (
        read_annotations(source["annotations"], source["min_grade"]) if source["annotations"] else Annotations({}, {})
    )
    seen: Counter[str] = Counter()
    rows = []
    for listed in read_listing(source["listing"]):
        seen["files"] += 1
        name = KEY.fullmatch(listed.key.rsplit("/", 1)[-1])
        if name is None:
            seen["no_fields"] += 1
        elif name["kind"] != source["images"]:
            seen["other_kinds"] += 1
        else:
            seen["without_target"] += bool(targets) and name["ensembl_id"] not in targets
            rows.append(_row(listed, name, targets, annotations, source))
    if not rows:
        raise TableError(
            f"{source['listing']}: none of {seen['files']} files is called OC-FOV_..._{source['images']}.tif: "
            "list the bucket from microscopy/raw/ on"
        )
    rows.sort(key=lambda row: row["field_id"])
    wanted = source["only"]
    kept, notes = chosen(
        rows,
        [
            Filter("only.genes", wanted["genes"], lambda row: [*row["ensembl_ids"], *row["genes"]]),
            Filter("only.locations", wanted["locations"], lambda row: row["labels"], spelling),
        ],
        source["max_fields_per_protein"],
    )
    return kept, _notes(seen, source["images"]) + notes


def read_listing(path: str) -> list[Listed]:
    """Read the pages of a bucket's listing (ListObjectsV2).

    Args:
        path: the page, or a folder of all pages.

    Returns:
        Files in the order of their keys.

    Raises:
        TableError: a page is missing, not whole or no listing.
    """
    files: dict[str, Listed] = {}
    follow: set[str] = set()
    begin: list[str | None] = []
    for page in xml_files(path):
        root = _page(page)
        for item in root.iter("Contents"):
            key = item.findtext("Key", "")
            size = item.findtext("Size", "0")
            files[key] = Listed(key, int(size), item.findtext("ETag", "").strip('"'))
        begin.append(root.findtext("ContinuationToken"))
        if root.findtext("IsTruncated", "false") == "true":
            follow.add(root.findtext("NextContinuationToken", ""))
    missing = len(follow - set(begin))
    if missing or not any(token is None for token in begin):
        raise TableError(
            f"{path}: the listing is not whole, {missing or 1} of its pages is missing: each page that says "
            "IsTruncated names in NextContinuationToken the one that follows it; put all pages into one folder"
        )
    return [files[key] for key in sorted(files)]


def _page(path: str) -> ET.Element:
    try:
        with open(path, "rb") as content:
            root = ET.fromstring(content.read())
    except OSError as error:
        raise TableError(f"{path}: the listing cannot be opened ({error.strerror}); check sources.*.listing") from error
    except ET.ParseError as error:
        raise TableError(f"{path} is not whole or no XML ({error}); fetch the listing again") from error
    for element in root.iter():
        # the service writes its own namespace, copies of it often none
        element.tag = element.tag.rpartition("}")[2]
    if root.tag != "ListBucketResult":
        raise TableError(f"{path} is no listing of a bucket: its root is {root.tag}, it must be ListBucketResult")
    return root


def read_targets(path: str) -> dict[str, str]:
    """Symbol of each target by Ensembl id, from the table of cell lines.

    Raises:
        TableError: the table is missing or lacks a column.
    """
    return {row["ensg_id"]: row["target_name"] for row in _table(path, ("ensg_id", "target_name"), "targets")}


def read_annotations(path: str, min_grade: int) -> Annotations:
    """Locations of each target, with their grades: the most prominent first, then by name.

    Raises:
        TableError: the table is missing, lacks a column, or has a grade that is no number.
    """
    found: dict[str, dict[str, int]] = defaultdict(dict)
    genes: dict[str, set[str]] = defaultdict(set)
    for row in _table(path, ("ensg_id", "target_name", "annotation_name", "annotation_grade"), "annotations"):
        gene, name, grade = row["ensg_id"], row["annotation_name"], row["annotation_grade"]
        if not grade.isdigit():
            raise TableError(f"{path}: found {grade!r} as annotation_grade of {gene}; it must be 1, 2 or 3")
        genes[row["target_name"]].add(gene)
        if int(grade) >= min_grade:
            # a protein may have several cell lines, and each its own grade
            found[gene][name] = max(int(grade), found[gene].get(name, 0))
    places = {
        gene: sorted(grades.items(), key=lambda item: (-item[1], spelling(item[0]))) for gene, grades in found.items()
    }
    # a symbol that stands for two genes says nothing
    symbols = {symbol: places.get(next(iter(ids)), []) for symbol, ids in genes.items() if len(ids) == 1}
    return Annotations(places, symbols)


def _table(path: str, columns: Iterable[str], key: str) -> Iterator[dict[str, str]]:
    try:
        with open(path, "rb") as start:
            opener = gzip.open if start.read(2) == b"\x1f\x8b" else open
        with opener(path, "rt", newline="", encoding="utf-8-sig") as lines:
            table = csv.DictReader(lines)
            missing = sorted(set(columns) - set(table.fieldnames or ()))
            if missing:
                raise TableError(
                    f"{path}: the column {', '.join(missing)} is missing; the table has "
                    f"{', '.join(table.fieldnames or ['nothing'])}; check sources.*.{key}"
                )
            for row in table:
                yield {column: (row[column] or "").strip() for column in columns}
    except OSError as error:
        raise TableError(f"{path} cannot be read ({error}); check sources.*.{key}") from error
    except (UnicodeDecodeError, EOFError) as error:
        raise TableError(f"{path} is not whole or no table ({error}); fetch it again") from error


def _row(
    listed: Listed,
    name: re.Match[str],
    targets: dict[str, str],
    annotations: Annotations,
    source: Row,
) -> Row:
    gene = name["ensembl_id"]
    symbol = targets.get(gene, name["gene"])
    places = annotations.genes.get(gene) or annotations.symbols.get(symbol, [])
    line = f"CID{name['line']}"
    side = source["bin"] if source["images"] == "stack" else 1
    row: Row = {
        "field_id": os.path.basename(listed.key).removesuffix(f"_{name['kind']}.tif"),
        "plate": None,
        "well": None,
        "position": f"FID{name['fov']}",
        "ensembl_ids": [gene],
        "genes": [symbol],
        "reagent": line,
        "cell_line": CELL_LINE,
        "condition": None,
        "sample": None,
        "control": False,
        "labels": [place for place, _ in places],
        "labels_main": [place for place, grade in places if grade >= MAIN_GRADE],
        "reliability": None,
        "pixel_size_um": source["pixel_size_um"] * side,
        "full_scale": FULL_SCALE,
        "dtype": "uint16",
        "roles": in_order(source["roles"]),
    }
    url = f"{source['bucket'].rstrip('/')}/{quote(listed.key)}"
    axes = source["axes"] or AXES[source["images"]]
    addresses = {role: Address(url, CHANNELS[role], "max", bin=side, axes=axes) for role in row["roles"]}
    row.update({uri_column(role): to_uri(address) for role, address in addresses.items()})
    row["listed"] = {url: RemoteState(bare(listed.etag), None, listed.size)}
    how = [*([side] if side > 1 else []), *([axes] if axes != AXES[source["images"]] else [])]
    content = [[role, *address[:3], *how] for role, address in addresses.items()]
    row["version"] = digest([content, listed.size, listed.etag, row["pixel_size_um"], row["full_scale"]])
    return row


def _notes(seen: Counter[str], images: str) -> list[str]:
    told = {
        "other_kinds": f"are other than {images} images, and are passed over",
        "no_fields": "are no images of fields by their names, and are passed over",
        "without_target": "are of genes that the table of targets does not have; their names are those of the files",
    }
    return [f"read {seen['files']} files of the listing"] + [
        f"{seen[key]} files {words}" for key, words in told.items() if seen[key]
    ]
