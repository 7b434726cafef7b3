"""What is fetched of an image release, from a server on 127.0.0.1, and where it goes."""

import gzip
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from test_sources_hpa import TABLE, TABLE_2018, V24, A, B, C, document, entry
from test_sources_opencell import ANNOTATIONS, FIRST, SECOND, TARGETS, page
from transfer_settings import SETTINGS
from wherein.settings import catalog_settings, check_config, check_tables, release_settings
from wherein.sources.fetch_release import ensembl_ids, fetch_release, host_of_release
from wherein.sources.hpa import hpa_fields
from wherein.sources.opencell import opencell_fields, read_listing
from wherein.sources.release_files import files_to_fetch_with, local_source, release_files, release_folder
from wherein.transfer.documents import DocumentError
from wherein.transfer.lock import read_lock

PAGES = "/?list-type=2&prefix=microscopy%2Fraw%2F"


def zipped(tmp_path: Path, text: str) -> bytes:
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as file:
        file.writestr("subcellular_location.tsv", text)
    return (tmp_path / "packed.zip").read_bytes()


@pytest.fixture
def server(tmp_path):
    server = FaultServer()
    server.files["/download/tsv/subcellular_location.tsv.zip"] = zipped(tmp_path, TABLE)
    server.files["/download/proteinatlas.xml.gz"] = gzip.compress(V24.encode())
    for gene in (A, C):
        server.files[f"/{gene}.xml"] = document(entry(gene, "X", "v24.proteinatlas.org", "")).encode()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def run_folder(tmp_path, monkeypatch):
    """The folder of a run: paths in the configuration and in the lock are relative to it."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.chdir(folder)


def configured(**options: Any) -> dict[str, Any]:
    config = {"sources": {"atlas": {"kind": "hpa", "release": "v24", **options}}}
    check_config(config)
    check_tables(config)
    return config


def fetched(config: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Fetches the files of the source that is called atlas; the source as the catalog reads it."""
    source = config["sources"]["atlas"]
    own = {**SETTINGS, "cache": "cache", **settings}
    fetch_release("atlas", release_settings(source), release_folder("atlas", source), "resources/lock.tsv", own)
    return catalog_settings(config)["atlas"]


def paths(server: FaultServer) -> list[str]:
    return sorted(path for path, *_ in server.requests)


@pytest.mark.parametrize(
    ("release", "host"),
    [("v18", "https://v18.proteinatlas.org"), ("current", "https://www.proteinatlas.org")],
)
def test_the_host_of_a_release(release, host):
    assert host_of_release({"release": release, "host": None}) == host
    assert host_of_release({"release": release, "host": "http://mirror/"}) == "http://mirror"


def test_all_genes_are_one_file_and_the_table_is_unpacked(server):
    source = fetched(configured(host=server.url(""), locations_table="release"))
    assert paths(server) == ["/download/proteinatlas.xml.gz", "/download/tsv/subcellular_location.tsv.zip"]
    assert source["xml"] == "resources/releases/atlas/v24/proteinatlas.xml.gz"
    assert Path(source["locations_table"]).read_text() == TABLE
    assert "host" not in source
    assert len(hpa_fields(source)[0]) == 5
    lock = read_lock("resources/lock.tsv")
    assert [row.file for row in lock] == [source["xml"], source["locations_table"]]
    assert lock[1].bytes == len(server.files["/download/tsv/subcellular_location.tsv.zip"]), "as it was sent"


def test_single_genes_by_symbol_and_by_id(server, caplog):
    genes = ["aaa", C, "NONE1"]
    source = fetched(configured(host=server.url(""), locations_table="release", only={"genes": genes}))
    assert paths(server)[:2] == [f"/{A}.xml", f"/{C}.xml"]
    assert source["xml"] == "resources/releases/atlas/v24/genes"
    assert sorted(path.name for path in Path(source["xml"]).iterdir()) == [f"{A}.xml", f"{C}.xml"]
    assert "no gene of the symbol NONE1" in caplog.text


def test_ids_need_no_table_and_symbols_without_one_take_all_genes(server):
    source = fetched(configured(host=server.url(""), only={"genes": [A]}))
    assert source["xml"].endswith("/genes")
    assert paths(server) == [f"/{A}.xml"]
    source = fetched(configured(host=server.url(""), only={"genes": [A, "BBB"]}))
    assert source["xml"].endswith("/proteinatlas.xml.gz")


def test_symbols_are_looked_up_in_a_local_table_too(server, tmp_path):
    table = tmp_path / "subcellular_location.tsv.gz"
    table.write_bytes(gzip.compress(TABLE_2018.encode()))
    config = configured(host=server.url(""), locations_table=str(table), only={"genes": ["AAA"]})
    source = fetched(config)
    assert paths(server) == [f"/{A}.xml"]
    assert source["locations_table"] == str(table)
    assert files_to_fetch_with(config["sources"]["atlas"]) == [str(table)]
    assert release_files("atlas", config["sources"]["atlas"]) == [str(table), "resources/releases/atlas/v24"]


def test_a_gene_that_the_release_lacks_is_told_and_the_others_come(server, caplog):
    source = fetched(configured(host=server.url(""), only={"genes": [A, B, C]}))
    assert len(list(Path(source["xml"]).iterdir())) == 2
    assert f"/{B}.xml: the server answered 404 Not Found; going on without it" in caplog.text
    with pytest.raises(DocumentError, match=f"has none of the genes {B}; check"):
        fetched(configured(host=server.url(""), only={"genes": [B]}))
    assert Path(source["xml"]).is_dir(), "what was there stays"


def test_the_xml_of_another_gene_and_a_server_in_trouble_stop(server):
    server.files[f"/{A}.xml"] = server.files[f"/{C}.xml"]
    config = configured(host=server.url(""), only={"genes": [A, C]})
    with pytest.raises(DocumentError, match=rf"{A}\.xml does not name {A}: it is about something else"):
        fetched(config)
    server.faults[f"/{A}.xml"] = ["always:500"]
    with pytest.raises(DocumentError, match="answered 500"):
        fetched(config)
    assert not Path("resources/releases/atlas/v24").exists()


def test_releases_before_2024_have_their_table_elsewhere(server):
    old = server.files.pop("/download/tsv/subcellular_location.tsv.zip")
    server.files["/download/subcellular_location.tsv.zip"] = old
    source = fetched(configured(host=server.url(""), locations_table="release", only={"genes": ["AAA"]}))
    assert Path(source["locations_table"]).read_text() == TABLE


def test_files_may_have_addresses_of_their_own(server, tmp_path):
    server.files["/my.xml"], server.files["/my.tsv"] = V24.encode(), TABLE.encode()
    source = fetched(configured(xml=server.url("/my.xml"), locations_table=server.url("/my.tsv")))
    assert len(hpa_fields(source)[0]) == 5
    local = tmp_path / "v24.xml"
    local.write_text(V24)
    source = fetched(configured(xml=str(local), locations_table=server.url("/my.tsv")))
    assert source["xml"] == str(local)
    assert [path.name for path in Path("resources/releases/atlas/v24").iterdir()] == ["subcellular_location.tsv"]


def test_a_named_release_that_changed_stops_and_the_current_one_is_taken(server, caplog):
    options = {"host": server.url(""), "only": {"genes": [A]}}
    fetched(configured(**options))
    server.files[f"/{A}.xml"] += b"<!-- mended -->"
    fetched(configured(**options))  # from the cache: the server is not asked
    with pytest.raises(DocumentError, match=rf"has changed: resources/lock\.tsv .* delete the row of .*{A}\.xml in"):
        fetched(configured(**options), revalidate=True)
    current = {**options, "release": "current"}
    with caplog.at_level("INFO"):
        fetched(configured(**current))
        server.files[f"/{A}.xml"] += b"<!-- again -->"
        fetched(configured(**current))
    assert "as it may" in caplog.text
    assert Path(f"resources/releases/atlas/current/genes/{A}.xml").read_bytes().endswith(b"<!-- again -->")


def test_offline_the_cache_is_enough(server):
    config = configured(host=server.url(""), locations_table="release", only={"genes": ["AAA"]})
    fetched(config)
    server.requests.clear()
    fetched(config, offline=True)
    assert server.requests == []


def test_symbols_that_stand_for_two_genes(tmp_path):
    (tmp_path / "t.tsv").write_text(f"Gene\tGene name\n{A}\tSAME\n{B}\tsame\n{C}\tOther\n")
    assert ensembl_ids(["Same", "OTHER", C.lower()], tmp_path / "t.tsv") == [A, B, C]
    assert ensembl_ids([B, A, B], None) == [A, B]


def bucket(**options: Any) -> dict[str, Any]:
    config = {"sources": {"atlas": {"kind": "opencell", "release": "2022", **options}}}
    check_config(config)
    check_tables(config)
    return config


def test_the_whole_listing_and_both_tables_of_opencell(server):
    server.files[PAGES] = page(FIRST, following="a+b/c=").encode()
    server.files[f"{PAGES}&continuation-token=a%2Bb%2Fc%3D"] = page(SECOND, token="a+b/c=").encode()
    server.files["/t.csv"], server.files["/a.csv"] = TARGETS.encode(), gzip.compress(ANNOTATIONS.encode())
    config = bucket(bucket=server.url(""), targets=server.url("/t.csv"), annotations=server.url("/a.csv"))
    source = fetched(config)
    assert source["listing"] == "resources/releases/atlas/2022/listing"
    assert len(read_listing(source["listing"])) == len({*FIRST, *SECOND})
    assert Path(source["annotations"]).read_text() == ANNOTATIONS
    assert opencell_fields(source)[0]
    # the listing may change without a word
    server.files[PAGES] = page(FIRST[:1]).encode()
    assert len(read_listing(fetched(config)["listing"])) == 1
    assert not any("0002.xml" in row.file for row in read_lock("resources/lock.tsv"))


def test_a_listing_has_an_address_of_its_own(server):
    server.files["/mirror"] = page(FIRST, following="t").encode()
    server.files["/mirror?continuation-token=t"] = page(SECOND, token="t").encode()
    assert read_listing(fetched(bucket(listing=server.url("/mirror")))["listing"])


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (page(FIRST, following="t"), "names 't' as the next one"),
        (page(FIRST, following="t").replace("<NextContinuationToken>t</NextContinuationToken>", ""), "list-type=2"),
        ("<Error><Code>AccessDenied</Code></Error>", "an XML of Error; it must be one of ListBucketResult"),
    ],
)
def test_listings_that_never_end_or_are_none(server, first, says):
    server.files[PAGES] = first.encode()
    server.files[f"{PAGES}&continuation-token=t"] = page(SECOND, token="t", following="t").encode()
    with pytest.raises(DocumentError, match=says):
        fetched(bucket(bucket=server.url("")))
    assert not list(Path().rglob("*.part"))
    assert not Path("resources/releases/atlas/2022").exists()


def test_the_bucket_is_listed_where_nothing_else_is_said():
    source = bucket()["sources"]["atlas"]
    assert local_source("atlas", source)["listing"] == "resources/releases/atlas/2022/listing"
    assert release_files("atlas", source) == ["resources/releases/atlas/2022"]
    assert release_folder("x", {"release": "2022-10 b/c"}) == "resources/releases/x/2022-10_b_c"
