"""Marker genes of domains: Welch's t-test from sums over chunks of spots."""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix
from scipy.stats import false_discovery_control, ttest_ind_from_stats

from histoquilt._base import Keys, MissingKey, argument, either
from histoquilt.models import DomainModel
from histoquilt.pp import Expression, expression
from histoquilt.study import check_adata, check_obs_key, declare_scale, write_result

_COLUMNS = 200  # stored values of a spot, about: sets how many spots are read at a time
_SMALL = 1e-9  # keeps the logarithm of a fold change finite, as in scanpy


def domain_markers(
    adata: AnnData,
    *,
    domain_key: str = Keys.DOMAIN,
    layer: str | None = None,
    n_genes: int = 20,
    key_added: str = Keys.MARKERS,
) -> None:
    """Rank the genes that a domain expresses more than the rest of the tissue.

    Welch's t-test on log1p of counts per 10,000, domain against all other spots, unlabelled ones included, with the
    variance overestimated as scanpy recommends (the numbers are those of :func:`scanpy.tl.rank_genes_groups`). The
    domains were found in the same expression, so p-values order genes; they are not evidence that a domain exists.

    Parameters
    ----------
    adata
        ``(n_spots, n_genes)``; raw counts, or a matrix declared ``log1p_cp10k``.
    domain_key
        Column of ``obs`` with the domains.
    layer
        Layer with the expression; by default ``layers["counts"]``, else ``X``.
    n_genes
        Number of genes for each domain.
    key_added
        Key in ``uns`` of the table.

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

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> hq.tl.domain_markers(adata, domain_key="domain_true", n_genes=1)
    >>> adata.uns["domain_markers"]["domain"].tolist()
    ['island1', 'layer1', 'layer2']
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
    table = rank_genes(source, domains, groups, n_genes)
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


def rank_genes(source: Expression, domains: "pd.Series[str]", groups: Sequence[str], n_genes: int) -> pd.DataFrame:
    """Rank genes as :func:`scanpy.tl.rank_genes_groups` does (``t-test_overestim_var``, each domain against the rest).

    Expression is normalised chunk by chunk, and what is kept is a few sums for each domain and gene.

    Parameters
    ----------
    source
        ``(n_spots, n_genes)``, in memory or left in its file.
    domains
        Categorical, ``(n_spots,)``; unlabelled spots belong to the rest.
    groups
        Categories to rank genes for.
    n_genes
        Genes kept for each.

    Returns
    -------
    Columns ``group, names, scores, logfoldchanges, pvals_adj, pct_nz_group, pct_nz_reference``, best first within each
    group.
    """
    codes = domains.cat.codes.to_numpy()
    codes = np.where(codes < 0, len(domains.cat.categories), codes)  # the unlabelled come last
    sizes = np.bincount(codes, minlength=len(domains.cat.categories) + 1)
    sums, squares, present = _moments(source, codes, len(sizes))
    tables = []
    for group in groups:
        own = domains.cat.categories.get_loc(group)
        n, n_rest = int(sizes[own]), len(codes) - int(sizes[own])
        mean, sd = _mean_and_sd(sums[own], squares[own], n)
        mean_rest, sd_rest = _mean_and_sd(sums.sum(axis=0) - sums[own], squares.sum(axis=0) - squares[own], n_rest)
        with np.errstate(divide="ignore", invalid="ignore"):
            # the variance of the rest is overestimated: it counts as if it came from no more spots than the domain
            score, p_value = ttest_ind_from_stats(mean, sd, n, mean_rest, sd_rest, n, equal_var=False)
        score, p_value = np.nan_to_num(score, nan=0.0), np.nan_to_num(p_value, nan=1.0)
        best = np.argsort(-score, kind="stable")[:n_genes]
        table = {
            "group": group,
            "names": np.asarray(source.genes)[best],
            "scores": score[best],
            "logfoldchanges": np.log2((np.expm1(mean) + _SMALL) / (np.expm1(mean_rest) + _SMALL))[best],
            "pvals_adj": false_discovery_control(p_value)[best],
            "pct_nz_group": present[own][best] / n,
            "pct_nz_reference": (present.sum(axis=0) - present[own])[best] / n_rest,
        }
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def denoise_markers(adata: AnnData, model: DomainModel, *, n_genes: int = 5, markers_key: str = Keys.MARKERS) -> None:
    """Write the denoised expression of the best markers of every domain; for sections too large to denoise all genes.

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
    >>> model = hq.models.SpatialFactors()
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


def _moments(source: Expression, codes: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each group and gene the sum of values, the sum of squares, and the number of spots with a count."""
    sums, squares, present = (np.zeros((n_groups, len(source.genes))) for _ in range(3))
    for rows, values in source.normalised_chunks(1e4, log=True, n_columns=_COLUMNS):
        inside = codes[rows]
        one_hot = csr_matrix((np.ones(len(inside)), (inside, np.arange(len(inside)))), (n_groups, len(inside)))
        sums += (one_hot @ values).toarray()
        squares += (one_hot @ values.astype(np.float64).power(2)).toarray()
        present += (one_hot @ values.sign()).toarray()
    return sums, squares, present


def _mean_and_sd(total: np.ndarray, squares: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    mean = total / n
    with np.errstate(divide="ignore", invalid="ignore"):  # of a single spot there is none
        return mean, np.sqrt(np.maximum(squares - n * mean**2, 0.0) / (n - 1))
