"""Normalisation of a tile (or the whole graph) by hand, hidden edges, and pairs to score."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from histoquilt.nn import TileDraws, TileGraph


def graph_of(links: list[tuple[int, int]], n_spots: int, value: float = 1.0) -> TileGraph:
    dense_pattern = np.array([*links, *[(j, i) for i, j in links]]).reshape(-1, 2)
    return TileGraph.whole(csr_matrix((np.full(len(dense_pattern), value), dense_pattern.T), shape=(n_spots, n_spots)))


def dense(propagation) -> np.ndarray:
    return propagation.matrix.to_dense().numpy()


@pytest.fixture
def path() -> TileGraph:
    """0 - 1 - 2 - 3, and 1 - 3."""
    return graph_of([(0, 1), (1, 2), (2, 3), (1, 3)], 4)


def test_normalisation_by_hand(path):
    # degrees with self loops: 2, 4, 3, 3
    a, b, c = 1 / np.sqrt(8), 1 / np.sqrt(12), 1 / 3
    expected = [[1 / 2, a, 0, 0], [a, 1 / 4, b, b], [0, b, 1 / 3, c], [0, b, c, 1 / 3]]
    for propagation in [*path.encoding(), path.decoding]:
        np.testing.assert_allclose(dense(propagation), expected, rtol=1e-6)
    assert path.edges.tolist() == [[0, 1], [1, 2], [1, 3], [2, 3]]
    assert path.n_edges == 4


def test_hidden_edges_vanish_in_both_directions_and_the_rest_renormalises(path):
    shown = dense(path.encoding(torch.tensor([False, True, False, False]))[0])
    # without 1 - 2: degrees 2, 3, 2, 3
    a, b = 1 / np.sqrt(6), 1 / 3
    expected = [[1 / 2, a, 0, 0], [a, 1 / 3, 0, b], [0, 0, 1 / 2, a], [0, b, a, 1 / 3]]
    np.testing.assert_allclose(shown, expected, rtol=1e-6)
    np.testing.assert_allclose(dense(path.decoding)[1, 2], 1 / np.sqrt(12), rtol=1e-6)  # the graph itself is whole


def test_self_loops_are_never_hidden(path):
    np.testing.assert_array_equal(dense(path.encoding(torch.ones(4, dtype=torch.bool))[0]), np.eye(4))


def test_hiding_agrees_with_building_the_smaller_graph(adjacency):
    graph = TileGraph.whole(adjacency)
    hidden = torch.rand(graph.n_edges, generator=torch.Generator().manual_seed(1)) < 0.4
    smaller = adjacency.tolil()
    for i, j in graph.edges[hidden.numpy()].tolist():
        smaller[i, j] = smaller[j, i] = 0
    propagation = graph.encoding(hidden)[1]
    np.testing.assert_array_equal(dense(propagation), dense(TileGraph.whole(smaller.tocsr()).decoding))
    assert propagation.transpose is propagation.matrix
    np.testing.assert_array_equal(dense(propagation), dense(propagation).T)


def test_stored_zeros_are_edges():
    zero, seven = graph_of([(0, 1)], 3, value=0.0), graph_of([(0, 1)], 3, value=7.0)
    assert zero.n_edges == 1
    np.testing.assert_array_equal(dense(zero.decoding), dense(seven.decoding))


def test_unsorted_indices_are_sorted_out():
    links = csr_matrix((np.ones(4), np.array([2, 1, 0, 0]), np.array([0, 2, 3, 4])), shape=(3, 3))
    sorted_out = graph_of([(0, 1), (0, 2)], 3)
    np.testing.assert_array_equal(dense(TileGraph.whole(links).decoding), dense(sorted_out.decoding))
    assert links.indices.tolist() == [2, 1, 0, 0], "the caller's matrix was changed"


@pytest.mark.parametrize(
    ("links", "n_spots"), [([], 4), ([(0, 1), (0, 2), (1, 2)], 3)], ids=["without edges", "complete"]
)
def test_graphs_without_a_pair_to_score(links, n_spots):
    graph = graph_of(links, n_spots)
    (pairs,) = TileDraws(0, 0).pairs(graph, np.ones(graph.n_edges, bool))
    assert len(pairs.positive) == len(pairs.negative) == 0


def test_too_few_rings():
    with pytest.raises(ValueError, match="3 graph layers need as many rings around the core, got 2"):
        TileGraph(csr_matrix((2, 2)), np.full(3, 2), np.zeros(2, int), np.arange(2), np.array([2]))
