import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_recall_curve,
    precision_score,
    recall_score,
    roc_auc_score,
)
from wherein.metrics.classification import (
    auc,
    average_precision,
    baseline_macro_f1,
    class_scores,
    confusion,
    curve,
    macro_f1,
    macro_scores,
    micro_f1,
    ratio_thresholds,
    unit_f1,
)


def drawn(seed, n=60, k=4):
    rng = np.random.default_rng(seed)
    truth = rng.random((n, k)) < [0.1, 0.3, 0.5, 0.8]
    scores = np.round(rng.random((n, k)) * 0.6 + truth * 0.3, 1)  # with ties
    return truth, scores


@pytest.mark.parametrize("seed", range(3))
def test_as_scikit_learn(seed):
    truth, scores = drawn(seed)
    predicted = scores >= 0.5
    table = class_scores(truth, predicted)
    np.testing.assert_allclose(table["precision"], precision_score(truth, predicted, average=None))
    np.testing.assert_allclose(table["recall"], recall_score(truth, predicted, average=None))
    np.testing.assert_allclose(table["f1"], f1_score(truth, predicted, average=None))
    assert macro_f1(truth, predicted) == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert micro_f1(truth, predicted) == pytest.approx(f1_score(truth, predicted, average="micro"))
    np.testing.assert_allclose(auc(truth, scores), roc_auc_score(truth, scores, average=None))


def test_auc_by_all_pairs():
    truth, scores = drawn(7)
    for k in range(4):
        have, lack = scores[truth[:, k], k], scores[~truth[:, k], k]
        pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(have, lack)]
        assert auc(truth, scores)[k] == pytest.approx(np.mean(pairs))


def test_what_is_not_defined_is_nan():
    truth = np.array([[True, False], [True, False]])
    predicted = np.array([[True, False], [False, False]])
    table = class_scores(truth, predicted)
    assert table["recall"].tolist()[0] == 0.5
    assert np.isnan(table.loc[1, ["precision", "recall", "f1"]].astype(float)).all()
    assert macro_f1(truth, predicted) == table.loc[0, "f1"]  # the class that no unit has does not count
    assert np.isnan(auc(truth, predicted.astype(float))).all()
    nothing = np.zeros((0, 2), bool)
    assert np.isnan(macro_f1(nothing, nothing))
    assert np.isnan(micro_f1(nothing, nothing))
    assert np.isnan(baseline_macro_f1(nothing))


def test_a_class_that_is_never_predicted_has_f1_0():
    truth, predicted = np.array([[True], [False]]), np.array([[False], [False]])
    assert class_scores(truth, predicted)["f1"].tolist() == [0.0]


def test_baseline_is_what_drawn_labels_get():
    truth, _ = drawn(1, n=4000)
    rng = np.random.default_rng(0)
    share = truth.mean(axis=0)
    found = [macro_f1(truth, rng.random(truth.shape) < share) for _ in range(20)]
    assert baseline_macro_f1(truth) == pytest.approx(np.mean(found), abs=0.005)


def test_auc_within_groups_by_all_pairs():
    truth, scores = drawn(3)
    groups = np.arange(len(truth)) % 3
    for k in range(4):
        pairs = [
            (scores[i, k] > scores[j, k]) + 0.5 * (scores[i, k] == scores[j, k])
            for i, j in itertools.permutations(range(len(truth)), 2)
            if groups[i] == groups[j] and truth[i, k] and not truth[j, k]
        ]
        assert auc(truth, scores, groups)[k] == pytest.approx(np.mean(pairs))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=25))
def test_threshold_by_label_ratio(units):
    truth = np.array([[flag] for flag, _ in units])
    scores = np.array([[value / 6] for _, value in units])
    n, predicted = truth.sum(), (scores >= ratio_thresholds(truth, scores)).sum()
    if n == 0:
        assert predicted == 0
        return
    values = np.sort(scores[:, 0])[::-1]
    assert predicted == (scores[:, 0] >= max(values[n - 1], 1e-9)).sum()


def test_threshold_of_a_useless_classifier_predicts_no_more_than_there_are():
    rng = np.random.default_rng(0)
    truth, scores = rng.random((1000, 1)) < 0.05, rng.random((1000, 1))
    assert (scores >= ratio_thresholds(truth, scores)).sum() == truth.sum()


def test_average_precision_as_scikit_learn():
    truth, scores = drawn(11)
    np.testing.assert_allclose(average_precision(truth, scores), average_precision_score(truth, scores, average=None))


def test_average_precision_of_two_classifiers_is_weighted_by_their_positives():
    truth, scores = drawn(12)
    folds = np.arange(len(truth)) % 3
    expected = sum(
        average_precision_score(truth[folds == fold], scores[folds == fold], average=None) * truth[folds == fold].sum(0)
        for fold in range(3)
    )
    np.testing.assert_allclose(average_precision(truth, scores, folds), expected / truth.sum(axis=0))


def test_average_precision_of_an_absent_class_is_not_defined():
    found = average_precision(np.array([[True, False], [False, False]]), np.array([[0.2, 0.5], [0.3, 0.5]]))
    assert found[0] == pytest.approx(0.5)
    assert np.isnan(found[1])


def test_macro_scores_count_a_class_that_is_never_predicted():
    truth = np.array([[True, False, False], [False, True, False]])
    predicted = np.array([[True, False, False], [True, False, False]])
    found = macro_scores(truth, predicted)
    assert found == {"precision": pytest.approx(0.25), "recall": 0.5, "f1": pytest.approx(1 / 3)}
    drawn_truth, scores = drawn(3)
    several = macro_scores(drawn_truth, scores >= 0.7)
    expected = precision_score(drawn_truth, scores >= 0.7, average="macro", zero_division=0)
    assert several["precision"] == pytest.approx(expected)


def test_unit_f1_is_that_of_each_units_own_classes():
    truth, scores = drawn(5)
    predicted = scores >= 0.5
    found = unit_f1(truth, predicted)
    for row, (have, told) in enumerate(zip(truth, predicted, strict=True)):
        if have.any() or told.any():
            both = len({*np.flatnonzero(have)} & {*np.flatnonzero(told)})
            assert found[row] == pytest.approx(2 * both / (have.sum() + told.sum()))
        else:
            assert np.isnan(found[row])


def test_confusion_as_scikit_learn():
    rng = np.random.default_rng(0)
    kinds, scores = rng.integers(0, 4, 80), rng.random((80, 4))
    truth = np.eye(4, dtype=bool)[kinds]
    np.testing.assert_array_equal(confusion(truth, scores), confusion_matrix(kinds, scores.argmax(1)))
    with pytest.raises(ValueError, match="exactly one class"):
        confusion(np.ones((1, 4), bool), scores[:1])
    assert confusion(np.zeros((0, 4), bool), np.zeros((0, 4))).sum() == 0


def test_curve_has_every_threshold_and_thins_out_evenly():
    truth, scores = drawn(2, n=400)
    whole = curve(truth[:, 1], scores[:, 1], 400)
    precision, recall, thresholds = precision_recall_curve(truth[:, 1], scores[:, 1])
    np.testing.assert_allclose(whole["threshold"], thresholds[::-1])
    np.testing.assert_allclose(whole["precision"], precision[:-1][::-1])
    np.testing.assert_allclose(whole["recall"], recall[:-1][::-1])
    fine = np.random.default_rng(1).random(400)
    thin = curve(truth[:, 1], fine, 20)
    assert len(thin) <= 22
    assert thin["recall"].iloc[-1] == 1.0
    assert thin["recall"].diff().max() < 0.12
    assert len(curve(np.zeros(5, bool), np.arange(5.0), 10)) == 0
