import json

import numpy as np
import pandas as pd
import pytest
from fake_embeddings import Run, settings
from scipy.stats import f as fisher
from scipy.stats import kstest
from scipy.stats import t as student
from wherein.analysis.contrast import ContrastError, contrast_conditions, sides_of
from wherein.analysis.moderated import fit_prior, inverse_trigamma, moderated_t
from wherein.analysis.replicates import replicate_names
from wherein.analysis.shifts import (
    Design,
    find_moved,
    fit_sides,
    partings,
    pooled_p,
    relabelled,
    shared_groups,
    statistics,
    tail,
    without_shared,
)


def planted(proteins, replicates, moved=0, shift=0.0, common=0.0, dimensions=12, seed=0):
    """Replicates of proteins on four plates, of which the first few move each its own way."""
    rng = np.random.default_rng(seed)
    row = np.repeat(np.arange(proteins), 2 * replicates)
    side = np.tile(np.repeat([False, True], replicates), proteins)
    plate = rng.integers(4, size=len(row))
    way = rng.normal(size=(proteins, dimensions))
    way *= shift / np.linalg.norm(way, axis=1)[:, None]
    way[moved:] = 0
    values = 2 * rng.normal(size=(proteins, dimensions))[row] + rng.normal(size=(4, dimensions))[plate]
    values += side[:, None] * (way[row] + common * np.ones(dimensions))
    values += np.exp(rng.normal(0, 0.2, proteins))[row, None] * rng.normal(size=(len(row), dimensions)) * 0.5
    return values, Design(row, side, shared_groups(plate, side), np.arange(proteins), proteins)


def asked_of(values, design, permutations=20):
    own, _ = without_shared(values, design)
    return find_moved(own, design, np.ones(design.proteins, bool), permutations, 1)


def test_prior_of_drawn_variances_is_found():
    rng = np.random.default_rng(0)
    df = np.full(20000, 4.0)
    # s2 ~ s0 F(d, d0), Smyth 2004, section 3
    variances = 0.7 * rng.f(4, 10, size=20000)
    prior = fit_prior(variances, df)
    assert prior.df == pytest.approx(10, rel=0.1)
    assert prior.variance == pytest.approx(0.7, rel=0.03)
    same = fit_prior(rng.chisquare(4, 20000) / 4, df)
    assert same.df > 100
    assert inverse_trigamma(1.6449340668) == pytest.approx(1)
    assert np.isnan(fit_prior(np.zeros(0), np.zeros(0)).variance)
    assert fit_prior(np.zeros(5), np.full(5, 2.0)).variance == 0


def test_moderated_t_by_hand():
    variances, df = np.array([1.0, 4.0, 2.0, 0.5]), np.array([2.0, 2.0, 0.0, 2.0])
    weight = np.array([1.0, 1.0, 1.0, 0.0])
    t, p, prior = moderated_t(np.array([3.0, 3.0, 3.0, 3.0]), variances, df, weight)
    if np.isinf(prior.df):
        spread, total = np.full(3, prior.variance), np.full(3, 4.0)
    else:
        spread = (prior.df * prior.variance + df[:3] * variances[:3] * (df[:3] > 0)) / (prior.df + df[:3])
        total = np.minimum(prior.df + df[:3], 4.0)
    np.testing.assert_allclose(t[:3], 3 / np.sqrt(spread))
    np.testing.assert_allclose(p[:3], 2 * student.sf(t[:3], total))
    assert np.isnan(t[3])
    assert np.isnan(p[3])


def test_sides_and_blocks_by_least_squares():
    rng = np.random.default_rng(3)
    # two proteins; the first has two reagents, one of them on one side alone
    block = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    side = np.array([0, 1, 1, 0, 0, 0, 0, 1, 1], bool)
    design = Design(block, side, np.zeros(9, int), np.array([0, 0, 1]), 2)
    values = rng.normal(size=(9, 3))
    fit = fit_sides(values, design)
    for protein, rows in ((0, np.arange(5)), (1, np.arange(5, 9))):
        blocks = np.unique(block[rows])
        matrix = np.column_stack([block[rows][:, None] == blocks, side[rows]]).astype(float)
        found = np.linalg.lstsq(matrix, values[rows], rcond=None)[0]
        np.testing.assert_allclose(fit.difference[protein], found[-1], atol=1e-12)
        np.testing.assert_allclose(fit.residual[rows], values[rows] - matrix @ found, atol=1e-12)
        assert fit.df[protein] == len(rows) - np.linalg.matrix_rank(matrix)
        assert 1 / fit.weight[protein] == pytest.approx(np.linalg.inv(matrix.T @ matrix)[-1, -1])


def test_what_all_proteins_share_is_taken_out_and_moves_none():
    plain = asked_of(*planted(120, 2, common=0.0, seed=4))
    shifted = asked_of(*planted(120, 2, common=8.0, seed=4))
    np.testing.assert_allclose(shifted.statistic, plain.statistic, rtol=1e-3)
    values, design = planted(120, 2, moved=20, shift=6.0, common=8.0, seed=4)
    _, shift = without_shared(values, design)
    # a sixth of the proteins pull the median by less than the scatter of one replicate
    np.testing.assert_allclose(shift, 8.0, atol=0.4)
    # plates on which only one side lies: what they share with the side goes, too
    apart = Design(design.block, design.side, shared_groups(design.side.astype(int), design.side), design.protein, 120)
    again = find_moved(without_shared(values, apart)[0], apart, np.ones(120, bool), 20, 1)
    assert set(np.argsort(-again.statistic)[:15]) <= set(range(20))


def test_p_is_uniform_where_nothing_moved_and_small_where_something_did():
    p = np.concatenate([asked_of(*planted(150, 2 + seed % 2, common=1.0, seed=seed)).p for seed in range(6)])
    assert kstest(p, "uniform").pvalue > 0.01
    assert (p <= 0.01).mean() < 0.025
    told = asked_of(*planted(150, 2, moved=20, shift=4.0, common=1.0, seed=9))
    assert (told.p[:20] < 0.01).mean() > 0.9
    assert (told.p[20:] < 0.05).mean() < 0.12


def test_relabelling_keeps_sides_of_blocks_and_leaves_out_the_real_parting():
    values, design = planted(40, 2)
    rng = np.random.default_rng(0)
    for _ in range(5):
        side, other = relabelled(design, rng)
        np.testing.assert_array_equal(np.bincount(design.block, side), np.bincount(design.block, design.side))
        for protein in range(40):
            drawn, real = side[design.block == protein], design.side[design.block == protein]
            assert other[protein] == (not (drawn == real).all() and not (drawn != real).all())
    # four replicates, two a side: three partings, of which two are others
    assert partings(design, np.ones(40, bool)) == pytest.approx(2 * 40)
    uneven = Design(np.zeros(5, int), np.array([0, 0, 1, 1, 1], bool), np.zeros(5, int), np.zeros(1, int), 1)
    assert partings(uneven, np.ones(1, bool)) == pytest.approx(9)
    statistic = statistics(values, design, np.ones(40, bool))[0]
    assert np.isfinite(statistic).all()


def test_pooled_p_counts_and_goes_on_beyond_the_pool():
    rng = np.random.default_rng(0)
    pool = np.sort(rng.f(5, 50, 20000))
    asked = np.array([0.5, 1.0, 2.0])
    found = pooled_p(asked, pool, 20000, 5, np.full(3, 50.0), 1e6)
    np.testing.assert_allclose(found, [(1 + (pool >= x).sum()) / 20001 for x in asked])
    far = pooled_p(np.array([12.0]), pool, 20000, 5, np.array([50.0]), 1e6)[0]
    assert far == pytest.approx(fisher.sf(12.0, 5, 50), rel=0.6)
    assert tail(np.array([12.0]), 5, np.array([50.0]), 54)[0] > far


CATALOG = pd.DataFrame(
    {
        "condition": ["drug", None, "drug", "other"],
        "cell_line": ["A", "A", "B", "A"],
        "control": [False, False, True, False],
    }
)


def test_sides_name_columns_values_lists_and_none():
    told = sides_of(CATALOG, {"condition": None}, {"condition": ["drug", "other"], "cell_line": "A"}, "c")
    np.testing.assert_array_equal(told, [1, 0, np.nan, 1])
    with pytest.raises(
        ContrastError, match=r"side b: no field of a protein has condition = druk.*drug, other \(1 field"
    ):
        sides_of(CATALOG, {"condition": None}, {"condition": "druk"}, "c")
    with pytest.raises(ContrastError, match="on both sides"):
        sides_of(CATALOG, {"cell_line": "A"}, {"condition": "drug"}, "c")
    # controls alone are no side
    with pytest.raises(ContrastError, match="side a"):
        sides_of(CATALOG, {"cell_line": "B"}, {"cell_line": "A"}, "c")


def test_replicates_are_wells_plates_or_samples():
    fields = pd.DataFrame(
        {"field_id": list("abcd"), "source": "s", "sample": ["x", "x", "x", None], "plate": ["P", "P", "Q", "P"],
         "well": ["1", "2", "1", "1"]}
    )  # fmt: skip
    assert [replicate_names(fields, unit).nunique() for unit in ("well", "plate", "sample")] == [4, 3, 2]
    with pytest.raises(ValueError, match="well, plate, sample"):
        replicate_names(fields, "cell")


def contrast(folder, run, signal=None, names=None, **over):
    paths = run.write(names=names)
    empty = pd.DataFrame({"field_id": [], "version": [], "status": []}, dtype=str)
    empty.to_parquet(folder / "samples.parquet")
    if signal is None:
        signal = pd.DataFrame({"replicate": [], "protein": [], "log2_signal": []})
    signal.to_parquet(folder / "abundance_samples.parquet")
    own = settings("biology")
    chosen = own["contrast"] | {key: own[key] for key in ("replicate", "examples", "seed")}
    chosen |= {key: settings("atlas")[key] for key in ("scale", "clip", "scale_units")}
    chosen |= {"a": {"condition": None}, "b": {"condition": "drug"}, "permutations": 20} | over
    contrast_conditions(
        model="m", contrast="c", level="cell", fields=paths["fields"], qc=paths["qc"], cells=paths["cells"],
        samples=folder / "samples.parquet", embeddings=paths["embeddings"], predictions=paths["predictions"],
        abundance=folder / "abundance_samples.parquet", settings=chosen, proteins=folder / "proteins.tsv",
        classes=folder / "classes.tsv", replicates=folder / "replicates.tsv", summary=folder / "told.json",
    )  # fmt: skip
    tables = [pd.read_csv(folder / f"{name}.tsv", sep="\t") for name in ("proteins", "classes", "replicates")]
    return (*tables, json.loads((folder / "told.json").read_text()))


def screen(folder, proteins=24, wells=3, moved=4):
    """Proteins in two conditions; the first few go from Cytosol to Nucleoli, and are twice as many."""
    rng = np.random.default_rng(0)
    run = Run(folder)
    signal = []
    for number in range(proteins):
        gene = f"G{number:02d}"
        centre = rng.normal(size=6)
        for condition in (None, "drug"):
            gone = condition == "drug" and number < moved
            for well in range(wells):
                sample = f"{gene}/{condition}"
                own = centre + 3.0 * gone + 0.15 * rng.normal(size=6) + 2.0 * (condition == "drug")
                run.add(
                    gene, own + 0.3 * rng.normal(size=(8, 6)), plate=f"P{well}", well=f"W{well}", condition=condition,
                    sample=sample, reagent=gene,
                    locations=["Nucleoli" if i < 6 * gone + rng.integers(2) else "Cytosol" for i in range(8)],
                )  # fmt: skip
                told = 5 + 1.0 * gone + 0.7 * (condition == "drug") + 0.1 * rng.normal()
                signal.append((f"a · {sample} · P{well} · W{well}", gene, told))
    return run, pd.DataFrame(signal, columns=["replicate", "protein", "log2_signal"])


def test_a_screen_of_two_conditions(tmp_path):
    run, signal = screen(tmp_path)
    # one protein without the drug, one with a single well there, one seen in a control only
    for condition in (None, None):
        run.add("LOST", np.zeros((8, 6)), plate="P0", well=f"X{len(run.fields)}", sample="LOST", condition=condition)
    run.add("ONCE", np.zeros((8, 6)), plate="P0", well="Y1", sample="ONCE", reagent="ONCE")
    run.add("ONCE", np.zeros((8, 6)), plate="P0", well="Y2", sample="ONCE/drug", reagent="ONCE", condition="drug")
    run.add(None, np.zeros((8, 6)), plate="P0", well="Z", sample="none", control=True)
    run.add("ELSE", np.zeros((8, 6)), plate="P0", well="Z2", sample="ELSE", condition="heat")
    for wells, condition, reagent in ((2, None, "r1"), (2, "drug", "r2")):
        for well in range(wells):
            run.add("MIXED", np.zeros((8, 6)), plate="P1", well=f"M{reagent}{well}", sample=f"MIXED/{reagent}",
                    condition=condition, reagent=reagent)  # fmt: skip
    rows, classes, replicates, told = contrast(tmp_path, run, signal, names=list("uvwxyz"))
    rows = rows.set_index("protein")
    assert sorted(rows.index[rows["moved"]]) == sorted(f"G{number:02d}" for number in range(4))
    assert rows["reason"].dropna().to_dict() == {
        "LOST": "one_side",
        "ONCE": "few_replicates",
        "MIXED": "other_reagents",
    }
    assert rows.loc[["LOST", "ONCE", "MIXED"], "p"].isna().all()
    gone = rows.loc[[f"G{number:02d}" for number in range(4)]]
    assert set(gone["from_class"]) == {"Cytosol"}
    assert set(gone["to_class"]) == {"Nucleoli"}
    np.testing.assert_allclose(gone["to_change"], 0.75, atol=0.13)
    np.testing.assert_allclose(gone["log2_ratio"], 1.0, atol=0.35)
    assert (gone["q_abundance"] < 0.05).all()
    # the drug makes all brighter, and moves all vectors: that is no finding
    still = rows[rows["reason"].isna() & ~rows["moved"]]
    assert (still["q_abundance"] > 0.05).all()
    assert (still["q"] > 0.05).all()
    assert set(rows["n_tests"]) == {24}
    assert set(rows["n_tests_abundance"]) == {24}
    assert (classes[classes["q"] <= 0.05]["protein"].value_counts() == 2).all()
    assert len(replicates) == 24 * 6 + 2 + 2 + 4
    assert set(replicates["side"]) == {"a", "b"}
    assert told["counts"]["in"] == sum(own for key, own in told["counts"].items() if key != "in")
    assert told["counts"]["control"] == 8 or told["counts"]["neither_side"] >= 8
    fields = {row["field_id"]: row for row in run.fields}
    for name, condition in (("cells_a", None), ("cells_b", "drug")):
        cells = gone.loc["G00", name].split(";")
        assert len(cells) == 4
        assert {fields[cell.split("@")[0]]["condition"] for cell in cells} == {condition}


def test_one_replicate_of_everything_has_reasons_and_no_p(tmp_path):
    run, _ = screen(tmp_path, proteins=5, wells=1)
    rows, classes, _, told = contrast(tmp_path, run)
    assert set(rows["reason"]) == {"few_replicates"}
    assert rows["p"].isna().all()
    assert not rows["moved"].any()
    assert not len(classes)
    assert any("no protein has replicates enough" in note for note in told["notes"])


def test_a_model_that_sees_neither_side_tells_so(tmp_path):
    run = Run(tmp_path)
    run.add("A", np.zeros((0, 2)), condition="drug")
    run.add("B", np.zeros((0, 2)), intensity=[])
    run.add("C", np.zeros((3, 2)), condition="heat")
    rows, classes, replicates, told = contrast(tmp_path, run)
    assert not len(rows)
    assert not len(classes)
    assert not len(replicates)
    assert told["counts"]["kept"] == 0
