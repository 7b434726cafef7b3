from collections import Counter

import numpy as np
import pytest
from wherein.metrics.multilabel import cardinality, combinations, imbalance, spread_over_folds

NAMES = ("a", "b", "c")


def drawn(n=200, seed=0):
    return np.random.default_rng(seed).random((n, 3)) < [0.5, 0.3, 0.1]


def test_cardinality_and_combinations_by_counting():
    truth = drawn()
    sizes = Counter(int(row.sum()) for row in truth)
    found = cardinality(truth)
    assert dict(zip(found["n_classes"], found["n"], strict=True)) == dict(sizes)
    assert found["share"].sum() == pytest.approx(1)
    sets = Counter(";".join(np.array(NAMES)[row]) for row in truth if row.any())
    table = combinations(truth, NAMES)
    assert dict(zip(table["classes"], table["n"], strict=True)) == dict(sets)
    assert table["n"].is_monotonic_decreasing


def test_equal_combinations_stand_in_the_order_of_the_vocabulary():
    truth = np.array([[False, True, False], [True, False, False], [True, True, False]])
    assert combinations(truth, NAMES)["classes"].tolist() == ["a;b", "a", "b"]


def test_nothing_labelled():
    assert len(combinations(np.zeros((3, 3), bool), NAMES)) == 0
    assert np.isnan(imbalance(np.zeros((3, 3), bool)))
    assert imbalance(np.array([[True, False, True], [True, False, False]])) == 2


def test_spread_over_folds_by_its_definition():
    truth, folds = drawn(60, 3), np.arange(60) % 4
    folds[:5] = 0
    distances = []
    for k in range(3):
        for fold in range(4):
            here = truth[folds == fold, k]
            distances.append(abs(here.sum() / (~here).sum() - truth[:, k].sum() / (~truth[:, k]).sum()))
    sizes = [abs((folds == fold).sum() - 15) for fold in range(4)]
    assert spread_over_folds(truth, folds, 4) == (pytest.approx(np.mean(distances)), pytest.approx(np.mean(sizes)))
    alike = np.tile([[True, False, False], [False, True, False]], (8, 1))
    assert spread_over_folds(alike, np.repeat(np.arange(8), 2), 8) == (0, 0)
