import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from histoquilt.nn import UndirectedGraph


def graph_of(links: list[tuple[int, int]], n_spots: int, value: float = 1.0) -> UndirectedGraph:
    dense_pattern = np.array([*links, *[(j, i) for i, j in links]]).reshape(-1, 2)
    adjacency = csr_matrix((np.full(len(dense_pattern), value), dense_pattern.T), shape=(n_spots, n_spots))
    return UndirectedGraph(adjacency)


def dense(propagation) -> np.ndarray:
    return propagation.matrix.to_dense().numpy()


@pytest.fixture
def path() -> UndirectedGraph:
    """0 - 1 - 2 - 3, and 1 - 3."""
    return graph_of([(0, 1), (1, 2), (2, 3), (1, 3)], 4)


def test_normalisation_by_hand(path):
    # degrees with self loops: 2, 4, 3, 3
    a, b, c = 1 / np.sqrt(8), 1 / np.sqrt(12), 1 / 3
    expected = [[1 / 2, a, 0, 0], [a, 1 / 4, b, b], [0, b, 1 / 3, c], [0, b, c, 1 / 3]]
    np.testing.assert_allclose(dense(path.propagation), expected, rtol=1e-6)
    assert path.edges.tolist() == [[0, 1], [1, 2], [1, 3], [2, 3]]
    assert path.n_edges == 4


def test_hidden_edges_vanish_in_both_directions_and_the_rest_renormalises(path):
    shown = dense(path.without(torch.tensor([False, True, False, False])))
    # without 1 - 2: degrees 2, 3, 2, 3
    a, b = 1 / np.sqrt(6), 1 / 3
    expected = [[1 / 2, a, 0, 0], [a, 1 / 3, 0, b], [0, 0, 1 / 2, a], [0, b, a, 1 / 3]]
    np.testing.assert_allclose(shown, expected, rtol=1e-6)
    np.testing.assert_allclose(dense(path.propagation)[1, 2], 1 / np.sqrt(12), rtol=1e-6)  # the graph itself is whole


def test_self_loops_are_never_hidden(path):
    np.testing.assert_array_equal(dense(path.without(torch.ones(4, dtype=torch.bool))), np.eye(4))


def test_hiding_agrees_with_building_the_smaller_graph(adjacency):
    graph = UndirectedGraph(adjacency)
    hidden = torch.rand(graph.n_edges, generator=torch.Generator().manual_seed(1)) < 0.4
    smaller = adjacency.tolil()
    for i, j in graph.edges[hidden].tolist():
        smaller[i, j] = smaller[j, i] = 0
    np.testing.assert_array_equal(dense(graph.without(hidden)), dense(UndirectedGraph(smaller.tocsr()).propagation))
    propagation = graph.without(hidden)
    assert propagation.transpose is propagation.matrix
    np.testing.assert_array_equal(dense(propagation), dense(propagation).T)


def test_stored_zeros_are_edges():
    assert graph_of([(0, 1)], 3, value=0.0).n_edges == 1
    np.testing.assert_array_equal(
        dense(graph_of([(0, 1)], 3, value=0.0).propagation), dense(graph_of([(0, 1)], 3, value=7.0).propagation)
    )


def test_unsorted_indices_are_sorted_out():
    links = csr_matrix((np.ones(4), np.array([2, 1, 0, 0]), np.array([0, 2, 3, 4])), shape=(3, 3))
    np.testing.assert_array_equal(
        dense(UndirectedGraph(links).propagation), dense(graph_of([(0, 1), (0, 2)], 3).propagation)
    )
    assert links.indices.tolist() == [2, 1, 0, 0], "the caller's matrix was changed"


def test_averaging_is_the_mean_over_a_spot_and_its_neighbours(path):
    expected = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]]) / np.array([[2], [4], [3], [3]])
    np.testing.assert_allclose(dense(path.averaging), expected, rtol=1e-6)
    np.testing.assert_allclose(path.averaging.transpose.to_dense().numpy(), expected.T, rtol=1e-6)


def test_non_edges_are_what_they_are_called(adjacency, generator):
    graph = UndirectedGraph(adjacency)
    pairs = graph.sample_non_edges(5000, generator)
    assert pairs.shape == (5000, 2)
    assert pairs.dtype == torch.int64
    i, j = pairs.numpy().T
    assert (i != j).all()
    assert not adjacency[i, j].any()
    n_possible = 80 * 79 // 2 - graph.n_edges
    drawn = {(min(a, b), max(a, b)) for a, b in pairs.tolist()}
    assert len(drawn) > 0.75 * n_possible, "pairs come from all over the graph"


def test_hidden_edges_are_still_no_negatives(adjacency, generator):
    graph = UndirectedGraph(adjacency)
    graph.without(torch.ones(graph.n_edges, dtype=torch.bool))
    i, j = graph.sample_non_edges(5000, generator).numpy().T
    assert not adjacency[i, j].any()


def test_the_only_pair_left_is_found(generator):
    graph = graph_of([(i, j) for i in range(12) for j in range(i) if (i, j) != (7, 3)], 12)
    assert not graph.is_complete
    assert {tuple(sorted(pair)) for pair in graph.sample_non_edges(50, generator).tolist()} == {(3, 7)}


def test_complete_graph(generator):
    graph = graph_of([(0, 1), (0, 2), (1, 2)], 3)
    assert graph.is_complete
    assert graph.sample_non_edges(0, generator).shape == (0, 2)
    with pytest.raises(ValueError, match="All 3 spots are neighbours"):
        graph.sample_non_edges(1, generator)


def test_graph_without_edges(generator):
    graph = graph_of([], 4)
    assert graph.n_edges == 0
    np.testing.assert_array_equal(dense(graph.propagation), np.eye(4))
    np.testing.assert_array_equal(dense(graph.averaging), np.eye(4))
    pairs = graph.sample_non_edges(20, generator)
    assert (pairs[:, 0] != pairs[:, 1]).all()


def test_wrong_graphs():
    with pytest.raises(ValueError, match=r"square adjacency, got shape \(2, 3\)"):
        UndirectedGraph(csr_matrix((2, 3)))
    with pytest.raises(ValueError, match="stores self loops"):
        UndirectedGraph(csr_matrix(np.eye(3)))
    with pytest.raises(ValueError, match="directed; symmetrise it"):
        UndirectedGraph(csr_matrix([[0, 1], [0, 0]]))
