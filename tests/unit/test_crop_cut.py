import numpy as np
import pytest
from wherein.crops.cut import cut_cell, cut_window, window_corner, window_px


def brute_window(plane, corner, side):
    out = np.zeros((*plane.shape[:-2], side, side), plane.dtype)
    for y in range(side):
        for x in range(side):
            fy, fx = corner[0] + y, corner[1] + x
            if 0 <= fy < plane.shape[-2] and 0 <= fx < plane.shape[-1]:
                out[..., y, x] = plane[..., fy, fx]
    return out


@pytest.mark.parametrize("corner", [(3, 4), (-5, 2), (-3, -4), (12, 20), (8, -6), (-50, 3), (40, 60), (-2, -2)])
@pytest.mark.parametrize("side", [2, 8, 30])
def test_windows_are_padded_with_zeros_beyond_the_field(corner, side):
    plane = np.random.default_rng(0).integers(1, 60000, (3, 17, 23)).astype(np.uint16)
    found = cut_window(plane, corner, side)
    np.testing.assert_array_equal(found, brute_window(plane, corner, side))
    assert found.dtype == np.uint16
    assert not np.shares_memory(found, plane)


def test_windows_are_even_and_scale_with_the_pixel_size():
    assert window_px(40.96, 0.08) == 512
    assert window_px(40.96, 0.16) == 256
    assert window_px(10, 0.3) == 34
    assert window_px(0.1, 1.0) == 2


def test_a_crop_is_centred_on_its_cell_and_tells_it_from_others():
    image = np.arange(2 * 40 * 30, dtype=np.uint16).reshape(2, 40, 30)
    nucleus, cell = np.zeros((40, 30), np.uint32), np.zeros((40, 30), np.uint32)
    nucleus[18:23, 13:18], cell[15:26, 10:21] = 300, 300
    nucleus[18:20, 25:28], cell[15:26, 21:30] = 7, 7
    pixels, masks = cut_cell(image, nucleus, cell, 300, (20, 15), 20)
    assert window_corner((20, 15), 20) == (10, 5)
    np.testing.assert_array_equal(pixels, image[:, 10:30, 5:25])
    assert pixels.dtype == np.uint16
    assert masks.dtype == np.uint8
    assert masks.shape == (2, 20, 20)
    for mask, labels in zip(masks, (cell, nucleus), strict=True):
        here = labels[10:30, 5:25]
        np.testing.assert_array_equal(mask == 1, here == 300)
        np.testing.assert_array_equal(mask == 2, here == 7)
