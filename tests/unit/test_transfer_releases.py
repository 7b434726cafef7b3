"""The stage download over whole releases on a web server: with every fault, killed again and again, and changed."""

import json
import logging
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest
from real_data import real_data
from release_server import AtlasField, CellsField, ReleaseServer, changed, drawn_cells, drawn_fields, real_fields
from transfer_settings import SETTINGS as QUICK
from wherein.catalog import build_catalog
from wherein.download import check_shard
from wherein.settings import catalog_settings, check_config, release_settings
from wherein.sources.fetch_release import fetch_release
from wherein.sources.release_files import fetched_keys, release_folder
from wherein.tables import current_fields
from wherein.transfer.cache import Cache, Entry

log = logging.getLogger(__name__)

SETTINGS = QUICK | {"deadline_s": 3, "longest_wait_s": 3, "patience": 1000, "unreachable_share": 1.0}
SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
KILLS = 10

PASSING = {
    "429": ["429:1"],
    "500 for a while": ["500", "500", "502"],
    "hang": ["hang"],
    "reset": ["reset", "reset"],
    "truncated, wrong length": ["short", "long"],
    "truncated, right length": ["cut"],
    "no length": ["open"],
    "HTML": ["html", "packed_html"],
    "another page": ["moved"],
    "another size": ["other"],
    "no Range": ["reset", "drop_range"],
    "another Range": ["reset", "wrong_range"],
    "empty": ["empty"],
}
"""Faults that end, by name: in the end the file is right."""

LASTING = {
    "404": "not_found",
    "403": "refused",
    "429": "unreachable",
    "500": "unreachable",
    "drip": "timed_out",
    "hang": "timed_out",
    "reset": "unreachable",
    "short": "truncated_download",
    "long": "corrupt",
    "cut": "corrupt",
    "html": "not_an_image",
    "empty": "not_an_image",
    "moved": "not_an_image",
    "other": "size_mismatch",
}
"""Faults that do not end, and the reason that the file's row gets."""

JOB = """
import json, sys
from wherein.download import check_shard
print("ready", flush=True)
sys.stdin.readline()
check_shard(**json.loads(sys.argv[1]))
"""

STOPPED = """
import json, os, signal, sys
from wherein.download import check_shard

arguments = json.loads(sys.argv[1])
cache = arguments["settings"]["cache"]


def counted(call, step):
    def wrapped(*given, **named):
        global steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*given, **named)
    return wrapped


for step in range(1, 1000):
    arguments["settings"]["cache"] = f"{cache}{step}"
    job = os.fork()
    if not job:
        steps = 0
        for name in ("replace", "unlink", "open"):
            setattr(os, name, counted(getattr(os, name), step))
        check_shard(**arguments)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(job, 0)[1])
    print(step, flush=True)
    if not killed:
        break
"""
"""Kills the job before its first change in the file system, before its second one in another cache, and so on."""


@dataclass
class Run:
    """A folder in which releases are listed and downloaded, as the rules do it."""

    folder: Path
    server: ReleaseServer

    def catalog(self, **sources: dict) -> pd.DataFrame:
        """Fetch what the sources publish, list their fields, and return the current ones."""
        config = {"sources": sources, "models": {"classic": {"kind": "classic"}}}
        check_config(config)
        for name, source in config["sources"].items():
            if fetched_keys(source):
                place = release_folder(name, source)
                fetch_release(name, release_settings(source), place, "resources/lock.tsv", self.settings())
        tables = [f"catalog/{name}" for name in ("fields.parquet", "shards.tsv", "release_diff.tsv", "run.json")]
        build_catalog(catalog_settings(config), None, 500, *tables, "catalog/remote.parquet", self.settings())
        return current_fields("catalog/fields.parquet")

    def settings(self, **settings: object) -> dict:
        return {**SETTINGS, "cache": str(self.folder / "cache"), **settings}

    def arguments(self, shard: str, **settings: object) -> dict:
        return {
            "shard": shard,
            "fields": "catalog/fields.parquet",
            "files": f"{shard}.parquet",
            "summary": f"{shard}.json",
            "settings": self.settings(**settings),
        }

    def download(self, shard: str, **settings: object) -> pd.DataFrame:
        check_shard(**self.arguments(shard, **settings))
        return pd.read_parquet(f"{shard}.parquet")

    def entry(self, path: str) -> Entry:
        return Cache(self.folder / "cache", 0).entry(self.server.url(path))

    def cached(self) -> list[bytes]:
        """What stands in the cache as an image, sorted."""
        files = (self.folder / "cache").rglob("*")
        return sorted(path.read_bytes() for path in files if path.name.endswith((".jpg", ".tif", ".tif.gz")))

    def asked(self, since: int = 0) -> Counter[str]:
        """How often each image was asked for, from a request on."""
        paths = (path for path, _, _ in self.server.requests[since:])
        return Counter(path for path in paths if path.startswith(("/images/", "/bucket/microscopy")))


@pytest.fixture(scope="module")
def drawn() -> list[AtlasField]:
    return drawn_fields(24, deep=True)


@pytest.fixture(scope="module")
def cells() -> list[CellsField]:
    return drawn_cells(20)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.chdir(tmp_path)
    server = ReleaseServer()
    yield Run(tmp_path, server)
    server.stop()


def atlas(server: ReleaseServer, release: str, **options: object) -> dict:
    addresses = {"host": server.url(f"/{release}"), "images": server.url("/images"), "locations_table": "release"}
    return {"kind": "hpa", "release": release, **addresses, **options}


def bucket(server: ReleaseServer, release: str = "1", **options: object) -> dict:
    tables = {key: server.url(f"/tables/{key}.csv") for key in ("targets", "annotations")}
    return {"kind": "opencell", "release": release, "bucket": server.url("/bucket"), **tables, **options}


def assert_right(run: Run, files: pd.DataFrame) -> None:
    """Every file that is said to be there is what the server has."""
    for row in files[files["status"] == "ok"].itertuples():
        assert Path(row.path).read_bytes() == run.server.files[row.url.removeprefix(run.server.url(""))], row.url


def test_a_clean_run_fetches_every_file_once(run, drawn, cells):
    fields = [*drawn, *real_fields(real_data("smoke_hpa_4ch"))]
    run.server.publish_atlas("v18", fields, new_layout=False)
    run.server.publish_cells(cells)
    listed = run.catalog(atlas=atlas(run.server, "v18"), cells=bucket(run.server))
    assert sorted(listed["field_id"]) == sorted(one.field_id for one in [*fields, *cells])
    for shard in ("atlas-0001", "cells-0001"):
        files = run.download(shard)
        assert files["reason"].isna().all()
        assert_right(run, files)
    wanted = {one.path(colour) for one in fields for colour in one.images}
    wanted |= {f"/bucket/{quote(one.key)}" for one in cells}
    assert run.asked() == dict.fromkeys(wanted, 1)
    assert run.cached() == sorted(run.server.files[path] for path in wanted)
    before = len(run.server.requests)
    for shard in ("atlas-0001", "cells-0001"):
        run.download(shard)
    assert len(run.server.requests) == before


def test_faults_that_end(run, drawn):
    run.server.publish_atlas("v23", drawn, new_layout=True)
    run.server.files["/html"] = b"<html>Sign in</html>"
    run.server.other = real_fields(real_data("smoke_hpa_4ch"))[0].images["red"]
    run.catalog(atlas=atlas(run.server, "v23"))
    broken = dict(zip(PASSING, (one.path("red") for one in drawn), strict=False))
    run.server.faults.update({path: list(PASSING[name]) for name, path in broken.items()})
    files = run.download("atlas-0001")
    assert files["reason"].isna().all(), files[files["status"] != "ok"]["detail"].tolist()
    assert_right(run, files)
    assert not any(run.server.faults.values()), "every fault was met"
    assert len(files) == 4 * len(drawn)
    assert not list((run.folder / "cache").rglob("*.part*"))


def test_faults_that_last_and_are_mended(run, drawn):
    run.server.publish_atlas("v23", drawn, new_layout=True)
    run.server.files["/html"] = b"<html>Sign in</html>"
    run.server.other = real_fields(real_data("smoke_hpa_4ch"))[0].images["red"]
    run.catalog(atlas=atlas(run.server, "v23"))
    broken = dict(zip(LASTING, (one.path("red") for one in drawn), strict=False))
    run.server.faults.update({path: [f"always:{fault}"] for fault, path in broken.items()})
    run.server.ranges = False  # else what hangs or breaks off comes piece by piece
    files = run.download("atlas-0001", connections=8)
    by_path = files.set_index(files["url"].str.removeprefix(run.server.url("")))["reason"].dropna().to_dict()
    assert by_path == {path: LASTING[fault] for fault, path in broken.items()}
    assert_right(run, files)
    right = [path for one in drawn for path in map(one.path, one.images) if path not in broken.values()]
    assert run.cached() == sorted(run.server.files[path] for path in right), "all that is right, nothing that is wrong"
    run.server.faults.clear()
    before = len(run.server.requests)
    files = run.download("atlas-0001")
    assert files["reason"].isna().all()
    assert_right(run, files)
    assert set(run.asked(before)) <= set(broken.values()), "what was there is not fetched again"


def test_a_withdrawn_antibody_falls_back_and_stays_there_offline(run, drawn):
    run.server.publish_atlas("v23", drawn[:6], new_layout=True)
    gone = {drawn[2].path(colour, "tif.gz") for colour in drawn[2].deep}
    run.server.faults.update({path: ["always:400"] for path in gone})
    run.catalog(atlas=atlas(run.server, "v23", image_format="tif.gz", fallback="jpg"))
    files = run.download("atlas-0001")
    assert files["reason"].isna().all()
    assert_right(run, files)
    taken = files[files["url"].str.endswith(".jpg")]
    assert set(taken["field_id"]) == {drawn[2].field_id}
    before = len(run.server.requests)
    assert run.download("atlas-0001", offline=True).equals(files)
    assert len(run.server.requests) == before


def test_a_changed_file_under_the_same_url(run, drawn, cells):
    run.server.publish_atlas("v22", drawn, new_layout=False)
    run.server.publish_cells(cells)
    run.catalog(atlas=atlas(run.server, "v22", ask_server=True), cells=bucket(run.server))
    for shard in ("atlas-0001", "cells-0001"):
        run.download(shard)
    again = [changed(drawn[3], drawn[9]), *drawn[:3], *drawn[4:]]
    run.server.publish_atlas("v23", again, new_layout=True)
    run.server.publish_cells([replace(cells[5], image=cells[6].image), *cells[:5], *cells[6:]])
    before = len(run.server.requests)
    sources = {"atlas": atlas(run.server, "v23", ask_server=True), "cells": bucket(run.server, "2")}
    listed = run.catalog(**sources)
    moved = listed[listed["shard"].isin(["atlas-0002", "cells-0002"])]
    assert sorted(moved["field_id"]) == sorted([drawn[3].field_id, cells[5].field_id])
    for shard in ("atlas-0002", "cells-0002"):
        files = run.download(shard)
        assert files["reason"].isna().all()
        assert_right(run, files)
    images = {drawn[3].path(colour) for colour in drawn[3].images}
    assert set(run.asked(before)) <= {*images, f"/bucket/{quote(cells[5].key)}"}


def test_a_job_killed_ten_times_loses_no_finished_file(run, drawn, caplog):
    caplog.set_level(logging.INFO)
    fields = [*drawn, *real_fields(real_data("smoke_hpa_4ch"))]
    run.server.publish_atlas("v23", fields, new_layout=True)
    run.catalog(atlas=atlas(run.server, "v23"))
    paths = {one.path(colour) for one in fields for colour in one.images}
    size = sum(len(run.server.files[path]) for path in paths)
    run.server.slow_s = 0.008  # all of it takes longer than the ten jobs together live
    moments = random.Random(4)
    done: set[str] = set()
    killed, in_flight_bytes, most_in_flight, wrongly = 0, 0, 0, set()
    while killed < KILLS:
        before = len(run.server.requests)
        job = start(run.arguments("atlas-0001", timeout_s=5, deadline_s=60))
        time.sleep(moments.uniform(0.05, 0.45))
        job.kill()
        assert job.wait() == -9, "killed before its end"
        killed += 1
        time.sleep(0.1)
        asked = set(run.asked(before))
        wrongly |= asked & done
        finished = {path for path in paths if run.entry(path).content() or run.entry(path).came()}
        assert done <= finished, "what was there once is there still"
        open_now = asked - finished
        in_flight_bytes += sum(len(run.server.files[path]) for path in open_now)
        most_in_flight = max(most_in_flight, len(open_now))
        done = finished
    assert 0 < len(done) < len(paths), "the kills fell between beginning and end"
    assert wrongly == set(), "no finished file was fetched again"
    assert most_in_flight <= SETTINGS["connections"]
    run.server.slow_s = 0
    files = run.download("atlas-0001", timeout_s=5, deadline_s=60)
    assert files["reason"].isna().all()
    assert_right(run, files)
    assert run.cached() == sorted(run.server.files[path] for path in paths)
    assert not list((run.folder / "cache").rglob("[!.]*.part"))
    time.sleep(0.2)
    twice = sum(run.server.sent[path] for path in paths) - size
    log.info(
        "%d kills, %d files of %d bytes, %d bytes fetched twice; in flight when killed: %d bytes, %d files at most",
        *(killed, len(paths), size, twice, in_flight_bytes, most_in_flight),
    )
    assert 0 <= twice <= in_flight_bytes


def test_a_job_killed_before_any_step_of_its_own_goes_on_from_there(run, drawn):
    run.server.publish_atlas("v23", drawn[:1], new_layout=True)
    run.catalog(atlas=atlas(run.server, "v23", roles=["nucleus", "protein"]))
    before = len(run.server.requests)
    arguments = run.arguments("atlas-0001", connections=1)
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    steps = len(done.stdout.split())
    assert steps > 20, "locks, notes, files and tables are among the steps"
    for step in range(1, steps + 1):
        files = run.download("atlas-0001", cache=f"{arguments['settings']['cache']}{step}")
        assert files["reason"].isna().all()
        assert_right(run, files)
        # a note on a part that is there no more may stay, and one that was not finished: nobody reads them
        left = Path(f"{arguments['settings']['cache']}{step}").rglob("[!.]*.part")
        assert not list(left), step
    asked = run.asked(before)
    log.info("%d steps, %d requests for %d files", steps, asked.total(), 2 * steps)
    assert asked.total() <= 2 * steps + steps, "at each kill at most the file in flight was asked for again"


def start(arguments: dict) -> subprocess.Popen:
    """A process of the download job that has just begun to fetch."""
    job = subprocess.Popen(
        [sys.executable, "-c", JOB, json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert job.stdout.readline() == b"ready\n"
    job.stdin.close()
    return job
