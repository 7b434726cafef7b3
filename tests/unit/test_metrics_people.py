from itertools import product

import numpy as np
import pytest
from wherein.metrics.people import agreement, majority, one_hot, rightness


def test_majority_without_ties():
    answers = np.array([[0, 1, 2], [0, 2, 2], [1, 1, -1]])
    vote = majority(answers, np.array([0, 1, 0]), 3, seed=0)
    assert vote.answers.tolist() == [0, 1, 2]
    assert vote.accuracy == pytest.approx(2 / 3)


def test_ties_are_drawn_and_averaged():
    """Two units, each with two tied answers: the mean over the draws is that over all outcomes."""
    answers = np.array([[0, 1], [1, 2]])
    truth = np.array([0, 2])
    outcomes = [rightness(truth, np.array(given), 3) for given in product((0, 1), (1, 2))]
    vote = majority(answers, truth, 3, seed=0, draws=4000)
    for name in ("accuracy", "precision", "recall", "f1"):
        expected = np.mean([outcome[name] for outcome in outcomes])
        assert getattr(vote, name) == pytest.approx(expected, abs=0.02)
    assert set(vote.answers) <= {0, 1, 2}


def test_units_that_nobody_judged_have_no_vote():
    vote = majority(np.array([[-1, 0], [-1, 0]]), np.array([1, 0]), 2, seed=0)
    assert vote.answers.tolist() == [-1, 0]
    assert vote.accuracy == 0.5


def test_rightness_of_nothing():
    assert np.isnan(rightness(np.zeros(0, int), np.zeros(0, int), 3)["accuracy"])
    assert one_hot(np.array([-1, 2]), 3).tolist() == [[False] * 3, [False, False, True]]


def people(p=3, n=60, k=4, noise=0.2, seed=0):
    rng = np.random.default_rng(seed)
    truth = one_hot(rng.integers(0, k, n), k)
    judged = np.stack([truth] * p)
    wrong = rng.random((p, n)) < noise
    judged[wrong] = np.roll(judged[wrong], 1, axis=1)
    return judged, rng.random((p, n)) < 0.7


def test_agreement_by_all_pairs():
    judged, given = people()
    same, shared = [], []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        for unit in range(60):
            if given[a, unit] and given[b, unit]:
                sets = [set(np.flatnonzero(judged[person, unit])) for person in (a, b)]
                same.append(sets[0] == sets[1])
                shared.append(bool(sets[0] & sets[1]))
    found = agreement(judged, given, seed=0)
    assert found.n_pairs == len(same)
    assert found.n_units == (given.sum(axis=0) > 1).sum()
    assert found.same == pytest.approx(np.mean(same))
    assert found.shared == pytest.approx(np.mean(shared))


def test_people_who_guess_agree_by_chance_alone():
    rng = np.random.default_rng(1)
    judged = np.stack([one_hot(rng.integers(0, 4, 2000), 4) for _ in range(2)])
    found = agreement(judged, np.ones((2, 2000), bool), seed=0)
    assert found.by_chance == pytest.approx(0.25, abs=0.02)
    assert abs(found.kappa) < 0.05
    alike = agreement(np.stack([judged[0]] * 2), np.ones((2, 2000), bool), seed=0)
    assert alike.same == 1
    assert alike.kappa == 1


def test_nothing_judged_twice_has_no_agreement():
    judged, _ = people(p=2, n=4)
    found = agreement(judged, np.array([[True, True, False, False], [False, False, True, True]]), seed=0)
    assert found.n_pairs == 0
    assert np.isnan(found.same)
