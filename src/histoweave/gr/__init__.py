"""Sparse spatial graphs: which spots are neighbours. Always CSR, symmetric, without self loops."""

from histoweave.gr._adjacency import grid_adjacency, knn_adjacency, radius_adjacency
from histoweave.gr._lattice import lattice_neighbors
from histoweave.gr._neighbors import grid_graph, knn_graph, radius_graph

__all__ = [
    "grid_adjacency",
    "grid_graph",
    "knn_adjacency",
    "knn_graph",
    "lattice_neighbors",
    "radius_adjacency",
    "radius_graph",
]
