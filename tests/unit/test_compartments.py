import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from wherein.analysis.compartments import Pair, choose_pairs, compartment_tables, groups_of, log_ratio
from wherein.analysis.published_variation import auc_interval, compare_published, hanley_mcneil, published_of

A, B, AB = frozenset({"A"}), frozenset({"B"}), frozenset({"A", "B"})


def test_pairs_that_most_proteins_have():
    sets = [A, A, B, B, AB, AB, AB, frozenset({"A", "C"}), frozenset({"C"})]
    proteins = np.array([0, 1, 2, 3, 4, 5, 5, 6, 7])
    assert choose_pairs(sets, proteins, 2, 5) == [("A", "B")]
    assert choose_pairs(sets, proteins, 1, 1) == [("A", "B")]
    assert choose_pairs(sets, proteins, 1, 5) == [("A", "B"), ("A", "C")]
    assert choose_pairs(sets, proteins, 3, 5) == []
    assert groups_of(sets[:5] + sets[7:], Pair("B", "A")).tolist() == [
        "second",
        "second",
        "first",
        "first",
        "both",
        "",
        "",
    ]


def test_log_ratio_by_brute_force():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(40, 3))
    groups = rng.choice(["first", "second", "both", ""], 40).astype(object)
    proteins = rng.integers(0, 6, 40)
    found = log_ratio(scores, groups, proteins)
    for cell in range(40):
        if not groups[cell]:
            assert np.isnan(found[cell])
            continue
        others = proteins != proteins[cell]
        means = [scores[others & (groups == group)].mean(axis=0) for group in ("first", "second")]
        distances = [np.linalg.norm(scores[cell] - mean) for mean in means]
        assert found[cell] == pytest.approx(np.log(distances[0] / distances[1]))


def test_scores_of_proteins_between_two_compartments():
    rng = np.random.default_rng(1)
    rows, scores, sets = [], [], []
    planted = [(A, [0.0]), (A, [0.0]), (B, [6.0]), (B, [6.0]), (AB, [3.0]), (AB, [0.0, 6.0])]
    for protein, (own, places) in enumerate(planted):
        for cell in range(30):
            rows.append((f"f{protein}@v:{cell}", f"f{protein}", "v", f"G{protein}", "U2OS"))
            scores.append(rng.normal(size=4) + np.eye(4)[0] * places[cell % len(places)])
            sets.append(own)
    units = pd.DataFrame(rows, columns=["unit_id", "field_id", "version", "protein", "cell_line"])
    table, cells = compartment_tables(np.array(scores), units, sets, [Pair("A", "B")], 5)
    table = table.set_index("gene")
    assert table.index[0] == "G5", "cells in one or the other scatter most"
    assert table.loc["G5", "sd_ratio"] > 2 > table.loc["G4", "sd_ratio"]
    assert table.loc["G0", "mean"] < 0 < table.loc["G2", "mean"]
    assert table.loc["G4", "mean_z"] == pytest.approx(0, abs=0.2)
    assert table.loc[["G0", "G2"], "mean_z"].tolist() == pytest.approx([-1, 1], abs=0.3)
    assert len(cells) == 180
    assert table["labels"].value_counts().to_dict() == {"first": 2, "second": 2, "both": 2}
    none = compartment_tables(np.zeros((0, 4)), units.head(0), [], [], 5)
    assert [len(part) for part in none] == [0, 0]
    lonely = compartment_tables(np.array(scores)[:30], units.head(30), sets[:30], [Pair("A", "B")], 5)
    assert [len(part) for part in lonely] == [0, 0], "no cell of the second compartment to compare with"


def test_published_variation_beside_what_is_measured():
    fields = pd.DataFrame(
        {
            "field_id": [f"f{n}" for n in range(40)],
            "version": "v",
            "variation_spatial": [["Cytosol"] if n < 10 else [] for n in range(40)],
            "variation_intensity": [None] * 40,
            "cycle_dependent": [np.array(["Nucleoplasm"]) if n % 2 else np.array([]) for n in range(40)],
        }
    )
    names = [(f"G{n // 2}", f"f{n}", "v") for n in range(40)]
    told = published_of(fields, names)
    assert told.sum().to_dict() == {"variation_spatial": 5, "variation_intensity": 0, "cycle_dependent": 20}
    values = np.arange(20.0)[::-1]
    found = compare_published(pd.DataFrame({"z": values}, index=[f"G{n}" for n in range(20)]), told)
    assert found["published"].tolist() == ["variation_spatial"], "all or none of the proteins can't be compared"
    row = found.iloc[0]
    assert (row["n_with"], row["n_without"], row["auc"]) == (5, 15, 1.0)
    assert row["p"] == row["q"] < 0.01
    assert row["auc_low"] < 0.8, "five proteins leave some doubt"
    assert row["auc_high"] == 1
    assert hanley_mcneil(0.5, 30, 30) == pytest.approx(0.0753, abs=0.002)
    assert len(compare_published(pd.DataFrame({"z": []}), told)) == 0


@pytest.mark.parametrize("area", [0.5, 0.95])
def test_intervals_of_areas_hold_the_area(area):
    rng = np.random.default_rng(0)
    shift, held = norm.ppf(area) * np.sqrt(2), []
    for _ in range(600):
        auc = (rng.normal(shift, 1, 5)[:, None] > rng.normal(0, 1, 15)).mean()
        low, high = auc_interval(auc, 5, 15)
        assert 0 <= low <= auc <= high <= 1
        held.append(low <= area <= high)
    assert np.mean(held) >= 0.93
