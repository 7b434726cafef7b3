import json

import numpy as np
import pandas as pd
import pytest
from drawn_shard import LOCATIONS, PLACES, draw_shard
from wherein import tables
from wherein.embeddings import read_embeddings
from wherein.labels import vocabulary
from wherein.metrics.classification import macro_f1
from wherein.models import classifier
from wherein.models.embed import embed_shard
from wherein.models.evaluate import CLASS_COLUMNS, evaluate_model, over_fields, with_words
from wherein.models.labelled import indicator
from wherein.models.scored import Scored
from wherein.models.truth import drawn_labels
from wherein.settings import check_config
from wherein.split import split_run


def configured(model=None, **evaluation):
    config = {
        "sources": {"s": {"kind": "simulated"}},
        "models": {"m": model or {"kind": "classic"}},
        "evaluate": {"trees": 40, "leaf_cells": 1, **evaluation},
    }
    check_config(config)
    return config


def evaluate(tmp_path, shards, rows, config=None, truth=True, weights=None, relabelled=()):
    """Split, embed and evaluate drawn shards; gives what evaluate wrote."""
    config = config or configured()
    tables.write_table(tmp_path / "fields.parquet", pd.concat(rows, ignore_index=True), tables.FIELDS)
    common = {
        "fields": str(tmp_path / "fields.parquet"),
        "qc": [shard.path("qc") for shard in shards],
        "cells": [shard.path("cells") for shard in shards],
        "split": str(tmp_path / "split.parquet"),
    }
    split_run(**common, settings=config["split"], summary=str(tmp_path / "split.json"))
    for shard in shards:
        embed_shard(**shard.embed_arguments(config["models"]["m"], weights))
    evaluate_model(
        model="m",
        **common,
        embeddings=[shard.path("embeddings") for shard in shards],
        predictions=[shard.path("predictions") for shard in shards],
        truth=[str(tmp_path / "truth" / shard.name) for shard in shards] if truth else [],
        settings=config["models"]["m"],
        evaluation=config["evaluate"],
        relabelled=relabelled,
        threads=1,
        classes=str(tmp_path / "classes.tsv"),
        scores=str(tmp_path / "scores.json"),
        out_predictions=str(tmp_path / "out.parquet"),
        out_fields=str(tmp_path / "scored.parquet"),
        summary=str(tmp_path / "summary.json"),
    )
    return (
        pd.read_csv(tmp_path / "classes.tsv", sep="\t"),
        json.loads((tmp_path / "scores.json").read_text()),
        tables.read_tables([tmp_path / "out.parquet"]),
    )


def genes(n):
    return {f"G{k:02d}": list(LOCATIONS)[k % len(LOCATIONS)] for k in range(n)}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    known = {**genes(15), "NEW": None}
    shard, rows = draw_shard(folder, "s-0001", known, controls=5, mislabelled=("G03",))
    return evaluate(folder, [shard], [rows]), rows, folder


def test_the_forest_learns_what_is_drawn(scored):
    (classes, scores, _), _, _ = scored
    assert classes.columns.tolist() == CLASS_COLUMNS
    assert classes["class"].tolist() == 2 * list(vocabulary("hpa19").classes)
    assert scores["vocabulary"] == "hpa19"
    assert scores["n_units"] == (15 + 5) * len(PLACES)
    assert scores["n_fields"] == 20
    assert scores["n_genes"] == 15
    assert scores["n_classes"] == 4
    assert scores["macro_f1"] > 0.85
    assert scores["baseline_macro_f1"] < 0.3
    assert scores["fields"]["n_units"] == 20
    cells = classes[classes["level"] == "cell"].set_index("class")
    assert cells.loc["Negative", "f1"] > 0.9
    assert cells.loc["Mitochondria", ["precision", "recall", "f1", "auc"]].isna().all()


def test_scores_are_those_of_the_written_predictions(scored):
    (classes, _, predictions), rows, folder = scored
    known = predictions[predictions["fold"].notna()]
    names = list(vocabulary("hpa19").classes)
    assert tables.read_metadata(folder / "out.parquet") == {"model": "m", "vocabulary": "hpa19", "classes": names}
    together = known.merge(rows, on=["field_id", "version"])
    terms = [
        ["Negative"] if control else list(found)
        for found, control in zip(together["labels"], together["control"], strict=True)
    ]
    truth = vocabulary("hpa19").indicator(terms)
    values = together[names].to_numpy(float)
    table = classes[classes["level"] == "cell"].set_index("class")
    folds = together["fold"].to_numpy()
    for k, name in enumerate(names):
        if truth[:, k].any():
            have = truth[:, k]
            pairs = [
                (a > b) + 0.5 * (a == b)
                for fold in np.unique(folds)
                for a in values[(folds == fold) & have, k]
                for b in values[(folds == fold) & ~have, k]
            ]
            assert table.loc[name, "auc"] == pytest.approx(np.mean(pairs), abs=1e-6)
            assert table.loc[name, "n"] == have.sum()


def test_no_unit_is_predicted_by_a_classifier_that_saw_its_gene(tmp_path, monkeypatch):
    seen = []
    fit = classifier.fit

    def spy(vectors, truth, *rest):
        seen.append({tuple(vector) for vector in vectors})
        return fit(vectors, truth, *rest)

    monkeypatch.setattr(classifier, "fit", spy)
    shard, rows = draw_shard(tmp_path, "s-0001", genes(9))
    _, _, predictions = evaluate(tmp_path, [shard], [rows])
    units, vectors = tables.read_vectors([shard.path("embeddings")])
    assert predictions["unit_id"].tolist() == units["unit_id"].tolist()
    folds = sorted(predictions["fold"].unique())
    assert len(seen) == len(folds)
    for fold, trained in zip(folds, seen, strict=True):
        held_out = predictions["fold"] == fold
        assert not any(tuple(vector) in trained for vector in vectors[held_out])
        assert all(tuple(vector) in trained for vector in vectors[~held_out])


def test_units_without_a_label_are_predicted_and_not_scored(scored):
    (_, _, predictions), rows, _ = scored
    new = rows.loc[[list(found) == ["NEW"] for found in rows["genes"]], "field_id"].item()
    part = predictions[predictions["field_id"] == new]
    assert len(part) == len(PLACES)
    assert part["fold"].isna().all()
    assert (part["Cytosol"] > 0.5).all()


def test_truth_and_mislabelled_samples(scored):
    (_, scores, _), _, _ = scored
    truth = scores["truth"]
    assert truth["cell"]["n_units"] == (16 + 5) * len(PLACES)
    assert truth["cell"]["n_unmatched"] == 0
    assert truth["field"]["macro_f1"] > scores["fields"]["macro_f1"]
    assert truth["mislabelled"]["n_fields"] == 1
    assert truth["mislabelled"]["truth_preferred"] == 1
    assert truth["mislabelled"]["auc"] > 0.9


@pytest.mark.parametrize("number", [0, 1, 2])
def test_runs_too_small_to_train_are_tables_with_a_note(tmp_path, number):
    shard, rows = draw_shard(tmp_path, "s-0001", genes(number), fields_per_gene=2)
    if not number:
        rows = pd.DataFrame(columns=["field_id", "version", "labels", "control"])
    classes, scores, predictions = evaluate(tmp_path, [shard], [rows])
    assert len(classes) == 2 * 19
    assert classes["f1"].isna().all()
    assert scores["macro_f1"] is None
    assert scores["truth"]["mislabelled"]["auc"] is None
    assert len(predictions) == 2 * number * len(PLACES)
    assert scores["notes"]
    if number == 2:
        assert "the other folds have 1 gene groups with a known location, a classifier needs 2" in scores["notes"][0]
        assert classes.set_index(["level", "class"]).loc[("cell", "Cytosol"), "n"] == 2 * len(PLACES)


def test_published_predictions_are_scored_in_their_own_vocabulary(tmp_path):
    shard, rows = draw_shard(tmp_path, "s-0001", genes(6))
    config = configured({"kind": "gapnet-pl", "weights": "untrained", "level": "field"})
    # an untrained network is a set of vectors, on which a classifier is trained
    _, scores, predictions = evaluate(tmp_path, [shard], [rows], config)
    assert (scores["vocabulary"], scores["classifier"], scores["level"]) == ("hpa19", "random_forest", "field")
    units = predictions[["unit_id", "field_id", "version"]]
    words = vocabulary("gapnet13")
    values = pd.DataFrame(0.1, index=units.index, columns=list(words.classes))
    for place, labels in enumerate(rows["labels"]):
        values.loc[place, words.to_classes(labels)] = 0.9
    values.loc[0] = 0.1
    run = tmp_path / "own"
    run.mkdir()
    tables.write_predictions(
        run / "p.parquet", units, values, {"vocabulary": "gapnet13", "classes": list(words.classes)}
    )
    evaluate_model(
        model="m",
        fields=str(tmp_path / "fields.parquet"),
        split=str(tmp_path / "split.parquet"),
        qc=[shard.path("qc")],
        cells=[shard.path("cells")],
        embeddings=[shard.path("embeddings")],
        predictions=[str(run / "p.parquet")],
        truth=[],
        settings=config["models"]["m"],
        evaluation=config["evaluate"],
        relabelled=[],
        threads=1,
        classes=str(run / "classes.tsv"),
        scores=str(run / "scores.json"),
        out_predictions=str(run / "out.parquet"),
        out_fields=str(run / "scored.parquet"),
        summary=str(run / "summary.json"),
    )
    scores = json.loads((run / "scores.json").read_text())
    assert (scores["vocabulary"], scores["classifier"]) == ("gapnet13", None)
    assert scores["micro_f1"] == pytest.approx(2 * 5 / (6 + 5), abs=1e-6)
    assert scores["truth"] is None
    table = pd.read_csv(run / "classes.tsv", sep="\t")
    assert set(table["level"]) == {"field"}
    assert (table["threshold"] == 0.5).all()
    assert tables.read_tables([run / "out.parquet"])["fold"].isna().all()


def test_sources_with_other_roles_share_dimensions(tmp_path):
    four, first = draw_shard(tmp_path / "a", "a-0001", genes(3))
    two, second = draw_shard(tmp_path / "b", "b-0001", {"X": "Cytosol"}, roles=["nucleus", "protein"])
    config = configured()
    for shard in (four, two):
        embed_shard(**shard.embed_arguments(config["models"]["m"]))
    units, vectors, names, _, notes = read_embeddings([four.path("embeddings"), two.path("embeddings")])
    assert len(units) == len(vectors) == 4 * len(PLACES)
    assert "pearson_nucleus" in names
    assert "pearson_er" not in names
    assert notes == ["features that only some sources have were left out: pearson_er, pearson_microtubules"]
    own, _ = tables.read_vectors([two.path("embeddings")])
    assert units["unit_id"].tolist()[-len(PLACES) :] == own["unit_id"].tolist()
    assert len(first) + len(second) == 4


def test_logistic_regression_learns_too(tmp_path):
    shard, rows = draw_shard(tmp_path, "s-0001", genes(12))
    _, scores, _ = evaluate(tmp_path, [shard], [rows], configured(classifier="logistic_regression", threshold=0.5))
    assert scores["macro_f1"] > 0.85


def test_labels_that_mean_nothing_do_not_predict():
    # 40 genes with random labels: a classifier that peeked would score above chance
    rng = np.random.default_rng(0)
    n = 40
    units = pd.DataFrame({"field_id": np.repeat([f"f{k}" for k in range(n)], 5), "version": "v"})
    units["gene_group"] = units["field_id"]
    units["fold"] = np.repeat(np.arange(n) % 5, 5)
    centre = np.repeat(rng.normal(size=(n, 6)), 5, axis=0)
    vectors = (centre + 0.05 * rng.normal(size=centre.shape)).astype(np.float32)
    truth = np.repeat(rng.random((n, 2)) < 0.5, 5, axis=0)
    evaluation = configured()["evaluate"]
    found, _ = classifier.out_of_fold(vectors, truth, np.ones(len(units), bool), units, evaluation, 1)
    assert macro_f1(truth, found > 0.5) < 0.65
    found, _ = classifier.out_of_fold(
        vectors, truth, np.ones(len(units), bool), units.assign(fold=np.tile(np.arange(5), n)), evaluation, 1
    )
    assert macro_f1(truth, found > 0.5) > 0.95  # the same with cells of one gene on both sides


def test_a_class_of_one_gene_is_never_found_and_it_is_said(tmp_path):
    others = {f"G{k}": ("Cytosol", "Nuclear membrane")[k % 2] for k in range(8)}
    shard, rows = draw_shard(tmp_path, "s-0001", {**others, "X": "Nucleoplasm"})
    classes, scores, _ = evaluate(tmp_path, [shard], [rows])
    row = classes.set_index(["level", "class"]).loc[("cell", "Nucleoplasm")]
    assert (row["n"], row["recall"], row["f1"]) == (len(PLACES), 0, 0)
    # and no other unit is given it for want of a threshold
    assert row["n_predicted"] <= 3 * len(PLACES)
    assert any("cannot be learned" in note and note.endswith("never found: Nucleoplasm") for note in scores["notes"])


def test_draw_and_weights():
    units = pd.DataFrame({"field_id": ["a"] * 6 + ["b"] * 2, "version": "v"})
    drawn = classifier.draw(np.array([True] * 7 + [False]), units, 3, 0)
    assert len(drawn) == 4
    assert 6 in drawn
    np.testing.assert_array_equal(drawn, classifier.draw(np.array([True] * 7 + [False]), units, 3, 0))
    truth = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 0]], bool)
    np.testing.assert_allclose(classifier.sample_weights(truth), [5 / 6, 5 / 6, 5 / 6, 2.5, 1])


def test_classes_that_none_or_all_have():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 3)).astype(np.float32)
    vectors[0, 0] = np.nan
    truth = np.stack([np.zeros(30, bool), np.ones(30, bool), vectors[:, 1] > 0], axis=1)
    for kind in ("random_forest", "logistic_regression"):
        predict = classifier.fit(vectors, truth, configured(classifier=kind)["evaluate"], 1)
        found = predict(vectors)
        assert found.shape == (30, 3)
        assert (found[:, 0] == 0).all()
        assert (found[:, 1] == 1).all()
        assert ((found[:, 2] > 0.5) == truth[:, 2]).mean() > 0.9


def test_drawn_labels():
    nucleus, cell = np.zeros((10, 10), int), np.zeros((10, 10), int)
    nucleus[2:4, 2:4], cell[1:6, 1:6], cell[7:, 7:] = 3, 3, 5
    places = pd.DataFrame(
        {
            "y": [3.0, 8.4, 0.0, np.nan],
            "x": [3, 8, 9, np.nan],
            "nucleus_y": [2.6, np.nan, 9.9, np.nan],
            "nucleus_x": [2.6, np.nan, 9.9, np.nan],
        }
    )
    assert drawn_labels(places, nucleus, cell) == [3, 5, 5, 0]


def test_a_curators_words_on_cells_are_followed_and_strangers_told():
    units = pd.DataFrame({"unit_id": ["f@v:1", "f@v:2"], "labels": [["Cytosol"], ["Cytosol"]]})
    found, notes = with_words(units, [["f@v:2", "Nucleoli", "Vesicles"], ["g@v:1", "Nucleoli"]])
    assert [list(labels) for labels in found["labels"]] == [["Cytosol"], ["Nucleoli", "Vesicles"]]
    assert list(units["labels"].iloc[1]) == ["Cytosol"]
    assert notes[0].startswith("1 cells")
    assert "g@v:1" in notes[1]
    assert with_words(units, [])[1] == []


def test_a_curators_words_on_a_cell_are_not_its_fields():
    words = vocabulary("hpa19")
    units = pd.DataFrame({"unit_id": ["f@v:1", "f@v:2"], "field_id": "f", "version": "v", "control": False})
    units = units.assign(labels=[["Cytosol"], ["Cytosol"]], fold=np.nan)
    units, _ = with_words(units, [["f@v:1", "Nucleoli"]])
    evaluation = configured()["evaluate"]
    truth, labelled = indicator(units, words, evaluation["controls"])
    cells = Scored(units, truth, labelled, np.full(truth.shape, 0.5, np.float32), np.full(truth.shape, 0.5))
    fields = over_fields(cells, words, evaluation, own=True)
    assert [words.classes[k] for k in np.flatnonzero(truth[0])] == ["Nucleoli"]
    assert [words.classes[k] for k in np.flatnonzero(fields.truth[0])] == ["Cytosol"]
    assert fields.labelled.tolist() == [True]
