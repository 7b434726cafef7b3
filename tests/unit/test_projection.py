import numpy as np
import pytest
from sklearn.decomposition import PCA
from wherein.analysis import projection
from wherein.analysis.projection import nearest, principal_components, umap_coordinates


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


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4])
def test_few_points_show_principal_components(number):
    scores = np.random.default_rng(3).normal(size=(number, max(0, number - 1))).astype(np.float32)
    layout, note = umap_coordinates(scores, 15, 0.1, 0, 1000)
    assert layout.shape == (number, 2)
    assert np.isfinite(layout).all()
    assert "too few" in note


@pytest.mark.parametrize(("number", "width"), [(5, 4), (6, 1), (9, 3), (16, 5), (17, 5)])
def test_small_maps_are_finite_and_the_same_every_time(number, width):
    scores = np.random.default_rng(4).normal(size=(number, width)).astype(np.float32)
    layout, note = umap_coordinates(scores, 15, 0.1, 0, 1000)
    assert note is None
    assert layout.shape == (number, 2)
    assert np.isfinite(layout).all()
    assert np.array_equal(layout, umap_coordinates(scores, 15, 0.1, 0, 1000)[0])


def test_copies_of_points_do_no_harm():
    scores = np.repeat(np.random.default_rng(5).normal(size=(3, 4)), 20, axis=0).astype(np.float32)
    assert np.isfinite(umap_coordinates(scores, 15, 0.1, 0, 1000)[0]).all()
    same = np.ones((30, 4), np.float32)
    layout, note = umap_coordinates(same, 15, 0.1, 0, 1000)
    assert np.isfinite(layout).all()
    assert "same" in note


def test_map_keeps_neighbourhoods():
    rng = np.random.default_rng(6)
    group = rng.integers(0, 4, 300)
    scores = (rng.normal(size=(4, 10)) * 8)[group] + rng.normal(size=(300, 10))
    layout, _ = umap_coordinates(scores.astype(np.float32), 15, 0.1, 0, 1000)
    near = nearest(layout, 6)[0][:, 1:]
    assert (group[near] == group[:, None]).mean() > 0.99
