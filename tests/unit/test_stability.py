import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from wherein.analysis.clades import best_clade_overlap, leaves_of, smallest_clade
from wherein.analysis.clustering import cut, hierarchical_clustering
from wherein.analysis.stability import best_overlap, resamples, summarized


def test_overlap_by_sets():
    rng = np.random.default_rng(0)
    ours, theirs = rng.integers(0, 4, 50), rng.integers(0, 5, 50)
    found = best_overlap(ours, theirs, 5)
    for one in range(4):
        own = set(np.flatnonzero(ours == one))
        others = [set(np.flatnonzero(theirs == two)) for two in range(5)]
        assert found[one] == pytest.approx(max(len(own & other) / len(own | other) for other in others))
    assert np.isnan(found[4])


def judged(points, resample):
    tree, leaf = hierarchical_clustering(points, "ward", "euclidean", 0)
    labels = cut(tree, leaf, 4, None) - 1
    overlap, chance = [], []
    for rows, columns, rng in resamples(len(points), points.shape[1], resample, 12, 0):
        drawn = points[rows] if columns is None else points[:, columns]
        tree, leaf = hierarchical_clustering(drawn, "ward", "euclidean", 0)
        again = cut(tree, leaf, 4, None) - 1
        overlap.append(best_overlap(labels[rows], again, 4))
        chance.append(best_overlap(labels[rows], rng.permutation(again), 4))
    return summarized(np.asarray(overlap), np.asarray(chance))


@pytest.mark.parametrize("resample", ["proteins", "features"])
def test_real_clusters_come_again_and_noise_does_not(resample):
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(80, 10))
    real = judged(noise + 8 * rng.normal(size=(4, 10))[np.repeat(np.arange(4), 20)], resample)
    assert (real.mean > 0.95).all()
    assert (real.chance < 0.5).all()
    assert (real.draws == 12).all()
    assert judged(noise, resample).mean.min() < 0.6


def test_draws_are_what_they_say():
    rows, columns, _ = next(resamples(1000, 7, "proteins", 1, 0))
    assert columns is None
    assert len(set(rows)) == len(rows)
    assert 0.58 < len(rows) / 1000 < 0.68
    rows, columns, _ = next(resamples(5, 1000, "features", 1, 0))
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert len(columns) == 1000
    assert 0.58 < len(set(columns.tolist())) / 1000 < 0.68
    with pytest.raises(ValueError, match="allowed are proteins, features"):
        next(resamples(5, 5, "cells", 1, 0))


def test_clades_by_what_they_hold():
    points = np.random.default_rng(2).normal(size=(30, 3))
    tree = linkage(points, "average")
    every = [leaves_of(tree, node) for node in range(59)]
    for holds in ([3], [3, 17], [0, 9, 21]):
        node = smallest_clade(tree, holds)
        fitting = [own for own in every if set(holds) <= set(own)]
        assert len(every[node]) == min(len(own) for own in fitting)
        assert set(holds) <= set(every[node])
    around = every[smallest_clade(tree, [3], size=6)]
    assert 3 in around
    assert len(around) == min(len(own) for own in every if 3 in own and len(own) >= 6)
    assert smallest_clade(tree, [3], size=99) == 58


def test_overlap_with_the_best_clade():
    points = np.random.default_rng(3).normal(size=(20, 3))
    tree = linkage(points, "average")
    groups = np.random.default_rng(4).random((20, 3)) < 0.3
    groups[:, 2] = False
    found = best_clade_overlap(tree, groups)
    for column in range(2):
        own = set(np.flatnonzero(groups[:, column]))
        clades = [set(leaves_of(tree, node)) for node in range(39)]
        assert found[column] == pytest.approx(max(len(own & clade) / len(own | clade) for clade in clades))
    assert np.isnan(found[2])
