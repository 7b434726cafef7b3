"""The null of exchanged proteins, and terms that say the same."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import hypergeom
from wherein.analysis.overrepresentation import membership, overrepresentation
from wherein.analysis.redundancy import representatives
from wherein.analysis.set_null import permutation_null


def drawn(seed: int, universe: int = 60, sets: int = 25, clusters: int = 4):
    rng = np.random.default_rng(seed)
    groups = [rng.choice(universe, size, replace=False) for size in rng.integers(3, 20, sets)]
    labels = rng.integers(-1, clusters, universe)
    of_sets = membership(groups, universe)
    found = overrepresentation(of_sets, membership([np.flatnonzero(labels == c) for c in range(clusters)], universe))
    return groups, labels, of_sets, found


def test_null_by_brute_force():
    groups, labels, of_sets, found = drawn(0)
    null = permutation_null(of_sets, labels, found, 40, 7)
    rng = np.random.default_rng(7)
    drawn_p = []
    for _ in range(40):
        turn = rng.permutation(np.where(labels < 0, 4, labels))
        p = [
            [
                min(hypergeom.sf((turn[group] == c).sum() - 1, 60, len(group), (labels == c).sum()), 1.0)
                for group in groups
            ]
            for c in range(4)
        ]
        drawn_p.append(np.array(p))
    drawn_p = np.array(drawn_p)
    assert np.allclose(np.sort(null.smallest), np.sort(drawn_p.min(axis=(1, 2))))
    family = (1 + (drawn_p.min(axis=(1, 2))[:, None, None] <= found.p[None] * (1 + 1e-12)).sum(0)) / 41
    assert np.allclose(null.p, family)
    levels = np.unique(found.p)
    rate = {}
    for level in levels:
        worse = [
            ((drawn_p <= t * (1 + 1e-12)).sum() / (found.p <= t * (1 + 1e-12)).sum() + 1) / 41
            for t in levels[levels >= level]
        ]
        rate[level] = min(1, *worse)
    assert np.allclose(null.q, np.vectorize(rate.get, otypes=[float])(found.p))
    assert null.expected(0.1) == pytest.approx((drawn_p <= 0.1).sum() / 40)
    assert null.expected(0.0) == 0


def test_nothing_planted_is_rarely_found_and_something_planted_is():
    false = 0
    for seed in range(40):
        _, labels, of_sets, found = drawn(100 + seed)
        false += permutation_null(of_sets, labels, found, 99, seed).p.min() <= 0.05
    # 40 runs at 5 %: more than 7 have a probability of 1 %
    assert false <= 7
    labels = np.repeat(np.arange(4), 15)
    of_sets = membership([range(12), [1, 20, 40], [50, 3, 30]], 60)
    found = overrepresentation(of_sets, membership([np.flatnonzero(labels == c) for c in range(4)], 60))
    null = permutation_null(of_sets, labels, found, 199, 0)
    assert null.p[0, 0] == 1 / 200
    assert null.q[0, 0] == pytest.approx(1 / 200)
    assert null.q[1:, 1:].min() > 0.05


def test_redundant_terms_stand_under_the_best():
    hits = csr_matrix(np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]))
    order = [1, 0, 2, 3]
    assert representatives(hits, order, 0.5, "jaccard").tolist() == [1, 1, 2, 2]
    assert representatives(hits, order, 0.7, "jaccard").tolist() == [1, 1, 2, 3]
    assert representatives(hits, [0, 3, 2, 1], 0.3, "overlap").tolist() == [0, 0, 2, 0]
    assert representatives(hits, order, 1.0, "jaccard").tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="allowed are jaccard, overlap"):
        representatives(hits, order, 0.5, "dice")


def test_a_representative_is_better_and_alike():
    rng = np.random.default_rng(3)
    dense = rng.random((60, 25)) < 0.4
    dense[:, 0] = True
    order = rng.permutation(60)
    found = representatives(csr_matrix(dense.astype(int)), order, 0.5, "jaccard")
    rank = np.argsort(order)
    for term, best in enumerate(found):
        assert found[best] == best
        assert rank[best] <= rank[term]
        assert (dense[term] & dense[best]).sum() / (dense[term] | dense[best]).sum() >= 0.5
    own = np.flatnonzero(found == np.arange(60))
    for a in own:
        for b in own:
            assert a == b or (dense[a] & dense[b]).sum() / (dense[a] | dense[b]).sum() < 0.5
