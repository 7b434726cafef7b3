"""Complexes and pairs of gene sets: what is asked, of whom, and that the tests say what they should."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from fake_embeddings import settings
from real_data import real_data
from scipy.stats import mannwhitneyu
from wherein.analysis.complex_sets import Complex, complexes_of_run, exclusive, read_complexes
from wherein.analysis.complexes import ask_complexes, nearest_proteins, pair_histogram, shared_by_similarity, wilson
from wherein.analysis.gene_sets import GeneSet, GeneSetError
from wherein.analysis.pairs import correlations, group_shift, pair_shift
from wherein.settings import complexes_settings

TABLES = {
    "neighbours": "complex_neighbours.tsv",
    "curve": "complex_curve.tsv",
    "pairs": "complex_pairs.tsv",
    "complexes": "complexes.tsv",
    "set_pairs": "set_pairs.tsv",
}


def planted(groups=6, size=4, alone=10, noise=0.5, seed=0):
    """Vectors of proteins in groups that look alike, and of some that do not; which belong together."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, 30))
    vectors = np.concatenate([np.repeat(centres, size, axis=0), rng.normal(size=(alone, 30))])
    vectors += noise * rng.normal(size=vectors.shape)
    group = np.concatenate([np.repeat(np.arange(groups), size), -1 - np.arange(alone)])
    together = group[:, None] == group[None]
    np.fill_diagonal(together, False)
    return vectors, together, group


def test_correlations_by_numpy():
    vectors, _, _ = planted()
    assert np.allclose(correlations(vectors), np.corrcoef(vectors), atol=1e-6)
    vectors[3] = 0.1
    found = correlations(vectors)
    assert np.allclose(np.delete(found[3], 3), 0)
    assert found[3, 3] == 1


def test_pairs_by_brute_force():
    vectors, together, _ = planted(noise=1.5)
    similar = correlations(vectors)
    found = pair_shift(similar, together, 99, 0)
    upper = np.triu_indices(len(similar), 1)
    a, b = similar[upper][together[upper]], similar[upper][~together[upper]]
    test = mannwhitneyu(a, b, alternative="greater")
    assert (found.n_a, found.n_b) == (len(a), len(b))
    assert found.p == test.pvalue
    assert found.auc == pytest.approx(test.statistic / (len(a) * len(b)))
    assert found.auc == pytest.approx((a[:, None] > b).mean() + (a[:, None] == b).mean() / 2)
    assert (found.median_a, found.median_b) == (np.median(a), np.median(b))
    assert found.p_permuted == 0.01
    assert np.isnan(pair_shift(similar, np.zeros_like(together), 99, 0).p)


def test_pairs_that_share_proteins_are_no_independent_evidence():
    """One hub protein resembles many by chance: the test of pairs is far too sure, permutations are not."""
    p, permuted = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        vectors = rng.normal(size=(30, 8)) + 3 * rng.normal(size=(30, 1)) * rng.normal(size=8)
        group = rng.permutation(np.repeat(np.arange(3), 10))
        together = group[:, None] == group[None]
        np.fill_diagonal(together, False)
        found = pair_shift(correlations(vectors), together, 99, seed)
        p.append(found.p)
        permuted.append(found.p_permuted)
    assert (np.array(permuted) <= 0.05).mean() <= 0.15
    assert abs(np.mean(permuted) - 0.5) < 0.12


def test_two_groups_by_brute_force_and_under_the_null():
    vectors, _, group = planted(groups=2, size=8, alone=0, noise=2.0)
    similar = correlations(vectors)
    in_a = group == 0
    found, scores = group_shift(similar, in_a, 199, 0)
    for i in range(len(in_a)):
        to_a = np.mean([similar[i, j] for j in np.flatnonzero(in_a) if j != i])
        to_b = np.mean([similar[i, j] for j in np.flatnonzero(~in_a) if j != i])
        assert scores[i] == pytest.approx(to_a - to_b, abs=1e-6)
    assert found.p == mannwhitneyu(scores[in_a], scores[~in_a], alternative="greater").pvalue
    assert found.p_permuted <= 0.01
    null = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        null.append(group_shift(correlations(rng.normal(size=(16, 20))), rng.random(16) < 0.5, 99, seed)[0].p_permuted)
    null = np.array(null)
    assert (null[np.isfinite(null)] <= 0.05).mean() <= 0.15
    assert 0.35 < np.nanmean(null) < 0.65
    alone, scores = group_shift(similar[:3, :3], np.array([True, False, False]), 99, 0)
    assert (alone.n_a, alone.n_b) == (1, 2)
    assert np.isnan(alone.p_permuted)
    assert np.isnan(scores).all()


def test_curve_by_brute_force():
    vectors, together, _ = planted(noise=1.2)
    similar = correlations(vectors)
    nearest = nearest_proteins(similar)
    table = shared_by_similarity(nearest, similar, together, 99, 0)
    for row in table.itertuples():
        near = [
            (i, int(np.argmax(np.where(np.arange(len(similar)) == i, -2, similar[i])))) for i in range(len(similar))
        ]
        near = [(i, j) for i, j in near if similar[i, j] > row.r_above]
        assert row.n == len(near)
        assert row.n_shared == sum(together[i, j] for i, j in near)
        assert row.share_low <= row.share <= row.share_high + 1e-12
    assert table["share"].iloc[0] > 0.4 > table["chance_high"].iloc[0]
    assert table["p_permuted"].iloc[0] == 0.01
    assert table["share"].iloc[-1] >= table["share"].iloc[0]
    assert len(shared_by_similarity(np.zeros(0, int), similar[:0, :0], together[:0, :0], 99, 0)) == 0
    histogram = pair_histogram(similar, together)
    assert histogram["n_same"].sum() == together.sum() / 2
    assert histogram[["n_same", "n_other"]].to_numpy().sum() == len(similar) * (len(similar) - 1) / 2
    low, high = wilson(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)


def test_complexes_of_a_run():
    symbols = {"A": {"A"}, "B": {"B"}, "C/D": {"C", "D"}, "E": {"E"}, "F": {"F"}, "F.2": {"F"}}
    sets = [
        GeneSet("AB", "1", frozenset("AB")),
        GeneSet("AB again", "2", frozenset("AB")),
        GeneSet("ABCD", "3", frozenset("ABCD")),
        GeneSet("CDX", "4", frozenset("CDX")),
        GeneSet("EX", "5", frozenset("EX")),
        GeneSet("EF", "6", frozenset("EF")),
        GeneSet("EFX", "7", frozenset("EFX")),
        GeneSet("FF", "8", frozenset("F")),
        GeneSet("FX", "9", frozenset("FX")),
    ]
    found = complexes_of_run(sets, {name: frozenset(own) for name, own in symbols.items()})
    assert [(one.name, one.n_subunits, one.n_missing, one.proteins) for one in found] == [
        ("AB", 2, 0, (0, 1)),
        ("ABCD", 4, 0, (0, 1, 2)),
        ("EF", 2, 0, (3, 4, 5)),
        ("EFX", 3, 1, (3, 4, 5)),
    ], "two reagents of one gene are no two subunits"
    assert exclusive(found) == [False, True, True, False]
    apart = [Complex("x", None, 2, 0, (0, 1)), Complex("y", None, 2, 0, (2, 3)), Complex("z", None, 2, 0, (1, 2))]
    assert exclusive(apart) == [True, True, False]


def test_files_of_complexes(tmp_path):
    head = "ComplexID\tComplexName\tOrganism\tSynonyms\tsubunits(Gene name)\n"
    rows = '1\tthe "A" complex\tHuman\tNone\tA;B; c\n2\tother\tMouse\tNone\tA;B\n3\tnone\tHuman\tNone\tNone\n'
    path = tmp_path / "corum.txt"
    path.write_text(head + rows)
    (found,) = read_complexes(path, "Human")
    assert found == GeneSet('the "A" complex', "CORUM:1", frozenset("ABC"))
    with pytest.raises(GeneSetError, match=r"found none of Rat; biology\.complexes\.organism may be Human, Mouse"):
        read_complexes(path, "Rat")
    path.write_text(head + rows + '9\t"open\tHuman\t\tA;B\n10\tnext\tHuman\t\tC;D\n')
    with pytest.raises(GeneSetError, match="a quote that is not closed"):
        read_complexes(path, "Human")
    many = "\t".join(f"GENE{n}" for n in range(20_000))
    (tmp_path / "quoted.gmt").write_text(f'"open\tna\t{many}\nnext\tna\tA\tB\n')
    assert [len(one.genes) for one in read_complexes(tmp_path / "quoted.gmt", "Human")] == [20_000, 2]
    (tmp_path / "sets.gmt").write_text("AB\tCORUM:1\tA\tB\n")
    assert read_complexes(tmp_path / "sets.gmt", "Human") == [GeneSet("AB", "CORUM:1", frozenset("AB"))]
    with pytest.raises(GeneSetError, match="cannot be read"):
        read_complexes(tmp_path / "no.gmt", "Human")
    (tmp_path / "cut.gmt.gz").write_bytes(gzip.compress(b"AB\tCORUM:1\tA\tB\n" * 99)[:-12])
    with pytest.raises(GeneSetError, match="cannot be read"):
        read_complexes(tmp_path / "cut.gmt.gz", "Human")


def ask(tmp_path, vectors, names, own, sets="", **over):
    obs = pd.DataFrame({"genes": names, "ensembl_ids": ""}, index=names)
    atlas = AnnData(np.asarray(vectors, np.float32), obs=obs)
    atlas.layers["scaled"] = np.asarray(vectors, np.float32)
    atlas.write_h5ad(tmp_path / "proteins.h5ad")
    (tmp_path / "complexes.gmt").write_text(own)
    (tmp_path / "sets.gmt").write_text(sets)
    file = str(tmp_path / "complexes.gmt") if own else None
    libraries = {"go": str(tmp_path / "sets.gmt")} if sets else {}
    given = settings("biology", gene_sets=libraries, complexes={"file": file, "permutations": 100}, **over)
    outputs = {name: str(tmp_path / file) for name, file in TABLES.items()}
    ask_complexes("m", tmp_path / "proteins.h5ad", complexes_settings({"biology": given}), outputs, tmp_path / "s.json")
    return (
        {name: pd.read_csv(path, sep="\t") for name, path in outputs.items()},
        json.loads((tmp_path / "s.json").read_text()),
    )


def test_planted_complexes_are_found(tmp_path):
    vectors, _, group = planted(groups=8, size=4, alone=6, noise=0.4)
    names = [f"G{n}" for n in range(len(vectors))]
    lines = ["\t".join((f"complex {g}", f"X:{g}", *np.array(names)[group == g])) for g in range(7)]
    # the last complex has members that do not look alike
    lines.append("\t".join(("apart", "X:9", *names[-3:])))
    groups = {"a": names[:8], "b": names[4:12], "c": ["ZZZ", "YYY"]}
    sets = "\n".join("\t".join((name, f"GO:{n}", *own)) for n, (name, own) in enumerate(groups.items(), 1))
    pairs = [{"name": "a or b", "a": "GO:1", "b": "b"}, {"name": "none", "a": "GO:1", "b": "GO:9"}]
    tables, summary = ask(tmp_path, vectors, names, "\n".join(lines) + "\n", sets + "\n", set_pairs=pairs)
    complexes = tables["complexes"].set_index("complex")
    assert complexes["chosen"].all()
    planted_ = [f"complex {g}" for g in range(7)]
    assert (complexes.loc[planted_, "q"] < 0.02).all()
    assert complexes.loc["apart", "p"] > 0.05
    assert (complexes.loc[planted_, "auc"] > 0.95).all()
    assert set(complexes["n_tests"]) == {8}
    near = tables["neighbours"]
    assert near["shared"].sum() == 28
    assert near["r"].is_monotonic_decreasing
    assert set(near["protein"]) == set(names[:28]) | set(names[-3:])
    tests = tables["set_pairs"].set_index("question")
    assert tests.loc["same complex", "auc"] > 0.9
    assert tests.loc["same complex", "n_a"] == 7 * 6 + 3
    assert tests.loc["a or b", ["n_a", "n_b"]].tolist() == [4, 4], "those in both are left out"
    assert tests.loc["a or b", "proteins_a"] == "G0;G1;G2;G3"
    assert tests.loc["a or b", "p_permuted"] <= 0.05
    assert len(str(tests.loc["a or b", "scores_b"]).split(";")) == 4
    assert pd.isna(tests.loc["none", "p_permuted"])
    assert set(tests["n_tests"]) == {2}
    assert any("none: not asked" in note for note in summary["notes"])
    assert summary["chosen"] == 8


def test_without_complexes_the_tables_are_empty(tmp_path):
    tables, summary = ask(tmp_path, np.eye(5), list("ABCDE"), "", set_pairs=[])
    assert all(len(tables[name]) == 0 for name in ("neighbours", "curve", "complexes"))
    assert tables["pairs"][["n_same", "n_other"]].to_numpy().sum() == 0
    assert tables["set_pairs"]["p_permuted"].isna().all()
    assert any("no complexes are configured" in note for note in summary["notes"])


def test_complexes_of_opencell_as_in_the_paper():
    targets = pd.read_csv(real_data("annot") / "opencell_targets.csv.gz")["target_name"].str.upper()
    symbols = {name: frozenset([name]) for name in sorted(set(targets))}
    found = complexes_of_run(read_complexes(real_data("annot") / "corum_coreComplexes.txt.gz", "Human"), symbols)
    whole = {one.proteins for one in found if one.n_missing == 0 and one.n_subunits > 1}
    assert len(whole) == 55
    chosen = exclusive(found)
    assert sum(chosen) == 34
    taken = [place for one, own in zip(found, chosen, strict=True) if own for place in one.proteins]
    assert len(taken) == len(set(taken))
