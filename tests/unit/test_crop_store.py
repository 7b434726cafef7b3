import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import zarr
from wherein.crops.store import CropStore, CropWriter, DamagedCropsError, verify

SIDE = 12


def crops(n, dtype=np.uint16, seed=0):
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    images = (rng.random((n, 3, SIDE, SIDE)) * top).astype(dtype)
    return images, rng.integers(0, 3, (n, 2, SIDE, SIDE)).astype(np.uint8)


def write(path, images, masks, shard_crops=4):
    with CropWriter(path, ["nucleus", "er", "protein"], SIDE, images.dtype, shard_crops) as writer:
        rows = [
            writer.add(f"a@v:{i + 1}", image, mask) for i, (image, mask) in enumerate(zip(images, masks, strict=True))
        ]
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


def test_a_store_is_few_files_and_travels_to_other_processes(tmp_path):
    images, masks = crops(9)
    path = write(tmp_path / "c.zarr", images, masks)
    assert len([file for file in path.rglob("*") if file.is_file()]) == 3 + 2 * 3
    store = CropStore(path)
    store.images([0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).images([8]), images[[8]])


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
    np.testing.assert_array_equal(CropStore(path).images([3]), images[[3]])


def test_a_chunk_that_the_index_lacks_is_an_error(tmp_path):
    images, masks = crops(2)
    path = write(tmp_path / "c.zarr", images, masks)
    metadata = (path / "images/zarr.json").read_text()
    assert '"shape": [\n    2,' in metadata
    for name, text in (("images", metadata), ("masks", (path / "masks/zarr.json").read_text())):
        (path / name / "zarr.json").write_text(text.replace('"shape": [\n    2,', '"shape": [\n    3,', 1))
    root = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(root.replace('"a@v:1",', '"a@v:0", "a@v:1",'))
    with pytest.raises(DamagedCropsError, match="crop 2 is missing"):
        CropStore(path).images([2])


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


def test_the_index_lies_at_the_end_as_zarr_has_it(tmp_path):
    images, masks = crops(3)
    path = write(tmp_path / "c.zarr", images, masks)
    content = shard_file(path, 0).read_bytes()
    places = struct.unpack("<8Q", content[-4 * 16 - 4 : -4])
    assert places[0] == 0
    assert places[2] == places[1]
    assert places[6:] == (2**64 - 1, 2**64 - 1)
