import numpy as np
import pytest
from sklearn.decomposition import PCA
from wherein.analysis import projection
from wherein.analysis.projection import components_of_blocks, nearest, principal_components


@pytest.mark.parametrize("shape", [(200, 10), (10, 200), (30, 30)])
def test_principal_components_against_scikit_learn(shape):
    vectors = np.random.default_rng(0).normal(size=shape) * np.linspace(3, 1, shape[1]) + 100
    scores, loadings, ratio = principal_components(vectors.astype(np.float32), 5)
    expected = PCA(5, svd_solver="full").fit(vectors)
    assert np.allclose(ratio, expected.explained_variance_ratio_, rtol=1e-4)
    assert np.allclose(np.abs(scores), np.abs(expected.transform(vectors)), atol=2e-3)
    assert np.allclose(loadings @ loadings.T, np.eye(5), atol=1e-8)
    peak = np.abs(loadings).argmax(axis=1)
    assert (loadings[np.arange(5), peak] > 0).all()


def test_principal_components_in_blocks(monkeypatch):
    vectors = np.random.default_rng(1).normal(size=(100, 4))
    whole = principal_components(vectors, 3)
    monkeypatch.setattr(projection, "BLOCK", 7)
    for one, other in zip(whole, principal_components(vectors, 3), strict=True):
        assert np.allclose(one, other, atol=1e-5)


def test_components_without_variance_are_not_made_up():
    line = np.outer(np.arange(20.0), np.ones(6))
    scores, loadings, ratio = principal_components(line, 5)
    assert scores.shape == (20, 1)
    assert loadings.shape == (1, 6)
    assert ratio == pytest.approx([1])
    assert principal_components(np.ones((5, 3)), 5)[0].shape == (5, 0)
    assert principal_components(np.zeros((0, 3)), 5)[0].shape == (0, 0)
    assert principal_components(np.zeros((1, 3)), 5)[0].shape == (1, 0)
    assert principal_components(np.zeros((0, 0)), 5)[0].shape == (0, 0)


def test_nearest_by_brute_force_with_copies():
    points = np.random.default_rng(2).normal(size=(50, 3))
    points[10:20] = points[0]
    indices, distances = nearest(points, 6)
    assert (indices[:, 0] == np.arange(50)).all()
    assert (distances[:, 0] == 0).all()
    square = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert np.allclose(distances, np.sort(square, axis=1)[:, :6], atol=1e-6)
    assert np.allclose(np.take_along_axis(square, indices, 1), distances, atol=1e-6)


@pytest.mark.parametrize("offset", [0, 1000])
def test_components_of_blocks_are_those_of_all_vectors(offset):
    rng = np.random.default_rng(8)
    vectors = (rng.normal(size=(700, 12)) * np.linspace(4, 0.5, 12) + offset).astype(np.float32)
    whole = PCA(6, svd_solver="full").fit(vectors.astype(np.float64))
    found = components_of_blocks((vectors[start : start + 90] for start in range(0, 700, 90)), 12, 6)
    assert np.allclose(found.mean, vectors.mean(axis=0, dtype=np.float64), atol=1e-4)
    assert np.allclose(found.variance_ratio, whole.explained_variance_ratio_, rtol=1e-4)
    assert np.allclose(np.abs(found.loadings @ whole.components_.T), np.eye(6), atol=1e-3)
    expected = (vectors - found.mean) @ found.loadings.T
    assert np.allclose(found.scores(vectors), expected, atol=1e-3)
    assert np.allclose(found.fast_scores(vectors), expected, atol=2e-3)


def test_rounding_of_blocks_makes_no_components():
    line = np.outer(np.linspace(1, 2, 500), np.linspace(3, 5, 40)).astype(np.float32)
    found = components_of_blocks([line[:200], line[200:200], line[200:]], 40, 5)
    assert len(found.loadings) == 1
    assert components_of_blocks([], 4, 3).loadings.shape == (0, 4)
    assert components_of_blocks([np.ones((1, 4), np.float32)], 4, 3).loadings.shape == (0, 4)


def test_points_without_a_dimension_are_all_in_one_place():
    indices, distances = nearest(np.zeros((6, 0)), 3)
    assert indices[:, 0].tolist() == list(range(6))
    assert all(len(set(row)) == 3 for row in indices.tolist())
    assert (distances == 0).all()
