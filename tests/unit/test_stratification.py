import itertools
from collections import Counter

import numpy as np
import pytest
from wherein.metrics.multilabel import spread_over_folds
from wherein.stratification import label_matrix, lot, stratify

TERMS = ("cytosol", "nucleoplasm", "vesicles", "mitochondria", "golgi apparatus", "rods and rings")
SHARES = (0.5, 0.4, 0.15, 0.1, 0.06, 0.01)


def fields(groups, seed, most=6):
    """(group, labels) of fields whose labels are as unequal and as mixed as those of an atlas."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(groups):
        own = [term for term, share in zip(TERMS, SHARES, strict=True) if rng.random() < share]
        found += [(f"g{number}", own)] * int(rng.integers(1, most + 1))
    return found


def counted(rows):
    labels, sizes = {}, Counter()
    for group, own in rows:
        labels.setdefault(group, Counter()).update(own)
        sizes[group] += 1
    return labels, sizes


def unequal(rows, fold_of, folds):
    matrix = label_matrix([own for _, own in rows])
    return spread_over_folds(matrix, np.array([fold_of[group] for group, _ in rows]), folds)


@pytest.mark.parametrize("seed", range(4))
def test_near_the_best_of_all_ways(seed):
    """Of all 3^8 ways to deal 8 groups over 3 folds it finds one among the best tenth."""
    rows = fields(8, seed, most=3)
    labels, sizes = counted(rows)
    mine = unequal(rows, stratify(labels, sizes, {}, 3, 0), 3)
    every = [unequal(rows, dict(zip(sizes, folds, strict=True)), 3) for folds in itertools.product(range(3), repeat=8)]
    assert np.mean([sum(other) < sum(mine) - 1e-9 for other in every]) < 0.1


def test_more_even_than_chance_in_labels_and_in_fields():
    rows = fields(400, 3)
    labels, sizes = counted(rows)
    mine = np.mean([unequal(rows, stratify(labels, sizes, {}, 5, seed), 5) for seed in range(3)], axis=0)
    rng = np.random.default_rng(0)
    chance = np.mean([unequal(rows, {name: rng.integers(5) for name in sizes}, 5) for _ in range(20)], axis=0)
    assert mine[0] < chance[0] / 5
    assert mine[1] < chance[1] / 5


def test_the_rarest_label_is_in_as_many_folds_as_it_has_genes():
    labels = {f"g{k}": {"rare": 1, "common": 3} if k < 5 else {"common": 3} for k in range(50)}
    fold_of = stratify(labels, dict.fromkeys(labels, 3), {"g0": 3}, 5, 0)
    assert fold_of["g0"] == 3
    assert sorted(fold_of[f"g{k}"] for k in range(5)) == [0, 1, 2, 3, 4]
    assert set(Counter(fold_of.values()).values()) == {10}


def test_what_is_fixed_stays_and_the_others_make_up_for_it():
    rows = fields(60, 5)
    labels, sizes = counted(rows)
    fixed = {f"g{k}": 0 for k in range(40)}
    fold_of = stratify(labels, sizes, {**fixed, "stranger": 1}, 3, 0)
    assert all(fold_of[name] == 0 for name in fixed)
    assert set(fold_of) == set(sizes)
    taken = Counter()
    for name, fold in fold_of.items():
        taken[fold] += sizes[name]
    assert 0 <= taken[0] - sum(sizes[name] for name in fixed) <= 6, "it has more than its part already"
    assert abs(taken[1] - taken[2]) <= 6


def test_the_same_whatever_the_order_and_other_with_another_seed():
    rows = fields(40, 1)
    labels, sizes = counted(rows)
    back = dict(reversed(labels.items()))
    assert stratify(labels, sizes, {}, 4, 0) == stratify(back, sizes, {}, 4, 0)
    assert stratify(labels, sizes, {}, 4, 0) != stratify(labels, sizes, {}, 4, 1)


def test_groups_without_labels_fill_up_what_is_short():
    sizes = {f"g{k}": 1 for k in range(12)} | {"large": 6}
    fold_of = stratify({name: {} for name in sizes}, sizes, {}, 3, 0)
    taken = Counter()
    for name, fold in fold_of.items():
        taken[fold] += sizes[name]
    assert sorted(taken.values()) == [6, 6, 6]
    assert stratify({}, {}, {}, 3, 0) == {}
    assert lot(0, "a") != lot(1, "a")
