import numpy as np
import pytest
from scipy.optimize import approx_fprime
from wherein.metrics.classification import macro_f1
from wherein.models import thresholds
from wherein.models.thresholds import (
    FIXED,
    SURE,
    Learned,
    best_expected_f1,
    choose_thresholds,
    counted,
    f1_thresholds,
    recalibrated,
    train_ratio_thresholds,
)


def logistic(sums):
    return 1 / (1 + np.exp(-sums))


def drawn(seed, genes, fields=4, classes=12, off=1.0):
    """Fields of genes: sure of themselves, alike within a gene, and each class off by its own amount.

    A class's amount and how well it can be told are the same for all draws.
    """
    fixed = np.random.default_rng(99)
    quality, offset = fixed.uniform(1, 4, classes), fixed.normal(size=classes) * off
    share = fixed.uniform(0.05, 0.3, classes)
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.random((genes, classes)) < share, fields, axis=0)
    noise = np.repeat(rng.normal(size=(genes, classes)) * 0.9, fields, axis=0)
    seen = truth * quality + noise + 0.5 * rng.normal(size=truth.shape)
    sums = 2.5 * (quality * (seen - quality / 2) + np.log(share / (1 - share))) + offset
    return truth, logistic(np.clip(sums, -14, 14)).astype(np.float32)


def best_on_the_rows(truth, scores):
    """The threshold of each class with the best F1 on these very rows."""
    order = np.argsort(-scores, axis=0)
    hits = np.take_along_axis(truth, order, 0).cumsum(axis=0)
    f1 = 2 * hits / (np.arange(1, len(truth) + 1)[:, None] + truth.sum(axis=0))
    return np.take_along_axis(np.take_along_axis(scores, order, 0), f1.argmax(axis=0)[None], 0)[0]


def test_few_genes_give_better_thresholds_than_the_best_ones_on_these_genes():
    fresh, said = drawn(1000, 600)
    ours, best, fixed = [], [], []
    for seed in range(8):
        truth, scores = drawn(seed, 20)
        ours.append(macro_f1(fresh, said >= f1_thresholds(truth, scores)))
        best.append(macro_f1(fresh, said >= best_on_the_rows(truth, scores)))
        fixed.append(macro_f1(fresh, said >= FIXED))
    assert np.mean(ours) > np.mean(best) + 0.02
    assert np.mean(ours) > np.mean(fixed)


def test_many_genes_give_about_the_best_thresholds_there_are():
    truth, scores = drawn(1, 1500, classes=6, off=0.5)
    fresh, said = drawn(2, 1500, classes=6, off=0.5)
    ours = macro_f1(fresh, said >= f1_thresholds(truth, scores))
    assert ours > macro_f1(fresh, said >= best_on_the_rows(fresh, said)) - 0.02


def test_probabilities_that_are_right_stay_as_they_are():
    rng = np.random.default_rng(0)
    scores = logistic(rng.normal(-1, 2, (40_000, 3)))
    slopes, offsets = recalibrated(counted(rng.random(scores.shape) < scores, scores))
    np.testing.assert_allclose(slopes, 1, atol=0.05)
    np.testing.assert_allclose(offsets, 0, atol=0.05)


def test_what_is_wrong_with_probabilities_is_found():
    rng = np.random.default_rng(0)
    sums = rng.normal(-0.5, 1, (60_000, 2))
    truth = rng.random(sums.shape) < logistic(sums)
    slopes, offsets = recalibrated(counted(truth, logistic(2 * sums + [1.0, -1.0])))
    np.testing.assert_allclose(slopes, 0.5, atol=0.03)
    np.testing.assert_allclose(offsets, [-0.5, 0.5], atol=0.06)


def test_the_slope_of_the_loss_is_its_own(monkeypatch):
    truth, scores = drawn(3, 10, classes=3)
    kept = []
    monkeypatch.setattr(
        thresholds, "minimize", lambda loss, start, **_: kept.append(loss) or type("R", (), {"x": start})
    )
    recalibrated(counted(truth, scores))
    at = np.random.default_rng(0).normal(0, 0.3, 8)
    numeric = approx_fprime(at, lambda values: kept[0](values)[0], 1e-6)
    np.testing.assert_allclose(kept[0](at)[1], numeric, rtol=2e-3, atol=2e-2)


def test_the_best_expected_f1_is_that_of_all_cuts():
    rng = np.random.default_rng(1)
    probabilities, number = np.sort(rng.random(9)), rng.integers(0, 5, 9)
    each = np.repeat(probabilities, number)
    tried = [2 * each[each >= cut].sum() / ((each >= cut).sum() + each.sum()) for cut in each]
    assert best_expected_f1(number.astype(float), probabilities) == pytest.approx(max(tried))
    # a unit gains by being predicted exactly where its probability is half of that (Lipton et al. 2014)
    best = max(tried)
    assert tried[int(np.argmax(each >= best / 2))] == pytest.approx(best)


def test_counts_are_those_of_the_units():
    truth, scores = drawn(5, 40, classes=3)
    weights = np.random.default_rng(0).random(len(truth))
    counts = counted(truth, scores, weights)
    np.testing.assert_allclose(counts.with_class.sum(axis=1), weights @ truth)
    np.testing.assert_allclose(counts.without.sum(axis=1), weights @ ~truth)
    kept = np.clip(scores[:, 0].astype(float), SURE, 1 - SURE)
    mean = counts.with_class[0] @ counts.logits / counts.with_class[0].sum()
    wanted = np.average(np.log(kept / (1 - kept))[truth[:, 0]], weights=weights[truth[:, 0]])
    assert mean == pytest.approx(wanted, abs=0.01)


def test_no_threshold_is_beyond_what_a_network_can_be_sure_of():
    # three genes of a class at 1e-11 and all others below, as a network learns by heart
    scores = np.full((100, 2), 1e-13, np.float32)
    scores[:12, 0], scores[:50, 1] = 3e-11, 1 - 1e-7
    truth = np.zeros((100, 2), bool)
    truth[:12, 0] = truth[:50, 1] = True
    found = f1_thresholds(truth, scores)
    assert (found >= SURE).all()
    assert (found <= 1 - SURE).all()


def test_a_class_without_a_row_takes_what_all_have_in_common():
    truth, scores = drawn(7, 60, classes=5, off=0)
    alone = truth.copy()
    alone[:, 2] = False
    assert 0.01 < f1_thresholds(alone, scores)[2] < 0.99
    nothing = np.zeros((0, 2))
    assert f1_thresholds(nothing.astype(bool), nothing).tolist() == [FIXED, FIXED]


def test_cells_of_one_field_weigh_as_one():
    truth, scores = drawn(8, 20, classes=3)
    many = np.repeat(truth, 50, axis=0), np.repeat(scores, 50, axis=0)
    np.testing.assert_allclose(f1_thresholds(*many, np.full(len(many[0]), 0.02)), f1_thresholds(truth, scores), 1e-4)
    assert not np.allclose(f1_thresholds(*many), f1_thresholds(truth, scores), 1e-2)


def test_as_many_are_predicted_as_had_the_class_in_training():
    rng = np.random.default_rng(1)
    scores = rng.random((50, 3))
    trained = np.zeros((200, 3), bool)
    trained[:40, 0] = trained[:100, 1] = True
    found = train_ratio_thresholds(trained, scores)
    assert ((scores >= found).sum(axis=0)[:2]).tolist() == [10, 25]
    assert found[2] == FIXED


def test_which_thresholds_are_taken():
    truth, scores = drawn(1, 20, classes=3)
    trained = np.tile(truth, (3, 1))
    assert choose_thresholds(0.3, trained, truth, scores).tolist() == [0.3] * 3
    np.testing.assert_array_equal(
        choose_thresholds("label_ratio", trained, truth, scores), train_ratio_thresholds(trained, scores)
    )
    np.testing.assert_array_equal(
        choose_thresholds("validation_f1", trained, truth, scores), f1_thresholds(truth, scores)
    )
    learned = Learned(*drawn(2, 60, classes=3), np.full(240, 0.25))
    np.testing.assert_array_equal(
        choose_thresholds("train_f1", trained, truth, scores, learned=learned), f1_thresholds(*learned)
    )
    with pytest.raises(ValueError, match="threshold train_f1"):
        choose_thresholds("train_f1", trained, truth, scores)
