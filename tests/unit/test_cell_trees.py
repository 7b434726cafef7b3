import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from fake_embeddings import Run, settings
from scipy.cluster.hierarchy import is_valid_linkage
from wherein.analysis.cell_trees import cell_trees
from wherein.tables import SAMPLES, read_metadata, write_table

WIDTH = 6


def made(tmp_path, level="cell", **own):
    """Two proteins, one of which has cells of two kinds in each of its two fields, and a control."""
    rng = np.random.default_rng(0)
    run = Run(tmp_path)
    for place in range(2):
        kinds = np.repeat([0, 1], 8)
        run.add(
            "MIX",
            np.eye(2, WIDTH)[kinds] * 9 + rng.normal(size=(16, WIDTH)),
            locations=["Nucleoli"] * 8 + ["Cytosol"] * 8,
        )
        run.add("SAME", rng.normal(size=(6, WIDTH)), cell_line=["U2OS", "HeLa"][place])
    run.add("ONE", rng.normal(size=(1, WIDTH)))
    run.add(None, rng.normal(size=(6, WIDTH)), control=True, labels=[])
    paths = run.write()
    for name in ("cells", "embeddings"):
        # of shards that do not show the proteins nothing is read
        folder = tmp_path / name
        folder.mkdir()
        paths[name][0].rename(folder / "a-0001.parquet")
        (folder / "a-0002.parquet").write_text("not a table")
        paths[name] = [folder / "a-0001.parquet", folder / "a-0002.parquet"]
    write_table(tmp_path / "samples.parquet", pd.DataFrame(columns=SAMPLES.names), SAMPLES)
    atlas = AnnData(np.zeros((1, WIDTH), np.float32), var=pd.DataFrame(index=[f"f{n}" for n in range(WIDTH)]))
    atlas.var["centre"], atlas.var["spread"], atlas.var["used"] = 0.0, 1.0, True
    atlas.uns["wherein"] = json.dumps({"clip": own.pop("clip", 10)})
    atlas.var_names = own.pop("features", list(atlas.var_names))
    atlas.write_h5ad(tmp_path / "proteins.h5ad")
    table = pd.DataFrame({"gene": ["SAME", "MIX", "GONE"], "spread_z": [2.0, np.nan, 3.0]})
    table.to_csv(tmp_path / "heterogeneity.tsv", sep="\t", index=False)
    words = settings("atlas")
    words["cell_trees"] |= own
    del paths["qc"]
    cell_trees(model="m", level=level, proteins=tmp_path / "proteins.h5ad", samples=tmp_path / "samples.parquet",
               heterogeneity=tmp_path / "heterogeneity.tsv", settings=words, trees=tmp_path / "trees.parquet",
               summary=tmp_path / "summary.json", **paths)  # fmt: skip
    found = pd.read_parquet(tmp_path / "trees.parquet")
    return (
        found,
        read_metadata(tmp_path / "trees.parquet")["trees"],
        json.loads((tmp_path / "summary.json").read_text()),
    )


@pytest.fixture(autouse=True)
def named_features(monkeypatch):
    """The run's embeddings do not name their features: the names that readers give them are f0, f1 and so on."""
    from wherein.analysis import cell_trees as module

    read = module.read_units

    def named(*paths, **words):
        units = read(*paths, **words)
        units.features = [f"f{n}" for n in range(len(units.features))]
        return units

    monkeypatch.setattr(module, "read_units", named)


def test_kinds_of_cells_are_clades(tmp_path):
    found, trees, summary = made(tmp_path, proteins=["mix", "NOT_HERE"], striking=1, clades=2)
    assert list(dict.fromkeys(found["protein"])) == ["MIX", "SAME"], "asked for, then striking; GONE is not in this run"
    own = found[found["protein"] == "MIX"]
    assert len(own) == 32
    assert sorted(own["leaf"]) == list(range(32))
    assert own.groupby("clade")["location"].agg(set).tolist() in (
        [{"Nucleoli"}, {"Cytosol"}],
        [{"Cytosol"}, {"Nucleoli"}],
    )
    assert own.groupby("clade")["field_id"].nunique().tolist() == [2, 2]
    for protein, tree in trees.items():
        assert is_valid_linkage(np.asarray(tree))
        assert len(tree) == (found["protein"] == protein).sum() - 1
    assert set(found.loc[found["protein"] == "SAME", "cell_line"]) == {"U2OS", "HeLa"}
    assert (found["middle"] > 0).all()
    assert summary["counts"] == {"in": 2, "kept": 2, "small_sample": 0}
    assert any("NOT_HERE" in note for note in summary["notes"])


def test_of_many_cells_some_are_drawn_in_turns(tmp_path):
    found, trees, summary = made(tmp_path, proteins=["MIX"], striking=0, cells=10)
    assert found["field_id"].value_counts().tolist() == [5, 5]
    assert len(trees["MIX"]) == 9
    assert any("10 of 32 cells" in note for note in summary["notes"])


def test_one_cell_is_no_tree(tmp_path):
    found, trees, summary = made(tmp_path, proteins=["ONE"], striking=0)
    assert len(found) == 0
    assert trees == {}
    assert summary["counts"] == {"in": 1, "kept": 0, "small_sample": 1}


def test_fields_have_no_cells(tmp_path):
    found, trees, summary = made(tmp_path, level="field", proteins=["MIX"])
    assert len(found) == 0
    assert trees == {}
    assert any("fields, not cells" in note for note in summary["notes"])


def test_features_of_the_atlas_alone_count(tmp_path):
    found, _, _ = made(tmp_path, proteins=["MIX"], striking=0, clades=2, features=[f"f{n}" for n in (2, 3, 4, 5, 0, 9)])
    assert len(found) == 32


def test_cells_are_limited_as_the_atlas_limits_them(tmp_path):
    for name in ("little", "none"):
        (tmp_path / name).mkdir()
    little, _, _ = made(tmp_path / "little", proteins=["MIX"], clip=0.5)
    assert little["middle"].max() <= np.sqrt(WIDTH)
    free, _, _ = made(tmp_path / "none", proteins=["MIX"], clip=None)
    assert free["middle"].max() > np.sqrt(WIDTH)
