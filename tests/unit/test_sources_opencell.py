"""OpenCell as a source: pages of the bucket's listing, tables of targets and annotations, releases."""

import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from fault_server import FaultServer
from real_data import real_data
from transfer_settings import SETTINGS
from wherein.catalog import build_catalog
from wherein.download import check_shard
from wherein.readers import read_field
from wherein.settings import check_config, check_tables, release_files
from wherein.sources.address import Address, from_uri
from wherein.sources.opencell import opencell_fields, read_annotations, read_listing, read_targets
from wherein.sources.table import TableError
from wherein.tables import current_fields

AAMP, AATF = "ENSG00000127837", "ENSG00000275700"
TARGETS = f'"cell_line_id","target_name","uniprot_id","ensg_id"\n1,"AAMP","Q1","{AAMP}"\n2,"AATF","Q2","{AATF}"\n'
ANNOTATIONS = (
    "ensg_id,target_name,annotation_name,annotation_grade\n"
    f"{AAMP},AAMP,nucleoplasm,1\n{AAMP},AAMP,cytoplasmic,3\n{AAMP},AAMP,vesicles,2\n{AATF},AATF,nucleolus_gc,3\n"
)


def key(gene: str, ensembl_id: str, line: int, field: int, kind: str) -> str:
    name = f"OC-FOV_{gene}_{ensembl_id}_CID{line:06d}_FID{field:08d}_{kind}.tif"
    return f"microscopy/raw/{gene}_{ensembl_id}/{name}"


def page(keys: list[str], token: str = "", following: str = "", etag: str = "e") -> str:
    files = "".join(
        f"<Contents><Key>{name}</Key><LastModified>2022-03-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{etag}{name[-20:]}&quot;</ETag><Size>1440512</Size></Contents>"
        for name in keys
    )
    told = f"<ContinuationToken>{token}</ContinuationToken>" if token else ""
    follows = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>czb-opencell</Name>'
        f"<IsTruncated>{str(bool(following)).lower()}</IsTruncated>{told}{follows}{files}</ListBucketResult>"
    )


FIRST = [key("AAMP", AAMP, 1, 11, "proj"), key("AAMP", AAMP, 1, 11, "stack"), key("AAMP", AAMP, 1, 12, "proj")]
SECOND = [key("H2B_X", AATF, 2, 21, "proj"), key("NEW", "ENSG00000000009", 3, 31, "proj"), "microscopy/raw/README.md"]


@pytest.fixture
def bucket(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "pages").mkdir()
    # the second page comes first by its name
    (tmp_path / "pages" / "b.xml").write_text(page(FIRST, following="t/1="))
    (tmp_path / "pages" / "a.xml").write_text(page(SECOND, token="t/1="))
    (tmp_path / "targets.csv").write_text(TARGETS)
    (tmp_path / "annotations.csv.gz").write_bytes(gzip.compress(ANNOTATIONS.encode()))
    return {
        "listing": str(tmp_path / "pages"),
        "targets": str(tmp_path / "targets.csv"),
        "annotations": str(tmp_path / "annotations.csv.gz"),
    }


def source(**options: Any) -> dict[str, Any]:
    config = {
        "sources": {"oc": {"kind": "opencell", **options}},
        "models": {"classic": {"kind": "classic"}},
    }
    check_config(config)
    return config["sources"]["oc"]


def test_the_rows(bucket):
    rows, notes = opencell_fields(source(**bucket))
    assert [(row["field_id"], row["genes"], row["ensembl_ids"], row["reagent"], row["labels"]) for row in rows] == [
        (f"OC-FOV_AAMP_{AAMP}_CID000001_FID00000011", ["AAMP"], [AAMP], "CID000001",
         ["cytoplasmic", "vesicles", "nucleoplasm"]),
        (f"OC-FOV_AAMP_{AAMP}_CID000001_FID00000012", ["AAMP"], [AAMP], "CID000001",
         ["cytoplasmic", "vesicles", "nucleoplasm"]),
        (f"OC-FOV_H2B_X_{AATF}_CID000002_FID00000021", ["AATF"], [AATF], "CID000002", ["nucleolus_gc"]),
        ("OC-FOV_NEW_ENSG00000000009_CID000003_FID00000031", ["NEW"], ["ENSG00000000009"], "CID000003", []),
    ]  # fmt: skip
    first = rows[0]
    assert first["labels_main"] == ["cytoplasmic"]
    assert (first["cell_line"], first["position"], first["dtype"]) == ("HEK293T", "FID00000011", "uint16")
    assert first["roles"] == ["nucleus", "protein"]
    url = f"https://czb-opencell.s3.us-west-2.amazonaws.com/{FIRST[0]}"
    assert from_uri(first["uri_nucleus"]) == Address(url, "0", "max", axes="C2YX")
    assert from_uri(first["uri_protein"]) == Address(url, "1", "max", axes="C2YX")
    assert notes == [
        "read 6 files of the listing",
        "1 files are other than proj images, and are passed over",
        "1 files are no images of fields by their names, and are passed over",
        "1 files are of genes that the table of targets does not have; their names are those of the files",
    ]


def test_stacks_and_filters(bucket):
    rows, _ = opencell_fields(source(**bucket, images="stack"))
    assert [row["field_id"][-11:] for row in rows] == ["FID00000011"]
    assert rows[0]["uri_protein"].endswith("_stack.tif#channel=1&z=max&bin=2&axes=ZC2YX")
    assert rows[0]["pixel_size_um"] == 0.412
    whole, _ = opencell_fields(source(**bucket, images="stack", bin=1))
    assert whole[0]["uri_protein"].endswith("_stack.tif#channel=1&z=max&axes=ZC2YX")
    assert whole[0]["pixel_size_um"] == 0.206
    assert whole[0]["version"] != rows[0]["version"]
    turned, _ = opencell_fields(source(**bucket, images="stack", axes="C2ZYX"))
    assert from_uri(turned[0]["uri_protein"]).axes == "C2ZYX"
    assert turned[0]["version"] != rows[0]["version"]
    named, _ = opencell_fields(source(**bucket, images="stack", axes="ZC2YX"))
    assert named[0]["version"] == rows[0]["version"], "what the source knows by itself may be said"
    projected, _ = opencell_fields(source(**bucket))
    assert {row["pixel_size_um"] for row in projected} == {0.206}, "projections are taken as they are"
    rows, _ = opencell_fields(source(**bucket, only={"genes": [AATF, "NEW"]}))
    assert [row["genes"] for row in rows] == [["AATF"], ["NEW"]]
    rows, _ = opencell_fields(source(**bucket, only={"locations": ["Vesicles"]}, max_fields_per_protein=1))
    assert [row["field_id"][-2:] for row in rows] == ["11"]
    rows, _ = opencell_fields(source(**bucket, min_grade=2))
    assert rows[0]["labels"] == ["cytoplasmic", "vesicles"]


def test_without_tables(bucket):
    rows, _ = opencell_fields(source(listing=bucket["listing"]))
    assert [row["genes"] for row in rows] == [["AAMP"], ["AAMP"], ["H2B_X"], ["NEW"]]
    assert [row["labels"] for row in rows] == [[]] * 4


@pytest.mark.parametrize(
    ("pages", "says"),
    [
        ([page(FIRST, following="t")], "1 of its pages is missing"),
        ([page(SECOND, token="t")], "1 of its pages is missing"),
        ([page(FIRST, following="t"), page(SECOND, token="u")], "1 of its pages is missing"),
        ([page(FIRST)[:-30]], "not whole or no XML"),
        (["<Error><Code>AccessDenied</Code></Error>"], "its root is Error"),
        ([page(["a.txt"])], "none of 1 files is called"),
    ],
)
def test_what_is_no_listing(tmp_path, pages, says):
    for number, content in enumerate(pages):
        (tmp_path / f"{number}.xml").write_text(content)
    with pytest.raises(TableError, match=says):
        opencell_fields(source(listing=str(tmp_path)))


def test_tables_that_are_wrong_are_told(tmp_path):
    (tmp_path / "t.csv").write_text("ensg,name\nx,y\n")
    with pytest.raises(TableError, match=r"column ensg_id, target_name is missing; the table has ensg, name"):
        read_targets(str(tmp_path / "t.csv"))
    (tmp_path / "a.csv").write_text("ensg_id,target_name,annotation_name,annotation_grade\nx,n,y,high\n")
    with pytest.raises(TableError, match="found 'high' as annotation_grade of x"):
        read_annotations(str(tmp_path / "a.csv"), 1)
    with pytest.raises(TableError, match=r"sources\.oc\.listing: .*none does not exist"):
        check_tables({"sources": {"oc": source(listing=str(tmp_path / "none"))}})


def test_files_of_the_release(bucket):
    names = [Path(path).name for path in release_files("oc", source(**bucket))]
    assert names == ["a.xml", "b.xml", "targets.csv", "annotations.csv.gz"]
    assert len(read_listing(bucket["listing"])) == 6


def test_a_changed_file_is_a_new_version(tmp_path, bucket):
    paths = [str(tmp_path / "catalog" / name) for name in ("fields.parquet", "shards.tsv", "diff.tsv", "run.json")]
    build_catalog({"oc": source(**bucket)}, None, 2, *paths)
    first = current_fields(paths[0])
    assert first["sample"].tolist()[0] == "CID000001/HEK293T"
    (tmp_path / "pages" / "a.xml").write_text(page(SECOND[:1], token="t/1=", etag="new"))
    build_catalog({"oc": source(**bucket, release="2")}, None, 2, *paths)
    history = [line.split("\t") for line in Path(paths[2]).read_text().splitlines()[1:]]
    assert [row[3:5] for row in history if row[1]] == [
        ["OC-FOV_H2B_X_ENSG00000275700_CID000002_FID00000021", "changed"],
        ["OC-FOV_NEW_ENSG00000000009_CID000003_FID00000031", "removed"],
    ]


def test_the_real_tables():
    targets = read_targets(str(real_data("annot/opencell_targets.csv.gz")))
    annotations = read_annotations(str(real_data("annot/opencell_annotations_flat.csv.gz")), 1)
    assert targets["ENSG00000170088"] == "TMEM192"
    assert annotations.genes[AAMP] == annotations.symbols["AAMP"] == [("cytoplasmic", 3), ("nucleoplasm", 1)]
    assert sum(len(places) for places in annotations.genes.values()) == 391 + 560 + 1798
    strangers = targets.keys() - annotations.genes.keys()
    assert len(targets) == len(annotations.genes) == 1310
    assert len(strangers) == 36
    assert all(annotations.symbols[targets[gene]] for gene in strangers)


@pytest.mark.parametrize("form", [{}, {"metadata": None}], ids=["with a shape", "pages alone"])
def test_projections_without_declared_axes_are_read(tmp_path, form):
    pixels = np.random.default_rng(3).integers(0, 65536, (2, 30, 41), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", **form)
    (tmp_path / "l.xml").write_text(page([key("AAMP", AAMP, 1, 11, "proj")]))
    rows, _ = opencell_fields(source(listing=str(tmp_path / "l.xml")))
    addresses = [from_uri(rows[0][f"uri_{role}"]) for role in ("nucleus", "protein")]
    files = pd.DataFrame(
        [
            {"role": role, "status": "ok", **address._asdict(), "path": str(tmp_path / "a.tif")}
            for role, address in zip(("nucleus", "protein"), addresses, strict=True)
        ]
    )
    found = read_field(files)
    np.testing.assert_array_equal(found["nucleus"], pixels[0])
    np.testing.assert_array_equal(found["protein"], pixels[1])


def test_a_gene_of_another_ensembl_id_is_found_by_its_symbol(tmp_path):
    (tmp_path / "l.xml").write_text(page([key("ABR", "ENSG00000278741", 5, 51, "proj")]))
    (tmp_path / "t.csv").write_text("ensg_id,target_name\nENSG00000278741,ABR\n")
    (tmp_path / "a.csv").write_text(
        "ensg_id,target_name,annotation_name,annotation_grade\nENSG00000159842,ABR,cytoplasmic,3\n"
    )
    paths = {"listing": str(tmp_path / "l.xml"), "targets": str(tmp_path / "t.csv")}
    rows, _ = opencell_fields(source(**paths, annotations=str(tmp_path / "a.csv")))
    assert rows[0]["labels"] == ["cytoplasmic"]
    (tmp_path / "a.csv").open("a").write("ENSG00000000001,ABR,vesicles,3\n")
    rows, _ = opencell_fields(source(**paths, annotations=str(tmp_path / "a.csv")))
    assert rows[0]["labels"] == []


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "pages alone"])
def test_a_stack_is_projected_and_then_downsampled(tmp_path, declared):
    """From the listing to the pixels, as Kobayashi et al. 2022 (methods, image data preprocessing) say."""
    server = FaultServer()
    try:
        name = key("AAMP", AAMP, 1, 11, "stack")
        stack = np.random.default_rng(2).integers(0, 65536, (5, 2, 31, 44), dtype=np.uint16)
        buffer = io.BytesIO()
        form = {"ome": True, "metadata": {"axes": "ZCYX"}} if declared else {"metadata": None}
        tifffile.imwrite(buffer, stack, photometric="minisblack", **form)
        server.files[f"/{name}"] = buffer.getvalue()
        tag = hashlib.md5(buffer.getvalue()).hexdigest()
        (tmp_path / "l.xml").write_text(page([name]).replace("e" + name[-20:], tag))
        settings = source(listing=str(tmp_path / "l.xml"), images="stack", bucket=server.url(""))
        paths = [str(tmp_path / "catalog" / name) for name in ("fields.parquet", "shards.tsv", "diff.tsv", "run.json")]
        remote = str(tmp_path / "catalog" / "remote.parquet")
        download = SETTINGS | {
            "cache": str(tmp_path / "cache"),
            "timeout_s": 2,
            "deadline_s": 10,
            "longest_wait_s": 10,
            "retries": 0,
            "backoff_s": 0,
            "patience": 5,
            "unreachable_share": 0,
        }
        build_catalog({"oc": settings}, None, 2, *paths, remote=remote, download=download)
        assert not server.heads, "the listing says it all"
        known = pd.read_parquet(remote).to_dict("records")
        assert [(row["etag"], row["bytes"], row["revision"]) for row in known] == [(tag, 1440512, 0)]
        assert from_uri(current_fields(paths[0])["uri_protein"][0]).state == tag
        check_shard("oc-0001", paths[0], str(tmp_path / "f.parquet"), str(tmp_path / "s.json"), download)
        # the server's own tag is another one, but the content is what the listing says
        assert json.loads((tmp_path / "s.json").read_text())["notes"] == []
        found = read_field(pd.read_parquet(tmp_path / "f.parquet"))
        for channel, role in enumerate(("nucleus", "protein")):
            brightest = stack[:, channel].max(0)[:30].astype(float)
            blocks = [brightest[y::2, x::2] for y in (0, 1) for x in (0, 1)]
            wanted = np.floor(sum(blocks) / 4 + 0.5)
            np.testing.assert_array_equal(found[role], wanted)
            assert found[role].dtype == np.uint16
        assert current_fields(paths[0])["pixel_size_um"][0] == 0.412
    finally:
        server.stop()
