import cv2
import numpy as np
import pytest
from scipy import ndimage
from wherein.crops.cut import classify, cut_distance, distance_of_masks
from wherein.crops.window import Window
from wherein.segmentation.distance import nucleus_distance

PIXEL = 0.2


def discs(shape, seed, count=7):
    """Labels of discs of which some touch, some overlap the border, and some hide others."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for number in range(1, count + 1):
        place = tuple(int(rng.integers(0, length)) for length in shape[::-1])
        cv2.circle(labels, place, int(rng.integers(3, 14)), number * 70, -1)
    return labels.astype(np.uint32)


def by_brute_force(nucleus, margin=0):
    """Distance of each pixel to the nearest one across a boundary, less half a pixel; micrometres."""
    height, width = nucleus.shape
    places = np.argwhere(np.ones(nucleus.shape, bool))
    flat = nucleus.ravel()
    out = np.zeros((height + 2 * margin, width + 2 * margin))
    for y, x in np.ndindex(out.shape):
        here = (y - margin, x - margin)
        within = 0 <= here[0] < height and 0 <= here[1] < width
        label = nucleus[here] if within else 0
        across = flat != label if label else flat > 0
        apart = np.hypot(*(places[across] - here).T).min() - 0.5
        out[y, x] = apart if label else -apart
    return out * PIXEL


@pytest.mark.parametrize("margin", [0, 5])
@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_of_a_loop(seed, margin):
    nucleus = discs((23, 31), seed, count=5)
    found = nucleus_distance(nucleus, PIXEL, margin)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_brute_force(nucleus, margin), atol=1e-5)
    inside = np.pad(nucleus > 0, margin)
    np.testing.assert_array_equal(found > 0, inside)


def test_many_nuclei_that_touch_along_sides_and_corners():
    nucleus = np.arange(1, 31, dtype=np.uint32).reshape(5, 6).repeat(5, axis=0).repeat(4, axis=1)
    nucleus[5:10, 8:12] = 0
    nucleus[0, :4] = 0
    nucleus[12, 13] = 2**32 - 1
    np.testing.assert_allclose(nucleus_distance(nucleus, PIXEL), by_brute_force(nucleus), atol=1e-5)


def test_the_line_between_two_nuclei_is_a_boundary():
    apart = np.zeros((11, 22), np.uint32)
    apart[2:9, 2:20] = 1
    touching = apart.copy()
    touching[:, 11:][apart[:, 11:] > 0] = 2
    one, two = nucleus_distance(apart, 1.0), nucleus_distance(touching, 1.0)
    assert one[5, 10] == one[5, 11] == 3.5
    assert two[5, 10] == two[5, 11] == 0.5
    np.testing.assert_array_equal(one[apart == 0], two[apart == 0])


def test_images_without_a_boundary_are_as_far_as_they_are_wide():
    assert (nucleus_distance(np.zeros((30, 40), np.uint32), 0.5) == -25).all()
    assert (nucleus_distance(np.ones((30, 40), np.uint32), 0.5) == 25).all()
    wider = nucleus_distance(np.ones((30, 40), np.uint32), 0.5, margin_px=2)
    assert (wider[2:-2, 2:-2] == 25).all()
    assert wider[10, 1] == -0.25
    assert wider[10, 0] == -0.75


def test_a_stack_is_its_images():
    stack = np.stack([[discs((20, 26), seed + 3 * row) for seed in range(3)] for row in range(2)])
    found = nucleus_distance(stack, PIXEL)
    assert found.shape == (2, 3, 20, 26)
    for place in np.ndindex(2, 3):
        np.testing.assert_array_equal(found[place], nucleus_distance(stack[place], PIXEL))


@pytest.mark.parametrize("side", [32, 100, 700])
def test_distances_are_the_same_wherever_the_image_lies_in_memory(side):
    mask = (discs((side, side), 4, count=5) > 0).view(np.uint8)
    wanted = nucleus_distance(mask, 1.0)
    within, without = (ndimage.distance_transform_edt(part).astype(np.float32) for part in (mask, 1 - mask))
    np.testing.assert_array_equal(wanted, np.where(mask > 0, within - 0.5, 0.5 - without))
    for shift in range(1, 40):
        moved = np.empty(mask.size + shift, np.uint8)[shift:].reshape(mask.shape)
        moved[...] = mask
        np.testing.assert_array_equal(nucleus_distance(np.stack([mask, moved]), 1.0)[1], wanted)


def masks_of(nucleus, label):
    out = np.zeros((1, 2, *nucleus.shape), np.uint8)
    classify(nucleus, label, out[0, 1])
    return out


def test_on_a_crop_distances_up_to_its_edge_are_those_of_the_field():
    nucleus = discs((120, 120), 5, count=9)
    corner = (slice(30, 90), slice(25, 85))
    label = nucleus[60, 55] or np.unique(nucleus[corner])[1]
    # masks do not tell other nuclei from each other
    nucleus[(nucleus > 0) & (nucleus != label)] = 1
    whole = cut_distance(nucleus_distance(nucleus, PIXEL, 31), 31, (60, 55), Window(60, 60, PIXEL))
    crop = distance_of_masks(masks_of(nucleus[corner], label), PIXEL)[0]
    assert whole.dtype == crop.dtype == np.float16
    y, x = np.mgrid[:60, :60]
    edge = (np.minimum(np.minimum(y, 59 - y), np.minimum(x, 59 - x)) + 0.5) * PIXEL
    near = np.abs(crop) <= edge
    assert 0.4 < near.mean() < 1
    np.testing.assert_array_equal(crop[near], whole[near])
    assert (np.abs(crop) >= np.abs(whole)).all()


def test_masks_tell_this_nucleus_from_the_one_that_it_touches():
    nucleus = np.zeros((20, 30), np.uint32)
    nucleus[5:15, 4:15], nucleus[5:15, 15:26] = 300, 7
    found = distance_of_masks(masks_of(nucleus, 300), PIXEL)[0]
    np.testing.assert_array_equal(found, by_brute_force(nucleus).astype(np.float16))
    assert found[10, 14] == found[10, 15] == np.float16(0.1)


@pytest.mark.parametrize("centre", [(30, 20), (0, 0), (59, 39), (2.6, 37.4)])
@pytest.mark.parametrize(("size", "source"), [(20, 20), (9, 27), (16, 24), (40, 20)])
def test_a_window_holds_the_fields_distances_under_its_pixels(centre, size, source):
    nucleus = discs((60, 40), 1)
    margin = source // 2 + 1
    field = by_brute_force(nucleus, 30)
    found = cut_distance(nucleus_distance(nucleus, PIXEL, margin), margin, centre, Window(size, source, 0.1))
    assert found.shape == (size, size)
    assert found.dtype == np.float16
    corner = [round(place) - source // 2 + 30 for place in centre]
    for y, x in np.ndindex(size, size):
        under = tuple(start + int((place + 0.5) * source / size) for start, place in zip(corner, (y, x), strict=True))
        assert found[y, x] == pytest.approx(field[under], rel=2**-11)
