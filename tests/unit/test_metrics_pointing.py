"""Shares of maps on what they should lie on: means, intervals and tests, by hand and by drawing one gene at a time."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon
from wherein.metrics.bootstrap import draw_clusters
from wherein.metrics.pointing import POINTING_COLUMNS, pointing_table


def rows_of(number=60, seed=0, classes=6):
    """Maps of some classes and genes; one in ten has no share, one class has no compartment."""
    rng = np.random.default_rng(seed)
    place = rng.integers(0, classes, number)
    rows = pd.DataFrame(
        {
            "kind": np.where(rng.random(number) < 0.7, "right", "missed"),
            "class": [f"C{k}" for k in place],
            "cluster": [f"G{k}" for k in rng.integers(0, 12, number)],
            "signal": np.where(rng.random(number) < 0.1, np.nan, 0.3 + 0.4 * rng.random(number)),
            "signal_even": 0.2 * rng.random(number),
            "compartment": rng.random(number),
            "compartment_even": rng.random(number) / 2,
            "compartment_cells": rng.random(number),
        }
    )
    rows.loc[rows["class"] == "C0", ["compartment", "compartment_even", "compartment_cells"]] = np.nan
    return rows


def test_means_by_hand():
    rows = rows_of()
    table = pointing_table(rows, 100, 0)
    assert table.columns.tolist() == POINTING_COLUMNS
    assert list(dict.fromkeys(table["kind"])) == list(dict.fromkeys(rows["kind"]))
    for kind, own in table.groupby("kind"):
        mine = rows[rows["kind"] == kind]
        first, rest = own.iloc[0], own.iloc[1:]
        assert first["class"] == ""
        assert (first["n"], first["n_genes"]) == (len(mine), mine["cluster"].nunique())
        both = mine.dropna(subset=["signal"])
        means = both.groupby("class")[["signal", "signal_even"]].mean()
        assert first["signal_n"] == len(both)
        # each class counts as much as any other
        assert first["signal"] == pytest.approx(means["signal"].mean())
        assert first["signal_even"] == pytest.approx(means["signal_even"].mean())
        assert first["signal_p"] == pytest.approx(
            wilcoxon(means["signal"], means["signal_even"], alternative="greater").pvalue
        )
        for row in rest.to_dict("records"):
            assert row["signal"] == pytest.approx(means["signal"][row["class"]])
            assert row["signal_n"] == (both["class"] == row["class"]).sum()
            assert np.isnan(row["signal_p"])
        without = rest[rest["class"] == "C0"].iloc[0]
        assert without["compartment_n"] == 0
        assert np.isnan(without[["compartment", "compartment_low", "compartment_even"]].astype(float)).all()
        known = mine.dropna(subset=["compartment"]).groupby("class")
        assert first["compartment_cells"] == pytest.approx(known["compartment_cells"].mean().mean())


def test_intervals_by_drawing_genes():
    rows = rows_of(200)
    table = pointing_table(rows, 300, 5).set_index(["kind", "class"])
    mine = rows[rows["kind"] == "right"].reset_index(drop=True)
    draws = draw_clusters(mine["cluster"].to_numpy(str), 300, 5)
    one, mean = [], []
    for weight in draws.weights:
        again = mine.loc[np.repeat(np.arange(len(mine)), weight[draws.cluster].astype(int))]
        by_class = again.dropna(subset=["signal"]).groupby("class")["signal"].mean()
        one.append(by_class.get("C3", np.nan))
        mean.append(by_class.mean())
    for name, values in (("C3", one), ("", mean)):
        row = table.loc[("right", name)]
        low, high = np.nanquantile(values, [0.025, 0.975]) - np.nanmean(values) + row["signal"]
        assert (row["signal_low"], row["signal_high"]) == pytest.approx((low, high))


def test_one_gene_has_no_interval():
    rows = rows_of(30).assign(cluster="G")
    table = pointing_table(rows, 100, 0)
    assert table["signal"].notna().any()
    assert table[["signal_low", "signal_high", "compartment_even_low"]].isna().all().all()


def test_no_map_at_all():
    assert pointing_table(rows_of().head(0), 100, 0).empty
    assert pointing_table(rows_of().head(0), 100, 0).columns.tolist() == POINTING_COLUMNS
