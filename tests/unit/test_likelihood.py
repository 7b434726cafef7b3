import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, is_valid_linkage, linkage
from wherein.analysis.likelihood import criterion, likelihood_tree


def by_trying_all(points, pseudo):
    """Join the two clusters that cost least, found by looking at all pairs every time."""
    points = points - points.mean(axis=0)
    points = points / np.sqrt((points**2).sum() / len(points))

    def value(members):
        own = points[members]
        return criterion(float(len(own)), float(((own - own.mean(axis=0)) ** 2).sum()), pseudo)

    clusters, rows = {one: [one] for one in range(len(points))}, []
    while len(clusters) > 1:
        cost, a, b = min(
            (value(clusters[a] + clusters[b]) - value(clusters[a]) - value(clusters[b]), a, b)
            for a in clusters
            for b in clusters
            if a < b
        )
        node = len(points) + len(rows)
        clusters[node] = clusters.pop(a) + clusters.pop(b)
        rows.append((a, b, cost, len(clusters[node])))
    found = np.asarray(rows, float)
    found[:, 2] = np.maximum.accumulate(found[:, 2] - found[:, 2].min())
    return found


@pytest.mark.parametrize("seed", range(5))
def test_against_trying_all_pairs(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(22, 4)) * rng.choice([1, 0.2], (22, 1))
    tree = likelihood_tree(points)
    assert is_valid_linkage(tree)
    assert np.allclose(tree, by_trying_all(points, 1.0))


def test_with_one_variance_for_all_it_is_ward():
    points = np.random.default_rng(7).normal(size=(60, 5))
    ours, theirs = likelihood_tree(points, pseudo=1e7), linkage(points, "ward")
    for count in (2, 5, 9):
        pairs = zip(fcluster(ours, count, "maxclust"), fcluster(theirs, count, "maxclust"), strict=True)
        assert len(set(pairs)) == count


def test_tight_and_wide_clusters_are_told_apart_where_ward_cuts_the_wide_one():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(60, 8)) * 3, rng.normal(size=(30, 8)) * 0.1 + 1.5])
    true = np.repeat([0, 1], [60, 30])

    def right(tree):
        found = fcluster(tree, 2, "maxclust") == 1
        return max((found == true).mean(), (found != true).mean())

    assert right(likelihood_tree(points)) > 0.95 > right(linkage(points, "ward"))


def test_points_that_are_all_alike():
    tree = likelihood_tree(np.ones((5, 3)))
    assert is_valid_linkage(tree)
    assert (tree[:, 2] == 0).all()
    assert likelihood_tree(np.array([[0.0], [1.0]])).tolist() == [[0, 1, 0, 2]]
