"""Gene sets at the ends of rankings."""

import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from fake_embeddings import settings
from wherein.analysis.prerank import COLUMNS, enrich_rankings, preranked, rankings, read_spread
from wherein.analysis.tested import STATED
from wherein.settings import prerank_settings

SETTINGS = {"permutations": 200, "min_set_size": 5, "max_set_size": 40, "seed": 0}


def score(values, inside):
    """The running sum of Subramanian et al. 2005, weight 1, and its greatest deviation from zero."""
    order = np.argsort(-values, kind="stable")
    hit = np.isin(order, inside)
    step = np.where(hit, np.abs(values[order]), 0)
    walk = np.cumsum(step / step.sum()) - np.cumsum(~hit) / (~hit).sum()
    return walk[np.abs(walk).argmax()]


def test_scores_by_brute_force():
    rng = np.random.default_rng(0)
    values = pd.Series(rng.normal(size=80), [f"g{n}" for n in range(80)])
    members = [[f"g{n}" for n in rng.choice(80, size, replace=False)] for size in (6, 10, 25, 3, 60)]
    found = preranked(values, members, SETTINGS).set_index("set")
    assert sorted(found.index) == [0, 1, 2], "sets of 3 and 60 are too small and too large"
    for place, row in found.iterrows():
        own = [int(name[1:]) for name in members[place]]
        assert np.isclose(row["es"], score(values.to_numpy(), own), atol=1e-6)
        assert (row["K"], row["N"]) == (len(own), 80)
        assert set(row["leading"].split(";")) <= set(members[place])


def test_planted_set_is_found_at_its_end():
    rng = np.random.default_rng(1)
    values = pd.Series(rng.normal(size=100), [f"g{n}" for n in range(100)]).sort_values()
    members = [list(values.index[:8]), list(values.index[-8:]), *(list(rng.choice(values.index, 10)) for _ in range(5))]
    members = [list(dict.fromkeys(own)) for own in members]
    found = preranked(values, members, SETTINGS).set_index("set")
    assert found.loc[0, "nes"] < -1.5
    assert found.loc[1, "nes"] > 1.5
    assert found.loc[[0, 1], "p"].max() <= 0.01 + 1e-12
    assert found["p"].min() == pytest.approx(1 / 101)
    assert found.loc[[2, 3, 4], "p"].min() > 0.01


def test_p_counts_the_set_itself_among_the_random_ones(monkeypatch):
    import gseapy

    shares = [0.0, 0.01, 0.5, 1.0]
    names = [f"g{n}" for n in range(40)]

    def told(**given):
        table = pd.DataFrame({"Term": list(given["gene_sets"]), "NOM p-val": shares, "Lead_genes": ""})
        return type("Found", (), {"res2d": table.assign(**{"ES": 0.5, "NES": 1.0, "FDR q-val": 1.0})})

    monkeypatch.setattr(gseapy, "prerank", told)
    values = pd.Series(np.arange(40.0), names)
    found = preranked(values, [names[n : n + 6] for n in range(4)], SETTINGS)
    # 0, 1, 50 and 100 of a hundred on the same side are as far out
    assert found["p"].tolist() == pytest.approx([1 / 101, 2 / 101, 51 / 101, 1])


def test_names_that_a_gene_set_tool_would_change():
    values = pd.Series(np.arange(12.0), ["7157", "672", "C1orf112", "c1orf112", "x/y", *(f"n{n}" for n in range(7))])
    found = preranked(values, [["7157", "672", "C1orf112", "x/y", "c1orf112"]], SETTINGS)
    assert set(found["leading"][0].split(";")) <= {"7157", "672", "C1orf112", "x/y", "c1orf112"}
    assert found["K"][0] == 5


def test_rankings_of_a_run(tmp_path):
    scores = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    atlas = AnnData(np.zeros((3, 1), np.float32), obs=pd.DataFrame(index=["A", "B", "NA"]))
    atlas.obsm["X_pca"] = scores
    text = "gene\tcell_line\tn_cells\tspread_z\nA\tx\t10\t1\nA\ty\t30\t5\nNA\tx\t4\t2\nB\tx\t4\t\nZ\tx\t9\t1\n"
    (tmp_path / "heterogeneity.tsv").write_text(text)
    spread = read_spread(tmp_path / "heterogeneity.tsv")
    found = rankings(atlas, spread, {"leading": 5, "heterogeneity": True})
    assert list(found) == ["component 1", "differences from cell to cell"], "the second component is the same for all"
    assert found["differences from cell to cell"].to_dict() == {"A": 4.0, "NA": 2.0}
    assert list(rankings(atlas, spread, {"leading": 0, "heterogeneity": False})) == []


def test_threads_change_nothing():
    rng = np.random.default_rng(8)
    values = pd.Series(rng.normal(size=300), [f"G{n}" for n in range(300)])
    members = [[f"G{n}" for n in rng.choice(300, size, replace=False)] for size in (15, 30, 60)]
    own = {"permutations": 200, "min_set_size": 5, "max_set_size": 100, "seed": 3}
    pd.testing.assert_frame_equal(preranked(values, members, own, 3), preranked(values, members, own))


def run(tmp_path, gmt, **over):
    names = [f"G{n}" for n in range(40)]
    obs = pd.DataFrame({"genes": names, "ensembl_ids": ""}, index=names)
    atlas = AnnData(np.zeros((40, 1), np.float32), obs=obs)
    atlas.obsm["X_pca"] = np.random.default_rng(0).normal(size=(40, 3))
    atlas.write_h5ad(tmp_path / "proteins.h5ad")
    (tmp_path / "heterogeneity.tsv").write_text("gene\tcell_line\tn_cells\tspread_z\nG1\tx\t4\t\n")
    (tmp_path / "sets.gmt").write_text(gmt)
    own = settings("biology", gene_sets={"own": str(tmp_path / "sets.gmt")}, prerank=over)
    enrich_rankings(
        model="m",
        proteins=tmp_path / "proteins.h5ad",
        heterogeneity=tmp_path / "heterogeneity.tsv",
        settings=prerank_settings({"biology": own}),
        prerank=tmp_path / "prerank.tsv",
        summary=tmp_path / "summary.json",
        threads=2,
    )
    return pd.read_csv(tmp_path / "prerank.tsv", sep="\t"), json.loads((tmp_path / "summary.json").read_text())


def test_tables_and_summary(tmp_path):
    line = "\t".join(("set (GO:1)", "GO:1", *(f"G{n}" for n in range(10)))) + "\n"
    table, summary = run(tmp_path, line, permutations=100, min_set_size=5)
    assert list(table.columns) == [*COLUMNS, *STATED]
    assert table["ranking"].tolist() == ["component 1", "component 2", "component 3"] or len(table) == 3
    assert set(table["n_tests"]) == {3}
    assert (table["q"] >= table["p"] - 1e-9).all()
    assert summary["counts"]["kept"] == 3
    assert any("3 tests" in note for note in summary["notes"])
    table, summary = run(tmp_path, line, permutations=100)
    assert len(table) == 0
    assert any("no set has 15 proteins" in note for note in summary["notes"])
    assert len(run(tmp_path, line, min_set_size=30)[0]) == 0
