"""Graphs of many spots take a small multiple of their own memory, and large sections ask a part of their spots."""

import tracemalloc

import numpy as np

from histoquilt.gr import _lattice
from histoquilt.gr._adjacency import knn_adjacency
from histoquilt.gr._lattice import lattice_neighbors


def test_peak_is_a_small_multiple_of_the_graph():
    points = np.random.default_rng(0).uniform(size=(20_000, 2))
    tracemalloc.start()
    graph = knn_adjacency(points, 12)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = graph.data.nbytes + graph.indices.nbytes + graph.indptr.nbytes
    assert peak < 4.5 * size, f"{peak / size:.1f} times the graph"


def test_the_lattice_is_told_from_a_part_of_the_spots(monkeypatch):
    monkeypatch.setattr(_lattice, "_ASKED_ABOVE", 50)
    squares = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0)), axis=-1).reshape(-1, 2)
    hexagons = squares * [1, 3**0.5 / 2] + np.where(squares[:, 1:] % 2, [0.5, 0], 0)
    assert lattice_neighbors(squares) == 4
    assert lattice_neighbors(hexagons) == 6
    assert lattice_neighbors(np.random.default_rng(0).uniform(size=(900, 2))) is None
