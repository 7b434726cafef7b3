import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from wherein.analysis.communities import leiden, modularity, shared_neighbours
from wherein.analysis.projection import nearest


def graph_of(seed, groups=6, number=240, apart=3.0):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, groups, number)
    points = rng.normal(size=(number, 6)) + apart * rng.normal(size=(groups, 6))[true]
    return shared_neighbours(nearest(points, 12)[0]), true


def test_weights_are_shared_neighbourhoods():
    near = np.array([[0, 1, 2], [1, 0, 3], [2, 0, 3], [3, 2, 1]])
    graph = shared_neighbours(near).toarray()
    sets = [set(own) for own in near.tolist()]
    for a in range(4):
        for b in range(4):
            linked = a != b and (b in sets[a] or a in sets[b])
            expected = len(sets[a] & sets[b]) / len(sets[a] | sets[b]) if linked else 0
            assert graph[a, b] == pytest.approx(expected)


def test_modularity_by_its_sum():
    graph, _ = graph_of(0, number=30)
    labels = np.random.default_rng(1).integers(0, 4, 30)
    dense, strength = graph.toarray(), np.asarray(graph.sum(axis=1)).ravel()
    same = labels[:, None] == labels
    total = dense.sum()
    for resolution in (0.5, 1, 2):
        expected = ((dense - resolution * np.outer(strength, strength) / total) * same).sum() / total
        assert modularity(graph, labels, resolution) == pytest.approx(expected)


def test_planted_groups_are_found():
    graph, true = graph_of(3, apart=6.0)
    found = leiden(graph, 1.0, 0)
    assert len(set(zip(found, true, strict=True))) == len(set(true)) == found.max() + 1
    assert (np.diff(np.bincount(found)) <= 0).all(), "the largest comes first"


@pytest.mark.parametrize("seed", range(3))
def test_no_worse_than_louvain_and_connected(seed):
    networkx = pytest.importorskip("networkx")
    graph, _ = graph_of(seed, apart=1.0)
    found = leiden(graph, 1.0, 0)
    parts = networkx.community.louvain_communities(networkx.from_scipy_sparse_array(graph), seed=seed)
    theirs = np.zeros(graph.shape[0], int)
    for number, part in enumerate(parts):
        theirs[list(part)] = number
    assert modularity(graph, found, 1.0) >= modularity(graph, theirs, 1.0) - 2e-3
    for one in range(found.max() + 1):
        own = found == one
        assert connected_components(graph[own][:, own])[0] == 1


def test_the_best_partition_of_a_known_network():
    """Zachary's karate club: modularity 0.4198 is the highest there is (Brandes et al. 2008)."""
    networkx = pytest.importorskip("networkx")
    club = csr_matrix(networkx.to_scipy_sparse_array(networkx.karate_club_graph(), weight=None), dtype=float)
    assert modularity(club, leiden(club, 1.0, 0), 1.0) == pytest.approx(0.4198, abs=1e-4)


def test_resolution_and_seed():
    graph, _ = graph_of(5, apart=1.5)
    assert leiden(graph, 4.0, 0).max() > leiden(graph, 0.2, 0).max()
    assert np.array_equal(leiden(graph, 1.0, 3), leiden(graph, 1.0, 3))


def test_nodes_without_links_stay_alone():
    assert leiden(csr_matrix((3, 3)), 1.0, 0).tolist() == [0, 1, 2]
    two = csr_matrix(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0.0]]))
    assert leiden(two, 1.0, 0).tolist() == [0, 0, 1]
