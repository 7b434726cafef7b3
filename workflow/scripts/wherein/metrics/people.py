"""What people say of images: majority votes, how right they are, and how far they agree among themselves."""

from itertools import combinations
from typing import NamedTuple

import numpy as np

from wherein.metrics import classification

VOTES = 1000
"""Draws in which ties of a vote are decided by chance (Rumetshofer et al. 2019, Table 2)."""


class Vote(NamedTuple):
    """The majority of several people's single answers.

    Attributes:
        answers: (N,) int, the class most of them name; of tied classes one drawn by chance; -1 where nobody answered.
        accuracy: share of right answers, the mean over the draws; so are the following.
        precision, recall, f1: means over the classes.
    """

    answers: np.ndarray
    accuracy: float
    precision: float
    recall: float
    f1: float


def one_hot(answers: np.ndarray, classes: int) -> np.ndarray:
    """(N, K) bool of (N,) classes as numbers; a unit with -1 has none."""
    matrix = np.zeros((len(answers), classes), bool)
    given = answers >= 0
    matrix[np.flatnonzero(given), answers[given]] = True
    return matrix


def rightness(truth: np.ndarray, answers: np.ndarray, classes: int) -> dict[str, float]:
    """Accuracy, and precision, recall and F1 averaged over the classes that some unit has.

    Args:
        truth: (N,) int, the class of each unit.
        answers: (N,) int, the class named; -1 for none, which is wrong.
        classes: K.

    Returns:
        `accuracy`, `precision`, `recall`, `f1`.
    """
    if not len(truth):
        return dict.fromkeys(("accuracy", "precision", "recall", "f1"), float("nan"))
    told = classification.macro_scores(one_hot(truth, classes), one_hot(answers, classes))
    return {"accuracy": float((truth == answers).mean()), **told}


def majority(answers: np.ndarray, truth: np.ndarray, classes: int, seed: int, draws: int = VOTES) -> Vote:
    """The majority vote of several people, ties decided by chance in each of many draws.

    Args:
        answers: (P, N) int, the class that each person names; -1 where one gave no answer.
        truth: (N,) int.
        classes: K.
        seed: of the draws.
        draws: how often ties are drawn (1,000 in Rumetshofer et al. 2019, Table 2).

    Returns:
        Scores as means over the draws, and the answers of the first of them.
    """
    votes = np.stack([one_hot(own, classes) for own in answers]).sum(axis=0)
    top = votes == np.maximum(votes.max(axis=1, keepdims=True), 1)
    rng = np.random.default_rng(seed)
    first, found = None, []
    for _ in range(draws):
        # the largest of random numbers is equally often any of the tied
        lot = np.where(top, rng.random(top.shape), -1.0)
        given = np.where(top.any(axis=1), lot.argmax(axis=1), -1)
        first = given if first is None else first
        found.append(list(rightness(truth, given, classes).values()))
        if (top.sum(axis=1) <= 1).all():
            break
    mean = np.mean(found, axis=0)
    return Vote(first if first is not None else np.zeros(0, int), *(float(value) for value in mean))


class Agreement(NamedTuple):
    """How far people who saw the same units agree.

    Attributes:
        n_units: units that at least two people judged.
        n_pairs: pairs of judgements of one unit.
        same: share of pairs with exactly the same classes.
        shared: share of pairs with at least one class in common.
        by_chance: share of pairs that would be the same if each person's judgements were dealt anew over that
            person's units, the mean over the deals.
        kappa: (same - by_chance) / (1 - by_chance), as Cohen's; NaN where by_chance is 1.
    """

    n_units: int
    n_pairs: int
    same: float
    shared: float
    by_chance: float
    kappa: float


def agreement(judged: np.ndarray, given: np.ndarray, seed: int, deals: int = 200) -> Agreement:
    """Agreement of annotators over the units that several of them judged (Le et al. 2022, methods: 10 % of the cells,
    90 % of the labels consistent).

    Args:
        judged: (P, N, K) bool, the classes that each person gave each unit.
        given: (P, N) bool, whether the person judged the unit.
        seed: of the deals by which chance is measured.
        deals: how many.

    Returns:
        Figures over all pairs; NaN where no unit was judged twice.
    """
    same, shared = _alike(judged, given)
    n_units = int((given.sum(axis=0) > 1).sum())
    if not len(same):
        return Agreement(n_units, 0, *(float("nan"),) * 4)
    rng = np.random.default_rng(seed)
    chance = []
    for _ in range(deals):
        dealt = judged.copy()
        for person in range(len(judged)):
            own = np.flatnonzero(given[person])
            dealt[person, own] = judged[person, rng.permutation(own)]
        chance.append(_alike(dealt, given)[0].mean())
    expected = float(np.mean(chance))
    kappa = (same.mean() - expected) / (1 - expected) if expected < 1 else float("nan")
    return Agreement(n_units, len(same), float(same.mean()), float(shared.mean()), expected, float(kappa))


def _alike(judged: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every pair of judgements of one unit, whether they are the same, and whether they share a class."""
    same, shared = [np.zeros(0, bool)], [np.zeros(0, bool)]
    for a, b in combinations(range(len(judged)), 2):
        both = given[a] & given[b]
        same.append((judged[a, both] == judged[b, both]).all(axis=1))
        shared.append((judged[a, both] & judged[b, both]).any(axis=1))
    return np.concatenate(same), np.concatenate(shared)
