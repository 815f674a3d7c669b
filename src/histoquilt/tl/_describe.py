"""Description of domains: marker genes, their denoised expression, and a two-dimensional view of the embedding."""

import warnings

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, MissingKey, argument, either
from histoquilt.models import DomainModel
from histoquilt.pp import Expression, by_chunks, expression
from histoquilt.runtime import numba_beside_torch
from histoquilt.study import check_adata, check_obs_key, check_obsm_key, declare_scale, write_result
from histoquilt.tl._markers_by_chunks import rank_by_chunks


def domain_markers(
    adata: AnnData,
    *,
    domain_key: str = Keys.DOMAIN,
    layer: str | None = None,
    n_genes: int = 20,
    key_added: str = Keys.MARKERS,
) -> None:
    """Rank the genes that a domain expresses more than the rest of the tissue.

    Welch's t-test on log1p of counts per 10,000, domain against all other spots, unlabelled ones included
    (:func:`scanpy.tl.rank_genes_groups`, variance overestimated as scanpy recommends; more than 50,000 spots are worked
    through in chunks, to the same numbers). The domains were found in the same expression, so p-values order genes;
    they are not evidence that a domain exists.

    Parameters
    ----------
    adata
        ``(n_spots, n_genes)``; raw counts, or a matrix declared ``log1p_cp10k``.
    domain_key
        Domains, in ``obs``.
    layer
        Where the expression is; by default ``layers["counts"]``, then ``X``.
    n_genes
        Genes kept for each domain.
    key_added
        Where the table goes.

    Returns
    -------
    None. Adds ``uns[key_added]``: DataFrame, best first within each domain, with columns ``domain``, ``gene`` (name in
    ``var_names``), ``symbol``, ``score`` (t), ``log2_fold_change``, ``p_adjusted`` (Benjamini-Hochberg), ``share_in``
    and ``share_out`` (share of spots with a count, 0 to 1). Domains of a single spot are left out.

    Raises
    ------
    KeyError
        ``domain_key`` or ``layer`` is missing.
    ValueError
        The expression is neither raw counts nor declared, there are fewer than two domains, or none has two spots.
    """
    check_adata(adata)
    check_obs_key(adata, domain_key, argument="domain_key")
    domains = adata.obs[domain_key].astype("category").cat.remove_unused_categories()
    domains = domains.cat.rename_categories(str)  # scanpy looks groups up by text
    if len(domains.cat.categories) < 2:
        raise ValueError(
            f"Markers compare domains, and obs[{domain_key!r}] holds {len(domains.cat.categories)}. "
            f"Ask for at least 2 domains{either(', or pass domain_key=', '')}."
        )
    sizes = domains.value_counts()
    groups = [name for name in domains.cat.categories if sizes[name] > 1]
    if not groups:
        raise ValueError(
            f"Every domain in obs[{domain_key!r}] is a single spot, which a t-test cannot compare. "
            "Ask for fewer domains."
        )
    reads_x = layer == "X" or (layer is None and Keys.COUNTS not in adata.layers)
    if adata.n_vars == 0 or (adata.X is None and reads_x):
        raise ValueError(
            "Markers need expression, and the section has none (X is empty). Put raw counts into "
            f"adata.layers['counts'], or pass {argument('layer')}."
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*have no counts.*")  # said when the section was segmented
        source = expression(adata, layer, in_memory=False)
    rank = rank_by_chunks if by_chunks(adata.n_obs) else _rank_with_scanpy
    table = rank(source, domains, groups, n_genes)
    symbol = table["names"].astype(str)
    if Keys.GENE_SYMBOL in adata.var:  # a gene without a symbol shows its name
        symbol = symbol.map(adata.var[Keys.GENE_SYMBOL].dropna().astype(str)).fillna(symbol)
    markers = pd.DataFrame(
        {
            "domain": table["group"].astype(str).to_numpy(),
            "gene": table["names"].astype(str).to_numpy(),
            "symbol": symbol.to_numpy(),
            "score": table["scores"].to_numpy(np.float64),
            "log2_fold_change": table["logfoldchanges"].to_numpy(np.float64),
            "p_adjusted": table["pvals_adj"].to_numpy(np.float64),
            "share_in": table["pct_nz_group"].to_numpy(np.float64),
            "share_out": table["pct_nz_reference"].to_numpy(np.float64),
        }
    )
    write_result(adata, "uns", key_added, markers)


def denoise_markers(adata: AnnData, model: DomainModel, *, n_genes: int = 5, markers_key: str = Keys.MARKERS) -> None:
    """Write the denoised expression of the best markers of every domain, where that of all genes would fill memory.

    Parameters
    ----------
    adata
        Section with markers in ``uns[markers_key]`` (:func:`domain_markers`).
    model
        Model that found the domains.
    n_genes
        Number of modelled markers of each domain.
    markers_key
        Key in ``uns`` of the table of markers.

    Returns
    -------
    None. Adds ``obsm["denoised"]``: DataFrame, log1p of counts per 10,000, one column per gene.

    Raises
    ------
    KeyError
        There are no markers.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=300, n_genes=150, n_domains=3, seed=0)
    >>> model = hq.models.SpaMask()
    >>> hq.tl.spatial_domains(adata, 3, model=model, denoise=False, progress=False)
    >>> hq.tl.domain_markers(adata)
    >>> hq.tl.denoise_markers(adata, model, n_genes=2)
    >>> adata.obsm["denoised"].shape
    (300, 6)
    """
    if markers_key not in adata.uns:
        raise MissingKey(markers_key, "adata.uns", adata.uns, "Make it with histoquilt.tl.domain_markers.")
    markers = adata.uns[markers_key]
    best = markers[markers["gene"].isin(set(model.genes))].groupby("domain", sort=False)["gene"].head(n_genes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # repeated from the fit
        denoised = model.denoise(adata, list(dict.fromkeys(best)))
    write_result(adata, "obsm", Keys.DENOISED, denoised)
    declare_scale(adata, Keys.DENOISED, "log1p_cp10k")


def _rank_with_scanpy(source: Expression, domains: "pd.Series[str]", groups: list[str], n_genes: int) -> pd.DataFrame:
    """Return what :func:`scanpy.get.rank_genes_groups_df` does, always with the column ``group``."""
    import scanpy as sc

    scratch = AnnData(source.normalised(), obs=pd.DataFrame({"domain": domains}), var=pd.DataFrame(index=source.genes))
    scratch.uns["log1p"] = {"base": None}
    with warnings.catch_warnings(), numba_beside_torch():
        warnings.simplefilter("ignore")
        sc.tl.rank_genes_groups(
            scratch, "domain", groups=groups, method="t-test_overestim_var", n_genes=n_genes, pts=True, use_raw=False
        )
        table = sc.get.rank_genes_groups_df(scratch, group=groups)
    if "group" not in table:  # scanpy leaves the column out for a single group
        table.insert(0, "group", groups[0])
    return table


def umap(adata: AnnData, *, use_rep: str = Keys.EMBEDDING, seed: int = 0, key_added: str = "X_umap") -> None:
    """Lay an embedding out in two dimensions (:func:`scanpy.tl.umap`), into ``obsm[key_added]``, ``(n_spots, 2)``.

    Raises
    ------
    KeyError
        ``use_rep`` is missing.
    """
    check_adata(adata)
    check_obsm_key(adata, use_rep, argument="use_rep")
    import scanpy as sc

    scratch = AnnData(obs=adata.obs[[]].copy(), obsm={"X": np.asarray(adata.obsm[use_rep])})
    with numba_beside_torch():
        sc.pp.neighbors(scratch, use_rep="X", random_state=seed)
        sc.tl.umap(scratch, random_state=seed)
    write_result(adata, "obsm", key_added, scratch.obsm["X_umap"])
