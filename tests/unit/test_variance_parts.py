import numpy as np
import pandas as pd
import pytest
from wherein.analysis.variance_parts import components, shares, variance_table


def drawn(seed, proteins=60, lines=3, antibodies=2, plates=8, cells=6, sizes=(4.0, 1.0, 0.5, 0.8, 0.3, 2.0)):
    """Crossed and unbalanced: each antibody of a protein in each line, on a plate by chance, two fields."""
    rng = np.random.default_rng(seed)
    rows = []
    for protein in range(proteins):
        for line in range(lines):
            for antibody in range(rng.integers(1, antibodies + 1)):
                plate = rng.integers(plates)
                for field in range(2):
                    rows += [(protein, line, antibody, plate, field)] * rng.integers(2, cells + 1)
    table = pd.DataFrame(rows, columns=["protein", "cell_line", "reagent", "plate", "field"]).astype(str)
    table["reagent"] = table["protein"] + "-" + table["reagent"]
    table["field_id"] = table["reagent"] + table["cell_line"] + table["field"]
    table["version"] = "v"
    scores = np.zeros((len(table), 5))
    for name, size in zip(("protein", "cell_line", "reagent", "plate", "field_id"), sizes, strict=False):
        codes = np.unique(table[name], return_inverse=True)[1]
        scores += np.sqrt(size / 5) * rng.normal(size=(codes.max() + 1, 5))[codes]
    return scores + np.sqrt(sizes[-1] / 5) * rng.normal(size=scores.shape), table.drop(columns="field")


def test_components_by_pairs_written_out():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(25, 2))
    factors = {"a": rng.integers(0, 4, 25), "b": rng.integers(0, 3, 25)}
    found, notes = components(scores, factors)
    centred = scores - scores.mean(axis=0)
    products, shared = [], []
    for first in range(25):
        for second in range(25):
            if first != second:
                products.append(centred[first] @ centred[second])
                shared.append([1, *(codes[first] == codes[second] for codes in factors.values())])
    expected = np.linalg.lstsq(np.array(shared, float), np.array(products), rcond=None)[0]
    assert [found["a"], found["b"]] == pytest.approx(expected[1:].tolist())
    assert found["cell"] == pytest.approx((centred**2).sum() / 25 - expected.sum())
    assert notes == {}


def test_planted_components_are_found():
    found = []
    for seed in range(6):
        scores, table = drawn(seed)
        rows = variance_table(scores, table)
        found.append(rows[rows["gene"].isna()].set_index("component")["variance"].astype(float))
    mean = pd.concat(found, axis=1).mean(axis=1)
    assert mean["protein"] == pytest.approx(4, rel=0.2)
    assert mean["antibody"] == pytest.approx(0.5, abs=0.25)
    assert mean["plate"] == pytest.approx(0.8, abs=0.4)
    assert mean["field"] == pytest.approx(0.3, abs=0.1)
    assert mean["cell"] == pytest.approx(2, rel=0.05)


def test_factors_that_tell_nothing_are_named():
    scores = np.random.default_rng(1).normal(size=(12, 2))
    pairs = np.repeat(np.arange(6), 2)
    factors = {"line": np.zeros(12, int), "plate": pairs, "field": pairs[::-1] * 7, "own": np.arange(12)}
    found, notes = components(scores, factors)
    assert set(found) == {"plate", "cell"}
    assert notes == {"line": "one level", "field": "the same as plate", "own": "no two cells on one level"}
    assert shares({"a": -1.0, "b": 3.0, "cell": 1.0}) == {"a": 0, "b": 0.75, "cell": 0.25}


def test_factors_that_nothing_tells_apart_get_no_variance():
    fields = np.repeat([0, 1, 2], 8)
    lines, antibodies, plates = (np.array(own)[fields] for own in ([0, 1, 0], [0, 1, 1], [0, 0, 1]))
    scores = np.random.default_rng(5).normal(size=(24, 3)) + np.array([0, 0, 5.0])[fields][:, None]
    factors = {"cell_line": lines, "antibody": antibodies, "plate": plates, "field": fields}
    # each two of the three fields share one factor, so that all answers of this sum explain the products as well
    pairs = np.array(
        [[1, *(own[i] == own[j] for own in factors.values())] for i in range(24) for j in range(24) if i != j]
    )
    assert np.linalg.matrix_rank(pairs) == 4
    found, notes = components(scores, factors)
    assert set(found) == {"cell_line", "antibody", "plate", "cell"}
    assert notes == {"field": "not told apart from those before"}
    centred = scores - scores.mean(axis=0)
    products = (centred @ centred.T)[~np.eye(24, dtype=bool)]
    expected = np.linalg.lstsq(pairs[:, :4].astype(float), products, rcond=None)[0]
    assert list(found.values())[:3] == pytest.approx(expected[1:].tolist())
    table = pd.DataFrame(
        {"protein": "A", "cell_line": lines, "reagent": antibodies, "plate": plates, "field_id": fields}
    )
    rows = variance_table(scores, table.assign(version="v")).set_index("component")
    assert np.isnan(rows.loc["field", "share"])
    assert rows.loc["field", "note"] == "not told apart from those before"


def test_table_of_run_and_proteins():
    scores, table = drawn(3)
    rows = variance_table(scores, table)
    whole = rows[rows["gene"].isna()]
    assert whole["component"].tolist() == ["protein", "cell_line", "antibody", "plate", "field", "cell"]
    assert whole["share"].sum() == pytest.approx(1)
    assert (whole["share_low"] <= whole["share"]).all()
    assert (whole["share"] <= whole["share_high"]).all()
    own = rows[rows["gene"] == "7"]
    assert own["component"].tolist() == ["cell_line", "antibody", "plate", "field", "cell"]
    assert own["share_low"].isna().all()
    assert len(variance_table(scores[:3], table.iloc[:3])) == 0
    assert len(variance_table(scores[:0], table.iloc[:0])) == 0
