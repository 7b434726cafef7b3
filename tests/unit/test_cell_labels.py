import json

import numpy as np
import pandas as pd
import pytest
from fake_embeddings import Run, settings
from scipy.stats import binom
from wherein.analysis.cell_labels import entropy, label_cells, told_classes
from wherein.analysis.exclusive import Call, Rates, estimate_rates, exclusive_p
from wherein.tables import write_predictions

CLASSES = ["Nucleoplasm", "Nucleoli", "Cytosol"]


def label(run, folder, probabilities, **over):
    paths = run.write()
    units = run.units()
    told = pd.DataFrame(np.array(probabilities, np.float32).reshape(len(units), -1), columns=CLASSES)
    said = {"vocabulary": "hpa19", "classes": CLASSES}
    write_predictions(folder / "predictions.parquet", units, told, said)
    samples = pd.DataFrame({"field_id": [], "version": [], "status": []}, dtype=str)
    samples.to_parquet(folder / "samples.parquet")
    label_cells(
        model="m",
        fields=paths["fields"],
        cells=paths["cells"],
        samples=folder / "samples.parquet",
        predictions=folder / "predictions.parquet",
        settings=settings("biology", **over),
        limits=folder / "negative.tsv",
        labels=folder / "cell_labels.tsv",
        exclusive=folder / "exclusive.tsv",
        summary=folder / "labels.json",
    )
    tables = [pd.read_csv(folder / f"{name}.tsv", sep="\t") for name in ("cell_labels", "exclusive")]
    return (*tables, json.loads((folder / "labels.json").read_text()))


def cells_of(run, gene, labels, kinds, **about):
    """A field whose cells show these classes; returns their probabilities."""
    run.add(gene, np.zeros((len(kinds), 2)), labels=labels, **about)
    return [[0.9 if name in kind else 0.1 for name in CLASSES] for kind in kinds]


def test_sets_of_labels_and_proteins_of_one_location_at_a_time(tmp_path):
    run = Run(tmp_path)
    told = []
    for number in range(6):
        told += cells_of(run, f"N{number}", ["Nucleoli"], [["Nucleoli"]] * 39 + [["Cytosol"]])
        told += cells_of(run, f"C{number}", ["Cytosol"], [["Cytosol"]] * 40)
        told += cells_of(run, f"B{number}", ["Nucleoli", "Cytosol"], [["Nucleoli", "Cytosol"]] * 38 + [["Cytosol"]] * 2)
    told += cells_of(run, "SWAP", ["Nucleoli", "Cytosol"], [["Nucleoli"]] * 20 + [["Cytosol"]] * 20)
    told += cells_of(run, "WRONG", ["Nucleoli", "Cytosol"], [["Nucleoli"]] * 39 + [["Cytosol"]])
    told += cells_of(run, "DIM", ["Nucleoli", "Cytosol"], [["Nucleoplasm"]] * 8 + [["Nucleoli", "Cytosol"]] * 2)
    told += cells_of(run, "FEW", ["Nucleoli", "Cytosol"], [["Nucleoli"], ["Cytosol"]])
    told += cells_of(run, None, [], [["Cytosol"]] * 6, control=True)
    labels, exclusive, summary = label(run, tmp_path, told)
    labels, exclusive = labels.set_index("gene"), exclusive.set_index("gene")
    assert labels.loc["SWAP", "label_sets"] == "Cytosol 20 | Nucleoli 20"
    assert labels.loc["SWAP", ["set_entropy", "label_entropy", "cells_as_image"]].tolist() == [1, 1, 0]
    assert labels.loc["DIM", "negative_share"] == 0.8
    assert labels.loc["DIM", "label_sets"] == "Negative 8 | Nucleoli;Cytosol 2"
    assert labels.loc["C0", "heterogeneous"] == np.False_
    assert labels.loc["N0", "label_sets"] == "Nucleoli 39 | Negative 1", "labels that the image has not are not given"
    assert "FEW" not in labels.index
    assert exclusive.index[0] == "SWAP"
    assert exclusive.loc["SWAP", "q"] < 0.01
    assert exclusive.loc[["SWAP", "WRONG"], "exclusive"].all()
    assert exclusive.loc["WRONG", "q"] > 0.05, "one mistaken cell in forty is what the model does anyway"
    assert not exclusive.loc["B0", "exclusive"]
    assert len(exclusive) == 9
    counts = summary["counts"]
    assert counts["control"] == 6
    assert counts["in"] == counts["kept"] + counts["control"]


def test_no_labels_of_cells_where_units_are_fields(tmp_path):
    run = Run(tmp_path, level="field")
    told = [cells_of(run, "A", ["Cytosol"], [["Cytosol"]])[0]]
    labels, exclusive, summary = label(run, tmp_path, told)
    assert len(labels) == len(exclusive) == 0
    assert any("describes fields" in note for note in summary["notes"])


def test_rules_of_labels():
    values = np.array([[0.5, 0.49, 0.0], [0.2, 0.13, 0.12], [0, 0, 0]])
    assert told_classes(values, "rounded").tolist() == [[True, False, False], [False] * 3, [False] * 3]
    assert told_classes(values, "row_maximum").tolist() == [[True, True, False], [True, True, False], [False] * 3]
    with pytest.raises(ValueError, match="rounded, row_maximum"):
        told_classes(values, "largest")
    assert entropy(np.array([2.0, 2, 0])) == 1


def test_rates_by_counting():
    rng = np.random.default_rng(0)
    image = np.repeat(np.eye(3, dtype=bool), 4000, axis=0)
    told = rng.random(image.shape) < np.where(image, 0.9, 0.05)
    both = np.tile([True, True, False], (2000, 1))
    seen = rng.random(both.shape) < 0.6
    samples = np.arange(14000) // 20
    rates = estimate_rates(np.concatenate([told, seen]), np.concatenate([image, both]), samples)
    assert np.diag(rates.told) == pytest.approx([0.9] * 3, abs=0.02)
    assert rates.told[0, 1] == pytest.approx(0.05 * 0.1, abs=0.004), "one class instead of another, not beside it"
    assert rates.both == pytest.approx(0.36 / 0.81, abs=0.04)
    assert rates.scatter < 0.02
    probabilities = rng.beta(9, 1, 600)
    drawn = np.zeros((12000, 3), bool)
    drawn[:, 0] = rng.random(12000) < np.repeat(probabilities, 20)
    scattered = estimate_rates(drawn, np.tile([True, False, False], (12000, 1)), np.arange(12000) // 20)
    assert scattered.scatter == pytest.approx(1 / 11, abs=0.03)
    assert np.isnan(scattered.told[1]).all()
    assert np.isnan(exclusive_p(Call(np.array([3, 3, 0]), 0, 6), [0, 1], scattered))


def test_p_is_the_largest_over_what_is_alike_in_all_cells():
    told = np.array([[0.9, 0.02], [0.03, 0.8]])
    rates = Rates(told, 0.5, 0.0)
    call = Call(np.array([10, 6]), 1, 20)
    expected = [binom.sf(5, 20, 0.02), binom.sf(9, 20, 0.03), binom.cdf(1, 20, 0.36)]
    assert exclusive_p(call, [0, 1], rates) == pytest.approx(max(expected))
    assert exclusive_p(call, [0, 1], rates._replace(scatter=0.2)) > exclusive_p(call, [0, 1], rates)


def test_a_location_that_nobody_knows_is_not_ruled_out():
    told = np.array([[0.9, 0.03, 0.02], [0.03, 0.9, 0.02], [np.nan, np.nan, np.nan]])
    rates = Rates(told, 0.8, 0.02)
    # of a protein in the third alone the model might tell now the first and now the second
    call = Call(np.array([14, 13, 0]), 0, 30)
    assert exclusive_p(call, [0, 1], rates) < 1e-3
    assert np.isnan(exclusive_p(call, [0, 1, 2], rates))
    rates.told[2] = [0.45, 0.45, 0.1]
    assert exclusive_p(call, [0, 1, 2], rates) > 0.05


def test_false_calls_are_few_where_every_cell_is_alike():
    rng = np.random.default_rng(4)
    rates = Rates(np.array([[0.9, 0.04], [0.04, 0.9]]), 0.8, 0.0)
    p = []
    for _ in range(600):
        if rng.random() < 0.5:
            kinds = rng.choice(4, 25, p=[0.9, 0.04, 0.0, 0.06])
        else:
            kinds = rng.choice(4, 25, p=[0.16, 0.16, 0.65, 0.03])
        counts = np.bincount(kinds, minlength=4)
        p.append(exclusive_p(Call(counts[:2], int(counts[2]), 25), [0, 1], rates))
    assert np.mean(np.array(p) <= 0.05) <= 0.06


def test_controls_set_what_is_negative(tmp_path):
    run = Run(tmp_path)
    told = []
    rng = np.random.default_rng(2)
    for number in range(4):
        run.add(None, np.zeros((30, 2)), control=True, labels=[], sample=f"c{number}")
        told += [[value, 0.1, 0.1] for value in rng.uniform(0.3, 0.6, 30)]
    run.add("A", np.zeros((6, 2)), labels=["Nucleoplasm"])
    told += [[0.9, 0.1, 0.1]] * 4 + [[0.55, 0.1, 0.1]] * 2
    run.add("B", np.zeros((6, 2)), labels=["Nucleoplasm"], source="b")
    told += [[0.55, 0.1, 0.1]] * 6
    rows, _, summary = label(run, tmp_path, told, min_cells=5)
    rows = rows.set_index("gene")
    limits = pd.read_csv(tmp_path / "negative.tsv", sep="\t").set_index("source")
    assert limits.loc["a", "limit"] == pytest.approx(np.percentile([row[0] for row in told[:120]], 99), abs=1e-6)
    assert limits.loc["a", "basis"] == "source"
    assert limits.loc["b", "basis"] == "none"
    # above 1/2, but no more certain than cells without any signal
    assert rows.loc["A", "label_sets"] == "Nucleoplasm 4 | Negative 2"
    assert rows.loc["B", "label_sets"] == "Nucleoplasm 6"
    assert summary["negative"] == {"cells": 12, "below_limit": 2}
    assert limits.loc["a", "held_out_cells"] == 120
    assert 0 < limits.loc["a", "held_out_share"] < 0.06
    assert any("of controls" in note and "%" in note for note in summary["notes"])
    # where controls say less than 1/2, a cell above them is somewhere
    low = [[row[0] / 4, 0.1, 0.1] for row in told[:120]] + [[0.9, 0.1, 0.1]] * 4 + [[0.3, 0.1, 0.1], [0.1, 0.3, 0.1]]
    found, _, _ = label(run, tmp_path, low + told[126:], min_cells=5)
    assert found.set_index("gene").loc["A", "label_sets"] == "Nucleoplasm 5 | Negative 1"
    off, _, summary = label(run, tmp_path, told, min_cells=5, negative={"percentile": None})
    assert off.set_index("gene").loc["A", "label_sets"] == "Nucleoplasm 6"
    assert any("percentile is null" in note for note in summary["notes"])
