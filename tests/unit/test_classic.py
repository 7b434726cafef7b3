import time

import numpy as np
import pytest
from real_data import real_data
from wherein.models.classic import (
    HARALICK,
    cell_features,
    feature_names,
    grey_levels,
    haralick,
    pearson,
    shrink,
)

ROLES = ["nucleus", "microtubules", "er", "protein"]
SCALES = [1, 2, 4, 8, 16]


def cell(seed=0, size=64, channels=4):
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:size, :size]
    mask = (yy - size / 2) ** 2 + (xx - size / 2) ** 2 < (0.45 * size) ** 2
    return rng.integers(100, 4000, (channels, size, size)).astype(np.uint16), mask


def features(image, mask, roles=ROLES, pixel=0.32, levels=32, texture=0.32):
    values = cell_features(image, mask, roles, pixel, SCALES, levels, texture)
    return dict(zip(feature_names(roles, SCALES), values, strict=True))


def haralick_by_hand(grey, distance):
    """f1, f2, f5 and f9 from the co-occurrence counts, one pair after the other."""
    found = []
    for dy, dx in ((0, 1), (1, 1), (1, 0), (1, -1)):
        counts = np.zeros((256, 256))
        for y in range(grey.shape[0]):
            for x in range(grey.shape[1]):
                v, w = y + dy * distance, x + dx * distance
                if 0 <= v < grey.shape[0] and 0 <= w < grey.shape[1] and grey[y, x] and grey[v, w]:
                    counts[grey[y, x], grey[v, w]] += 1
                    counts[grey[v, w], grey[y, x]] += 1
        p = counts / counts.sum()
        i, j = np.indices(p.shape)
        entropy = -(p[p > 0] * np.log2(p[p > 0])).sum()
        found.append([(p**2).sum(), ((i - j) ** 2 * p).sum(), (p / (1 + (i - j) ** 2)).sum(), entropy])
    return np.mean(found, axis=0)


def test_intensity_and_correlation_by_definition():
    image, mask = cell()
    found = features(image, mask)
    protein = image[3][mask].astype(float)
    assert found["protein_sum"] == pytest.approx(protein.sum(), rel=1e-6)
    assert found["protein_mean"] == pytest.approx(protein.mean(), rel=1e-6)
    assert found["protein_std"] == pytest.approx(protein.std(), rel=1e-6)
    for channel, role in enumerate(ROLES[:3]):
        expected = np.corrcoef(image[channel][mask], protein)[0, 1]
        assert found[f"pearson_{role}"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("distance", [1, 4])
def test_texture_by_definition(distance):
    image, mask = cell(size=20)
    grey = grey_levels(image[0].astype(np.float32), mask, 8)
    found = dict(zip(HARALICK, haralick(grey, distance), strict=True))
    names = ("angular_second_moment", "contrast", "inverse_difference_moment", "entropy")
    np.testing.assert_allclose([found[name] for name in names], haralick_by_hand(grey, distance), rtol=1e-6)


def test_only_the_cells_own_pixels_count():
    image, mask = cell()
    other = image.copy()
    other[:, ~mask] = 60_000
    one, two = features(image, mask, pixel=0.16), features(other, mask, pixel=0.16)
    assert one == pytest.approx(two, nan_ok=True)


def test_texture_does_not_see_exposure():
    image, mask = cell()
    brighter = (image * 3 + 50).astype(np.uint16)
    one, two = features(image, mask), features(brighter, mask)
    for name, value in one.items():
        if name.startswith(("haralick", "pearson")):
            assert two[name] == pytest.approx(value, abs=1e-5), name


def test_dimensions_follow_the_roles():
    names = feature_names(ROLES, SCALES)
    assert len(names) == len(set(names)) == 3 + 3 + 5 * 13
    image, mask = cell(channels=2)
    found = features(image, mask, roles=["protein", "reference"])
    assert [name for name in found if name.startswith("pearson")] == ["pearson_reference"]


def test_what_cannot_be_measured_is_nan_and_nothing_raises():
    image, mask = cell()
    flat = image.copy()
    flat[3], flat[0] = 500, 0
    found = features(flat, mask)
    assert np.isnan(found["pearson_nucleus"])
    assert found["protein_std"] == 0
    assert found["haralick_1px_contrast"] == 0
    small = np.zeros_like(mask)
    small[30:36, 30:36] = True
    found = features(image, small)
    assert np.isnan(found["haralick_16px_contrast"])
    assert np.isfinite(found["haralick_4px_contrast"])
    assert all(np.isnan(value) for value in features(image, np.zeros_like(mask)).values())
    one = np.zeros_like(mask)
    one[5, 5] = True
    assert features(image, one)["protein_sum"] == image[3, 5, 5]


def test_shrink_averages_inside_the_mask():
    plane = np.arange(64, dtype=np.uint16).reshape(8, 8)
    mask = np.ones((8, 8), bool)
    mask[:, :3] = False
    small, inside = shrink(plane, mask, 0.5)
    assert small.shape == (4, 4)
    assert not inside[:, 0].any()
    assert inside[:, 1:].all()
    assert small[0, 1] == pytest.approx(np.mean([plane[0, 3], plane[1, 3]]))
    assert small[0, 2] == pytest.approx(plane[:2, 4:6].mean())
    same, _ = shrink(plane, mask, 1.7)
    assert same.shape == plane.shape


def test_texture_scales_are_physical():
    # the same cell on a grid twice as fine gives the texture that it has on the coarse one
    image, mask = cell(size=48)
    fine = np.repeat(np.repeat(image, 2, axis=1), 2, axis=2)
    one = features(image, mask, pixel=0.32)
    two = features(fine, np.repeat(np.repeat(mask, 2, 0), 2, 1), pixel=0.16)
    names = [name for name in one if name.startswith("haralick")]
    np.testing.assert_allclose([one[name] for name in names], [two[name] for name in names], rtol=1e-4)


def test_grey_levels():
    plane = np.array([[0.0, 1.0, 2.0, 4.0]])
    assert grey_levels(plane, np.array([[False, True, True, True]]), 3).tolist() == [[0, 1, 2, 3]]
    assert grey_levels(plane, np.zeros((1, 4), bool), 3).tolist() == [[0, 0, 0, 0]]
    assert np.isnan(pearson(np.ones(4), np.arange(4)))


def test_real_cells_and_at_least_40_a_second():
    with np.load(real_data("crops/hpa_56_F11_1_U2OS_MTM1_13cells.npz")) as content:
        images = content["images"].transpose(0, 3, 1, 2)
    roles = ["microtubules", "protein", "nucleus", "er"]
    best = np.inf
    for _ in range(3):
        start = time.process_time()
        found = [cell_features(image, image.max(axis=0) > 0, roles, 0.16, SCALES, 32, 0.32) for image in images]
        best = min(best, time.process_time() - start)
    assert np.isfinite(found).all()
    assert len(images) / best > 40
