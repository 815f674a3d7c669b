"""Weights of links by the similarity of what they join."""

import numpy as np
import pytest

from histoquilt.datasets import toy_section
from histoquilt.gr import SpatialGraph, build_graph, knn_adjacency, weigh_links

LINE = SpatialGraph(knn_adjacency(np.array([[0.0, 0], [1, 0], [2, 0], [3, 0]]), 1), np.zeros(4, int), {"radius": 1})


def test_weights_by_hand():
    """Same direction, perpendicular, opposite: 1, 1/4 and the least, divided by their mean."""
    vectors = np.array([[1.0, 0], [3, 0], [0, 2], [0, -1]])
    weighed = weigh_links(LINE, vectors, name="toy")
    raw = np.array([1, 0.25, 0.001])
    np.testing.assert_allclose(np.diag(weighed.connectivities.toarray(), 1), raw / raw.mean(), rtol=1e-5)
    assert weighed.params == {"radius": 1, "weights": "toy"}
    assert LINE.weights is None
    assert (LINE.connectivities.data == 1).all()


def test_a_vector_of_no_length_is_perpendicular_to_all():
    weighed = weigh_links(LINE, np.array([[1.0, 0], [0, 0], [0, 0], [1, 0]]), name="toy")
    np.testing.assert_allclose(weighed.connectivities.data, 1)


def test_symmetric_with_mean_one_and_the_links_of_the_graph(monkeypatch):
    adata = toy_section(n_spots=300, seed=0)
    graph = build_graph(adata, n_neighbors=6)
    vectors = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    weighed = weigh_links(graph, vectors, name="noise").connectivities
    assert (weighed != weighed.T).nnz == 0
    assert weighed.data.mean() == pytest.approx(1, rel=1e-5)
    assert weighed.data.min() > 0
    np.testing.assert_array_equal(weighed.indices, graph.connectivities.indices)
    monkeypatch.setattr("histoquilt.gr._weights._VALUES_PER_CHUNK", 100)
    np.testing.assert_array_equal(weigh_links(graph, vectors, name="noise").connectivities.data, weighed.data)
    assert (graph.direct().data == 1).all()
