"""Downloads from a server that does everything wrong: nothing wrong gets into the cache, everything right arrives."""

import hashlib
import logging
import time
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from fault_server import FaultServer
from transfer_settings import SETTINGS
from wherein.transfer.attempts import pause_s
from wherein.transfer.cache import Note
from wherein.transfer.fields import Downloader, odd_ones
from wherein.transfer.progress import Progress

WHOLE = [(None, "max")]


def image(seed: int, size: int = 96) -> bytes:
    """A JPEG of noise, which does not compress."""
    return imagecodecs.jpeg8_encode(np.random.default_rng(seed).integers(0, 255, (size, size), np.uint8), level=95)


@pytest.fixture
def server():
    running = FaultServer()
    running.files = {"/a_blue.jpg": image(1), "/a_red.jpg": image(2), "/a_green.jpg": image(3)}
    running.other = image(9, 80)
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def downloader(cache: Path, **settings: object) -> Downloader:
    return Downloader({**SETTINGS, "cache": str(cache), **settings})


def fetch(server: FaultServer, cache: Path, *paths: str, **settings: object) -> dict:
    found = downloader(cache, **settings).field({server.url(path): WHOLE for path in paths})
    return {url.removeprefix(server.url("")): arrival for url, arrival in found.items()}


def one(server: FaultServer, cache: Path, **settings: object):
    return fetch(server, cache, "/a_blue.jpg", **settings)["/a_blue.jpg"]


def in_cache(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*.jpg") if path.is_file()]


def assert_right(server: FaultServer, arrival, path: str = "/a_blue.jpg") -> None:
    content = server.files[path]
    assert arrival.reason is None, arrival.detail
    assert Path(arrival.path).read_bytes() == content
    assert (arrival.sha256, arrival.bytes) == (hashlib.sha256(content).hexdigest(), len(content))


@pytest.mark.parametrize(
    "faults",
    [
        ["429:1"],
        ["500", "502", "503"],
        ["reset"],
        ["reset", "reset", "drop_range"],
        ["hang"],
        ["short"],
        ["cut"],
        ["html", "html"],
        ["empty"],
        ["reset", "wrong_range"],
    ],
    ids="-".join,
)
def test_right_in_the_end(server, cache, faults):
    server.faults["/a_blue.jpg"] = list(faults)
    assert_right(server, one(server, cache))
    assert not server.faults["/a_blue.jpg"], "every fault was met"
    assert [path.name for path in cache.rglob("*.part*")] == []


@pytest.mark.parametrize(
    ("fault", "reason", "requests"),
    [
        ("404", "not_found", 1),
        ("410", "not_found", 1),
        ("400", "not_found", 1),
        ("403", "refused", 1),
        ("500", "unreachable", 4),
        ("429", "unreachable", 4),
        ("429:3600", "unreachable", 1),
        ("short", "truncated_download", 4),
        ("cut", "corrupt", 4),
        ("html", "not_an_image", 4),
        ("empty", "not_an_image", 4),
        ("hang", "timed_out", 4),
    ],
)
def test_wrong_for_good(server, cache, fault, reason, requests):
    # without Range every try begins anew, else the rest of a hanging file would come piece by piece
    server.ranges = False
    server.faults["/a_blue.jpg"] = [f"always:{fault}"]
    arrival = one(server, cache)
    assert (arrival.reason, arrival.path, arrival.sha256) == (reason, None, None)
    assert arrival.detail
    assert len(server.requests) == requests
    assert in_cache(cache) == []
    assert list(cache.rglob("*.lock")) == []


def test_retry_after_is_waited_for(server, cache):
    server.faults["/a_blue.jpg"] = ["429:1"]
    assert_right(server, one(server, cache))
    first, second = (when for _, _, when in server.requests)
    assert second - first >= 1


def test_a_host_that_asks_for_a_long_pause_gets_no_more_requests(server, cache):
    server.faults["/a_blue.jpg"] = ["429:3600"]
    start = time.monotonic()
    found = fetch(server, cache, "/a_blue.jpg", "/a_red.jpg")
    assert {arrival.reason for arrival in found.values()} == {"unreachable"}
    assert len(server.requests) == 1
    assert time.monotonic() - start < 1


def test_slow_drip_ends_at_the_deadline_and_goes_on_in_the_next_run(server, cache):
    server.faults["/a_blue.jpg"] = ["drip"]
    start = time.monotonic()
    arrival = one(server, cache, deadline_s=0.6)
    assert time.monotonic() - start < 1.5
    assert arrival.reason == "timed_out"
    come = next(cache.rglob("*.part")).stat().st_size
    assert come > 0
    assert_right(server, one(server, cache))
    assert server.requests[-1][1] == f"bytes={come}-"


def test_a_reset_goes_on_where_it_was(server, cache):
    server.faults["/a_blue.jpg"] = ["reset"]
    assert_right(server, one(server, cache))
    size = len(server.files["/a_blue.jpg"])
    assert server.sent["/a_blue.jpg"] == size
    assert server.requests[1][1] == f"bytes={size // 2}-"


def test_a_server_without_range_or_tag_begins_anew(server, cache):
    server.ranges = False
    server.faults["/a_blue.jpg"] = ["reset"]
    assert_right(server, one(server, cache))
    server.ranges, server.tags = True, False
    server.faults["/a_red.jpg"] = ["reset"]
    assert_right(server, fetch(server, cache, "/a_red.jpg")["/a_red.jpg"], "/a_red.jpg")
    assert server.requests[-1][1] is None, "nothing tells that the rest belongs to the beginning"


def test_another_file_under_the_same_url_is_not_mixed_with_the_first(server, cache):
    server.faults["/a_blue.jpg"] = ["reset"]
    assert one(server, cache, retries=0).reason == "unreachable"
    assert next(cache.rglob("*.part")).stat().st_size
    server.files["/a_blue.jpg"] = image(7)
    assert_right(server, one(server, cache))
    assert server.requests[-1][1] is not None


def test_revalidation_asks_and_fetches_what_changed(server, cache):
    one(server, cache)
    assert_right(server, one(server, cache, revalidate=True))
    assert sum(server.sent.values()) == len(server.files["/a_blue.jpg"])
    old = server.files["/a_blue.jpg"]
    server.files["/a_blue.jpg"] = image(7)
    assert Path(one(server, cache).path).read_bytes() == old
    server.faults["/a_blue.jpg"] = ["always:500"]
    assert Path(one(server, cache, revalidate=True).path).read_bytes() == old, "a server that is down costs nothing"
    server.faults.clear()
    assert_right(server, one(server, cache, revalidate=True))


def test_the_cache_is_checked_and_asks_no_server(server, cache):
    arrival = one(server, cache)
    assert one(server, cache) == arrival._replace(fetched=0)
    assert len(server.requests) == 1
    path = Path(arrival.path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1  # the same size
    path.write_bytes(damaged)
    assert_right(server, one(server, cache))
    path.write_bytes(path.read_bytes()[:-1])
    assert_right(server, one(server, cache))
    assert len(server.requests) == 3


def test_offline(server, cache):
    one(server, cache)
    found = fetch(server, cache, "/a_blue.jpg", "/a_red.jpg", offline=True)
    assert_right(server, found["/a_blue.jpg"])
    assert found["/a_red.jpg"].reason == "offline"
    assert len(server.requests) == 1


def test_images_of_a_field_fit_each_other(server, cache):
    names = ("/a_blue.jpg", "/a_red.jpg", "/a_green.jpg")
    server.faults["/a_red.jpg"] = ["other"]
    found = fetch(server, cache, *names)
    for name in names:
        assert_right(server, found[name], name)


def test_an_image_of_another_size_stays_out(server, cache):
    names = ("/a_blue.jpg", "/a_red.jpg", "/a_green.jpg")
    server.faults["/a_red.jpg"] = ["always:other"]
    found = fetch(server, cache, *names)
    assert found["/a_red.jpg"].reason == "size_mismatch"
    assert "80 x 80" in found["/a_red.jpg"].detail
    assert_right(server, found["/a_blue.jpg"])
    assert len(in_cache(cache)) == 2
    assert list(cache.rglob("*.part")) == []
    # of two, neither is right; beside a cached one, the new one is wrong
    found = fetch(server, cache / "2", *names[:2])
    assert {arrival.reason for arrival in found.values()} == {"size_mismatch"}
    found = fetch(server, cache, *names[:2])
    assert [found[name].reason for name in names[:2]] == [None, "size_mismatch"]


def test_odd_ones():
    def notes(*sizes):
        return {str(place): Note(str(place), height=size, width=size and 8) for place, size in enumerate(sizes)}

    assert odd_ones(notes(4, 4, 4), set()) == []
    assert odd_ones(notes(4, 5, 4), set()) == ["1"]
    assert odd_ones(notes(4, 5), set()) == ["0", "1"]
    assert odd_ones(notes(4, 5, 4), {"1"}) == ["0", "2"]
    assert odd_ones(notes(4, None), set()) == []


def test_a_host_that_is_down_is_given_up(server, cache):
    work = downloader(cache, patience=2, retries=1)
    server.faults.update({path: ["always:500"] for path in server.files})
    found = [work.field({server.url(path): WHOLE})[server.url(path)] for path in server.files]
    assert [arrival.reason for arrival in found] == ["unreachable"] * 3
    assert len(server.requests) == 4, "two tries of two files, none of the third"
    assert "given up" in found[2].detail


def test_no_room(server, cache):
    arrival = one(server, cache, min_free_gb=1e9)
    assert arrival.reason == "disk_full"
    assert in_cache(cache) == []


def test_nobody_there(cache, server):
    server.shutdown()
    server.server_close()
    arrival = one(server, cache, retries=1)
    assert arrival.reason == "unreachable"


def test_pauses_grow_and_are_bounded():
    for tried, most in ((0, 1), (3, 8), (20, 120)):
        pauses = [pause_s(tried, 1) for _ in range(200)]
        assert most / 2 <= min(pauses) < max(pauses) <= most
        assert len(set(pauses)) > 100
    assert pause_s(0, 1, 7.5) == 7.5


def test_progress_tells_rate_and_rest(caplog):
    caplog.set_level(logging.INFO)
    progress = Progress(4)
    progress.add(3_000_000)
    assert progress.line(2) == "1 of 4 fields, 3.0 MB fetched, 1.5 MB/s, about 6 s left"
    assert progress.line(60).endswith("about 3 min left")
    for _ in range(3):
        progress.add(0)
    assert "4 of 4 fields" in caplog.text
