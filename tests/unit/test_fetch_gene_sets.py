"""Gene sets from an address and from a library: what gseapy makes of the same answer is the measure."""

import gzip
import sys

import pytest
from fault_server import FaultServer
from gseapy import parser
from gseapy.enrichr import EnrichrAPI
from transfer_settings import SETTINGS
from wherein.analysis.enrichment import read_gmt
from wherein.analysis.fetch_gene_sets import SERVICES, fetch_gene_sets, library_url
from wherein.settings import schema
from wherein.transfer.documents import DocumentError
from wherein.transfer.lock import read_lock

LIBRARY = (
    "nucleolus (GO:0005730)\t\tNPM1,1.0\tFBL,0.5\tNCL\t\n"
    "Golgi apparatus (GO:0005794)\tdescription\tGOLGA2\tgolga2\n"
    "without genes\t\t\n"
    "nucleolus (GO:0005730)\t\tNPM1\n"
    "β-catenin complex\t\tCTNNB1\n"
)
PATH = "/Enrichr/geneSetLibrary?mode=text&libraryName=GO_Tiny_2023"


@pytest.fixture
def server():
    server = FaultServer()
    server.files[PATH] = LIBRARY.encode()
    yield server
    server.stop()


@pytest.fixture
def get(server, tmp_path):
    """Fetches gene sets into sets.gmt; returns that path."""

    def fetch(source):
        target = tmp_path / "fetched" / "sets.gmt"
        settings = {**SETTINGS, "cache": str(tmp_path / "cache")}
        fetch_gene_sets("sets", source, server.url(""), str(target), str(tmp_path / "lock.tsv"), settings)
        return target

    return fetch


def library(name="GO_Tiny_2023", organism="human"):
    return {"library": name, "organism": organism}


def test_a_library_is_read_as_gseapy_reads_it(get, server, tmp_path, monkeypatch):
    """gseapy asks the same server, through its own code, and keeps its own cache."""
    # the package has a function of the module's name
    monkeypatch.setattr(sys.modules[EnrichrAPI.__module__], "DEFAULT_CACHE_PATH", str(tmp_path / "gseapy"))
    monkeypatch.setattr(EnrichrAPI, "get_libraries", lambda _: ["GO_Tiny_2023"])
    own = EnrichrAPI.__init__

    def at_home(self, organism="human"):
        own(self, organism)
        self.base_url = self.base_url.replace("https://maayanlab.cloud", server.url(""))

    monkeypatch.setattr(EnrichrAPI, "__init__", at_home)
    theirs = parser.get_library("GO_Tiny_2023", organism="Human", min_size=1)
    target = get(library())
    ours = {line.split("\t")[0]: line.rstrip("\n").split("\t")[2:] for line in target.read_text().splitlines()}
    assert ours == theirs
    assert set(ours) == {"nucleolus (GO:0005730)", "Golgi apparatus (GO:0005794)", "β-catenin complex"}
    assert ours["nucleolus (GO:0005730)"] == ["NPM1"], "the last line of a term counts"
    assert parser.read_gmt(str(target)) == theirs
    assert [path for path, *_ in server.requests] == [PATH, PATH]


def test_the_address_is_that_of_gseapy_for_every_organism():
    allowed = schema()["$defs"]["biology"]["properties"]["gene_sets"]["additionalProperties"]["properties"]
    server = schema()["$defs"]["biology"]["properties"]["gene_set_server"]["default"]
    assert set(allowed["organism"]["enum"]) == set(SERVICES)
    for organism in SERVICES:
        theirs = f"{EnrichrAPI(organism).base_url}/geneSetLibrary?mode=text&libraryName=GO_Tiny_2023"
        assert library_url(server, "GO_Tiny_2023", organism) == theirs


def test_what_enrichment_reads_is_what_was_sent(get):
    sets = {one.term: one for one in read_gmt(get(library()))}
    assert sets["Golgi apparatus"].term_id == "GO:0005794"
    assert sets["Golgi apparatus"].genes == {"GOLGA2"}
    assert set(sets) == {"nucleolus", "Golgi apparatus", "β-catenin complex"}


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_file_by_its_address(get, server, tmp_path, packed):
    content = b"nucleus\tGO:0005634\tAAA\tBBB\n"
    server.files["/sets.gmt"] = packed(content)
    target = get(server.url("/sets.gmt"))
    assert target.read_bytes() == content
    (row,) = read_lock(tmp_path / "lock.tsv")
    assert (row.file, row.url, row.bytes) == (str(target), server.url("/sets.gmt"), len(server.files["/sets.gmt"]))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (library("GO_Tiny_2024"), r"answered 404.*asks for the library GO_Tiny_2024 \(human\).*/Enrichr/#libraries"),
        (library("Empty"), "is an empty file, and holds no gene set"),
        (library("Page"), "is a HTML page, and no file of gene sets"),
        (library(organism="yeast"), r"/YeastEnrichr/geneSetLibrary.*/YeastEnrichr/#libraries"),
    ],
)
def test_libraries_that_are_none(get, server, tmp_path, source, says):
    stem = "/Enrichr/geneSetLibrary?mode=text&libraryName="
    server.files[f"{stem}Empty"], server.files[f"{stem}Page"] = b"", b"<html><body>no</body></html>"
    with pytest.raises(DocumentError, match=says):
        get(source)
    assert not (tmp_path / "fetched" / "sets.gmt").exists()
    assert not (tmp_path / "lock.tsv").exists()


def test_another_content_of_a_library_stops(get, server, tmp_path):
    get(library())
    server.files[PATH] += b"new\t\tAAA\n"
    for path in (tmp_path / "cache").rglob("*.json"):
        path.unlink()
    with pytest.raises(DocumentError, match="has changed"):
        get(library())
