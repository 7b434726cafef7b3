"""Whole shards fetched over HTTP: what the table says, jobs that are killed, jobs side by side."""

import json
import logging
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pytest
from fault_server import FaultServer
from transfer_settings import SETTINGS as QUICK
from urllib3.exceptions import MaxRetryError
from wherein.channels import uri_column
from wherein.download import DownloadError, check_shard
from wherein.sources.address import Address, to_uri
from wherein.tables import FIELDS, FILES, write_table
from wherein.transfer.client import Client, certificates

log = logging.getLogger(__name__)

ROLES = ("nucleus", "protein")
SETTINGS = QUICK | {"timeout_s": 2, "deadline_s": 20, "longest_wait_s": 20, "patience": 20, "unreachable_share": 0.1}
SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"

JOB = """
import json, sys
from wherein.download import check_shard
print("ready", flush=True)
sys.stdin.readline()
check_shard(**json.loads(sys.argv[1]))
"""


class Shard:
    """Fields on a server, the table that names them, and the job that fetches them."""

    def __init__(self, folder: Path, server: FaultServer, fields: int, size: int = 64, ending: str = ".png") -> None:
        self.folder, self.server = folder, server
        folder.mkdir(exist_ok=True)
        self.rows = []
        for number in range(fields):
            row = {"field_id": f"f{number}", "version": "0", "shard": "web-0001", "source": "web", "retired_in": None}
            for place, role in enumerate(ROLES):
                path = f"/{role}_{number}{ending}"
                pixels = np.random.default_rng(2 * number + place).integers(0, 255, (size, size), np.uint8)
                server.files[path] = imagecodecs.png_encode(pixels)
                row[uri_column(role)] = to_uri(Address(server.url(path), None, "max"))
            self.rows.append(row)
        self.save()

    def save(self, table: str = "fields") -> None:
        write_table(self.folder / f"{table}.parquet", pd.DataFrame(self.rows), FIELDS)

    def arguments(self, name: str = "files", table: str = "fields", **settings: object) -> dict:
        return {
            "shard": "web-0001",
            "fields": str(self.folder / f"{table}.parquet"),
            "files": str(self.folder / f"{name}.parquet"),
            "summary": str(self.folder / f"{name}.json"),
            "settings": {**SETTINGS, "cache": str(self.folder / "cache"), **settings},
        }

    def run(self, **settings: object) -> pd.DataFrame:
        check_shard(**self.arguments(**settings))
        return pd.read_parquet(self.folder / "files.parquet")

    def counts(self) -> dict[str, int]:
        return json.loads((self.folder / "files.json").read_text())["counts"]

    def start(self, name: str = "files", table: str = "fields") -> subprocess.Popen:
        """Make a process of the job, which begins to fetch when its input is closed."""
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, json.dumps(self.arguments(name, table))],
            env={**os.environ, "PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert job.stdout.readline() == b"ready\n"
        return job


@pytest.fixture
def server():
    running = FaultServer()
    yield running
    running.shutdown()
    running.server_close()


def test_a_shard_with_faults(tmp_path, server):
    shard = Shard(tmp_path, server, 10)
    server.faults["/nucleus_1.png"] = ["404"]
    server.faults["/protein_2.png"] = ["always:html"]
    server.faults["/protein_3.png"] = ["reset", "503", "short"]
    shard.rows[4]["retired_in"] = "2"
    shard.rows[5][uri_column("protein")] = to_uri(Address("", None, "max"))
    local = tmp_path / "here.png"
    local.write_bytes(server.files["/nucleus_6.png"])
    shard.rows[6][uri_column("nucleus")] = to_uri(Address(str(local), None, "max"))
    shard.save()
    files = shard.run()
    assert list(files.columns) == FILES.names
    reasons = files.set_index(["field_id", "role"])["reason"]
    assert reasons.dropna().to_dict() == {
        ("f1", "nucleus"): "not_found",
        ("f2", "protein"): "not_an_image",
        ("f4", "nucleus"): "retired",
        ("f4", "protein"): "retired",
        ("f5", "protein"): "no_address",
    }
    assert files["path"].isna().tolist() == reasons.notna().tolist()
    assert shard.counts() == {"in": 10, "kept": 6, "not_found": 1, "not_an_image": 1, "retired": 1, "no_address": 1}
    details = files.set_index(["field_id", "role"])["detail"]
    assert "404" in details["f1", "nucleus"]
    assert "HTML page" in details["f2", "protein"]
    for row in files[files["status"] == "ok"].itertuples():
        wanted = server.files["/nucleus_6.png" if row.url is None else row.url.removeprefix(server.url(""))]
        assert Path(row.path).read_bytes() == wanted
    assert all("_4." not in path for path, _, _ in server.requests), "what is retired is not fetched"
    # a second run finds everything in the cache, and offline the same fields
    before = len(server.requests)
    again = shard.run(offline=True)
    assert len(server.requests) == before
    assert again[again["status"] == "ok"].equals(files[files["status"] == "ok"])
    assert set(again["reason"].dropna()) == {"offline", "retired", "no_address"}


def test_an_alternative_is_taken_for_all_images_of_a_field(tmp_path, server):
    shard = Shard(tmp_path, server, 3)
    for number, row in enumerate(shard.rows):
        for role in ROLES:
            path = f"/{role}_{number}.png"
            server.files[f"/jpg{path}"] = server.files[path]
            row[uri_column(role)] = to_uri(Address(server.url(path), None, "max", server.url(f"/jpg{path}")))
    shard.save()
    server.faults["/protein_1.png"] = ["always:400"]
    server.faults["/protein_2.png"] = ["500"]  # passes: no reason for an alternative
    files = shard.run()
    assert files["reason"].isna().all()
    taken = files["url"].str.contains("/jpg/").groupby(files["field_id"]).agg(list).to_dict()
    assert taken == {"f0": [False, False], "f1": [True, True], "f2": [False, False]}
    assert "1 fields from their alternative files" in (tmp_path / "files.json").read_text()


def test_a_server_that_is_down_fails_the_job_and_what_came_stays(tmp_path, server):
    shard = Shard(tmp_path, server, 10)
    for number in (7, 8):
        server.faults[f"/protein_{number}.png"] = ["always:503"]
    with pytest.raises(DownloadError, match=r"2 of 10 fields could not be fetched now, at most 10%.* f7: .*503"):
        shard.run()
    assert not (tmp_path / "files.parquet").exists()
    del server.faults["/protein_8.png"]
    before = len(server.requests)
    files = shard.run()
    assert files["reason"].dropna().tolist() == ["unreachable"]
    again = [path for path, _, _ in server.requests[before:]]
    assert set(again) == {"/protein_7.png", "/protein_8.png"}


def test_files_that_stay_as_they_are_in_the_cache_are_told(tmp_path, server):
    shard = Shard(tmp_path, server, 3)
    first = shard.run()
    server.tags = False
    server.faults["/protein_1.png"] = ["always:html"]
    again = shard.run(revalidate=True)
    assert again.equals(first)
    assert shard.counts() == {"in": 3, "kept": 3}
    (note,) = json.loads((tmp_path / "files.json").read_text())["notes"]
    assert note.startswith("1 files were taken from the cache as they are there")
    assert "protein_1.png gave a HTML page" in note


def test_no_job_starts_on_a_full_disk(tmp_path, server):
    shard = Shard(tmp_path, server, 1)
    with pytest.raises(DownloadError, match=r"less than 1000000000\.0 GB free"):
        shard.run(min_free_gb=1e9)
    assert not server.requests


def test_two_jobs_share_cache_and_connections(tmp_path, server):
    shard = Shard(tmp_path, server, 20, size=128)
    server.slow_s = 0.01
    one = shard.start("one")
    shard.rows.reverse()  # the two begin at different ends
    shard.save("reversed")
    jobs = [one, shard.start("two", "reversed")]
    for job in jobs:
        job.stdin.close()
    assert [job.wait() for job in jobs] == [0, 0]
    assert len(server.requests) == len(server.files), "no file was fetched twice"
    assert 1 < server.busiest <= SETTINGS["connections"]
    tables = [pd.read_parquet(tmp_path / f"{name}.parquet").sort_values("path") for name in ("one", "two")]
    assert tables[0].reset_index(drop=True).equals(tables[1].reset_index(drop=True))


def test_proxies_and_certificates_of_the_environment(tmp_path, server, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    # a proxy is asked with the whole URL as path
    server.files = {"http://images.example.org/a": b"by proxy", "/a": b"direct"}
    monkeypatch.setenv("http_proxy", server.url(""))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    client = Client(1, 1)
    assert client.get("http://images.example.org/a", {}, 1).data == b"by proxy"
    assert client.get(server.url("/a"), {}, 1).data == b"direct"
    assert certificates() == {}
    monkeypatch.setenv("CURL_CA_BUNDLE", "/etc/lab.pem")
    assert certificates() == {"ca_certs": "/etc/lab.pem"}
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    assert certificates() == {"ca_cert_dir": str(tmp_path)}


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is needed to make a certificate")
def test_a_server_with_a_certificate_of_its_own(tmp_path, server, monkeypatch):
    for name in ("https_proxy", "all_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    files = [str(tmp_path / name) for name in ("key.pem", "lab.pem")]
    making = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*making.split(), "-keyout", files[0], "-out", files[1]], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.files["/a"] = b"signed"
    url = f"https://localhost:{server.server_port}/a"
    with pytest.raises(MaxRetryError, match="CERTIFICATE_VERIFY_FAILED"):
        Client(1, 1).get(url, {}, 1)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, files[1])
        assert Client(1, 1).get(url, {}, 1).data == b"signed"
        monkeypatch.delenv(name)
