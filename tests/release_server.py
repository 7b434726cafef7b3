"""Image releases on a web server of 127.0.0.1: an atlas as the Human Protein Atlas has it, a bucket as OpenCell has.

What they hold is drawn by the simulator, or taken from real images; every field can be changed between releases.
"""

import csv
import gzip
import hashlib
import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import escape, quoteattr

import imagecodecs
import numpy as np
import tifffile
from fault_server import FaultServer
from wherein.settings import check_config
from wherein.simulate.field import draw_field
from wherein.simulate.plan import plan_source

COLOURS = {"nucleus": "blue", "microtubules": "red", "er": "yellow", "protein": "green"}
RGB = {"blue": (0, 0, 1), "red": (1, 0, 0), "yellow": (1, 1, 0), "green": (0, 1, 0)}

NEW_SPELLING = {"U-2 OS": "U2OS", "U-251 MG": "U-251MG", "RH-30": "Rh30"}
"""How releases after v20 write cell lines (those of the simulator among them)."""

FULL_SCALE = 4095
"""Highest intensity of the simulated camera."""

PAGE = 7
"""Files on one page of the bucket's listing."""


@dataclass(frozen=True)
class AtlasField:
    """One field of the atlas.

    Attributes:
        genes: (Ensembl id, symbol) of each gene that the antibody stands for.
        cell_line: in the spelling of releases up to v20.
        labels: locations, the main one first.
        images: content of each colour's JPEG.
        deep: content of each colour's 16-bit .tif.gz, where there is one.
    """

    plate: str
    well: str
    position: str
    antibody: str
    genes: tuple[tuple[str, str], ...]
    cell_line: str
    labels: tuple[str, ...]
    images: Mapping[str, bytes] = field(repr=False)
    deep: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def field_id(self) -> str:
        return f"{self.plate}_{self.well}_{self.position}"

    @property
    def number(self) -> str:
        """Folder of the antibody's images."""
        return re.sub(r"\D", "", self.antibody).lstrip("0")

    def path(self, colour: str, ending: str = "jpg") -> str:
        return f"/images/{self.number}/{self.field_id}_{colour}.{ending}"


@dataclass(frozen=True)
class CellsField:
    """One field of the bucket: gene, Ensembl id, number of the line, number of the field, grades by location."""

    gene: str
    ensembl_id: str
    line: int
    number: int
    grades: Mapping[str, int]
    image: bytes = field(repr=False)

    @property
    def field_id(self) -> str:
        return f"OC-FOV_{self.gene}_{self.ensembl_id}_CID{self.line:06d}_FID{self.number:08d}"

    @property
    def key(self) -> str:
        return f"microscopy/raw/{self.gene}_{self.ensembl_id}/{self.field_id}_proj.tif"


class ReleaseServer(FaultServer):
    """A FaultServer with the addresses that configuration asks for, and what stands there.

    `{release}` is the atlas' host of a release, `/images` its images, `/bucket` the bucket, `/tables` its tables.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bucket: dict[str, bytes] = {}

    def content(self, path: str) -> bytes | None:
        parts = urlsplit(path)
        if parts.path == "/bucket/" and "list-type" in parse_qs(parts.query):
            return self.listing(parse_qs(parts.query))
        return super().content(path)

    def tag(self, path: str, content: bytes) -> str:
        """S3 tags a file by its MD5."""
        return hashlib.md5(content).hexdigest() if path.startswith("/bucket/") else super().tag(path, content)

    def listing(self, asked: Mapping[str, list[str]]) -> bytes:
        """One page of the listing, and the token of the next one if there is one; tokens have signs that URLs quote."""
        keys = sorted(key for key in self.bucket if key.startswith(asked.get("prefix", [""])[0]))
        token = asked.get("continuation-token", [None])[0]
        start = 0 if token is None else int(token.removeprefix("1/+=").removesuffix("=="))
        shown, more = keys[start : start + PAGE], start + PAGE < len(keys)
        told = "" if token is None else f"<ContinuationToken>{escape(token)}</ContinuationToken>"
        follows = f"<NextContinuationToken>1/+={start + PAGE}==</NextContinuationToken>" if more else ""
        files = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2022-03-01T00:00:00.000Z</LastModified><ETag>&quot;"
            f"{self.tag('/bucket/', self.bucket[key])}&quot;</ETag><Size>{len(self.bucket[key])}</Size></Contents>"
            for key in shown
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>cells</Name><IsTruncated>{str(more).lower()}</IsTruncated>{told}{follows}{files}</ListBucketResult>"
        ).encode()

    def publish_atlas(self, release: str, fields: Iterable[AtlasField], new_layout: bool) -> None:
        """Put a release of the atlas beside those that are there; images of the same address are replaced."""
        held = list(fields)
        document, table = atlas_xml(release, held, new_layout), location_table(held, new_layout)
        self.files[f"/{release}/download/proteinatlas.xml.gz"] = gzip.compress(document.encode())
        folder = "download/tsv" if new_layout else "download"
        self.files[f"/{release}/{folder}/subcellular_location.tsv.zip"] = zipped("subcellular_location.tsv", table)
        for gene in sorted({gene for one in held for gene in one.genes}):
            single = atlas_xml(release, [one for one in held if gene in one.genes], new_layout, only=gene)
            self.files[f"/{release}/{gene[0]}.xml"] = single.encode()
        gone = [path for path in self.files if path.startswith("/images/")]
        for path in gone:
            del self.files[path]
        for one in held:
            self.files.update({one.path(colour): content for colour, content in one.images.items()})
            self.files.update({one.path(colour, "tif.gz"): content for colour, content in one.deep.items()})

    def publish_cells(self, fields: Iterable[CellsField]) -> None:
        """Put fields into the bucket in place of those that are there."""
        held = list(fields)
        for key in self.bucket:
            del self.files[f"/bucket/{quote(key)}"]
        self.bucket = {one.key: one.image for one in held} | {"microscopy/raw/README.md": b"fields of view"}
        self.files.update({f"/bucket/{quote(key)}": content for key, content in self.bucket.items()})
        targets = {(one.ensembl_id, one.gene) for one in held}
        grades = {(one.ensembl_id, one.gene, *graded) for one in held for graded in one.grades.items()}
        self.files["/tables/targets.csv"] = csv_of("ensg_id,target_name", targets)
        self.files["/tables/annotations.csv"] = csv_of("ensg_id,target_name,annotation_name,annotation_grade", grades)


def atlas_xml(release: str, fields: Iterable[AtlasField], new_layout: bool, only: tuple[str, str] | None = None) -> str:
    """proteinatlas.xml of these fields: one entry a gene, below it its antibodies, below them cell lines and images.

    Args:
        release: name of its host.
        fields: the fields.
        new_layout: a summary of the gene before its antibodies, GO ids, later spellings of cell lines, hashes in the
            names of images, and the images' own host; else as releases up to v20.
        only: the gene to write alone.
    """
    genes: dict[tuple[str, str], dict[str, list[AtlasField]]] = defaultdict(lambda: defaultdict(list))
    for one in fields:
        for gene in one.genes:
            if only in (None, gene):
                genes[gene][one.antibody].append(one)
    entries = []
    for (ensembl_id, symbol), antibodies in sorted(genes.items()):
        summary = (
            '<cellExpression source="HPA" technology="ICC/IF"><summary>Seen in cells.</summary>'
            '<verification type="reliability">Supported</verification>'
            f'<data><location status="main">{next(iter(antibodies.values()))[0].labels[0]}</location></data>'
            "</cellExpression>"
        )
        below = "".join(_antibody(name, own, release, new_layout) for name, own in sorted(antibodies.items()))
        entries.append(
            f'<entry version="{release}" url="https://{release}.proteinatlas.org/{ensembl_id}"><name>{symbol}</name>'
            f'<identifier id="{ensembl_id}" db="Ensembl"/><rnaExpression technology="RNAseq"><data><level>1</level>'
            f"</data></rnaExpression>{summary if new_layout else ''}{below}</entry>"
        )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<proteinAtlas schemaVersion="2">{"".join(entries)}</proteinAtlas>'


def _antibody(name: str, fields: list[AtlasField], release: str, new_layout: bool) -> str:
    lines: dict[tuple[str, tuple[str, ...]], list[AtlasField]] = defaultdict(list)
    for one in fields:
        lines[one.cell_line, one.labels].append(one)
    data = ""
    for (line, labels), own in sorted(lines.items()):
        places = "".join(
            f"<location{' GOId=' + quoteattr('GO:0000001') if new_layout else ''} "
            f'status="{"additional" if place else "main"}">{escape(label)}</location>'
            for place, label in enumerate(labels)
        )
        images = "".join(f"<image imageType='sampleImage'>{_url(one, release, new_layout)}</image>" for one in own)
        spelled = NEW_SPELLING.get(line, line) if new_layout else line
        data += f"<data><cellLine>{escape(spelled)}</cellLine>{places}<assayImage>{images}</assayImage></data>"
    verified = "" if new_layout else '<verification type="reliability">supported</verification>'
    return (
        f'<antibody id="{name}" releaseVersion="{release}"><cellExpression source="HPA" technology="ICC/IF">{verified}'
        f'<subAssay type="human">{data}</subAssay></cellExpression></antibody>'
    )


def _url(one: AtlasField, release: str, new_layout: bool) -> str:
    folder = "https://images.proteinatlas.org" if new_layout else f"http://{release}.proteinatlas.org/images"
    mark = f"_cr{hashlib.md5(one.field_id.encode()).hexdigest()[:8]}" if new_layout else ""
    return f"<imageUrl>{folder}/{one.number}/{one.field_id}{mark}_blue_red_green.jpg</imageUrl>"


def location_table(fields: Iterable[AtlasField], new_layout: bool) -> bytes:
    """subcellular_location.tsv: with main and additional locations, or as of 2018 without."""
    genes = {gene: one.labels for one in fields for gene in one.genes}
    first = ["Gene", "Gene name", "Reliability"]
    placed = ["Main location", "Additional location", "Extracellular location"] if new_layout else []
    rest = ["Enhanced", "Supported", "Approved", "Uncertain", "Single-cell variation intensity"]
    rest += ["Single-cell variation spatial", "Cell cycle dependency", "GO id"]
    rows = []
    for (ensembl_id, symbol), labels in sorted(genes.items()):
        where = [labels[0], ";".join(labels[1:]), ""] if new_layout else []
        go_ids = ";".join(f"{label} (GO:0000001)" for label in labels)
        rows.append([ensembl_id, symbol, "Supported", *where, "", ";".join(labels), "", "", labels[0], "", "", go_ids])
    return "".join("\t".join(row) + "\n" for row in [first + placed + rest, *rows]).encode()


def drawn_fields(count: int, seed: int = 3, per_protein: int = 3, deep: bool = False) -> list[AtlasField]:
    """Fields of the atlas from the simulator, as many of each protein, with 8-bit JPEGs and, if asked, 16-bit TIFFs."""
    fields = []
    for place, (row, channels) in enumerate(_drawn(count, seed, per_protein, "four_roles")):
        number = int(re.sub(r"\D", "", row.reagent)) % 1_000_000
        coloured = {COLOURS[role]: plane for role, plane in channels.items()}
        fields.append(
            AtlasField(
                plate=str(100 + place // 96),
                well=f"{'ABCDEFGH'[place // 12 % 8]}{place % 12 + 1}",
                position="1",
                antibody=f"HPA{number:06d}",
                genes=tuple(zip(row.ensembl_ids, row.genes, strict=True)),
                cell_line=row.cell_line,
                labels=tuple(row.labels),
                images={colour: jpeg(plane, colour) for colour, plane in coloured.items()},
                deep={colour: gzip.compress(tiff(plane * 16), 1) for colour, plane in coloured.items()} if deep else {},
            )
        )
    return fields


def drawn_cells(count: int, seed: int = 5, per_protein: int = 2) -> list[CellsField]:
    """Fields of the bucket from the simulator."""
    fields = []
    for place, (row, channels) in enumerate(_drawn(count, seed, per_protein, "two_roles")):
        image = tiff(np.stack([channels["nucleus"], channels["protein"]]), imagej=True, metadata={"axes": "CYX"})
        grades = {"cytoplasmic" if place % 4 < 2 else "nucleoplasm": 3, "vesicles": 1}
        line = int(re.sub(r"\D", "", row.reagent)) % 1_000_000
        fields.append(CellsField(row.genes[0], row.ensembl_ids[0], line, 100 + place, grades, image))
    return fields


def changed(one: AtlasField, other: AtlasField) -> AtlasField:
    """The same field with the other's pixels."""
    return replace(one, images=other.images, deep=other.deep)


def _drawn(count: int, seed: int, per_protein: int, mode: str) -> Iterable[tuple[object, dict[str, np.ndarray]]]:
    source = {"kind": "simulated", "mode": mode, "proteins": -(-count // per_protein), "controls": 0, "faults": 0}
    size = {"fields_per_protein": per_protein, "field_px": 256, "pixel_size_um": 0.4, "seed": seed}
    config = {"sources": {"drawn": source | size}}
    check_config(config)
    plan = plan_source("drawn", config["sources"]["drawn"])
    for row in plan.fields.head(count).itertuples():
        yield row, draw_field(plan.specs[row.field_id]).channels


def jpeg(plane: np.ndarray, colour: str) -> bytes:
    """A (H, W) plane of 12 bits as the atlas serves it: 8 bits, coded in a colour."""
    grey = (plane.astype(np.uint32) * 255 // FULL_SCALE).clip(0, 255).astype(np.uint8)
    return imagecodecs.jpeg8_encode(np.stack([grey * on for on in RGB[colour]], axis=-1), level=92)


def tiff(pixels: np.ndarray, **form: object) -> bytes:
    content = io.BytesIO()
    tifffile.imwrite(content, pixels, **form)
    return content.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def csv_of(header: str, rows: Iterable[tuple[object, ...]]) -> bytes:
    return "".join(f"{line}\n" for line in [header, *(",".join(map(str, row)) for row in sorted(rows))]).encode()


def real_fields(folder: Path) -> list[AtlasField]:
    """The four real fields of four channels, under plates and antibodies that the atlas could have given them."""
    with (folder / "fields.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [
        AtlasField(
            plate=str(800 + place),
            well="A6",
            position="1",
            antibody=row["antibody"],
            genes=((row["ensembl_id"], row["gene"]),),
            cell_line=row["cell_line"],
            labels=(row["locations"],),
            images={
                colour: next((folder / colour).glob(f"{row['field_id']}*")).read_bytes() for colour in COLOURS.values()
            },
        )
        for place, row in enumerate(rows)
    ]
