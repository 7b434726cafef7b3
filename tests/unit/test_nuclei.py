import numpy as np
import pytest
from scipy import ndimage
from wherein.segmentation.grid import closed, enlarge_labels, filled, in_sequence, shrink, working_shape
from wherein.segmentation.nuclei import (
    find_objects,
    join_sisters,
    local_background,
    noise_level,
    objects_on_grid,
    solidity,
    split_touching,
)
from wherein.settings import fill_defaults, schema

STEP = 0.32


@pytest.fixture(scope="module")
def settings():
    values: dict = {}
    fill_defaults(values, schema()["$defs"]["segment"])
    return values


def ellipse(shape, y, x, a, b, angle=0.0):
    """Mask of an ellipse with half axes a, b (pixels)."""
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    u = (xx - x) * np.cos(angle) + (yy - y) * np.sin(angle)
    v = -(xx - x) * np.sin(angle) + (yy - y) * np.cos(angle)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


def imaged(parts, background=100.0, noise=5.0, seed=0):
    """Image of (mask, brightness) pairs, blurred and noisy."""
    total = sum(light * mask.astype(float) for mask, light in parts)
    image = ndimage.gaussian_filter(total, 1.0) + background
    return (image + np.random.default_rng(seed).normal(0, noise, image.shape)).astype(np.float32)


def grid_of_disks(side, pitch=30, radius=9):
    middle = (pitch - 1) / 2
    tile = ellipse((pitch, pitch), middle, middle, radius, radius)
    return np.pad(np.tile(tile, (side, side)), ((0, 0), (0, pitch)))


@pytest.mark.parametrize("side", [16, 18, 23])
def test_more_than_255_nuclei_keep_their_own_numbers(settings, side):
    labels = objects_on_grid(imaged([(grid_of_disks(side), 400)]), STEP, settings["nuclei"])
    assert labels.max() == side * side == len(np.unique(labels)) - 1
    centres = ndimage.center_of_mass(labels > 0, labels, range(1, side * side + 1))
    assert len({(int(y // 30), int(x // 30)) for y, x in centres}) == side * side


@pytest.mark.parametrize(("shape", "pixel_size"), [((300, 500), 0.16), ((777, 401), 0.08), ((120, 201), 0.5)])
def test_outlines_are_accurate_on_fields_of_any_shape_and_pixel_size(settings, shape, pixel_size):
    radius = 7 / pixel_size
    y, x = shape[0] * 0.52, shape[1] * 0.41
    truth = ellipse(shape, y, x, radius, 0.8 * radius, 0.5)
    image = ndimage.gaussian_filter(truth * 800.0, 0.3 / pixel_size) + 200
    image += np.random.default_rng(1).normal(0, 8, shape)
    found = find_objects(image.astype(np.uint16), pixel_size, settings["grid_um"], settings["nuclei"])
    assert found.shape == shape
    assert found.dtype == np.uint32
    assert found.max() == 1
    assert (truth & (found > 0)).sum() / (truth | (found > 0)).sum() > 0.94


def test_a_dim_nucleus_beside_bright_ones_is_found_with_its_own_outline(settings):
    shape = (200, 200)
    bright = [ellipse(shape, 60, x, 18, 15) for x in (50, 150)]
    dim = ellipse(shape, 130, 100, 18, 15)
    labels = objects_on_grid(imaged([(mask, 1000) for mask in bright] + [(dim, 350)]), STEP, settings["nuclei"])
    assert labels.max() == 3
    own = labels == labels[130, 100]
    assert (own & dim).sum() / (own | dim).sum() > 0.85


def test_uneven_illumination_loses_no_nucleus(settings):
    mask = grid_of_disks(8)
    slope = np.linspace(0.35, 1.0, mask.shape[1])
    image = imaged([(mask, 500)]) * slope
    assert objects_on_grid(image.astype(np.float32), STEP, settings["nuclei"]).max() == 64


@pytest.mark.parametrize("level", [0.0, 300.0])
@pytest.mark.parametrize("slope", [0.0, 100.0])
def test_an_empty_field_has_no_nuclei(settings, level, slope):
    rng = np.random.default_rng(3)
    image = rng.normal(level, 30, (400, 300)) + np.linspace(0, slope, 300)
    assert objects_on_grid(image.astype(np.float32), STEP, settings["nuclei"]).max() == 0
    flat = np.full((40, 50), level, np.float32)
    assert objects_on_grid(flat, STEP, settings["nuclei"]).max() == 0


def test_touching_nuclei_are_cut_and_lobed_ones_are_not(settings):
    shape = (140, 300)
    pair = [ellipse(shape, 70, 60, 20, 16), ellipse(shape, 70, 97, 20, 16)]
    lobed = ellipse(shape, 70, 205, 26, 20) | ellipse(shape, 56, 222, 16, 14) | ellipse(shape, 86, 220, 15, 13)
    labels = objects_on_grid(imaged([(pair[0] | pair[1], 500), (lobed, 500)]), STEP, settings["nuclei"])
    assert labels.max() == 3
    assert labels[70, 60] != labels[70, 97]
    assert (labels == labels[70, 205])[lobed].mean() > 0.95


def test_two_nuclei_of_different_brightness_that_touch_are_two(settings):
    shape = (120, 160)
    parts = [(ellipse(shape, 60, 60, 22, 20), 900), (ellipse(shape, 60, 101, 22, 20), 380)]
    labels = objects_on_grid(imaged(parts), STEP, settings["nuclei"])
    assert labels.max() == 2


def test_a_thin_metaphase_plate_is_kept_and_the_plates_of_an_anaphase_are_one(settings):
    shape = (200, 240)
    nuclei = [(ellipse(shape, 60, x, 20, 17), 400) for x in (50, 120, 190)]
    plate = ellipse(shape, 150, 50, 16, 4.5, 0.3)
    sisters = [ellipse(shape, 150, x, 4.5, 15) for x in (150, 168)]
    image = imaged([*nuclei, (plate, 1500), *((mask, 1500) for mask in sisters)])
    labels = objects_on_grid(image, STEP, settings["nuclei"])
    assert labels.max() == 5
    assert labels[150, 50] > 0
    assert labels[150, 150] == labels[150, 168] > 0
    options = settings["nuclei"] | {"sisters_um": 0}
    assert objects_on_grid(image, STEP, options).max() == 6
    assert join_sisters(np.zeros((3, 3), np.int32), np.zeros((3, 3), np.float32), STEP, settings["nuclei"]).max() == 0


def test_a_nucleus_at_the_border_is_kept_and_specks_are_not(settings):
    shape = (150, 150)
    image = imaged([(ellipse(shape, 3, 75, 18, 16), 500), (ellipse(shape, 100, 75, 3, 3), 2000)])
    labels = objects_on_grid(image, STEP, settings["nuclei"])
    assert labels.max() == 1
    assert labels[0, 75] == 1


def test_nuclei_are_found_on_a_grid_that_is_coarser_than_asked(settings):
    mask = grid_of_disks(4, pitch=24, radius=6)
    labels = find_objects(imaged([(mask, 500)]), 0.65, settings["grid_um"], settings["nuclei"])
    assert labels.shape == mask.shape
    assert labels.max() == 16


def test_noise_level_is_that_of_the_pixels_and_not_of_the_objects():
    image = imaged([(grid_of_disks(5), 400)], noise=7.0)
    assert noise_level(image) == pytest.approx(7.0, rel=0.1)


def test_local_background_lies_under_the_objects():
    mask = grid_of_disks(6)
    slope = np.linspace(50, 150, mask.shape[1])[None, :]
    image = (ndimage.gaussian_filter(mask * 400.0, 1) + slope).astype(np.float32)
    level = local_background(image, 40)
    assert np.abs(level - slope)[20:-20, 60:-60].max() < 40


def test_solidity_is_one_for_a_rectangle_and_follows_the_hull():
    assert solidity(np.ones((7, 9), bool)) == pytest.approx(1)
    assert solidity(np.zeros((3, 3), bool)) == 0
    corner = np.ones((40, 40), bool)
    corner[20:, 20:] = False
    # the hull of an L cuts off the triangle between its two ends
    assert solidity(corner) == pytest.approx(1200 / (1600 - 200), rel=0.03)


def test_splitting_keeps_every_pixel(settings):
    mask = grid_of_disks(3, pitch=17, radius=9)
    labels = split_touching(mask, mask * 100.0, STEP, settings["nuclei"])
    np.testing.assert_array_equal(labels > 0, mask)


def test_enlarged_labels_fit_and_touch_without_gap_or_overlap():
    coarse = np.zeros((40, 50), np.int32)
    coarse[5:20, 4:25], coarse[5:20, 25:41], coarse[30:39, 10:20] = 1, 2, 700
    fine = enlarge_labels(coarse, (160, 200))
    nearest = coarse.repeat(4, 0).repeat(4, 1)
    assert set(np.unique(fine)) == {0, 1, 2, 700}
    assert (fine != nearest).mean() < 0.01
    # the seam between two neighbours has no gap
    assert (fine[30:70, 90:110] > 0).all()
    np.testing.assert_array_equal(enlarge_labels(coarse, coarse.shape), coarse)


def test_enlarged_labels_follow_a_scale_that_is_no_whole_number():
    truth = ellipse((303, 211), 140, 100, 60, 80)
    coarse = (shrink(truth.astype(np.uint8), (97, 66)) > 0.5).astype(np.int32)
    fine = enlarge_labels(coarse, truth.shape) > 0
    assert (truth & fine).sum() / (truth | fine).sum() > 0.97


def test_working_shape_never_enlarges():
    assert working_shape((2048, 1024), 0.08, 0.32) == (512, 256)
    assert working_shape((100, 90), 0.65, 0.32) == (100, 90)
    assert working_shape((1, 1), 0.01, 0.32) == (1, 1)


def test_labels_are_numbered_without_gaps():
    np.testing.assert_array_equal(in_sequence(np.array([[0, 7], [300, 7]])), [[0, 1], [2, 1]])
    np.testing.assert_array_equal(in_sequence(np.zeros((2, 2), int)), np.zeros((2, 2)))


def test_holes_up_to_a_size_are_filled_and_bays_at_the_border_are_not():
    mask = np.ones((12, 12), bool)
    mask[2:4, 2:4], mask[6:10, 5:9], mask[0, 9] = False, False, False
    result = filled(mask, 5)
    assert result[2:4, 2:4].all()
    assert not result[6:10, 5:9].any()
    assert not result[0, 9]


def test_closing_bridges_a_notch_and_not_the_way_to_the_border():
    mask = np.ones((30, 30), bool)
    mask[:12, 15] = False
    assert closed(mask, 2)[6, 15]
    mask = np.zeros((30, 30), bool)
    mask[:, 2:] = True
    assert not closed(mask, 4)[:, :2].any()
