"""Spatial graphs of an AnnData, described as by squidpy, so that squidpy and scanpy can use them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import block_diag, csr_matrix
from scipy.sparse.csgraph import connected_components

from histoquilt._base import Keys, argument
from histoquilt.gr._adjacency import direct_links, grid_adjacency, knn_adjacency, radius_adjacency
from histoquilt.runtime import logger, warn_user
from histoquilt.study import check_adata, check_obs_key, check_spatial, keep_bare_graph


@dataclass(frozen=True)
class SpatialGraph:
    """Links between the spots of one or several sections.

    Attributes
    ----------
    distances
        ``(n_spots, n_spots)`` CSR float64, symmetric, no self loops, in the unit of the coordinates.
    section
        Number of the section of every spot, ``(n_spots,)``.
    params
        Parameters of the graph, as squidpy describes them.
    weights
        Weights of the links in the order of ``distances.data``, float32, positive; None for equal weights.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> from histoquilt.gr import build_graph
    >>> adata = AnnData(np.ones((3, 1)), obsm={"spatial": np.array([[0.0, 0], [1, 0], [3, 0]])})
    >>> graph = build_graph(adata, n_neighbors=1)
    >>> graph.connectivities.toarray().tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    >>> graph.distances.toarray().tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 2.0], [0.0, 2.0, 0.0]]
    """

    distances: csr_matrix
    section: np.ndarray
    params: dict[str, Any]
    weights: np.ndarray | None = None

    @cached_property
    def connectivities(self) -> csr_matrix:
        """Weights of links, ones if they are equal, ``(n_spots, n_spots)`` CSR float32."""
        weights = np.ones(self.distances.nnz, np.float32) if self.weights is None else self.weights
        return csr_matrix((weights, self.distances.indices, self.distances.indptr), self.distances.shape)

    def direct(self) -> csr_matrix:
        """Return the links of at most 1.3 times the pitch of their section: the direct neighbours on a lattice."""
        direct = direct_links(self.distances, self.section)
        direct.data = np.ones(direct.nnz, np.float32)
        return direct

    def write(self, adata: AnnData, key_added: str = "spatial") -> None:
        """Write it as :func:`knn_graph` does."""
        keep_bare_graph(adata, key_added)
        adata.obsp[f"{key_added}_connectivities"] = self.connectivities
        adata.obsp[f"{key_added}_distances"] = self.distances
        adata.uns[f"{key_added}_neighbors"] = {
            "connectivities_key": f"{key_added}_connectivities",
            "distances_key": f"{key_added}_distances",
            "params": dict(self.params),
        }


def build_graph(
    adata: AnnData,
    *,
    n_neighbors: int | None = None,
    radius: float | None = None,
    lattice: bool = False,
    spatial_key: str = Keys.SPATIAL,
    section_key: str | None = None,
    quiet: bool = False,
) -> SpatialGraph:
    """Return a graph of spots; ``adata`` is not changed.

    Parameters
    ----------
    adata
        AnnData with spot centres.
    n_neighbors, radius
        Links from each spot, or the largest distance of linked spots in the unit of the coordinates.
    lattice
        If true, no link is longer than 1.3 times the pitch (:func:`grid_graph`).
    spatial_key, section_key
        As in :func:`knn_graph`, also for errors and warnings.
    quiet
        If true, do not warn of isolated spots and pieces.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> graph = build_graph(adata, n_neighbors=6)
    >>> graph.connectivities.shape
    (120, 120)
    """
    check_adata(adata)
    spatial = check_spatial(adata, spatial_key)
    section = np.zeros(adata.n_obs, dtype=int)
    params: dict[str, Any] = {"coord_type": "grid" if lattice else "generic"}
    if section_key is not None:
        section = _section_numbers(adata, section_key)
        params["section_key"] = section_key
    if radius is not None:
        params = {"radius": float(radius), **params}
        distances = _by_section(spatial, section, partial(radius_adjacency, radius=radius))
    else:
        assert n_neighbors is not None
        params = {"n_neighbors": int(n_neighbors), **params}
        link = grid_adjacency if lattice else knn_adjacency
        distances = _by_section(spatial, section, partial(link, n_neighbors=n_neighbors))
    graph = SpatialGraph(distances, section, {**params, "spatial_key": spatial_key, "transform": "none"})
    if not quiet:
        _warn_of_gaps(spatial, section, graph.connectivities)
    return graph


def knn_graph(
    adata: AnnData,
    n_neighbors: int = 12,
    *,
    spatial_key: str = Keys.SPATIAL,
    section_key: str | None = None,
    key_added: str = "spatial",
) -> None:
    """Link every spot to its nearest spots, within its own section.

    Parameters
    ----------
    adata
        ``(n_spots, n_genes)``; ``obsm[spatial_key]`` holds spot centres ``(x, y)`` in any unit.
    n_neighbors
        Links from each spot. 6 is the first ring of Visium's hexagons, 12 gives the first two by symmetry.
    spatial_key, key_added
        Key in ``obsm`` of the spot centres; prefix of the keys of the results.
    section_key
        Column of ``obs`` with the sections; spots of two sections are never linked.

    Returns
    -------
    None. Adds to ``adata``:

    ``obsp[f"{key_added}_connectivities"]`` : CSR float32, symmetric, 1 for neighbours, no self loops
    ``obsp[f"{key_added}_distances"]`` : CSR float64, in the unit of the coordinates
    ``uns[f"{key_added}_neighbors"]`` : keys and parameters, as squidpy writes them

    Raises
    ------
    KeyError, ValueError
        A key is missing; coordinates are not finite or all equal, a spot has no section, or ``n_neighbors`` is below 1.

    Warns
    -----
    UserWarning
        Spots share coordinates or have no neighbour, or a section consists of several pieces. No spot is dropped.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=300, seed=0)
    >>> hq.gr.knn_graph(adata, 6)
    >>> adata.obsp["spatial_connectivities"].shape
    (300, 300)
    """
    build_graph(adata, n_neighbors=n_neighbors, spatial_key=spatial_key, section_key=section_key).write(
        adata, key_added
    )


def radius_graph(
    adata: AnnData,
    radius: float,
    *,
    spatial_key: str = Keys.SPATIAL,
    section_key: str | None = None,
    key_added: str = "spatial",
) -> None:
    """Link all pairs of spots of a section that are at most ``radius`` apart.

    ``radius`` is in the unit of ``obsm[spatial_key]``. The other parameters, what is written, errors and warnings are
    those of :func:`knn_graph`; a radius that finds no neighbour for a spot leaves it isolated and warns.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> hq.gr.radius_graph(adata, radius=110)
    >>> adata.obsp["spatial_connectivities"].shape
    (120, 120)
    """
    build_graph(adata, radius=radius, spatial_key=spatial_key, section_key=section_key).write(adata, key_added)


def grid_graph(
    adata: AnnData,
    n_neighbors: int = 6,
    *,
    spatial_key: str = Keys.SPATIAL,
    section_key: str | None = None,
    key_added: str = "spatial",
) -> None:
    """Link spots of a regular lattice to their direct neighbours: 6 on Visium's hexagons, 4 on legacy ST's squares.

    Unlike :func:`knn_graph` no link is longer than 1.3 times the pitch, so spots at borders and holes have fewer. The
    other parameters, what is written, errors and warnings are those of :func:`knn_graph`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> hq.gr.grid_graph(adata, 6)
    >>> int(adata.obsp["spatial_connectivities"].sum(axis=1).max())
    6
    """
    keys: dict[str, Any] = {"spatial_key": spatial_key, "section_key": section_key}
    build_graph(adata, n_neighbors=n_neighbors, lattice=True, **keys).write(adata, key_added)


def _section_numbers(adata: AnnData, section_key: str) -> np.ndarray:
    """Return the number of the section of every spot, from 0; ``(n_spots,)``."""
    check_obs_key(adata, section_key, argument="section_key")
    numbers = pd.factorize(adata.obs[section_key])[0]
    n_without = int((numbers < 0).sum())
    if n_without:
        raise ValueError(
            f"{n_without:,} of {adata.n_obs:,} spots have no section: adata.obs[{section_key!r}] is empty (NaN) there. "
            "Name their section, or drop them."
        )
    return numbers


def _by_section(spatial: np.ndarray, section: np.ndarray, link: Callable[[np.ndarray], csr_matrix]) -> csr_matrix:
    """Return one graph per section, joined in the order of the spots."""
    rows = [np.flatnonzero(section == number) for number in range(section.max() + 1)]
    if len(rows) == 1:
        return link(spatial)
    blocks = block_diag([link(spatial[of_section]) for of_section in rows], format="csr")
    order = np.argsort(np.concatenate(rows))
    graph = blocks[order][:, order]
    graph.sort_indices()
    graph.indices, graph.indptr = graph.indices.astype(np.int32), graph.indptr.astype(np.int32)
    return graph


def _warn_of_gaps(spatial: np.ndarray, section: np.ndarray, connectivities: csr_matrix) -> None:
    """Warn of repeated coordinates, isolated spots and separate pieces."""
    n_spots = len(spatial)
    n_doubled = n_spots - len(np.unique(np.column_stack([section, spatial]), axis=0))
    if n_doubled:
        warn_user(f"{n_doubled:,} of {n_spots:,} spots repeat the coordinates of another spot of their section.")
    linked = np.diff(connectivities.indptr) > 0
    n_isolated = n_spots - int(linked.sum())
    if n_isolated:
        warn_user(
            f"{n_isolated:,} of {n_spots:,} spots have no neighbour; they are described by their own expression alone."
        )
    n_pieces = connected_components(connectivities, directed=False)[0] - n_isolated
    n_sections = len(np.unique(section[linked]))
    if n_pieces > n_sections:
        if section.max() == 0:
            what = (
                f"The spots form {n_pieces} separate pieces of tissue. This is fine if they are pieces of one section; "
                f"if they are several sections laid side by side, pass {argument('section_key')}."
            )
        else:
            what = f"The spots of {n_sections} sections form {n_pieces} separate pieces of tissue."
        warn_user(f"{what} The spatial graph does not link spots of different pieces.")
    logger.info(
        "Spatial graph: %s spots, %.1f neighbours each on average.", f"{n_spots:,}", connectivities.nnz / n_spots
    )
