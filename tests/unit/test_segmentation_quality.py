import numpy as np
import pytest
from scipy import ndimage
from test_nuclei import ellipse, imaged
from wherein.segmentation.methods import Outlines
from wherein.segmentation.nuclei import solidity
from wherein.segmentation.quality import MEASURES, contrast, disagreement, measure_outlines, solidities, thinned
from wherein.settings import fill_defaults, schema


@pytest.fixture(scope="module")
def options():
    values: dict = {}
    fill_defaults(values, schema()["$defs"]["segment"])
    return values["quality"]


def random_labels(rng, shape=(40, 50), number=6):
    labels = np.zeros(shape, np.int32)
    for label in range(1, number + 1):
        y, x = (rng.integers(5, side - 5) for side in shape)
        labels[ellipse(shape, y, x, *rng.uniform(3, 8, 2))] = label
    return labels


def test_contrast_against_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(5):
        labels, count, band = random_labels(rng), 8, 3.0
        image = rng.uniform(50, 200, labels.shape).astype(np.float32)
        signal = np.maximum(image - np.percentile(image, 0.5), 0)
        # chamfer distances of OpenCV's 5 x 5 mask differ from the true ones by up to two per cent
        depth, (_, _) = ndimage.distance_transform_edt(labels > 0, return_indices=True)
        away, (y, x) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
        found = contrast(image, labels, count, band)
        for label in range(1, count + 1):
            inner = (labels == label) & (depth <= band)
            outer = (labels == 0) & (away <= band) & (labels[y, x] == label)
            if not inner.any() or not outer.any():
                assert np.isnan(found[label - 1])
                continue
            inside, outside = signal[inner].mean(), signal[outer].mean()
            assert found[label - 1] == pytest.approx((inside - outside) / (inside + outside), abs=0.03)


def test_contrast_tells_an_outline_that_follows_nothing():
    shape = (120, 240)
    real, made_up = ellipse(shape, 60, 60, 30, 30), ellipse(shape, 60, 180, 30, 30)
    labels = np.where(real, 1, np.where(made_up, 2, 0)).astype(np.int32)
    found = contrast(imaged([(real, 300)]), labels, 3, 3)
    assert found[0] > 0.6
    assert abs(found[1]) < 0.2
    assert np.isnan(found[2])
    assert np.isnan(contrast(np.ones(shape, np.float32), np.ones(shape, np.int32), 1, 3)).all()


def test_disagreement_against_brute_force():
    rng = np.random.default_rng(1)
    for _ in range(10):
        first, second = random_labels(rng), random_labels(rng, number=4)
        found, lost = disagreement(first, second, 7)
        for label in range(1, 8):
            own = first == label
            if not own.any():
                assert np.isnan(found[label - 1])
                continue
            fits = [(own & (second == other)).sum() / (own | (second == other)).sum() for other in range(1, 5)]
            assert found[label - 1] == pytest.approx(1 - max(fits))
        others = [second == other for other in range(1, 5) if (second == other).any()]
        covered = [
            any((other & (first == label)).sum() * 2 >= other.sum() for label in range(1, 8)) for other in others
        ]
        assert lost == pytest.approx(1 - np.mean(covered))


def test_disagreement_where_one_method_finds_nothing():
    labels = random_labels(np.random.default_rng(2))
    found, lost = disagreement(labels, np.zeros_like(labels), 6)
    assert (found[np.isin(np.arange(1, 7), labels)] == 1).all()
    assert np.isnan(lost)
    found, lost = disagreement(np.zeros_like(labels), labels, 0)
    assert found.size == 0
    assert lost == 1


def test_solidities_are_those_of_the_objects():
    labels = random_labels(np.random.default_rng(3))
    found = solidities(labels, 7)
    for label in range(1, 8):
        expected = solidity(labels == label) if (labels == label).any() else np.nan
        assert found[label - 1] == pytest.approx(expected, nan_ok=True)


def test_thinned_labels_are_those_at_the_middle_of_the_coarse_pixels():
    labels = np.arange(48, dtype=np.uint32).reshape(6, 8)
    np.testing.assert_array_equal(thinned(labels, (2, 2)), [[10, 14], [34, 38]])
    np.testing.assert_array_equal(thinned(labels, (6, 8)), labels)


def test_every_label_is_measured_and_what_is_not_known_is_missing(options):
    shape = (200, 300)
    cells = [ellipse(shape, 100, x, 45, 40) for x in (70, 190)]
    nuclei = [ellipse(shape, 100, x, 15, 15) for x in (70, 270)]
    cell = (cells[0] * 1 + cells[1] * 2).astype(np.uint32)
    nucleus = (nuclei[0] * 1 + nuclei[1] * 3).astype(np.uint32)
    images = {"nucleus": imaged([(mask, 500) for mask in nuclei]), "er": imaged([(mask, 300) for mask in cells])}
    first = Outlines(nucleus, cell, np.array([0.9, 0.8, 0.7], np.float32))
    found, lost = measure_outlines(images, first, None, 0.32, ["er"], options)
    assert list(found) == ["label", *MEASURES]
    assert found["label"].tolist() == [1, 2, 3]
    assert found["score"].tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert found["contrast"].isna().tolist() == [False, False, True]
    assert found["nucleus_contrast"].isna().tolist() == [False, True, False]
    assert found["disagreement"].isna().all()
    assert np.isnan(lost)
    # the second method sees the first cell as it is, the nucleus without a cell, and nothing of the other cell
    second = Outlines(nucleus, np.where(cell == 1, 1, 0).astype(np.uint32))
    found, lost = measure_outlines(images, first._replace(quality=None), second, 0.32, ["er"], options)
    assert found["disagreement"].tolist() == [0, 1, 0]
    assert lost == 0
    assert found["score"].isna().all()
