"""Writing so that a reader sees the old content or the new."""

import json
import os

import pytest
from wherein import atomic
from wherein.atomic import atomic_path, write_json


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic_path(path) as partial:
        assert partial.parent == path.parent
        partial.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert os.listdir(path.parent) == ["a.txt"]


def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as partial:
        _ = partial.write_text("new") / 0
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_writes_nothing_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.txt"), atomic_path(tmp_path / "a.txt"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_folder_replaces_a_folder(tmp_path):
    path = tmp_path / "store.zarr"
    for content in ("old", "new"):
        with atomic_path(path) as partial:
            partial.mkdir()
            (partial / content).write_text(content)
    assert os.listdir(path) == ["new"]
    assert os.listdir(tmp_path) == ["store.zarr"]


@pytest.mark.parametrize("first", ["file", "folder"])
def test_files_and_folders_replace_each_other(tmp_path, first):
    path = tmp_path / "a"
    for kind in (first, "folder" if first == "file" else "file"):
        with atomic_path(path) as partial:
            partial.mkdir() if kind == "folder" else partial.write_text("x")
    assert path.is_dir() == (first == "file")
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "store"
    path.mkdir()
    (path / "old").write_text("old")
    rename = os.replace

    def refuse(source, target):
        if str(source).endswith(".part"):
            raise OSError("no space left on device")
        rename(source, target)

    monkeypatch.setattr(atomic.os, "replace", refuse)
    with pytest.raises(OSError, match="no space"), atomic_path(path) as partial:
        partial.mkdir()
    assert os.listdir(path) == ["old"]
    assert os.listdir(tmp_path) == ["store"]


def test_leftovers_of_a_killed_job_do_no_harm(tmp_path):
    path = tmp_path / "a"
    (tmp_path / f".a.{os.getpid()}.part").mkdir()
    with atomic_path(path) as partial:
        assert not partial.exists()
        partial.write_text("x")
    assert os.listdir(tmp_path) == ["a"]


def test_json_is_the_same_for_the_same_content(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [1, 2]})
    write_json(tmp_path / "b.json", {"a": [1, 2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, 2], "b": 1}
