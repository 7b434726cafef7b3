from itertools import chain

import numpy as np
import pytest
from wherein.models.thresholds import (
    FIXED,
    f1_thresholds,
    read_thresholds,
    threshold_table,
    train_ratio_thresholds,
    write_thresholds,
)


def drawn(seed, n=60, classes=4):
    rng = np.random.default_rng(seed)
    truth = rng.random((n, classes)) < [0.5, 0.2, 0.05, 0.0]
    # rounded, so that scores repeat
    return truth, np.round(np.clip(0.3 * truth + 0.7 * rng.random((n, classes)), 0, 1), 1 + seed % 2).astype(np.float32)


def f1_at(truth, scores, threshold):
    predicted = scores >= threshold
    hits = (truth & predicted).sum()
    return 2 * hits / max(truth.sum() + predicted.sum(), 1)


@pytest.mark.parametrize("seed", range(6))
def test_no_other_threshold_has_a_better_f1(seed):
    truth, scores = drawn(seed)
    found = f1_thresholds(truth, scores)
    for k in range(3):
        if not truth[:, k].any():
            continue
        tried = [f1_at(truth[:, k], scores[:, k], value) for value in chain(np.unique(scores[:, k]), [0, 1.01])]
        assert f1_at(truth[:, k], scores[:, k], found[k]) == pytest.approx(max(tried))
    assert found[3] == FIXED


def test_of_equally_good_thresholds_the_strictest_is_taken():
    truth = np.array([[1], [1], [0], [0], [1]], bool)
    # taking 2 of 5 (both right) or all 5 (3 right) gives F1 0.8 and 0.75
    assert f1_thresholds(truth, np.array([[0.9], [0.8], [0.3], [0.2], [0.1]]))[0] == pytest.approx(0.55)


def test_as_many_are_predicted_as_had_the_class_in_training():
    rng = np.random.default_rng(1)
    scores = rng.random((50, 3))
    trained = np.zeros((200, 3), bool)
    trained[:40, 0] = trained[:100, 1] = True
    found = train_ratio_thresholds(trained, scores)
    assert ((scores >= found).sum(axis=0)[:2]).tolist() == [10, 25]
    assert found[2] == FIXED


def test_the_table_is_read_as_it_was_written(tmp_path):
    truth, scores = drawn(1)
    trained = np.tile(truth, (3, 1))
    table = threshold_table(["a", "b", "c", "d"], trained, truth, scores)
    assert table["n_train"].tolist() == (3 * truth.sum(axis=0)).tolist()
    write_thresholds(tmp_path / "thresholds.tsv", table)
    back = read_thresholds(tmp_path / "thresholds.tsv", ["c", "a"], "validation_f1")
    np.testing.assert_allclose(back, f1_thresholds(truth, scores)[[2, 0]], rtol=1e-6)
    assert read_thresholds("nowhere", ["a", "b"], 0.3).tolist() == [0.3, 0.3]


def test_without_validation_rows_all_is_fixed():
    table = threshold_table(["a"], np.ones((3, 1), bool), np.zeros((0, 1), bool), np.zeros((0, 1)))
    assert table[["validation_f1", "label_ratio"]].to_numpy().tolist() == [[FIXED, FIXED]]
