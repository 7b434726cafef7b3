import json

import numpy as np
import pandas as pd
import pytest
from wherein import tables
from wherein.labels import vocabulary
from wherein.models.ensemble import combined, embed_ensemble, fit, fit_ensemble, silences
from wherein.models.training_table import schema

CLASSES = list(vocabulary("yeast17").classes)


def told(seed, n=200, classes=3):
    """Truth, and what three members say: one good, one half as good, one that knows nothing."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, classes)) < 0.3
    sums = np.stack([strength * (2 * truth - 1) + rng.normal(size=truth.shape) for strength in (2.0, 0.7, 0.0)])
    return truth, (1 / (1 + np.exp(-sums))).astype(np.float32)


def loss(truth, probabilities):
    kept = np.clip(probabilities.astype(float), 1e-6, 1 - 1e-6)
    return -np.where(truth, np.log(kept), np.log1p(-kept)).mean()


def test_mean():
    _, said = told(0)
    np.testing.assert_allclose(combined(said, fit(said, None, "mean"), "mean"), said.mean(axis=0), rtol=1e-5)


def test_weights_are_those_of_the_least_loss():
    truth, said = told(1)
    weights = fit(said, truth, "weighted")
    assert weights.sum() == pytest.approx(1)
    assert weights.min() >= 0
    assert weights[0] > weights[1] > weights[2] - 1e-9
    best = loss(truth, combined(said, weights, "weighted"))
    steps = np.linspace(0, 1, 21)
    for one in steps:
        for two in steps[steps <= 1 - one + 1e-9]:
            other = combined(said, np.array([one, two, 1 - one - two]), "weighted")
            assert best <= loss(truth, other) + 1e-4


def test_stacking_learns_whom_to_believe():
    truth, said = told(2)
    fresh, heard = told(3)
    coefficients = fit(said, truth, "stacked")
    assert coefficients.shape == (3, 4)
    assert (coefficients[:, 0] > np.abs(coefficients[:, 2])).all()
    assert loss(fresh, combined(heard, coefficients, "stacked")) < loss(fresh, heard.mean(axis=0))


def test_a_class_without_an_example_takes_the_mean_of_the_logits():
    truth, said = told(4)
    truth[:, 1] = False
    coefficients = fit(said, truth, "stacked")
    np.testing.assert_allclose(coefficients[1], [1 / 3, 1 / 3, 1 / 3, 0])


def write(folder, combine, n=60):
    rng = np.random.default_rng(5)
    truth = rng.random((n, len(CLASSES))) < 0.3
    ids = [f"f{number}@v" for number in range(n)]
    rows = pd.DataFrame({"unit_id": ids, "field_id": [name[:-2] for name in ids], "version": "v"})
    part = np.where(np.arange(n) % 3 == 0, "validation", np.where(np.arange(n) % 3 == 1, "train", "test"))
    table = pd.concat([rows.assign(shard="s-0001", gene_group="G", fold=0, part=part, reagent="r", full_scale=1.0),
                       pd.DataFrame(truth, columns=CLASSES)], axis=1)  # fmt: skip
    known = {"classes": CLASSES, "vocabulary": "yeast17", "level": "field"}
    tables.write_table(folder / "table.parquet", table, schema(CLASSES), known)
    paths = {"embeddings": [], "predictions": []}
    for member, strength in (("one", 2.0), ("two", 0.5)):
        sums = strength * (2 * truth - 1) + rng.normal(size=truth.shape)
        metadata = {"dimensions": ["x", "y"], "roles": ["protein"], "normalization": "raw", "weights_sha256": member,
                    "parameters": 7}  # fmt: skip
        for what in paths:
            paths[what].append(str(folder / f"{member}-{what}.parquet"))
        tables.write_vectors(paths["embeddings"][-1], rows, rng.random((n, 2)), metadata)
        tables.write_predictions(
            paths["predictions"][-1], rows, pd.DataFrame(1 / (1 + np.exp(-sums)), columns=CLASSES), metadata
        )
    fit_ensemble(
        "both", str(folder / "table.parquet"), paths["predictions"], {"members": ["one", "two"], "combine": combine},
        str(folder / "combination.json"), str(folder / "card.md"),
        str(folder / "summary.json"),
    )  # fmt: skip
    embed_ensemble(
        "s-0001", "both", str(folder / "combination.json"), paths["embeddings"], paths["predictions"],
        str(folder / "e.parquet"), str(folder / "p.parquet"), str(folder / "s.json"),
    )  # fmt: skip
    return truth, part, paths


@pytest.mark.parametrize("combine", ["mean", "weighted", "stacked"])
def test_an_ensemble_says_what_its_members_do(tmp_path, combine):
    truth, part, paths = write(tmp_path, combine)
    known = json.loads((tmp_path / "combination.json").read_text())
    said = np.stack([tables.read_tables([path])[CLASSES].to_numpy() for path in paths["predictions"]])
    together = tables.read_tables([tmp_path / "p.parquet"])[CLASSES].to_numpy()
    np.testing.assert_allclose(together, combined(said, np.array(known["coefficients"]), combine), rtol=1e-5)
    assert tables.read_metadata(tmp_path / "p.parquet")["classes"] == CLASSES
    _, vectors = tables.read_vectors([tmp_path / "e.parquet"])
    apart = [tables.read_vectors([path])[1] for path in paths["embeddings"]]
    np.testing.assert_array_equal(vectors, np.concatenate(apart, axis=1))
    dimensions = tables.read_metadata(tmp_path / "e.parquet")["dimensions"]
    assert dimensions == ["one/x", "one/y", "two/x", "two/y"]
    assert tables.read_metadata(tmp_path / "e.parquet")["parameters"] == 14
    # only validation rows have a say: the fit is the same whatever the test rows are
    expected = fit(said[:, part == "validation"], truth[part == "validation"], combine)
    np.testing.assert_allclose(known["coefficients"], expected, rtol=1e-6)
    assert "one" in (tmp_path / "card.md").read_text()


def refit(folder, rows, combine="weighted"):
    """Put the two together again, where the second says something of some rows alone."""
    short = tables.read_tables([folder / "two-predictions.parquet"]).iloc[rows]
    tables.write_predictions(folder / "short.parquet", short[["unit_id", "field_id", "version"]], short[CLASSES])
    fit_ensemble(
        "both", str(folder / "table.parquet"), [str(folder / "one-predictions.parquet"), str(folder / "short.parquet")],
        {"members": ["one", "two"], "combine": combine}, *(str(folder / name) for name in "abc"),
    )  # fmt: skip
    return json.loads((folder / "a").read_text()), json.loads((folder / "c").read_text())


def test_a_row_of_which_a_member_says_nothing_does_not_count(tmp_path):
    truth, part, paths = write(tmp_path, "mean")
    known, summary = refit(tmp_path, slice(1, None))
    assert summary["counts"] == {"in": 20, "kept": 19, "member_silent": 1}
    assert summary["notes"] == ["1 of 20 validation rows were left out: two says nothing of 1 (of 20)"]
    said = np.stack([tables.read_tables([path])[CLASSES].to_numpy() for path in paths["predictions"]])
    rows = np.flatnonzero(part == "validation")[1:]
    np.testing.assert_allclose(known["coefficients"], fit(said[:, rows], truth[rows], "weighted"), rtol=1e-6)
    assert "19 of 20 validation rows" in (tmp_path / "b").read_text()


def test_rows_of_shards_that_not_all_members_see_are_told_apart():
    silent = np.array([[True, True, False, False], [True, True, True, False]])
    told = "two says nothing of 1, 2 lie in shards that not all members work on (of 4)"
    assert silences(["one", "two"], silent, 4) == told


def test_members_that_share_no_row_cannot_be_put_together(tmp_path):
    write(tmp_path, "mean")
    with pytest.raises(ValueError, match=r"two says nothing of 20 \(of 20\)"):
        refit(tmp_path, slice(1, 3))
