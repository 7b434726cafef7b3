"""A curator's word: read, checked, and handed to the stage that follows it."""

import os
from pathlib import Path

import pytest
from wherein.overrides import Override, field_of, overrides_for, read_overrides
from wherein.shards import Shard

HEAD = "level\tid\taction\tvalue\twho\twhy\n"
SHARD = Shard("lab-0001", "lab", ("protein",), (("a", "0123456789ab"), ("b@2", "ba9876543210")))


@pytest.fixture
def words(tmp_path: Path):
    def write(*rows: str, head: str = HEAD) -> str:
        path = tmp_path / "words.tsv"
        path.write_text(head + "".join(f"{row}\n" for row in rows))
        return str(path)

    return write


def test_words_are_read_as_they_stand(words):
    path = words(
        "field\ta\treject\t\tEve\tbubble", "", "# a comment\tx", "field\ta\trelabel\tNucleoli;Cytosol\tEve\tseen"
    )
    assert read_overrides(path) == (
        Override("field", "a", "reject", "", "Eve", "bubble"),
        Override("field", "a", "relabel", "Nucleoli;Cytosol", "Eve", "seen"),
    )
    assert read_overrides(None) == ()
    assert read_overrides(words()) == ()


def test_comments_before_the_header_and_a_byte_order_mark(words):
    path = words("field\ta\tkeep\t\tEve\tfine", head="\ufeff# decisions\n" + HEAD)
    assert len(read_overrides(path)) == 1


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("plate\ta\treject\t\tEve\tx", "level is field or cell"),
        ("field\ta\tdelete\t\tEve\tx", "keep, reject or relabel"),
        ("field\t\treject\t\tEve\tx", "as id"),
        ("cell\ta\treject\t\tEve\tx", "field_id@version:label"),
        ("cell\ta@0123456789ab:0\treject\t\tEve\tx", "field_id@version:label"),
        ("field\ta\treject\t\t\tx", "who and why"),
        ("field\ta\treject\t\tEve", "who and why"),
        ("field\ta\trelabel\t\tEve\tx", "relabel needs the locations"),
        ("field\ta\treject\tCytosol\tEve\tx", "other actions leave it empty"),
    ],
)
def test_what_cannot_be_followed_is_told_with_its_row(words, row, says):
    with pytest.raises(ValueError, match=r"words\.tsv, row 4") as caught:
        read_overrides(words("# comment", "field\tz\tkeep\t\tEve\tfine", row))
    assert says in str(caught.value)


def test_one_thing_is_decided_once(words):
    with pytest.raises(ValueError, match="row 3: a is decided twice, see row 2"):
        read_overrides(words("field\ta\treject\t\tEve\tx", "field\ta\tkeep\t\tAda\ty"))


def test_missing_columns_are_told(words):
    with pytest.raises(ValueError, match="column why is missing"):
        read_overrides(words(head="level\tid\taction\tvalue\twho\n"))
    with pytest.raises(ValueError, match=r"column level.*found no header"):
        read_overrides(words(head=""))
    with pytest.raises(ValueError, match=r"found level;id;action;value;who;why; it needs .* separated by tabs"):
        read_overrides(words(head=HEAD.replace("\t", ";")))


def test_another_encoding_is_told_with_the_file(tmp_path):
    path = tmp_path / "words.tsv"
    path.write_bytes((HEAD + "field\ta\treject\t\tZoë\tx\n").encode("latin-1"))
    with pytest.raises(ValueError, match=r"words\.tsv is not written in UTF-8"):
        read_overrides(str(path))


def test_each_stage_gets_the_words_on_its_shard(words):
    path = words(
        "field\ta\treject\t\tEve\t1",
        "field\tb@2\tkeep\t\tEve\t2",
        "field\tc\treject\t\tEve\t3",
        "field\ta\trelabel\tCytosol\tEve\t4",
        "cell\ta@0123456789ab:7\treject\t\tEve\t5",
        "cell\tb@2@ba9876543210:1\tkeep\t\tEve\t6",
        "cell\tc@0123456789ab:7\treject\t\tEve\t7",
        "cell\ta@0123456789ab:8\trelabel\tCytosol\tEve\t8",
    )
    assert [word[-1] for word in overrides_for(path, "qc", SHARD)] == ["1", "2"]
    assert [word[-1] for word in overrides_for(path, "crop", SHARD)] == ["5", "6"]
    assert overrides_for(None, "qc", SHARD) == []


def test_field_of_a_word():
    assert field_of(Override("field", "b@2", "keep", "", "", "")) == "b@2"
    assert field_of(Override("cell", "b@2@ba9876543210:1", "keep", "", "", "")) == "b@2"


def test_a_changed_table_is_read_again(words):
    path = words("field\ta\treject\t\tEve\tx")
    assert len(read_overrides(path)) == 1
    words("field\ta\treject\t\tEve\tx", "field\tb\treject\t\tEve\tx")
    state = os.stat(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert len(read_overrides(path)) == 2


def test_the_table_that_comes_with_the_workflow_is_empty():
    assert read_overrides(str(Path(__file__).parents[2] / "config" / "overrides.tsv")) == ()
