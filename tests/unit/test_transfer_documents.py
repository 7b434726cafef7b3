"""Documents over HTTP: checked to their last byte, locked, resumed; nothing wrong gets into the cache."""

import gzip
import hashlib
import io
import threading
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from fault_server import FaultServer
from transfer_settings import SETTINGS
from wherein.transfer import documents
from wherein.transfer.checks import (
    UnfitError,
    file_with,
    gmt_document,
    opened,
    table_document,
    xml_document,
)
from wherein.transfer.documents import Document, DocumentError, fetch_documents, unpacked
from wherein.transfer.lock import Locked, LockError, by_url, check_locked, read_lock, record

XML = b"<?xml version='1.0'?><atlas><entry url='https://x/ENSG00000000001'/>" + b"<a>word</a>" * 4000 + b"</atlas>"
TABLE = b"Gene\tGene name\nENSG00000000001\tAAA\nENSG00000000002\tBBB\n"
GMT = b"nucleus\tGO:0005634\tAAA\tBBB\ncytosol\t\tCCC\n"
HTML = b"<!DOCTYPE html><html><body>We will be back soon.</body></html>"


def zipped(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return content.getvalue()


CHECKS = {
    "xml": (xml_document("atlas"), XML),
    "table": (table_document(("Gene", "Gene name"), "\t"), TABLE),
    "gmt": (gmt_document, GMT),
}


@pytest.mark.parametrize("kind", CHECKS)
@pytest.mark.parametrize("packed", [bytes, gzip.compress, lambda text: zipped(a=text)], ids=["plain", "gzip", "zip"])
def test_whole_documents_pass_and_every_cut_of_a_packed_one_fails(tmp_path, kind, packed):
    check, text = CHECKS[kind]
    path = tmp_path / "x"
    path.write_bytes(packed(text))
    check(path)
    unpacked(path, tmp_path / "y")
    assert (tmp_path / "y").read_bytes() == text
    size = len(packed(text))
    cuts = range(1, size, max(1, size // 40)) if packed is not bytes or kind == "xml" else ()
    for cut in [*cuts, size - 1] if cuts else ():
        path.write_bytes(packed(text)[:cut])
        with pytest.raises(UnfitError):
            check(path)


@pytest.mark.parametrize("kind", CHECKS)
@pytest.mark.parametrize(
    ("content", "says"), [(HTML, "HTML page"), (b"", "an empty file"), (b"\xff\xfe\x00\x01binary\x00", "starts with")]
)
def test_something_else_is_described(tmp_path, kind, content, says):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UnfitError, match=says):
        CHECKS[kind][0](tmp_path / "x")


@pytest.mark.parametrize(
    ("check", "content", "says"),
    [
        (xml_document("atlas"), b"<Error><Code>NoSuchKey</Code></Error>", "an XML of Error; it must be one of atlas"),
        (xml_document("atlas", "ENSG00000000002"), XML, "does not name ENSG00000000002"),
        (xml_document("atlas"), XML + b"<more/>", "no whole XML"),
        (table_document(("Gene", "Place"), "\t"), TABLE, "no table with the column Place"),
        (table_document(("Gene",), "\t"), b"Gene\tGene name\n", "a header and no row"),
        (table_document(("Gene",), "\t"), TABLE + b"ENSG0000000", "has 1 cells in line 4, its header has 2"),
        (gmt_document, b"nucleus\tGO:0005634\n", "line 1 has 2 columns"),
        (gmt_document, b"nucleus\tGO:0005634\t\n\n", "holds no gene set"),
        (table_document(("Gene",), "\t"), zipped(a=TABLE, b=TABLE), "a zip of 2 files"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, check, content, says):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UnfitError, match=says):
        check(tmp_path / "x")


def test_names_that_lie_across_two_pieces_are_found(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(XML)
    for chunk in (7, 16, 40):
        monkeypatch.setattr("wherein.transfer.checks.CHUNK", chunk)
        xml_document("atlas", "ENSG00000000001")(tmp_path / "x")


def test_a_zip_from_a_mac_holds_one_file(tmp_path):
    (tmp_path / "x").write_bytes(zipped(**{"a": TABLE, "__MACOSX/._a": b"resource fork"}))
    with opened(tmp_path / "x") as content:
        assert content.read() == TABLE


def test_memory_does_not_grow_with_the_document(tmp_path):
    path = tmp_path / "x.gz"
    with gzip.open(path, "wb", compresslevel=1) as content:
        content.write(b"<atlas>")
        for _ in range(600):
            content.write(b"<entry><name>A</name><text>word</text></entry>" * 2000)
        content.write(b"</atlas>")
    tracemalloc.start()
    try:
        xml_document("atlas")(path)
        assert tracemalloc.get_traced_memory()[1] < 16e6, "55 MB pass through"
    finally:
        tracemalloc.stop()


@pytest.fixture
def server():
    server = FaultServer()
    server.files.update({"/atlas.xml.gz": gzip.compress(XML), "/table.tsv": TABLE, "/sets.gmt": GMT})
    yield server
    server.stop()


@pytest.fixture
def get(server, tmp_path):
    """Fetches one path into target.txt; what became of it."""

    def fetch(path="/table.tsv", check=CHECKS["table"][0], more=(), **options):
        own = {name: options.pop(name) for name in list(options) if name in SETTINGS}
        document = Document((server.url(path), *map(server.url, more)), tmp_path / "out" / "x", check, **options)
        return fetch_documents([document], {**SETTINGS, "cache": str(tmp_path / "cache"), **own}, tmp_path / "lock.tsv")

    return fetch


def cached(tmp_path: Path) -> list[bytes]:
    return [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.suffix in (".gz", ".tsv", ".gmt")]


@pytest.mark.parametrize(
    "faults",
    [
        ["429:1"],
        ["500", "502", "503"],
        ["reset"],
        ["hang"],
        ["short"],
        ["cut"],
        ["html", "html"],
        ["empty"],
        ["reset", "drop_range"],
        ["reset", "wrong_range"],
        ["open"],
    ],
    ids="-".join,
)
def test_right_in_the_end(server, get, tmp_path, faults):
    path = "/atlas.xml.gz"
    server.faults[path] = list(faults)
    (found,) = get(path, CHECKS["xml"][0])
    assert not server.faults[path], "every fault was met"
    assert (tmp_path / "out" / "x").read_bytes() == server.files[path]
    assert found == (server.url(path), hashlib.sha256(server.files[path]).hexdigest(), *[len(server.files[path])] * 2)
    assert list((tmp_path / "cache").rglob("*.part*")) == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("404", "answered 404"),
        ("403", "answered 403"),
        ("500", "answered 500.*run again when network and disk are well"),
        ("html", "is a HTML page, and no table"),
        ("cut", "has 1 cells in line 82"),
        ("short", "bytes came|truncated|IncompleteRead"),
        ("drip", "before the deadline"),
        ("empty", "is an empty file"),
    ],
)
def test_wrong_documents_stop_with_a_sentence_and_stay_out(server, get, tmp_path, fault, says):
    server.files["/table.tsv"] = b"Gene\tGene name\n" + b"\n" * 80 + b"E" * 200 + b"\tAAA\n"
    server.faults["/table.tsv"] = [f"always:{fault}"]
    with pytest.raises(DocumentError, match=says) as caught:
        get(deadline_s=1)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "x").exists()
    assert cached(tmp_path) == []


def test_what_is_cached_is_not_asked_for_and_a_damaged_file_is_fetched_again(server, get, tmp_path):
    get()
    (again,) = get()
    assert again.fetched == 0
    assert len(server.requests) == 1
    (file,) = (tmp_path / "cache").rglob("*.tsv")
    file.write_bytes(TABLE.replace(b"AAA", b"AAB"))
    (again,) = get()
    assert again.fetched == len(TABLE)
    assert (tmp_path / "out" / "x").read_bytes() == TABLE


def test_offline_takes_the_cache_alone(server, get, tmp_path):
    with pytest.raises(DocumentError, match=r"is not in .*cache, and download\.offline is on"):
        get(offline=True)
    get()
    server.requests.clear()
    (found,) = get(offline=True)
    assert found.fetched == 0
    assert server.requests == []


def test_the_next_address_is_tried_where_the_first_has_nothing(server, get, tmp_path):
    (found,) = get("/none.tsv", more=["/table.tsv"])
    assert found.url == server.url("/table.tsv")
    server.faults["/gone.tsv"] = ["always:500"]
    with pytest.raises(DocumentError, match=r"gone\.tsv: the server answered 500"):
        get("/gone.tsv", more=["/table.tsv"])


def test_what_is_not_needed_may_be_missing_but_not_unreachable(server, get):
    assert get("/none.tsv", needed=False) == [None]
    server.faults["/none.tsv"] = ["always:500"]
    with pytest.raises(DocumentError):
        get("/none.tsv", needed=False)


def test_a_changing_document_is_asked_for_each_time_and_its_last_content_serves_when_nobody_answers(server, get):
    get(changing=True)
    (same,) = get(changing=True)
    assert same.fetched == 0, "304"
    server.files["/table.tsv"] = TABLE + b"ENSG00000000003\tCCC\n"
    (new,) = get(changing=True)
    assert new.fetched == len(server.files["/table.tsv"])
    server.files["/table.tsv"] += b"ENSG00000000004\tDDD\n"
    for fault in ("500", "html", "cut", "empty", "hang"):
        server.faults["/table.tsv"] = [f"always:{fault}"]
        (last,) = get(changing=True)
        assert last == new._replace(fetched=0), fault


def test_a_document_that_keeps_coming_gets_more_time(server, get, tmp_path, monkeypatch):
    server.files["/atlas.xml.gz"] = b"<atlas>" + b"<a>word</a>" * 20000 + b"</atlas>"
    server.slow_s = 0.02
    monkeypatch.setattr(documents, "LEAST_BYTES_PER_S", 1000)
    get("/atlas.xml.gz", CHECKS["xml"][0], deadline_s=0.5)
    parts = [asked for _, asked, _ in server.requests]
    assert len(parts) > 1
    assert all(parts[1:]), "it goes on where it was"
    assert server.sent["/atlas.xml.gz"] < 1.5 * len(server.files["/atlas.xml.gz"])


def test_without_room_nothing_is_asked_for(server, get):
    with pytest.raises(DocumentError, match=r"download\.min_free_gb"):
        get(min_free_gb=1e9)
    assert server.requests == []


def test_many_at_once_by_few_connections_and_all_that_failed_are_counted(server, tmp_path):
    server.slow_s = 0.02
    paths = [f"/{number}.tsv" for number in range(24)]
    server.files.update(dict.fromkeys(paths, TABLE))
    wanted = [Document((server.url(path),), tmp_path / "out" / path[1:], CHECKS["table"][0]) for path in paths]
    settings = {**SETTINGS, "cache": str(tmp_path / "cache"), "deadline_s": 30}
    found = fetch_documents(wanted, settings, tmp_path / "lock.tsv")
    assert [one.url for one in found] == [server.url(path) for path in paths]
    assert 1 < server.busiest <= SETTINGS["connections"]
    for path in paths[3:6]:
        del server.files[path]
    with pytest.raises(DocumentError, match=r"404 Not Found \(the first of 3 among 24 documents"):
        fetch_documents(wanted, {**settings, "cache": str(tmp_path / "other")}, tmp_path / "lock.tsv")


def locked(url: str, content: bytes, file: str = "resources/x.tsv", day: str = "2026-01-02") -> Locked:
    return Locked(file, url, hashlib.sha256(content).hexdigest(), len(content), day)


def test_another_content_than_the_locked_one_stops_and_is_accepted_by_deleting_the_row(server, get, tmp_path):
    url, lock = server.url("/table.tsv"), tmp_path / "lock.tsv"
    record(lock, [locked(url, b"old")], "resources/x.tsv")
    with pytest.raises(DocumentError) as caught:
        get()
    what = hashlib.sha256(b"old").hexdigest()[:12]
    for word in (url, "has changed", "2026-01-02", what, "delete the row of resources/x.tsv in"):
        assert word in str(caught.value)
    assert cached(tmp_path) == []
    assert not list((tmp_path / "cache").rglob("*.part"))
    lock.write_text(lock.read_text().splitlines()[0] + "\n")
    get()
    assert cached(tmp_path) == [TABLE]


def test_what_was_cached_before_it_was_locked_is_fetched_anew(server, get, tmp_path):
    get()
    server.files["/table.tsv"] = TABLE + b"ENSG00000000003\tCCC\n"
    record(tmp_path / "lock.tsv", [locked(server.url("/table.tsv"), server.files["/table.tsv"])], "resources/x.tsv")
    with pytest.raises(DocumentError, match="has changed"):
        get(offline=True)
    (found,) = get()
    assert found.fetched == len(server.files["/table.tsv"])


def test_a_changing_document_may_differ_from_the_lock(server, get, tmp_path):
    record(tmp_path / "lock.tsv", [locked(server.url("/table.tsv"), b"old")], "resources/x.tsv")
    assert get(changing=True)


def test_the_lock_is_sorted_keeps_days_and_is_left_alone_where_nothing_changed(tmp_path):
    lock = tmp_path / "resources" / "lock.tsv"
    record(lock, [locked("https://x/b", b"b", "r/v1/b"), locked("https://x/a", b"a", "r/v1/a")], "r/v1")
    record(lock, [locked("https://x/c", b"c", "r/v10/c")], "r/v10")
    assert [row.file for row in read_lock(lock)] == ["r/v1/a", "r/v1/b", "r/v10/c"]
    before = lock.read_bytes(), lock.stat().st_ino
    record(lock, [locked("https://x/b", b"b", "r/v1/b", "2027-01-01"), locked("https://x/a", b"a", "r/v1/a")], "r/v1")
    assert (lock.read_bytes(), lock.stat().st_ino) == before
    # what the folder does not have any more leaves the lock, what another folder has stays
    record(lock, [locked("https://x/a", b"a", "r/v1/a")], "r/v1")
    assert [row.file for row in read_lock(lock)] == ["r/v1/a", "r/v10/c"]
    assert lock.read_text().splitlines()[0] == "file\turl\tsha256\tbytes\tfetched"


def test_a_change_is_recorded_only_where_it_is_expected(tmp_path, caplog):
    lock = tmp_path / "lock.tsv"
    record(lock, [locked("https://x/a", b"a", "a")], "a")
    with pytest.raises(LockError):
        record(lock, [locked("https://x/a", b"b", "a")], "a")
    with caplog.at_level("INFO"):
        record(lock, [locked("https://x/a", b"b", "a", "2027-01-01")], "a", ["https://x/a"])
    assert "a is locked anew" in caplog.text
    assert read_lock(lock)[0].fetched == "2027-01-01"
    check_locked("https://x/a", hashlib.sha256(b"b").hexdigest(), by_url(read_lock(lock)), lock)


def test_jobs_that_lock_at_once_lose_nothing(tmp_path):
    lock = tmp_path / "lock.tsv"

    def job(number: int) -> None:
        for turn in range(5):
            name = f"r/{number}/{turn}"
            record(lock, [locked(f"https://x/{name}", b"a", name)], name)

    # each opens the file anew, so that flock keeps threads apart as it does jobs
    threads = [threading.Thread(target=job, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_lock(lock)) == 40


@pytest.mark.parametrize(
    "text", ["file,url\nx,y\n", "file\turl\tsha256\tbytes\tfetched\na\tb\tc\tmany\td\n", "a\tb\n1\t2\n"]
)
def test_a_lock_that_cannot_be_read_is_told(tmp_path, text):
    (tmp_path / "lock.tsv").write_text(text)
    with pytest.raises(LockError, match="cannot be read"):
        read_lock(tmp_path / "lock.tsv")


def test_one_certain_file(tmp_path):
    (tmp_path / "x").write_bytes(b"right")
    check = file_with(hashlib.sha256(b"right").hexdigest(), 5)
    check(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"wrong")
    with pytest.raises(UnfitError, match=r"has the sha256 .* \(5 bytes\), it must be"):
        check(tmp_path / "x")
