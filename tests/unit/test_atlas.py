import json

import numpy as np
import pandas as pd
import pytest
from anndata import read_h5ad
from fake_embeddings import Run, settings
from wherein.analysis.atlas import build_atlas, cluster_table, location
from wherein.labels import vocabulary


def build(run, folder, level="cell", names=None, **over):
    paths = run.write(names)
    outputs = {
        "proteins": folder / "proteins.h5ad",
        "units": folder / "units.parquet",
        "clusters": folder / "clusters.tsv",
        "history": folder / "history.parquet",
        "moved": folder / "moved.tsv",
        "summary": folder / "summary.json",
    }
    del paths["predictions"]
    build_atlas(model="m", level=level, settings=settings("atlas", **over), **paths, **outputs)
    return (
        read_h5ad(outputs["proteins"]),
        pd.read_parquet(outputs["units"]),
        pd.read_csv(outputs["clusters"], sep="\t"),
        json.loads(outputs["summary"].read_text()),
    )


@pytest.fixture
def run(tmp_path):
    """Twelve proteins of three locations, two fields each, and a control."""
    rng = np.random.default_rng(0)
    run = Run(tmp_path)
    for protein in range(12):
        kind = protein % 3
        for place in range(2):
            vectors = np.eye(3, 6)[kind] * 8 + rng.normal(size=(9, 6))
            labels = [["Nucleoli"], ["Mitochondria"], ["Cytosol", "Plasma membrane"]][kind]
            run.add(f"G{protein}", vectors, labels=labels, cell_line=["U2OS", "HeLa"][place])
    run.add(None, rng.normal(size=(9, 6)), control=True, labels=[])
    return run


def test_atlas_of_known_groups(run, tmp_path):
    atlas, units, clusters, summary = build(run, tmp_path, clusters=3)
    assert atlas.obs_names.tolist() == sorted(f"G{n}" for n in range(12))
    assert set(atlas.obs["n_units"]) == {18}
    assert set(atlas.obs["n_fields"]) == {2}
    assert set(atlas.obs["cell_lines"]) == {"HeLa;U2OS"}
    assert atlas.obs.loc["G0", "location"] == "Nucleoli"
    assert atlas.obs.loc["G2", "location"] == "Multi"
    assert atlas.obs.loc["G2", "labels"] == "Cytosol;Plasma membrane"
    assert atlas.obs.groupby("cluster", observed=True)["location"].nunique().tolist() == [1, 1, 1]
    assert atlas.uns["linkage"].shape == (11, 4)
    assert sorted(atlas.obs["leaf"]) == list(range(12))
    assert atlas.obsm["X_umap"].shape == (12, 2)
    assert np.isfinite(atlas.obsm["X_umap"]).all()
    assert atlas.uns["pca"]["variance_ratio"][:2].sum() > 0.8
    assert json.loads(atlas.uns["wherein"])["settings"]["seed"] == 0
    assert clusters["cluster"].tolist() == [1, 2, 3]
    assert clusters["n_proteins"].tolist() == [4, 4, 4]
    assert (clusters["top_location_share"] == 1).all()
    assert len(units) == 25 * 9
    assert units["control"].sum() == 9
    assert units.loc[units["control"], ["gene", "location"]].isna().all().all()
    assert np.isfinite(units[["umap_1", "umap_2"]].to_numpy()).all()
    assert summary["counts"] == {"in": 225, "kept": 225}


def test_means_are_those_of_the_vectors(run, tmp_path):
    atlas, _, _, _ = build(run, tmp_path)
    expected = np.concatenate([run.vectors[6], run.vectors[7]]).mean(0)
    assert np.allclose(atlas["G3"].X[0], expected, atol=1e-5)
    assert np.allclose(atlas.layers["scaled"], atlas.X - np.concatenate(run.vectors).mean(0), atol=1e-4)
    loadings = atlas.varm["PCs"]
    centred = atlas.layers["scaled"] - atlas.layers["scaled"].mean(0)
    assert np.allclose(centred @ loadings, atlas.obsm["X_pca"], atol=1e-3)


def test_same_input_same_content(run, tmp_path):
    first, units, _, _ = build(run, tmp_path)
    bytes_before = (tmp_path / "proteins.h5ad").read_bytes(), (tmp_path / "units.parquet").read_bytes()
    second, again, _, _ = build(run, tmp_path)
    assert np.array_equal(first.obsm["X_umap"], second.obsm["X_umap"])
    assert units.equals(again)
    assert bytes_before == ((tmp_path / "proteins.h5ad").read_bytes(), (tmp_path / "units.parquet").read_bytes())


@pytest.mark.parametrize("level", ["cell", "field"])
@pytest.mark.parametrize("number", [0, 1, 2, 3, 5])
def test_any_number_of_proteins(tmp_path, number, level):
    rng = np.random.default_rng(1)
    run = Run(tmp_path, level)
    for protein in range(number):
        run.add(f"G{protein}", rng.normal(size=(3 if level == "cell" else 1, 4)))
    atlas, units, clusters, summary = build(run, tmp_path, level)
    assert atlas.n_obs == number
    assert atlas.uns["linkage"].shape == (max(0, number - 1), 4)
    assert atlas.obsm["X_umap"].shape == (number, 2)
    assert clusters["n_proteins"].sum() == number
    assert len(units) == number * (3 if level == "cell" else 1)
    assert any("too few for UMAP" in note for note in summary["notes"]) == (number < 5)


def test_only_controls(tmp_path):
    run = Run(tmp_path)
    run.add(None, np.random.default_rng(2).normal(size=(20, 4)), control=True)
    atlas, units, clusters, _ = build(run, tmp_path)
    assert atlas.n_obs == 0
    assert len(units) == 20
    assert len(clusters) == 0


def test_unknown_terms_missing_names_and_missing_values_are_told(tmp_path):
    rng = np.random.default_rng(3)
    run = Run(tmp_path)
    vectors = rng.normal(size=(6, 3))
    vectors[0, 0] = np.nan
    run.add("A", vectors, labels=["Nowhere special"])
    run.add(None, rng.normal(size=(4, 3)), labels=[])
    atlas, units, _, summary = build(run, tmp_path, names=["a", "b", "c"])
    notes = " ".join(summary["notes"])
    assert "Nowhere special" in notes
    assert "4 units have no gene" in notes
    assert "1 of 30 values" in notes
    assert pd.isna(atlas.obs.loc["A", "location"])
    assert atlas.var_names.tolist() == ["a", "b", "c"]
    assert len(units) == 10


def test_more_units_than_the_map_takes(tmp_path):
    run = Run(tmp_path)
    run.add("A", np.random.default_rng(4).normal(size=(150, 3)))
    _, units, _, summary = build(run, tmp_path, umap_units=100)
    assert units["umap_1"].notna().sum() == 100
    assert any("100 of 150" in note for note in summary["notes"])


def test_location_of_several_fields():
    words = vocabulary("hpa19")
    assert location(words, [["Cytosol"], ["Cytosol"]]) == "Cytosol"
    assert location(words, [["Cytosol"], ["Nucleoli"]]) == "Multi"
    assert location(words, [[], None]) is None


def test_most_frequent_location_of_a_cluster():
    obs = pd.DataFrame(
        {"leaf": [2, 1, 0, 3], "cluster": pd.Categorical(["1", "1", "1", "2"]), "location": ["b", "a", None, None]},
        index=list("wxyz"),
    )
    table = cluster_table(obs)
    assert table["genes"].tolist() == ["y;x;w", "z"]
    assert table["top_location"].tolist() == ["a", None]
    assert table["top_location_share"].iloc[0] == pytest.approx(1 / 3)
