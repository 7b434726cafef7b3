import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score
from wherein.metrics import classification
from wherein.metrics.bootstrap import (
    SCORE_PLACES,
    Draws,
    draw_clusters,
    interval,
    macro,
    resampled_counts,
    resampled_ranks,
    score_places,
)


def units(seed=0, n=90, k=3, genes=12):
    rng = np.random.default_rng(seed)
    gene = rng.integers(0, genes, n)
    truth = rng.random((n, k)) < [0.15, 0.4, 0.7][:k]
    scores = np.round(rng.random((n, k)) * 0.7 + truth * 0.25, 1)
    return truth, scores, np.array([f"G{number}" for number in gene])


def taken(draws, number):
    """Rows of one draw, a gene's as often as it was drawn: what the weights stand for."""
    times = draws.weights[number, draws.cluster].astype(int)
    return np.repeat(np.arange(len(times)), times)


def test_a_draw_has_as_many_genes_as_there_are():
    draws = draw_clusters(np.array(["b", "a", "b", "c"]), 50, 0)
    assert draws.cluster.tolist() == [1, 0, 1, 2]
    assert (draws.weights.sum(axis=1) == 3).all()
    assert draws.weights.std() > 0
    np.testing.assert_array_equal(draws.weights, draw_clusters(np.array(["b", "a", "b", "c"]), 50, 0).weights)


def test_counts_as_if_rows_were_taken_again():
    truth, scores, genes = units()
    predicted = scores >= 0.5
    draws = draw_clusters(genes, 20, 1)
    found = resampled_counts(truth, predicted, draws)
    for number in range(20):
        rows = taken(draws, number)
        for name, measure in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            expected = measure(truth[rows], predicted[rows], average=None, zero_division=np.nan)
            np.testing.assert_allclose(found[name][number], expected)
        assert found["micro_f1"][number] == pytest.approx(f1_score(truth[rows], predicted[rows], average="micro"))


@pytest.mark.parametrize("folds", [1, 3])
def test_ranks_as_if_rows_were_taken_again(folds):
    truth, scores, genes = units(3)
    draws = draw_clusters(genes, 15, 1)
    groups = np.arange(len(truth)) % folds
    found = resampled_ranks(truth, scores, draws, groups)
    for number in range(15):
        rows = taken(draws, number)
        np.testing.assert_allclose(found["auc"][number], classification.auc(truth[rows], scores[rows], groups[rows]))
        expected = classification.average_precision(truth[rows], scores[rows], groups[rows])
        np.testing.assert_allclose(found["average_precision"][number], expected)
        if folds == 1:
            np.testing.assert_allclose(found["auc"][number], roc_auc_score(truth[rows], scores[rows], average=None))
            expected = average_precision_score(truth[rows], scores[rows], average=None)
            np.testing.assert_allclose(found["average_precision"][number], expected)


def test_many_scores_share_places_and_move_no_figure():
    rng = np.random.default_rng(0)
    truth = rng.random((6000, 1)) < 0.2
    scores = np.round(rng.normal(0, 1, (6000, 1)) + truth, 3)
    place, number = score_places(scores[:, 0])
    assert number == SCORE_PLACES
    assert np.bincount(place, minlength=number).max() < 60
    order = np.argsort(-scores[:, 0], kind="stable")
    assert (np.diff(place[order]) >= 0).all()
    assert len(set(zip(scores[:, 0], place, strict=True))) == len(set(scores[:, 0])), "equal scores share a place"
    draws = draw_clusters(np.repeat(np.arange(600), 10), 3, 0)
    found = resampled_ranks(truth, scores, draws)
    for draw in range(3):
        rows = taken(draws, draw)
        assert found["auc"][draw, 0] == pytest.approx(classification.auc(truth[rows], scores[rows])[0], abs=1e-3)
        area = classification.average_precision(truth[rows], scores[rows])[0]
        assert found["average_precision"][draw, 0] == pytest.approx(area, abs=5e-3)


def test_a_draw_without_a_class_has_no_figure():
    truth = np.array([[True], [False], [False]])
    draws = Draws(np.array([0, 1, 2]), np.array([[0, 2, 1], [1, 1, 1]], np.float32))
    found = resampled_counts(truth, truth, draws)
    assert np.isnan(found["f1"][0, 0])
    assert found["f1"][1, 0] == 1
    assert np.isnan(resampled_ranks(truth, np.array([[0.9], [0.1], [0.2]]), draws)["auc"][0, 0])


def test_macro_is_over_the_classes_that_a_draw_has():
    values = np.array([[0.5, np.nan, 1.0], [np.nan, np.nan, np.nan]])
    np.testing.assert_allclose(macro(values), [0.75, np.nan])
    absent = np.array([[False, False, False], [True, True, True]])
    np.testing.assert_allclose(macro(values, absent), [0.5, np.nan])


def test_interval_is_between_percentiles_around_the_score():
    values = np.stack([np.arange(101.0), np.full(101, np.nan)], axis=1)
    low, high = interval(values / 100, np.array([0.5, 0.5]), 0.9)
    np.testing.assert_allclose([low[0], high[0]], [0.05, 0.95])
    assert np.isnan([low[1], high[1]]).all()
    low, high = interval(np.arange(101.0) / 200, 0.3, 0.9)
    assert (float(low), float(high)) == (pytest.approx(0.075), pytest.approx(0.525)), "moved to the score"
    assert np.isnan(interval(np.arange(101.0), np.nan)).all()
    assert float(interval(np.arange(101.0) / 100, 0.9, 0.9)[1]) == 1, "a score is never above 1"


def test_genes_alike_make_wide_intervals():
    """100 fields of 10 genes, each gene right or wrong as a whole, tell as much as 10 units, not as 100."""
    right = np.repeat(np.arange(10) % 2 == 0, 10)
    truth = np.ones((100, 1), bool)
    by_gene = resampled_counts(truth, right[:, None], draw_clusters(np.repeat(np.arange(10), 10), 2000, 0))
    by_field = resampled_counts(truth, right[:, None], draw_clusters(np.arange(100), 2000, 0))
    widths = []
    for found in (by_gene, by_field):
        low, high = interval(found["recall"][:, 0], 0.5)
        widths.append(float(high - low))
    assert widths[0] == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 10), abs=0.06)
    assert widths[1] == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 100), abs=0.03)


def test_intervals_cover_the_true_score():
    """Of 200 data sets about 95 % have an interval that holds what they were drawn from."""
    rng = np.random.default_rng(4)
    held = 0
    for seed in range(200):
        chance = rng.beta(6, 3, 40)
        right = rng.random((40, 5)) < chance[:, None]
        draws = draw_clusters(np.repeat(np.arange(40), 5), 400, seed)
        recall = resampled_counts(np.ones((200, 1), bool), right.reshape(-1, 1), draws)["recall"][:, 0]
        low, high = interval(recall, right.mean())
        held += low <= 6 / 9 <= high
    assert 180 <= held <= 199
