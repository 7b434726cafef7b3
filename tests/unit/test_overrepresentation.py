"""Every set against every cluster: the same p-values as a test at a time, and as gseapy."""

import numpy as np
import pytest
from scipy.stats import fisher_exact, hypergeom
from wherein.analysis.overrepresentation import (
    membership,
    odds_ratios,
    over_all,
    over_overlapping,
    overrepresentation,
    tail_probability,
)


def drawn(seed: int, universe: int, sets: int, clusters: int):
    rng = np.random.default_rng(seed)
    groups = [rng.choice(universe, size, replace=False) for size in rng.integers(1, universe, sets)]
    parts = np.array_split(rng.permutation(universe), clusters)
    return groups, parts


def test_counts_and_p_by_brute_force():
    groups, parts = drawn(0, 60, 40, 5)
    found = overrepresentation(membership(groups, 60), membership(parts, 60))
    for c, part in enumerate(parts):
        for t, group in enumerate(groups):
            k = len(set(part) & set(group))
            assert (found.k[c, t], found.K[t], found.n[c], found.N) == (k, len(group), len(part), 60)
            table = [[k, len(group) - k], [len(part) - k, 60 - len(group) - len(part) + k]]
            assert found.p[c, t] == pytest.approx(fisher_exact(table, "greater").pvalue, rel=1e-9)
            a, b, c_, d = (x + 0.5 for row in table for x in row)
            assert odds_ratios(found)[c, t] == pytest.approx(a * d / (b * c_))


def test_p_is_gseapys_to_the_last_bit():
    import gseapy

    groups, parts = drawn(1, 200, 120, 6)
    found = overrepresentation(membership(groups, 200), membership(parts, 200))
    q = over_overlapping(found)
    sets = {f"S{t}": [f"P{i}" for i in group] for t, group in enumerate(groups)}
    for c, part in enumerate(parts):
        theirs = gseapy.enrich(
            gene_list=[f"P{i}" for i in part],
            gene_sets=sets,
            background=[f"P{i}" for i in range(200)],
            outdir=None,
            no_plot=True,
        ).results
        places = theirs["Term"].str[1:].astype(int).to_numpy()
        assert set(places) == set(np.flatnonzero(found.k[c]))
        assert (found.p[c, places] == np.minimum(theirs["P-value"].to_numpy(float), 1)).all()
        assert np.allclose(q[c, places], theirs["Adjusted P-value"].to_numpy(float), rtol=1e-12)
        assert np.allclose(odds_ratios(found)[c, places], theirs["Odds Ratio"].to_numpy(float), rtol=1e-12)


def test_one_test_for_each_distinct_count():
    rng = np.random.default_rng(2)
    K, n = rng.integers(1, 40, 500), rng.integers(1, 40, 500)
    k = np.minimum(rng.integers(0, 40, 500), np.minimum(K, n))
    assert (tail_probability(k, K, n, 90) == np.minimum(hypergeom.sf(k - 1, 90, K, n), 1)).all()
    assert len(tail_probability([], [], [], 90)) == 0


def test_correction_counts_every_test():
    p = np.array([[0.001, 0.02, 1.0], [0.03, 1.0, 1.0]])
    flat = np.sort(p.ravel())
    steps = np.minimum.accumulate((flat * 6 / np.arange(1, 7))[::-1])[::-1]
    assert np.allclose(np.sort(over_all(p).ravel()), np.minimum(steps, 1))
    groups, parts = drawn(3, 50, 30, 4)
    found = overrepresentation(membership(groups, 50), membership(parts, 50))
    for row in range(4):
        assert (over_overlapping(found)[row] <= over_all(found.p[row]) + 1e-15).all()
    assert over_all(np.zeros((0, 3))).shape == (0, 3)


def test_members_count_once_and_lie_in_the_universe():
    sets = membership([[3, 1, 1, 3], [], range(5)], 5)
    assert sets.toarray().tolist() == [[0, 1, 0, 1, 0], [0] * 5, [1] * 5]
    with pytest.raises(ValueError, match="the universe has the places 0 to 4"):
        membership([[5]], 5)
    with pytest.raises(ValueError, match="give one universe"):
        overrepresentation(sets, membership([[0]], 6))


def test_nothing_in_common_is_no_evidence():
    found = overrepresentation(membership([[0, 1], []], 6), membership([[4, 5], []], 6))
    assert (found.p == 1).all()
    assert (over_overlapping(found) == 1).all()


def test_p_is_uniform_enough_under_the_null():
    # the test is discrete, so that p is at most as small as it says
    rng = np.random.default_rng(4)
    groups = [rng.choice(400, 60, replace=False) for _ in range(200)]
    small = []
    for _ in range(20):
        parts = np.array_split(rng.permutation(400), 8)
        small.append((overrepresentation(membership(groups, 400), membership(parts, 400)).p <= 0.05).mean())
    assert 0.015 < np.mean(small) <= 0.05
