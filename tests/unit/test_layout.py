import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_embeddings import settings
from wherein.analysis import layout
from wherein.analysis.layout import PRESETS, Layout, aligned_coordinates, layout_of, no_cuml, umap_coordinates
from wherein.analysis.projection import nearest
from wherein.settings import ConfigError

LAYOUT = Layout()


def test_presets_are_those_of_the_papers():
    assert layout_of(settings("atlas")) == Layout(15, 0.1, 2)
    numbers = {name: (own["neighbours"], own["min_dist"], own["dimensions"]) for name, own in PRESETS.items()}
    assert numbers == {
        "ouyang2019": (15, 0.1, 2),
        "kobayashi2022": (15, 0.1, 2),
        "lu2019-cells": (30, 0.3, 2),
        "lu2019-proteins": (20, 0.3, 2),
        "le2022": (15, 0.01, 3),
    }
    for name in PRESETS:
        assert layout_of(settings("atlas", umap=name)).neighbours == numbers[name][0]
    own = layout_of(settings("atlas", umap={"neighbours": 7, "dimensions": 3}, seed=4))
    assert own == Layout(7, 0.1, 3, seed=4)
    with pytest.raises(ConfigError, match="umap"):
        settings("atlas", umap="le2021")
    with pytest.raises(ValueError, match="lu2019-cells"):
        layout_of({"umap": "le2021"})


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_readme_tells_the_numbers_of_each_preset(name):
    text = (Path(__file__).resolve().parents[2] / "config" / "README.md").read_text(encoding="utf-8")
    row = re.search(r"^\| `atlas\.umap\.neighbours` \|.*\|$", text, re.M)[0]
    told = row[row.index(f"`{name}`") :]
    found = re.search(r"(\d+)(?: neighbours)? and (?:a minimum distance of )?([\d.]+) in (two|three)", told)
    own = PRESETS[name]
    assert int(found[1]) == own["neighbours"]
    assert float(found[2]) == own["min_dist"]
    assert {"two": 2, "three": 3}[found[3]] == own["dimensions"]


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4])
def test_few_points_show_principal_components(number):
    scores = np.random.default_rng(3).normal(size=(number, max(0, number - 1))).astype(np.float32)
    layout, note = umap_coordinates(scores, LAYOUT)
    assert layout.shape == (number, 2)
    assert np.isfinite(layout).all()
    assert "too few" in note


@pytest.mark.parametrize(("number", "width"), [(5, 4), (6, 1), (9, 3), (16, 5), (17, 5)])
def test_small_maps_are_finite_and_the_same_every_time(number, width):
    scores = np.random.default_rng(4).normal(size=(number, width)).astype(np.float32)
    layout, note = umap_coordinates(scores, LAYOUT)
    assert note is None
    assert layout.shape == (number, 2)
    assert np.isfinite(layout).all()
    assert np.array_equal(layout, umap_coordinates(scores, LAYOUT)[0])


def test_copies_of_points_do_no_harm():
    scores = np.repeat(np.random.default_rng(5).normal(size=(3, 4)), 20, axis=0).astype(np.float32)
    assert np.isfinite(umap_coordinates(scores, LAYOUT)[0]).all()
    same = np.ones((30, 4), np.float32)
    layout, note = umap_coordinates(same, LAYOUT)
    assert np.isfinite(layout).all()
    assert "same" in note


def test_map_keeps_neighbourhoods():
    rng = np.random.default_rng(6)
    group = rng.integers(0, 4, 300)
    scores = (rng.normal(size=(4, 10)) * 8)[group] + rng.normal(size=(300, 10))
    layout, _ = umap_coordinates(scores.astype(np.float32), LAYOUT)
    near = nearest(layout, 6)[0][:, 1:]
    assert (group[near] == group[:, None]).mean() > 0.99


def test_three_dimensions_keep_neighbourhoods_too():
    rng = np.random.default_rng(7)
    group = rng.integers(0, 4, 120)
    scores = (rng.normal(size=(4, 6)) * 8)[group] + rng.normal(size=(120, 6))
    places, _ = umap_coordinates(scores.astype(np.float32), Layout(dimensions=3, min_dist=0.01))
    assert places.shape == (120, 3)
    assert np.ptp(places, axis=0).min() > 0.5
    near = nearest(places, 6)[0][:, 1:]
    assert (group[near] == group[:, None]).mean() > 0.97


def test_without_cuml_the_processor_does_it_and_a_sentence_says_so():
    scores = np.random.default_rng(9).normal(size=(30, 4)).astype(np.float32)
    assert no_cuml() is not None
    places, note = umap_coordinates(scores, Layout(engine="cuml"))
    assert "cuml" in note
    assert "umap-learn made the map" in note
    assert np.array_equal(places, umap_coordinates(scores, LAYOUT)[0])


def test_cuml_gets_the_same_settings(monkeypatch):
    asked = {}

    class Stand:
        def __init__(self, **words):
            asked.update(words)

        def fit_transform(self, points):
            return np.zeros((len(points), asked["n_components"]))

    manifold = SimpleNamespace(UMAP=Stand)
    monkeypatch.setitem(sys.modules, "cuml", SimpleNamespace(manifold=manifold))
    monkeypatch.setitem(sys.modules, "cuml.manifold", manifold)
    monkeypatch.setattr(layout, "no_cuml", lambda: None)
    own = Layout(30, 0.3, 3, 77, seed=5, engine="cuml")
    places, note = umap_coordinates(np.random.default_rng(0).normal(size=(40, 5)), own)
    assert places.shape == (40, 3)
    assert note is None
    said = {name: asked[name] for name in ("n_neighbors", "min_dist", "n_components", "n_epochs", "random_state")}
    assert said == {"n_neighbors": 30, "min_dist": 0.3, "n_components": 3, "n_epochs": 77, "random_state": 5}


def test_aligned_maps_keep_a_proteins_place():
    rng = np.random.default_rng(10)
    group = rng.integers(0, 3, 60)
    first = ((rng.normal(size=(3, 5)) * 8)[group] + rng.normal(size=(60, 5))).astype(np.float32)
    # the other model sees the same proteins, but for the first ten, in other dimensions
    turned = np.linalg.qr(rng.normal(size=(5, 5)))[0].astype(np.float32)
    second = (first @ turned)[10:] + rng.normal(scale=0.3, size=(50, 5)).astype(np.float32)
    names = [f"P{number}" for number in range(60)]
    own = Layout(neighbours=8, epochs=60)
    one, two = aligned_coordinates([first, second], [names, names[10:]], own, 0.01, 3)
    assert one.shape == (60, 2)
    assert two.shape == (50, 2)
    apart = np.linalg.norm(one[10:] - two, axis=1)
    between = np.linalg.norm(one[10:] - two[rng.permutation(50)], axis=1)
    assert np.median(apart) < 0.4 * np.median(between)
    with pytest.raises(ValueError, match="no point in common"):
        aligned_coordinates([first, second], [names, [f"Q{number}" for number in range(50)]], own, 0.01, 3)
    with pytest.raises(ValueError, match="at least two"):
        aligned_coordinates([first], [names], own, 0.01, 3)
