import cv2
import numpy as np
import pytest
import zarr
from stored_fields import ROLES, write_store
from wherein.models.field_store import DamagedFieldsError, FieldStore
from wherein.models.grid import Grid, grid_of, parse_grid

SIZES = [(40, 64), (64, 40), (33, 47)]


@pytest.mark.parametrize("name", ["source", "0.64um", "0.5um", "256px"])
def test_a_grid_has_one_name(name):
    assert parse_grid(name).name == name


@pytest.mark.parametrize("name", ["", "um", "12", "-1um", "1.um", "px", "../x"])
def test_other_names_are_no_grid(name):
    with pytest.raises(ValueError, match="allowed are"):
        parse_grid(name)


def test_grid_of_a_model():
    assert grid_of({"field_px": 256, "pixel_size_um": None}).name == "256px"
    assert grid_of({"field_px": None, "pixel_size_um": 0.5}).name == "0.5um"
    assert grid_of({"field_px": None, "pixel_size_um": None}).name == "source"


def test_fields_are_shrunk_and_never_made_finer():
    assert Grid(side_px=256).size(2048, 1024, 0.1) == (256, 128)
    assert Grid(pixel_size_um=0.4).size(100, 60, 0.1) == (25, 15)
    assert Grid(side_px=256).size(100, 60, 0.1) == (100, 60)
    assert Grid(pixel_size_um=0.05).size(100, 60, 0.1) == (100, 60)
    assert Grid().size(100, 60, 0.1) == (100, 60)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_what_was_stored_comes_back(tmp_path, dtype):
    path, images = write_store(tmp_path, SIZES, dtype=dtype)
    store = FieldStore(path)
    assert store.roles == list(ROLES)
    assert store.fields == list(images)
    assert store.dtype == dtype
    assert store.images.shape == (3, 4, 64, 64)
    for row, image in enumerate(images.values()):
        np.testing.assert_array_equal(store.read(row), image)
    # plain zarr opens it, and what pads a field is 0
    array = zarr.open_group(path, mode="r")["images"]
    np.testing.assert_array_equal(array[2, :, :33, :47], images["s-0001-f2@v"])
    assert not array[2, :, 33:].any()
    assert not array[2, :, :, 47:].any()


def test_measures_are_of_the_sources_own_grid(tmp_path):
    path, images = write_store(tmp_path, SIZES, grid="16px")
    store = FieldStore(path)
    for row, image in enumerate(images.values()):
        flat = image.reshape(4, -1).astype(float)
        np.testing.assert_allclose(store.means[row], flat.mean(axis=1), rtol=1e-6)
        np.testing.assert_allclose(store.deviations[row], flat.std(axis=1), rtol=1e-6)
        np.testing.assert_allclose(store.low[row], np.percentile(flat, 1, axis=1), rtol=1e-6)
        np.testing.assert_allclose(store.high[row], np.percentile(flat, 99, axis=1), rtol=1e-6)
    assert store.full_scale.tolist() == [4000.0] * 3


def test_pixels_are_means_over_areas(tmp_path):
    path, images = write_store(tmp_path, SIZES, grid="16px")
    store = FieldStore(path)
    assert store.sizes.tolist() == [[10, 16], [16, 10], [11, 16]]
    image = images["s-0001-f0@v"]
    expected = cv2.resize(image[1], (16, 10), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(store.read(0)[1], expected)
    # 64 pixels of 0.2 um in 16
    assert store.pixel_size_um[0] == pytest.approx(0.8)


def test_a_shard_without_fields_is_a_store(tmp_path):
    path, _ = write_store(tmp_path, [])
    assert len(FieldStore(path)) == 0


def test_a_changed_byte_is_found(tmp_path):
    path, _ = write_store(tmp_path, SIZES)
    file = path / "images" / "c" / "0" / "0" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedFieldsError, match="--forcerun"):
        FieldStore(path).read(0)


def test_a_store_whose_metadata_changed_is_none(tmp_path):
    path, _ = write_store(tmp_path, SIZES)
    metadata = path / "images" / "zarr.json"
    metadata.write_text(metadata.read_text().replace("64", "32"))
    with pytest.raises(DamagedFieldsError):
        FieldStore(path)
    with pytest.raises(DamagedFieldsError, match="no whole store"):
        FieldStore(tmp_path / "nothing.zarr")


def test_a_role_that_is_not_there(tmp_path):
    path, _ = write_store(tmp_path, SIZES, roles=("nucleus", "protein"))
    store = FieldStore(path)
    assert store.channels(["protein", "nucleus"]) == [1, 0]
    with pytest.raises(ValueError, match="has no er"):
        store.channels(["protein", "er"])
