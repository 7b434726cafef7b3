import json

import numpy as np
import pandas as pd
import pytest
from fake_embeddings import Run, settings
from scipy.stats import kstest
from wherein.analysis.aggregate import open_units, read_units, scaled_units
from wherein.analysis.heterogeneity import CV_VARIANCE, location_entropy, measure_heterogeneity, robust_cv, unit_scores
from wherein.analysis.projection import principal_components
from wherein.analysis.spread import (
    against_others,
    cell_residuals,
    distances,
    from_median,
    limited,
    main_axis,
    trimmed,
    whiten,
)

WIDTH = 12


def measure(run, folder, **over):
    paths = run.write()
    names = ("heterogeneity", "fields", "samples", "variance", "compartments", "published")
    outputs = {name: folder / f"{name}.tsv" for name in names}
    outputs["compartment_cells"] = folder / "compartment_cells.parquet"
    measure_heterogeneity(
        model="m",
        settings=settings("biology", **over) | {"scale_units": 1000},
        words="hpa19",
        outputs=outputs,
        summary=folder / "summary.json",
        **paths,
    )
    return (read(outputs["heterogeneity"]), read(outputs["fields"]), json.loads((folder / "summary.json").read_text()))


def read(path):
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""])


def screen(root, seed, proteins, planted, shift=4.0, share=0.4, between=0.0, fields=2, size=20):
    """A cell line of proteins, each with its own pattern; in the planted ones a share of the cells shows another's."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(WIDTH, WIDTH))
    run = Run(root)
    for protein in range(proteins):
        own, other = rng.normal(size=(2, WIDTH)) * 2
        dispersion = np.exp(rng.normal(0, between))
        for _ in range(fields):
            cells = rng.normal(size=(size, WIDTH)) * dispersion
            if protein < planted:
                direction = other / np.linalg.norm(other)
                cells[: round(share * size)] += direction * shift * np.sqrt(WIDTH) / 2
            staining = rng.normal(size=WIDTH)
            run.add(f"G{protein:03d}", (own + staining + cells) @ mixing)
    return run


def test_planted_proteins_are_found_with_few_false_ones(tmp_path):
    found, false = 0, 0
    for seed in range(3):
        table, _, _ = measure(screen(tmp_path / str(seed), seed, 80, 8, between=0.05), tmp_path)
        table = table.set_index("gene")
        hits = table.index[table["q"] <= 0.1]
        planted = hits[hits < "G008"]
        found, false = found + len(planted), false + len(hits) - len(planted)
    assert found >= 0.9 * 24
    assert false <= 0.2 * max(1, found + false)


@pytest.mark.parametrize("between", [0.0, 0.15])
def test_p_is_uniform_where_no_protein_differs(tmp_path, between):
    p = []
    for seed in range(3):
        table, _, _ = measure(screen(tmp_path / str(seed), 100 + seed, 100, 0, between=between), tmp_path)
        p += table["p"].tolist()
        assert (table["q"] > 0.01).all()
    assert len(p) == 300
    assert kstest(p, "uniform").pvalue > 0.01


def test_staining_of_a_field_makes_no_protein_heterogeneous(tmp_path):
    rng = np.random.default_rng(5)
    run = Run(tmp_path)
    for protein in range(20):
        for _ in range(3):
            staining = rng.normal(size=WIDTH) * (30 if protein == 0 else 1)
            run.add(f"G{protein:03d}", staining + rng.normal(size=(15, WIDTH)))
    table, _, _ = measure(run, tmp_path)
    assert abs(table.set_index("gene").loc["G000", "spread_z"]) < 3


def test_columns_and_order(tmp_path):
    run = screen(tmp_path, 1, 20, 1)
    control = np.random.default_rng(0).normal(size=(30, WIDTH)) * 50
    run.add(None, control, control=True)
    table, by_field, summary = measure(run, tmp_path, examples=3)
    assert table["gene"].iloc[0] == "G000"
    assert len(table) == 20
    assert (table["n_cells"] == 40).all()
    assert (table["n_fields"] == 2).all()
    assert (table["label_entropy"] == 0).all()
    assert set(table["top_location"]) == {"Cytosol"}
    assert table["spread"].median() == pytest.approx(1, abs=0.1)
    assert (table["p"].diff().dropna() >= 0).all()
    assert by_field["gene"].iloc[0] == "G000"
    assert len(by_field) == 40
    assert summary["counts"] == {"in": 830, "kept": 800, "control": 30}
    shown = table["cells_low"].iloc[0].split(";") + table["cells_high"].iloc[0].split(";")
    assert len(set(shown)) == 6


def test_examples_stand_at_both_ends_and_the_bright_end_is_high(tmp_path):
    rng = np.random.default_rng(3)
    run = Run(tmp_path)
    for protein in range(8):
        cells = rng.normal(size=(30, 4))
        intensity = np.full(30, 50.0)
        if protein == 0:
            cells[:10] -= 12
            intensity[:10] = 400
        run.add(f"G{protein}", cells, intensity=intensity)
    table, by_field, _ = measure(run, tmp_path)
    top = table.iloc[0]
    assert top["gene"] == "G0"
    label = [[int(name.rsplit(":", 1)[1]) for name in top[end].split(";")] for end in ("cells_high", "cells_low")]
    assert max(label[0]) <= 10
    assert min(label[1]) > 10
    fields = by_field.set_index("gene")
    assert fields.loc["G1", "intensity_cv"] == 0


def test_intensity_of_single_cells(tmp_path):
    rng = np.random.default_rng(4)
    run = Run(tmp_path)
    for protein in range(12):
        spread = 0.9 if protein == 7 else 0.2
        run.add(f"G{protein}", rng.normal(size=(40, 4)), intensity=rng.lognormal(4, spread, 40))
    _, by_field, _ = measure(run, tmp_path)
    by_field = by_field.set_index("gene")
    assert by_field["intensity_cv_z"].idxmax() == "G7"
    assert by_field.loc["G7", "intensity_cv_z"] > 4
    others = by_field.drop("G7")["intensity_cv_z"]
    assert others.abs().max() < 3.5


def test_heterogeneous_locations(tmp_path):
    rng = np.random.default_rng(6)
    run = Run(tmp_path)
    run.add("MIX", rng.normal(size=(20, 4)), locations=["Nucleoli"] * 10 + ["Cytosol"] * 10)
    run.add("ONE", rng.normal(size=(20, 4)), locations=["Nucleoli"] * 20)
    run.add("MOST", rng.normal(size=(20, 4)), locations=["Nucleoli"] * 15 + ["Cytosol"] * 5)
    table, _, _ = measure(run, tmp_path)
    table = table.set_index("gene")
    assert table.loc["MIX", "label_entropy"] == pytest.approx(1)
    assert table.loc["MIX", "top_location"] == "Cytosol", "of two as frequent, the first by name"
    assert table.loc["ONE", ["label_entropy", "top_location_share"]].tolist() == [0, 1]
    assert table.loc["MOST", "top_location_share"] == 0.75


def test_cells_at_the_border_are_left_out_and_counted(tmp_path):
    """A run with cells that the border cuts says the same as one that never had them."""
    names = ("heterogeneity", "fields", "samples", "variance", "compartments")
    tables = []
    for cut in (0, 7):
        rng = np.random.default_rng(8)
        folder = tmp_path / str(cut)
        run = Run(folder)
        for protein in range(8):
            labels = [["Nucleoli"], ["Cytosol"], ["Nucleoli", "Cytosol"]][protein % 3]
            whole, intensity = rng.normal(size=(20, 4)), rng.lognormal(4, 0.3, 20)
            vectors = np.concatenate([whole, np.full((cut, 4), 50.0)])
            intensity = np.concatenate([intensity, np.full(cut, 9e4)])
            run.add(f"G{protein}", vectors, intensity=intensity, labels=labels)
            for number, cell in enumerate(run.cells[-len(vectors) :]):
                cell["nucleus_touches_border"] = number >= 20
        _, _, summary = measure(run, folder, min_pair_proteins=2)
        tables.append([read(folder / f"{name}.tsv") for name in names])
        expected = {"in": 8 * (20 + cut), "kept": 160} | ({"border": 56} if cut else {})
        assert summary["counts"] == expected
    for name, without, with_border in zip(names, *tables, strict=True):
        assert len(without), name
        pd.testing.assert_frame_equal(without, with_border)


def test_few_proteins_are_measured_but_not_judged(tmp_path):
    rng = np.random.default_rng(7)
    run = Run(tmp_path)
    for line, count in (("A-431", 1), ("MDA", 3)):
        for _ in range(count):
            run.add("PARP1", rng.normal(size=(12, 5)), cell_line=line)
    run.add("TINY", rng.normal(size=(1, 5)), cell_line="MDA")
    table, by_field, summary = measure(run, tmp_path)
    assert table.set_index("gene").loc["PARP1", "spread"].notna().all()
    assert np.isnan(table.set_index("gene").loc["TINY", "spread"])
    assert table[["spread_z", "p", "q"]].isna().all().all()
    assert by_field[["spread_z", "intensity_cv_z"]].isna().all().all()
    assert by_field["intensity_cv"].notna().sum() == 4
    assert any("A-431: 1 proteins are too few" in note for note in summary["notes"])


def test_models_of_fields_measure_fields(tmp_path):
    rng = np.random.default_rng(8)
    run = Run(tmp_path, level="field")
    for protein in range(8):
        for _ in range(3):
            run.add(f"G{protein}", rng.normal(size=(1, 5)), intensity=rng.lognormal(4, 0.3, 10))
    table, by_field, summary = measure(run, tmp_path)
    assert len(table) == 8
    assert table[["n_cells", "cells_low", "cells_high", "spread_z", "p", "q"]].isna().all().all()
    assert table["spread"].notna().all()
    assert by_field["spread"].isna().all()
    assert by_field["intensity_cv"].notna().all()
    assert any("describes fields, not cells" in note for note in summary["notes"])


def test_nothing_at_all(tmp_path):
    table, by_field, _ = measure(Run(tmp_path), tmp_path)
    assert len(table) == 0
    assert len(by_field) == 0


def test_one_badly_outlined_cell_makes_no_protein_heterogeneous(tmp_path):
    run = screen(tmp_path, 9, 30, 0)
    run.vectors[0][0] += 1e4
    table, _, _ = measure(run, tmp_path)
    assert table.set_index("gene").loc["G000", "q"] > 0.05


def test_same_input_same_content(tmp_path):
    run = screen(tmp_path, 2, 12, 1)
    measure(run, tmp_path)
    before = (tmp_path / "heterogeneity.tsv").read_bytes()
    measure(run, tmp_path)
    assert before == (tmp_path / "heterogeneity.tsv").read_bytes()


@pytest.mark.parametrize(("names", "width"), [(["a", "b", "c", "d", "e", "f"], 6), (None, 60)])
def test_scores_by_blocks_are_those_of_the_whole_matrix(tmp_path, names, width):
    run, rng = Run(tmp_path), np.random.default_rng(5)
    for gene in ("A", None, "B", "C"):
        run.add(gene, rng.gamma(1, 3, (9, width)) * np.geomspace(1, 100, width) + 1000, control=gene == "C")
    run.vectors[0][4, 2] = np.nan
    paths = run.write(names)
    wanted = (paths["embeddings"], paths["fields"], paths["cells"])
    units, stream = read_units(*wanted), open_units(*wanted)
    stream.embeddings.blocks = lambda kept: (units.vectors[start : start + 7] for start in range(0, 36, 7))
    measured = units.table["protein"].isin(["A", "B"]).to_numpy()
    own = settings("biology", clip=2, components=3, pattern_components=4) | {"scale_units": 1000}
    scores, told = unit_scores(stream, measured, own)
    # components of limited values, scores of the values as they are: nothing is limited at 1e9
    scaled, _, notes = scaled_units(units, "auto", 2)
    loadings = principal_components(scaled[measured], 4)[1]
    free = scaled_units(units, "auto", 1e9)[0][measured]
    assert (told, scores.dtype, scores.shape) == (notes, np.float32, (18, 4))
    assert np.allclose(scores, free @ loadings.T, rtol=1e-5, atol=1e-5 * np.abs(scores).max())
    assert names is None or np.abs(free).max() > 2


def test_residuals_by_brute_force():
    rng = np.random.default_rng(0)
    scores, groups = rng.normal(size=(30, 3)), rng.integers(0, 4, 30)
    groups[0] = 9
    residuals = cell_residuals(scores, groups)
    assert np.isnan(residuals[0]).all()
    for index in range(1, 30):
        own = groups == groups[index]
        expected = (scores[index] - scores[own].mean(0)) * np.sqrt(own.sum() / (own.sum() - 1))
        assert np.allclose(residuals[index], expected)


def test_residuals_have_the_same_variance_in_groups_of_any_size():
    rng = np.random.default_rng(1)
    for size in (2, 3, 10):
        groups = np.repeat(np.arange(6000 // size), size)
        assert cell_residuals(rng.normal(size=(len(groups), 1)), groups).var() == pytest.approx(1, abs=0.06)


def test_whitening_makes_every_direction_count_the_same():
    rng = np.random.default_rng(2)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    residuals = rng.normal(size=(5000, 6)) * [1, 1, 2, 2, 3, 3] @ turn
    residuals[7] = np.nan
    whitened = whiten(residuals)
    assert np.isnan(whitened[7]).all()
    assert np.allclose(np.cov(np.delete(whitened, 7, 0).T), np.eye(6), atol=0.05)
    assert np.nanmedian(distances(whitened)) == pytest.approx(1)
    lengths = np.linalg.norm(whitened, axis=1)
    assert np.allclose(distances(whitened) * np.nanmedian(lengths), lengths, equal_nan=True)


def test_differences_from_the_median_by_brute_force():
    rng = np.random.default_rng(10)
    scores, groups = rng.normal(size=(40, 3)), rng.integers(0, 5, 40)
    expected = [row - np.median(scores[groups == group], 0) for row, group in zip(scores, groups, strict=True)]
    assert np.allclose(from_median(scores, groups), expected)


def test_limited_and_trimmed():
    rng = np.random.default_rng(8)
    scores = rng.normal(5, [1, 3], (4000, 2))
    scores[0] = 1e6
    bounded = limited(scores, 4)
    assert np.allclose(bounded.max(0), [9, 17], rtol=0.05)
    assert np.array_equal(limited(scores, None), scores)
    constant = np.ones((5, 1))
    constant[0] = 3
    assert np.array_equal(limited(constant, 4), constant), "without a scale there is no limit"
    assert trimmed(np.arange(1, 11.0))[0] == pytest.approx(5.5)
    assert trimmed(np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 1e6]))[0] == pytest.approx(5.5)


def test_limits_are_those_of_each_column_and_leave_the_scores_as_they_were():
    scores = np.random.default_rng(2).standard_cauchy((60, 4))
    scores[:40, 3] = 7.0
    before, groups = scores.copy(), np.arange(60) % 7
    near, found = from_median(scores, groups), limited(scores, 2)
    assert (scores == before).all()
    for column in range(4):
        own = scores[:, column]
        assert (near[groups == 3, column] == own[groups == 3] - np.median(own[groups == 3])).all()
        reach = 2 * 1.4826 * np.median(np.abs(own - np.median(own)))
        told = np.clip(own, np.median(own) - reach, np.median(own) + reach) if column < 3 else own
        assert (found[:, column] == told).all()
    assert (limited(scores, None) == before).all()


def test_variance_of_a_trimmed_mean():
    rng = np.random.default_rng(9)
    samples = rng.gamma(20, 0.05, (3000, 40))
    found = np.array([trimmed(sample) for sample in samples])
    assert np.mean(found[:, 1] * found[:, 0] ** 2) / 40 == pytest.approx(found[:, 0].var(), rel=0.1)


def test_whitening_with_nothing_to_learn_from():
    for residuals in (np.zeros((5, 3)), np.full((4, 2), np.nan), np.ones((2, 2)), np.zeros((3, 0))):
        assert np.isnan(whiten(residuals)).all()


def test_main_axis_is_the_direction_of_most_variation():
    rng = np.random.default_rng(3)
    whitened = rng.normal(size=(50, 4))
    whitened[:, 2] *= 10
    whitened[4] = np.nan
    axis = main_axis(whitened)
    assert np.isnan(axis[4])
    known = np.isfinite(axis)
    assert abs(np.corrcoef(axis[known], whitened[known, 2])[0, 1]) > 0.99


def test_judgement_of_groups_is_calibrated_and_robust():
    rng = np.random.default_rng(4)
    lines = np.repeat(["a", "b", "c"], [30, 20, 10])
    p = []
    for _ in range(30):
        variances = rng.uniform(0.001, 0.02, 60)
        usual = np.repeat([0.3, 2, -1], [30, 20, 10])
        logs = usual + rng.normal(0, 0.1, 60) + rng.normal(0, np.sqrt(variances))
        logs[::10] += 2
        found = against_others(np.exp(logs), variances, lines, 6)
        assert (found.p[::10] < 1e-4).all()
        p += np.delete(found.p, np.arange(0, 60, 10)).tolist()
    # one in ten that differs moves the usual value and widens what is usual: p is too large rather than too small
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.06


def test_groups_that_cannot_be_judged():
    few = against_others(np.array([1.0, 2, np.nan, 3]), np.full(4, 0.01), np.full(4, "a"), 4)
    assert np.isnan(few.z).all()
    assert np.isnan(few.p).all()
    values, lines = np.array([1.0, 1.1, 0.9, 1, 5, 7]), np.array(list("aaaabb"))
    some = against_others(values, np.full(6, 0.01), lines, 3)
    assert np.isfinite(some.z).tolist() == [True] * 4 + [False] * 2
    alike = against_others(np.ones(8), np.zeros(8), np.full(8, "a"), 4)
    assert np.allclose(alike.z, 0)
    assert len(against_others(np.zeros(0), np.zeros(0), np.zeros(0), 4).z) == 0


def test_entropy_and_robust_variation():
    assert location_entropy(pd.Series(list("aabb")), 4) == 1
    assert location_entropy(pd.Series(list("aaaa")), 4) == 0
    assert location_entropy(pd.Series(list("abcd" * 2)), 4) == 2
    assert location_entropy(pd.Series(["a", None, None, "b"]), 4) is None
    values = np.random.default_rng(5).normal(100, 10, 5000)
    assert robust_cv(values, 5) == pytest.approx(0.1, abs=0.005)
    bright = np.concatenate([np.full(70, 10.0), np.full(30, 90.0)])
    assert robust_cv(bright, 5) == pytest.approx(4)
    assert robust_cv(np.concatenate([np.full(90, 10.0), np.full(10, 90.0)]), 5) == 0
    logs = [np.log(robust_cv(rng.normal(100, 10, 60), 5)) for rng in map(np.random.default_rng, range(800))]
    assert 60 * np.var(logs) == pytest.approx(CV_VARIANCE, rel=0.15)
    assert robust_cv(values[:4], 5) is None
    assert robust_cv(np.zeros(9), 5) is None
