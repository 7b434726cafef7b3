import numpy as np
import pytest
from wherein.crops.cut import classify, cut_cell, cut_window
from wherein.crops.window import Window, part_of, window_corner, window_of, window_px


def brute_window(plane, corner, side):
    out = np.zeros((*plane.shape[:-2], side, side), plane.dtype)
    for y in range(side):
        for x in range(side):
            fy, fx = corner[0] + y, corner[1] + x
            if 0 <= fy < plane.shape[-2] and 0 <= fx < plane.shape[-1]:
                out[..., y, x] = plane[..., fy, fx]
    return out


@pytest.mark.parametrize("corner", [(3, 4), (-5, 2), (-3, -4), (12, 20), (8, -6), (-50, 3), (40, 60), (-2, -2)])
@pytest.mark.parametrize("side", [2, 7, 8, 30])
def test_windows_are_padded_with_zeros_beyond_the_field(corner, side):
    plane = np.random.default_rng(0).integers(1, 60000, (3, 17, 23)).astype(np.uint16)
    found = cut_window(plane, corner, side)
    np.testing.assert_array_equal(found, brute_window(plane, corner, side))
    assert found.dtype == np.uint16


def test_windows_are_even_and_scale_with_the_pixel_size():
    assert window_px(40.96, 0.08) == 512
    assert window_px(40.96, 0.16) == 256
    assert window_px(10, 0.3) == 34
    assert window_px(0.1, 1.0) == 2


def test_a_window_on_the_sources_grid_has_its_pixels():
    window = window_of(40.96, 0.08, None)
    assert window == Window(512, 512, 0.08)
    assert not window.resampled
    # a microscope set to 0.08 that says 0.0801 is not resampled, and keeps its true pixel
    assert window_of(10.24, 0.0801, 0.08) == Window(128, 128, 0.0801)


@pytest.mark.parametrize(("source", "wanted"), [(0.08, 0.16), (0.08, 0.1), (0.0795, 0.32), (0.2, 0.16), (0.108, 0.64)])
def test_a_resampled_window_tells_its_true_pixel(source, wanted):
    window = window_of(40.96, source, wanted)
    assert window.size_px == window_px(40.96, wanted)
    assert window.window_um == pytest.approx(window.source_px * source)
    assert abs(window.pixel_size_um / wanted - 1) <= 0.5 / window.source_px + 1e-9


def test_views_of_papers_are_windows_of_our_own():
    assert part_of(64, 0.08, 0.64) == Window(64, 512, pytest.approx(0.64))
    assert part_of(128, 0.08, 0.16).source_px == 256
    assert part_of(224, 0.08, 0.08) == Window(224, 224, 0.08)


def field():
    """A field whose cell 300 has a neighbour, 7, that it touches."""
    image = np.random.default_rng(1).integers(0, 4000, (2, 40, 30)).astype(np.uint16)
    nucleus, cell = np.zeros((40, 30), np.uint32), np.zeros((40, 30), np.uint32)
    nucleus[18:23, 13:18], cell[15:26, 10:21] = 300, 300
    nucleus[18:20, 25:28], cell[15:26, 21:30] = 7, 7
    return image, nucleus, cell


def test_a_crop_is_centred_on_its_cell_and_tells_it_from_others():
    image, nucleus, cell = field()
    pixels, masks = cut_cell(image, nucleus, cell, 300, (20, 15), Window(20, 20, 0.1), "area")
    assert window_corner((20, 15), 20) == (10, 5)
    np.testing.assert_array_equal(pixels, image[:, 10:30, 5:25])
    assert pixels.dtype == np.uint16
    assert masks.dtype == np.uint8
    assert masks.shape == (2, 20, 20)
    for mask, labels in zip(masks, (cell, nucleus), strict=True):
        here = labels[10:30, 5:25]
        np.testing.assert_array_equal(mask == 1, here == 300)
        np.testing.assert_array_equal(mask == 2, here == 7)


@pytest.mark.parametrize("centre", [(20, 15), (3, 27), (39, 0)])
def test_a_resampled_crop_is_the_mean_over_what_lies_under_its_pixels(centre):
    image, nucleus, cell = field()
    pixels, masks = cut_cell(image, nucleus, cell, 300, centre, Window(8, 24, 0.3), "area")
    corner = window_corner(centre, 24)
    blocks = brute_window(image, corner, 24).reshape(2, 8, 3, 8, 3).astype(float)
    assert np.abs(pixels - blocks.mean((2, 4))).max() <= 0.5
    assert pixels.dtype == np.uint16
    for mask, labels in zip(masks, (cell, nucleus), strict=True):
        middle = brute_window(labels, corner, 24)[1::3, 1::3]
        np.testing.assert_array_equal(mask, np.where(middle == 300, 1, np.where(middle > 0, 2, 0)))


def test_labels_above_255_and_beyond_16_bits_are_told_apart():
    labels = np.array([[0, 1, 257, 65537, 2**32 - 1]], np.uint32)
    out = np.empty(labels.shape, np.uint8)
    classify(labels, 65537, out)
    assert out.tolist() == [[0, 2, 2, 1, 2]]
