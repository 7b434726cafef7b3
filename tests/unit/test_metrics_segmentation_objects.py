import numpy as np
import pandas as pd
import pytest
from wherein.metrics.segmentation import IOU_LEVELS, border_labels, compare
from wherein.metrics.segmentation_objects import (
    OBJECT_COLUMNS,
    SIZES,
    agreement,
    curve,
    object_table,
    scores,
    size_class,
    size_limits,
)


def blobs(seed, shape=(48, 61), n=9):
    """Rectangles that touch and are cut by the border."""
    rng = np.random.default_rng(seed)
    out = np.zeros(shape, np.uint32)
    for number in rng.permutation(np.arange(1, n + 1) * 7):
        y, x = rng.integers(-3, shape[0] - 4), rng.integers(-3, shape[1] - 4)
        out[max(y, 0) : y + rng.integers(6, 14), max(x, 0) : x + rng.integers(6, 14)] = number
    return out


def disturbed(true, seed):
    """The same objects shifted, some lost, some cut in two, some joined, some invented."""
    rng = np.random.default_rng(seed)
    found = np.roll(true, rng.integers(-2, 3, 2), (0, 1)).astype(np.int64)
    labels = np.unique(found[found > 0])
    found[found == labels[0]] = 0
    found[np.isin(found, labels[1:3])] = labels[1]
    lower = np.arange(true.shape[0])[:, None] > np.nonzero((found == labels[-1]).any(axis=1))[0].mean()
    found[(found == labels[-1]) & lower] = 500
    found[20:25, 30:36] = 600
    return found


def of_fields(pairs, pixel_size_um=1.0):
    tables = [
        object_table(true, found, pixel_size_um).assign(field_id=f"f{number}", version="v")
        for number, (true, found) in enumerate(pairs)
    ]
    return pd.concat(tables, ignore_index=True)


FIELDS = [(blobs(seed), disturbed(blobs(seed), seed + 50)) for seed in range(6)]


@pytest.mark.parametrize("level", IOU_LEVELS)
@pytest.mark.parametrize("seed", range(8))
def test_one_matching_serves_every_level(seed, level):
    true, found = blobs(seed), disturbed(blobs(seed), seed + 50)
    expected = compare(true, found, level)
    counted = agreement(object_table(true, found, 0.5), level)
    assert (counted.n_true, counted.n_found, counted.matched) == (expected.n_true, expected.n_found, expected.matched)
    assert counted.iou_sum == pytest.approx(expected.iou_sum)


def brute_counts(true, found, level):
    """True and false positives and misses, pair by pair: above one half no object fits two."""
    at_border_true, at_border_found = border_labels(true), border_labels(found)
    trues, founds = np.unique(true[true > 0]), np.unique(found[found > 0])
    fit = {
        (t, f)
        for t in trues
        for f in founds
        if ((true == t) & (found == f)).sum() / ((true == t) | (found == f)).sum() >= level
    }
    right = sum(t not in at_border_true for t, _ in fit)
    n_true = sum(t not in at_border_true for t in trues)
    false = sum(f not in at_border_found and f not in {g for _, g in fit} for f in founds)
    return n_true, right + false, right


@pytest.mark.parametrize("level", [0.55, 0.6, 0.75, 0.95])
def test_curve_and_scores_are_those_of_brute_force(level):
    counts = np.array([brute_counts(true, found, level) for true, found in FIELDS])
    n_true, n_found, right = counts.sum(axis=0)
    row = curve(of_fields(FIELDS)).set_index("iou").loc[level]
    assert (row["n_true"], row["n_found"], row["matched"]) == (n_true, n_found, right)
    assert row["recall"] == pytest.approx(right / n_true)
    assert row["precision"] == pytest.approx(right / n_found)
    assert row["f1"] == pytest.approx(2 * right / (n_true + n_found))
    assert row["average_precision"] == pytest.approx(right / (n_true + n_found - right))


def test_scores_over_fields():
    objects = of_fields(FIELDS)
    told = scores(objects)
    counts = np.array([brute_counts(true, found, 0.6) for true, found in FIELDS])
    assert told["n_true"] == counts[:, 0].sum()
    assert told["count_error"] == pytest.approx(np.abs(counts[:, 1] - counts[:, 0]).sum() / counts[:, 0].sum())
    assert told["count_bias"] == pytest.approx((counts[:, 1] - counts[:, 0]).sum() / counts[:, 0].sum())
    precisions = []
    for level in IOU_LEVELS[1:]:
        n_true, n_found, right = np.array([brute_counts(true, found, level) for true, found in FIELDS]).sum(axis=0)
        precisions.append(right / (n_true + n_found - right))
    lowest = agreement(objects, 0.5).average_precision
    assert told["average_precision"] == pytest.approx((sum(precisions) + lowest) / 10)
    judged = objects[(objects["true_label"] > 0) & ~objects["true_cut"]]
    assert told["n_split"] == (judged["parts"] > 1).sum() > 0
    assert told["n_merged"] == (judged["sharing"] > 1).sum() > 0
    assert told["split_share"] == told["n_split"] / told["n_true"]


def test_every_object_has_one_row():
    for true, found in FIELDS:
        table = object_table(true, found, 0.5)
        assert tuple(table.columns) == OBJECT_COLUMNS
        for name, image in (("true", true), ("found", found)):
            rows = table[table[f"{name}_label"] > 0]
            labels, sizes = np.unique(image[image > 0], return_counts=True)
            assert sorted(rows[f"{name}_label"]) == labels.tolist()
            assert rows.sort_values(f"{name}_label")[f"{name}_um2"].tolist() == pytest.approx(sizes * 0.25)
            cut = rows.loc[rows[f"{name}_cut"].astype(bool), f"{name}_label"]
            assert sorted(cut) == border_labels(image).tolist()
        unmatched = table[(table["true_label"] == 0) | (table["found_label"] == 0)]
        assert (unmatched["iou"] == 0).all()


def test_a_field_without_objects():
    nothing = np.zeros((9, 9), np.uint32)
    table = object_table(nothing, nothing, 1.0)
    assert len(table) == 0
    told = scores(table.assign(field_id="f", version="v"))
    assert told["n_true"] == told["n_found"] == told["n_split"] == 0
    assert np.isnan([told["f1"], told["count_error"], told["average_precision"]]).all()
    assert np.isnan(size_limits(table)).all()
    one = nothing.copy()
    one[3:6, 3:6] = 1
    assert scores(object_table(nothing, one, 1.0).assign(field_id="f", version="v"))["precision"] == 0
    assert scores(object_table(one, nothing, 1.0).assign(field_id="f", version="v"))["recall"] == 0
    with pytest.raises(ValueError, match="of one shape"):
        object_table(nothing, np.zeros((9, 8), int), 1.0)


def test_sizes_are_thirds_of_the_true_objects():
    objects = of_fields(FIELDS, 0.5)
    limits = size_limits(objects)
    judged = objects[(objects["true_label"] > 0) & ~objects["true_cut"]]
    areas = np.sort(judged["true_um2"])
    place = size_class(objects, limits)
    share = [(place[judged.index] == size).mean() for size in range(len(SIZES))]
    assert share == pytest.approx([1 / 3] * 3, abs=0.1)
    assert areas[0] < limits[0] <= limits[1] < areas[-1]
    # every row has a size, also a false outline, and the sums are the whole
    counted = [agreement(objects[place == size]) for size in range(3)]
    assert sum(counted[1:], counted[0]).n_found == agreement(objects).n_found
    assert sum(counted[1:], counted[0]).n_true == agreement(objects).n_true


def test_scattered_numbers_of_labels():
    true, found = FIELDS[0]
    dense = object_table(true, found, 1.0)
    far = object_table(true.astype(np.uint32) * np.uint32(50_000_000), found, 1.0)
    assert far["iou"].tolist() == pytest.approx(dense["iou"].tolist())
