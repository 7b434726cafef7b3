import numpy as np
import pytest
from scipy.spatial.distance import cdist
from wherein.analysis import nearest as module
from wherein.analysis.nearest import Index, memberships, near_vector, nearest_points, recall


def brute(points, count, metric, groups=None, queries=None, among=None):
    """Neighbours by all distances, one query after the other."""
    away = cdist(points, points, metric)
    found = []
    for query in range(len(points)) if queries is None else queries:
        others = [
            other
            for other in np.argsort(away[query], kind="stable")
            if other != query
            and (groups is None or not set(groups[query]) & set(groups[other]))
            and (among is None or among[other])
        ]
        found.append([*others[:count], *[-1] * (count - len(others[:count]))])
    return np.array(found)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("pairs", [2**24, 1])
def test_as_all_distances_have_it(metric, pairs, monkeypatch):
    monkeypatch.setattr(module, "PAIRS", pairs)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 7)) + 3
    groups = [[f"g{n % 20}", *(["x"] if n % 7 == 0 else [])] for n in range(60)]
    among = rng.random(60) < 0.7
    queries = np.array([3, 59, 0])
    near = nearest_points(points, 9, metric, memberships(groups), queries, among)
    assert (near.index == brute(points, 9, metric, groups, queries, among)).all()
    away = cdist(points[queries], points, "euclidean")
    assert np.allclose(near.distance, np.take_along_axis(away, near.index, axis=1))
    assert np.allclose(
        near.cosine, 1 - np.take_along_axis(cdist(points[queries], points, "cosine"), near.index, axis=1)
    )
    assert (nearest_points(points.astype(np.float32), 5, metric).index == brute(points, 5, metric)).all()


def test_points_that_are_alike_come_in_their_order_and_never_the_point_itself():
    near = nearest_points(np.ones((5, 3)), 2, "euclidean")
    assert near.index.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]
    assert (near.distance == 0).all()


def test_unknown_points_and_too_few():
    points = np.array([[1.0, 0], [np.nan, 1], [0, 1], [0, 0]])
    near = nearest_points(points, 3, "cosine")
    assert near.index.tolist() == [[2, 3, -1], [-1, -1, -1], [0, 3, -1], [0, 2, -1]]
    # an empty vector has no angle
    assert np.isnan(near.cosine[0]).tolist() == [False, True, True]
    assert nearest_points(np.ones((1, 2)), 3, "euclidean").index.tolist() == [[-1, -1, -1]]
    assert nearest_points(np.ones((0, 2)), 3, "cosine").index.shape == (0, 3)
    with pytest.raises(ValueError, match="allowed are cosine, euclidean"):
        nearest_points(points, 1, "manhattan")


def test_nearness_to_a_vector():
    points = np.array([[2.0, 0], [0, 1], [0, 0], [np.nan, 0]])
    assert near_vector(points, np.array([1.0, 0]), "cosine")[:3].tolist() == [1, 0, 0]
    assert near_vector(points, np.array([1.0, 0]), "euclidean")[:3].tolist() == [-1, -(2**0.5), -1]
    assert np.isnan(near_vector(points, np.array([1.0, 0]), "cosine")[3])


class Forgetful:
    """An index in the place of pynndescent's, whose compilation takes a minute: it knows nine points of ten."""

    def __init__(self, points, metric, n_neighbors, random_state, low_memory):
        self.points, self.metric = points, metric
        self.known = np.flatnonzero(np.random.default_rng(random_state).random(len(points)) < 0.9)

    def prepare(self):
        pass

    def query(self, points, k):
        away = cdist(points, self.points[self.known], self.metric)
        order = np.argsort(away, axis=1, kind="stable")[:, :k]
        found = np.full((len(points), k), -1)
        found[:, : order.shape[1]] = self.known[order]
        return found, np.take_along_axis(away, order, axis=1)


def test_an_approximate_index_leaves_own_units_out(monkeypatch):
    import pynndescent

    monkeypatch.setattr(pynndescent, "NNDescent", Forgetful)
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(40), 30)
    codes[-30:] = -1
    points = (rng.normal(size=(40, 8))[np.repeat(np.arange(40), 30)] + rng.normal(size=(1200, 8))).astype(np.float32)
    queries = np.arange(0, 1200, 10)
    near, exact = Index(points, "cosine", 0).nearest(10, queries, codes)
    apart = memberships([(code,) if code >= 0 else () for code in codes.tolist()])
    right = nearest_points(points, 10, "cosine", apart, queries)
    assert recall(near.index, right.index) == pytest.approx(0.9, abs=0.05)
    assert recall(right.index, right.index) == 1
    own = codes[queries][:, None]
    assert not ((codes[near.index] == own) & (own >= 0)).any()
    assert exact == 0
    # of a large group of its own, an index that is asked for few is asked no more: the answer is exact
    monkeypatch.setattr(module, "MOST_ASKED", 12)
    short, exact = Index(points, "cosine", 0).nearest(10, queries, codes)
    assert exact > len(queries) / 2
    assert recall(short.index, right.index) > 0.95


def test_recall():
    assert recall(np.array([[1, 2, -1]]), np.array([[2, 3, 4]])) == pytest.approx(1 / 3)
    assert np.isnan(recall(np.zeros((0, 2), int), np.zeros((0, 2), int)))
