"""Published weights: fetched from wherever, they are the file that the table means or none."""

from pathlib import Path

import pytest
from fault_server import FaultServer
from real_data import real_data
from transfer_settings import SETTINGS
from wherein.digest import sha256_of
from wherein.models.fetch_weights import fetch_weights
from wherein.models.weights import WeightsError, read_weights
from wherein.transfer.lock import read_lock

TABLE = Path(__file__).resolve().parents[2] / "resources" / "weights.tsv"
CONTENT = b"weights" * 1000


@pytest.fixture
def server():
    server = FaultServer()
    server.files["/net.npz"] = CONTENT
    yield server
    server.stop()


@pytest.fixture
def table(tmp_path, server):
    """A table that knows net-1 by an address, and net-2, the same file, by none."""
    (tmp_path / "served.npz").write_bytes(CONTENT)
    path = tmp_path / "weights.tsv"
    row = ["net-1", "gapnet-pl", sha256_of(tmp_path / "served.npz"), "7000", server.url("/net.npz"), "MIT", "somebody"]
    header = "name\tkind\tsha256\tbytes\turl\tlicence\tsource\n"
    path.write_text(header + "\t".join(row) + "\n" + "\t".join(["net-2", *row[1:4], "", *row[5:]]) + "\n")
    return path


@pytest.fixture
def get(tmp_path, table):
    """Fetches weights by name into net.npz; returns that path."""

    def fetch(name, source=None, **settings):
        target = tmp_path / "new" / "net.npz"
        own = {**SETTINGS, "cache": str(tmp_path / "cache"), **settings}
        fetch_weights(name, str(table), source, str(target), str(tmp_path / "lock.tsv"), own)
        return target

    return fetch


def test_the_table_of_the_project_is_complete():
    for row in read_weights(TABLE).values():
        assert len(row.sha256) == 64
        assert row.bytes > 0
        assert row.licence
        assert row.source


def test_published_gapnet_is_the_file_that_the_table_means(tmp_path):
    source, target = real_data("weights/gapnet-pl_weights.npz"), tmp_path / "gapnet.npz"
    settings = {**SETTINGS, "cache": str(tmp_path / "cache")}
    fetch_weights("gapnet-pl-2019", str(TABLE), str(source), str(target), str(tmp_path / "lock.tsv"), settings)
    assert sha256_of(target) == sha256_of(source)
    assert read_weights(TABLE)["gapnet-pl-2019"].bytes == source.stat().st_size


def test_fetched_from_the_tables_address(get, server, tmp_path):
    target = get("net-1")
    assert target.read_bytes() == CONTENT
    (row,) = read_lock(tmp_path / "lock.tsv")
    assert (row.file, row.url, row.sha256, row.bytes) == (str(target), server.url("/net.npz"), sha256_of(target), 7000)


def test_an_address_of_the_configuration_goes_before_the_tables(get, server):
    server.files["/mirror.npz"] = CONTENT
    assert get("net-1", server.url("/mirror.npz")).read_bytes() == CONTENT
    assert get("net-2", server.url("/mirror.npz")).read_bytes() == CONTENT
    assert [path for path, *_ in server.requests] == ["/mirror.npz"]


def test_another_file_under_the_address_is_not_let_in(get, server, tmp_path):
    server.faults["/net.npz"] = ["always:cut"]
    with pytest.raises(WeightsError, match=r"net\.npz has the sha256 .* this is another or a damaged file"):
        get("net-1")
    assert not (tmp_path / "new" / "net.npz").exists()
    assert list((tmp_path / "cache").rglob("*.npz")) == []


def test_the_table_is_the_judge_of_what_is_cached_too(get, table, server):
    get("net-1")
    server.files["/net.npz"] = b"better" * 1000
    (table.parent / "served.npz").write_bytes(server.files["/net.npz"])
    row = read_weights(table)["net-1"]
    new = sha256_of(table.parent / "served.npz")
    table.write_text(table.read_text().replace(row.sha256, new))
    (table.parent / "lock.tsv").unlink()
    assert get("net-1").read_bytes() == server.files["/net.npz"]


def test_a_local_file_goes_before_the_address(get, tmp_path):
    local = tmp_path / "local.npz"
    local.write_bytes(b"another")
    with pytest.raises(WeightsError, match="this is another or a damaged file"):
        get("net-1", str(local))
    assert not (tmp_path / "new" / "net.npz").exists()
    assert get("net-1", str(tmp_path / "served.npz")).read_bytes() == CONTENT


def test_without_file_and_address_the_error_says_what_to_write(get, tmp_path):
    with pytest.raises(WeightsError) as error:
        get("net-2")
    assert sha256_of(tmp_path / "served.npz") in str(error.value)
    assert "weights:\n  net-2: path/to/file.npz" in str(error.value)


def test_an_unknown_name_and_a_dead_address(get, server, tmp_path):
    with pytest.raises(WeightsError, match=r"'net-3' are not in .* it has net-1, net-2"):
        get("net-3")
    del server.files["/net.npz"]
    with pytest.raises(WeightsError, match="fetch the file by hand"):
        get("net-1")
    assert list((tmp_path / "new").iterdir()) == []
