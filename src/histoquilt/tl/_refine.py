"""Refinement of domains by those of neighbouring spots: a vote of the majority, or a Potts field."""

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt._base import Keys
from histoquilt.cluster import potts_labels, restore_vanished
from histoquilt.gr import SpatialGraph, build_graph, lattice_neighbors
from histoquilt.study import check_adata, check_obs_key, check_spatial, provenance, write_result
from histoquilt.tl._cluster import checked_embedding

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

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> hq.tl.refine_domains(adata, domain_key="domain_true", key_added="smooth")
    >>> int((adata.obs["smooth"] != adata.obs["domain_true"]).sum())  # spots with another label
    7
    """
    domains, near, facts = _domains_and_neighbours(adata, domain_key, n_neighbors, spatial_key, section_key)
    codes = majority_codes(domains.codes, near, len(domains.categories))
    _write(adata, pd.Categorical.from_codes(codes, domains.categories), key_added or domain_key, facts)


def refine_by_potts(
    adata: AnnData,
    *,
    domain_key: str = Keys.DOMAIN,
    use_rep: str = Keys.EMBEDDING,
    n_components: int = 15,
    n_neighbors: int | None = None,
    spatial_key: str = Keys.SPATIAL,
    section_key: str | None = None,
    key_added: str | None = None,
) -> None:
    """Weigh the embedding of every spot against the domains of its neighbours (a Potts field).

    Every domain becomes a Gaussian in the embedding, with one covariance for all; each neighbour in a domain multiplies
    the odds of that domain by ``exp(beta)``, and ``beta`` is estimated from the map. Unlike with
    :func:`refine_domains`, a spot in which the expression is clear keeps its domain against all neighbours, and one in
    which it is not follows a few. A domain that would vanish keeps its spots; isolated spots keep their domain;
    unlabelled spots neither count nor change. There is no randomness.

    Parameters
    ----------
    adata
        ``(n_spots, n_genes)``; ``obs[domain_key]`` holds domains, ``obsm[use_rep]`` an embedding.
    domain_key, n_neighbors, spatial_key, section_key, key_added
        Arguments as for :func:`refine_domains`.
    use_rep
        Key of the embedding, preferably smoothed less than the one that the domains were found in.
    n_components
        Number of principal components of the embedding to use.

    Returns
    -------
    None. Adds to ``adata``:

    ``obs[key_added]`` : categorical with the same categories
    ``uns["histoquilt"][key_added]["potts_beta"]`` : float, 0 to 3

    Raises
    ------
    KeyError
        ``domain_key``, ``use_rep``, ``spatial_key`` or ``section_key`` is missing.
    ValueError
        Coordinates or embedding are not finite, coordinates are all equal, or ``n_neighbors`` is less than 1.

    References
    ----------
    Besag. Journal of the Royal Statistical Society B 48(3): 259-302, 1986 (the model).
    Celeux, Forbes, Peyrard. Pattern Recognition 36(1): 131-144, 2003 (mean field).

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=400, n_genes=200, n_domains=4, seed=0)
    >>> hq.tl.spatial_domains(adata, 4, refine=False, progress=False)
    >>> hq.tl.refine_by_potts(adata, key_added="smooth")
    >>> adata.obs["smooth"].nunique()
    4
    """
    domains, near, facts = _domains_and_neighbours(adata, domain_key, n_neighbors, spatial_key, section_key)
    embedding = checked_embedding(adata, 1, use_rep)
    used = domains.remove_unused_categories()
    field = potts_labels(embedding, used.codes, near, len(used.categories), n_components=n_components)
    codes = np.append(domains.categories.get_indexer(used.categories), -1)[field.labels]  # -1: unlabelled
    refined = pd.Categorical.from_codes(codes, domains.categories)
    _write(adata, refined, key_added or domain_key, {**facts, "potts_beta": field.beta})


def _domains_and_neighbours(
    adata: AnnData, domain_key: str, n_neighbors: int | None, spatial_key: str, section_key: str | None
) -> tuple["pd.Categorical[str]", csr_matrix, dict[str, Any]]:
    """Return domains, the graph of direct neighbours, and facts of both."""
    check_adata(adata)
    check_obs_key(adata, domain_key, argument="domain_key")
    spatial = check_spatial(adata, spatial_key)
    bare = AnnData(obs=adata.obs, obsm={spatial_key: spatial})
    # isolated spots keep their label, which needs no warning
    linked = 6 if n_neighbors is None else n_neighbors
    graph = build_graph(bare, n_neighbors=linked, spatial_key=spatial_key, section_key=section_key, quiet=True)
    near, n_neighbors = direct_neighbours(graph, spatial, n_neighbors)
    domains = adata.obs[domain_key].astype("category").array
    return domains, near, {"refined": True, "refine_neighbors": int(n_neighbors)}


def _write(adata: AnnData, domains: "pd.Categorical[str]", key: str, facts: dict[str, Any]) -> None:
    write_result(adata, "obs", key, domains)
    provenance(adata).setdefault(key, {}).update(facts)


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
    return restore_vanished(codes, refined)
