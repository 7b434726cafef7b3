import json

import anndata
import numpy as np
import pandas as pd
import pytest
from fake_embeddings import settings
from PIL import Image
from wherein.analysis.aligned import ALIGNED, ProteinMap, align, align_models, align_releases
from wherein.analysis.history import HISTORY
from wherein.tables import read_metadata, write_table
from wherein.views.aligned import plot_aligned
from wherein.views.maps import draw_units, how_laid_out

REPORT = settings("report")


def atlas_of(names, places=2, layout="UMAP, 15 neighbours"):
    rng = np.random.default_rng(len(names))
    obs = pd.DataFrame({"location": pd.Categorical(["Cytosol", "Multi"] * (len(names) // 2))}, index=list(names))
    atlas = anndata.AnnData(rng.normal(size=(len(names), 6)).astype(np.float32), obs=obs)
    atlas.layers["scaled"] = atlas.X.copy()
    atlas.obsm["X_umap"] = rng.normal(size=(len(names), places))
    atlas.var["centre"], atlas.var["spread"], atlas.var["used"] = np.zeros(6), np.ones(6), np.ones(6, bool)
    said = {"layout": layout, "settings": {"seed": 3, "components": 50}}
    atlas.uns["wherein"] = json.dumps(said)
    return atlas


def units_of(number, **over):
    rng = np.random.default_rng(number)
    table = pd.DataFrame(rng.normal(size=(number, 3)), columns=["umap_1", "umap_2", "umap_3"])
    return table.assign(location="Cytosol", control=False, drawn=np.arange(number) % 3 > 0, **over)


def test_how_a_map_came_about_is_said():
    text = how_laid_out(atlas_of("abcdef", 3), units_of(9))
    assert "15 neighbours, seed 3, of 50 principal components" in text
    assert "6 laid out and 3 placed" in text
    assert "first two of three axes" in text
    assert "placed" not in how_laid_out(atlas_of("abcdef"))
    assert how_laid_out(anndata.AnnData(np.zeros((1, 1)))) == ""


def test_figure_of_units_in_three_dimensions(tmp_path):
    draw_units(units_of(40), "cell", "m", REPORT, ["Cytosol"], str(tmp_path / "u.png"), "Laid out by chance.")
    with Image.open(tmp_path / "u.png") as picture:
        assert min(picture.size) > 500


def test_aligned_maps_with_their_figure(tmp_path, monkeypatch):
    shifts = []

    def laid(points, names, *_):
        shifts.extend([len(own) for own in names])
        return [
            np.arange(2.0 * len(own)).reshape(-1, 2).astype(np.float32) + number for number, own in enumerate(names)
        ]

    monkeypatch.setattr("wherein.analysis.aligned.aligned_coordinates", laid)
    names = [f"P{number}" for number in range(8)]
    for model, own in (("one", names), ("two", names[2:]), ("few", names[:2])):
        atlas_of(own).write_h5ad(tmp_path / f"{model}.h5ad")
    aligned = tmp_path / "aligned.parquet"
    paths = [tmp_path / f"{model}.h5ad" for model in ("one", "two", "few")]
    align_models(["one", "two", "few"], paths, settings("atlas"), aligned, tmp_path / "s.json")
    table = pd.read_parquet(aligned)
    summary = json.loads((tmp_path / "s.json").read_text())
    assert shifts == [8, 6]
    assert table.groupby("map", sort=False).size().to_dict() == {"one": 8, "two": 6}
    assert summary["counts"] == {"in": 16, "kept": 14, "too_few_proteins": 2}
    assert "few" in summary["notes"][0]
    assert table.loc[table["map"] == "one", "shift"].isna().all()
    # P2 lies at (4, 5) on the first map and at (1, 2) on the second
    assert table.loc[(table["map"] == "two") & (table["protein"] == "P2"), "shift"].item() == pytest.approx(18**0.5)
    assert read_metadata(aligned)["maps"] == ["one", "two", "few"]
    plot_aligned(str(aligned), "hpa19", REPORT, str(tmp_path / "a.png"))
    with Image.open(tmp_path / "a.png") as picture:
        assert min(picture.size) > 500


def test_releases_of_one_space_are_aligned(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "wherein.analysis.aligned.aligned_coordinates",
        lambda points, names, *_: seen.extend(points) or [own[:, :2] for own in points],
    )
    rng = np.random.default_rng(0)
    rows = [
        {"state": state, "space": space, "protein": f"P{number}", "vector": rng.normal(size=6), "fields": []}
        for state, space in (("a:1", "old"), ("a:1", "new"), ("a:2", "new"))
        for number in range(7)
    ]
    write_table(tmp_path / "history.parquet", pd.DataFrame(rows), HISTORY)
    atlas_of([f"P{number}" for number in range(8)]).write_h5ad(tmp_path / "p.h5ad")
    inputs = ("m", tmp_path / "history.parquet", tmp_path / "p.h5ad", settings("atlas"))
    align_releases(*inputs, tmp_path / "r.parquet", tmp_path / "s.json")
    table = pd.read_parquet(tmp_path / "r.parquet")
    assert table.groupby("map", sort=False).size().to_dict() == {"a:1": 7, "a:2": 7}
    assert json.loads((tmp_path / "s.json").read_text())["counts"] == {"in": 21, "kept": 14, "other_space": 7}
    assert len(seen) == 2


@pytest.mark.parametrize("number", [0, 3, 9])
def test_nothing_to_align(tmp_path, number):
    vectors = np.random.default_rng(1).normal(size=(number, 4))
    only = ProteinMap("one", [f"P{row}" for row in range(number)], [None] * number, vectors)
    table, notes = align([only], settings("atlas", umap="le2022"))
    assert len(table) == (number if number >= 5 else 0)
    assert any("nothing to align" in note for note in notes)
    write_table(tmp_path / "a.parquet", table, ALIGNED, {"layout": "none"})
    plot_aligned(str(tmp_path / "a.parquet"), "hpa19", REPORT, str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_model_of_one_vector_does_not_stop_the_others(monkeypatch):
    def places(points, *given):
        assert all(own.shape[1] for own in points), "umap takes no points without a dimension"
        return [np.zeros((len(own), 2), np.float32) for own in points]

    monkeypatch.setattr("wherein.analysis.aligned.aligned_coordinates", places)
    names, vectors = [f"P{row}" for row in range(8)], np.random.default_rng(0).normal(size=(8, 4))
    maps = [ProteinMap("good", names, [None] * 8, vectors), ProteinMap("flat", names, [None] * 8, np.ones((8, 4)))]
    table, notes = align(maps, settings("atlas"))
    assert len(table) == 16
    assert any("same vector" in note and note.endswith("flat") for note in notes)
