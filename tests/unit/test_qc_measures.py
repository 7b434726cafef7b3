"""Measures of a field's quality, each against a brute-force way or an image whose answer is known."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.exposure import is_low_contrast
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label, regionprops
from skimage.segmentation import clear_border
from wherein.quality.counting import Nuclei, above_otsu, count_marker, count_reference, find_nuclei, stands_out
from wherein.quality.fit import culprit, pairwise_fit, ranked
from wherein.quality.focus import autocovariance, sharpness
from wherein.quality.intensity import contrast, full_scale_of, percentiles, saturated_share
from wherein.quality.phash import differing_bits, perceptual_hash
from wherein.settings import fill_defaults, schema

SETTINGS: dict = {}
fill_defaults(SETTINGS, schema()["$defs"]["qc"])


def disks(shape, centres, radius, inside=1000.0, outside=100.0, noise=10.0, seed=0):
    image = np.full(shape, outside, np.float32)
    for y, x in centres:
        cv2.circle(image, (x, y), radius, inside, -1, cv2.LINE_AA)
    image += np.random.default_rng(seed).normal(0, noise, shape)
    return np.clip(image, 0, 65535).astype(np.uint16)


def grid_of(rows, columns, step, start=60):
    return [(start + row * step, start + column * step) for row in range(rows) for column in range(columns)]


# counting


@pytest.mark.parametrize("pixel", [0.08, 0.16, 0.32])
def test_nuclei_count_is_the_same_at_any_pixel_size(pixel):
    scale = 0.32 / pixel
    centres = [(int(y * scale), int(x * scale)) for y, x in grid_of(3, 4, 60)]
    image = disks((int(280 * scale), int(320 * scale)), centres, int(18 * scale))
    found = find_nuclei(image, pixel, SETTINGS["nuclei"])
    assert (found.whole, found.all) == (12, 12)
    assert found.compactness == pytest.approx(1)


def test_nuclei_at_the_border_count_apart():
    image = disks((300, 360), [(0, 100), (150, 0), (299, 200), (150, 359), (150, 150)], 18)
    found = find_nuclei(image, 0.32, SETTINGS["nuclei"])
    assert (found.whole, found.all) == (1, 5)


def test_touching_nuclei_are_divided_and_an_elongated_one_is_not():
    image = disks((300, 300), [(100, 100), (100, 132)], 18)
    assert find_nuclei(image, 0.32, SETTINGS["nuclei"]).whole == 2
    image = np.full((300, 300), 100, np.float32)
    cv2.ellipse(image, (150, 150), (36, 18), 30, 0, 360, 1000, -1)
    image += np.random.default_rng(0).normal(0, 10, image.shape)
    assert find_nuclei(image.astype(np.float32), 0.32, SETTINGS["nuclei"]).whole == 1


def test_one_of_two_touching_nuclei_is_at_the_border():
    image = disks((300, 300), [(10, 150), (42, 150)], 18)
    found = find_nuclei(image, 0.32, SETTINGS["nuclei"])
    assert (found.whole, found.all) == (1, 2)


def test_a_dim_nucleus_counts_beside_bright_ones():
    image = disks((300, 300), [(80, 80), (80, 220)], 18, inside=4000)
    image = np.maximum(image, disks((300, 300), [(220, 80)], 18, inside=1500, seed=1))
    assert find_nuclei(image, 0.32, SETTINGS["nuclei"]).whole == 3


@pytest.mark.parametrize("slope", [0, 200])
def test_noise_and_uneven_light_hold_no_nuclei(slope):
    rng = np.random.default_rng(1)
    light = 500 + slope * np.linspace(0, 1, 400)[None] * np.ones((300, 1))
    found = find_nuclei(rng.poisson(light).astype(np.uint16), 0.16, SETTINGS["nuclei"])
    assert (found.whole, found.all) == (0, 0)


def test_a_flat_image_holds_nothing():
    flat = np.full((200, 300), 7, np.uint8)
    assert find_nuclei(flat, 0.16, SETTINGS["nuclei"]).all == 0
    assert count_marker(flat, 0.16, SETTINGS["marker"]) == 0
    assert count_reference(flat, 0.16, SETTINGS["reference"]) == 0


def test_a_single_nucleus_is_found_and_debris_is_not():
    image = disks((400, 400), [(200, 200)], 18, inside=1500)
    assert find_nuclei(image, 0.32, SETTINGS["nuclei"]).whole == 1
    specks = disks((400, 400), [(100, 100), (300, 300)], 5, inside=4000)
    assert find_nuclei(specks, 0.32, SETTINGS["nuclei"]).all == 0


def test_more_than_255_nuclei():
    image = disks((1300, 1300), grid_of(18, 18, 68), 18)
    assert find_nuclei(image, 0.32, SETTINGS["nuclei"]).whole == 324


def test_marker_count_is_that_of_the_published_steps():
    rng = np.random.default_rng(2)
    centres = [(int(y), int(x)) for y, x in rng.uniform(0, 600, (25, 2))]
    image = disks((600, 640), centres, 28, inside=600, noise=60)
    options = {**SETTINGS["marker"], "grid_um": 0.16}
    smooth = gaussian(image.astype(float), options["smoothing_um"] / 0.16)
    objects = regionprops(label(clear_border(smooth > threshold_otsu(smooth))))
    expected = sum(one.area * 0.16**2 >= options["min_um2"] for one in objects)
    assert expected > 3
    assert count_marker(image, 0.16, options) == expected


def test_touching_cells_count_as_one_on_the_marker():
    image = disks((300, 300), [(100, 100), (100, 140)], 24)
    assert count_marker(image, 0.32, SETTINGS["marker"]) == 1


def test_yeast_cells_are_counted_bright_and_outlined():
    centres = grid_of(5, 6, 70, start=70)
    bright = disks((480, 500), centres, 14)
    assert count_reference(bright, 0.16, SETTINGS["reference"]) == 30
    outlined = np.full((480, 500), 1800, np.float32)
    for y, x in centres:
        cv2.circle(outlined, (x, y), 14, 700, 3, cv2.LINE_AA)
    outlined += np.random.default_rng(0).normal(0, 20, outlined.shape)
    assert count_reference(outlined, 0.16, SETTINGS["reference"]) == 30


def test_otsu_and_standing_out():
    image = disks((200, 200), [(100, 100)], 40).astype(np.float32)
    mask = above_otsu(image)
    assert mask.sum() == pytest.approx(np.pi * 40**2, rel=0.03)
    assert stands_out(image, mask, 50)
    assert not stands_out(image, mask, 200)
    assert not stands_out(image, np.zeros_like(mask), 0)


# focus


@pytest.mark.parametrize("lag", [1, 2, 5])
def test_autocovariance_is_the_mean_product(lag):
    image = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    down = [image[y, x] * image[y + lag, x] for y in range(40 - lag) for x in range(50)]
    right = [image[y, x] * image[y, x + lag] for y in range(40) for x in range(50 - lag)]
    assert autocovariance(image, lag) == pytest.approx((np.mean(down) + np.mean(right)) / 2, abs=1e-5)


def test_autocovariance_between_whole_pixels():
    image = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    between = 0.75 * autocovariance(image, 2) + 0.25 * autocovariance(image, 3)
    assert autocovariance(image, 2.25) == pytest.approx(between, rel=1e-5)


def textured(blur_um, pixel=0.16, gain=1.0, noise=5.0):
    rng = np.random.default_rng(3)
    structure = cv2.GaussianBlur(rng.normal(size=(512, 512)).astype(np.float32), (0, 0), 0.15 / pixel)
    image = 500 + gain * 400 * structure / structure.std() * (cv2.GaussianBlur(structure, (0, 0), 30) > 0)
    if blur_um:
        image = cv2.GaussianBlur(image, (0, 0), blur_um / pixel)
    return image + rng.normal(0, noise, image.shape)


def test_sharpness_falls_with_blur():
    values = [sharpness(textured(blur), 0.16, SETTINGS["focus"]) for blur in (0, 0.2, 0.4, 0.8, 1.6)]
    assert all(first > second + 0.02 for first, second in pairwise(values))
    assert values[0] > 0.4
    assert values[-1] < SETTINGS["focus"]["minimum"]


@pytest.mark.parametrize(("gain", "noise"), [(0.2, 5), (5, 5), (1, 100)])
def test_sharpness_depends_on_neither_brightness_nor_noise(gain, noise):
    for blur in (0, 0.8):
        plain = sharpness(textured(blur), 0.16, SETTINGS["focus"])
        assert sharpness(textured(blur, gain=gain, noise=noise), 0.16, SETTINGS["focus"]) == pytest.approx(
            plain, abs=0.06
        )


def test_noise_alone_has_no_sharpness():
    noise = np.random.default_rng(0).poisson(300, (512, 512)).astype(np.uint16)
    assert np.isnan(sharpness(noise, 0.16, SETTINGS["focus"]))
    assert np.isnan(sharpness(np.zeros((512, 512), np.uint8), 0.16, SETTINGS["focus"]))


def test_cells_blurred_beyond_all_texture_have_sharpness_0():
    image = disks((512, 512), grid_of(5, 5, 95), 35, noise=0).astype(np.float32)
    image = cv2.GaussianBlur(image, (0, 0), 5 / 0.16) + np.random.default_rng(0).normal(0, 25, image.shape)
    assert sharpness(image, 0.16, SETTINGS["focus"]) == 0


# intensities


@given(st.integers(0, 2**32 - 1), st.sampled_from(["uint8", "uint16", "float32"]), st.integers(1, 400))
def test_percentiles_are_numpys(seed, dtype, size):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256 if dtype == "uint8" else 5000, (1, size)).astype(dtype)
    ranks = (0, 1, 37.5, 50, 99.99, 100)
    assert percentiles(image, ranks) == pytest.approx(np.percentile(image, ranks), abs=1e-3)


@pytest.mark.parametrize("top", [20, 45, 60, 200])
def test_contrast_is_that_of_scikit_image(top):
    image = np.random.default_rng(0).integers(0, top, (300, 200)).astype(np.uint8)
    low = contrast(image, 255, SETTINGS["contrast"]) < 0.2
    assert low == is_low_contrast(image, fraction_threshold=0.2, upper_percentile=99.99)


def test_contrast_of_12_bits_in_16():
    image = np.random.default_rng(0).integers(0, 2000, (300, 200)).astype(np.uint16)
    assert contrast(image, full_scale_of(image.dtype, 4095.0), SETTINGS["contrast"]) > 0.4
    assert contrast(image, full_scale_of(image.dtype, None), SETTINGS["contrast"]) < 0.05
    assert full_scale_of(image.dtype, float("nan")) == 65535
    assert full_scale_of(np.dtype("float32"), None) == 1


def test_saturated_share():
    image = np.zeros((10, 20), np.uint16)
    image[0, :5] = 4095
    image[1, :2] = 4094
    assert saturated_share(image, 4095) == 5 / 200


# perceptual hash


def test_hash_survives_storing_scaling_and_brightening_but_not_another_image():
    rng = np.random.default_rng(0)
    image = disks((400, 500), [(int(y), int(x)) for y, x in rng.uniform(0, 400, (20, 2))], 25)
    own = perceptual_hash(image)
    assert len(own) == 16
    for other in (
        image // 2 + 50,
        cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        image + rng.integers(0, 40, image.shape).astype(np.uint16),
        (image * np.linspace(0.8, 1, 500)[None]).astype(np.uint16),
    ):
        assert differing_bits(own, perceptual_hash(other)) <= 4
    for other in (image[::-1], image[:, ::-1], disks((400, 500), grid_of(4, 4, 90), 25)):
        assert differing_bits(own, perceptual_hash(np.ascontiguousarray(other))) > 12


def test_differing_bits():
    assert differing_bits("0" * 16, "f" * 16) == 64
    assert differing_bits("00000000000000ff", "00000000000000f0") == 4


# fit of the channels


def cells(seed, shape=(480, 520)):
    """Nuclei and two markers of the same cells."""
    rng = np.random.default_rng(seed)
    centres = [(int(y), int(x)) for y, x in rng.uniform((20, 20), (shape[0] - 20, shape[1] - 20), (16, 2))]
    nucleus = disks(shape, centres, 22, seed=seed)
    body = disks(shape, centres, 60, seed=seed + 1).astype(np.float32) - 0.8 * disks(shape, centres, 22, seed=seed + 2)
    texture = (
        1 + 0.5 * cv2.GaussianBlur(rng.normal(size=(2, *shape)).astype(np.float32).transpose(1, 2, 0), (0, 0), 4) * 8
    )
    return nucleus, body * texture[..., 0], body * texture[..., 1]


def fits_of(nucleus, one, two):
    found = find_nuclei(nucleus, 0.2, SETTINGS["nuclei"])
    return pairwise_fit({"microtubules": one, "er": two}, found, 0.2, SETTINGS["fit"])


@pytest.mark.parametrize("seed", range(0, 50, 10))
def test_channels_of_one_field_fit_and_of_two_fields_do_not(seed):
    nucleus, one, two = cells(seed)
    other = cells(seed + 5)
    minimum = SETTINGS["fit"]["minimum"]
    assert min(fits_of(nucleus, one, two).values()) > minimum
    assert culprit(fits_of(nucleus, one, two), minimum) is None
    assert culprit(fits_of(other[0], one, two), minimum) == "nucleus"
    assert culprit(fits_of(nucleus, other[1], two), minimum) == "microtubules"
    assert culprit(fits_of(nucleus, one, other[2]), minimum) == "er"


def test_fit_is_the_correlation_over_that_of_other_shifts():
    _, one, two = cells(1, (160, 192))
    options = {**SETTINGS["fit"], "grid_um": 0.2, "smoothing_um": 0, "texture_um": 4}
    fit = pairwise_fit({"microtubules": one, "er": two}, None, 0.2, options)["microtubules", "er"]
    ranks = [ranked(image.astype(np.float32)) for image in (one, two)]
    a, b = (image - cv2.GaussianBlur(image, (0, 0), 20, borderType=cv2.BORDER_REFLECT_101) for image in ranks)
    others = []
    for y in range(0, 160, 4):
        for x in range(0, 192, 4):
            if np.hypot(min(y, 160 - y), min(x, 192 - x)) > options["apart_um"] / 0.2:
                others.append(np.corrcoef(np.roll(b, (y, x), (0, 1)).ravel(), a.ravel())[0, 1])
    assert fit <= np.corrcoef(a.ravel(), b.ravel())[0, 1] / max(others) + 1e-3
    assert fit == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1] / max(others), rel=0.1)


def test_nothing_to_compare():
    _, one, _ = cells(1)
    empty = Nuclei(np.zeros((300, 325), np.uint8), 0.32, 0, 0, 0.0)
    assert pairwise_fit({}, empty, 0.2, SETTINGS["fit"]) == {}
    assert pairwise_fit({"er": one}, None, 0.2, SETTINGS["fit"]) == {}
    assert pairwise_fit({"er": one}, empty, 0.2, SETTINGS["fit"]) == {}
    assert pairwise_fit({"er": np.zeros_like(one), "microtubules": one}, None, 0.2, SETTINGS["fit"]) == {}


def test_ranks():
    assert ranked(np.array([[3, 1], [2, 10]], np.float32)) == pytest.approx(np.array([[2 / 3, 0], [1 / 3, 1]]))
