import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from fake_embeddings import Run, settings
from wherein.analysis import neighbours as module
from wherein.analysis.aggregate import Scale
from wherein.analysis.history import space_of
from wherein.analysis.nearest import nearest_points
from wherein.analysis.neighbours import find_neighbours, typical_units
from wherein.analysis.placing import SavedMap, save_map
from wherein.analysis.projection import Components
from wherein.settings import neighbour_settings
from wherein.tables import SAMPLES, write_table

WIDTH = 5
FEATURES = [f"f{n}" for n in range(WIDTH)]


def made(tmp_path, proteins=9, own=None):
    rng = np.random.default_rng(0)
    run = Run(tmp_path)
    means = []
    for number in range(proteins):
        vectors = rng.normal(size=(5, WIDTH)) + 2 * rng.normal(size=WIDTH)
        run.add(f"P{number}", vectors, labels=[["Nucleoli"], ["Cytosol"], []][number % 3], reagent=f"R{number // 2}",
                sample=f"S{number // 2}", plate=None if number == 8 else f"plate{number % 2}")  # fmt: skip
        means.append(vectors.mean(axis=0))
    if proteins:
        run.add(None, rng.normal(size=(2, WIDTH)), control=True, labels=[])
    paths = run.write(FEATURES, WIDTH)
    write_table(tmp_path / "samples.parquet", pd.DataFrame(columns=SAMPLES.names), SAMPLES)
    scaled = np.array(means).reshape(-1, WIDTH)
    atlas = AnnData(scaled.astype(np.float32), obs=pd.DataFrame(index=[f"P{n}" for n in range(proteins)]))
    atlas.layers["scaled"] = scaled.astype(np.float32)
    atlas.obsm["X_pca"] = scaled.astype(np.float32)[:, :3]
    atlas.write_h5ad(tmp_path / "proteins.h5ad")
    scale = Scale(np.zeros(WIDTH), np.zeros(WIDTH), np.ones(WIDTH), np.ones(WIDTH, bool), None)
    components = Components(np.zeros(WIDTH), np.eye(WIDTH)[:4], np.full(4, 0.25))
    features = FEATURES if proteins else []
    space = space_of(paths["embeddings"], features)
    known = SavedMap("cell", space, features, scale, components, np.zeros((1, 4)), np.zeros((1, 2)), 2)
    save_map(tmp_path / "map.npz", known)
    words = neighbour_settings({"atlas": settings("atlas", neighbours={"count": 4} | (own or {}))})
    predictions = paths.pop("predictions")
    assert predictions.exists()
    find_neighbours(model="m", level="cell", proteins=tmp_path / "proteins.h5ad", unit_map=tmp_path / "map.npz",
                    samples=tmp_path / "samples.parquet", settings=words, neighbours=tmp_path / "neighbours.parquet",
                    unit_neighbours=tmp_path / "units.parquet", summary=tmp_path / "s.json", **paths)  # fmt: skip
    tables = [pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("neighbours", "units")]
    vectors = np.concatenate(run.vectors) if run.vectors else np.zeros((0, WIDTH))
    return *tables, json.loads((tmp_path / "s.json").read_text()), scaled[:, :3], vectors[:, :4]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_nearest_proteins_and_what_they_share(tmp_path, metric):
    table, _, summary, points, _ = made(tmp_path, own={"metric": metric})
    right = nearest_points(points, 4, metric)
    assert table.groupby("protein")["neighbour"].apply(list).tolist() == [[f"P{n}" for n in row] for row in right.index]
    assert table["rank"].tolist() == [1, 2, 3, 4] * 9
    for row in table.itertuples():
        a, b = int(row.protein[1:]), int(row.neighbour[1:])
        told = a % 3 != 2 and b % 3 != 2
        assert row.same_label == (a % 3 == b % 3 if told else None)
        assert row.shared_labels == (["Nucleoli", "Cytosol"][a % 3] if told and a % 3 == b % 3 else None)
        assert row.same_reagent == row.same_sample == (a // 2 == b // 2)
        # the plate of P8 is not known
        assert row.same_plate == (None if 8 in (a, b) else a % 2 == b % 2)
    assert summary["nearest"]["same_reagent"]["of_any_two"] == pytest.approx(8 / 72)
    assert summary["nearest"]["same_label"]["of_any_two"] == pytest.approx(12 / 30)
    assert summary["counts"] == {"in": 9, "kept": 9, "no_neighbour": 0}
    assert any("share a plate with the nearest one" in note for note in summary["notes"])


def test_nearest_cells_of_the_most_typical_one(tmp_path):
    _, table, summary, _, scores = made(tmp_path, own={"metric": "euclidean"})
    assert summary["units_found"] == "exactly"
    codes = np.repeat(np.arange(9), 5)
    for name, own in table.groupby("protein"):
        protein = int(name[1:])
        mine = np.flatnonzero(codes == protein)
        away = np.linalg.norm(scores[mine] - scores[mine].mean(axis=0), axis=1)
        query = mine[away.argmin()]
        assert own["unit_id"].unique().tolist() == [f"field{protein:04d}@v1:{query - mine[0] + 1}"]
        others = np.setdiff1d(np.arange(47), mine)
        near = others[np.argsort(np.linalg.norm(scores[others] - scores[query], axis=1))[:4]]
        said = [f"field{min(n // 5, 9):04d}@v1:{n - min(n // 5, 9) * 5 + 1}" for n in near]
        assert own["neighbour"].tolist() == said
        assert name not in own["neighbour_protein"].tolist()
    assert len(table) == 36


def test_own_cells_and_several_queries(tmp_path):
    _, table, _, _, _ = made(tmp_path, own={"own": True, "queries": 3})
    assert table.groupby("protein")["unit_id"].nunique().tolist() == [3] * 9
    assert (table["protein"] == table["neighbour_protein"]).any()
    assert not (table["unit_id"] == table["neighbour"]).any()


def test_beyond_a_number_of_units_an_index_is_asked_and_its_recall_told(tmp_path, monkeypatch):
    class Half:
        """An index that knows every second answer."""

        def __init__(self, points, metric, seed):
            self.points, self.metric = points, metric

        def nearest(self, count, queries, codes):
            apart = module.memberships([(code,) if code >= 0 else () for code in codes.tolist()])
            near = nearest_points(self.points, count, self.metric, apart, queries)
            near.index[:, ::2] = -1
            return near, 0

    monkeypatch.setattr(module, "Index", Half)
    _, table, summary, _, _ = made(tmp_path, own={"exact_units": 10, "recall_queries": 5})
    assert (summary["units_found"], summary["recall"], summary["recall_queries"]) == ("approximately", 0.5, 5)
    assert any("finds 50.0% of the 4 nearest of 5 units" in note for note in summary["notes"])
    assert len(table) == 18


@pytest.mark.parametrize("proteins", [0, 1])
def test_no_neighbours(tmp_path, proteins):
    table, units, summary, _, _ = made(tmp_path, proteins)
    assert len(table) == 0
    assert set(units["neighbour_protein"]) <= {None}
    assert summary["counts"] == {"in": proteins, "kept": 0, "no_neighbour": proteins}


def test_typical_units():
    scores = np.array([[0.0], [1], [2.2], [9], [5]])
    assert typical_units(scores, np.array([0, 0, 0, 1, -1]), 3, 2).tolist() == [1, 0, 3]
