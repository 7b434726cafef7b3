import pickle

import numpy as np
import pytest
from wherein.crops.store import CropStore, CropWriter
from wherein.crops.window import window_of


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("view") / "c.zarr"
    with CropWriter(path, ["nucleus", "protein"], 512, np.dtype(np.uint8)) as writer:
        for number in range(3):
            image = rng.integers(0, 255, (2, 512, 512)).astype(np.uint8)
            writer.add(f"a@v:{number}", image, rng.integers(0, 3, (2, 512, 512)).astype(np.uint8))
        writer.finish({"pixel_size_um": 0.08, "window_um": 40.96})
    return CropStore(path)


def test_the_crop_of_paired_cell_inpainting(store):
    view = store.view(pixel_size_um=0.64, size_px=64)
    assert (view.window_px, view.window_um, view.pixel_size_um) == (64, pytest.approx(40.96), pytest.approx(0.64))
    exact = store.images([2, 0]).reshape(2, 2, 64, 8, 64, 8).mean((3, 5))
    found = view.images([2, 0])
    assert found.dtype == np.uint8
    assert np.abs(found - exact).max() <= 0.5
    np.testing.assert_array_equal(view.masks([2, 0]), store.masks([2, 0])[..., 4::8, 4::8])
    assert (len(view), view.cell_ids, view.roles) == (3, store.cell_ids, store.roles)


def test_a_smaller_window_on_the_same_grid_is_the_middle_untouched(store):
    view = store.view(size_px=224)
    np.testing.assert_array_equal(view.images([1]), store.images([1])[..., 144:368, 144:368])
    np.testing.assert_array_equal(view.masks([1]), store.masks([1])[..., 144:368, 144:368])
    assert view.pixel_size_um == 0.08


@pytest.mark.parametrize(("pixel", "size"), [(0.206, 100), (0.16, 128), (0.1, 224), (0.0801, 100), (0.04, 100)])
def test_views_tell_their_true_pixel_and_cover_what_they_say(store, pixel, size):
    view = store.view(pixel_size_um=pixel, size_px=size)
    assert view.images([0]).shape == (1, 2, size, size)
    assert view.masks([0]).shape == (1, 2, size, size)
    assert view.window_um / 0.08 == pytest.approx(round(view.window_um / 0.08))
    assert abs(view.pixel_size_um / pixel - 1) <= 0.5 * 0.08 / view.window_um + 1e-9


@pytest.mark.parametrize(("pixel", "size", "places"), [(None, 224, np.s_[144:368]), (0.64, 64, np.s_[4::8])])
def test_distances_are_those_of_the_whole_crop_under_the_views_pixels(store, pixel, size, places):
    view = store.view(pixel_size_um=pixel, size_px=size)
    found = view.nucleus_distance([2, 0])
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, store.nucleus_distance([2, 0])[:, places, places])
    np.testing.assert_array_equal(found > 0, view.masks([2, 0])[:, 1] > 0)


def test_without_a_size_a_view_holds_what_the_window_holds(store):
    assert store.view(pixel_size_um=0.16).window_px == 256
    assert store.view(pixel_size_um=0.3).window_px == 136
    assert store.view().window_px == 512


@pytest.mark.parametrize("source", [0.05, 0.0999, 0.16, 0.206, 0.21, 0.325, 0.51])
@pytest.mark.parametrize("stored", [None, 0.16, 0.32, 0.4])
def test_the_default_window_holds_the_view_of_paired_cell_inpainting_at_every_pixel_size(tmp_path, source, stored):
    window = window_of(40.96, source, stored)
    with CropWriter(tmp_path / "c.zarr", ["protein"], window.size_px, np.dtype(np.uint8)) as writer:
        shape = (window.size_px, window.size_px)
        writer.add("a@v:1", np.full((1, *shape), 7, np.uint8), np.ones((2, *shape), np.uint8))
        writer.finish({"pixel_size_um": window.pixel_size_um, "window_um": window.window_um})
    view = CropStore(tmp_path / "c.zarr").view(pixel_size_um=0.64, size_px=64)
    assert (view.images([0]) == 7).all()
    assert view.images([0]).shape == (1, 1, 64, 64)
    assert abs(view.pixel_size_um / 0.64 - 1) <= 1.5 * max(source, stored or 0) / 40.96


def test_on_the_same_grid_not_one_pixel_is_made_up(store):
    with pytest.raises(ValueError, match="513 pixels"):
        store.view(size_px=513)


def test_a_view_beyond_the_window_is_refused_and_says_what_it_needs(store):
    with pytest.raises(ValueError, match=r"100 pixels of 0.5 um is 50 um wide; the crops are 40.96 um"):
        store.view(pixel_size_um=0.5, size_px=100)


def test_a_view_of_a_view_and_views_in_other_processes(store):
    twice = store.view(pixel_size_um=0.16, size_px=256)
    again = type(twice)(twice, 0.32, 100)
    assert (again.window_px, again.pixel_size_um) == (100, pytest.approx(0.32))
    other = pickle.loads(pickle.dumps(twice))
    np.testing.assert_array_equal(other.images([1]), twice.images([1]))


def test_without_anti_aliasing(store):
    assert store.view(0.64, 64, resampling="linear").images([0]).std() > 2 * store.view(0.64, 64).images([0]).std()
