"""Pictures of channels: contrast, colours, outlines."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from wherein.channels import ROLES
from wherein.views.composites import (
    COLOUR_WORDS,
    ROLE_COLOURS,
    ROLE_WEIGHTS,
    composite,
    contrast,
    fitted,
    grey,
    limits_in_words,
    median_limits,
    outlines,
    reduced,
    reduced_labels,
    stretched,
)


def test_every_role_has_a_colour():
    assert set(ROLE_COLOURS) == set(ROLE_WEIGHTS) == set(COLOUR_WORDS) == set(ROLES)


def test_contrast_is_the_percentiles_of_what_is_no_padding():
    image = np.arange(1, 1001, dtype=np.uint16).reshape(20, 50)
    padded = np.pad(image, 10)
    limits = contrast({"protein": padded}, 2, 98)
    assert limits["protein"] == pytest.approx(tuple(np.percentile(image, (2, 98))))


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint16), np.full((4, 4), 7, np.uint8), np.zeros((0, 4))])
def test_a_flat_or_empty_channel_has_a_contrast(image):
    black, full = contrast({"protein": image}, 2, 99.8)["protein"]
    assert black < full
    assert np.isfinite(stretched(image, (black, full))).all()


def test_stretched_clips_at_both_ends():
    assert stretched(np.array([0, 10, 15, 20, 99]), (10, 20)).tolist() == [0, 0, 0.5, 1, 1]


def test_a_composite_adds_the_colours_of_the_roles():
    channels = {"protein": np.array([[100, 0]]), "nucleus": np.array([[0, 100]])}
    picture = composite(channels, {"protein": (0, 100), "nucleus": (0, 100)})
    assert picture.shape == (1, 2, 3)
    assert picture[0, 0].argmax() == 1  # green
    assert picture[0, 1].argmax() == 2  # blue


def test_a_single_channel_is_grey():
    picture = composite({"nucleus": np.array([[0, 50, 100]])}, {"nucleus": (0, 100)})
    assert picture[0].tolist() == [[0, 0, 0], [128, 128, 128], [255, 255, 255]]
    assert np.array_equal(picture, grey(np.array([[0, 50, 100]]), (0, 100)))


def test_a_composite_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one channel"):
        composite({}, {})


@pytest.mark.parametrize(
    ("shape", "inner"), [((40, 80), (16, 32)), ((80, 20), (32, 8)), ((8, 8), (32, 32)), ((1, 900), (1, 32))]
)
def test_a_picture_fits_its_square_with_its_shape_kept(shape, inner):
    tile = fitted(np.full((*shape, 3), 255, np.uint8), 32)
    assert tile.shape == (32, 32, 3)
    lit = np.argwhere(tile[..., 0] > 0)
    assert tuple(lit.max(0) - lit.min(0) + 1) == inner


def test_fields_are_reduced_but_never_enlarged():
    small, scale = reduced({"nucleus": np.ones((300, 600), np.uint16)}, 150)
    assert small["nucleus"].shape == (75, 150)
    assert scale == 0.25
    same, scale = reduced({"nucleus": np.ones((30, 60), np.uint16)}, 150)
    assert same["nucleus"].shape == (30, 60)
    assert scale == 1


def slow_outlines(labels):
    height, width = labels.shape
    found = np.zeros(labels.shape, bool)
    for y in range(height):
        for x in range(width):
            near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            here = [labels[p] if 0 <= p[0] < height and 0 <= p[1] < width else 0 for p in near]
            found[y, x] = labels[y, x] > 0 and any(other != labels[y, x] for other in here)
    return found


@given(arrays(np.uint32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)))
def test_outlines_are_what_a_slow_search_finds(labels):
    assert np.array_equal(outlines(labels), slow_outlines(labels))


def test_reduced_labels_keep_their_numbers():
    labels = np.kron(np.array([[0, 1], [70000, 3]], np.uint32), np.ones((6, 6), np.uint32))
    assert reduced_labels(labels, (4, 4)).tolist() == [[0, 0, 1, 1]] * 2 + [[70000, 70000, 3, 3]] * 2
    assert np.array_equal(reduced_labels(labels, labels.shape), labels)


def test_median_limits_take_each_role_from_those_that_have_it():
    several = [{"protein": (0.0, 10.0)}, {"protein": (2.0, 30.0), "er": (1.0, 5.0)}, {"protein": (4.0, 20.0)}]
    assert median_limits(several) == {"protein": (2.0, 20.0), "er": (1.0, 5.0)}
    assert median_limits([]) == {}


def test_contrast_in_words():
    assert limits_in_words({"protein": (120.4, 24000.0), "er": (0.01, 0.5)}) == "protein 120 to 24,000 · er 0.01 to 0.5"
