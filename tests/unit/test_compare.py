import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, ks_2samp, wilcoxon
from scored_fields import WORDS, scored_fields
from sklearn.metrics import f1_score
from wherein.analysis.compare import (
    LABEL_COLUMNS,
    MODEL_COLUMNS,
    PAIR_COLUMNS,
    TEST_COLUMNS,
    Evaluated,
    class_table,
    cost_of,
    families,
    group_test_table,
    how_trained,
    label_table,
    model_table,
    pair_table,
    shared,
    taken,
)
from wherein.models.statistics import class_intervals, group_table, group_tests, learned_in_folds, scorable


def evaluated(name, seed=0, rows=None, train=None, embed=None, classifier="random_forest", alarms=()):
    """A model with drawn predictions; all models see the same fields."""
    scored, catalog = scored_fields(n=120, genes=30)
    rng = np.random.default_rng(100 + seed)
    noise = rng.random(scored.truth.shape)
    scored = scored._replace(probabilities=np.clip((0.45 - 0.1 * seed) * scored.truth + noise * 0.6, 0, 1))
    fields = scorable(scored, catalog)
    fields = fields if rows is None else taken(fields, np.asarray(rows))
    sure = class_intervals(fields, 100, 0)
    f1 = f1_score(fields.truth[:, :5], fields.predicted[:, :5], average="macro")
    means = {f"macro_{key}": f1 for key in ("f1", "precision", "recall", "auc", "average_precision")}
    told = {"n_fields": len(fields.truth), "n_genes": 30, "n_classes": 5, "baseline_macro_f1": 0.1, **means}
    return Evaluated(
        name=name,
        settings={"kind": "classic", "level": "cell", "field_px": None, "tile_px": 64, "training": None},
        scores={"classifier": classifier, "fields": {**told, "intervals": sure.means}},
        groups=group_table(fields, learned_in_folds(fields, WORDS), WORDS, 100, 0).replace({"class": {"": None}}),
        fields=fields,
        words=WORDS,
        breakdown={"tuned": {"tuned_accuracy": 0.5}},
        alarms=list(alarms),
        n_described=len(fields.truth),
        n_units=10 * len(fields.truth),
        embed=embed or [],
        train=train or {},
    )


def folds_of(model, alone=()):
    """Two fields a sample in two folds, but for some that have no partner."""
    units = model.fields.units
    pairs = [f"S{k}" if k in alone else f"S{k // 2}" for k in range(len(units))]
    return units[["field_id", "version"]].assign(sample=pairs, field_fold=np.arange(len(units)) % 2)


def test_pairs_are_compared_on_the_fields_of_both():
    good, bad = evaluated("good"), evaluated("bad", seed=2, rows=range(20, 120))
    table = pair_table([good, bad], folds_of(good), 200, 0)
    assert table.columns.tolist() == PAIR_COLUMNS
    assert table[["model", "other"]].to_numpy().tolist() == [["good", "bad"], ["bad", "good"]]
    first = table.iloc[0]
    assert first["n_fields"] == 100
    a, b = (
        f1_score(part.truth[:, :5], part.predicted[:, :5], average=None) for part in shared(good.fields, bad.fields)
    )
    assert first["f1"] == pytest.approx(a.mean())
    assert first["difference"] == pytest.approx(a.mean() - b.mean())
    assert first["p"] == pytest.approx(wilcoxon(a, b, alternative="greater").pvalue)
    assert first["difference_low"] < first["difference"] < first["difference_high"]
    assert first["difference_low"] > 0
    assert table.iloc[1]["difference"] == pytest.approx(-first["difference"])


def test_corrected_and_broken_by_counting():
    good, bad = evaluated("good"), evaluated("bad", seed=1)
    folds = folds_of(good, alone=set(range(60)))
    row = pair_table([good, bad], folds, 100, 0).iloc[0]
    right, other = ((part.fields.predicted == part.fields.truth).all(axis=1) for part in (good, bad))
    assert row["corrected"] == (right & ~other).sum()
    assert row["broken"] == (~right & other).sum()
    assert row["corrected_with_partner"] == (right & ~other)[60:].sum()


def test_a_split_that_keeps_samples_together_has_partners_among_fields():
    good, bad = evaluated("good"), evaluated("bad", seed=1)
    folds = folds_of(good)
    folds["gene_fold"] = pd.factorize(folds["sample"])[0] % 3
    row = pair_table([good, bad], folds, 100, 0).iloc[0]
    assert 0 < row["corrected_with_partner"] == row["corrected"], "by the split of genes no field has a partner"


def test_other_vocabularies_and_other_fields_are_not_compared():
    one, other = evaluated("one", rows=range(10)), evaluated("other", rows=range(10, 30))
    assert pair_table([one, other], folds_of(evaluated("all")), 100, 0).empty
    assert pair_table([one], folds_of(one), 100, 0).empty


def test_the_best_model_stands_first_with_what_it_costs():
    embed = [
        {"seconds": 30.0, "counts": {"kept": 600}, "peak_mb": 500.0, "device": "cpu", "model": {"parameters": 7}},
        {"seconds": 30.0, "counts": {"kept": 600}, "peak_mb": 700.0, "peak_gpu_mb": 90.0, "device": "cpu"},
    ]
    train = {"parameters": 123, "epochs": 9, "seconds_per_epoch": 2.5, "device": "H100"}
    train |= {"peak_mb": 650.0, "peak_gpu_mb": 110.0}
    models = [evaluated("bad", seed=2), evaluated("good", train=train, embed=embed, alarms=["a leak"])]
    table = model_table(models)
    assert table.columns.tolist() == MODEL_COLUMNS
    assert table["model"].tolist() == ["good", "bad"]
    best = table.iloc[0]
    assert best["fields_per_second"] == pytest.approx(2.0), "1,200 cells of 120 fields in 60 s"
    assert best[["parameters", "epochs", "seconds_per_epoch"]].tolist() == [123, 9, 2.5]
    assert best[["peak_mb", "peak_gpu_mb", "alarms"]].tolist() == [700, 110, 1]
    assert best[["training_mb", "training_gpu_mb"]].tolist() == [650, 110]
    assert table.iloc[1][["training_mb", "training_gpu_mb"]].isna().all(), "nothing is trained"
    assert best["device"] == "H100, cpu"
    assert best["f1_low"] < best["f1"] < best["f1_high"]
    one = models[1].groups
    assert best["f1_one"] == one[(one["value"] == "one") & one["class"].isna()]["f1"].item()
    assert cost_of(evaluated("m"))["fields_per_second"] is None
    assert cost_of(evaluated("m", embed=embed))["parameters"] == 7


@pytest.mark.parametrize(
    ("told", "said"),
    [({"train": {"epochs": 1}}, "here"), ({"classifier": None}, "elsewhere"), ({}, "classifier")],
)
def test_where_locations_come_from(told, said):
    assert how_trained(evaluated("m", **told)) == said


def test_no_model_at_all_is_an_empty_table():
    assert model_table([]).columns.tolist() == MODEL_COLUMNS
    assert class_table([]).empty


def test_classes_of_all_models_by_cell_line():
    table = class_table([evaluated("a"), evaluated("b", seed=1)])
    assert set(table["model"]) == {"a", "b"}
    assert set(table["group"]) == {"all", "cell_line"}
    assert table["class"].notna().all()


def test_labels_of_the_data():
    truth = scored_fields()[0].truth
    table = label_table(truth, WORDS)
    assert table.columns.tolist() == LABEL_COLUMNS
    n = truth.sum(axis=1)
    several = table[(table["what"] == "cardinality") & (table["value"] == "2")]
    assert several["n"].item() == (n == 2).sum()
    assert several["share"].item() == pytest.approx((n == 2).mean())
    sets = table[table["what"] == "combination"]
    assert sets["n"].sum() == len(truth)
    assert pd.Series(sets["value"]).is_unique


def test_networks_that_differ_in_the_size_of_their_images_alone():
    def network(name, **words):
        training = {"epochs": 5, "batch": 8, "checkpoint_minutes": 10, **words.pop("training", {})}
        own = {"kind": "mil", "field_px": 512, "tile_px": 256, "pixel_size_um": None, "batch": 4, **words}
        return evaluated(name)._replace(settings={**own, "training": training})

    models = [
        evaluated("classic"),
        network("a"),
        network("b", tile_px=128, training={"batch": 32}),
        network("c", kind="vit", tile_px=128),
        network("d", field_px=1024, batch=2),
        network("e", training={"epochs": 6}),
        evaluated("classic2"),
    ]
    assert families(models) == [None, "a", "a", None, "a", None, None]


def test_groups_of_all_models_are_tested_together():
    models = [evaluated(name, seed) for name, seed in (("good", 0), ("middling", 1), ("bad", 2))]
    tests = {model.name: group_tests(model.fields) for model in models}
    table = model_table(models)
    found = group_test_table(tests, table)
    assert found.columns.tolist() == TEST_COLUMNS
    fields = found[found["of"] == "fields"]
    assert fields["model"].tolist() == [name for name, own in tests.items() for _ in range(len(own))]
    assert fields["q"].to_numpy() == pytest.approx(false_discovery_control(fields["p"].to_numpy(float)))
    last = found.iloc[-1]
    assert (last["of"], last["n"], last["n_other"]) == ("models", 3, 3)
    assert last["p"] == pytest.approx(ks_2samp(table["f1_one"], table["f1_several"]).pvalue)
    assert np.isnan(last["q"])
    assert group_test_table({"good": tests["good"]}, table.head(1))["of"].eq("fields").all()
    assert group_test_table({}, table.head(0)).columns.tolist() == TEST_COLUMNS
