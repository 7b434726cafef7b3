"""What a careless or broken network may do to the cache, beyond what ends by trying again."""

import gzip
import io
import threading
import time
from email.utils import formatdate
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from fault_server import EPOCH, FaultServer
from test_transfer_fields import WHOLE, assert_right, downloader, image, in_cache, one
from wherein.readers import read_plane
from wherein.transfer.cache import Cache, Entry, Note
from wherein.transfer.errors import TransferError
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
