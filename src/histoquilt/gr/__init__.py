"""Sparse graphs of neighbouring spots, in and across sections; always CSR, symmetric, without self loops."""

from histoquilt.gr._adjacency import grid_adjacency, knn_adjacency, radius_adjacency
from histoquilt.gr._lattice import lattice_neighbors
from histoquilt.gr._means import neighbour_means
from histoquilt.gr._neighbors import SpatialGraph, build_graph, grid_graph, knn_graph, radius_graph
from histoquilt.gr._sections import mutual_nearest_links, stack_links, union_links
from histoquilt.gr._tiles import among, halo, spatial_tiles
from histoquilt.gr._weights import weigh_links

__all__ = [
    "SpatialGraph", "among", "build_graph", "grid_adjacency", "grid_graph", "halo", "knn_adjacency", "knn_graph",
    "lattice_neighbors", "mutual_nearest_links", "neighbour_means", "radius_adjacency", "radius_graph",
    "spatial_tiles", "stack_links", "union_links", "weigh_links",
]  # fmt: skip
