"""Units of several shards put together to fields, samples, reagents and proteins."""

import json
from itertools import pairwise

import anndata
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from fake_embeddings import Run, settings
from wherein.analysis import cells_level
from wherein.analysis.aggregating import LEVELS, aggregate_units, open_shards
from wherein.analysis.atlas import build_atlas
from wherein.analysis.unit_weights import LEAST_WEIGHT, unit_weights
from wherein.embeddings import EmbeddingError
from wherein.tables import SEGMENTATION, read_metadata, read_vectors, write_table, write_vectors

ROWS = ["unit_id", "field_id", "version"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four proteins of two reagents and three fields each, in two shards, and a control; one value is not known."""
    folder = tmp_path_factory.mktemp("levels")
    rng = np.random.default_rng(0)
    own = Run(folder)
    for protein in range(4):
        for place in range(3):
            vectors = 5 * np.eye(4, 5)[protein % 4] + rng.normal(size=(6, 5))
            reagent = f"HPA{protein}{place // 2}"
            own.add(f"G{protein}", vectors, reagent=reagent, sample=f"{reagent}/U2OS", labels=["Nucleoli"])
    own.vectors[0][0, 1] = np.nan
    own.add(None, rng.normal(size=(6, 5)), control=True, labels=[], sample="control/U2OS")
    paths = own.write(list("abcde"))
    units, vectors = read_vectors(paths["embeddings"])
    said = read_metadata(paths["embeddings"][0])
    shards = []
    for number, rows in enumerate((slice(0, 40), slice(40, None))):
        # a field's cells may not lie in two shards: 40 is in the middle of one, which the code does not mind
        order = [0, 1, 2, 3, 4] if number == 0 else [4, 3, 2, 1, 0]
        path = folder / f"a-000{number}.parquet"
        names = [list("abcde")[place] for place in order]
        write_vectors(path, units.iloc[rows], vectors[rows][:, order], said | {"dimensions": names})
        shards.append(path)
    atlas = {name: folder / name for name in ("units", "clusters", "unit_map", "history", "moved")}
    build_atlas(
        "m", "cell", paths["fields"], paths["qc"], paths["cells"], paths["embeddings"], settings("atlas"),
        folder / "proteins.h5ad", **atlas, summary=folder / "atlas.json",
    )  # fmt: skip
    return folder, paths, shards, own


def put_together(run, folder, **over):
    root, paths, shards, _ = run
    quality = over.pop("quality", [])
    aggregate_units(
        "m", "cell", paths["fields"], paths["qc"] * 2, paths["cells"] * 2, shards, quality, paths["predictions"],
        root / "proteins.h5ad", settings("atlas", **over), folder / "levels", folder / "summary.json",
        map_of_units=root / "units",
    )  # fmt: skip
    return {name: anndata.read_h5ad(folder / "levels" / f"{name}.h5ad") for name in LEVELS}


@pytest.fixture(scope="module")
def plain(run, tmp_path_factory):
    """What the defaults give, and the folder that it lies in."""
    folder = tmp_path_factory.mktemp("plain")
    return put_together(run, folder), folder


def test_levels_are_means_over_all_shards(run, plain):
    found, folder = plain
    assert {name: level.n_obs for name, level in found.items()} == {
        "fields": 13, "samples": 9, "reagents": 8, "proteins": 4,
    }  # fmt: skip
    own = run[3]
    vectors = np.concatenate(own.vectors)
    genes = np.repeat([row["genes"][0] if row["genes"] else "" for row in own.fields], 6)
    reagents = np.repeat([row.get("reagent") or "" for row in own.fields], 6)
    proteins, by_reagent = found["proteins"], found["reagents"]
    assert list(proteins.var_names) == list("abcde")
    for gene in proteins.obs_names:
        np.testing.assert_allclose(proteins[gene].X[0], np.nanmean(vectors[genes == gene], axis=0), rtol=1e-5)
    np.testing.assert_allclose(by_reagent["G3/HPA31"].X[0], vectors[reagents == "HPA31"].mean(axis=0), rtol=1e-5)
    assert proteins.obs.loc["G0", "n_units"] == 18
    assert proteins.obs.loc["G0", "n_samples"] == 2
    assert proteins.obs.loc["G0", "reagents"] == "HPA00;HPA01"
    assert found["samples"].obs["control"].sum() == 1
    assert found["fields"].obs["n_units"].eq(6).all()
    counts = json.loads((folder / "summary.json").read_text())["counts"]
    assert counts == {"in": 78, "kept": 78}


def test_what_scanpy_looks_for_is_there(run, plain):
    found, _ = plain
    atlas = anndata.read_h5ad(run[0] / "proteins.h5ad")
    proteins = found["proteins"]
    np.testing.assert_array_equal(proteins.obsm["X_umap"], atlas[proteins.obs_names].obsm["X_umap"])
    assert proteins.obs["cluster"].tolist() == atlas[proteins.obs_names].obs["cluster"].tolist()
    # nothing was clipped, and every protein has its value: places on the atlas's components are the atlas's own
    fields = found["fields"]
    assert fields.obsm["X_pca"].shape == (13, proteins.obsm["X_pca"].shape[1])
    means = pd.DataFrame(fields.obsm["X_pca"], fields.obs_names).groupby(fields.obs["genes"].to_numpy()).mean()
    apart = np.linalg.norm(means.loc["G2"].to_numpy() - proteins.obsm["X_pca"], axis=1)
    assert proteins.obs_names[apart.argmin()] == "G2"
    for level in found.values():
        np.testing.assert_array_equal(level.uns["pca"]["variance"], atlas.uns["pca"]["variance"])
        assert len(level.uns["pca"]["variance_ratio"]) == level.varm["PCs"].shape[1]
    chances = proteins.obsm["probabilities"]
    assert chances.columns.tolist() == ["Cytosol"]
    np.testing.assert_allclose(chances["Cytosol"], 1)
    assert json.loads(proteins.uns["wherein"]) == {
        "model": "m", "units": "cell", "aggregation": "mean", "weights": "none", "level": "proteins",
    }  # fmt: skip


def test_fields_have_places_where_the_map_is_of_fields(tmp_path):
    rng = np.random.default_rng(1)
    own = Run(tmp_path, "field")
    for number in range(3):
        own.add(f"G{number}", rng.normal(size=(1, 4)), reagent=f"R{number}", sample=f"R{number}/U2OS")
    paths = own.write(list("abcd"))
    atlas = {name: tmp_path / name for name in ("units", "clusters", "unit_map", "history", "moved")}
    inputs = [paths[name] for name in ("fields", "qc", "cells", "embeddings")]
    build_atlas(
        "m", "field", *inputs, settings("atlas"), tmp_path / "proteins.h5ad", **atlas, summary=tmp_path / "atlas.json"
    )
    aggregate_units(
        "m", "field", *inputs, [], paths["predictions"], tmp_path / "proteins.h5ad", settings("atlas"),
        tmp_path / "levels", tmp_path / "summary.json", map_of_units=tmp_path / "units",
    )  # fmt: skip
    found = anndata.read_h5ad(tmp_path / "levels" / "fields.h5ad")
    placed = pd.read_parquet(tmp_path / "units").set_index("unit_id").loc[found.obs_names]
    assert np.isfinite(found.obsm["X_umap"]).all()
    np.testing.assert_array_equal(found.obsm["X_umap"], placed[["umap_1", "umap_2"]])
    assert "X_umap" not in anndata.read_h5ad(tmp_path / "levels" / "samples.h5ad").obsm


def test_all_forms_hold_the_same(plain):
    found, folder = plain
    for name in LEVELS:
        zarr = anndata.read_zarr(folder / "levels" / f"{name}.zarr")
        np.testing.assert_array_equal(zarr.X, found[name].X)
        pd.testing.assert_frame_equal(zarr.obs, found[name].obs)
        table = pq.read_table(folder / "levels" / f"{name}.parquet").to_pandas()
        np.testing.assert_array_equal(np.stack(table["vector"]), found[name].X)
        assert table["name"].tolist() == found[name].obs_names.tolist()


def test_a_median_is_asked_for_by_name(run, tmp_path):
    found = put_together(run, tmp_path, aggregation="median")["proteins"]
    vectors = np.concatenate(run[3].vectors)
    np.testing.assert_allclose(found["G0"].X[0], np.nanmedian(vectors[:18], axis=0), rtol=1e-5)


def test_the_atlas_takes_the_same_vectors(run, tmp_path):
    root, paths, *_ = run
    atlas = {name: tmp_path / name for name in ("units", "clusters", "unit_map", "history", "moved")}
    build_atlas(
        "m", "cell", paths["fields"], paths["qc"], paths["cells"], paths["embeddings"],
        settings("atlas", aggregation="geometric_median"), tmp_path / "proteins.h5ad", **atlas,
        summary=tmp_path / "atlas.json",
    )  # fmt: skip
    found = anndata.read_h5ad(tmp_path / "proteins.h5ad")
    levels = put_together(run, tmp_path, aggregation="geometric_median")["proteins"]
    # but for G0, of which the atlas fills in the one value that is not known
    same = [name for name in found.obs_names if name != "G0"]
    np.testing.assert_allclose(found[same].X, levels[same].X, rtol=1e-4, atol=1e-5)
    assert np.abs(found.X - anndata.read_h5ad(root / "proteins.h5ad").X).max() > 0.01


def test_weights_come_from_the_outlines(run, plain, tmp_path):
    units = open_shards(run[2], run[1]["cells"] * 2, run[1]["qc"] * 2, run[1]["fields"], "cell", None)
    ids = units.unit_ids
    rows = pd.DataFrame(
        {"cell_id": ids[:3], "solidity": [0.5, 1, 0], "disagreement": [0.2, None, 0.5], "score": [None, 0.9, 0]}
    )
    write_table(tmp_path / "quality.parquet", rows, SEGMENTATION)
    weights, notes = unit_weights("quality", [tmp_path / "quality.parquet"], ids, "cell")
    np.testing.assert_allclose(weights[:4], [0.5 * 0.8, 0.9, LEAST_WEIGHT, 1], rtol=1e-6)
    assert notes == [f"{len(ids) - 3} units have no outline of the run and count in full"]
    assert unit_weights("none", [], ids, "cell") == (None, [])
    assert unit_weights("quality", [], ids, "cell")[0] is None
    weighted = put_together(run, tmp_path, weights="quality", quality=[tmp_path / "quality.parquet"])["proteins"]
    vectors = np.concatenate(run[3].vectors)[:18]
    known = np.isfinite(vectors)
    share = known * weights[:18, None]
    expected = (np.where(known, vectors, 0) * share).sum(axis=0) / share.sum(axis=0)
    np.testing.assert_allclose(weighted["G0"].X[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(weighted["G1"].X, plain[0]["proteins"]["G1"].X)


@pytest.mark.parametrize("aggregation", ["mean", "trimmed"])
def test_the_atlas_weighs_as_the_levels_do(run, tmp_path, aggregation):
    root, paths, shards, own = run
    ids = open_shards(shards, paths["cells"] * 2, paths["qc"] * 2, paths["fields"], "cell", None).unit_ids
    solidity = np.random.default_rng(3).uniform(0.1, 1, len(ids))
    write_table(tmp_path / "quality.parquet", pd.DataFrame({"cell_id": ids, "solidity": solidity}), SEGMENTATION)
    asked = {"weights": "quality", "aggregation": aggregation}
    atlas = {name: tmp_path / name for name in ("units", "clusters", "unit_map", "history", "moved")}
    build_atlas(
        "m", "cell", paths["fields"], paths["qc"], paths["cells"], paths["embeddings"], settings("atlas", **asked),
        tmp_path / "proteins.h5ad", **atlas, summary=tmp_path / "atlas.json", quality=[tmp_path / "quality.parquet"],
    )  # fmt: skip
    found = anndata.read_h5ad(tmp_path / "proteins.h5ad")
    levels = put_together(run, tmp_path, quality=[tmp_path / "quality.parquet"], **asked)["proteins"]
    same = [name for name in found.obs_names if name != "G0"]
    np.testing.assert_allclose(found[same].X, levels[same].X, rtol=1e-4, atol=1e-5)
    if aggregation == "mean":
        vectors = np.concatenate(own.vectors)[18:36]
        np.testing.assert_allclose(found["G1"].X[0], np.average(vectors, axis=0, weights=solidity[18:36]), rtol=1e-4)
    assert np.abs(found.X - anndata.read_h5ad(root / "proteins.h5ad").X).max() > 0.01


def test_cells_as_they_are(run, plain):
    _, folder = plain
    vectors = np.concatenate(run[3].vectors)
    atlas = anndata.read_h5ad(run[0] / "proteins.h5ad")
    backed = anndata.read_h5ad(folder / "levels" / "cells.h5ad", backed="r")
    whole = anndata.read_zarr(folder / "levels" / "cells.zarr")
    assert backed.isbacked
    assert backed.shape == whole.shape == (78, 5)
    units = open_shards(run[2], run[1]["cells"] * 2, run[1]["qc"] * 2, run[1]["fields"], "cell", None)
    assert backed.obs_names.tolist() == list(units.unit_ids)
    np.testing.assert_allclose(backed[:].to_memory().X, vectors.astype(np.float32))
    np.testing.assert_array_equal(whole.X, backed[:].to_memory().X)
    pd.testing.assert_frame_equal(whole.obs, backed.obs)
    assert backed.obs["gene"].value_counts().to_dict() == {f"G{number}": 18 for number in range(4)}
    assert backed.obs["gene"].isna().sum() == backed.obs["control"].sum() == 6
    assert set(backed.obs["location"].dropna()) == {"Nucleoli"}
    # places on the atlas's components by hand
    scaled = (vectors - atlas.var["centre"].to_numpy()) / atlas.var["spread"].to_numpy()
    scaled = np.clip(np.where(np.isfinite(scaled), scaled, 0), -10, 10) * atlas.var["used"].to_numpy()
    expected = (scaled - atlas.layers["scaled"].mean(axis=0)) @ atlas.varm["PCs"]
    np.testing.assert_allclose(backed.obsm["X_pca"], expected, atol=1e-4)
    np.testing.assert_array_equal(whole.obsm["X_pca"], backed.obsm["X_pca"])
    placed = pd.read_parquet(run[0] / "units").set_index("unit_id").loc[backed.obs_names]
    np.testing.assert_array_equal(backed.obsm["X_umap"], placed[["umap_1", "umap_2"]])
    np.testing.assert_array_equal(backed.uns["pca"]["variance_ratio"], atlas.uns["pca"]["variance_ratio"])
    assert backed.obsm["probabilities"].columns.tolist() == ["Cytosol"]
    assert json.loads(backed.uns["wherein"])["level"] == "cells"


def test_cells_are_streamed_in_pieces_that_end_where_files_do(tmp_path, monkeypatch):
    monkeypatch.setattr(cells_level, "CHUNK", 4)
    monkeypatch.setattr(cells_level, "SHARD", 2)
    vectors = np.random.default_rng(0).normal(size=(37, 3)).astype(np.float32)
    cuts = [0, 1, 1, 13, 14, 37]
    wrote = []

    def blocks(wanted):
        assert wanted.all()
        for start, stop in pairwise(cuts):
            if stop > start:
                yield np.arange(start, stop), vectors[start:stop]

    gathered = cells_level._gathered
    monkeypatch.setattr(
        cells_level, "_gathered", lambda *own: ((wrote.append(row), (row, v))[1] for row, v in gathered(*own))
    )
    skeleton = anndata.AnnData(
        obs=pd.DataFrame(index=[f"c{n}" for n in range(37)]), var=pd.DataFrame(index=list("abc"))
    )
    cells_level.write_cells(tmp_path, skeleton, blocks, 3, None)
    assert [(row.start, row.stop) for row in wrote] == [(0, 8), (8, 16), (16, 24), (24, 32), (32, 37)]
    found = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    np.testing.assert_array_equal(found[:].to_memory().X, vectors)
    np.testing.assert_array_equal(anndata.read_zarr(tmp_path / "cells.zarr").X, vectors)
    cuts[-1] = 30
    with pytest.raises(ValueError, match="37 cells were described and 30 vectors were read"):
        cells_level.write_cells(tmp_path, skeleton, blocks, 3, None)


def test_no_cells(tmp_path):
    skeleton = anndata.AnnData(obs=pd.DataFrame(index=pd.Index([], dtype=object)), var=pd.DataFrame(index=list("abc")))
    cells_level.write_cells(tmp_path, skeleton, lambda wanted: iter(()), 3, None)
    assert anndata.read_h5ad(tmp_path / "cells.h5ad").shape == (0, 3)
    assert anndata.read_zarr(tmp_path / "cells.zarr").shape == (0, 3)


def test_only_shards_that_are_asked_for_are_read(run):
    units = open_shards(run[2], run[1]["cells"] * 2, run[1]["qc"] * 2, run[1]["fields"], "cell", None)
    wanted = np.zeros(len(units.unit_ids), bool)
    wanted[[2, 5]] = True
    ((rows, vectors),) = list(units.blocks(wanted))
    assert rows.tolist() == [2, 5]
    np.testing.assert_allclose(vectors, np.concatenate(run[3].vectors)[[2, 5]], rtol=1e-6)


def whole(folder, vectors, names=None, **over):
    """An atlas and its levels of proteins whose fields have these vectors, (proteins, fields, cells, D)."""
    folder.mkdir()
    run = Run(folder)
    for number, fields in enumerate(vectors):
        for own in fields:
            run.add(f"G{number}", own)
    paths = run.write(names)
    atlas = {name: folder / name for name in ("units", "clusters", "unit_map", "history", "moved")}
    build_atlas(
        "m", "cell", paths["fields"], paths["qc"], paths["cells"], paths["embeddings"], settings("atlas", **over),
        folder / "proteins.h5ad", **atlas, summary=folder / "atlas.json",
    )  # fmt: skip
    aggregate_units(
        "m", "cell", paths["fields"], paths["qc"], paths["cells"], paths["embeddings"], [], paths["predictions"],
        folder / "proteins.h5ad", settings("atlas", **over), folder / "levels", folder / "summary.json",
    )  # fmt: skip
    return folder / "levels", anndata.read_h5ad(folder / "proteins.h5ad")


def test_what_the_atlas_does_not_scale_is_not_limited(tmp_path):
    vectors = np.random.default_rng(0).normal(scale=40, size=(2, 1, 2, 5))
    levels, atlas = whole(tmp_path / "plain", vectors)
    assert json.loads(atlas.uns["wherein"])["clip"] is None
    fields = anndata.read_h5ad(levels / "fields.h5ad")
    middle = pd.DataFrame(fields.obsm["X_pca"], fields.obs_names).groupby(fields.obs["genes"].to_numpy()).mean()
    np.testing.assert_allclose(middle.loc[atlas.obs_names].to_numpy(), atlas.obsm["X_pca"], rtol=1e-4, atol=1e-3)
    _, atlas = whole(tmp_path / "named", vectors, list("abcde"))
    assert json.loads(atlas.uns["wherein"])["clip"] == 10


def test_a_run_without_units(tmp_path):
    levels, _ = whole(tmp_path / "none", [])
    for name in LEVELS:
        assert anndata.read_h5ad(levels / f"{name}.h5ad").n_obs == 0
        table = pq.read_table(levels / f"{name}.parquet")
        assert table.num_rows == 0
        assert "vector" in table.column_names


def test_unnamed_features_of_two_widths_are_no_one_space(tmp_path):
    run = Run(tmp_path)
    run.add("G0", np.ones((2, 4)))
    run.add("G1", np.ones((2, 4)))
    paths = run.write()
    units, vectors = read_vectors(paths["embeddings"])
    said = read_metadata(paths["embeddings"][0])
    for order in ((4, 3), (3, 4)):
        shards = []
        for number, width in enumerate(order):
            rows = slice(2 * number, 2 * number + 2)
            shards.append(tmp_path / f"a-{order[0]}{number}.parquet")
            write_vectors(shards[-1], units.iloc[rows], vectors[rows, :width], said)
        with pytest.raises(EmbeddingError, match="different features"):
            open_shards(shards, paths["cells"] * 2, paths["qc"] * 2, paths["fields"], "cell", None)
