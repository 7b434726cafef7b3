"""The shard table as the workflow reads it."""

import os

import pytest
from wherein.shards import COLUMNS, members_digest, read_shards

ROWS = [
    ("lab-0001", "lab", "1", "b", "00000000000e", "nucleus,protein", "0.1"),
    ("lab-0001", "lab", "1", "a", "123456789012", "nucleus,protein", "0.1"),
    ("yeast_2-0001", "yeast_2", "1", 'a b"c', "0123456789ab", "protein", "0.2"),
]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "shards.tsv"
    write(path, ROWS)
    return path


def write(path, rows):
    import csv

    with open(path, "w", newline="") as lines:
        csv.writer(lines, delimiter="\t", lineterminator="\n").writerows([COLUMNS, *rows])


def test_shards_in_the_order_of_the_table(table):
    shards = read_shards(table)
    assert list(shards) == ["lab-0001", "yeast_2-0001"]
    shard = shards["lab-0001"]
    assert shard.source == "lab"
    assert shard.roles == ("nucleus", "protein")
    # versions are text, though they may look like numbers
    assert shard.members == (("b", "00000000000e"), ("a", "123456789012"))
    assert shards["yeast_2-0001"].members[0][0] == 'a b"c'


def test_no_table_yet(tmp_path):
    assert read_shards(tmp_path / "none.tsv") == {}


def test_a_changed_table_is_read_again(table):
    assert len(read_shards(table)) == 2
    write(table, ROWS[:2])
    state = os.stat(table)
    os.utime(table, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert len(read_shards(table)) == 1


def test_digest_follows_the_members(table):
    shard = read_shards(table)["lab-0001"]
    assert members_digest(shard) == members_digest(shard._replace(name="other"))
    assert members_digest(shard) != members_digest(shard._replace(members=shard.members[:1]))
    assert members_digest(shard) != members_digest(shard._replace(members=shard.members[::-1]))
    assert members_digest(shard) != members_digest(shard._replace(roles=("protein",)))
