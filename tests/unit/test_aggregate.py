import numpy as np
import pandas as pd
import pytest
from fake_embeddings import Run
from wherein.analysis.aggregate import (
    NORMAL_MAD,
    fit_scale,
    group_means,
    open_units,
    protein_name,
    read_units,
    scale_of_stream,
    scaled_units,
)
from wherein.analysis.sums import GroupSums, Moments
from wherein.embeddings import EmbeddingError, open_embeddings
from wherein.tables import SAMPLES, write_table, write_vectors


def test_units_join_catalog_and_ledger(tmp_path):
    run = Run(tmp_path)
    run.add(["A", "B"], np.arange(8.0).reshape(2, 4), cell_line="HeLa")
    run.add(None, np.ones((3, 4)), control=True)
    paths = run.write()
    units = read_units(paths["embeddings"], paths["fields"], paths["cells"], ledger_columns=["mean_protein"])
    assert units.level == "cell"
    assert units.table["protein"].tolist() == ["A/B", "A/B", None, None, None]
    assert units.table["control"].tolist() == [False, False, True, True, True]
    assert units.table["cell_line"].tolist()[:2] == ["HeLa"] * 2
    assert (units.table["mean_protein"] == 100).all()
    assert units.features == ["f0000", "f0001", "f0002", "f0003"]
    assert not units.named
    assert np.array_equal(units.vectors[:2], np.arange(8.0).reshape(2, 4))
    assert units.dropped == {}


def test_retired_versions_and_rejected_cells_are_left_out(tmp_path):
    run = Run(tmp_path)
    run.add("A", np.zeros((2, 4)), version="old", field_id="f", retired_in="2")
    run.add("A", np.ones((3, 4)), version="new", field_id="f")
    run.cells[-1] |= {"status": "rejected", "reason": "overridden"}
    paths = run.write()
    units = read_units(paths["embeddings"], paths["fields"], paths["cells"])
    assert units.table["version"].tolist() == ["new", "new"]
    assert units.dropped == {"retired": 2, "overridden": 1}
    assert (units.vectors == 1).all()


def test_units_of_small_samples_are_left_out(tmp_path):
    run = Run(tmp_path)
    run.add("A", np.zeros((2, 4)), version="v", field_id="few")
    run.add("B", np.ones((6, 4)), version="v", field_id="many")
    paths = run.write()
    rows = [
        {"field_id": name, "version": "v", "status": status} for name, status in (("few", "rejected"), ("many", "kept"))
    ]
    write_table(tmp_path / "samples.parquet", pd.DataFrame(rows), SAMPLES)
    units = read_units(paths["embeddings"], paths["fields"], paths["cells"], samples=tmp_path / "samples.parquet")
    assert units.table["protein"].tolist() == ["B"] * 6
    assert units.dropped == {"small_sample": 2}
    assert (units.vectors == 1).all()


def test_level_field_follows_quality_control(tmp_path):
    run = Run(tmp_path, level="field")
    run.add("A", np.zeros((1, 4)))
    run.add("B", np.ones((1, 4)))
    paths = run.write()
    assert len(read_units(paths["embeddings"], paths["fields"], paths["cells"]).table) == 2
    units = read_units(paths["embeddings"], paths["fields"], paths["cells"], paths["qc"], "field")
    assert units.table["protein"].tolist() == ["A", "B"]


def test_shards_with_different_features_share_what_they_can(tmp_path):
    first, second = Run(tmp_path / "1"), Run(tmp_path / "2")
    first.add("A", np.array([[1.0, 2.0, 3.0]]))
    second.add("B", np.array([[30.0, 10.0]]))
    one, two = first.write(["x", "y", "z"]), second.write(["z", "x"])
    both = first.fields + [row | {"field_id": "other"} for row in second.fields]
    second.fields[0]["field_id"] = second.cells[0]["field_id"] = "other"
    second.cells[0]["cell_id"] = "other@v1:1"
    two = second.write(["z", "x"])
    import pandas as pd
    from wherein.tables import FIELDS

    write_table(tmp_path / "fields.parquet", pd.DataFrame(both, columns=FIELDS.names), FIELDS)
    units = read_units(one["embeddings"] + two["embeddings"], tmp_path / "fields.parquet", one["cells"] + two["cells"])
    assert units.features == ["x", "z"]
    assert units.vectors.tolist() == [[1, 3], [10, 30]]
    assert any("y" in note for note in units.notes)


def test_shards_without_common_features_are_an_error(tmp_path):
    import pandas as pd

    units = pd.DataFrame({"unit_id": ["u"], "field_id": ["f"], "version": ["v"]})
    write_vectors(tmp_path / "a.parquet", units, np.zeros((1, 2)))
    write_vectors(tmp_path / "b.parquet", units, np.zeros((1, 3)))
    with pytest.raises(EmbeddingError, match="2, 3 features"):
        read_units([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "none", [])


def test_no_units_at_all(tmp_path):
    paths = Run(tmp_path).write()
    units = read_units(paths["embeddings"], paths["fields"], paths["cells"], paths["qc"], "cell")
    scaled, _, notes = scaled_units(units, "auto", 10)
    assert len(units.table) == 0
    assert scaled.shape == (0, 0)
    assert notes == []


def test_protein_name():
    assert protein_name(["A", "B", "A"], []) == "A/B"
    assert protein_name(None, ["ENSG1"]) == "ENSG1"
    assert protein_name(np.array([], object), None) is None


def test_robust_scale_ignores_outliers_and_limits_them():
    rng = np.random.default_rng(0)
    vectors = rng.normal(5, 2, (2000, 1)).astype(np.float32)
    vectors[:20] = 1e6
    scale = fit_scale(vectors, "robust", 10)
    assert abs(scale.centre[0] - 5) < 0.3
    assert abs(scale.spread[0] - 2) < 0.3
    assert scale.apply(vectors).max() == 10


def test_scale_by_brute_force():
    vectors = np.random.default_rng(1).gamma(2, 3, (301, 3))
    median = np.median(vectors, 0)
    spread = NORMAL_MAD * np.median(np.abs(vectors - median), 0)
    assert np.allclose(fit_scale(vectors, "robust").apply(vectors), (vectors - median) / spread, atol=1e-5)
    standard = (vectors - vectors.mean(0)) / vectors.std(0)
    assert np.allclose(fit_scale(vectors, "standard").apply(vectors), standard, atol=1e-5)
    assert np.allclose(fit_scale(vectors, "none").apply(vectors), vectors - vectors.mean(0), atol=1e-5)
    with pytest.raises(ValueError, match="robust, standard, none"):
        fit_scale(vectors, "min-max")


def test_missing_and_constant_features(tmp_path):
    run = Run(tmp_path)
    vectors = np.array([[1, 7, np.nan, 0], [2, 7, np.nan, 0], [np.nan, 7, np.nan, 0], [4, 7, np.inf, 9]], float)
    run.add("A", vectors)
    paths = run.write(["varies", "constant", "unknown", "rare"])
    units = read_units(paths["embeddings"], paths["fields"], paths["cells"])
    scaled, scale, notes = scaled_units(units, "auto", None)
    assert scale.used.tolist() == [True, False, False, True]
    assert scale.median[0] == 2
    assert np.isfinite(scaled).all()
    assert scaled[2, 0] == 0, "an unknown value takes the median"
    assert (scaled[:, 1:3] == 0).all()
    assert scaled[3, 3] > 1, "a feature that most units share still counts where it differs"
    assert any("5 of 16" in note for note in notes)
    assert any("constant, unknown" in note for note in notes)


def test_group_means_by_brute_force():
    rng = np.random.default_rng(2)
    vectors, codes = rng.normal(size=(100, 3)), rng.integers(-1, 5, 100)
    means = group_means(vectors, codes, 6)
    for group in range(5):
        assert np.allclose(means[group], vectors[codes == group].mean(0))
    assert np.isnan(means[5]).all()


def test_stream_of_units_is_the_matrix_in_blocks(tmp_path):
    run, rng = Run(tmp_path), np.random.default_rng(3)
    for gene in "ABC":
        run.add(gene, rng.gamma(2, 3, (40, 3)) + np.array([0, 1000, 0]))
    run.cells[7] |= {"status": "rejected", "reason": "overridden"}
    run.vectors[1][3, 2] = np.nan
    paths = run.write(["x", "y", "z"])
    wanted = (paths["embeddings"], paths["fields"], paths["cells"])
    units, stream = read_units(*wanted), open_units(*wanted)
    stream.embeddings.blocks = lambda kept: (units.vectors[start : start + 25] for start in range(0, 119, 25))
    rows = [rows for rows, _ in stream.blocks()]
    assert [(own.start, own.stop) for own in rows] == [(0, 25), (25, 50), (50, 75), (75, 100), (100, 119)]
    pd.testing.assert_frame_equal(units.table, stream.table)
    _, whole, notes = scaled_units(units, "robust", 10)
    scale, told = scale_of_stream(stream, "robust", 10, 1000, 0)
    assert told == notes
    for name in ("median", "centre", "spread", "used"):
        assert np.allclose(getattr(scale, name), getattr(whole, name))
    some, told = scale_of_stream(stream, "robust", 10, 100, 0)
    assert "100 of 119" in told[0]
    assert np.allclose(some.centre, whole.centre, rtol=0.1)
    assert not np.allclose(some.centre, whole.centre, rtol=1e-9)
    # means and deviations are those of all, however few are drawn
    assert np.allclose(scale_of_stream(stream, "standard", None, 100, 0)[0].spread, np.nanstd(units.vectors, 0))


def test_vectors_are_read_in_blocks_of_kept_rows(tmp_path):
    vectors = np.random.default_rng(4).normal(size=(10, 3)).astype(np.float32)
    units = pd.DataFrame({name: [str(row) for row in range(10)] for name in ("unit_id", "field_id", "version")})
    write_vectors(tmp_path / "a.parquet", units[:6], vectors[:6], {"dimensions": ["x", "y", "z"]})
    write_vectors(tmp_path / "b.parquet", units[6:6], vectors[6:6], {"dimensions": ["x", "y", "z"]})
    write_vectors(tmp_path / "c.parquet", units[6:], vectors[6:, ::-1], {"dimensions": ["z", "y", "x"]})
    found = open_embeddings([tmp_path / f"{name}.parquet" for name in "abc"])
    assert found.features == ["x", "y", "z"]
    kept = np.array([1, 0, 1, 1, 0, 1, 0, 0, 0, 1], bool)
    for rows in (1, 2, 4, 100):
        blocks = list(found.blocks(kept, rows))
        assert all(0 < len(block) <= rows for block in blocks)
        assert np.array_equal(np.concatenate(blocks), vectors[kept])
    assert np.array_equal(np.concatenate(list(found.blocks())), vectors)


def test_moments_of_blocks_by_brute_force():
    rng = np.random.default_rng(5)
    vectors = rng.normal(1e6, 2, (300, 4))
    vectors[rng.random((300, 4)) < 0.1] = np.nan
    vectors[:, 3] = np.nan
    moments = Moments(4)
    for start in (0, 1, 100, 250):
        moments.add(vectors[start : {0: 1, 1: 100, 100: 250, 250: 300}[start]])
    assert np.allclose(moments.mean[:3], np.nanmean(vectors[:, :3], axis=0), rtol=1e-12)
    assert np.allclose(np.sqrt(moments.squares / np.maximum(moments.count, 1))[:3], np.nanstd(vectors[:, :3], axis=0))
    assert moments.unknown == np.isnan(vectors).sum()
    assert (moments.mean[3], moments.largest[3]) == (0, 0)


def test_group_sums_by_brute_force():
    rng = np.random.default_rng(6)
    vectors, codes = rng.normal(size=(100, 3)).astype(np.float32), rng.integers(-1, 5, 100)
    sums = GroupSums(6, 3)
    for start in range(0, 100, 13):
        sums.add(vectors[start : start + 13], codes[start : start + 13])
    sums.add(vectors[:2], np.array([-1, -1]))
    assert np.allclose(sums.means(), group_means(vectors, codes, 6), equal_nan=True)
    assert sums.counts.tolist() == [*np.bincount(codes[codes >= 0], minlength=5), 0]
