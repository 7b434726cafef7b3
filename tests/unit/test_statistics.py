import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp
from scored_fields import WORDS, scored_fields
from sklearn.metrics import f1_score
from wherein.metrics import classification
from wherein.models.statistics import (
    GROUP_COLUMNS,
    INTERVALS,
    class_intervals,
    clusters,
    confusion_table,
    curve_table,
    group_table,
    group_tests,
    learned_from_table,
    learned_in_folds,
    read_fields,
    scorable,
    tuned_scores,
    write_fields,
)


@pytest.fixture(scope="module")
def fields():
    return scorable(*scored_fields())


def test_units_without_a_prediction_are_left_out():
    scored, catalog = scored_fields(20)
    scored.probabilities[3] = np.nan
    scored.labelled[4] = False
    found = scorable(scored, catalog)
    assert len(found.units) == len(found.truth) == 18
    assert not {"f3", "f4"} & set(found.units["field_id"])
    assert found.units["cell_line"].tolist()[:4] == ["U2OS", "MCF7", None, None]


def test_a_control_is_drawn_with_its_sample_and_a_protein_with_its_genes():
    units = pd.DataFrame(
        {
            "control": [False, True, True],
            "gene_group": ["A/B", "control", "control"],
            "sample": ["s", "secondary", None],
            "field_id": ["f", "g", "h"],
        }
    )
    assert clusters(units).tolist() == ["A/B", "control: secondary", "control: h"]


def test_intervals_lie_around_every_score(fields):
    sure = class_intervals(fields, 300, 0)
    assert list(sure.classes.columns) == INTERVALS
    points = classification.class_scores(fields.truth, fields.predicted)
    for name in ("precision", "recall", "f1"):
        known = points[name].notna()
        assert (sure.classes.loc[known, f"{name}_low"] <= points.loc[known, name]).all()
        assert (sure.classes.loc[known, f"{name}_high"] >= points.loc[known, name]).all()
        low, high = sure.means[f"macro_{name}"]
        assert low < classification.macro_scores(fields.truth, fields.predicted)[name] < high
    area = np.nanmean(classification.average_precision(fields.truth, fields.probabilities, fields.folds))
    low, high = sure.means["macro_average_precision"]
    assert low < area < high
    assert sure.classes.loc[6:, "f1_low"].isna().all(), "no field has these classes"


def test_nothing_scored_has_no_interval():
    scored, catalog = scored_fields(5)
    scored.labelled[:] = False
    found = scorable(scored, catalog)
    sure = class_intervals(found, 100, 0)
    assert sure.classes.isna().all().all()
    assert set(sure.means.values()) == {None}
    assert group_tests(found).empty
    assert curve_table(found, WORDS).empty
    assert group_table(found, None, WORDS, 100, 0)["n"].tolist() == [0, 0, 0]


def test_groups_are_scored_on_their_own(fields):
    table = group_table(fields, learned_in_folds(fields, WORDS), WORDS, 100, 0)
    assert table.columns.tolist() == GROUP_COLUMNS
    one = fields.truth.sum(axis=1) == 1
    means = table[table["class"] == ""].set_index(["group", "value"])
    assert list(means.index) == [
        ("all", ""),
        ("locations", "one"),
        ("locations", "several"),
        ("cell_line", "MCF7"),
        ("cell_line", "U2OS"),
    ]
    assert means.loc[("locations", "one"), "n"] == one.sum()
    expected = f1_score(fields.truth[one][:, :5], fields.predicted[one][:, :5], average="macro")
    assert means.loc[("locations", "one"), "f1"] == pytest.approx(expected)
    line = (fields.units["cell_line"] == "MCF7").to_numpy()
    own = table[(table["value"] == "MCF7") & (table["class"] != "")].set_index("class")
    per_class = f1_score(fields.truth[line][:, :5], fields.predicted[line][:, :5], average=None)
    np.testing.assert_allclose(own.loc[list(WORDS.classes[:5]), "f1"], per_class)


def test_training_counts_of_folds_are_the_mean_over_the_classifiers(fields):
    table = group_table(fields, learned_in_folds(fields, WORDS), WORDS, 100, 0)
    name = WORDS.classes[1]
    line = (fields.units["cell_line"] == "U2OS").to_numpy() & fields.truth[:, 1]
    counts = [(line & (fields.folds != fold)).sum() for fold in np.unique(fields.folds)]
    row = table[(table["value"] == "U2OS") & (table["class"] == name)]
    assert row["n_train"].item() == pytest.approx(np.mean(counts))
    elsewhere = scorable(*scored_fields(own=True))
    assert learned_in_folds(elsewhere, WORDS) is None
    assert group_table(elsewhere, None, WORDS, 100, 0)["n_train"].isna().all()


def test_training_counts_of_a_table_are_its_training_fields(fields):
    _, catalog = scored_fields()
    rows = fields.units[["field_id", "version"]].assign(part=["train", "validation", "test"] * 40)
    rows = pd.concat([rows, pd.DataFrame(fields.truth, columns=list(WORDS.classes))], axis=1)
    cells = pd.concat([rows, rows], ignore_index=True)  # two cells of each field
    learned = learned_from_table(cells, catalog, WORDS)
    table = group_table(fields, learned, WORDS, 100, 0)
    train = rows["part"] == "train"
    assert table.loc[table["group"] == "all", "n_train"].iloc[0] == train.sum()
    expected = (train & rows[WORDS.classes[0]]).sum()
    row = table[(table["group"] == "all") & (table["class"] == WORDS.classes[0])]
    assert row["n_train"].item() == expected


def test_group_tests_are_those_of_each_fields_own_f1(fields):
    table = group_tests(fields).set_index(["group", "value"])
    own = np.array(
        [
            2 * len(have & told) / (len(have) + len(told))
            for have, told in (
                (set(np.flatnonzero(a)), set(np.flatnonzero(b)))
                for a, b in zip(fields.truth, fields.predicted, strict=True)
            )
        ]
    )
    one = fields.truth.sum(axis=1) == 1
    row = table.loc[("locations", "one")]
    assert row["n"] == one.sum()
    assert row["n_other"] == (~one).sum()
    assert row["p"] == pytest.approx(ks_2samp(own[one], own[~one]).pvalue)
    assert row["f1"] == pytest.approx(own[one].mean())
    assert ("cell_line", "U2OS") in table.index


def test_confusion_is_of_fields_with_one_location(fields):
    table = confusion_table(fields.truth, fields.probabilities, WORDS)
    one = fields.truth.sum(axis=1) == 1
    assert table[list(WORDS.classes)].to_numpy().sum() == one.sum()
    assert set(table["class"]) == {WORDS.classes[k] for k in np.flatnonzero(fields.truth[one].any(axis=0))}
    blind = np.full_like(fields.probabilities, np.nan)
    assert confusion_table(fields.truth, blind, WORDS).empty


def test_tuned_scores_are_accuracies(fields):
    one = fields.truth.sum(axis=1) == 1
    told = tuned_scores(fields.truth, fields.probabilities, np.where(fields.truth, 0.9, 0.1))
    assert told["n_fields"] == one.sum()
    assert told["tuned_accuracy"] == told["tuned_macro_f1"] == 1
    top = fields.probabilities[one].argmax(axis=1)
    assert told["accuracy"] == pytest.approx((top == fields.truth[one].argmax(axis=1)).mean(), abs=1e-6)
    assert tuned_scores(fields.truth, fields.probabilities, np.full(fields.truth.shape, np.nan)) is None


def test_fields_are_read_as_they_were_written(fields, tmp_path):
    write_fields(str(tmp_path / "f.parquet"), fields, WORDS, "m")
    found, words = read_fields(str(tmp_path / "f.parquet"))
    assert words.name == "hpa19"
    np.testing.assert_array_equal(found.truth, fields.truth)
    np.testing.assert_array_equal(found.predicted, fields.predicted)
    np.testing.assert_allclose(found.probabilities, fields.probabilities)
    np.testing.assert_array_equal(found.folds, fields.folds)
    own = scorable(*scored_fields(own=True))
    write_fields(str(tmp_path / "own.parquet"), own, WORDS, "m")
    assert (read_fields(str(tmp_path / "own.parquet"))[0].folds == -1).all()
