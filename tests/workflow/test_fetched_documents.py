"""Runs that fetch what a release, gene sets and weights consist of by themselves, from a server on 127.0.0.1."""

import gzip
import hashlib
import io
import zipfile

import pandas as pd
import pytest
import yaml
from fault_server import FaultServer
from house import House
from wherein.transfer.lock import read_lock

pytestmark = pytest.mark.slow

GENES = {f"ENSG0000000000{number}": f"GENE{number}" for number in range(1, 6)}
BUCKET = "/?list-type=2&prefix=microscopy%2Fraw%2F"


def entry(gene: str, symbol: str) -> str:
    number = int(gene[-1])
    image = f"https://images.proteinatlas.org/{number}/{number}_A1_1_blue_red_green.jpg"
    return (
        f'<entry url="https://v23.proteinatlas.org/{gene}"><name>{symbol}</name>'
        f'<antibody id="HPA00000{number}"><cellExpression technology="ICC/IF"><subAssay type="human"><data>'
        f'<cellLine>U2OS</cellLine><location status="main">Cytosol</location><assayImage>'
        f'<image imageType="sampleImage"><imageUrl>{image}</imageUrl></image></assayImage></data></subAssay>'
        "</cellExpression></antibody></entry>"
    )


def document(*genes: str) -> bytes:
    return f"<proteinAtlas>{''.join(entry(gene, GENES[gene]) for gene in genes)}</proteinAtlas>".encode()


def page(names: list[str], token: str = "", following: str = "") -> bytes:
    files = "".join(f"<Contents><Key>{name}</Key><ETag>e</ETag><Size>9</Size></Contents>" for name in names)
    told = f"<ContinuationToken>{token}</ContinuationToken>" if token else ""
    follows = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    return (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{'true' if following else 'false'}</IsTruncated>{told}{follows}{files}</ListBucketResult>"
    ).encode()


@pytest.fixture
def server():
    server = FaultServer()
    rows = "".join(f"{gene}\t{symbol}\tApproved\n" for gene, symbol in GENES.items())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("subcellular_location.tsv", f"Gene\tGene name\tReliability\n{rows}")
    server.files["/download/subcellular_location.tsv.zip"] = packed.getvalue()
    server.files["/download/proteinatlas.xml.gz"] = gzip.compress(document(*GENES))
    server.files.update({f"/{gene}.xml": document(gene) for gene in GENES})
    yield server
    server.stop()


@pytest.fixture
def house(tmp_path):
    return House(tmp_path / "house")


def write(house: House, config: dict) -> None:
    (house.folder / "run.yaml").write_text(yaml.safe_dump(config))


def asked(server: FaultServer) -> list[str]:
    paths = sorted(path for path, *_ in server.requests)
    server.requests.clear()
    return paths


def catalog(house: House) -> pd.DataFrame:
    house.snakemake("catalog", "--cores", "2", "--configfile", "run.yaml")
    return pd.read_parquet(house.folder / "results" / "catalog" / "fields.parquet")


def test_a_release_of_the_atlas_is_fetched_for_the_catalog_and_only_when_it_has_to(house, server):
    source = {
        "kind": "hpa",
        "release": "v23",
        "host": server.url(""),
        "locations_table": "release",
        "only": {"genes": ["gene1", "ENSG00000000002", "GENE9"]},
    }
    write(house, {"sources": {"atlas": source}})
    plan = house.planned("catalog", "--configfile", "run.yaml")
    assert plan == {"fetch_release": 1, "catalog": 1}
    fields = catalog(house)
    assert [list(genes) for genes in fields["genes"]] == [["GENE1"], ["GENE2"]]
    assert set(fields["reliability"]) == {"Approved"}
    folder = house.folder / "resources" / "releases" / "atlas" / "v23"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix) == [
        "genes/ENSG00000000001.xml",
        "genes/ENSG00000000002.xml",
        "subcellular_location.tsv",
    ]
    log = (house.folder / "logs" / "releases" / "atlas" / "v23.log").read_text()
    assert "no gene of the symbol GENE9" in log
    assert asked(server) == [
        "/ENSG00000000001.xml",
        "/ENSG00000000002.xml",
        "/download/subcellular_location.tsv.zip",
        "/download/tsv/subcellular_location.tsv.zip",
    ]
    rows = read_lock(house.folder / "resources" / "lock.tsv")
    assert [row.file for row in rows] == [
        f"resources/releases/atlas/v23/{name}"
        for name in ("genes/ENSG00000000001.xml", "genes/ENSG00000000002.xml", "subcellular_location.tsv")
    ]
    # the files are there: nothing is left to do for the catalog, and nobody is asked
    assert house.planned("catalog", "--configfile", "run.yaml") == {}
    # another gene is one more file from the server: the others are in the cache
    source["only"]["genes"].append("GENE3")
    write(house, {"sources": {"atlas": source}})
    assert len(catalog(house)) == 3
    assert asked(server) == ["/ENSG00000000003.xml", "/download/tsv/subcellular_location.tsv.zip"]
    # all genes: the one large file
    source["only"]["genes"] = []
    write(house, {"sources": {"atlas": source}})
    assert len(catalog(house)) == 5
    assert "/download/proteinatlas.xml.gz" in asked(server)


def test_the_listing_of_a_bucket_is_fetched_page_by_page(house, server):
    keys = [f"microscopy/raw/A_{gene}/OC-FOV_A_{gene}_CID00000{gene[-1]}_FID00000001_proj.tif" for gene in GENES]
    server.files[BUCKET] = page(keys[:2], following="1/a=")
    server.files[f"{BUCKET}&continuation-token=1%2Fa%3D"] = page(keys[2:4], "1/a=", "2")
    server.files[f"{BUCKET}&continuation-token=2"] = page(keys[4:], "2")
    server.files["/targets.csv"] = b'"ensg_id","target_name"\n' + b"".join(
        f"{gene},{symbol}\n".encode() for gene, symbol in GENES.items()
    )
    source = {"kind": "opencell", "bucket": server.url(""), "targets": server.url("/targets.csv")}
    write(house, {"sources": {"oc": source}})
    fields = catalog(house)
    assert sorted(fields["genes"].str[0]) == sorted(GENES.values())
    folder = house.folder / "resources" / "releases" / "oc" / "1"
    assert [path.name for path in sorted((folder / "listing").glob("[!.]*"))] == ["0001.xml", "0002.xml", "0003.xml"]
    # the bucket goes on: who lists it again finds the new field, and the lock follows
    before = read_lock(house.folder / "resources" / "lock.tsv")
    more = keys[4].replace("FID00000001", "FID00000002")
    server.files[f"{BUCKET}&continuation-token=2"] = page([keys[4], more], "2")
    house.snakemake("catalog", "--cores", "2", "--forcerun", "fetch_release", "--configfile", "run.yaml")
    fields = pd.read_parquet(house.folder / "results" / "catalog" / "fields.parquet")
    assert len(fields) == 6
    after = read_lock(house.folder / "resources" / "lock.tsv")
    assert [row.file for row in after] == [row.file for row in before]
    assert [old.file for old, new in zip(before, after, strict=True) if old != new] == [
        "resources/releases/oc/1/listing/0003.xml"
    ]


def test_gene_sets_and_weights_are_fetched_before_the_stages_that_read_them(house, server):
    server.files["/sets.gmt.gz"] = gzip.compress(b"nucleus\tGO:0005634\tGENE1\tGENE2\n")
    library = "/Enrichr/geneSetLibrary?mode=text&libraryName=GO_Tiny_2023"
    server.files[library] = b"nucleus (GO:0005634)\t\tGENE1,1.0\tB\n"
    server.files["/net.npz"] = b"weights"
    row = ["tiny", "gapnet-pl", hashlib.sha256(b"weights").hexdigest(), "7", "", "MIT", "nobody"]
    table = house.folder / "resources" / "weights.tsv"
    table.write_text(table.read_text() + "\t".join(row) + "\n")
    config = {
        "sources": {"demo": {"kind": "simulated", "proteins": 3, "fields_per_protein": 1}},
        "models": {"net": {"kind": "gapnet-pl", "weights": "tiny"}},
        "weights": {"tiny": server.url("/net.npz")},
        "biology": {
            "gene_sets": {"web": server.url("/sets.gmt.gz"), "tiny": {"library": "GO_Tiny_2023"}},
            "gene_set_server": server.url(""),
        },
    }
    write(house, config)
    files = [*(f"resources/gene_sets/fetched/{name}.gmt" for name in ("tiny", "web")), "resources/weights/tiny.npz"]
    house.snakemake(*files, "--cores", "2", "--configfile", "run.yaml")
    found = {file: (house.folder / file).read_bytes() for file in files}
    assert list(found.values()) == [
        b"nucleus (GO:0005634)\t\tGENE1\tB\n",
        b"nucleus\tGO:0005634\tGENE1\tGENE2\n",
        b"weights",
    ]
    assert [row.file for row in read_lock(house.folder / "resources" / "lock.tsv")] == files
    # weights are what their sha256 says: another address fetches nothing, and no network runs again
    config["weights"]["tiny"] = server.url("/mirror.npz")
    write(house, config)
    assert house.planned(*files, "--configfile", "run.yaml") == {}
