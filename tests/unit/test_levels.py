"""One vector for many, beside plain figures of the same."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import trim_mean
from wherein.analysis.levels import (
    METHODS,
    batches,
    combine,
    geometric_median,
    group_vectors,
    in_memory,
    median,
    trimmed_mean,
    weighted_mean,
)


def drawn(n, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_plain_figures():
    vectors = drawn(10)
    np.testing.assert_allclose(combine(vectors, None, "mean"), vectors.mean(axis=0))
    np.testing.assert_allclose(combine(vectors, None, "median"), np.median(vectors, axis=0))
    np.testing.assert_allclose(combine(vectors, None, "trimmed"), trim_mean(vectors, 0.2))


@pytest.mark.parametrize("method", METHODS)
def test_a_whole_weight_is_as_many_units(method):
    """A weight of 3 is the unit three times: brute force by repeating rows."""
    vectors, weights = drawn(9, seed=2), np.array([1, 3, 2, 1, 1, 4, 1, 2, 1])
    repeated = np.repeat(vectors, weights, axis=0)
    np.testing.assert_allclose(combine(vectors, weights, method), combine(repeated, None, method), atol=2e-5)


@pytest.mark.parametrize("method", METHODS)
def test_values_that_are_not_known_count_for_nothing(method):
    vectors = drawn(8)
    vectors[:3, 1] = np.nan
    vectors[:, 2] = np.nan
    found = combine(vectors, None, method)
    assert np.isnan(found[2])
    if method != "geometric_median":
        np.testing.assert_allclose(found[1], combine(vectors[3:], None, method)[1])
    assert np.isfinite(found[:2]).all()


@pytest.mark.parametrize("method", METHODS)
def test_one_unit_and_no_weight(method):
    vectors = drawn(1)
    np.testing.assert_allclose(combine(vectors, None, method), vectors[0])
    two = drawn(4, seed=1)
    np.testing.assert_allclose(combine(two, np.zeros(4), method), combine(two, None, method))


def test_unknown_method():
    with pytest.raises(ValueError, match="allowed are mean, median"):
        combine(drawn(3), None, "mode")


def test_geometric_median_is_the_least_sum_of_distances():
    for seed in range(5):
        vectors = drawn(12, 4, seed)
        weights = np.random.default_rng(seed).uniform(0.1, 2, 12)

        def cost(point, vectors=vectors, weights=weights):
            return (weights * np.linalg.norm(vectors - point, axis=1)).sum()

        best = minimize(
            cost, vectors.mean(axis=0), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000}
        )
        found = geometric_median(vectors, weights)
        assert cost(found) <= best.fun * (1 + 1e-6)


def test_geometric_median_may_be_a_unit():
    vectors = np.array([[0.0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    np.testing.assert_allclose(geometric_median(vectors, np.ones(5)), [0, 0], atol=1e-9)
    np.testing.assert_allclose(geometric_median(vectors, np.array([1, 9.0, 1, 1, 1])), [1, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("method", "moves"), [("mean", True), ("median", False), ("trimmed", False), ("geometric_median", False)]
)
def test_what_an_outlier_does(method, moves):
    vectors = drawn(21)
    spoilt = vectors.copy()
    spoilt[0] = 1e6
    apart = np.abs(combine(vectors, None, method) - combine(spoilt, None, method)).max()
    assert (apart > 1) == moves


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 40), st.integers(0, 1000))
def test_groups_in_batches_are_the_groups_one_by_one(number, groups, most, seed):
    rng = np.random.default_rng(seed)
    vectors, codes = rng.normal(size=(number, 2)).astype(np.float32), rng.integers(-1, groups, number)
    weights = rng.uniform(0, 1, number)
    seen = np.concatenate([*batches(codes, groups, most), np.zeros(0, int)])
    assert sorted(seen) == sorted(set(codes[codes >= 0]))
    for method in ("mean", "trimmed"):
        found = group_vectors(in_memory(vectors), codes, groups, 2, method, weights, limit=2 * most)
        for group in range(groups):
            if (codes == group).any():
                expected = combine(vectors[codes == group], weights[codes == group], method)
                np.testing.assert_allclose(found[group], expected, rtol=1e-5, atol=1e-6)
            else:
                assert np.isnan(found[group]).all()


def test_no_batch_holds_more_than_it_may():
    codes = np.repeat(np.arange(10), 7)
    asked = []

    def blocks(wanted):
        asked.append(int(wanted.sum()))
        rows = np.flatnonzero(wanted)
        yield rows[:5], np.ones((len(rows[:5]), 1))
        yield rows[5:], np.ones((len(rows[5:]), 1))

    found = group_vectors(blocks, codes, 10, 1, limit=21)
    assert max(asked) <= 21
    assert sum(asked) == 70
    np.testing.assert_array_equal(found, np.ones((10, 1)))
    # a group that is larger is read all the same
    np.testing.assert_array_equal(group_vectors(blocks, codes, 10, 1, limit=1), np.ones((10, 1)))


def test_weighted_parts():
    values = np.array([[0.0], [10.0]])
    assert weighted_mean(values, np.array([3, 1.0]))[0] == 2.5
    assert median(values, np.array([3, 1.0]))[0] == pytest.approx(0, abs=1e-4)
    assert trimmed_mean(values, np.array([1, 1.0]), 0.25)[0] == 5


def test_of_two_the_geometric_median_is_the_heavier():
    two = np.array([[0.0, 0.0], [4.0, 2.0]])
    np.testing.assert_allclose(geometric_median(two, np.array([1.0, 1.0])), [2, 1])
    np.testing.assert_allclose(geometric_median(two, np.array([1.0, 3.0])), [4, 2])


@pytest.mark.parametrize("method", METHODS)
def test_infinite_values_are_not_known(method):
    vectors = drawn(9, seed=4)
    unknown = vectors.copy()
    vectors[0, 1], unknown[0, 1] = np.inf, np.nan
    np.testing.assert_allclose(combine(vectors, None, method), combine(unknown, None, method))


def test_vectors_are_held_once():
    """Blocks come one after another; beside all of them no second copy is made."""
    rows, width = 4000, 500

    def blocks(wanted):
        for start in range(0, rows, 100):
            inside = start + np.flatnonzero(wanted[start : start + 100])
            yield inside, np.ones((len(inside), width), np.float32)

    tracemalloc.start()
    found = group_vectors(blocks, np.arange(rows) // 10, rows // 10, width)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found == 1).all()
    assert peak < 1.5 * rows * width * 4
