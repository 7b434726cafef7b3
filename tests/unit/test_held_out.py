"""Which units a trained model is scored on, and by which thresholds: on tables, and through the stage evaluate."""

import json

import numpy as np
import pandas as pd
import pytest
from wherein import tables
from wherein.labels import vocabulary
from wherein.models.evaluate import evaluate_model
from wherein.models.held_out import thresholds_of_fields, thresholds_of_units, unseen, validated
from wherein.models.thresholds import choose_thresholds, f1_thresholds
from wherein.models.training_table import schema
from wherein.settings import check_config

CLASSES = list(vocabulary("hpa19").classes)
USED = ["Nucleoplasm", "Cytosol", "Mitochondria", "Golgi apparatus"]
KEY = ["field_id", "version"]


def cells_of(rng, genes=30, fields=3, cells=5, tilt=0.0):
    """Cells with labels and what a model says, its probabilities too high or too low by `tilt`, class by class."""
    own = [CLASSES.index(USED[gene % len(USED)]) for gene in range(genes)]
    gene, field, _ = (part.ravel() for part in np.meshgrid(range(genes), range(fields), range(cells), indexing="ij"))
    truth = np.zeros((len(gene), len(CLASSES)), bool)
    truth[np.arange(len(gene)), np.array(own)[gene]] = True
    sums = 4 * truth - 2 + rng.normal(size=truth.shape) + tilt * np.linspace(-1, 1, len(CLASSES))
    ids = pd.DataFrame({"field_id": [f"f{g}.{f}" for g, f in zip(gene, field, strict=True)], "version": "v"})
    ids["unit_id"] = ids["field_id"] + "@v:" + (pd.Series(range(len(ids))) % cells + 1).astype(str)
    ids["gene_group"] = [f"G{g:02d}" for g in gene]
    ids["fold"] = gene % 5
    return ids, truth, (1 / (1 + np.exp(-sums))).astype(np.float32)


def write_training(path, ids, truth, **known):
    """A training table: fold 0 to test, fold 1 to validate."""
    part = np.select([ids["fold"] == 0, ids["fold"] == 1], ["test", "validation"], "train")
    rows = ids.assign(shard="s-0001", part=part, reagent="r", full_scale=1.0)
    table = pd.concat([rows, pd.DataFrame(truth, columns=CLASSES)], axis=1)
    tables.write_table(path, table, schema(CLASSES), {"classes": CLASSES, "test_fold": 0, **known})
    return str(path)


def write_predictions(path, ids, said):
    metadata = {"vocabulary": "hpa19", "classes": CLASSES, "level": "cell"}
    tables.write_predictions(path, ids[["unit_id", *KEY]], pd.DataFrame(said, columns=CLASSES), metadata)
    return str(path)


@pytest.fixture
def told(tmp_path):
    ids, truth, said = cells_of(np.random.default_rng(0), tilt=3.0)
    return tmp_path, ids, truth, said, write_training(tmp_path / "t.parquet", ids, truth)


def test_thresholds_are_chosen_on_stored_predictions_of_validation_rows(told):
    folder, ids, truth, said, table = told
    rows = (ids["fold"] == 1).to_numpy()
    scrambled = said.copy()
    scrambled[~rows] = np.random.default_rng(1).random((int((~rows).sum()), len(CLASSES)))
    found, notes = validated(
        [table], [write_predictions(folder / "p.parquet", ids, scrambled)], CLASSES, "validation_f1"
    )
    np.testing.assert_array_equal(found.truth, truth[rows])
    np.testing.assert_array_equal(found.scores, said[rows])
    assert notes == [f"thresholds were chosen on {rows.sum()} units of the validation rows"]
    learned = (ids["fold"] > 1).to_numpy()
    for which in ("validation_f1", "label_ratio", 0.4):
        weights = np.full(int(rows.sum()), 1 / 5)
        wanted = choose_thresholds(which, truth[learned], truth[rows], said[rows], weights)
        np.testing.assert_array_equal(thresholds_of_units(found, which), wanted)
        # a field's probability is the mean of its cells'
        own = pd.concat([ids[["field_id"]], pd.DataFrame(said), pd.DataFrame(truth).add_prefix("t")], axis=1)
        means = own[rows].groupby("field_id").mean(numeric_only=True).to_numpy()
        labels = own[learned].groupby("field_id").mean(numeric_only=True).to_numpy()[:, len(CLASSES) :] > 0
        wanted = choose_thresholds(which, labels, means[:, len(CLASSES) :] > 0, means[:, : len(CLASSES)])
        np.testing.assert_allclose(thresholds_of_fields(found, which), wanted, rtol=1e-6)


def test_thresholds_are_chosen_on_stored_predictions_of_training_rows(told):
    folder, ids, truth, said, table = told
    learned = (ids["fold"] > 1).to_numpy()
    scrambled = said.copy()
    scrambled[~learned] = np.random.default_rng(1).random((int((~learned).sum()), len(CLASSES)))
    # of two cells of one field, and of all of another, nothing is known
    silent = np.flatnonzero(learned)[[0, 1, *range(5, 10)]]
    scrambled[silent] = np.nan
    heard = learned.copy()
    heard[silent] = False
    path = write_predictions(folder / "p.parquet", ids, scrambled)
    found, notes = validated([table], [path], CLASSES, "train_f1")
    assert notes == [
        f"thresholds were chosen on {heard.sum()} units of the training rows",
        f"the model says nothing of 7 of {learned.sum()} training rows",
    ]
    cells = ids["field_id"][heard].groupby(ids["field_id"]).transform("size").to_numpy()
    wanted = f1_thresholds(truth[heard], said[heard], 1 / cells)
    np.testing.assert_array_equal(thresholds_of_units(found, "train_f1"), wanted)
    fields = ids["field_id"].to_numpy()
    names = np.unique(fields[heard])
    means = np.array([said[heard & (fields == name)].astype(float).mean(axis=0) for name in names])
    labels = np.array([truth[heard & (fields == name)].any(axis=0) for name in names])
    np.testing.assert_allclose(thresholds_of_fields(found, "train_f1"), f1_thresholds(labels, means), rtol=1e-6)
    assert not np.allclose(thresholds_of_units(found, "train_f1"), thresholds_of_units(found, "validation_f1"), 1e-2)


def test_validation_rows_that_are_not_there_are_counted(told):
    folder, ids, _, said, table = told
    rows = np.flatnonzero(ids["fold"] == 1)
    keep = np.setdiff1d(np.arange(len(ids)), rows[:4])
    said[rows[5]] = np.nan
    path = write_predictions(folder / "p.parquet", ids.iloc[keep].reset_index(drop=True), said[keep])
    found, notes = validated([table], [path], CLASSES, "validation_f1")
    assert len(found.scores) == len(rows) - 5
    assert notes[1] == f"the model says nothing of 5 of {len(rows)} validation rows"


def test_rows_that_a_start_was_trained_on_choose_no_thresholds(told):
    folder, ids, truth, said, table = told
    # the start was trained when G01 lay in another fold
    other = ids.assign(fold=ids["fold"].where(ids["gene_group"] != "G01", 3))
    start = write_training(folder / "start.parquet", other, truth)
    path = write_predictions(folder / "p.parquet", ids, said)
    found, notes = validated([table, start], [path], CLASSES, "validation_f1")
    assert not any(field.startswith("f1.") for field in found.fields)
    assert len(found.fields) == (ids["fold"] == 1).sum() - 15
    assert notes[1] == "15 validation rows are no such to a model that this one learned from"


def test_genes_that_a_start_or_teacher_saw_are_not_scored(told):
    folder, ids, truth, _, table = told
    # the teacher had G05, of the test fold, to train on, and chose its epoch by G10
    fold = ids["fold"].where(ids["gene_group"] != "G05", 2).where(ids["gene_group"] != "G10", 1)
    teacher = write_training(folder / "teacher.parquet", ids.assign(fold=fold), truth)
    alone, _ = unseen(ids, [table])
    both, notes = unseen(ids, [table, teacher])
    np.testing.assert_array_equal(alone, ids["fold"] == 0)
    np.testing.assert_array_equal(both, alone & ~ids["gene_group"].isin(["G05", "G10"]))
    assert f"scored on {both.sum()} units" in notes[0]


def score(folder, ids, truth, said, training, elsewhere=(), **model):
    """Through the stage evaluate, for a model of cells that was trained here."""
    config = {"sources": {"s": {"kind": "simulated"}}, "evaluate": {"draws": 100},
              "models": {"m": {"kind": "gapnet-pl", "level": "cell", "training": {}, **model}}}  # fmt: skip
    check_config(config)
    fields = ids[[*KEY, "gene_group", "fold"]].drop_duplicates()
    labels = [[CLASSES[k] for k in np.flatnonzero(truth[row])] for row in fields.index]
    catalog = fields[KEY].assign(labels=labels, control=False, source="s", shard="s-0001", sample=fields["gene_group"])
    tables.write_table(folder / "fields.parquet", catalog, tables.FIELDS)
    split = fields.rename(columns={"fold": "gene_fold"}).assign(field_fold=0, phash=None)
    tables.write_table(folder / "split.parquet", split, tables.SPLIT)
    vectors = {"dimensions": ["x"], "roles": ["protein"], "model": "m", "level": "cell"}
    tables.write_vectors(folder / "e.parquet", ids[["unit_id", *KEY]], np.ones((len(ids), 1), np.float32), vectors)
    evaluate_model(
        "m", str(folder / "fields.parquet"), str(folder / "split.parquet"), [], [], [str(folder / "e.parquet")],
        [write_predictions(folder / "p.parquet", ids, said)], [], config["models"]["m"], config["evaluate"], [], 1,
        *(str(folder / name) for name in ("classes.tsv", "scores.json", "out.parquet", "scored.parquet", "s.json")),
        training=training, elsewhere=elsewhere,
    )  # fmt: skip
    classes = pd.read_csv(folder / "classes.tsv", sep="\t").set_index(["level", "class"])["threshold"]
    return classes, json.loads((folder / "scores.json").read_text())


def test_cells_and_fields_have_thresholds_of_their_own(told):
    folder, ids, truth, said, table = told
    thresholds, scores = score(folder, ids, truth, said, [table])
    found, _ = validated([table], [str(folder / "p.parquet")], CLASSES, "validation_f1")
    for level, chosen in (("cell", thresholds_of_units), ("field", thresholds_of_fields)):
        np.testing.assert_allclose(thresholds.loc[level, CLASSES], chosen(found, "validation_f1"), rtol=1e-6)
    assert abs(thresholds["cell"] - thresholds["field"]).max() > 0.05
    assert any("which training never saw" in note for note in scores["notes"])
    fixed, lower = score(folder, ids, truth, said, [table], threshold=0.3)
    assert (fixed == 0.3).all()
    learned, scores_so = score(folder, ids, truth, said, [table], threshold="train_f1")
    found, notes = validated([table], [str(folder / "p.parquet")], CLASSES, "train_f1")
    np.testing.assert_allclose(learned.loc["field", CLASSES], thresholds_of_fields(found, "train_f1"), rtol=1e-6)
    assert notes[0] in scores_so["notes"]
    assert scores["macro_f1"] > lower["macro_f1"]
    assert scores["fields"]["macro_f1"] > lower["fields"]["macro_f1"]


def test_what_predicts_more_by_more_tiles_gets_higher_thresholds(told):
    # the highest of nine tiles in place of their mean: as many cells of each class are predicted as have it
    folder, ids, truth, said, table = told
    rng = np.random.default_rng(3)
    most = (said[None] ** rng.uniform(0.2, 1, (9, *said.shape))).max(axis=0)
    shares = []
    for probabilities in (said, most):
        thresholds, _ = score(folder, ids, truth, probabilities, [table], threshold="label_ratio")
        test = (ids["fold"] == 0).to_numpy()
        used = [CLASSES.index(name) for name in USED]
        shares.append((probabilities[test][:, used] >= thresholds["cell"][USED].to_numpy()).mean())
    assert shares[0] == pytest.approx(shares[1], abs=0.05)


def test_weights_from_elsewhere_are_named(told):
    folder, ids, truth, said, table = told
    _, scores = score(folder, ids, truth, said, [table], elsewhere=["other.pt"])
    assert any(note.startswith("training began from other.pt: which of these proteins") for note in scores["notes"])
