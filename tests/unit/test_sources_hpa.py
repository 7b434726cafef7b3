"""The Human Protein Atlas as a source: two releases' layouts, merging, filters, memory, and what a release changes."""

import csv
import gzip
import random
import re
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from real_data import real_data
from wherein.catalog import build_catalog
from wherein.settings import check_config, check_tables, release_files
from wherein.sources.address import from_uri
from wherein.sources.choose import at_most
from wherein.sources.hpa import antibody_number, canonical_lines, hpa_fields, line_spelling, read_locations
from wherein.sources.hpa_xml import read_images, without_bulk
from wherein.sources.table import TableError

NOISE = (
    '<rnaExpression technology="RNAseq"><data><tissue>liver</tissue><level>1</level></data></rnaExpression>'
    '<tissueExpression technology="IHC"><data><location status="main">Nowhere</location><assayImage><image>'
    "<imageUrl>http://v18.proteinatlas.org/images/1/9_Z9_9_blue_red_green.jpg</imageUrl></image></assayImage></data>"
    "</tissueExpression>"
)


def data(line: str, locations: list[tuple[str, ...]], *urls: str, kind: str = "sampleImage") -> str:
    places = "".join(
        f'<location status="{place[0]}"{f""" GOId="{place[2]}" """ if len(place) > 2 else ""}>{place[1]}</location>'
        for place in locations
    )
    images = "".join(
        f'<image imageType="{kind}"><channel color="blue">nucleus</channel><channel color="green">antibody</channel>'
        f"<imageUrl>{url}</imageUrl></image>"
        for url in urls
    )
    return f'<data><cellLine organ="x">{line}</cellLine>{places}<assayImage>{images}</assayImage></data>'


def antibody(name: str, content: str, verification: str = "", kind: str = "human") -> str:
    return (
        f'<antibody id="{name}" releaseVersion="4">{NOISE}<cellExpression source="HPA" technology="ICC/IF">'
        f'{verification}<subAssay type="{kind}">{content}</subAssay></cellExpression></antibody>'
    )


def entry(gene: str, symbol: str, host: str, content: str, reliability: str = "") -> str:
    summary = (
        '<cellExpression source="HPA" technology="ICC/IF"><verification type="reliability">'
        f"{reliability}</verification><image><imageUrl>http://x/1_A1_1_selected.jpg</imageUrl></image>"
        '<data><location status="main">Somewhere</location></data></cellExpression>'
        if reliability
        else ""
    )
    return (
        f'<entry version="1" url="https://{host}/{gene}"><name>{symbol}</name>'
        f'<identifier id="{gene}" db="Ensembl"/>{NOISE}{summary}{content}</entry>'
    )


def document(*entries: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<proteinAtlas schemaVersion="2">{"".join(entries)}</proteinAtlas>'


OLD = "http://v18.proteinatlas.org/images"
NEW = "https://images.proteinatlas.org"
A, B, C = "ENSG00000000001", "ENSG00000000002", "ENSG00000000003"
SUPPORTED = '<verification type="validation">supported</verification>'

# two antibodies of the first gene, the second of which binds the second gene, too; three cell lines
SHARED_18 = antibody(
    "HPA000203",
    data("RH-30", [("main", "Nucleus"), ("additional", "Golgi apparatus")], f"{OLD}/203/7_B2_1_blue_red_green.jpg"),
    '<verification type="reliability">approved</verification>',
)
V18 = document(
    entry(
        A,
        "AAA",
        "v18.proteinatlas.org",
        antibody(
            "HPA000101",
            data(
                "U-2 OS",
                [("additional", "cytosol"), ("main", "mitochondria")],
                f"{OLD}/101/5_A1_1_blue_red_green.jpg",
                f"{OLD}/101/5_A1_2_blue_red_green.jpg",
                f"{OLD}/101/si5_A1_2_blue_red_green.jpg",
                f"{OLD}/101/5_A1_2_blue_red_green_selected.jpg",
            )
            + data("A-431", [("main", "mitochondria")], f"{OLD}/101/6_A1_1_blue_red_green.jpg")
            + data("A-431", [], f"{OLD}/101/6_A1_9_blue_red_green.jpg", kind="selected"),
            SUPPORTED,
        )
        + SHARED_18
        + antibody("HPA000999", data("NIH 3T3", [], f"{OLD}/999/8_A1_1_blue_red_green.jpg"), kind="mouse"),
    ),
    entry(B, "BBB", "v18.proteinatlas.org", SHARED_18),
)

# the same gene as a later release has it: other spellings, hashes in names, Gene Ontology ids, a summary of the gene
V24 = document(
    entry(
        A,
        "AAA",
        "v24.proteinatlas.org",
        antibody(
            "HPA000101",
            data(
                "U2OS",
                [("main", "Mitochondria", "GO:0005739"), ("additional", "Cytosol", "GO:0005829")],
                f"{NEW}/101/5_A1_1_cr58a0d1_blue_red_green.jpg",
                f"{NEW}/101/5_A1_2_blue_red_green.jpg",
                f"{NEW}/101/9_A1_1_blue_red_green.jpg",
            )
            + data("A-431", [("main", "Cytosol")], f"{NEW}/101/6_A1_1_blue_red_green.jpg"),
            SUPPORTED,
        ),
        "Enhanced",
    ),
    entry(
        C, "", "v24.proteinatlas.org", antibody("CAB000042", data("Rh30", [], f"{NEW}/42/3_C1_1_blue_red_green.jpg"))
    ),
)

TABLE = (
    "Gene\tGene name\tReliability\tMain location\tAdditional location\tExtracellular location\tEnhanced\tSupported\t"
    "Approved\tUncertain\tSingle-cell variation intensity\tSingle-cell variation spatial\tCell cycle dependency\t"
    f"GO id\n{A}\tAAA\tApproved\tMitochondria\t\t\t\t\t\t\tMitochondria\tCytosol;Nucleoplasm\t"
    "Mitotic spindle (biological definition)\tCytosol (GO:0005829);Mitochondria (GO:0005739);Rods & Rings ()\n"
    f"{B}\tBBB\tUncertain\tNucleoplasm\t\t\t\t\t\t\tGolgi apparatus\t\t\tGolgi apparatus (GO:0005794)\n"
    f"{C}\tCCC\tUncertain\tNucleoplasm\t\t\t\t\t\t\t\t\t\t\n"
)
TABLE_2018 = (
    f"Gene\tGene name\tReliability\tEnhanced\tSupported\tApproved\tUncertain\tGO id\n{A}\tAAA\tUncertain\t\t\t\t\t\n"
)


def source(xml: Path, **options: Any) -> dict[str, Any]:
    config = {"sources": {"atlas": {"kind": "hpa", "release": "v18", "xml": str(xml), **options}}}
    check_config(config)
    return config["sources"]["atlas"]


@pytest.fixture
def v18(tmp_path: Path) -> Path:
    path = tmp_path / "v18.xml.gz"
    path.write_bytes(gzip.compress(V18.encode()))
    return path


@pytest.fixture
def v24(tmp_path: Path) -> Path:
    path = tmp_path / "v24.xml"
    path.write_text(V24)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "subcellular_location.tsv"
    path.write_text(TABLE)
    return path


def short(rows: list[dict[str, Any]], *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in rows]


def test_an_old_release_gives_these_rows(v18):
    rows, notes = hpa_fields(source(v18))
    columns = ("field_id", "ensembl_ids", "genes", "reagent", "cell_line", "labels", "labels_main", "reliability")
    both = ["mitochondria", "cytosol"]
    assert short(rows, *columns) == [
        ("5_A1_1", [A], ["AAA"], "HPA000101", "U-2 OS", both, both[:1], "Supported"),
        ("5_A1_2", [A], ["AAA"], "HPA000101", "U-2 OS", both, both[:1], "Supported"),
        ("6_A1_1", [A], ["AAA"], "HPA000101", "A-431", both[:1], both[:1], "Supported"),
        (
            "7_B2_1",
            [A, B],
            ["AAA", "BBB"],
            "HPA000203",
            "RH-30",
            ["Nucleus", "Golgi apparatus"],
            ["Nucleus"],
            "Approved",
        ),
    ]
    assert short(rows, "plate", "well", "position")[3] == ("7", "B2", "1")
    assert short(rows, "dtype", "full_scale", "pixel_size_um", "control")[0] == ("uint8", 255.0, 0.08, False)
    assert rows[0]["roles"] == ["nucleus", "microtubules", "er", "protein"]
    address = "https://images.proteinatlas.org/101/5_A1_1_{}.jpg#z=max"
    assert rows[0]["uri_nucleus"] == address.format("blue")
    assert rows[0]["uri_microtubules"] == address.format("red")
    assert rows[0]["uri_er"] == address.format("yellow")
    assert rows[0]["uri_protein"] == address.format("green")
    assert notes == [
        "read 7 images of 4 antibody entries in 2 genes",
        "1 images of siRNA-treated cells are passed over",
        "2 selected images, which are crops of others, are passed over",
        "1 assays of other than human cells are passed over",
    ]


def test_a_new_release_gives_these_rows(v24, table):
    rows, notes = hpa_fields(source(v24, release="v24", locations_table=str(table)))
    columns = ("field_id", "genes", "reagent", "cell_line", "labels", "go_ids", "reliability")
    both, ids = ["Mitochondria", "Cytosol"], ["GO:0005739", "GO:0005829"]
    assert short(rows, *columns) == [
        ("3_C1_1", [C], "CAB000042", "RH-30", [], [], "Uncertain"),
        ("5_A1_1", ["AAA"], "HPA000101", "U-2 OS", both, ids, "Enhanced"),
        ("5_A1_2", ["AAA"], "HPA000101", "U-2 OS", both, ids, "Enhanced"),
        ("6_A1_1", ["AAA"], "HPA000101", "A-431", ["Cytosol"], ["GO:0005829"], "Enhanced"),
        ("9_A1_1", ["AAA"], "HPA000101", "U-2 OS", both, ids, "Enhanced"),
    ]
    assert short(rows, "variation_intensity", "variation_spatial", "cycle_dependent")[1] == (
        ["Mitochondria"],
        ["Cytosol", "Nucleoplasm"],
        ["Mitotic spindle (biological definition)"],
    )
    assert rows[0]["uri_er"] == "https://images.proteinatlas.org/42/3_C1_1_yellow.jpg#z=max"
    assert notes == ["read 5 images of 2 antibody entries in 2 genes"]


def test_the_table_speaks_for_all_genes_of_an_antibody(v18, table):
    rows, _ = hpa_fields(source(v18, locations_table=str(table)))
    assert rows[3]["variation_intensity"] == ["Mitochondria", "Golgi apparatus"]
    assert rows[3]["go_ids"] == ["GO:0005794"]
    assert rows[0]["go_ids"] == ["GO:0005739", "GO:0005829"]
    # the antibody's own word is old; the gene's is the atlas' reliability
    assert [row["reliability"] for row in rows] == ["Approved"] * 4


def test_a_table_without_later_columns(tmp_path):
    path = tmp_path / "old.tsv.gz"
    path.write_bytes(gzip.compress(TABLE_2018.encode()))
    assert read_locations(str(path)).genes[A][:4] == ("Uncertain", [], [], [])


def test_a_field_has_the_same_version_in_both_releases(v18, v24):
    old = {row["field_id"]: row["version"] for row in hpa_fields(source(v18))[0]}
    new = {row["field_id"]: row["version"] for row in hpa_fields(source(v24))[0]}
    assert all(old[name] == new[name] for name in ("5_A1_1", "5_A1_2", "6_A1_1"))
    assert len(set(old.values())) == len(old)
    finer = {row["field_id"]: row["version"] for row in hpa_fields(source(v18, pixel_size_um=0.1))[0]}
    assert not set(finer.values()) & set(old.values())


def test_the_host_of_the_xml_is_compared_with_the_release(v24):
    _, notes = hpa_fields(source(v24, release="current"))
    assert "the XML names the host v24.proteinatlas.org, the configuration says www.proteinatlas.org" in notes


def test_a_mirror(v18):
    rows, _ = hpa_fields(source(v18, images="http://127.0.0.1:8000/hpa/"))
    assert rows[0]["uri_protein"] == "http://127.0.0.1:8000/hpa/101/5_A1_1_green.jpg#z=max"


def test_tiffs_and_their_alternative(v18):
    (first, *_), _ = hpa_fields(source(v18, image_format="tif.gz", fallback="jpg", roles=["protein", "nucleus"]))
    assert (first["dtype"], first["full_scale"], first["roles"]) == ("uint16", 65535.0, ["nucleus", "protein"])
    address = from_uri(first["uri_protein"])
    assert address.path == "https://images.proteinatlas.org/101/5_A1_1_green.tif.gz"
    assert address.alternative == "https://images.proteinatlas.org/101/5_A1_1_green.jpg"
    assert address.gain == 257
    (same, *_), _ = hpa_fields(source(v18, image_format="tif.gz", roles=["protein", "nucleus"]))
    assert same["version"] == first["version"]
    assert from_uri(same["uri_protein"]).alternative is None
    assert "uri_er" not in same


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ({"genes": ["bbb"]}, ["7_B2_1"]),
        ({"genes": [A]}, ["5_A1_1", "5_A1_2", "6_A1_1", "7_B2_1"]),
        ({"antibodies": ["HPA000101"], "cell_lines": ["A431"]}, ["6_A1_1"]),
        ({"cell_lines": ["U2OS", "Rh30"]}, ["5_A1_1", "5_A1_2", "7_B2_1"]),
        ({"locations": ["CYTOSOL"]}, ["5_A1_1", "5_A1_2"]),
        ({"reliability": ["approved"]}, ["7_B2_1"]),
    ],
)
def test_filters(v18, only, names):
    rows, _ = hpa_fields(source(v18, only=only))
    assert [row["field_id"] for row in rows] == names


def test_filters_that_find_nothing_are_told(v18):
    rows, notes = hpa_fields(source(v18, only={"genes": ["AAB", "BBB"]}))
    assert [row["field_id"] for row in rows] == ["7_B2_1"]
    assert "only.genes: no field is of 'AAB'" in notes
    assert "only.genes: 3 of 4 fields are not asked for" in notes


def test_a_maximum_takes_preparations_in_turn(v18):
    rows, notes = hpa_fields(source(v18, max_fields_per_protein=2))
    assert [row["field_id"] for row in rows] == ["5_A1_1", "6_A1_1", "7_B2_1"]
    assert "max_fields_per_protein: 1 of 4 fields are above 2" in notes
    fields = [
        {"field_id": f"{i:02d}", "ensembl_ids": ["G"], "reagent": f"r{i % 3}", "cell_line": "l"} for i in range(12)
    ]
    kept = {row["field_id"] for row in at_most(fields, 4)}
    assert kept == {row["field_id"] for row in at_most(fields[::-1], 4)} == {"00", "01", "02", "03"}


def test_two_antibodies_that_claim_one_image_are_two_fields(tmp_path):
    path = tmp_path / "x.xml"
    url = "https://images.proteinatlas.org/{}/5_A1_1_blue_red_green.jpg"
    both = [antibody(name, data("HeLa", [], url.format(int(name[3:])))) for name in ("HPA000008", "HPA000007")]
    path.write_text(document(entry(A, "AAA", "v18.proteinatlas.org", "".join(both))))
    rows, _ = hpa_fields(source(path))
    assert short(rows, "field_id", "reagent") == [("5_A1_1", "HPA000007"), ("5_A1_1_HPA000008", "HPA000008")]


def test_a_folder_of_genes(tmp_path, v18):
    folder = tmp_path / "genes"
    folder.mkdir()
    start, end = document("<here/>").split("<here/>")
    for number, content in enumerate(V18.removeprefix(start).removesuffix(end).split("</entry>")[:-1]):
        (folder / f"{number}.xml").write_text(f"{start}{content}</entry>{end}")
    (folder / "notes.txt").write_text("no XML")
    assert hpa_fields(source(folder)) == hpa_fields(source(v18))


def test_names_of_antibodies_and_lines():
    assert antibody_number("HPA030741", "http://x/y.jpg") == "30741"
    assert antibody_number("CAB079904", "http://x/images/79904/y.jpg") == "79904"
    assert antibody_number("", "http://x/y.jpg") is None
    assert line_spelling("U-251 MG") == line_spelling("u251mg") == "U251MG"
    assert canonical_lines(["U251MG", "Rh30", "New-1", "new1", "New-1"]) == {
        "U251MG": "U-251 MG",
        "RH30": "RH-30",
        "NEW1": "New-1",
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(V18.encode())[:-200], "after 0 genes it breaks off"),
        (V18[: V18.index("BBB")].encode(), "after 1 genes it breaks off"),
        (b"<html><body>Not found</body></html>", "holds no gene"),
        (b"404", "after 0 genes it breaks off"),
        (b"", "after 0 genes it breaks off"),
    ],
)
def test_a_broken_file_is_no_release(tmp_path, content, says):
    path = tmp_path / "broken.xml"
    path.write_bytes(content)
    with pytest.raises(TableError, match=says):
        hpa_fields(source(path))


def test_files_that_are_not_there_are_told_before_any_job(tmp_path, v18):
    config = {"sources": {"atlas": source(tmp_path / "none.xml", locations_table=str(tmp_path / "none.tsv"))}}
    with pytest.raises(TableError) as caught:
        check_tables(config)
    assert "sources.atlas.xml: " in str(caught.value)
    assert "sources.atlas.locations_table: " in str(caught.value)
    check_tables({"sources": {"atlas": source(v18)}})
    assert release_files("atlas", source(v18)) == [str(v18)]


def test_files_with_an_address_are_fetched_and_not_asked_for_before(v18):
    check_tables({"sources": {"atlas": source(v18, locations_table="https://x/y.tsv")}})
    assert release_files("atlas", source(v18, locations_table="https://x/y.tsv")) == [
        str(v18),
        "resources/releases/atlas/v18",
    ]


def test_memory_stays_bounded(tmp_path):
    path = tmp_path / "large.xml"
    rows = '<sample id="1"><expRNA type="TPM">12.5</expRNA><sex>female</sex></sample>' * 1250
    # one part is cut out before the parser, the other goes through it
    noise = "".join(f"<{name}><data>{rows}</data></{name}>" for name in [*["rnaExpression"] * 3, "newExpression"])
    with open(path, "w") as file:
        file.write("<proteinAtlas>")
        for number in range(80):
            gene = f"ENSG{number:011d}"
            images = data("U-2 OS", [("main", "Cytosol")], f"{OLD}/{number}/{number}_A1_1_blue_red_green.jpg")
            file.write(entry(gene, f"G{number}", "v18.proteinatlas.org", noise + antibody(f"HPA{number:06d}", images)))
            file.write(noise)
        file.write("</proteinAtlas>")
    assert path.stat().st_size > 55e6
    tracemalloc.start()
    found = sum(1 for _ in read_images(str(path), Counter()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == 80
    assert peak < 40e6


def test_bulk_is_cut_out_wherever_the_chunks_end():
    rng = random.Random(1)
    bulk = (
        b'<rnaExpression a="1"><data>x</data></rnaExpression\n>',
        b"<tissueExpression/>",
        b'<rnaExpression b="/">y</rnaExpression>',
    )
    kept = b"<entry>", b"text", b"<rnaExpressionSummary>", b"</entry>", b"<x y='1'/>", b"a > b "
    pieces = [rng.choice([*bulk, *kept]) for _ in range(400)]
    whole = b"".join(pieces)
    wanted = b"".join(piece for piece in pieces if piece not in bulk)
    for size in (1, 2, 3, 7, 50, 1000, len(whole)):
        chunks = [whole[start : start + size] for start in range(0, len(whole), size)]
        assert b"".join(without_bulk(chunks)) == wanted
    assert b"".join(without_bulk([b"<a><rnaExpression><b>", b"</b></a>"])) == b"<a>"


def test_what_is_cut_out_makes_no_difference(v18, tmp_path):
    bare = tmp_path / "bare.xml"
    bare.write_text(re.sub("<(rna|tissue)Expression.*?</(rna|tissue)Expression>", "", V18))
    assert list(read_images(str(bare), Counter())) == list(read_images(str(v18), Counter()))
    other = tmp_path / "other.xml"
    other.write_text(V18.replace("rnaExpression", "otherExpression").replace("tissueExpression", "anyExpression"))
    assert list(read_images(str(other), Counter())) == list(read_images(str(v18), Counter()))


class Atlas:
    """A catalog of one release after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "catalog"

    def build(self, xml: Path, release: str) -> tuple[pd.DataFrame, list[tuple[str, str, str]]]:
        names = ("fields.parquet", "shards.tsv", "release_diff.tsv", "run.json")
        paths = [str(self.folder / name) for name in names]
        old = len(self.history())
        build_catalog({"atlas": source(xml, release=release)}, None, 3, *paths)
        changes = [(row["field_id"], row["change"], row["new"]) for row in self.history()[old:]]
        return pd.read_parquet(paths[0]), changes

    def history(self) -> list[dict[str, str]]:
        path = self.folder / "release_diff.tsv"
        return list(csv.DictReader(path.read_text().splitlines(), delimiter="\t")) if path.exists() else []


def test_a_new_release_is_what_changed(tmp_path, v18, v24):
    atlas = Atlas(tmp_path)
    first, changes = atlas.build(v18, "v18")
    assert [change[:2] for change in changes] == [(name, "added") for name in first["field_id"]]
    assert first["sample"].tolist()[0] == "HPA000101/U-2 OS"
    shards = (atlas.folder / "shards.tsv").read_text()
    second, changes = atlas.build(v24, "v24")
    assert [(field_id, change) for field_id, change, _ in changes] == [
        ("3_C1_1", "added"),
        ("6_A1_1", "relabelled"),
        ("7_B2_1", "removed"),
        ("9_A1_1", "added"),
    ]
    assert changes[1] == ("6_A1_1", "relabelled", "Cytosol")
    now = second.set_index("field_id")
    assert now["release"].to_dict() == {
        "3_C1_1": "v24", "5_A1_1": "v18", "5_A1_2": "v18", "6_A1_1": "v18", "7_B2_1": "v18", "9_A1_1": "v24",
    }  # fmt: skip
    assert now.loc["7_B2_1", "retired_in"] == "v24"
    assert (atlas.folder / "shards.tsv").read_text().startswith(shards)
    old = set(first["shard"])
    assert {now.loc[name, "shard"] for name in ("3_C1_1", "9_A1_1")}.isdisjoint(old)
    assert atlas.build(v24, "v24")[1] == []
    back, changes = atlas.build(v18, "v18")
    assert [(field_id, change) for field_id, change, _ in changes] == [
        ("3_C1_1", "removed"),
        ("6_A1_1", "relabelled"),
        ("7_B2_1", "added"),
        ("9_A1_1", "removed"),
    ]
    assert {(row["old_release"], row["release"]) for row in atlas.history()[-4:]} == {("v24", "v18")}
    assert back[back["retired_in"].isna()]["version"].tolist() == first["version"].tolist()
    # cell lines are spelled in other ways by the two releases, and image names carry a hash in one
    assert back[["field_id", "sample"]].equals(second[["field_id", "sample"]])


def test_the_real_table():
    table = read_locations(str(real_data("annot/hpa_subcellular_location.tsv.gz")))
    assert len(table.genes) == 12813
    assert Counter(words.reliability for words in table.genes.values()) == {
        "Approved": 6591, "Supported": 4039, "Enhanced": 1463, "Uncertain": 720,
    }  # fmt: skip
    assert table.go_ids["cytosol"] == "GO:0005829"
    assert table.genes["ENSG00000000003"].variation_intensity == ["Cytosol"]
    assert len(set(table.go_ids.values())) == 33
