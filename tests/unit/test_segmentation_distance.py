import numpy as np
import pytest
from wherein.segmentation.distance import normalized_distance, nucleus_distance


def by_brute_force(nucleus, pixel):
    """Distance of each pixel to the nearest one across a boundary, less half a pixel."""
    places = np.argwhere(np.ones(nucleus.shape, bool))
    flat = nucleus.ravel()
    out = np.zeros(flat.size)
    for here, (place, label) in enumerate(zip(places, flat, strict=True)):
        across = flat != label if label else flat > 0
        apart = np.hypot(*(places[across] - place).T).min() - 0.5
        out[here] = apart if label else -apart
    return out.reshape(nucleus.shape) * pixel


@pytest.mark.parametrize("seed", range(4))
def test_signed_distance_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    nucleus = np.zeros((23, 31), np.uint32)
    for number in range(1, 5):
        y, x, a, b = *rng.integers(0, (20, 28)), *rng.integers(3, 9, 2)
        nucleus[y : y + a, x : x + b] = number * 70
    expected = by_brute_force(nucleus, 0.2)
    found = nucleus_distance(nucleus, 0.2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert ((found > 0) == (nucleus > 0)).all()


def test_fields_without_a_boundary():
    empty = nucleus_distance(np.zeros((30, 40), np.uint32), 0.5)
    assert (empty == -25).all()
    full = nucleus_distance(np.ones((30, 40), np.uint32), 0.5)
    assert (full == 25).all()


def test_normalized_distances_keep_their_sign_and_the_boundary():
    distance = np.stack([np.linspace(-8, 4, 20).reshape(4, 5), np.zeros((4, 5))])
    found = normalized_distance(distance)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], distance[0] / 8, rtol=1e-6)
    assert not found[1].any()
    assert found.min() == -1
