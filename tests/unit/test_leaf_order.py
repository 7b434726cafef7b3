from itertools import product

import numpy as np
import pytest
from scipy.cluster.hierarchy import cophenet, is_valid_linkage, leaves_list, linkage
from scipy.spatial.distance import pdist
from wherein.analysis import leaf_order
from wherein.analysis.leaf_order import optimal_order, ordered_tree


def length(points, order):
    return np.linalg.norm(np.diff(points[order], axis=0), axis=1).sum()


def least(tree, points):
    """The shortest way through all orders that the tree allows."""
    number = len(points)

    def leaves(node, turned):
        if node < number:
            return [node]
        a, b = tree[node - number, :2].astype(int)
        a, b = (b, a) if turned[node - number] else (a, b)
        return leaves(a, turned) + leaves(b, turned)

    return min(length(points, leaves(2 * number - 2, turned)) for turned in product((0, 1), repeat=number - 1))


@pytest.mark.parametrize("method", ["ward", "average", "single"])
def test_no_order_of_the_tree_is_shorter(method):
    for seed in range(6):
        points = np.random.default_rng(seed).normal(size=(8, 3))
        tree = linkage(points, method)
        order = optimal_order(tree, pdist(points))
        assert sorted(order) == list(range(8))
        assert length(points, order) == pytest.approx(least(tree, points))


def test_products_in_parts_give_the_same_order(monkeypatch):
    points = np.random.default_rng(1).normal(size=(60, 4))
    tree = linkage(points, "average")
    whole = optimal_order(tree, pdist(points))
    monkeypatch.setattr(leaf_order, "AT_ONCE", 1)
    assert np.array_equal(optimal_order(tree, pdist(points)), whole)


@pytest.mark.parametrize("method", ["ward", "single"])
def test_order_of_clades_is_nearly_as_short(method):
    rng = np.random.default_rng(2)
    points = rng.normal(size=(500, 6)) + 3 * rng.normal(size=(12, 6))[rng.integers(0, 12, 500)]
    tree = linkage(points, method)
    fast, leaf = ordered_tree(tree, points, "euclidean", 60)
    assert is_valid_linkage(fast)
    assert np.allclose(cophenet(fast), cophenet(tree)), "the joins are the same, only turned"
    assert np.array_equal(np.argsort(leaf), leaves_list(fast))
    best = length(points, np.argsort(ordered_tree(tree, points, "euclidean", 500)[1]))
    plain = length(points, leaves_list(tree))
    assert best <= length(points, np.argsort(leaf)) < best + 0.5 * (plain - best)


def test_order_is_left_alone_when_asked():
    points = np.random.default_rng(3).normal(size=(20, 3))
    tree = linkage(points, "average")
    same, leaf = ordered_tree(tree, points, "euclidean", 0)
    assert np.array_equal(same, tree)
    assert np.array_equal(np.argsort(leaf), leaves_list(tree))
