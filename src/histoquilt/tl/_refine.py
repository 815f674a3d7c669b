"""Refinement of domains: single spots take the label of the majority of their neighbours."""

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt._base import Keys
from histoquilt.gr import SpatialGraph, build_graph, lattice_neighbors
from histoquilt.study import check_adata, check_obs_key, check_spatial, provenance, write_result

_CHUNK = 50_000  # spots whose votes are counted at a time


def refine_domains(
    adata: AnnData,
    *,
    domain_key: str = Keys.DOMAIN,
    n_neighbors: int | None = None,
    spatial_key: str = Keys.SPATIAL,
    section_key: str | None = None,
    key_added: str | None = None,
) -> None:
    """Give a spot the label of its surroundings if most of these agree on another one.

    A spot takes another label if more than half of the spot and its direct neighbours have that, and fewer than half
    its own. All spots are refined at once. A domain that would vanish keeps its spots; unlabelled spots
    neither vote nor change.

    Parameters
    ----------
    adata
        ``(n_spots, n_genes)``; ``obs[domain_key]`` holds domains.
    domain_key
        Column of ``obs`` with the domains.
    n_neighbors
        Number of direct neighbours; by default 6 on hexagonal lattices and for scattered cells, 4 on square lattices;
        the largest section determines the lattice.
    spatial_key, section_key
        Key in ``obsm`` of the spot centres, and column of ``obs`` with sections; spots of two sections are never
        neighbours.
    key_added
        Column of ``obs`` for the refined domains; by default they replace ``obs[domain_key]``, and domains that
        histoquilt did not make are kept in ``obs[f"{domain_key}_before"]``.

    Returns
    -------
    None. Adds ``obs[key_added]``, categorical with the same categories.

    Raises
    ------
    KeyError
        ``domain_key``, ``spatial_key`` or ``section_key`` is missing.
    ValueError
        Coordinates are not finite or all equal, or ``n_neighbors`` is less than 1.

    References
    ----------
    Min, Fang, Chen, Zhang. PLOS Computational Biology 21(4): e1012881, 2025 (optional refinement).
    """
    check_adata(adata)
    check_obs_key(adata, domain_key, argument="domain_key")
    spatial = check_spatial(adata, spatial_key)
    bare = AnnData(obs=adata.obs, obsm={spatial_key: spatial})
    # isolated spots keep their label, which needs no warning
    linked = 6 if n_neighbors is None else n_neighbors
    graph = build_graph(bare, n_neighbors=linked, spatial_key=spatial_key, section_key=section_key, quiet=True)
    near, n_neighbors = direct_neighbours(graph, spatial, n_neighbors)
    domains = adata.obs[domain_key].astype("category")
    codes = majority_codes(domains.cat.codes.to_numpy(), near, len(domains.cat.categories))
    write_result(adata, "obs", key_added or domain_key, pd.Categorical.from_codes(codes, domains.cat.categories))
    record = provenance(adata).setdefault(key_added or domain_key, {})
    record.update(refined=True, refine_neighbors=int(n_neighbors))


def direct_neighbours(
    graph: SpatialGraph, centres: np.ndarray, n_neighbors: int | None = None
) -> tuple[csr_matrix, int]:
    """Return the graph of direct neighbours, and their number inside the tissue.

    Parameters
    ----------
    graph
        Spatial graph of the spots.
    centres
        Spot centres, ``(n_spots, >= 2)``.
    n_neighbors
        Number of direct neighbours; by default 6 on hexagonal lattices and for scattered cells, 4 on square lattices.

    Returns
    -------
    ``(n_spots, n_spots)`` CSR of ones, symmetric: on a lattice links of at most 1.3 times the pitch, else the nearest.
    They are links of ``graph`` if it has them.
    """
    largest = np.bincount(graph.section).argmax()  # overlaid sections together are not a lattice
    lattice = lattice_neighbors(centres[graph.section == largest, :2])
    wanted = (lattice or 6) if n_neighbors is None else n_neighbors
    linked = graph.params.get("n_neighbors", 0)
    if wanted == lattice and linked >= wanted:
        return graph.direct(), wanted
    if wanted != lattice and linked == wanted:
        return graph.connectivities, wanted
    bare = AnnData(obs=pd.DataFrame({"section": graph.section.astype(str)}), obsm={Keys.SPATIAL: centres})
    built = build_graph(bare, n_neighbors=wanted, lattice=wanted == lattice, section_key="section", quiet=True)
    return built.connectivities, wanted


def majority_codes(codes: np.ndarray, adjacency: csr_matrix, n_domains: int) -> np.ndarray:
    """Return the refined label of every spot.

    Parameters
    ----------
    codes
        ``(n_spots,)`` int, -1 for unlabelled spots, which neither vote nor change.
    adjacency
        ``(n_spots, n_spots)`` CSR of ones, symmetric, no self loops.
    n_domains
        Number of labels.
    """
    labelled = codes >= 0
    rows = np.flatnonzero(labelled)
    ones = np.ones(len(rows), np.float32)  # whole numbers this small are exact
    one_hot = csr_matrix((ones, (rows, codes[rows])), shape=(len(codes), n_domains))
    refined = codes.copy()
    for start in range(0, len(codes), _CHUNK):
        some = slice(start, start + _CHUNK)
        votes = (adjacency[some] @ one_hot + one_hot[some]).toarray()  # (n_chunk, n_domains), a spot votes for itself
        half = votes.sum(axis=1) / 2
        own = votes[np.arange(len(votes)), np.maximum(codes[some], 0)]
        changed = labelled[some] & (own < half) & (votes.max(axis=1) > half)
        refined[some] = np.where(changed, votes.argmax(axis=1), codes[some])
    # giving one domain its spots back can take another's last ones, so look again
    while len(vanished := np.setdiff1d(codes[rows], refined[rows])):
        refined = np.where(np.isin(codes, vanished), codes, refined)
    return refined
