import cv2
import numpy as np
import pytest
from wherein.crops.resample import nearest, resample, resample_masks


def overlap(source, size):
    """Share of each of `source` pixels that lies under each of `size` equal parts: (size, source)."""
    edges = np.arange(size + 1) * source / size
    low, high = np.arange(source), np.arange(source) + 1
    shared = np.minimum(high, edges[1:, None]) - np.maximum(low, edges[:-1, None])
    return np.clip(shared, 0, None) * size / source


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize(("source", "size"), [(24, 8), (25, 10), (31, 17), (64, 64), (17, 16), (9, 1)])
def test_area_is_the_mean_over_each_new_pixel(source, size, dtype):
    rng = np.random.default_rng(source)
    image = rng.integers(0, 200, (3, source, source)).astype(dtype)
    share = overlap(source, size)
    exact = share @ image.astype(float) @ share.T
    found = resample(image, (size, size), "area")
    assert found.dtype == image.dtype
    assert np.abs(found - exact).max() <= (1e-3 if dtype.startswith("float") else 0.501)


def test_the_top_of_the_range_does_not_wrap():
    for dtype in (np.uint8, np.uint16, np.uint32):
        image = np.full((1, 30, 30), np.iinfo(dtype).max, dtype)
        for size in (7, 30, 50):
            assert (resample(image, (size, size), "area") == np.iinfo(dtype).max).all()


def test_linear_takes_what_is_there_and_area_takes_all():
    stripes = np.zeros((1, 64, 64), np.uint8)
    stripes[:, :, ::4] = 200
    assert resample(stripes, (16, 16), "area").std() == 0
    assert resample(stripes, (16, 16), "area")[0, 0, 0] == 50
    assert set(np.unique(resample(stripes, (16, 16), "linear"))) == {0}, "the stripes fall between its samples"


def test_finer_grids_are_linear_between_pixels():
    ramp = np.tile(np.arange(10, dtype=np.float32) * 10, (1, 10, 1))
    found = resample(ramp, (20, 20), "area")
    np.testing.assert_allclose(found[0, 5, 1:-1], (np.arange(20)[1:-1] + 0.5) * 5 - 5, atol=1e-4)


def test_sizes_need_not_be_square_and_a_place_may_be_given():
    image = np.random.default_rng(0).integers(0, 255, (2, 3, 20, 30)).astype(np.uint8)
    out = np.zeros((2, 3, 10, 6), np.uint8)
    assert resample(image, (10, 6), "area", out) is out
    exact = image.reshape(2, 3, 10, 2, 6, 5).mean((3, 5))
    assert np.abs(out - exact).max() <= 0.5


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
@pytest.mark.parametrize(("shape", "size"), [((110, 640), (128, 128)), ((640, 110), (128, 128)), ((9, 31), (17, 12))])
def test_an_axis_that_shrinks_is_averaged_where_the_other_grows(shape, size, dtype):
    stripes = np.zeros((2, *shape), dtype)
    (stripes if shape[1] > shape[0] else stripes.transpose(0, 2, 1))[:, :, ::4] = 200
    noise = np.random.default_rng(0).integers(0, 200, (2, *shape)).astype(dtype)
    for image in (stripes, noise):
        found = resample(image, size, "area")
        exact = image.astype(float)
        for axis in (1, 2):
            old, new = shape[axis - 1], size[axis - 1]
            # between the centres of the nearest pixels; the outermost go on to the border
            places = (np.arange(new) + 0.5) * old / new - 0.5
            rows = overlap(old, new) if new < old else [np.interp(places, np.arange(old), unit) for unit in np.eye(old)]
            weights = rows if new < old else np.transpose(rows)
            exact = np.moveaxis(np.tensordot(weights, exact, (1, axis)), 0, axis)
        assert found.dtype == image.dtype
        assert np.abs(found - exact).max() <= (1e-2 if dtype == "float32" else 0.51)
    if size == (128, 128):
        assert abs(float(resample(stripes, size, "area").mean()) - 50) < 0.5


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize(
    ("shape", "size"), [((64, 64), (24, 24)), ((24, 24), (64, 64)), ((40, 40), (40, 40)), ((40, 64), (40, 24))]
)
def test_otherwise_one_step_of_opencv_does(shape, size, dtype):
    image = np.random.default_rng(1).integers(0, 200, (2, *shape)).astype(dtype)
    flag = cv2.INTER_AREA if size[1] <= shape[1] else cv2.INTER_LINEAR
    wanted = [cv2.resize(plane, size[::-1], interpolation=flag) for plane in image]
    assert resample(image, size, "area").tobytes() == np.stack(wanted).tobytes()


@pytest.mark.parametrize(("source", "size"), [(24, 8), (25, 10), (8, 24), (7, 7), (256, 100)])
def test_masks_take_the_value_under_each_centre(source, size):
    expected = [int((i + 0.5) * source / size) for i in range(size)]
    assert nearest(source, size).tolist() == expected
    masks = np.random.default_rng(0).integers(0, 3, (4, 2, source, source)).astype(np.uint8)
    np.testing.assert_array_equal(resample_masks(masks, size), masks[..., expected, :][..., expected])
