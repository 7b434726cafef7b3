"""A run on one release from a web server, then on the next: what is rerun, what it says, and that no stage but the
fetching ones reaches for the network.
"""

import csv
import logging
import math
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from house import House, job_stats
from release_server import AtlasField, ReleaseServer, changed, drawn_cells, drawn_fields

pytestmark = pytest.mark.slow

log = logging.getLogger(__name__)

FIELDS, NEW = 200, 10
"""Fields of the atlas' first release, and those that the second one adds: 5 %. It changes, relabels and removes 1 %
each, one of every shard."""

SHARD = 110
PIXEL_STAGES = ("download", "qc", "segment", "crop", "embed")
LATER = {"evaluate", "atlas", "enrich", "heterogeneity", "plot_model", "build_site", "balance", "split", "cluster"}
FETCHING = {"fetch_release", "catalog", "fetch_gene_sets", "fetch_weights", "download"}
ARGUMENTS = ("--configfile", "run.yaml", "--cores", "2")

GUARD = '''
"""Raise, and leave a mark, when anything asks for an internet address."""

import os
import socket
import sys

INTERNET = (socket.AF_INET, socket.AF_INET6)


def guard(event, arguments):
    asked = event == "socket.getaddrinfo"
    asked |= event in ("socket.connect", "socket.sendto") and arguments[0].family in INTERNET
    if asked:
        with open(os.environ["NETWORK_MARK"], "a") as mark:
            mark.write(f"{event} {arguments[1:] if event != 'socket.getaddrinfo' else arguments} by {sys.argv}\\n")
        raise PermissionError("this process may not reach for the network")


sys.addaudithook(guard)
'''


def config(server: ReleaseServer, release: str) -> dict:
    """Two releases of both sources: `v20` and `v23`, `1` and `2`."""
    return {
        "sources": {
            "atlas": {
                "kind": "hpa",
                "release": release,
                "host": server.url(f"/{release}"),
                "images": server.url("/images"),
                "locations_table": "release",
                "ask_server": True,
                "pixel_size_um": 0.4,
            },
            "cells": {
                "kind": "opencell",
                "release": "1" if release == "v20" else "2",
                "bucket": server.url("/bucket"),
                "targets": server.url("/tables/targets.csv"),
                "annotations": server.url("/tables/annotations.csv"),
                "pixel_size_um": 0.4,
            },
        },
        "shards": {"fields": SHARD},
        "download": {"connections": 16, "min_free_gb": 0.1, "retries": 2, "backoff_s": 0.1},
        "models": {"classic": {"kind": "classic", "level": "field"}},
        "biology": {"gene_sets": {"drawn": server.url("/sets.gmt")}},
        "split": {"near_duplicate_bits": 0},
        "report": {"cells_per_protein": 2, "field_pictures": 20, "dpi": 50},
    }


def second_release(
    first: list[AtlasField], new: list[AtlasField], shards: list[set[str]]
) -> tuple[list[AtlasField], dict[str, set[str]]]:
    """The fields of the next release, and field_ids by what happened to them: of every shard one each."""
    said: dict[str, set[str]] = {"added": {one.field_id for one in new}}
    fields = {one.field_id: one for one in first}
    for what, place in (("changed", 5), ("relabelled", 17), ("removed", 29)):
        said[what] = {sorted(members)[place] for members in shards}
        for number, field_id in enumerate(sorted(said[what])):
            one = fields[field_id]
            if what == "changed":
                fields[field_id] = changed(one, new[number])
            elif what == "relabelled":
                fields[field_id] = replace(one, labels=("Cytosol" if one.labels[0] == "Vesicles" else "Vesicles",))
            else:
                del fields[field_id]
    return [*fields.values(), *new], said


class Releases:
    """A house that ran on the first release, and what the test saw on the way."""

    def __init__(self, folder: Path) -> None:
        self.server = ReleaseServer()
        drawn = drawn_fields(FIELDS + NEW)
        self.first, self.new = drawn[:FIELDS], drawn[FIELDS:]
        self.cells = drawn_cells(20)
        genes = [one.genes[0][1] for one in drawn]
        sets = "".join(f"set {start}\t\t" + "\t".join(genes[start::3]) + "\n" for start in range(3))
        self.server.files["/sets.gmt"] = sets.encode()
        self.server.publish_atlas("v20", self.first, new_layout=False)
        self.server.publish_cells(self.cells)
        self.house = House(folder / "house")
        self.guard = folder / "guard"
        self.guard.mkdir()
        (self.guard / "sitecustomize.py").write_text(GUARD)
        self.mark = folder / "reached_for_the_network"
        self.configure("v20")

    def configure(self, release: str) -> None:
        (self.house.folder / "run.yaml").write_text(yaml.safe_dump(config(self.server, release)))

    def guarded(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.guard), "NETWORK_MARK": str(self.mark)}

    def table(self, name: str) -> pd.DataFrame:
        path = self.house.folder / "results" / name
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, sep="\t", dtype=str)

    def shards(self) -> Counter[str]:
        """Number of shards by source."""
        names = set(self.table("catalog/shards.tsv")["shard"])
        return Counter(name.rpartition("-")[0] for name in names)


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    running = Releases(tmp_path_factory.mktemp("releases"))
    yield running
    running.server.stop()


@pytest.fixture(scope="module")
def fetched(releases):
    """All that needs the network is there."""
    done = releases.house.snakemake(*ARGUMENTS, "all_download")
    log.info("fetched release v20: %s", job_stats(done.stdout + done.stderr))
    return releases


@pytest.fixture(scope="module")
def finished(fetched):
    """The run went on to the report, where anything that reached for the network would have failed."""
    asked = len(fetched.server.requests)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in fetched.guarded().items():
            patch.setenv(name, value)
        done = fetched.house.snakemake(*ARGUMENTS)
    fetched.jobs = job_stats(done.stdout + done.stderr)
    log.info("computed release v20 without network: %s", fetched.jobs)
    assert len(fetched.server.requests) == asked
    return fetched


@pytest.fixture(scope="module")
def updated(finished):
    """The second release is out, the catalog has it, and a dry run told what is to do."""
    house, server = finished.house, finished.server
    finished.shards_before = finished.shards()
    table = finished.table("catalog/shards.tsv")
    members = [set(part["field_id"]) for _, part in table[table["source"] == "atlas"].groupby("shard")]
    finished.second, finished.said = second_release(finished.first, finished.new, members)
    finished.models_before = times(house.folder / "results" / "models")
    server.publish_atlas("v23", finished.second, new_layout=True)
    cells = [replace(finished.cells[7], image=finished.cells[8].image), *finished.cells[:7], *finished.cells[8:]]
    server.publish_cells(cells)
    finished.requests_before = len(server.requests)
    finished.configure("v23")
    house.snakemake(*ARGUMENTS, "catalog")
    finished.asked_by_catalog = [path for path, _, _ in server.requests[finished.requests_before :]]
    finished.planned = house.planned(*ARGUMENTS)
    log.info("planned for release v23: %s", finished.planned)
    return finished


@pytest.fixture(scope="module")
def rerun(updated):
    """The second release is worked through."""
    updated.house.snakemake(*ARGUMENTS)
    return updated


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_guard_guards(tmp_path, releases):
    mark = tmp_path / "mark"
    asks = (
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import urllib3; urllib3.request('GET', 'http://127.0.0.1:9/')",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
        "import socket; socket.gethostbyname_ex; socket.getaddrinfo('example.org', 80)",
    )
    for number, code in enumerate(asks, start=1):
        env = {**os.environ, **releases.guarded(), "NETWORK_MARK": str(mark)}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False, text=True)
        assert done.returncode != 0
        assert "may not reach for the network" in done.stderr
        assert len(mark.read_text().splitlines()) >= number


def test_the_first_release_runs_to_the_report_without_network(finished):
    assert not finished.mark.exists(), finished.mark.read_text()
    assert not set(finished.jobs) & FETCHING
    assert set(finished.jobs) >= {"qc", "segment", "crop", "embed", "evaluate", "atlas", "enrich", "build_site"}
    assert (finished.house.folder / "results/report/site/index.html").is_file()
    for stage in ("download", "qc"):
        rows = pd.concat(
            [pd.read_parquet(path) for path in (finished.house.folder / "results" / stage).glob("*.parquet")]
        )
        assert len(set(rows["field_id"])) == FIELDS + 20
        if stage == "download":
            assert rows["reason"].isna().all()
    cells = pd.concat([pd.read_parquet(path) for path in (finished.house.folder / "results/cells").glob("*.parquet")])
    assert (cells["status"] == "kept").groupby(cells["source"]).sum().min() > 20, "the fields show cells"


def test_every_image_of_the_first_release_was_fetched_once(finished):
    wanted = {one.path(colour) for one in finished.first for colour in one.images}
    asked = Counter(path for path, _, _ in finished.server.requests if path.startswith("/images/"))
    assert asked == dict.fromkeys(wanted, 1)
    assert Counter(finished.server.heads) == dict.fromkeys(wanted, 1), "the catalog asked for the state of each"


def test_the_catalog_of_the_second_release_fetches_no_image(updated):
    assert [path for path in updated.asked_by_catalog if path.startswith(("/images/", "/bucket/micro"))] == []


def test_only_what_is_new_or_changed_is_worked_on(updated):
    opened = updated.shards() - updated.shards_before
    bound = math.ceil(0.06 * FIELDS / SHARD) + 1
    log.info("shards before %s, opened %s, bound %d a source", dict(updated.shards_before), dict(opened), bound)
    assert len(updated.said["changed"]) == updated.shards_before["atlas"] == FIELDS / 100, "1 %, one of every shard"
    assert 1 <= opened["atlas"] <= bound
    assert opened["cells"] == 1
    for stage in PIXEL_STAGES:
        assert updated.planned[stage] == opened.total(), stage
    assert not set(updated.planned) & ({"train"} | FETCHING - {"download"})
    assert set(updated.planned) >= LATER


def test_the_difference_is_told_row_by_row(updated):
    rows = updated.table("catalog/release_diff.tsv")
    rows = rows[rows["release"].isin(["v23", "2"])]
    found = {what: set(part["field_id"]) for what, part in rows[rows["source"] == "atlas"].groupby("change")}
    assert found == updated.said
    assert set(rows.loc[rows["source"] == "atlas", "old_release"]) == {"v20"}
    cells = rows[rows["source"] == "cells"]
    assert list(zip(cells["field_id"], cells["change"], strict=True)) == [(updated.cells[7].field_id, "changed")]
    labels = rows[rows["change"] == "relabelled"].set_index("field_id")
    first, second = ({one.field_id: one for one in fields} for fields in (updated.first, updated.second))
    for field_id in updated.said["relabelled"]:
        assert labels.loc[field_id, "old"].split(";") == list(first[field_id].labels)
        assert labels.loc[field_id, "new"].split(";") == list(second[field_id].labels)
    catalog = updated.table("catalog/fields.parquet")
    versions = catalog.groupby(["field_id", "release"])["version"].first()
    for row in rows[rows["change"] == "changed"].itertuples():
        releases = ("v20", "v23") if row.source == "atlas" else ("1", "2")
        assert [versions[row.field_id, release] for release in releases] == [row.old, row.new]


def test_fields_keep_their_shards_and_samples(updated):
    catalog = updated.table("catalog/fields.parquet")
    current = catalog[catalog["retired_in"].isna()]
    assert sorted(current.loc[current["source"] == "atlas", "field_id"]) == sorted(
        one.field_id for one in updated.second
    )
    retired = catalog[catalog["retired_in"].notna() & (catalog["source"] == "atlas")]
    assert set(retired["field_id"]) == updated.said["changed"] | updated.said["removed"]
    assert set(retired["retired_in"]) == {"v23"}
    # other spellings of cell lines and other names of files are no other samples
    assert set(current.loc[current["source"] == "atlas", "cell_line"]) <= {"U-2 OS", "A-431", "HEK 293"}
    stayed = current[(current["source"] == "atlas") & (current["release"] == "v20")]
    assert len(stayed) == FIELDS - len(retired)


def test_the_second_release_is_worked_through(rerun):
    assert rerun.house.planned(*ARGUMENTS) == {}
    fetched = Counter(path for path, _, _ in rerun.server.requests[rerun.requests_before :])
    images = {path: count for path, count in fetched.items() if path.startswith("/images/")}
    moved = [one for one in rerun.second if one.field_id in rerun.said["added"] | rerun.said["changed"]]
    assert images == dict.fromkeys((one.path(colour) for one in moved for colour in one.images), 1)
    catalog = rerun.table("catalog/fields.parquet")
    current = catalog[catalog["retired_in"].isna()].set_index("field_id")
    paths = (rerun.house.folder / "results/download").glob("*.parquet")
    files = pd.concat([pd.read_parquet(path) for path in paths])
    files = files[files["version"] == files["field_id"].map(current["version"])]
    assert files["reason"].isna().all()
    assert len(files) == 4 * len(rerun.second) + 2 * len(rerun.cells)
    for row in files.itertuples():
        assert Path(row.path).read_bytes() == rerun.server.files[row.url.removeprefix(rerun.server.url(""))]
    assert times(rerun.house.folder / "results" / "models") == rerun.models_before
    with (rerun.house.folder / "resources" / "lock.tsv").open(newline="") as lines:
        locked = [row["file"] for row in csv.DictReader(lines, delimiter="\t")]
    assert "resources/releases/atlas/v23/proteinatlas.xml.gz" in locked
    assert "resources/gene_sets/fetched/drawn.gmt" in locked
