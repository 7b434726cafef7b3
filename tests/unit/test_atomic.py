"""Writing so that a reader sees the old content or the new."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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


WRITER = """
import sys, time
from pathlib import Path
from wherein.atomic import atomic_path

target, kind = Path(sys.argv[1]), sys.argv[2]
with atomic_path(target) as partial:
    partial.mkdir() if kind == "folder" else partial.write_text("half")
    if kind == "folder":
        (partial / "half").write_text("half")
    print(partial.name, flush=True)
    sys.stdin.readline()
"""


def writer(target: Path, kind: str = "file") -> tuple[subprocess.Popen, str]:
    """A job in the middle of writing, which ends when its input is closed; and its temporary name."""
    job = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target), kind],
        env={**os.environ, "PYTHONPATH": str(Path(atomic.__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return job, job.stdout.readline().strip()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_job_left_goes_and_what_a_live_one_writes_stays(tmp_path, kind):
    path = tmp_path / "a.zarr"
    killed, left = writer(path, kind)
    live, half = writer(path, kind)
    other, of_another = writer(tmp_path / "a", kind)
    for job in (killed, other):
        job.kill()
        job.wait()
    assert sorted(os.listdir(tmp_path)) == sorted([left, half, of_another])
    with atomic_path(path) as partial:
        assert sorted(os.listdir(tmp_path)) == sorted([half, of_another]), "the same target's, of a dead process"
        partial.write_text("mine")
    assert path.read_text() == "mine"
    live.stdin.close()
    assert live.wait() == 0, "its temporary name was still there"
    assert path.is_dir() == (kind == "folder")
    assert sorted(os.listdir(tmp_path)) == sorted([of_another, "a.zarr"])


def test_a_folder_that_stepped_aside_for_a_killed_job_comes_back(tmp_path):
    path = tmp_path / "store"
    killed, left = writer(path, "folder")
    killed.kill()
    killed.wait()
    aside = tmp_path / left.replace(".part", ".old")
    aside.mkdir()
    (aside / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path):
        _ = 1 / 0
    assert os.listdir(tmp_path) == ["store"]
    assert os.listdir(path) == ["old"]


@pytest.mark.parametrize(("hours", "gone"), [(0, False), (23, False), (25, True)])
def test_what_another_machine_left_goes_after_a_day(tmp_path, hours, gone):
    left = tmp_path / ".a.node7-1.12345-0.part"
    left.mkdir()
    (left / "chunk").write_text("half")
    then = time.time() - hours * 3600
    os.utime(left / "chunk", (then, then))
    os.utime(left, (then - 10 * 86_400, then - 10 * 86_400))  # only what is inside was written lately
    with atomic_path(tmp_path / "a") as partial:
        partial.write_text("x")
    assert left.exists() != gone


def test_a_name_of_a_process_with_the_same_id_is_left_over(tmp_path):
    (tmp_path / f".a.{atomic._machine()}.{os.getpid()}-999999.part").mkdir()
    with atomic_path(tmp_path / "a") as partial:
        partial.write_text("x")
    assert os.listdir(tmp_path) == ["a"]


def test_threads_write_one_target_at_once(tmp_path):
    both = threading.Barrier(2)

    def write(content: str) -> None:
        with atomic_path(tmp_path / "a") as partial:
            partial.write_text(content)
            both.wait(10)
            assert partial.read_text() == content

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ["one", "two"]))
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_of_many_files_is_listed_once(tmp_path, monkeypatch):
    listed = []
    monkeypatch.setattr(atomic.os, "listdir", lambda path: listed.append(path) or [])
    for number in range(5):
        write_json(tmp_path / f"{number}.json", number)
    assert listed == [tmp_path]


def test_json_is_the_same_for_the_same_content(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [1, 2]})
    write_json(tmp_path / "b.json", {"a": [1, 2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, 2], "b": 1}
