import pickle
import shutil
from pathlib import Path

import dask.array
import google_crc32c
import numpy as np
import pandas as pd
import pytest
import zarr
from wherein.crops.blocks import DamagedCropsError
from wherein.crops.store import ARRAYS, SHARD_CROPS, CropStore, CropWriter, verify
from wherein.segmentation.distance import nucleus_distance
from wherein.tables import cells_schema, write_table

SIDE = 12
SHARD_SMALL = 4


def crops(n, dtype=np.uint16, seed=0):
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    images = (rng.random((n, 3, SIDE, SIDE)) * top).astype(dtype)
    return images, rng.integers(0, 3, (n, 2, SIDE, SIDE)).astype(np.uint8)


def write(path, images, masks, shard_crops=SHARD_SMALL, distances=None):
    there = distances is not None
    with CropWriter(
        path, ["nucleus", "er", "protein"], SIDE, images.dtype, shard_crops, nucleus_distance=there
    ) as writer:
        cells = zip(images, masks, distances if there else [None] * len(images), strict=True)
        rows = [writer.add(f"a@v:{i + 1}", *cell) for i, cell in enumerate(cells)]
        writer.finish({"pixel_size_um": 0.1, "window_um": 1.2, "shard": "s-0000", "source": "s"})
    assert rows == list(range(len(images)))
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("n", [0, 1, 4, 11])
def test_plain_zarr_and_the_fast_reader_read_what_was_written(tmp_path, n, dtype):
    images, masks = crops(n, dtype)
    path = write(tmp_path / "c.zarr", images, masks)
    root = zarr.open_group(path, mode="r")
    np.testing.assert_array_equal(root["images"][...], images)
    np.testing.assert_array_equal(root["masks"][...], masks)
    np.testing.assert_array_equal(dask.array.from_zarr(path, component="images").compute(), images)
    store = CropStore(path)
    assert len(store) == n
    assert store.dtype == dtype
    assert (store.roles, store.pixel_size_um, store.window_um) == (["nucleus", "er", "protein"], 0.1, 1.2)
    assert store.window_px == SIDE
    assert store.cell_ids == [f"a@v:{i + 1}" for i in range(n)]
    order = np.random.default_rng(1).permutation(n)
    np.testing.assert_array_equal(store.images(order), images[order])
    np.testing.assert_array_equal(store.masks(order), masks[order])
    assert store.images([]).shape == (0, 3, SIDE, SIDE)
    assert verify(path) == []


def test_rows_may_be_asked_for_twice_but_must_exist(tmp_path):
    images, masks = crops(5)
    store = CropStore(write(tmp_path / "c.zarr", images, masks))
    np.testing.assert_array_equal(store.images([4, 0, 4]), images[[4, 0, 4]])
    for rows in ([5], [-1]):
        with pytest.raises(IndexError, match="holds 5 crops"):
            store.images(rows)


def files_of(path):
    return sorted(file for file in path.rglob("*") if file.is_file())


@pytest.mark.parametrize(("n", "files"), [(0, 3), (1, 5), (4, 5), (5, 6), (9, 7), (65, 3 + 17 + 2)])
def test_a_store_is_few_files(tmp_path, n, files):
    path = write(tmp_path / "c.zarr", *crops(n))
    assert len(files_of(path)) == files
    if n > SHARD_SMALL:
        assert files <= 3 + -(-n // (SHARD_SMALL / 2)), "3 and 1 for every half of the room of a file of images"
    assert verify(path) == []


def test_a_store_travels_to_other_processes(tmp_path):
    images, masks = crops(9)
    store = CropStore(write(tmp_path / "c.zarr", images, masks))
    store.images([0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).images([8]), images[[8]])


def test_the_same_cells_give_the_same_bytes(tmp_path):
    one, two = (write(tmp_path / name, *crops(9)) for name in ("a.zarr", "b.zarr"))
    assert [file.read_bytes() for file in files_of(one)] == [file.read_bytes() for file in files_of(two)]


def test_small_and_large_stores_have_an_index_of_their_size(tmp_path):
    small, large = write(tmp_path / "a.zarr", *crops(3)), write(tmp_path / "b.zarr", *crops(5))
    for path, room in ((small, 3), (large, 4)):
        assert zarr.open_group(path, mode="r")["images"].shards[0] == room
    assert SHARD_CROPS == 4000, "docs/formats.md says so"


def shard_file(path: Path, shard: int) -> Path:
    return path / "images" / "c" / str(shard) / "0" / "0" / "0"


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 0x10
    file.write_bytes(content)


def test_a_flipped_byte_is_an_error_for_its_crop_alone(tmp_path):
    images, masks = crops(6)
    path = write(tmp_path / "c.zarr", images, masks)
    index = np.frombuffer(shard_file(path, 0).read_bytes()[-4 * 16 - 4 : -4], "<u8").reshape(4, 2)
    flip(shard_file(path, 0), int(index[2, 0]) + 20)
    store = CropStore(path)
    np.testing.assert_array_equal(store.images([0, 1, 3, 4, 5]), images[[0, 1, 3, 4, 5]])
    with pytest.raises(DamagedCropsError, match="crop 2 are not those that were written"):
        store.images([2])
    broken = verify(path)
    assert len(broken) == 1
    assert "crop 2" in broken[0]


def test_a_torn_or_lost_shard_is_an_error_never_zeros(tmp_path):
    images, masks = crops(6)
    path = write(tmp_path / "c.zarr", images, masks)
    file = shard_file(path, 1)
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    with pytest.raises(DamagedCropsError, match="torn"):
        CropStore(path).images([4])
    file.write_bytes(b"")
    with pytest.raises(DamagedCropsError, match="cannot be opened"):
        CropStore(path).images([4])
    file.unlink()
    with pytest.raises(DamagedCropsError, match="cannot be opened"):
        CropStore(path).images([5])
    assert [line.count("cannot be opened") for line in verify(path)] == [1, 1]
    assert all(
        "run shard c again: `snakemake --cores all --forcerun results/crops/c.zarr`" in line for line in verify(path)
    )
    np.testing.assert_array_equal(CropStore(path).images([3]), images[[3]])


def test_every_flipped_byte_is_found(tmp_path):
    images, masks = crops(5, np.uint8)
    path = write(tmp_path / "c.zarr", images, masks)
    rng = np.random.default_rng(2)
    for file in files_of(path):
        whole = file.read_bytes()
        # every byte of the ends, where lengths, indexes and checksums stand; a sample of the rest
        ends = {*range(min(40, len(whole))), *range(max(0, len(whole) - 120), len(whole))}
        for place in sorted(ends | set(rng.integers(0, len(whole), 60).tolist())):
            content = bytearray(whole)
            content[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(content)
            found = verify(path)
            assert found, f"{file} {place}"
            assert "run shard c again: `snakemake --cores all --forcerun results/crops/c.zarr`" in found[0]
        file.write_bytes(whole)
    assert verify(path) == []


def test_every_truncation_is_found(tmp_path):
    path = write(tmp_path / "c.zarr", *crops(5, np.uint8))
    for file in files_of(path):
        whole = file.read_bytes()
        for length in {0, 1, len(whole) // 2, len(whole) - 1}:
            file.write_bytes(whole[:length])
            assert verify(path), f"{file} {length}"
        file.write_bytes(whole)


def test_files_that_are_no_part_of_a_store_are_found(tmp_path):
    path = write(tmp_path / "c.zarr", *crops(5))
    other = shard_file(path, 2)
    other.parent.mkdir(parents=True)
    shutil.copy(shard_file(path, 1), other)
    (stray,) = verify(path)
    assert stray.startswith(f"{other} is no part of the store; run shard c again")


def test_the_mark_that_snakemake_puts_into_a_folder_is_no_damage(tmp_path):
    path = write(tmp_path / "c.zarr", *crops(5))
    (path / ".snakemake_timestamp").touch()
    assert verify(path) == []
    (path / "images" / ".snakemake_timestamp").touch()
    assert len(verify(path)) == 1


def ledger(folder, kept, rejected=()):
    rows = [{"cell_id": name, "status": "kept", "crop_index": row} for name, row in kept.items()]
    rows += [{"cell_id": name, "status": "rejected", "crop_index": None} for name in rejected]
    write_table(folder / "cells.parquet", pd.DataFrame(rows).astype({"crop_index": "Int32"}), cells_schema(["er"]))
    return folder / "cells.parquet"


def test_missing_and_extra_cells_are_found_against_the_ledger(tmp_path):
    path = write(tmp_path / "s-0007.zarr", *crops(3))
    kept = {"a@v:1": 0, "a@v:2": 1, "a@v:3": 2}
    assert verify(path, ledger(tmp_path, kept, ["a@v:9"])) == []
    missing = verify(path, ledger(tmp_path, kept | {"a@v:4": 3}))
    assert len(missing) == 1
    assert "cell a@v:4 of" in missing[0]
    assert "run shard s-0007 again" in missing[0]
    (extra,) = verify(path, ledger(tmp_path, {"a@v:1": 0, "a@v:2": 1}, ["a@v:3"]))
    assert "cell a@v:3 is extra" in extra
    moved = verify(path, ledger(tmp_path, {"a@v:1": 1, "a@v:2": 0, "a@v:3": 2}))
    assert len(moved) == 2
    assert "is crop 0, not 1" in moved[0]


def test_crops_in_the_wrong_place_are_found(tmp_path):
    images, masks = crops(8)
    path = write(tmp_path / "c.zarr", images, masks)
    first, second = shard_file(path, 0), shard_file(path, 1)
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    assert len(verify(path)) == 8


def test_a_store_that_is_not_whole_says_so(tmp_path):
    with pytest.raises(DamagedCropsError, match="no whole crop store"):
        CropStore(tmp_path / "nothing.zarr")
    assert len(verify(tmp_path / "nothing.zarr")) == 1
    with CropWriter(tmp_path / "c.zarr", ["protein"], 4, np.dtype(np.uint8)) as writer:
        writer.add("a@v:1", np.zeros((1, 4, 4), np.uint8), np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(DamagedCropsError, match="no whole crop store"):
        CropStore(tmp_path / "c.zarr")


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (np.zeros((3, SIDE, SIDE), np.uint8), np.zeros((2, SIDE, SIDE), np.uint8)),
        (np.zeros((2, SIDE, SIDE), np.uint16), np.zeros((2, SIDE, SIDE), np.uint8)),
        (np.zeros((3, SIDE, SIDE), np.uint16), np.zeros((2, SIDE, SIDE), np.uint16)),
    ],
)
def test_a_crop_of_another_shape_or_type_is_refused(tmp_path, image, mask):
    with (
        CropWriter(tmp_path / "c.zarr", ["a", "b", "c"], SIDE, np.dtype(np.uint16)) as writer,
        pytest.raises(ValueError, match="the store holds"),
    ):
        writer.add("a@v:1", image, mask)


def far(n, seed=3):
    return np.random.default_rng(seed).normal(0, 20, (n, SIDE, SIDE)).astype(np.float16)


@pytest.mark.parametrize("n", [0, 1, 4, 11])
def test_distances_are_stored_where_they_are_asked_for(tmp_path, n):
    images, masks = crops(n)
    path = write(tmp_path / "c.zarr", images, masks, distances=far(n))
    array = zarr.open_group(path, mode="r")["nucleus_distance"]
    assert array.metadata.dimension_names == ("cell", "y", "x")
    np.testing.assert_array_equal(array[...], far(n))
    store = pickle.loads(pickle.dumps(CropStore(path)))
    assert store.has_nucleus_distance
    order = np.random.default_rng(1).permutation(n)
    found = store.nucleus_distance(order)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, far(n)[order])
    np.testing.assert_array_equal(store.images(order), images[order])
    assert verify(path) == []
    assert len(files_of(path)) == 4 + (-(-n // SHARD_SMALL)) * 2 + bool(n), "docs/formats.md says so"


def test_without_them_distances_are_those_of_the_masks(tmp_path):
    images, masks = crops(5)
    masks[3, 1] = 0
    store = CropStore(write(tmp_path / "c.zarr", images, masks))
    assert not store.has_nucleus_distance
    found = store.nucleus_distance([4, 3])
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, nucleus_distance(masks[[4, 3], 1], 0.1).astype(np.float16))
    assert not (tmp_path / "c.zarr" / "nucleus_distance").exists()


def test_every_damage_to_distances_is_found(tmp_path):
    images, masks = crops(5)
    path = write(tmp_path / "c.zarr", images, masks, distances=far(5))
    for file in files_of(path / "nucleus_distance"):
        whole = file.read_bytes()
        for place in range(0, len(whole), 7):
            flip(file, place)
            assert verify(path), f"{file} {place}"
            file.write_bytes(whole)
        file.write_bytes(whole[:-1])
        assert verify(path), str(file)
        file.unlink()
        assert verify(path), str(file)
        file.write_bytes(whole)
    assert verify(path) == []
    changed = far(5)
    changed[2, 5, 5] += 1
    write(tmp_path / "other.zarr", images, masks, distances=changed)
    shutil.rmtree(path / "nucleus_distance")
    assert "no whole crop store" in verify(path)[0]
    shutil.copytree(tmp_path / "other.zarr" / "nucleus_distance", path / "nucleus_distance")
    (broken,) = verify(path)
    assert "crop 2 (a@v:3) is not the cell that was written" in broken
    plain = write(tmp_path / "plain.zarr", images, masks)
    shutil.copytree(path / "nucleus_distance", plain / "nucleus_distance")
    assert all("is no part of the store" in line for line in verify(plain))
    assert len(verify(plain)) == 3


def test_a_store_without_a_word_on_distances_is_read(tmp_path):
    images, masks = crops(3)
    path = write(tmp_path / "c.zarr", images, masks)
    text = (path / "zarr.json").read_text()
    assert '  "nucleus_distance": false,\n' in text
    older = text.replace('  "nucleus_distance": false,\n', "")
    written = CropStore(path).attributes["metadata_crc32c"]
    checksum = google_crc32c.value(older.replace(written, "00000000").encode())
    for name in ("images", "masks"):
        checksum = google_crc32c.extend(checksum, (path / name / "zarr.json").read_bytes())
    (path / "zarr.json").write_text(older.replace(written, f"{checksum:08x}"))
    assert verify(path) == []
    assert not CropStore(path).has_nucleus_distance


@pytest.mark.parametrize(
    ("there", "distance", "said"),
    [
        (True, None, "2 arrays; the store holds images, masks, nucleus_distance"),
        (False, np.zeros((SIDE, SIDE), np.float16), "3 arrays; the store holds images, masks$"),
        (True, np.zeros((SIDE, SIDE), np.float32), "float32; the store holds"),
        (True, np.zeros((1, SIDE, SIDE), np.float16), "the store holds"),
    ],
)
def test_distances_that_do_not_fit_are_refused(tmp_path, there, distance, said):
    images, masks = crops(1)
    with (
        CropWriter(tmp_path / "c.zarr", ["a", "b", "c"], SIDE, images.dtype, nucleus_distance=there) as writer,
        pytest.raises(ValueError, match=said),
    ):
        writer.add("a@v:1", images[0], masks[0], distance)


def test_the_store_says_for_itself_what_it_holds(tmp_path):
    path = write(tmp_path / "c.zarr", *crops(2))
    found = dict(zarr.open_group(path, mode="r").attrs)
    assert found["roles"] == ["nucleus", "er", "protein"]
    assert (found["mask_channels"], found["mask_values"]["another"]) == (["cell", "nucleus"], 2)
    assert [tuple(zarr.open_group(path)[name].metadata.dimension_names) for name in ARRAYS] == list(ARRAYS.values())
