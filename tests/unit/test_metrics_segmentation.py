import itertools

import numpy as np
import pytest
from wherein.metrics.segmentation import (
    IOU_LEVELS,
    MATCH_IOU,
    Agreement,
    border_labels,
    compare,
    compare_points,
    match,
    overlaps,
    splits_and_merges,
)


def random_labels(seed, shape=(24, 30), n=6):
    rng = np.random.default_rng(seed)
    out = np.zeros(shape, np.uint32)
    for number in rng.permutation(np.arange(1, n + 1) * 50):
        y, x = rng.integers(0, shape[0] - 6), rng.integers(0, shape[1] - 6)
        out[y : y + rng.integers(3, 9), x : x + rng.integers(3, 9)] = number
    return out


def brute_iou(true, found):
    return {
        (a, b): ((true == a) & (found == b)).sum() / ((true == a) | (found == b)).sum()
        for a, b in itertools.product(np.unique(true[true > 0]), np.unique(found[found > 0]))
    }


def as_dict(pairs):
    return {
        (pairs.true_labels[t], pairs.found_labels[f]): iou
        for t, f, iou in zip(pairs.true, pairs.found, pairs.iou, strict=True)
    }


@pytest.mark.parametrize("seed", range(8))
def test_overlaps_are_those_of_brute_force(seed):
    true, found = random_labels(seed), random_labels(seed + 100)
    expected = {pair: iou for pair, iou in brute_iou(true, found).items() if iou > 0}
    assert as_dict(overlaps(true, found)) == pytest.approx(expected)


def test_overlaps_of_images_without_background_or_objects():
    ones, zeros = np.ones((3, 3), int), np.zeros((3, 3), int)
    assert as_dict(overlaps(ones, ones)) == {(1, 1): 1.0}
    assert as_dict(overlaps(ones, zeros)) == {}
    assert overlaps(ones, zeros).true_labels.tolist() == [1]
    assert overlaps(zeros, ones).found_labels.tolist() == [1]
    with pytest.raises(ValueError, match="of one shape"):
        overlaps(ones, np.ones((3, 4), int))


def best_by_brute_force(iou, threshold):
    """Most pairs, then the largest sum, over all one-to-one assignments."""
    good = [pair for pair, value in iou.items() if value >= threshold and value > 0]
    best = (0, 0.0)
    for size in range(len(good) + 1):
        for chosen in itertools.combinations(good, size):
            if len({a for a, _ in chosen}) == len({b for _, b in chosen}) == size:
                best = max(best, (size, sum(iou[pair] for pair in chosen)))
    return best


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.6])
def test_matching_is_the_best_one_to_one(seed, threshold):
    true, found = random_labels(seed, (14, 14), 5), random_labels(seed + 50, (14, 14), 5)
    pairs = overlaps(true, found)
    chosen = match(pairs, threshold)
    assert len(set(pairs.true[chosen])) == len(set(pairs.found[chosen])) == len(chosen)
    count, total = best_by_brute_force(brute_iou(true, found), threshold)
    assert len(chosen) == count
    assert pairs.iou[chosen].sum() == pytest.approx(total)


def test_more_pairs_outweigh_a_better_one():
    true, found = np.zeros((1, 40), int), np.zeros((1, 40), int)
    true[0, 0:10], true[0, 10:20] = 1, 2
    found[0, 4:14], found[0, 14:22] = 1, 2
    # found 1 overlaps both true ones; taking its best partner alone would lose nothing, its pairing must not either
    pairs = overlaps(true, found)
    assert len(match(pairs, 0.2)) == 2


def test_the_threshold_is_inclusive():
    true, found = np.zeros((1, 12), int), np.zeros((1, 12), int)
    true[0, 1:9], found[0, 3:11] = 1, 1
    assert len(match(overlaps(true, found), 0.6)) == 1
    assert len(match(overlaps(true, found), 0.601)) == 0


def boxes(*corners, shape=(30, 30)):
    out = np.zeros(shape, int)
    for number, (y0, x0, y1, x1) in enumerate(corners, start=1):
        out[y0:y1, x0:x1] = number
    return out


def test_counts_of_a_field_with_found_missed_and_false_objects():
    true = boxes((5, 5, 10, 10), (15, 5, 20, 10))
    found = boxes((5, 5, 10, 10), (15, 20, 20, 25))
    result = compare(true, found)
    assert (result.n_true, result.n_found, result.matched) == (2, 2, 1)
    assert (result.recall, result.precision, result.f1, result.false_share) == (0.5, 0.5, 0.5, 0.5)
    assert result.iou_mean == 1


def test_objects_cut_by_the_border_are_not_judged():
    inner = (10, 10, 15, 15)
    # a cut object that is found, one that is missed, and a false one at the border
    assert compare(boxes(inner, (0, 0, 5, 5)), boxes(inner, (0, 0, 5, 5))) == Agreement(1, 1, 1, 1.0)
    assert compare(boxes(inner, (0, 0, 5, 5)), boxes(inner)) == Agreement(1, 1, 1, 1.0)
    assert compare(boxes(inner), boxes(inner, (0, 0, 5, 5))) == Agreement(1, 1, 1, 1.0)
    # found a little short of the border: neither right nor false
    assert compare(boxes((0, 5, 10, 15)), boxes((1, 5, 10, 15))) == Agreement(0, 0, 0, 0.0)
    # an inner object whose outline was drawn to the border is still found
    assert compare(boxes((1, 5, 11, 15)), boxes((0, 5, 11, 15))).matched == 1


def test_scores_without_objects_are_nan_and_sums_add_up():
    nothing = Agreement()
    assert all(np.isnan(value) for value in (nothing.recall, nothing.precision, nothing.f1, nothing.iou_mean))
    assert Agreement(3, 2, 1, 0.7) + Agreement(1, 4, 1, 0.9) == Agreement(4, 6, 2, 1.6)
    assert Agreement(4, 6, 2).f1 == pytest.approx(2 * 0.5 * (1 / 3) / (0.5 + 1 / 3))


def test_border_labels():
    assert border_labels(boxes((0, 3, 4, 6), (10, 10, 12, 12), (20, 28, 22, 30))).tolist() == [1, 3]


def test_points_are_matched_one_to_one_within_the_distance():
    true = np.array([[0, 0], [0, 10], [50, 50]])
    found = np.array([[0, 5], [0, -4], [30, 30]])
    result = compare_points(true, found, 5)
    # (0, 5) could serve either; both are matched only if it serves the second
    assert (result.n_true, result.n_found, result.matched) == (3, 3, 2)
    assert compare_points(true, found, 4.9).matched == 1
    assert compare_points(np.zeros((0, 2)), found, 5).matched == 0
    assert compare_points(true, [], 5).n_found == 0


@pytest.mark.parametrize("seed", range(5))
def test_point_matching_is_the_largest_possible(seed):
    rng = np.random.default_rng(seed)
    true, found = rng.random((5, 2)) * 10, rng.random((5, 2)) * 10
    near = np.hypot(*(true[:, None] - found[None]).transpose(2, 0, 1)) <= 4
    best = max(sum(near[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(5)))
    assert compare_points(true, found, 4).matched == best


def test_scattered_labels_give_what_dense_ones_give():
    rng = np.random.default_rng(5)
    true, found = (rng.integers(0, 6, (20, 30), dtype=np.uint32) for _ in range(2))
    dense, scattered = overlaps(true, found), overlaps(true * 700_000_000, found)
    np.testing.assert_array_equal(dense.iou, scattered.iou)
    np.testing.assert_array_equal(scattered.true_labels, dense.true_labels * 700_000_000)


def brute_parts_and_sharing(true, found):
    """Parts of each true object, and how many true ones share the found one that it lies in, pixel by pixel."""
    trues, founds = np.unique(true[true > 0]), np.unique(found[found > 0])

    def inside(a, b):
        both = (a & b).sum()
        return both >= 0.5 * a.sum() and both >= 0.1 * b.sum()

    parts = [sum(bool(inside(found == f, true == t)) for f in founds) for t in trues]
    held = {f: sum(bool(inside(true == t, found == f)) for t in trues) for f in founds}
    sharing = [max((held[f] for f in founds if inside(true == t, found == f)), default=0) for t in trues]
    return parts, sharing


@pytest.mark.parametrize("seed", range(12))
def test_splits_and_merges_are_those_of_brute_force(seed):
    true, found = random_labels(seed, (18, 18), 7), random_labels(seed + 300, (18, 18), 9)
    if seed % 3 == 0:
        # cut one labelling into pieces of the other, so that there is something to be split and merged
        found = np.where(true > 0, true + np.arange(18)[:, None] // 3, 0)
    if seed % 3 == 1:
        found = np.where(true > 0, 1 + (true > 150), 0)
    parts, sharing = splits_and_merges(overlaps(true, found))
    assert (parts.tolist(), sharing.tolist()) == brute_parts_and_sharing(true, found)


def test_what_is_a_split_and_what_a_merge():
    whole, halves = boxes((5, 5, 15, 25)), boxes((5, 5, 15, 15), (5, 15, 15, 25))
    parts, sharing = splits_and_merges(overlaps(whole, halves))
    assert (parts.tolist(), sharing.tolist()) == ([2], [1])
    parts, sharing = splits_and_merges(overlaps(halves, whole))
    assert (parts.tolist(), sharing.tolist()) == ([1, 1], [2, 2])
    # a speck beside a good outline, and a sliver of a neighbour, are neither
    speck = boxes((5, 5, 15, 24), (8, 24, 12, 25))
    assert [array.tolist() for array in splits_and_merges(overlaps(whole, speck))] == [[1], [1]]
    assert [array.tolist() for array in splits_and_merges(overlaps(speck, whole))] == [[1, 0], [1, 0]]
    assert [array.size for array in splits_and_merges(overlaps(whole * 0, whole))] == [0, 0]
    # half of a cell without its nucleus at the border is no merge of its neighbour
    assert splits_and_merges(overlaps(halves, whole), np.array([False, True]))[1].tolist() == [1, 0]


def test_average_precision_counts_every_miss_and_every_false_one():
    assert Agreement(4, 3, 2).average_precision == pytest.approx(2 / (2 + 2 + 1))
    assert np.isnan(Agreement().average_precision)
    assert Agreement(0, 3, 0).average_precision == 0
    assert IOU_LEVELS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    assert MATCH_IOU in IOU_LEVELS
