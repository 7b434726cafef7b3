import numpy as np
import pytest
from wherein.segmentation.networks.inputs import BRIGHTEST, INPUTS, channels_of, grid_shape, on_grid, resampled, scaled


def blobs(seed=0, side=96, noise=3.0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    image = sum(400 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 60) for cy, cx in rng.uniform(10, side - 10, (6, 2)))
    return (image + 100 + noise * rng.standard_normal((side, side))).astype(np.float32)


@pytest.mark.parametrize(
    ("roles", "stand_in"),
    [
        (("nucleus", "microtubules", "er", "protein"), None),
        (("nucleus", "er", "protein"), None),
        (("nucleus", "reference", "protein"), "reference"),
        (("nucleus", "protein"), "protein"),
        (("nucleus",), None),
    ],
)
def test_the_protein_stands_in_only_where_there_is_no_marker(roles, stand_in):
    images = {role: np.full((2, 2), place) for place, role in enumerate(roles)}
    found = channels_of(images)
    assert found.get("stand_in") is (images[stand_in] if stand_in else None)
    assert {name for name in found if name != "stand_in"} == {"nucleus", "microtubules", "er"} & set(roles)


def test_exposure_and_offset_do_not_matter():
    image = blobs()
    np.testing.assert_allclose(scaled(7 * image + 900, 0.32), scaled(image, 0.32), atol=2e-3)


def test_scale_has_its_bounds():
    found = scaled(blobs(), 0.32)
    assert found.dtype == np.float32
    assert found.min() == 0
    assert 0.9 < found.max() <= np.sqrt(BRIGHTEST)


@pytest.mark.parametrize("level", [0.0, 100.0, 60000.0])
def test_noise_alone_shows_nothing(level):
    noise = np.random.default_rng(1).normal(level, 5, (96, 96)).astype(np.float32)
    assert not scaled(noise, 0.32).any()
    assert not scaled(np.full((40, 40), level, np.float32), 0.32).any()


def test_pixels_that_are_not_finite_are_background():
    image = blobs()
    image[3:6, 3:6], image[50, 50] = np.nan, np.inf
    found = scaled(image, 0.32)
    assert np.isfinite(found).all()
    assert not found[4, 4]


@pytest.mark.parametrize(
    ("shape", "pixel", "wanted"),
    [((2048, 1000), 0.08, (512, 250)), ((64, 32), 0.64, (128, 64)), ((1, 1), 0.08, (1, 1))],
)
def test_the_grid_has_its_own_pixel_size(shape, pixel, wanted):
    assert grid_shape(shape, pixel, 0.32) == wanted


def test_resampling_averages_on_the_way_down_and_keeps_a_ramp_on_the_way_up():
    image = np.arange(64, dtype=np.uint16).reshape(8, 8)
    np.testing.assert_allclose(resampled(image, (4, 4)), image.reshape(4, 2, 4, 2).mean((1, 3)))
    fine = resampled(image, (16, 16))
    assert fine.shape == (16, 16)
    repeated = image.repeat(2, 0).repeat(2, 1)
    # pixels differ by 1 along a row and by 8 along a column; a finer pixel's centre lies a quarter of one off
    assert np.abs(fine[1:-1, 1:-1] - repeated[1:-1, 1:-1]).max() == 0.25 * (1 + 8)


def test_channels_come_in_order_and_absent_ones_are_zero():
    images = {"protein": blobs(1), "nucleus": blobs(2), "er": blobs(3)}
    found = on_grid(images, 0.16, 0.32)
    assert found.shape == (len(INPUTS["cell"]), 48, 48)
    assert [plane.any() for plane in found] == [False, True, False, True]
    np.testing.assert_array_equal(found[3], scaled(resampled(images["nucleus"], (48, 48)), 0.32))
