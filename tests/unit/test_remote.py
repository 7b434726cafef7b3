"""Images that change under the same URL: servers are asked, fields get new versions, caches are not trusted."""

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
from fault_server import FaultServer, Handler
from transfer_settings import SETTINGS
from wherein.catalog import build_catalog
from wherein.catalog.remote import RemoteFiles
from wherein.channels import uri_column
from wherein.download import DownloadError, check_shard
from wherein.settings import check_config
from wherein.sources.address import from_uri
from wherein.tables import REMOTE, current_fields
from wherein.transfer.ask import state_on_server
from wherein.transfer.client import Client
from wherein.transfer.errors import TransferError
from wherein.transfer.fields import Downloader
from wherein.transfer.hosts import Hosts
from wherein.transfer.state import RemoteState, bare

ROLES = ("nucleus", "protein")
FIELDS = 6
DOWNLOAD = SETTINGS | {
    "timeout_s": 1,
    "deadline_s": 10,
    "longest_wait_s": 10,
    "retries": 1,
    "patience": 20,
    "unreachable_share": 0.0,
}


def image(seed: int, size: int = 24) -> bytes:
    return imagecodecs.png_encode(np.random.default_rng(seed).integers(0, 255, (size, size), np.uint8))


@pytest.fixture
def server():
    running = FaultServer()
    yield running
    running.stop()


class Run:
    """A table of URLs, the catalogs that are made of it, and the downloads of their shards."""

    def __init__(self, folder: Path, server: FaultServer) -> None:
        self.folder, self.server = folder, server
        for place, role in enumerate(ROLES):
            for number in range(FIELDS):
                server.files[f"/{role}_{number}.png"] = image(2 * number + place)
        rows = [f"f{number},A{number // 2},{server.url(f'/{{}}_{number}.png')}" for number in range(FIELDS)]
        lines = [row.format("nucleus") + "," + row.rsplit(",", 1)[1].format("protein") for row in rows]
        (folder / "fields.csv").write_text("\n".join(["field_id,reagent,n,p", *lines]) + "\n")
        self.paths = {
            "fields": str(folder / "catalog" / "fields.parquet"),
            "shards": str(folder / "catalog" / "shards.tsv"),
            "diff": str(folder / "catalog" / "release_diff.tsv"),
            "summary": str(folder / "catalog" / "run.json"),
            "remote": str(folder / "catalog" / "remote.parquet"),
        }

    def settings(self, **changed: Any) -> dict[str, Any]:
        return {**DOWNLOAD, "cache": str(self.folder / "cache"), **changed}

    def catalog(self, ask_server: bool = True, **download: Any) -> pd.DataFrame:
        """Current rows of the catalog, by field_id."""
        source = {
            "kind": "table",
            "table": str(self.folder / "fields.csv"),
            "roles": {"nucleus": {"path": "{n}"}, "protein": {"path": "{p}"}},
            "pixel_size_um": 0.1,
            "full_scale": 255,
            "ask_server": ask_server,
        }
        config = {"sources": {"web": source}, "models": {"classic": {"kind": "classic"}}}
        check_config(config)
        build_catalog(config["sources"], None, 10, **self.paths, download=self.settings(**download))
        return current_fields(self.paths["fields"]).set_index("field_id")

    def notes(self) -> str:
        return "\n".join(json.loads(Path(self.paths["summary"]).read_text())["notes"])

    def remote(self) -> pd.DataFrame:
        found = pd.read_parquet(self.paths["remote"])
        assert list(found.columns) == REMOTE.names
        assert found["url"].is_monotonic_increasing
        return found.set_index(found.pop("url").str.replace(self.server.url(""), ""))

    def download(self, shard: str, **settings: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
        check_shard(
            shard=shard,
            fields=self.paths["fields"],
            files=str(self.folder / f"{shard}.parquet"),
            summary=str(self.folder / f"{shard}.json"),
            settings=self.settings(**settings),
        )
        told = json.loads((self.folder / f"{shard}.json").read_text())
        return pd.read_parquet(self.folder / f"{shard}.parquet"), told


@pytest.fixture
def run(tmp_path, server) -> Run:
    return Run(tmp_path, server)


def ask(server: FaultServer, path: str, folder: Path, **settings: Any) -> RemoteState:
    options = {**DOWNLOAD, **settings}
    hosts = Hosts(folder / "hosts", options["connections"], options["patience"])
    return state_on_server(server.url(path), Client(4, options["timeout_s"]), hosts, options)


def test_tags_are_bared():
    assert [bare(tag) for tag in ('"a"', 'W/"a"', "a", ' "a" ', "", None, '""')] == [
        "a",
        "a",
        "a",
        "a",
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("one", "two", "differs"),
    [
        (("a", None, 1), ("a", None, 1), False),
        (("a", "Mon", 1), ("b", "Mon", 1), True),
        (("a", "Mon", 1), ("a", "Tue", 2), False),  # the tag is the server's word on the content
        (("a", "Mon", 1), (None, "Mon", 1), False),
        (("a", "Mon", 1), (None, "Tue", 1), True),
        ((None, "Mon", 1), (None, "Mon", 2), True),
        ((None, None, 1), (None, None, 2), True),
        ((None, None, 1), (None, None, 1), False),
        ((None, None, None), ("a", "Mon", 1), False),  # nothing was known
    ],
)
def test_when_states_differ(one, two, differs):
    assert RemoteState(*one).differs(RemoteState(*two)) is differs
    assert RemoteState(*two).differs(RemoteState(*one)) is differs


def test_a_state_knows_its_name():
    assert RemoteState("a", "Mon", 1).name == "a"
    assert RemoteState(None, "Mon", 1).name == "Mon"
    assert RemoteState(None, None, 1).name == "1 bytes"
    assert RemoteState().name is None
    assert all(RemoteState("a", "Mon", 1).is_called(name) for name in ("a", "Mon", "1 bytes"))
    assert not RemoteState("a", None, None).is_called("None bytes2")


def test_a_server_is_asked_by_head(run, server, tmp_path):
    server.dated = True
    state = ask(server, "/protein_0.png", tmp_path)
    assert state.bytes == len(server.files["/protein_0.png"])
    assert len(state.etag) == 16
    assert state.last_modified.endswith("GMT")
    assert server.heads == ["/protein_0.png"]
    assert not server.requests
    assert server.sent.total() == 0


@pytest.mark.parametrize("refusal", ["405", "403", "404", "400", "501"])
def test_where_head_is_refused_one_byte_is_fetched(run, server, tmp_path, refusal):
    server.faults["/protein_0.png"] = [refusal]
    state = ask(server, "/protein_0.png", tmp_path)
    assert state.bytes == len(server.files["/protein_0.png"])
    assert [(path, part) for path, part, _ in server.requests] == [("/protein_0.png", "bytes=0-0")]
    time.sleep(0.05)
    assert server.sent["/protein_0.png"] == 1


def test_a_server_without_head_and_ranges_is_not_read(run, server, tmp_path):
    server.files["/big.png"] = b"x" * (1 << 24)
    server.ranges = False
    server.faults["/big.png"] = ["501"]
    assert ask(server, "/big.png", tmp_path).bytes == 1 << 24
    time.sleep(0.1)
    assert server.sent["/big.png"] < 1 << 23


def test_errors_that_pass_are_asked_again_once(run, server, tmp_path):
    server.faults["/protein_0.png"] = ["503"]
    assert ask(server, "/protein_0.png", tmp_path, retries=5).etag
    server.faults["/protein_0.png"] = ["always:503"]
    before = len(server.heads)
    with pytest.raises(TransferError) as caught:
        ask(server, "/protein_0.png", tmp_path, retries=5)
    assert caught.value.reason == "unreachable"
    assert len(server.heads) == before + 2
    with pytest.raises(TransferError) as caught:
        ask(server, "/none.png", tmp_path)
    assert caught.value.reason == "not_found"


def test_asking_changes_no_version(run):
    silent = run.catalog(ask_server=False)
    assert len(run.remote()) == 0
    asked = run.catalog()
    assert asked["version"].equals(silent["version"])
    assert asked["shard"].equals(silent["shard"])
    remote = run.remote()
    assert len(remote) == FIELDS * len(ROLES)
    assert set(remote["revision"]) == {0}
    assert remote["bytes"].to_dict() == {path: len(content) for path, content in run.server.files.items()}
    assert from_uri(asked.loc["f1", uri_column("protein")]).state == remote.loc["/protein_1.png", "etag"]
    content = Path(run.paths["remote"]).read_bytes()
    run.catalog()
    assert Path(run.paths["remote"]).read_bytes() == content
    assert run.catalog(ask_server=False)["version"].equals(silent["version"])
    assert Path(run.paths["remote"]).read_bytes() == content, "what is known is kept"


def test_a_changed_image_is_a_new_version(run, server):
    first = run.catalog()
    server.files["/protein_2.png"] = image(99)
    second = run.catalog()
    changed = first["version"] != second["version"]
    assert changed[changed].index.tolist() == ["f2"]
    assert second.loc["f2", "shard"] == "web-0002"
    assert (second["shard"] == "web-0001").sum() == FIELDS - 1
    assert run.remote()["revision"].to_dict() == {path: int(path == "/protein_2.png") for path in server.files}
    assert "asked servers about 12 images, 1 have changed since they were last asked" in run.notes()
    last = Path(run.paths["diff"]).read_text().splitlines()[-1].split("\t")
    assert last[3:] == ["f2", "changed", first.loc["f2", "version"], second.loc["f2", "version"]]
    # nobody needs to be asked to stay there
    assert run.catalog(ask_server=False)["version"].equals(second["version"])
    server.files["/nucleus_2.png"] = image(98)
    third = run.catalog()
    assert third.loc["f2", "version"] not in (first.loc["f2", "version"], second.loc["f2", "version"])


def test_a_silent_server_leaves_the_last_state(run, server):
    first = run.catalog()
    known = run.remote()
    server.files["/protein_2.png"] = image(99)
    server.faults["/protein_2.png"] = ["always:503"]
    del server.files["/nucleus_3.png"]
    assert run.catalog()["version"].equals(first["version"])
    assert run.remote().equals(known)
    assert "no answer for 2 images, which are taken to be as before; the first: http" in run.notes()
    server.faults.clear()
    server.stop()
    start = time.monotonic()
    assert run.catalog(patience=3)["version"].equals(first["version"])
    assert time.monotonic() - start < 5
    assert "no answer for 12 images" in run.notes()
    assert run.catalog(offline=True)["version"].equals(first["version"])
    assert "download.offline is on: no server was asked" in run.notes()


def test_a_file_that_was_fetched_before_anybody_asked(run, server):
    first = run.catalog(ask_server=False)
    run.download("web-0001")
    server.files["/protein_2.png"] = image(99)
    second = run.catalog()
    changed = first["version"] != second["version"]
    assert changed[changed].index.tolist() == ["f2"], "the cache says what the run has worked on"


def test_a_server_without_tags_and_dates(run, server):
    server.tags = False
    first = run.catalog()
    assert from_uri(first.loc["f0", uri_column("protein")]).state == f"{len(server.files['/protein_0.png'])} bytes"
    server.files["/protein_2.png"] = imagecodecs.png_encode(np.full((24, 24), 7, np.uint8))
    second = run.catalog()
    assert (first["version"] != second["version"]).sum() == 1
    files, told = run.download("web-0002")
    assert files["status"].eq("ok").all()
    assert not told["notes"]
    server.dated = True
    run.catalog()
    server.dates["/protein_3.png"] = 1_750_000_000
    third = run.catalog()
    assert (third["version"] != second["version"]).sum() == 1


def test_connections_are_limited_and_used(tmp_path):
    busy, busiest, lock = 0, 0, threading.Lock()

    class Slow(Handler):
        def do_HEAD(self) -> None:  # noqa: N802
            nonlocal busy, busiest
            with lock:
                busy += 1
                busiest = max(busy, busiest)
            time.sleep(0.02)
            with lock:
                busy -= 1
            super().do_HEAD()

    server = FaultServer()
    server.RequestHandlerClass = Slow
    server.files = {f"/{number}.png": b"x" for number in range(60)}
    row = {"roles": ["protein"], "version": "0", "source": "s", "field_id": "f"}
    rows = [{**row, "uri_protein": server.url(path) + "#z=max"} for path in server.files]
    settings = {**DOWNLOAD, "cache": str(tmp_path / "cache"), "connections": 3}
    found = RemoteFiles(tmp_path / "remote.parquet", settings)
    notes = found.follow({"ask_server": True}, rows, set())
    server.stop()
    assert notes == ["asked servers about 60 images, 0 have changed since they were last asked"]
    assert len(found.known) == 60
    assert busiest == 3


def test_a_changed_file_is_fetched_though_it_is_cached(run, server):
    run.catalog()
    before, _ = run.download("web-0001")
    server.files["/protein_2.png"] = image(99)
    run.catalog()
    requests = len(server.requests)
    files, told = run.download("web-0002")
    assert [path for path, _, _ in server.requests[requests:]] == ["/protein_2.png"], "the nucleus is in the cache"
    assert Path(files["path"][1]).read_bytes() == server.files["/protein_2.png"]
    assert told["fetched_bytes"] == len(server.files["/protein_2.png"])
    assert not told["notes"]
    # the old shard is not asked for again but for what is current
    again, told = run.download("web-0001")
    assert len(server.requests) == requests + 1
    assert again[again["reason"] == "retired"]["field_id"].tolist() == ["f2", "f2"]
    columns = ["field_id", "role", "path", "sha256", "status"]
    kept = again.loc[again["status"] == "ok", columns]
    assert kept.to_dict("records") == before.loc[before["field_id"] != "f2", columns].to_dict("records")


def test_content_that_is_newer_still_is_taken_with_a_note(run, server):
    run.catalog()
    run.download("web-0001")
    server.files["/protein_2.png"] = image(99)
    run.catalog()
    server.files["/protein_2.png"] = image(100)
    files, told = run.download("web-0002")
    assert Path(files["path"][1]).read_bytes() == server.files["/protein_2.png"]
    assert any("1 files have changed on their server since the catalog was made" in note for note in told["notes"])
    # the server says that it is the same: not fetched again, told again
    sent = server.sent.total()
    _, told = run.download("web-0002")
    assert server.sent.total() == sent
    assert told["fetched_bytes"] == 0
    assert len(told["notes"]) == 1
    version = run.catalog().loc["f2", "version"]
    assert version not in set(files["version"])
    _, told = run.download("web-0003")
    assert not told["notes"]


def test_an_old_file_never_stands_in_for_a_new_one(run, server):
    run.catalog()
    run.download("web-0001")
    server.files["/protein_2.png"] = image(99)
    run.catalog()
    files, _ = run.download("web-0002", offline=True)
    assert files["reason"].tolist() == [None, "offline"]
    assert "as it is since it changed on the server" in files["detail"][1]
    server.faults["/protein_2.png"] = ["always:503"]
    with pytest.raises(DownloadError, match="1 of 1 fields could not be fetched now"):
        run.download("web-0002")


def test_a_part_of_the_old_file_is_no_part_of_the_new_one(run, server):
    run.catalog()
    entry = Downloader(run.settings()).cache.entry(server.url("/protein_2.png"))
    old = server.files["/protein_2.png"]
    server.faults["/protein_2.png"] = ["always:reset"]
    with pytest.raises(DownloadError):
        run.download("web-0001")
    assert 0 < entry.part.stat().st_size < len(old)
    # come to its end, but the job was killed before it was let in
    entry.part.write_bytes(old)
    entry.complete(entry.begun()._replace(bytes=len(old)))
    server.faults.clear()
    server.files["/protein_2.png"] = image(99)
    run.catalog()
    files, told = run.download("web-0002")
    assert Path(files["path"][1]).read_bytes() == server.files["/protein_2.png"]
    assert not told["notes"]


def test_a_mirror_with_tags_of_its_own(server, tmp_path):
    """A bucket's listing tells MD5; the mirror says other tags, and that is no other content."""
    content = server.files["/a.png"] = image(1)
    url, state = server.url("/a.png"), hashlib.md5(content).hexdigest()
    settings = {**DOWNLOAD, "cache": str(tmp_path / "cache")}
    for requests in (1, 1):
        arrival = Downloader(settings).field({url: [(None, "max")]}, {url: state})[url]
        assert not arrival.drifted
        assert len(server.requests) == requests
    arrival = Downloader(settings).field({url: [(None, "max")]}, {url: "0" * 32})[url]
    assert arrival.drifted
    assert Path(arrival.path).read_bytes() == content
