import numpy as np
import pytest
from wherein.analysis import placing
from wherein.analysis.aggregate import Scale
from wherein.analysis.layout import Layout, umap_coordinates
from wherein.analysis.placing import (
    MapError,
    SavedMap,
    Search,
    memberships,
    number_of_lists,
    place,
    read_map,
    save_map,
)
from wherein.analysis.projection import Components


def groups(rng, number):
    middle = np.random.default_rng(0).normal(size=(4, 10)) * 8
    group = rng.integers(0, 4, number)
    return (middle[group] + rng.normal(size=(number, 10))).astype(np.float32), group


def saved(**over):
    rng = np.random.default_rng(1)
    scale = Scale(np.zeros(3), np.ones(3), np.full(3, 2.0), np.array([True, True, False]), 10.0)
    components = Components(np.zeros(3), np.eye(2, 3), np.array([0.7, 0.3]))
    scores = rng.normal(size=(9, 2)).astype(np.float32)
    words = {"level": "cell", "space": "abc", "features": ["x", "y", "z"], "neighbours": 5}
    return SavedMap(scale=scale, components=components, scores=scores, places=scores * 2, **words | over)


def test_memberships_add_up_and_follow_umap():
    from umap.umap_ import compute_membership_strengths, smooth_knn_dist

    distances = np.sort(np.random.default_rng(2).gamma(2, 2, (50, 15)), axis=1).astype(np.float32)
    weights = memberships(distances)
    assert np.allclose(weights.sum(axis=1), 1)
    assert (np.diff(weights, axis=1) <= 1e-12).all()
    # what umap-learn weighs by when it transforms new points
    sigmas, rhos = smooth_knn_dist(distances, 15.0, local_connectivity=0.0)
    indices = np.tile(np.arange(15, dtype=np.int32), (50, 1))
    _, _, strengths, _ = compute_membership_strengths(indices, distances, sigmas, rhos, bipartite=True)
    expected = strengths.reshape(50, 15) / strengths.reshape(50, 15).sum(axis=1, keepdims=True)
    assert np.allclose(weights, expected, atol=2e-4)


def test_memberships_of_copies_and_of_what_is_far_off():
    assert memberships(np.array([[0.0, 1.0, 2.0, 3.0]])).tolist() == [[1, 0, 0, 0]]
    assert np.allclose(memberships(np.full((1, 4), 1e6)), 0.25)
    assert np.isfinite(memberships(np.array([[1e-300, 1e-300, 1e300, 1e300], [5, 5, 5, 5.0]]))).all()


def test_new_points_lie_where_umap_puts_them():
    rng = np.random.default_rng(3)
    known, _ = groups(rng, 300)
    new, group = groups(rng, 80)
    import umap

    reducer = umap.UMAP(random_state=0, n_jobs=1).fit(known)
    theirs = reducer.transform(new)
    ours = place(new, known, reducer.embedding_, 15, 30000, 0)
    extent = np.ptp(reducer.embedding_, axis=0).max()
    assert np.median(np.linalg.norm(ours - theirs, axis=1)) < 0.05 * extent
    middles = np.array([ours[group == own].mean(axis=0) for own in range(4)])
    assert (np.linalg.norm(theirs[:, None] - middles, axis=2).argmin(axis=1) == group).mean() > 0.97


def test_exact_places_by_brute_force():
    rng = np.random.default_rng(4)
    known, _ = groups(rng, 400)
    new, _ = groups(rng, 60)
    places = known[:, :2] + 1
    square = np.linalg.norm(new[:, None].astype(float) - known, axis=2)
    nearest = np.argsort(square, axis=1, kind="stable")[:, :15]
    indices, distances = Search(known, 1, 0).nearest(new, 15)
    assert np.array_equal(indices, nearest)
    assert np.allclose(distances, np.take_along_axis(square, nearest, axis=1), atol=1e-5)
    weights = memberships(np.take_along_axis(square, nearest, axis=1))
    assert np.allclose(
        place(new, known, places, 15, 30000, 0), (weights[..., None] * places[nearest]).sum(1), atol=1e-4
    )


def test_inverted_lists_find_nearly_all_neighbours(monkeypatch):
    rng = np.random.default_rng(7)
    known, _ = groups(rng, 5000)
    new, _ = groups(rng, 300)
    assert [number_of_lists(*pair, 1000) for pair in ((300, 3000), (301, 4000), (2000, 900))] == [1, 63, 1]
    exact, _ = Search(known, 1, 0).nearest(new, 15)
    monkeypatch.setattr(placing, "PAIRS", 20000)
    lists = Search(known, number_of_lists(300, 5000, 1000), 0)
    near, distances = lists.nearest(new, 15)
    assert np.array_equal(near, lists.nearest(new, 15)[0])
    assert (np.diff(distances, axis=1) >= 0).all()
    assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(exact, near, strict=True)]) > 0.9 * 15
    apart = place(new, known, known[:, :2], 15, 1000, 0) - place(new, known, known[:, :2], 15, 30000, 0)
    assert np.quantile(np.linalg.norm(apart, axis=1), 0.9) < 0.3


def test_a_point_of_the_map_stays_where_it_is():
    known, _ = groups(np.random.default_rng(5), 50)
    places, _ = umap_coordinates(known, Layout(dimensions=3))
    found = place(known[:5].astype(np.float32), known, places, 15, 30000, 0)
    assert found.shape == (5, 3)
    assert np.allclose(found, places[:5], atol=0.05)


def test_maps_of_no_or_one_point():
    points = np.ones((3, 2), np.float32)
    assert np.isnan(place(points, np.zeros((0, 2)), np.zeros((0, 2)), 15, 100, 0)).all()
    assert place(points, np.zeros((1, 2)), np.array([[4.0, 5.0]]), 15, 100, 0).tolist() == [[4, 5]] * 3
    assert place(points[:0], np.zeros((9, 2)), np.zeros((9, 2)), 15, 100, 0).shape == (0, 2)
    assert place(points[:, :0], np.zeros((9, 0)), np.ones((9, 2)), 15, 100, 0).tolist() == [[1, 1]] * 3


def test_map_comes_back_as_it_was_saved(tmp_path):
    path = tmp_path / "map.npz"
    first = saved()
    save_map(path, first)
    content = path.read_bytes()
    again = read_map(path, "cell", "abc", ["x", "y", "z"])
    assert again.scale.clip == 10
    assert np.array_equal(again.scores, first.scores)
    assert np.array_equal(again.places, first.places)
    vectors = np.random.default_rng(6).normal(size=(4, 3)).astype(np.float32)
    for kept in (first, again):
        kept.found = kept.components.fast_scores(kept.scale.apply(vectors))
    assert np.array_equal(first.found, again.found)
    save_map(path, first)
    assert path.read_bytes() == content
    save_map(path, saved(level="field"))
    first.scale.clip = None
    save_map(path, first)
    assert read_map(path, "cell", "abc", ["x", "y", "z"]).scale.clip is None


@pytest.mark.parametrize("other", [{"level": "field"}, {"space": "other"}, {"features": ["x", "y", "w"]}])
def test_map_of_other_vectors_is_refused(tmp_path, other):
    save_map(tmp_path / "map.npz", saved(**other))
    with pytest.raises(MapError, match="other vectors"):
        read_map(tmp_path / "map.npz", "cell", "abc", ["x", "y", "z"])


@pytest.mark.parametrize("content", [b"", b"PK no zip", b"text"])
def test_broken_map_is_told(tmp_path, content):
    path = tmp_path / "map.npz"
    path.write_bytes(content)
    with pytest.raises(MapError, match="no map that a run saved"):
        read_map(path, "cell", "abc", ["x"])
    with pytest.raises(MapError, match="no map that a run saved"):
        read_map(tmp_path / "none.npz", "cell", "abc", ["x"])
