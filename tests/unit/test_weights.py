from pathlib import Path

import pytest
from real_data import real_data
from wherein.models.weights import WeightsError, fetch_weights, read_weights, sha256_of

TABLE = Path(__file__).resolve().parents[2] / "resources" / "weights.tsv"


@pytest.fixture
def served(tmp_path):
    """A file, and a table that knows it by a file:// address."""
    file = tmp_path / "served.npz"
    file.write_bytes(b"weights" * 1000)
    table = tmp_path / "weights.tsv"
    row = ["net-1", "gapnet-pl", sha256_of(file), "7000", file.as_uri(), "MIT", "somebody"]
    header = "name\tkind\tsha256\tbytes\turl\tlicence\tsource\n"
    table.write_text(header + "\t".join(row) + "\n" + "\t".join(["net-2", *row[1:4], "", *row[5:]]) + "\n")
    return table, file


def test_the_table_of_the_project_is_complete():
    for row in read_weights(TABLE).values():
        assert len(row.sha256) == 64
        assert row.bytes > 0
        assert row.licence
        assert row.source


def test_published_gapnet_is_the_file_that_the_table_means(tmp_path):
    source = real_data("weights/gapnet-pl_weights.npz")
    fetch_weights("gapnet-pl-2019", str(TABLE), str(source), str(tmp_path / "gapnet.npz"))
    assert sha256_of(tmp_path / "gapnet.npz") == sha256_of(source)
    assert read_weights(TABLE)["gapnet-pl-2019"].bytes == source.stat().st_size


def test_fetched_from_the_tables_address(served, tmp_path):
    table, file = served
    fetch_weights("net-1", str(table), None, str(tmp_path / "new" / "net.npz"))
    assert (tmp_path / "new" / "net.npz").read_bytes() == file.read_bytes()


def test_a_local_file_goes_before_the_address(served, tmp_path):
    table, _ = served
    local = tmp_path / "local.npz"
    local.write_bytes(b"another")
    with pytest.raises(WeightsError, match="this is another or a damaged file"):
        fetch_weights("net-1", str(table), [str(local)], str(tmp_path / "net.npz"))
    assert not (tmp_path / "net.npz").exists()


def test_without_file_and_address_the_error_says_what_to_write(served, tmp_path):
    table, file = served
    with pytest.raises(WeightsError) as error:
        fetch_weights("net-2", str(table), [], str(tmp_path / "net.npz"))
    assert sha256_of(file) in str(error.value)
    assert "weights:\n  net-2: path/to/file.npz" in str(error.value)


def test_an_unknown_name_and_a_dead_address(served, tmp_path):
    table, file = served
    with pytest.raises(WeightsError, match=r"'net-3' are not in .* it has net-1, net-2"):
        fetch_weights("net-3", str(table), None, str(tmp_path / "net.npz"))
    file.unlink()
    with pytest.raises(WeightsError, match="fetch it by hand"):
        fetch_weights("net-1", str(table), None, str(tmp_path / "net.npz"))
    assert list(tmp_path.glob("*.part")) == []
