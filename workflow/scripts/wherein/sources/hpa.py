"""Fields of the Human Protein Atlas, from the XML and the location table of one of its releases."""

import csv
import gzip
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from wherein.channels import in_order, uri_column
from wherein.digest import digest
from wherein.labels import spelling
from wherein.sources.address import Address, to_uri
from wherein.sources.choose import Filter, chosen
from wherein.sources.hpa_xml import GeneImage, read_images
from wherein.sources.table import TableError, items

Row = dict[str, Any]

COLOURS = {"nucleus": "blue", "microtubules": "red", "er": "yellow", "protein": "green"}
"""Colour of each role in the names of the atlas' images."""

PIXELS = {"jpg": ("uint8", 255.0), "tif.gz": ("uint16", 65535.0)}
"""Data type and full scale of each format of images."""

STEM = re.compile(r"(\d+)_([A-Z]\d{1,2})_(\d+)(?:_.*)?\.\w+")
"""Plate, well and field in the name of an image; what follows, a hash or colours, does not count."""

ANTIBODY = re.compile(r"[A-Z]+0*(\d+)")
"""Number of an antibody in its id."""

FOLDER = re.compile(r"/(\d+)/[^/]*$")
"""Number of an antibody as the folder of its images."""

CELL_LINES = (
    "A-431", "A549", "AF22", "ASC TERT1", "ASC diff", "BJ", "BJ hTERT+", "CACO-2", "EFO-21", "FHDF/TERT166", "GAMG",
    "HaCaT", "HAP1", "HBEC3-KT", "HBF TERT88", "HDLM-2", "HEK 293", "HEL", "HeLa", "Hep G2", "hTCEpi",
    "hTEC/SVTERT24-B", "hTERT-HME1", "HUVEC TERT2", "JURKAT", "K-562", "LHCN-M2", "MCF7", "NB-4", "NIH 3T3",
    "NTERA-2", "OE19", "PC-3", "REH", "RH-30", "RPTEC TERT1", "RT4", "SH-SY5Y", "SiHa", "SK-MEL-30", "SuSa", "THP-1",
    "U-251 MG", "U-2 OS",
)  # fmt: skip
"""Cell lines in the spelling of the atlas' releases up to v20, which later ones write in other ways."""


class GeneWords(NamedTuple):
    """What the location table says of a gene."""

    reliability: str
    variation_intensity: list[str]
    variation_spatial: list[str]
    cycle_dependent: list[str]
    symbol: str
    main: list[str]
    others: list[str]


class LocationTable(NamedTuple):
    """subcellular_location.tsv: by Ensembl id, and the Gene Ontology id of each location by its spelling."""

    genes: dict[str, GeneWords]
    go_ids: dict[str, str]


@dataclass(slots=True)
class FieldImages:
    """One field, over all genes that its antibody stands for."""

    plate: str
    well: str
    position: str
    antibody: str
    number: str
    cell_line: str
    reliability: tuple[str, str, str]
    genes: dict[str, str] = field(default_factory=dict)
    main: dict[str, None] = field(default_factory=dict)
    others: dict[str, None] = field(default_factory=dict)
    go_ids: dict[str, str] = field(default_factory=dict)


def hpa_fields(source: dict[str, Any]) -> tuple[list[Row], list[str]]:
    """List the fields of a release that the configuration asks for.

    Args:
        source: configuration of the source, with defaults.

    Returns:
        Rows with the columns of fields.parquet that do not depend on other releases, sorted by field_id, with `roles`
        and `dtype`; and sentences on what was passed over.

    Raises:
        TableError: the XML or the table is missing or no such file.
    """
    table = read_locations(source["locations_table"]) if source["locations_table"] else LocationTable({}, {})
    seen: Counter[str] = Counter()
    fields = merged(read_images(source["xml"], seen), seen)
    lines = canonical_lines(found.cell_line for found in fields.values())
    rows = [_row(field_id, found, table, lines, source) for field_id, found in sorted(named(fields).items())]
    wanted = source["only"]
    kept, notes = chosen(
        rows,
        [
            Filter("only.genes", wanted["genes"], lambda row: [*row["ensembl_ids"], *row["genes"]]),
            Filter("only.antibodies", wanted["antibodies"], lambda row: [row["reagent"]]),
            Filter("only.cell_lines", wanted["cell_lines"], lambda row: [row["cell_line"]], line_spelling),
            Filter("only.locations", wanted["locations"], lambda row: row["labels"], spelling),
            Filter("only.reliability", wanted["reliability"], lambda row: [row["reliability"]]),
        ],
        source["max_fields_per_protein"],
    )
    return kept, _notes(seen, source["release"]) + notes


def merged(images: Iterable[GeneImage], seen: Counter[str]) -> dict[tuple[str, str], FieldImages]:
    """Put the images that several genes name together, one field each; pass over what is no field of cells.

    Args:
        images: as read.
        seen: counts `images` and what is passed over (`sirna`, `selected`, `strange_names`).

    Returns:
        Fields by name of their image (plate, well, field) and antibody.
    """
    fields: dict[tuple[str, str], FieldImages] = {}
    for image in images:
        seen["images"] += 1
        name = image.url.rsplit("/", 1)[-1]
        if name.startswith("si"):
            seen["sirna"] += 1
            continue
        if name.rsplit(".", 1)[0].endswith("_selected"):
            seen["selected"] += 1
            continue
        stem = STEM.fullmatch(name)
        number = antibody_number(image.antibody, image.url)
        if stem is None or number is None:
            seen["strange_names"] += 1
            continue
        key = "_".join(stem.groups()), image.antibody
        found = fields.get(key)
        if found is None:
            told = image.antibody_reliability, image.gene_reliability, image.antibody_validation
            found = fields[key] = FieldImages(*stem.groups(), image.antibody, number, image.cell_line, told)
        found.genes[image.ensembl_id] = image.gene
        found.main.update(dict.fromkeys(image.main))
        found.others.update(dict.fromkeys(image.others))
        found.go_ids.update(image.go_ids)
    return fields


def antibody_number(antibody: str, url: str) -> str | None:
    """Folder of an antibody's images: as the URL has it, else the id without letters and leading zeros."""
    folder = FOLDER.search(url) or ANTIBODY.fullmatch(antibody)
    return folder.group(1) if folder else None


def named(fields: dict[tuple[str, str], FieldImages]) -> dict[str, FieldImages]:
    """Fields by field_id: the name of the image, and the antibody after it where two antibodies claim one name."""
    antibodies = defaultdict(list)
    for stem, antibody in fields:
        antibodies[stem].append(antibody)
    return {
        stem if antibody == min(antibodies[stem]) else f"{stem}_{antibody}": found
        for (stem, antibody), found in fields.items()
    }


def line_spelling(name: str) -> str:
    """What counts in the spelling of a cell line: `U-2 OS` and `U2OS` are one."""
    return re.sub("[^A-Z0-9]", "", name.upper())


KNOWN_LINES = {line_spelling(name): name for name in CELL_LINES}


def canonical_lines(names: Iterable[str]) -> dict[str, str]:
    """One spelling for each cell line: that of CELL_LINES, else the most frequent one.

    Args:
        names: as published, one a field.

    Returns:
        The name to use, by `line_spelling`.
    """
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for name in names:
        counted[line_spelling(name)][name] += 1
    return {
        key: KNOWN_LINES.get(key) or min(spellings, key=lambda name: (-spellings[name], name))
        for key, spellings in counted.items()
    }


def read_locations(path: str) -> LocationTable:
    """Read subcellular_location.tsv of any release, plain or gzipped.

    Raises:
        TableError: the file is missing or is no such table.
    """
    try:
        with open(path, "rb") as start:
            opener = gzip.open if start.read(2) == b"\x1f\x8b" else open
        with opener(path, "rt", newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
    except OSError as error:
        raise TableError(f"{path} cannot be read ({error}); check sources.*.locations_table") from error
    except (UnicodeDecodeError, EOFError) as error:
        raise TableError(f"{path} is not whole or no table ({error}); fetch it again") from error
    if not rows or "Gene" not in rows[0]:
        raise TableError(f"{path}: there is no column 'Gene'; it must be subcellular_location.tsv of the atlas")
    return LocationTable(
        {
            row["Gene"]: GeneWords(
                row.get("Reliability") or "",
                _terms(row.get("Single-cell variation intensity")),
                _terms(row.get("Single-cell variation spatial")),
                _terms(row.get("Cell cycle dependency")),
                row.get("Gene name") or "",
                _terms(row.get("Main location")),
                _terms(row.get("Additional location")),
            )
            for row in rows
        },
        {spelling(term): go_id for row in rows for term, go_id in _go_terms(row.get("GO id"))},
    )


def _terms(cell: str | None) -> list[str]:
    return items((cell or "").strip().rstrip(";") + ";")


def _go_terms(cell: str | None) -> list[tuple[str, str]]:
    return re.findall(r"\s*([^;]+?) \((GO:\d{7})\)", cell or "")


def _row(field_id: str, found: FieldImages, table: LocationTable, lines: dict[str, str], source: Row) -> Row:
    genes = sorted(found.genes.items())
    main = list(found.main)
    labels = [*main, *(name for name in found.others if name not in found.main)]
    words = [table.genes[gene] for gene, _ in genes if gene in table.genes]
    own, of_gene, validation = found.reliability
    reliability = own or of_gene or next((word.reliability for word in words if word.reliability), "") or validation
    dtype, full_scale = PIXELS[source["image_format"]]
    row: Row = {
        "field_id": field_id,
        "plate": found.plate,
        "well": found.well,
        "position": found.position,
        "ensembl_ids": [gene for gene, _ in genes],
        "genes": [symbol or gene for gene, symbol in genes],
        "reagent": found.antibody,
        "cell_line": lines[line_spelling(found.cell_line)] or None,
        "condition": None,
        "sample": None,
        "control": False,
        "labels": labels,
        "labels_main": main,
        "go_ids": _known(found.go_ids.get(name) or table.go_ids.get(spelling(name)) for name in labels),
        "reliability": reliability.capitalize() or None,
        "variation_intensity": _united(word.variation_intensity for word in words),
        "variation_spatial": _united(word.variation_spatial for word in words),
        "cycle_dependent": _united(word.cycle_dependent for word in words),
        "pixel_size_um": source["pixel_size_um"],
        "full_scale": full_scale,
        "dtype": dtype,
        "roles": in_order(source["roles"]),
    }
    addresses = {role: _address(found, role, source) for role in row["roles"]}
    row.update({uri_column(role): to_uri(address) for role, address in addresses.items()})
    row["version"] = digest([[[*addresses[role][:3]] for role in addresses], row["pixel_size_um"], full_scale])
    return row


def _address(found: FieldImages, role: str, source: Row) -> Address:
    stem = f"{source['images'].rstrip('/')}/{found.number}/{found.plate}_{found.well}_{found.position}_{COLOURS[role]}"
    fallback = source["fallback"] if source["fallback"] != source["image_format"] else None
    if fallback is None:
        return Address(f"{stem}.{source['image_format']}", None, "max")
    gain = round(PIXELS[source["image_format"]][1] / PIXELS[fallback][1])
    return Address(f"{stem}.{source['image_format']}", None, "max", f"{stem}.{fallback}", gain)


def _known(names: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))


def _united(lists: Iterable[Sequence[str]]) -> list[str]:
    return _known(name for names in lists for name in names)


def _notes(seen: Counter[str], release: str) -> list[str]:
    told = {
        "sirna": "images of siRNA-treated cells are passed over",
        "selected": "selected images, which are crops of others, are passed over",
        "strange_names": "images are passed over, whose names do not tell plate, well, field and antibody",
        "other_subassays": "assays of other than human cells are passed over",
        "genes without an Ensembl id": "genes without an Ensembl id are passed over",
    }
    notes = [f"read {seen['images']} images of {seen['antibodies']} antibody entries in {seen['genes']} genes"]
    notes += [f"{seen[key]} {words}" for key, words in told.items() if seen[key]]
    host = "www.proteinatlas.org" if release == "current" else f"{release}.proteinatlas.org"
    others = sorted(key.removeprefix("host ") for key in seen if key.startswith("host ") and key != f"host {host}")
    return notes + [f"the XML names the host {', '.join(others)}, the configuration says {host}"] * bool(others)
