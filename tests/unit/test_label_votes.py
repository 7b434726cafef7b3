import numpy as np
import pytest
from scipy.stats import kstest
from wherein.analysis.label_votes import ENOUGH, Votes, candidate_sets, dice, finding, vote_weights, whitened
from wherein.analysis.nearest import memberships, nearest_points


def sets(*rows, classes=4):
    found = np.zeros((len(rows), classes), bool)
    for row, labels in enumerate(rows):
        found[row, list(labels)] = True
    return found


def planted(number=240, share=0.08, seed=0, classes=6):
    """Points around their location's middle, a share of them with the labels of another location."""
    rng = np.random.default_rng(seed)
    place = rng.integers(0, classes, number)
    points = rng.normal(size=(classes, 12))[place] * 1.5 + rng.normal(size=(number, 12))
    wrong = rng.random(number) < share
    said = np.where(wrong, (place + rng.integers(1, classes, number)) % classes, place)
    return points, np.eye(classes, dtype=bool)[said], wrong


def votes_of(points, labels, count=15):
    near = nearest_points(points, count, "cosine", memberships([[n] for n in range(len(points))]))
    return Votes(labels, near.index, vote_weights(near.cosine, near.index))


def test_dice_by_hand():
    a = sets((0, 1), (2,), ())
    assert dice(a, sets((0,), (0, 1), ())) == pytest.approx(np.array([[2 / 3, 1, 0], [0, 0, 0], [0, 0, 0]]))


def test_candidates_are_single_labels_and_sets_that_several_carry():
    labels = sets((0, 1), (0, 1), (1, 2), (2,), ())
    assert [np.flatnonzero(row).tolist() for row in candidate_sets(labels)] == [[0], [1], [2], [0, 1]]


def test_support_by_hand():
    labels = sets((0,), (1,), (1,), (0, 1), (), (2,))
    index = np.array([[1, 2, 3], [0, 3, -1], [1, 3, -1], [0, 1, 2], [1, 2, 3], [-1, -1, -1]])
    weights = vote_weights(np.array([[0.5, 0.3, 0.2], [1, 1, 9], [1, 1, 9], [1, 1, 2], [1, -1, 0], [9, 9, 9]]), index)
    assert weights[1].tolist() == [0.5, 0.5, 0]
    # a neighbour that is unlike does not count
    assert weights[4].tolist() == [1, 0, 0]
    found = Votes(labels, index, weights).support()
    # of the first one's neighbours, two say {1} and one says {0, 1}
    assert found.annotated[0] == pytest.approx(0.2 * 2 / 3)
    assert found.suggested[0] == pytest.approx(0.8 + 0.2 * 2 / 3)
    assert found.score[0] == pytest.approx(0.8)
    assert found.best[0] == 1
    # nothing is annotated: there is a suggestion and no score
    assert found.best[4] == 1
    assert np.isnan(found.score[4])
    # nobody votes
    assert found.best[5] == -1
    assert np.isnan(found.suggested[5])


def test_what_is_wrong():
    told = [finding(sets(a)[0], sets(b)[0]) for a, b in
            (((0,), (0,)), ((0,), (0, 1)), ((0, 1), (1,)), ((0,), (1,)), ((0, 1), (1, 2)), ((), (1,)))]  # fmt: skip
    assert told == ["fits", "missing", "extra", "wrong", "partly", "no_label"]


def test_scores_of_deals_are_those_of_labels_dealt_by_hand():
    points, labels, _ = planted(60)
    labels[3] = False
    known = labels.any(axis=1)
    near = nearest_points(points, 8, "cosine", among=known)
    votes = Votes(labels, near.index, vote_weights(near.cosine, near.index))
    there, turn = np.flatnonzero(known), np.random.default_rng(1).permutation(int(known.sum()))
    dealt = votes.codes.copy()
    dealt[there] = votes.codes[there[turn]]
    place = np.full(len(labels), -1)
    place[there[turn]] = there
    rows = np.flatnonzero(votes.judged)
    found = votes._dealt(dealt, place, rows)
    for at, row in enumerate(rows):
        # the item keeps its set, and what it was given goes where its own went
        own = dealt.copy()
        own[place[row]], own[row] = dealt[row], votes.codes[row]
        assert sorted(own[known]) == sorted(votes.codes[known])
        heard = votes.sets[own[near.index[row]]]
        said = (votes.weights[row][:, None] * dice(heard, votes.candidates)).sum(axis=0).max()
        mine = (votes.weights[row] * dice(heard, labels[row : row + 1])[:, 0]).sum()
        assert found[at] == pytest.approx(max(0, said - mine), abs=1e-5)


def test_p_is_uniform_where_labels_are_random():
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        labels = np.eye(4, dtype=bool)[rng.integers(0, 4, 120)]
        labels[rng.random(120) < 0.3, 0] = True
        p, _ = votes_of(rng.normal(size=(120, 8)), labels).p_values(199, seed)
        found.append(p)
    p = np.concatenate(found)
    for level in (0.05, 0.1, 0.2, 0.4, 0.6):
        assert (p <= level).mean() == pytest.approx(level, abs=0.05)
    # p is never too small: items whose own set is supported best have a p of 1
    assert kstest(p, "uniform", alternative="greater").pvalue > 0.01


def test_planted_mistakes_are_found():
    points, labels, wrong = planted()
    votes = votes_of(whitened(points, 100), labels)
    found = votes.support()
    first = np.argsort(-found.score)[: wrong.sum()]
    assert wrong[first].mean() > 0.8
    p, deals = votes.p_values(400, 0)
    assert np.median(p[wrong]) < 0.02
    assert (p[~wrong] <= 0.05).mean() < 0.03
    # deals end early where chance does as much
    assert deals[wrong].max() == 400
    assert np.median(deals[~wrong]) < 2 * ENOUGH
    again, _ = votes.p_values(400, 0)
    assert (p == again).all()


@pytest.mark.parametrize("number", [0, 1])
def test_nobody_to_ask(number):
    votes = votes_of(np.ones((number, 3)), np.ones((number, 2), bool))
    assert np.isnan(votes.support().score).all()
    assert np.isnan(votes.p_values(10, 0)[0]).all()


def test_whitened_components_have_equal_variance():
    rng = np.random.default_rng(0)
    found = whitened(rng.normal(size=(80, 30)) * np.geomspace(1, 100, 30), 100)
    assert found.shape == (80, 20)
    assert np.allclose(found.std(axis=0), 1)
    assert whitened(np.ones((5, 3)), 10).shape == (5, 0)
