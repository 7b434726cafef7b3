import numpy as np
import pytest
from real_data import real_data
from scipy.cluster.hierarchy import fcluster, is_valid_linkage
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist
from wherein.analysis.clustering import (
    LINKAGES,
    clustered_points,
    cut,
    default_clusters,
    hierarchical_clustering,
    standardized,
)
from wherein.analysis.distances import METRICS, condensed_distances


@pytest.mark.parametrize("metric", METRICS)
def test_distances_against_scipy(metric):
    points = np.random.default_rng(0).normal(size=(40, 6))
    assert np.allclose(condensed_distances(points, metric), pdist(points, metric), atol=1e-7)


def test_points_without_direction_have_distances():
    points = np.array([[0.0, 0, 0], [1, 1, 1], [1, 2, 3], [3, 1, 0]])
    assert np.isfinite(condensed_distances(points, "correlation")).all()
    assert condensed_distances(points, "cosine")[0] == 1


def test_distances_over_several_blocks(monkeypatch):
    monkeypatch.setattr("wherein.analysis.distances.ROWS", 7)
    points = np.random.default_rng(0).normal(size=(30, 4)) + 1000
    points[11] = points[3]
    found = condensed_distances(points, "euclidean")
    assert np.allclose(found, pdist(points), atol=1e-7)
    assert (found == 0).sum() == 1, "equal points are at distance 0, not at what rounding leaves"


def test_points_of_the_paper_are_all_features_on_one_scale():
    vectors = np.random.default_rng(4).normal(size=(20, 5)) * [1, 10, 100, 0, 1]
    found = standardized(vectors)
    assert found.shape == (20, 4)
    assert np.allclose(found.mean(axis=0), 0)
    assert np.allclose(found.std(axis=0), 1)
    assert clustered_points(vectors, vectors[:, :2], "components").shape == (20, 2)
    assert np.array_equal(clustered_points(vectors, vectors[:, :2], "features"), found)
    with pytest.raises(ValueError, match="allowed are components, features"):
        clustered_points(vectors, vectors, "cells")


@pytest.mark.parametrize("linkage", [name for name in LINKAGES if name != "likelihood"])
def test_tree_against_scipy(linkage):
    points = np.random.default_rng(1).normal(size=(30, 5))
    tree, leaf = hierarchical_clustering(points, linkage, "euclidean", 1000)
    expected = scipy_linkage(points, linkage)
    assert is_valid_linkage(tree)
    assert np.allclose(tree[:, 2], expected[:, 2])
    assert sorted(leaf) == list(range(30))
    for count in (2, 5, 9):
        ours, theirs = cut(tree, leaf, count, None), fcluster(expected, count, "maxclust")
        assert len(set(zip(ours, theirs, strict=True))) == len(set(ours)) == count


def test_leaves_are_in_the_optimal_order():
    rng = np.random.default_rng(2)
    place = rng.permutation(12)
    points = place[:, None].astype(float) ** 1.1
    _, leaf = hierarchical_clustering(points, "average", "euclidean", 1000)
    assert leaf.tolist() in (place.tolist(), (11 - place).tolist())
    _, plain = hierarchical_clustering(points, "average", "euclidean", 0)
    neighbours = np.abs(np.diff(place[np.argsort(plain)])).sum()
    assert neighbours >= np.abs(np.diff(place[np.argsort(leaf)])).sum() == 11


def test_clusters_are_numbered_along_the_leaves():
    points = np.random.default_rng(3).normal(size=(50, 4))
    tree, leaf = hierarchical_clustering(points, "ward", "euclidean", 1000)
    clusters = cut(tree, leaf, 7, None)
    along = clusters[np.argsort(leaf)]
    assert (np.diff(along) >= 0).all()
    assert set(along) == set(range(1, 8))


def test_cut_by_height_and_by_default():
    points = np.array([[0.0], [0.1], [5], [5.1], [50]])
    tree, leaf = hierarchical_clustering(points, "average", "euclidean", 1000)
    assert cut(tree, leaf, None, 1.0).max() == 3
    assert cut(tree, leaf, 4, 10.0).max() == 2, "height goes before number"
    assert cut(tree, leaf, 99, None).max() == 5
    assert cut(tree, leaf, None, None).max() == default_clusters(5) == 3
    assert default_clusters(76) == 12


@pytest.mark.parametrize("number", [0, 1, 2])
def test_hardly_any_points(number):
    tree, leaf = hierarchical_clustering(np.arange(number * 3.0).reshape(number, 3), "ward", "euclidean", 1000)
    assert tree.shape == (max(0, number - 1), 4)
    assert sorted(leaf) == list(range(number))
    assert len(cut(tree, leaf, None, None)) == number


def test_points_without_dimensions():
    tree, leaf = hierarchical_clustering(np.zeros((4, 0)), "ward", "euclidean", 1000)
    assert tree.shape == (3, 4)
    assert sorted(leaf) == [0, 1, 2, 3]


def test_wrong_settings_say_what_is_allowed():
    points = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"'ward' needs the metric 'euclidean'.*atlas.linkage"):
        hierarchical_clustering(points, "ward", "cosine", 10)
    with pytest.raises(ValueError, match="'likelihood' needs the metric 'euclidean'"):
        hierarchical_clustering(points, "likelihood", "correlation", 10)
    with pytest.raises(ValueError, match="allowed are ward"):
        hierarchical_clustering(points, "centroid", "euclidean", 10)
    with pytest.raises(ValueError, match="allowed are euclidean"):
        condensed_distances(points, "chebyshev")


def test_published_image_embedding_puts_interactors_together():
    import pandas as pd
    from wherein.analysis.projection import principal_components

    folder = real_data("smoke_hpa_4ch") / "cm4ai_outputs"
    vectors = pd.read_csv(folder / "image_emd.tsv.gz", sep="\t", index_col=0)
    scores, _, _ = principal_components(vectors.to_numpy(np.float32), 50)
    tree, leaf = hierarchical_clustering(scores, "ward", "euclidean", 1000)
    assert len(vectors) == 93
    assert cut(tree, leaf, None, None).max() == 14
    # published probabilities of locations: proteins of a cluster share them more than proteins at large
    places = pd.read_csv(folder / "labels_prob.tsv", sep="\t", index_col=0).loc[vectors.index].to_numpy(float)
    likeness = np.corrcoef(places)
    clusters = cut(tree, leaf, None, None)
    inside = (clusters[:, None] == clusters[None]) & ~np.eye(93, dtype=bool)
    rng = np.random.default_rng(0)
    shuffled = []
    for _ in range(200):
        order = rng.permutation(93)
        shuffled.append(likeness[np.ix_(order, order)][inside].mean())
    assert likeness[inside].mean() > max(shuffled)
