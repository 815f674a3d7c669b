"""UMAP, connected domains and pseudotime of an embedding, computed by scanpy."""

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys, either, listed, require
from histoquilt.runtime import numba_beside_torch
from histoquilt.study import check_adata, check_obs_key, check_obsm_key, write_result
from histoquilt.tl._cluster import checked_embedding


def paga(
    adata: AnnData,
    *,
    use_rep: str = Keys.EMBEDDING,
    domain_key: str = Keys.DOMAIN,
    root: str | None = None,
    n_neighbors: int = 15,
    key_added: str = "domain_pseudotime",
    seed: int = 0,
) -> None:
    """Connect domains that are close in the embedding (PAGA), and order spots from a root domain.

    :func:`scanpy.pp.neighbors` on the embedding, then :func:`scanpy.tl.paga` over the domains, then, with a root,
    :func:`scanpy.tl.dpt`. Pseudotime is a distance in expression, not in time; its direction is the root's. Sections
    of one study need no ``section_key`` here: the graph is one in the embedding, not in space.

    Parameters
    ----------
    adata
        ``(n_spots, n_genes)``; ``obsm[use_rep]`` holds the embedding, ``obs[domain_key]`` the domains. Unlabelled
        spots are left out.
    use_rep
        Embedding.
    domain_key
        Domains.
    root
        Domain where pseudotime starts, at the spot nearest to its mean in the embedding; none: no pseudotime.
    n_neighbors
        Neighbours of a spot in the embedding.
    key_added
        Where pseudotime goes.
    seed
        For the neighbour search of large data.

    Returns
    -------
    None. Adds to ``adata``:

    ``uns["paga"]`` : as scanpy writes it, so that ``scanpy.pl.paga`` draws it: ``connectivities`` and
    ``connectivities_tree``, CSR ``(n_domains, n_domains)`` in the order of the categories, and ``groups``
    ``obs[key_added]`` : float, 0 at the root to 1; NaN for unlabelled spots and those that no path reaches

    Raises
    ------
    ImportError
        igraph is missing (extra ``leiden``).
    KeyError
        ``use_rep`` or ``domain_key`` is missing.
    ValueError
        There are fewer than two domains, ``root`` is none of them, or the embedding is not finite.

    References
    ----------
    Wolf et al. Genome Biology 20: 59, 2019 (PAGA).
    Haghverdi, Büttner, Wolf, Buettner, Theis. Nature Methods 13: 845-848, 2016 (pseudotime).

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from anndata import AnnData
    >>> rng, place = np.random.default_rng(0), np.repeat([0, 1, 2], 30)
    >>> adata = AnnData(np.ones((90, 1)), obsm={"X_domains": 4 * place[:, None] + rng.normal(size=(90, 2))})
    >>> adata.obs["domain"] = (place + 1).astype(str)
    >>> hq.tl.paga(adata, root="1")
    >>> adata.uns["paga"]["connectivities"].toarray().astype(bool).tolist()  # 2 lies between 1 and 3
    [[False, True, False], [True, False, True], [False, True, False]]
    >>> adata.obs.groupby("domain")["domain_pseudotime"].mean().idxmax()
    '3'
    """
    check_adata(adata)
    check_obs_key(adata, domain_key, argument="domain_key")
    embedding = checked_embedding(adata, 1, use_rep)
    domains = adata.obs[domain_key].astype("category").cat.remove_unused_categories()
    names = [str(name) for name in domains.cat.categories]
    if len(names) < 2:
        raise ValueError(
            f"A trajectory joins domains, and obs[{domain_key!r}] holds {len(names)}. Ask for at least 2 domains"
            f"{either(', or pass domain_key=', '')}."
        )
    if root is not None and str(root) not in names:
        raise ValueError(f"root={root!r} is not a domain of obs[{domain_key!r}] (found: {listed(names)}).")
    require("igraph", extra="leiden", purpose="PAGA")
    import scanpy as sc

    labelled = domains.notna().to_numpy()
    points = np.asarray(embedding[labelled], dtype=np.float64)
    scratch = AnnData(obs=domains[labelled].to_frame(domain_key), obsm={"X": points})
    with numba_beside_torch():
        sc.pp.neighbors(scratch, n_neighbors=n_neighbors, use_rep="X", random_state=seed)
    sc.tl.paga(scratch, groups=domain_key)
    write_result(adata, "uns", "paga", scratch.uns["paga"])
    if root is None:
        return
    of_root = np.flatnonzero(scratch.obs[domain_key].astype(str) == str(root))
    off_centre = np.linalg.norm(points[of_root] - points[of_root].mean(axis=0), axis=1)
    scratch.uns["iroot"] = int(of_root[off_centre.argmin()])
    sc.tl.diffmap(scratch, n_comps=min(15, scratch.n_obs - 2), random_state=seed)
    sc.tl.dpt(scratch, n_dcs=min(10, scratch.n_obs - 2))
    pseudotime = np.full(adata.n_obs, np.nan)
    pseudotime[labelled] = scratch.obs["dpt_pseudotime"]
    write_result(adata, "obs", key_added, np.where(np.isfinite(pseudotime), pseudotime, np.nan))


def umap(adata: AnnData, *, use_rep: str = Keys.EMBEDDING, seed: int = 0, key_added: str = "X_umap") -> None:
    """Embed in two dimensions (:func:`scanpy.tl.umap`), in ``obsm[key_added]``, ``(n_spots, 2)``.

    Raises
    ------
    KeyError
        ``use_rep`` is missing.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from anndata import AnnData
    >>> rng, domain = np.random.default_rng(0), np.repeat([0, 1, 2], 30)
    >>> adata = AnnData(np.ones((90, 1)), obsm={"X_domains": 9 * np.eye(3)[domain] + rng.normal(size=(90, 3))})
    >>> adata.obs["domain"] = (domain + 1).astype(str)
    >>> hq.tl.umap(adata)
    >>> adata.obsm["X_umap"].shape
    (90, 2)
    >>> ax = hq.pl.embedding(adata, "X_umap")
    """
    check_adata(adata)
    check_obsm_key(adata, use_rep, argument="use_rep")
    import scanpy as sc

    scratch = AnnData(obs=adata.obs[[]].copy(), obsm={"X": np.asarray(adata.obsm[use_rep])})
    with numba_beside_torch():
        sc.pp.neighbors(scratch, use_rep="X", random_state=seed)
        sc.tl.umap(scratch, random_state=seed)
    write_result(adata, "obsm", key_added, scratch.obsm["X_umap"])
