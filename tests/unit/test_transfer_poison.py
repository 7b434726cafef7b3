"""What a careless or broken network may do to the cache, beyond what ends by trying again."""

import errno
import gzip
import io
import socket
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from fault_server import EPOCH, FaultServer, Handler
from test_transfer_fields import SETTINGS, WHOLE, assert_right, downloader, image, in_cache, one
from urllib3.exceptions import HTTPError
from wherein.readers import read_plane
from wherein.transfer.ask import state_on_server
from wherein.transfer.cache import Cache, Entry, Note
from wherein.transfer.client import Client
from wherein.transfer.clock import Clock
from wherein.transfer.errors import TransferError
from wherein.transfer.hosts import Hosts
from wherein.transfer.state import RemoteState
from wherein.transfer.verify import image_size

FIELD = tuple(f"/a_{colour}.jpg" for colour in ("blue", "red", "green", "yellow"))


def tiff(seed: int, size: int = 64, **form: object) -> bytes:
    content = io.BytesIO()
    tifffile.imwrite(content, np.random.default_rng(seed).integers(0, 65535, (size, size), np.uint16), **form)
    return content.getvalue()


@pytest.fixture
def server():
    running = FaultServer()
    running.files = {path: image(number) for number, path in enumerate(FIELD)} | {"/html": b"<html>Sign in</html>"}
    running.other = image(9, 80)
    yield running
    running.stop()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fetch(server: FaultServer, cache: Path, *paths: str, **settings: object) -> dict:
    found = downloader(cache, **settings).field({server.url(path): WHOLE for path in paths})
    return {url.removeprefix(server.url("")): arrival for url, arrival in found.items()}


@pytest.mark.parametrize("fault", ["open", "long", "moved", "packed_html", "other-size"])
def test_right_in_the_end(server, cache, fault):
    server.faults["/a_blue.jpg"] = ["other" if fault == "other-size" else fault]
    found = fetch(server, cache, *FIELD)
    for path in FIELD:
        assert_right(server, found[path], path)
    assert sorted(path.read_bytes() for path in in_cache(cache)) == sorted(server.files[path] for path in FIELD)
    assert not list(cache.rglob("*.part*"))


@pytest.mark.parametrize("path", ["/image.tif.gz", "/image"])
def test_a_packed_page_is_no_packed_image(server, cache, path):
    server.files[path] = gzip.compress(tiff(1))
    server.faults[path] = ["always:packed_html"]
    arrival = fetch(server, cache, path)[path]
    assert arrival.reason == "not_an_image"
    assert "HTML page" in arrival.detail
    del server.faults[path]
    assert_right(server, fetch(server, cache, path)[path], path)


def test_an_image_of_another_size_that_came_alone_does_not_keep_the_right_ones_out(server, cache):
    server.faults["/a_blue.jpg"] = ["other"]
    server.faults.update({path: ["always:500"] for path in FIELD[1:]})
    alone = fetch(server, cache, *FIELD)
    assert [alone[path].reason for path in FIELD] == [None, *["unreachable"] * 3], "nothing was there to compare with"
    server.faults.clear()
    found = fetch(server, cache, *FIELD)
    for path in FIELD:
        assert_right(server, found[path], path)
    assert len(in_cache(cache)) == len(FIELD)


def test_of_two_images_that_differ_both_are_fetched_again_unless_one_was_compared(server, cache):
    pair = FIELD[:2]
    server.faults[pair[0]] = ["other"]
    server.faults[pair[1]] = ["always:500"]
    fetch(server, cache, *pair)
    server.faults.clear()
    found = fetch(server, cache, *pair)
    for path in pair:
        assert_right(server, found[path], path)
    # these were compared: a server that goes wrong later does not throw them out
    server.faults[FIELD[2]] = ["always:other"]
    before = len(server.requests)
    found = fetch(server, cache, *FIELD[:3])
    assert [found[path].reason for path in FIELD[:3]] == [None, None, "size_mismatch"]
    assert {path for path, _, _ in server.requests[before:]} == {FIELD[2]}


def test_offline_two_images_that_differ_stay_where_they_are(server, cache):
    pair = FIELD[:2]
    server.files[pair[0]] = image(7, 80)
    for path in pair:
        fetch(server, cache, path)
    found = fetch(server, cache, *pair, offline=True)
    assert [found[path].reason for path in pair] == ["size_mismatch"] * 2
    assert len(in_cache(cache)) == 2
    server.files[pair[0]] = image(0)
    found = fetch(server, cache, *pair)
    for path in pair:
        assert_right(server, found[path], path)


@pytest.mark.parametrize("size", [40, 64], ids=["shorter", "as long"])
def test_a_changed_file_on_a_server_without_if_range_is_not_mixed_with_the_first(server, cache, size):
    server.if_range = server.tags = False
    server.dated = True
    server.files["/x.tif"] = tiff(1)
    server.faults["/x.tif"] = ["reset"]
    assert fetch(server, cache, "/x.tif", retries=0)["/x.tif"].reason == "unreachable"
    assert next(cache.rglob("*.part")).stat().st_size
    server.files["/x.tif"], server.dates["/x.tif"] = tiff(2, size), EPOCH + 60
    assert_right(server, fetch(server, cache, "/x.tif")["/x.tif"], "/x.tif")
    assert server.requests[1][1] is not None, "the rest was asked for"


def test_a_changed_file_that_is_shorter_than_what_has_come_begins_anew(server, cache):
    server.if_range = False
    server.files["/a_blue.jpg"] = image(1, 200)
    server.faults["/a_blue.jpg"] = ["reset"]
    assert one(server, cache, retries=0).reason == "unreachable"
    server.files["/a_blue.jpg"] = image(1, 48)
    assert_right(server, one(server, cache))


def test_a_body_of_unknown_length_whose_job_was_killed_at_its_end(server, cache):
    url, content = server.url("/a_blue.jpg"), server.files["/a_blue.jpg"]
    one(server, cache / "other")
    tag = next((cache / "other").rglob("*.json")).read_text().split('"etag": "')[1].split('",')[0].replace("\\", "")
    with Cache(cache, 0).entries([url]) as entries:
        entries[url].begin(Note(url, tag))
        entries[url].part.write_bytes(content)
    assert_right(server, one(server, cache))
    assert server.requests[-2][1] == f"bytes={len(content)}-"


@pytest.mark.parametrize("wait", [lambda: formatdate(time.time() + 2, usegmt=True), lambda: "1"], ids=["date", "s"])
def test_retry_after_in_either_form(server, cache, wait):
    server.faults["/a_blue.jpg"] = [f"429:{wait()}"]
    start = time.monotonic()
    assert_right(server, one(server, cache))
    assert 0.9 < time.monotonic() - start < 3


@pytest.mark.parametrize("wait", ["0", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_retry_after_that_asks_for_nothing(server, cache, wait):
    server.faults["/a_blue.jpg"] = [f"503:{wait}"]
    start = time.monotonic()
    assert_right(server, one(server, cache))
    assert time.monotonic() - start < 0.9


def test_what_is_cut_anywhere_is_refused_or_has_all_its_pixels(tmp_path):
    # the tail of a TIFF may be a directory of pages that can be told without it
    rows = np.add.outer(np.arange(48), np.arange(40))
    deep, flat = (rows * 700).astype(np.uint16), (rows * 2).astype(np.uint8)
    colour = np.stack([flat, flat // 2, flat // 3], -1)
    stack = io.BytesIO()
    tifffile.imwrite(stack, np.stack([deep, deep.T.reshape(deep.shape)]), imagej=True, metadata={"axes": "CYX"})
    packed, tiled = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(packed, deep, compression="zlib")
    tifffile.imwrite(tiled, deep, tile=(16, 16))
    both = [("0", "max"), ("1", "max")]
    forms = {
        "grey.jpg": (imagecodecs.jpeg8_encode(flat), WHOLE),
        "colour.jpg": (imagecodecs.jpeg8_encode(colour), WHOLE),
        "deep.png": (imagecodecs.png_encode(deep), WHOLE),
        "deep.tif.gz": (gzip.compress(tiff(1, 40)), WHOLE),
        "packed.tif": (packed.getvalue(), WHOLE),
        "tiled.tif": (tiled.getvalue(), WHOLE),
        "stack.tif": (stack.getvalue(), both),
    }
    for name, (content, readings) in forms.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert image_size(path, f"http://x/{name}", readings) is not None, name
        whole = [read_plane(str(path), *reading) for reading in readings]
        refused = 0
        last = range(len(content) - 25, len(content))
        for length in sorted({*range(0, len(content), max(1, len(content) // 60)), *last}):
            path.write_bytes(content[:length])
            try:
                image_size(path, f"http://x/{name}", readings)
            except TransferError:
                refused += 1
            else:
                assert np.array_equal([read_plane(str(path), *reading) for reading in readings], whole), (name, length)
        assert refused >= 50, name


def test_an_entry_is_held_by_one_at_a_time_however_many_want_it(cache):
    inside, most, turns = [0], [0], []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(150):
                with Entry(cache, "http://x/y.jpg").locked():
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    turns.append(1)
                    inside[0] -= 1
        except BaseException as error:  # noqa: BLE001 - a thread's error is the test's
            errors.append(error)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert errors == []
    assert not any(worker.is_alive() for worker in workers), "nobody waits for a lock that no one gives back"
    assert (len(turns), most[0]) == (8 * 150, 1)
    assert not list(cache.rglob("*.lock"))


@pytest.mark.parametrize("fault", ["drip_head", "drip_chunk", "drip"])
def test_what_comes_byte_by_byte_ends_at_the_deadline(server, cache, fault):
    server.faults["/a_blue.jpg"] = [f"always:{fault}"]
    start = time.monotonic()
    arrival = one(server, cache, deadline_s=0.6)
    assert time.monotonic() - start < 1.2, "each byte comes before the time-out"
    assert arrival.reason == "timed_out"
    assert "before the deadline" in arrival.detail
    server.faults.clear()
    assert_right(server, one(server, cache))


def test_a_proxy_whose_headers_drip_ends_at_the_deadline(monkeypatch):
    """CONNECT is answered before the connection is made."""
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        taken, _ = listener.accept()
        with suppress(OSError):
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"z" * 500:
                taken.sendall(bytes([byte]))
                time.sleep(0.02)

    threading.Thread(target=drip, daemon=True).start()
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listener.getsockname()[1]}")
    start = time.monotonic()
    with pytest.raises(HTTPError):
        Client(1, 0.4).get("https://images.example.org/a", {}, 0.6)
    assert time.monotonic() - start < 1.2
    listener.close()


def test_waiting_for_a_connection_takes_no_time_from_the_file(server, cache):
    """Six files of 0.3 s, one connection, 0.6 s for each: the last ones wait longer than a file may take."""
    server.files = {f"/{number}.jpg": image(number, 24) for number in range(6)}
    server.slow_s = 0.1
    work = downloader(cache, connections=1, deadline_s=0.6, retries=0, timeout_s=2)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda path: work.field({server.url(path): WHOLE})[server.url(path)], server.files))
    for path, arrival in zip(server.files, found, strict=True):
        assert_right(server, arrival, path)
    assert server.busiest == 1


def test_a_pause_that_the_host_asks_for_takes_no_time_from_the_file(server, cache):
    server.faults["/a_blue.jpg"] = ["429:1"]
    assert_right(server, one(server, cache, deadline_s=0.5))


def test_waiting_has_an_end_and_the_host_is_not_to_blame(server, cache):
    hosts = Hosts(cache / "hosts", 1, 8)
    host = server.url("").removeprefix("http://")
    work = downloader(cache, connections=1, longest_wait_s=0.5, patience=1)
    with hosts.connection(host, Clock(60, 60)):
        start = time.monotonic()
        arrival = work.field({server.url("/a_blue.jpg"): WHOLE})[server.url("/a_blue.jpg")]
        assert 0.5 <= time.monotonic() - start < 1.5
    assert arrival.reason == "timed_out"
    assert "longest_wait_s" in arrival.detail
    found = work.field({server.url("/a_red.jpg"): WHOLE})
    assert_right(server, found[server.url("/a_red.jpg")], "/a_red.jpg")


@pytest.mark.parametrize("fault", ["html", "cut", "empty", "404", "403", "500", "moved", "packed_html"])
def test_asked_again_a_good_cached_file_stays_whatever_the_server_says(server, cache, fault):
    one(server, cache)
    good = server.files["/a_blue.jpg"]
    server.files["/a_blue.jpg"] = image(7)
    server.faults["/a_blue.jpg"] = [f"always:{fault}"]
    arrival = one(server, cache, revalidate=True)
    assert (arrival.reason, arrival.drifted) == (None, False)
    assert Path(arrival.path).read_bytes() == good
    assert arrival.kept
    assert not list(cache.rglob("*.part*"))
    server.faults.clear()
    arrival = one(server, cache, revalidate=True)
    assert_right(server, arrival)
    assert arrival.kept is None


@pytest.mark.parametrize(("path", "packed"), [("/x.png", "jpeg"), ("/x.jpg", "png")])
def test_an_image_whose_name_tells_the_other_format_is_an_image(server, cache, path, packed):
    grey = np.random.default_rng(3).integers(0, 255, (40, 50), np.uint8)
    server.files[path] = imagecodecs.png_encode(grey) if packed == "png" else imagecodecs.jpeg8_encode(grey)
    assert_right(server, fetch(server, cache, path)[path], path)


def test_a_page_in_answer_to_head_is_no_new_state_of_an_image(server, cache, monkeypatch):
    url = server.url("/a_blue.jpg")
    asked = (Client(1, 1), Hosts(cache / "hosts", 1, 8), SETTINGS)
    assert state_on_server(url, *asked).bytes == len(server.files["/a_blue.jpg"])
    described = Handler.described

    def page(self: Handler, content: bytes) -> dict[str, str]:
        return described(self, content) | {"Content-Type": "Text/HTML"}

    monkeypatch.setattr(Handler, "described", page)
    with pytest.raises(TransferError, match="HTML page") as caught:
        state_on_server(url, *asked)
    assert caught.value.reason == "not_an_image"


@pytest.mark.parametrize("fault", ["html", "404"])
def test_a_cached_file_of_an_old_state_does_not_stand_in_for_the_expected_one(server, cache, fault):
    one(server, cache)
    path, url = "/a_blue.jpg", server.url("/a_blue.jpg")
    server.files[path] = image(7)
    state = RemoteState(server.tag(path, server.files[path])).name
    server.faults[path] = [f"always:{fault}"]
    arrival = downloader(cache).field({url: WHOLE}, {url: state})[url]
    assert arrival.reason == {"html": "not_an_image", "404": "not_found"}[fault]
    server.faults.clear()
    assert_right(server, downloader(cache).field({url: WHOLE}, {url: state})[url])


def test_asked_again_an_image_of_another_size_does_not_take_a_good_ones_place(server, cache):
    fetch(server, cache, *FIELD)
    good = dict(server.files)
    server.files["/a_red.jpg"] = server.other
    found = fetch(server, cache, *FIELD, revalidate=True)
    for path in FIELD:
        assert found[path].reason is None
        assert Path(found[path].path).read_bytes() == good[path]
    assert [path for path in FIELD if found[path].kept] == ["/a_red.jpg"]
    assert not list(cache.rglob("*.part*"))
    server.files = good
    before = len(server.requests)
    found = fetch(server, cache, *FIELD, revalidate=True)
    assert len(server.requests) == before + len(FIELD), "each is asked for once"
    assert not any(arrival.kept for arrival in found.values())
    # a field that was made anew in another size is another matter
    server.files |= {path: image(20 + number, 64) for number, path in enumerate(FIELD)}
    found = fetch(server, cache, *FIELD, revalidate=True)
    for path in FIELD:
        assert_right(server, found[path], path)


def test_a_part_of_an_earlier_day_is_not_what_the_server_has_when_it_is_asked_again(server, cache):
    one(server, cache)
    url = server.url("/a_blue.jpg")
    stale = image(8)
    with Cache(cache, 0).entries([url]) as entries:
        entries[url].begin(Note(url, '"of yesterday"', bytes=len(stale)))
        entries[url].part.write_bytes(stale)
    assert_right(server, one(server, cache, revalidate=True))


def test_two_images_of_another_field_are_not_trusted_for_fitting_each_other(server, cache):
    for path in FIELD[:2]:
        server.faults[path] = ["other"]
    server.faults.update({path: ["always:500"] for path in FIELD[2:]})
    fetch(server, cache, *FIELD)
    server.faults.clear()
    found = fetch(server, cache, *FIELD)
    for path in FIELD:
        assert_right(server, found[path], path)


def test_a_disk_that_takes_half_of_a_piece_leaves_no_hole(server, cache, monkeypatch):
    server.files["/x.tif"] = tiff(1)
    opened = Path.open

    class Short(io.FileIO):
        def write(self, content) -> int:
            return super().write(bytes(content)[: max(1, len(content) // 2)])

    def short(path: Path, mode: str = "r", buffering: int = -1, **options: object):
        if mode != "ab":
            return opened(path, mode, buffering, **options)
        return Short(path, "ab") if buffering == 0 else io.BufferedWriter(Short(path, "ab"))

    monkeypatch.setattr(Path, "open", short)
    assert_right(server, fetch(server, cache, "/x.tif", retries=0)["/x.tif"], "/x.tif")


def test_a_body_without_length_stops_while_there_is_room(server, cache, monkeypatch):
    server.faults["/a_blue.jpg"] = ["always:open"]
    room = iter([10, 10, 0])
    monkeypatch.setattr(Cache, "room", lambda self: next(room, 0))
    arrival = one(server, cache)
    assert arrival.reason == "disk_full"
    assert "does not end" in arrival.detail


def test_a_disk_that_is_full_when_a_file_is_let_in_is_a_reason(server, cache, monkeypatch):
    def full(self: Entry, note: Note) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Entry, "admit", full)
    arrival = one(server, cache)
    assert (arrival.reason, arrival.path) == ("disk_full", None)


@pytest.mark.parametrize("form", ["pages", "gzipped", "tiles", "undeclared", "thumbnail"])
def test_every_page_of_a_tiff_is_decoded_whatever_is_read_of_it(tmp_path, form):
    rng = np.random.default_rng(4)
    stack = rng.integers(0, 65535, (6, 2, 48, 40), np.uint16)
    options = {"compression": "zlib", "photometric": "minisblack"}
    if form != "undeclared":
        options["metadata"] = {"axes": "ZCYX"}
    if form == "tiles":
        options["tile"] = (16, 16)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, ome=form != "undeclared") as writer:
        writer.write(stack, **options, subifds=1 if form == "thumbnail" else None)
        if form == "thumbnail":
            writer.write(stack[..., ::2, ::2], compression="zlib", photometric="minisblack", subfiletype=1)
    content = bytearray(buffer.getvalue())
    readings = [("0", "0")] if form != "undeclared" else [("0", "max")]
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[-1].pages[0] if form == "thumbnail" else file.pages[-1]
        middle = page.dataoffsets[-1] + page.databytecounts[-1] // 2
    name = "x.ome.tif.gz" if form == "gzipped" else "x.ome.tif"
    path = tmp_path / name

    def write() -> None:
        path.write_bytes(gzip.compress(bytes(content)) if form == "gzipped" else bytes(content))

    write()
    image_size(path, f"http://x/{name}", readings)
    for place in range(middle, middle + 8):
        content[place] ^= 0xFF
    write()
    with pytest.raises(TransferError) as caught:
        image_size(path, f"http://x/{name}", readings)
    assert caught.value.reason == "corrupt"


def test_a_large_stack_is_decoded_in_bounded_memory(tmp_path):
    path = tmp_path / "x.tif"
    plane = np.random.default_rng(1).integers(0, 255, (512, 512), np.uint16)
    with tifffile.TiffWriter(path) as writer:
        for _ in range(120):
            writer.write(plane, compression="zlib", contiguous=False, metadata=None)
    image_size(path, "http://x/x.tif", [("0", "max", "CYX")])
    tracemalloc.start()
    try:
        image_size(path, "http://x/x.tif", [("0", "max", "CYX")])
        assert tracemalloc.get_traced_memory()[1] < 12e6, "63 MB are decoded"
    finally:
        tracemalloc.stop()
