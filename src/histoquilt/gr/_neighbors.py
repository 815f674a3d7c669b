"""Spatial graphs of an AnnData, described as squidpy describes them, so that squidpy and scanpy run on them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import block_diag, csr_matrix
from scipy.sparse.csgraph import connected_components

from histoquilt._base import Keys, argument
from histoquilt.gr._adjacency import grid_adjacency, knn_adjacency, radius_adjacency
from histoquilt.runtime import logger, warn_user
from histoquilt.study import check_adata, check_obs_key, check_spatial, keep_bare_graph


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
        Links asked for from each spot. 6 is the first ring of Visium's hexagons, 12 the first two by symmetry.
    spatial_key
        Where the spot centres are.
    section_key
        Column of ``obs`` that tells sections apart; spots of two sections are never linked.
    key_added
        Prefix of what is written.

    Returns
    -------
    None. Adds to ``adata``:

    ``obsp[f"{key_added}_connectivities"]`` : CSR float32, symmetric, 1 for neighbours, no self loops
    ``obsp[f"{key_added}_distances"]`` : CSR float64, in the unit of the coordinates
    ``uns[f"{key_added}_neighbors"]`` : keys and parameters, as squidpy writes them

    Raises
    ------
    KeyError
        ``spatial_key`` or ``section_key`` is missing.
    ValueError
        Coordinates are not finite or all equal, a spot has no section, or ``n_neighbors`` is less than 1.

    Warns
    -----
    UserWarning
        Spots share coordinates, have no neighbour, or a section falls into several pieces. No spot is dropped.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=300, seed=0)
    >>> hq.gr.knn_graph(adata, 6)
    >>> adata.obsp["spatial_connectivities"].shape
    (300, 300)
    """
    params = {"n_neighbors": int(n_neighbors), "coord_type": "generic"}
    _write_graph(adata, lambda xy: knn_adjacency(xy, n_neighbors), params, spatial_key, section_key, key_added)


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
    """
    params = {"radius": float(radius), "coord_type": "generic"}
    _write_graph(adata, lambda xy: radius_adjacency(xy, radius), params, spatial_key, section_key, key_added)


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
    """
    params = {"n_neighbors": int(n_neighbors), "coord_type": "grid"}
    _write_graph(adata, lambda xy: grid_adjacency(xy, n_neighbors), params, spatial_key, section_key, key_added)


def _write_graph(
    adata: AnnData,
    link: Callable[[np.ndarray], csr_matrix],
    params: dict[str, Any],
    spatial_key: str,
    section_key: str | None,
    key_added: str,
) -> None:
    check_adata(adata)
    spatial = check_spatial(adata, spatial_key)
    section = np.zeros(adata.n_obs, dtype=int)
    if section_key is not None:
        section = _section_numbers(adata, section_key)
        params = {**params, "section_key": section_key}
    distances = _by_section(spatial, section, link)
    connectivities = distances.astype(np.float32)
    connectivities.data[:] = 1.0
    _warn_of_gaps(spatial, section, connectivities)
    keep_bare_graph(adata, key_added)
    adata.obsp[f"{key_added}_connectivities"] = connectivities
    adata.obsp[f"{key_added}_distances"] = distances
    adata.uns[f"{key_added}_neighbors"] = {
        "connectivities_key": f"{key_added}_connectivities",
        "distances_key": f"{key_added}_distances",
        "params": {**params, "spatial_key": spatial_key, "transform": "none"},
    }


def _section_numbers(adata: AnnData, section_key: str) -> np.ndarray:
    """Give every spot the number of its section, from 0; ``(n_spots,)``."""
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
    """One graph a section, put back into the order of the spots."""
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
    """Name what a graph method cannot see, and carry on: no spot is dropped."""
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
        alone = section.max() == 0
        where = "The tissue falls" if alone else f"The tissue of {n_sections} sections falls"
        hint = f" Where these are sections laid side by side, pass {argument('section_key')}." if alone else ""
        warn_user(
            f"{where} into {n_pieces} pieces that the spatial graph does not link; nothing is shared between them."
            + hint
        )
    logger.info(
        "Spatial graph: %s spots, %.1f neighbours each on average.", f"{n_spots:,}", connectivities.nnz / n_spots
    )
