import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score
from wherein.analysis.agreement import agreement, bootstrap_interval, rand_index
from wherein.analysis.spectrum import (
    ORGANELLES,
    feature_spectrum,
    organelle_accuracy,
    organelle_table,
    organelles,
)


def planted(seed=0, proteins=60, features=30, noise=0.6):
    """Three locations, each with ten features of its own, and a constant feature."""
    rng = np.random.default_rng(seed)
    kind = np.arange(proteins) % 3
    vectors = noise * rng.normal(size=(proteins, features))
    for one in range(3):
        vectors[np.ix_(kind == one, np.arange(features) % 3 == one)] += 2
    vectors = np.column_stack([vectors, np.ones(proteins)])
    return vectors, np.array(["Nucleoli", "Golgi", "Cytosol"], object)[kind]


def test_features_of_one_location_stand_together():
    vectors, _ = planted()
    found = feature_spectrum(vectors, 3, 2048, 1000)
    assert sorted(found.features) == list(range(30)), "the constant feature is left out"
    kinds = found.features % 3
    assert (np.diff(kinds) != 0).sum() == 2
    assert len(set(zip(kinds, found.cluster, strict=True))) == 3
    assert found.cluster.tolist() == sorted(found.cluster)
    ordered = vectors[:, found.features]
    assert np.allclose(found.correlation, np.corrcoef(ordered.T), atol=1e-5)
    assert found.tree.shape == (29, 4)
    leaves = found.tree[:, :2][found.tree[:, :2] < 30]
    assert sorted(leaves) == list(range(30))


def test_most_features_are_those_that_vary():
    vectors = np.random.default_rng(1).normal(size=(20, 6)) * [1, 5, 2, 9, 0.1, 3]
    assert sorted(feature_spectrum(vectors, 2, 3, 10).features) == [1, 3, 5]
    none = feature_spectrum(np.ones((4, 3)), 11, 10, 10)
    assert none.correlation.shape == (0, 0)


def test_leaving_out_by_hand():
    vectors, locations = planted(proteins=12)
    names = ["Cytosol", "Golgi", "Nucleoli"]
    locations = locations.copy()
    locations[0] = "elsewhere"
    found = organelles(vectors, locations, names)
    for row in range(12):
        for column, name in enumerate(names):
            others = (locations == name) & (np.arange(12) != row)
            expected = np.corrcoef(vectors[row], vectors[others].mean(axis=0))[0, 1]
            assert found[row, column] == pytest.approx(expected)


def test_locations_are_told_and_chance_is_not():
    vectors, locations = planted()
    names = sorted(set(locations))
    found = organelle_accuracy(vectors, locations, names, 99, 0)
    assert found.n == 60
    assert found.top[0] > 0.95
    assert found.top[2] == 1
    assert found.p == 0.01
    assert 0.15 < found.chance < 0.5
    dealt = organelle_accuracy(vectors, np.random.default_rng(3).permutation(locations), names, 99, 0)
    assert dealt.p > 0.05
    assert np.isnan(organelle_accuracy(vectors, locations, names[:1], 9, 0).top[0])


def test_table_of_organelles():
    vectors, locations = planted(proteins=9)
    single = locations.copy()
    single[4] = None
    names = ["Cytosol", "Golgi", "Nucleoli"]
    r = organelles(vectors, np.array([name or "" for name in single], object), names)
    table = organelle_table(r, single, names, [f"P{n}" for n in range(9)])
    assert list(table.columns) == list(ORGANELLES)
    assert table["rank"].isna().tolist() == [n == 4 for n in range(9)]
    for row in (0, 3, 8):
        order = np.argsort(-r[row])
        assert table["predicted_1"][row] == names[order[0]]
        assert table["r_1"][row] == r[row].max()
        assert table["rank"][row] == order.tolist().index(names.index(single[row])) + 1
        assert table["r_location"][row] == r[row, names.index(single[row])]
    few = organelle_table(r[:, :1], single, ["Cytosol"], list("abcdefghi"))
    assert few["predicted_2"].isna().all()


def test_rand_index_against_scikit_learn():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 5, 40), rng.integers(0, 4, 40)
        assert rand_index(a, b) == pytest.approx(adjusted_rand_score(a, b))


def test_rand_index_of_items_drawn_again_by_brute_force():
    """Every pair of two different items counts as often as both were drawn; an item with itself never."""
    rng = np.random.default_rng(1)
    for _ in range(10):
        a, b, times = rng.integers(0, 4, 25), rng.integers(0, 3, 25), rng.integers(0, 4, 25)
        both = first = second = every = 0
        for i in range(25):
            for j in range(i):
                pairs = times[i] * times[j]
                every += pairs
                first += pairs * (a[i] == a[j])
                second += pairs * (b[i] == b[j])
                both += pairs * (a[i] == a[j] and b[i] == b[j])
        expected = first * second / every
        assert rand_index(a, b, times) == pytest.approx((both - expected) / ((first + second) / 2 - expected))
        assert rand_index(a, b, np.ones(25)) == rand_index(a, b)


def test_interval_of_the_rand_index_holds_what_more_items_show():
    """Partitions that agree for four in five items: the interval of 60 items holds the index of very many in 95 %."""
    rng = np.random.default_rng(2)

    def drawn(number):
        a = rng.integers(0, 5, number)
        return a, np.where(rng.random(number) < 0.8, a, rng.integers(0, 5, number))

    true = rand_index(*drawn(200000))
    held = 0
    for seed in range(100):
        low, high = bootstrap_interval(*drawn(60), 200, seed)
        held += low <= true <= high
    assert 86 <= held <= 100
    assert np.isnan(bootstrap_interval(*drawn(60), 0, 0)).all()


def test_agreement_and_its_chance():
    locations = np.repeat(["a", "b", "c"], 12)
    clusters = np.repeat([5, 2, 9], 12)
    clusters[[0, 13]] = 2, 9
    found = agreement(clusters, locations, 199, 0)
    assert found.ari == pytest.approx(adjusted_rand_score(locations, clusters))
    assert (found.n, found.clusters, found.locations) == (36, 3, 3)
    assert found.p == 1 / 200
    assert found.chance_high < 0.2
    assert found.low < found.ari <= found.high <= 1
    rng = np.random.default_rng(1)
    p = [agreement(rng.permutation(clusters), locations, 99, seed).p for seed in range(60)]
    assert 0.3 < np.mean(p) < 0.7, "without agreement p is spread evenly"
    assert np.isnan(agreement(clusters[:12], locations[:12], 9, 0).ari)


def test_spectra_without_a_shape_tell_no_location():
    locations = np.array(["a", "b"] * 5, object)
    for vectors in (np.ones((10, 3)), np.arange(10.0)[:, None]):
        found = organelle_accuracy(vectors, locations, ["a", "b"], 9, 0)
        assert found.top[0] == 0
        assert found.chance == 0
        assert found.p == 1
