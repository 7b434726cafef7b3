import json

import numpy as np
import pandas as pd
import pytest
from wherein import tables
from wherein.analysis.leaks import (
    NEIGHBOUR_COLUMNS,
    batch_probe,
    by_source,
    has_partner,
    nearest_across,
    neighbour_probe,
    plate_guess,
    probe_leaks,
    sentences,
    standardized,
)
from wherein.labels import vocabulary
from wherein.models.statistics import Fields, write_fields

KINDS = ("Cytosol", "Nucleoplasm", "Vesicles", "Mitochondria")


def screen(genes=80, fields=2, plates=4, confounded=False, seed=0):
    """Fields of genes; each gene has one antibody, two cell lines, and so two samples, each on one plate."""
    rng = np.random.default_rng(seed)
    rows = []
    for gene in range(genes):
        kind = KINDS[gene % 4]
        for line in ("U2OS", "MCF7"):
            plate = KINDS.index(kind) if confounded else rng.integers(plates)
            rows += [
                {
                    "field_id": f"g{gene}{line}{k}",
                    "version": "v",
                    "sample": f"R{gene}/{line}",
                    "reagent": f"R{gene}",
                    "plate": f"P{plate}",
                    "cell_line": line,
                    "kind": kind.casefold(),
                    "gene_group": f"G{gene}",
                    "cluster": f"G{gene}",
                    "gene_fold": gene % 5,
                    "field_fold": k,
                }
                for k in range(fields)
            ]
    return pd.DataFrame(rows)


def seen(rows, seed=0, **weights):
    """Vectors that know what is named, as much as its weight says, beside noise."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(0, 1, (len(rows), 20))]
    for name, weight in weights.items():
        code = pd.factorize(rows[name])[0]
        parts.append(weight * rng.normal(0, 1, (code.max() + 1, 20))[code])
    return np.sum(parts, axis=0).astype(np.float32)


def probe(rows, means, deals=100):
    return neighbour_probe(rows, means, deals, 10_000, 0).set_index(["split", "attribute"])


def test_the_neighbour_probe_by_all_pairs():
    rows = screen(genes=20)
    means = seen(rows, kind=1.0, sample=0.8)
    found = probe(rows, means)
    vectors = standardized(means)
    for (split, attribute), told in found.iterrows():
        asked, right = 0, 0
        for query in range(len(rows)):
            others = [k for k in range(len(rows)) if rows[split][k] != rows[split][query]]
            if not any(rows[attribute][k] == rows[attribute][query] for k in others):
                continue
            best = max(others, key=lambda k: float(vectors[query] @ vectors[k]))
            asked, right = asked + 1, right + (rows[attribute][best] == rows[attribute][query])
        assert told["n_with_partner"] == asked
        if asked:
            assert told["found"] == right
            assert told["share"] == pytest.approx(right / asked)
        else:
            assert np.isnan(told["share"])


def test_no_sample_and_no_antibody_is_on_both_sides_of_the_gene_split():
    found = probe(screen(), seen(screen(), sample=3.0))
    assert found.loc[("gene_fold", "sample"), "n_with_partner"] == 0
    assert found.loc[("gene_fold", "reagent"), "n_with_partner"] == 0
    assert not found["alarm"].any()


def test_a_split_of_fields_leaks_the_sample():
    """The figure of the metric learning model of Ouyang et al. 2019, where fields of a sample lie on both sides."""
    rows = screen()
    found = probe(rows, seen(rows, kind=1.0, sample=2.0)).loc[("field_fold", "sample")]
    assert found["share"] > 0.8
    assert found["chance"] < 0.03
    assert found["chance_alike"] < 0.15
    assert found["p_alike"] < 0.02
    location = probe(rows, seen(rows, kind=2.0, cell_line=2.0)).loc[("field_fold", "sample")]
    assert location["p"] < 0.02, "fields of one location are found near each other"
    assert location["p_alike"] > 0.02, "but no nearer than others of that location"


def test_no_alarm_where_vectors_know_locations_alone():
    for seed in range(3):
        rows = screen(seed=seed)
        assert not probe(rows, seen(rows, seed=seed, kind=2.0))["alarm"].any()


def test_alarm_where_vectors_know_the_plate():
    rows = screen()
    found = probe(rows, seen(rows, kind=1.0, plate=2.0)).loc[("gene_fold", "plate")]
    assert found["alarm"]
    assert found["share"] > 0.6
    assert found["p_alike"] < 0.02


def test_alarm_on_confounded_plates():
    rows = screen(confounded=True)
    found = probe(rows, seen(rows, kind=2.0)).loc[("gene_fold", "plate")]
    assert found["alarm"]


def told(rows, confounded=False):
    truth = np.stack([rows["kind"] == kind.casefold() for kind in KINDS], axis=1)
    rng = np.random.default_rng(1)
    return truth, 0.5 * truth + rng.random(truth.shape), rows["gene_fold"].to_numpy(float)


def test_batch_probe_alarms_on_confounded_plates_only():
    for seed in range(3):
        rows = screen(seed=seed)
        found = batch_probe(rows, *told(rows), 100, 0)
        assert not found["alarm"]
        assert abs(found["plate_auc"] - found["chance"]) < 0.1
        assert found["n_classes_within"] == 4
        assert found["model_auc_within"] == pytest.approx(found["model_auc"], abs=0.05)
        mixed = screen(seed=seed, confounded=True)
        alarming = batch_probe(mixed, *told(mixed), 100, 0)
        assert alarming["alarm"]
        assert alarming["plate_auc"] == 1
        assert alarming["p"] < 0.02
        assert alarming["n_classes_within"] == 0
        assert alarming["model_auc_within"] is None
        (sentence,) = sentences(pd.DataFrame(columns=NEIGHBOUR_COLUMNS), alarming)
        assert "the plate alone tells the location" in sentence


def test_one_plate_tells_nothing():
    rows = screen(plates=1)
    found = batch_probe(rows, *told(rows), 100, 0)
    assert found["n_plates"] == 1
    assert found["plate_auc"] is None
    assert not found["alarm"]
    unknown = batch_probe(rows.assign(plate=None), *told(rows), 100, 0)
    assert unknown["n_plates"] == 0


def test_the_plates_guess_leaves_out_the_gene_itself():
    rng = np.random.default_rng(0)
    truth, plate, gene = rng.random((40, 3)) < 0.4, rng.integers(0, 3, 40), rng.integers(0, 6, 40)
    found = plate_guess(truth, plate, gene)
    for row in range(40):
        others = (plate == plate[row]) & (gene != gene[row])
        expected = truth[others].mean(axis=0) if others.any() else truth.mean(axis=0)
        np.testing.assert_allclose(found[row], expected)


def test_partners_by_counting():
    rng = np.random.default_rng(2)
    value, folds = rng.integers(-1, 12, 40), rng.integers(0, 3, 40)
    expected = [
        value[k] >= 0 and any(value[j] == value[k] and folds[j] != folds[k] for j in range(40)) for k in range(40)
    ]
    assert has_partner(value, folds).tolist() == expected
    assert not has_partner(np.full(3, -1), np.arange(3)).any()


def test_one_fold_has_no_other_side():
    vectors = standardized(np.random.default_rng(0).random((5, 3)))
    assert (nearest_across(vectors, np.zeros(5, int), np.arange(5)) == -1).all()


def test_standardized_features_bear_gaps_and_constants():
    means = np.array([[1.0, 5.0, np.nan], [2.0, 5.0, 3.0], [3.0, 5.0, 1.0]], np.float32)
    found = standardized(means)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    assert (found[:, 1] == 0).all()
    assert found[0, 2] == 0


def test_a_feature_that_varies_by_rounding_tells_nothing():
    means = np.random.default_rng(0).normal(size=(37, 3)).astype(np.float32)
    means[:, 1] = 0.1
    means[::2, 1] = np.nextafter(np.float32(0.1), np.float32(1))
    assert (standardized(means)[:, 1] == 0).all()


def test_two_sources_may_give_plates_and_samples_one_name():
    rows = pd.DataFrame({"field_id": list("abc"), "version": "v", "plate": ["1", "1", None], "sample": ["s", "s", "s"]})
    found = by_source(rows, rows.assign(source=["x", "y", "x"]))
    assert found["plate"].iloc[:2].tolist() == ["x/1", "y/1"]
    assert found["plate"].isna().tolist() == [False, False, True]
    assert found["sample"].tolist() == ["x/s", "y/s", "x/s"]


def test_a_run_is_probed_from_its_tables(tmp_path):
    rows = screen(genes=24, confounded=True)
    words = vocabulary("hpa19")
    catalog = rows.assign(labels=[[kind] for kind in rows["kind"]], control=False, retired_in=None)
    names = ["field_id", "version", "sample", "reagent", "plate", "cell_line", "labels", "control", "retired_in"]
    control = {**catalog.iloc[0].to_dict(), "field_id": "c", "control": True, "labels": []}
    catalog = pd.concat([catalog[names], pd.DataFrame([control])[names]], ignore_index=True)
    tables.write_table(tmp_path / "fields.parquet", catalog, tables.FIELDS)
    split = rows[["field_id", "version", "gene_group", "gene_fold", "field_fold"]]
    tables.write_table(tmp_path / "split.parquet", split, tables.SPLIT)
    units = pd.DataFrame({"unit_id": catalog["field_id"], "field_id": catalog["field_id"], "version": "v"})
    vectors = np.concatenate([seen(rows, kind=2.0), np.zeros((1, 20), np.float32)])
    tables.write_vectors(tmp_path / "e.parquet", units, vectors, {"dimensions": []})
    truth = words.indicator([[kind] for kind in rows["kind"]])
    about = rows.assign(unit_id=rows["field_id"], control=False, fold=rows["gene_fold"].astype(float))
    scored = Fields(about, truth, truth, truth * 0.9, about["fold"].to_numpy())
    write_fields(str(tmp_path / "scored.parquet"), scored, words, "m")
    probe_leaks(
        model="m",
        scored=str(tmp_path / "scored.parquet"),
        fields=str(tmp_path / "fields.parquet"),
        split=str(tmp_path / "split.parquet"),
        embeddings=[str(tmp_path / "e.parquet")],
        settings={"leak_deals": 100, "leak_queries": 1000, "seed": 0},
        neighbours=str(tmp_path / "neighbours.tsv"),
        leaks=str(tmp_path / "leaks.json"),
        summary=str(tmp_path / "summary.json"),
    )
    found = json.loads((tmp_path / "leaks.json").read_text())
    assert found["n_fields"] == len(rows)
    assert found["batch"]["alarm"]
    assert len(found["alarms"]) == 2
    table = pd.read_csv(tmp_path / "neighbours.tsv", sep="\t")
    assert table.columns.tolist() == NEIGHBOUR_COLUMNS
    assert json.loads((tmp_path / "summary.json").read_text())["notes"] == found["alarms"]


def test_nothing_to_probe():
    rows = screen(genes=4).iloc[:0]
    assert neighbour_probe(rows, np.zeros((0, 5)), 100, 10, 0)["n_fields"].tolist() == [0] * 6
