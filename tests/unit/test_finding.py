import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from fake_embeddings import Run, settings
from wherein.analysis.aggregate import Scale
from wherein.analysis.finding import PROTEINS, TRUST, UNITS
from wherein.analysis.history import space_of
from wherein.analysis.placing import SavedMap, save_map
from wherein.analysis.projection import Components
from wherein.analysis.rare_pattern import METHODS, probe, search, similarity, whiten_scores
from wherein.queries import QueryError, query_name, read_examples
from wherein.settings import find_settings
from wherein.tables import SAMPLES, write_table
from wherein.views.find_page import find_alike

WIDTH = 6
FEATURES = [f"f{n}" for n in range(WIDTH)]
NONE = np.zeros(0, np.int64)
SEARCH = {"background": 800, "hard": 100, "seed": 0}


def rare(number=3000, share=0.015, seed=0):
    """Units of many patterns, a few of which are of a rare one."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 12, number)
    kinds[rng.random(number) < share] = 12
    middles = rng.normal(size=(13, 20)) * 1.6
    points = middles[kinds] + rng.normal(size=(number, 20))
    return whiten_scores((points * np.geomspace(1, 30, 20)).astype(np.float32)), kinds == 12


def test_five_examples_find_a_rare_pattern():
    found = []
    for seed in range(4):
        points, mark = rare(seed=seed)
        examples = np.random.default_rng(seed).permutation(np.flatnonzero(mark))[:5]
        ranking = search(points, examples, NONE, SEARCH)
        others = np.setdiff1d(np.arange(len(points)), examples)
        first = others[np.argsort(-ranking.scores[others])]
        found.append(mark[first[:20]].mean())
        # whoever is left out is found by the others, so that one sees that the search can be trusted
        assert np.median(ranking.left_out) < 40
        assert ranking.method == max(METHODS, key=lambda name: ranking.precision[name])
    # 1.5 % are of the pattern
    assert np.mean(found) > 0.5


def test_examples_of_nothing_in_common_are_seen_through():
    points, _ = rare()
    ranking = search(points, np.array([3, 500, 900, 1700, 2500]), NONE, SEARCH)
    assert np.median(ranking.left_out) > 40
    assert max(ranking.precision.values()) < 0.2


def test_counter_examples_push_their_kind_back():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 4, 600)
    points = np.eye(4, 8)[kinds] * 3 + rng.normal(size=(600, 8)) * 0.4
    points[kinds == 1] += np.eye(8)[0] * 3
    drawn = np.flatnonzero(kinds > 1)
    wrong = np.flatnonzero(kinds == 1)
    for way in (
        lambda negatives: similarity(points, np.flatnonzero(kinds == 0)[:4], negatives),
        lambda negatives: probe(points, np.flatnonzero(kinds == 0)[:4], drawn, negatives, 20, 0),
    ):
        plain, told = way(NONE), way(wrong[:6])

        def gap(scores):
            return (scores[kinds == 0].mean() - scores[wrong[6:]].mean()) / scores.std()

        assert gap(told) > gap(plain)


def test_one_example_has_nobody_to_look_for_it():
    points, _ = rare(300)
    ranking = search(points, np.array([7]), NONE, SEARCH)
    assert ranking.method == "similarity"
    assert np.isnan(ranking.left_out).all()
    assert ranking.scores.argmax() == 7


def test_names_of_answers_and_lists_of_examples(tmp_path):
    assert query_name("MKI67") == "MKI67"
    odd = query_name("f1@a:3")
    assert odd.startswith("f1_a_3-")
    assert odd != query_name("f1@a_3")
    path = tmp_path / "my cells.txt"
    path.write_text("# rare ones\nf1@a:3\tP1\n\nP2 # a protein\n-f9@a:1\n- P4,other\n")
    assert read_examples(path) == (["f1@a:3", "P2"], ["f9@a:1", "P4"])
    assert query_name(str(path)).startswith("my_cells-")
    path.write_text("-P1\n")
    with pytest.raises(QueryError, match="has no example"):
        read_examples(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    run = Run(root)
    means = []
    for number in range(8):
        vectors = rng.normal(size=(6, WIDTH)) + 3 * np.eye(WIDTH)[number // 2]
        run.add(f"P{number}", vectors, labels=["Nucleoli"], sample=f"S{number}", plate=f"plate{number % 2}",
                ensembl_ids=[f"ENSG{number}"])  # fmt: skip
        means.append(vectors.mean(axis=0))
    run.add(None, rng.normal(size=(2, WIDTH)), control=True, labels=[])
    paths = run.write(FEATURES)
    write_table(root / "samples.parquet", pd.DataFrame(columns=SAMPLES.names), SAMPLES)
    obs = pd.DataFrame(
        {"labels": "Nucleoli", "ensembl_ids": [f"ENSG{n}" for n in range(8)]}, index=[f"P{n}" for n in range(8)]
    )
    atlas = AnnData(np.array(means, np.float32), obs=obs)
    atlas.layers["scaled"], atlas.obsm["X_pca"] = np.array(means, np.float32), np.array(means, np.float32)
    atlas.write_h5ad(root / "proteins.h5ad")
    scale = Scale(np.zeros(WIDTH), np.zeros(WIDTH), np.ones(WIDTH), np.ones(WIDTH, bool), None)
    components = Components(np.zeros(WIDTH), np.eye(WIDTH), np.full(WIDTH, 1 / WIDTH))
    space = space_of(paths["embeddings"], FEATURES)
    save_map(
        root / "map.npz", SavedMap("cell", space, FEATURES, scale, components, np.zeros((1, 6)), np.zeros((1, 2)), 2)
    )
    inputs = {name: paths[name] for name in ("qc", "cells", "embeddings", "fields")}
    inputs |= {"proteins": root / "proteins.h5ad", "unit_map": root / "map.npz", "samples": root / "samples.parquet"}
    inputs = {name: [str(p) for p in path] if isinstance(path, list) else str(path) for name, path in inputs.items()}
    return root, inputs | {"crops": [], "files": [], "listed": None}, np.concatenate(run.vectors)


def asked(made, query, **own):
    root, inputs, _ = made
    words = find_settings({"atlas": settings("atlas", find={"count": 10, "proteins": 4, "background": 30} | own)})
    outputs = {name: str(root / f"{name}.tsv") for name in ("proteins", "units", "trust")}
    report = {"cell_tile_px": 32, "low_percentile": 1, "high_percentile": 99}
    find_alike(query, "m", "cell", inputs, words, report, outputs | {"page": str(root / "index.html")}, root / "s.json")
    tables = {name: pd.read_csv(path, sep="\t") for name, path in outputs.items()}
    page = (root / "index.html").read_text(encoding="utf-8")
    return tables, json.loads((root / "s.json").read_text()), page


@pytest.mark.parametrize("query", ["P2", "p2", "ensg2"])
def test_what_looks_like_a_protein(made, query):
    tables, summary, page = asked(made, query)
    assert tables["proteins"]["protein"].tolist()[0] == "P3"
    assert tables["proteins"].columns.tolist() == list(PROTEINS)
    assert tables["units"].columns.tolist() == list(UNITS)
    # not its own cells
    assert "P2" not in tables["units"]["protein"].tolist()
    _, _, vectors = made
    mean = vectors[12:18].mean(axis=0)
    near = vectors @ mean / np.linalg.norm(vectors, axis=1) / np.linalg.norm(mean)
    near[12:18] = -2
    assert tables["units"]["score"].to_numpy() == pytest.approx(np.sort(near)[::-1][:10], abs=1e-5)
    named = tables["units"].dropna(subset=["protein"])
    assert named["same_plate"].tolist() == [int(name[1]) % 2 == 0 for name in named["protein"]]
    assert len(tables["trust"]) == 0
    assert summary["kind"] == "protein"
    assert f"What looks like {query}" in page
    assert "no pixels" in page


def test_what_looks_like_a_cell(made):
    tables, summary, _ = asked(made, "field0004@v1:2")
    assert summary["kind"] == "unit"
    assert tables["proteins"]["protein"].tolist()[0] == "P5"
    assert "P4" not in tables["units"]["protein"].tolist()


def test_what_looks_like_examples(made):
    root, _, _ = made
    (root / "list.txt").write_text("field0006@v1:1\nfield0006@v1:2\nfield0006@v1:3\nfield0099@v1:1\n-P0\n")
    tables, summary, page = asked(made, str(root / "list.txt"))
    assert summary["kind"] == "examples"
    units = set(tables["units"]["unit_id"])
    assert not units & {"field0006@v1:1", "field0000@v1:1"}
    assert tables["units"]["protein"].head(4).isin(["P6", "P7"]).all()
    assert tables["proteins"]["protein"].iloc[0] in ("P6", "P7")
    assert tables["trust"].columns.tolist() == list(TRUST)
    assert tables["trust"]["rank"].max() <= 10
    assert any("field0099@v1:1" in note for note in summary["notes"])
    assert "each example left out" in page


def test_all_cells_of_a_field_are_examples(made):
    tables, summary, _ = asked(made, "field0001")
    assert summary["kind"] == "examples"
    assert len(tables["trust"]) == 6


def test_nothing_of_this_name(made):
    with pytest.raises(QueryError, match="no protein, Ensembl id, cell or field of this run"):
        asked(made, "MKI67")
