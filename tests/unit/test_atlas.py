import json

import numpy as np
import pandas as pd
import pytest
import umap
from anndata import read_h5ad
from fake_embeddings import Run, settings
from scipy.sparse import issparse
from wherein import embeddings
from wherein.analysis.atlas import build_atlas, cluster_table, draw_units, location
from wherein.analysis.projection import nearest
from wherein.labels import vocabulary


def build(run, folder, level="cell", names=None, onto=None, **over):
    paths = run.write(names)
    outputs = {
        "proteins": folder / "proteins.h5ad",
        "units": folder / "units.parquet",
        "clusters": folder / "clusters.tsv",
        "history": folder / "history.parquet",
        "moved": folder / "moved.tsv",
        "unit_map": folder / "map.npz",
        "summary": folder / "summary.json",
    }
    del paths["predictions"]
    build_atlas(model="m", level=level, settings=settings("atlas", **over), onto=onto, **paths, **outputs)
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


@pytest.mark.filterwarnings("ignore:.*precomputed_knn")
def test_scanpy_finds_components_graph_and_map(run, tmp_path):
    atlas, _, _, _ = build(run, tmp_path)
    scores = atlas.obsm["X_pca"].astype(float)
    np.testing.assert_allclose(atlas.uns["pca"]["variance"], scores.var(axis=0, ddof=1), rtol=1e-5)
    ratio = atlas.uns["pca"]["variance_ratio"]
    np.testing.assert_allclose(ratio / ratio[0], atlas.uns["pca"]["variance"] / atlas.uns["pca"]["variance"][0], 1e-4)
    told = atlas.uns["neighbors"]
    assert (told["connectivities_key"], told["distances_key"]) == ("connectivities", "distances")
    assert told["params"]["n_neighbors"] == 11
    assert (told["params"]["method"], told["params"]["metric"]) == ("umap", "euclidean")
    links, apart = atlas.obsp["connectivities"], atlas.obsp["distances"]
    assert issparse(links)
    assert issparse(apart)
    # of twelve proteins each has all others but the farthest among its eleven, itself included
    all_apart = np.linalg.norm(scores[:, None] - scores[None], axis=2)
    assert (np.diff(apart.indptr) == 10).all()
    np.testing.assert_allclose(apart.toarray()[apart.toarray() > 0], all_apart[apart.toarray() > 0], rtol=1e-5)
    assert (np.where(apart.toarray() > 0, 0, all_apart).argmax(axis=1) == all_apart.argmax(axis=1)).all()
    assert abs(links - links.T).max() < 1e-6
    assert 0 < links.data.min() <= links.data.max() <= 1
    assert not links.diagonal().any()
    # umap-learn's own graph of the same neighbours
    own = umap.UMAP(n_neighbors=11, random_state=0, n_epochs=1, n_jobs=1, precomputed_knn=nearest32(scores)).fit(scores)
    np.testing.assert_allclose(links.toarray(), own.graph_.toarray(), atol=1e-5)
    assert atlas.uns["umap"]["params"]["min_dist"] == 0.1
    assert atlas.uns["umap"]["params"]["a"] == pytest.approx(own._a)
    # a part of the proteins takes its part of the graph along
    assert atlas[:5].obsp["connectivities"].shape == (5, 5)


def nearest32(scores):
    indices, distances = nearest(scores, 11)
    return indices, distances.astype(np.float32)


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
    assert ("neighbors" in atlas.uns) == ("connectivities" in atlas.obsp) == ("umap" in atlas.uns) == (number >= 5)
    assert len(atlas.uns["pca"]["variance"]) == len(atlas.uns["pca"]["variance_ratio"])


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
    assert units["drawn"].sum() == 100
    assert np.isfinite(units[["umap_1", "umap_2"]].to_numpy()).all()
    assert any("100 of 150" in note for note in summary["notes"])
    assert (summary["laid_out"], summary["placed"]) == (100, 50)


def test_units_of_each_class_are_drawn_in_turn():
    locations = np.array(["a"] * 50 + ["b"] * 5 + ["Multi"] * 30 + [None] * 20, object)
    own = {"seed": 0, "units_per_class": 10, "umap_units": 1000}
    drawn, notes = draw_units(locations, own)
    assert [int(drawn[locations == name].sum()) for name in ("a", "b", "Multi", None)] == [10, 5, 10, 10]
    assert "35 of 105" in notes[0]
    assert draw_units(locations, own | {"umap_units": 12})[0].sum() == 12
    drawn, notes = draw_units(locations, own | {"units_per_class": 50})
    assert drawn.all()
    assert not notes
    assert draw_units(locations[:0], own)[0].shape == (0,)


def test_three_dimensions(run, tmp_path):
    atlas, units, _, summary = build(run, tmp_path, umap="le2022", units_per_class=40)
    assert atlas.obsm["X_umap"].shape == (12, 3)
    assert np.isfinite(units[["umap_1", "umap_2", "umap_3"]].to_numpy()).all()
    assert 0 < units["drawn"].sum() < len(units)
    assert "minimum distance 0.01" in summary["layout"]


def test_new_units_on_the_map_of_an_earlier_run(run, tmp_path):
    _, before, _, _ = build(run, tmp_path / "old")
    rng = np.random.default_rng(5)
    run.add("new", np.eye(3, 6)[0] * 8 + rng.normal(size=(9, 6)), labels=["Nucleoli"])
    _, units, _, summary = build(run, tmp_path / "new", onto=tmp_path / "old" / "map.npz")
    assert not units["drawn"].any()
    assert summary["placed"] == len(units) == len(before) + 9
    places = ["umap_1", "umap_2"]
    # units that were there stay where they were: each is its own nearest neighbour
    moved = np.linalg.norm(units[places].to_numpy()[: len(before)] - before[places].to_numpy(), axis=1)
    assert np.quantile(moved, 0.95) < 0.3
    known = before[before["location"] == "Nucleoli"][places].median()
    others = before[before["location"] == "Mitochondria"][places].median()
    fresh = units[units["gene"] == "new"][places].median()
    assert np.linalg.norm(fresh - known) < 0.5 * np.linalg.norm(fresh - others)
    assert (tmp_path / "new" / "map.npz").read_bytes() == (tmp_path / "old" / "map.npz").read_bytes()


def test_blocks_give_what_one_matrix_gives(run, tmp_path, monkeypatch):
    whole, _, _, _ = build(run, tmp_path / "whole", names=list("abcdef"), components=4)
    blocks = embeddings.Embeddings.blocks
    monkeypatch.setattr(embeddings.Embeddings, "blocks", lambda self, kept=None: blocks(self, kept, 7))
    parts, _, _, _ = build(run, tmp_path / "parts", names=list("abcdef"), components=4)
    assert np.allclose(whole.X, parts.X, atol=1e-5)
    assert np.allclose(whole.layers["scaled"], parts.layers["scaled"], atol=1e-5)
    assert np.allclose(whole.var[["centre", "spread"]], parts.var[["centre", "spread"]])
    assert np.allclose(whole.obsm["X_pca"], parts.obsm["X_pca"], atol=1e-3)


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
