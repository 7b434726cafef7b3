import gc
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from indexed_run import indexed_run, store_in_8_bits
from wherein.crops.blocks import DamagedCropsError, shard_path
from wherein.crops.cut import distance_of_masks
from wherein.crops.store import CropStore, CropWriter
from wherein.reading.batches import SCRIPTS, BatchReader
from wherein.reading.crops import CropSource, common_layout
from wherein.reading.groups import groups_of
from wherein.reading.index import CropIndexError
from wherein.reading.pixels import PixelReader
from wherein.reading.samplers import EMPTY, BagSampler, PairSampler, SequentialSampler, UniformSampler


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return indexed_run(tmp_path_factory.mktemp("run"))


def kinds(index):
    every = index.select()
    return [
        UniformSampler(every, 10),
        PairSampler(every, groups_of(index, every, "sample"), 7),
        BagSampler(index.select({"area_um2": {"min": 100}}), 6, 4),
        SequentialSampler(every, 64),
    ]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("kind", range(4))
def test_batches_are_the_sampled_crops(run, kind, workers):
    index = run.index
    sampler = kinds(index)[kind]
    wanted = list(kinds(index)[kind])
    with BatchReader(CropSource(index, sampler.selection), sampler, workers=workers) as reader:
        batches = list(reader)
    assert [batch.number for batch in batches] == list(range(len(wanted)))
    for batch, rows in zip(batches, wanted, strict=True):
        np.testing.assert_array_equal(batch.rows, rows)
        assert batch.images.shape == (*rows.shape, 4, 32, 32)
        assert batch.masks.shape == (*rows.shape, 2, 32, 32)
        assert batch.images.dtype == np.uint16
        for place in np.ndindex(rows.shape):
            if rows[place] == EMPTY:
                assert not batch.images[place].any()
                assert not batch.masks[place].any()
            else:
                image, mask = run.pixels[index.cell_ids([rows[place]])[0]]
                np.testing.assert_array_equal(batch.images[place], image)
                np.testing.assert_array_equal(batch.masks[place], mask)
    if kind == 2:
        assert any((batch.rows == EMPTY).any() for batch in batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_roles_in_any_order_and_without_masks(run, workers):
    index = run.index
    sampler = UniformSampler(index.select(), 16)
    source = CropSource(index, sampler.selection, roles=["protein", "nucleus"], masks=False)
    with BatchReader(source, sampler, workers=workers) as reader:
        for batch in reader:
            assert batch.masks is None
            for row, image in zip(batch.rows, batch.images, strict=True):
                np.testing.assert_array_equal(image, run.pixels[index.cell_ids([row])[0]][0][[3, 0]])


@pytest.fixture(scope="module")
def mixed_run(tmp_path_factory):
    """A run of which one shard's store has distances: its cells' numbers, so that they are told from computed ones."""
    run = indexed_run(tmp_path_factory.mktemp("mixed"))
    path = run.root / "crops" / "near-0001.zarr"
    old = CropStore(path)
    every = np.arange(len(old))
    images, masks, attributes = old.images(every), old.masks(every), old.attributes
    shutil.rmtree(path)
    with CropWriter(path, old.roles, old.window_px, old.dtype, nucleus_distance=True) as writer:
        for number, cell_id in enumerate(old.cell_ids):
            stored = np.full(images.shape[-2:], number, np.float16)
            writer.add(cell_id, images[number], masks[number], stored)
        writer.finish(attributes)
    run.build()
    return run


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("view", [{}, {"size_px": 21}, {"pixel_size_um": 0.64}])
def test_distances_are_those_stored_or_those_of_the_masks(mixed_run, workers, view):
    index = mixed_run.index
    assert [store["nucleus_distance"] for store in index.stores.values()].count(True) == 1
    sampler = BagSampler(index.select({"area_um2": {"min": 100}}), 5, 4)
    seen = set()
    with BatchReader(
        CropSource(index, sampler.selection, masks=False, distance=True, **view), sampler, workers
    ) as reader:
        for batch in reader:
            assert batch.masks is None
            there = batch.rows != EMPTY
            assert batch.distance.dtype == np.float32
            assert batch.distance.flags.aligned
            assert not batch.distance[~there].any()
            codes, names, crops = index.places(batch.rows[there])
            for code, crop, found in zip(codes, crops, batch.distance[there][:, 0], strict=True):
                store = CropStore(mixed_run.root / "crops" / f"{names[code]}.zarr")
                np.testing.assert_array_equal(found, store.view(**view).nucleus_distance([crop])[0])
                if store.has_nucleus_distance:
                    assert (found == crop).all()
                elif not view:
                    np.testing.assert_array_equal(found, distance_of_masks(store.masks([crop]), 0.32)[0])
                seen.add(store.has_nucleus_distance)
    assert seen == {True, False}


@pytest.mark.parametrize("view", [{"size_px": 20}, {"pixel_size_um": 0.64}, {"pixel_size_um": 0.64, "size_px": 12}])
def test_views_are_those_of_the_store(run, view):
    index = run.index
    sampler = UniformSampler(index.select(), 16)
    with BatchReader(CropSource(index, sampler.selection, **view), sampler, workers=1) as reader:
        batch = next(iter(reader))
    shards, names, crops = index.places(batch.rows)
    for shard, crop, image, mask in zip(shards, crops, batch.images, batch.masks, strict=True):
        seen = CropStore(run.root / "crops" / f"{names[shard]}.zarr").view(**view)
        np.testing.assert_array_equal(image, seen.images([crop])[0])
        np.testing.assert_array_equal(mask, seen.masks([crop])[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_resumes_after_the_batch_given_last(run, workers):
    index = run.index
    wanted = [rows.tolist() for rows in UniformSampler(index.select(), 10)]
    sampler = UniformSampler(index.select(), 10)
    with BatchReader(CropSource(index, sampler.selection), sampler, workers=workers, ahead=4) as reader:
        stream = iter(reader)
        found = [next(stream).rows.tolist() for _ in range(3)]
        state = sampler.state_dict()
        stream.close()
        assert state["batch"] == 3
        # the same reader goes on, though its workers were ahead
        found += [batch.rows.tolist() for batch in reader]
    assert found == wanted
    later = UniformSampler(index.select(), 10)
    later.load_state_dict(state)
    with BatchReader(CropSource(index, later.selection), later, workers=workers) as reader:
        rest = list(reader)
        assert [batch.rows.tolist() for batch in rest] == wanted[3:]
        image = run.pixels[index.cell_ids([rest[0].rows[0]])[0]][0]
        np.testing.assert_array_equal(rest[0].images[0], image)
        assert (later.epoch, later.batch) == (1, 0)
        assert sorted(row for batch in reader for row in batch.rows.tolist()) == sorted(
            row for rows in wanted for row in rows
        )


def test_reused_memory_is_good_until_the_next_batch(run):
    index = run.index
    sampler = UniformSampler(index.select(), 10)
    with BatchReader(CropSource(index, sampler.selection), sampler, workers=2, reuse=True) as reader:
        for batch in reader:
            image = run.pixels[index.cell_ids([batch.rows[-1]])[0]][0]
            np.testing.assert_array_equal(batch.images[-1], image)


def test_a_worker_loads_and_opens_no_more_than_it_needs(run):
    index = run.index
    near = index.select({"shard": "near-0001"})
    sampler = UniformSampler(near, 9)
    with BatchReader(CropSource(index, near), sampler, workers=1) as reader:
        list(reader)
        process = reader._workers[0]._process.pid
        maps = Path(f"/proc/{process}/maps").read_text()
    assert "near-0001.zarr/images" in maps
    assert "near-0002.zarr" not in maps
    assert "far-0001.zarr" not in maps
    assert ".parquet" not in maps
    for package in ("torch", "pyarrow", "pandas", "zarr/", "sklearn"):
        assert f"site-packages/{package}" not in maps, package


def test_a_worker_imports_only_what_decodes():
    code = "import sys, wherein.reading.worker, wherein.reading.pixels; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"torch", "pandas", "pyarrow", "zarr", "dask", "scipy"} & set(done.stdout.split())


@pytest.mark.parametrize("workers", [0, 2])
def test_damage_is_told_and_never_given(tmp_path, workers):
    run = indexed_run(tmp_path)
    path = shard_path(run.root / "crops" / "near-0001.zarr" / "images", 0, 3)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    index = run.index
    sampler = SequentialSampler(index.select(), 10)
    with (
        BatchReader(CropSource(index, sampler.selection), sampler, workers=workers) as reader,
        pytest.raises(DamagedCropsError, match="near-0001"),
    ):
        list(reader)
    # the others are still there
    sampler = SequentialSampler(index.select({"shard": ["near-0002", "far-0001"]}), 10)
    with BatchReader(CropSource(index, sampler.selection), sampler, workers=workers) as reader:
        assert sum(len(batch.rows) for batch in reader) == len(sampler.selection)


def test_another_store_in_the_place_of_the_indexed_one_is_told(tmp_path):
    run = indexed_run(tmp_path)
    index = run.index
    os.rename(run.root / "crops" / "near-0001.zarr", run.root / "aside.zarr")
    os.rename(run.root / "crops" / "near-0002.zarr", run.root / "crops" / "near-0001.zarr")
    sampler = SequentialSampler(index.select({"shard": "near-0001"}), 10)
    with pytest.raises(DamagedCropsError, match="not the store that the index was made of: run `index_crops` again"):
        list(BatchReader(CropSource(index, sampler.selection), sampler))
    sampler = SequentialSampler(index.select({"shard": "near-0002"}), 10)
    with pytest.raises(DamagedCropsError, match="is no whole crop store"):
        list(BatchReader(CropSource(index, sampler.selection), sampler))


def test_a_killed_worker_is_an_error_and_leaves_nothing(run):
    index = run.index
    sampler = UniformSampler(index.select(), 10)
    with BatchReader(CropSource(index, sampler.selection), sampler, workers=2) as reader:
        stream = iter(reader)
        next(stream)
        os.kill(reader._workers[1]._process.pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="ended with status -9"):
            list(stream)
    assert not reader._workers


def test_workers_end_with_their_parent(run, tmp_path):
    code = f"""
import sys, time
sys.path[:0] = {[str(SCRIPTS)]!r}
from wherein.reading.batches import BatchReader
from wherein.reading.crops import CropSource
from wherein.reading.index import CropIndex
from wherein.reading.samplers import UniformSampler
index = CropIndex({str(run.root / "index")!r})
sampler = UniformSampler(index.select(), 10)
reader = BatchReader(CropSource(index, sampler.selection), sampler, workers=2)
next(iter(reader))
print(*[worker._process.pid for worker in reader._workers], flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    workers = [int(word) for word in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while any(alive(process) for process in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(process) for process in workers)


def alive(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_no_descriptor_is_left_open(run):
    index = run.index

    def open_files():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    before = None
    for _ in range(3):
        sampler = UniformSampler(index.select(), 10)
        with BatchReader(CropSource(index, sampler.selection), sampler, workers=2) as reader:
            next(iter(reader))
        del reader, sampler
        found = open_files()
        assert before is None or found <= before
        before = found


def test_a_reader_travels_without_what_it_has_open(run):
    index = run.index
    source = CropSource(index, index.select())
    pixels = source.reader.layout.pixels(1)
    source.reader.fill(source.parts(np.array([0])), pixels)
    again = pickle.loads(pickle.dumps(source.reader))
    assert isinstance(again, PixelReader)
    other = source.reader.layout.pixels(1)
    again.fill(source.parts(np.array([0])), other)
    np.testing.assert_array_equal(other.images, pixels.images)


STORE = {"roles": ["nucleus", "protein"], "window_px": 128, "window_um": 40.96, "dtype": "uint8", "pixel_size_um": 0.32}


@pytest.mark.parametrize(
    ("other", "roles", "view", "message"),
    [
        ({"roles": ["reference", "protein"]}, None, {}, "differ in roles.*name the roles"),
        ({"roles": ["reference", "protein"]}, ["nucleus"], {}, "b has no nucleus: it has reference, protein"),
        ({"pixel_size_um": 0.1}, None, {"size_px": 64}, "differ in pixel_size_um"),
        ({"window_px": 64}, None, {}, "differ in window_px.*name the pixels of the view"),
        ({"window_um": 10.0}, None, {"pixel_size_um": 0.64}, "differ in window_um"),
    ],
)
def test_stores_that_cannot_make_one_batch(other, roles, view, message):
    seen = (view.get("pixel_size_um"), view.get("size_px"), "area")
    with pytest.raises(CropIndexError, match=message):
        common_layout({"a": STORE, "b": {**STORE, **other}}, roles, True, seen)


def test_stores_that_a_view_makes_equal():
    other = {**STORE, "roles": ["nucleus", "er", "protein"], "window_px": 256, "pixel_size_um": 0.16}
    layout = common_layout({"a": STORE, "b": other}, ["protein"], True, (0.64, 64, "area"))
    assert (layout.image_shape, layout.mask_shape) == ((1, 64, 64), (2, 64, 64))
    assert common_layout({"a": STORE}, None, False, (0.64, None, "area")).image_shape == (2, 64, 64)
    assert common_layout({"a": STORE}, None, False, (None, None, "area")).bytes_of(3) == 3 * 2 * 128 * 128


@pytest.mark.parametrize(
    ("types", "wanted"),
    [(("uint8", "uint16"), "uint16"), (("uint16", "float32"), "float32"), (("uint8", "uint8"), "uint8")],
)
def test_the_type_that_holds_the_intensities_of_all_stores(types, wanted):
    stores = {str(number): {**STORE, "dtype": name} for number, name in enumerate(types)}
    assert common_layout(stores, None, True, (None, None, "area")).dtype == wanted


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "words", [{}, {"roles": ["protein", "nucleus"]}, {"pixel_size_um": 0.64}], ids=["whole", "roles", "view"]
)
def test_stores_of_8_and_16_bits_in_one_batch(tmp_path, words, workers):
    run = indexed_run(tmp_path)
    store_in_8_bits(run, "near-0002")
    index = run.index
    assert {name: store["dtype"] for name, store in index.stores.items()} == {
        "near-0001": "uint16", "near-0002": "uint8", "far-0001": "uint16"
    }  # fmt: skip
    views = {}
    for name in index.stores:
        store = CropStore(run.root / "crops" / f"{name}.zarr")
        seen = store.view(pixel_size_um=words["pixel_size_um"]) if "pixel_size_um" in words else store
        pixels = seen.images(np.arange(len(store)))
        order = [store.roles.index(role) for role in words.get("roles", store.roles)]
        crops = zip(pixels[:, order], seen.masks(np.arange(len(store))), strict=True)
        views |= dict(zip(store.cell_ids, crops, strict=True))
    sampler = UniformSampler(index.select(), 16)
    types = set()
    with BatchReader(CropSource(index, sampler.selection, **words), sampler, workers=workers) as reader:
        for batch in reader:
            assert batch.images.dtype == np.uint16
            for name, image, mask in zip(index.cell_ids(batch.rows), batch.images, batch.masks, strict=True):
                np.testing.assert_array_equal(image, views[name][0])
                np.testing.assert_array_equal(mask, views[name][1])
                types.add(views[name][0].dtype.name)
    assert types == {"uint8", "uint16"}


def test_numbers_that_make_no_sense(run):
    index = run.index
    sampler = UniformSampler(index.select(), 10)
    source = CropSource(index, sampler.selection)
    for wrong in ({"workers": -1}, {"workers": 1, "ahead": 1}):
        with pytest.raises(ValueError, match="have to be 0 and 2, or more"):
            BatchReader(source, sampler, **wrong)


class FussyError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def test_errors_that_do_not_travel_are_told_in_words():
    from wherein.reading.worker import _sendable

    assert isinstance(_sendable(ValueError("x")), ValueError)
    told = _sendable(FussyError("a", "b"))
    assert isinstance(told, RuntimeError)
    assert str(told) == "FussyError: a b"


def test_an_iteration_that_was_left_gives_nothing_to_the_next(run):
    """Somebody looks at a first batch, keeps the iterator, and then goes through all."""
    sampler = SequentialSampler(run.index.select(), 4)
    with BatchReader(CropSource(run.index, sampler.selection), sampler, workers=2) as reader:
        kept = iter(reader)
        next(kept)
        batches = list(reader)
        assert next(kept, None) is None
    assert [batch.number for batch in batches] == list(range(1, len(sampler)))
    for batch in batches:
        for row, image in zip(batch.rows, batch.images, strict=True):
            np.testing.assert_array_equal(image, run.pixels[run.index.cell_ids([row])[0]][0])


def test_interrupted_while_an_answer_comes_in(run, monkeypatch):
    sampler = SequentialSampler(run.index.select(), 4)
    with BatchReader(CropSource(run.index, sampler.selection), sampler, workers=2) as reader:
        receive, calls = type(reader._workers[0]._connection).recv, []

        def interrupted(connection):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return receive(connection)

        monkeypatch.setattr(type(reader._workers[0]._connection), "recv", interrupted)
        seen = []
        with pytest.raises(KeyboardInterrupt):
            seen.extend(reader)
        seen += list(reader)
    assert [batch.number for batch in seen] == list(range(len(sampler)))
    for batch in seen:
        for row, image in zip(batch.rows, batch.images, strict=True):
            np.testing.assert_array_equal(image, run.pixels[run.index.cell_ids([row])[0]][0])


def test_a_signal_to_all_processes_leaves_workers_at_work(run):
    """A cluster's time limit: the process that trains saves its state first, and may want another batch for it."""
    sampler = SequentialSampler(run.index.select(), 4)
    with BatchReader(CropSource(run.index, sampler.selection), sampler, workers=2) as reader:
        batches = iter(reader)
        seen = [next(batches)]
        for worker in reader._workers:
            worker._process.send_signal(signal.SIGTERM)
            worker._process.send_signal(signal.SIGUSR1)
        assert len(seen + list(batches)) == len(sampler)


def test_a_larger_batch_than_there_is_room_for_is_an_error(run):
    sampler = SequentialSampler(run.index.select(), 4)
    source = CropSource(run.index, sampler.selection)
    with BatchReader(source, sampler, workers=1) as reader, pytest.raises(ValueError, match="5 images"):
        reader._workers[0].ask(0, 5, [])
