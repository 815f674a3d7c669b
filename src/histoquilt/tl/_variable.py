"""Spatially variable genes, raw and denoised: Moran's I on the spatial graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix
from scipy.stats import false_discovery_control, norm

from histoquilt._base import Keys, MissingKey, argument, either, listed
from histoquilt.metrics import morans_i
from histoquilt.pp import expression
from histoquilt.study import check_adata, check_obs_key, write_result


def spatially_variable_genes(
    adata: AnnData,
    *,
    layer: str | None = None,
    graph_key: str = Keys.CONNECTIVITIES,
    section_key: str | None = None,
) -> pd.DataFrame:
    """Rank genes by spatial autocorrelation (Moran's I of log1p of counts per 10,000).

    p-values are one-sided (neighbours more alike than by chance), from the normal approximation to Moran's I of
    values that are shuffled over the spots (randomisation), corrected over genes by Benjamini and Hochberg. Spots of
    one section share their depth and their gradients, and nearly every gene of a large section passes: read I, not
    the p-value alone.

    Parameters
    ----------
    adata
        ``(n_spots, n_genes)``; raw counts, or a matrix declared ``log1p_cp10k``; ``obsp[graph_key]`` holds the graph.
    layer
        Layer with the expression; by default ``layers["counts"]``, else ``X``.
    graph_key
        Key in ``obsp`` of the graph.
    section_key
        Column of ``obs`` that distinguishes sections. Links between sections are left out, and every gene is centred in
        each section, so that a difference between sections is not a spatial pattern.

    Returns
    -------
    DataFrame, highest Moran's I first: ``gene``, ``moran_i``, ``z``, ``p``, ``p_adjusted``. Adds to ``adata``:

    ``var["moran_i"]``, ``var["moran_p_adjusted"]`` : float; NaN for genes that are the same everywhere

    Raises
    ------
    KeyError
        ``layer``, ``graph_key`` or ``section_key`` is missing.
    ValueError
        The expression is neither raw counts nor declared, no spot has a neighbour, or there are fewer than 4 spots.

    References
    ----------
    Cliff, Ord. Spatial Processes: Models and Applications. Pion, London, 1981 (moments under randomisation).

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=300, n_genes=60, seed=0)
    >>> hq.gr.knn_graph(adata, 6)
    >>> table = hq.tl.spatially_variable_genes(adata)
    >>> table.columns.tolist(), int((table["p_adjusted"] < 0.01).sum())
    (['gene', 'moran_i', 'z', 'p', 'p_adjusted'], 2)
    """
    check_adata(adata)
    graph, section = _graph_within_sections(adata, graph_key, section_key)
    source = expression(adata, layer)
    if adata.n_obs < 4:
        raise ValueError(f"The variance of Moran's I needs at least 4 spots, got {adata.n_obs}.")
    found = _by_block(source.normalised(), graph, section)
    table = pd.DataFrame({"gene": source.genes, **found})
    tested = table["p"].notna()
    table["p_adjusted"] = np.nan
    if tested.any():
        table.loc[tested, "p_adjusted"] = false_discovery_control(table.loc[tested, "p"], method="bh")
    write_result(adata, "var", "moran_i", table["moran_i"].to_numpy())
    write_result(adata, "var", "moran_p_adjusted", table["p_adjusted"].to_numpy())
    return table.sort_values("moran_i", ascending=False, kind="stable", ignore_index=True)


def compare_denoised(
    adata: AnnData,
    genes: Sequence[str] | None = None,
    *,
    layer: str | None = None,
    denoised_key: str = Keys.DENOISED,
    graph_key: str = Keys.CONNECTIVITIES,
    section_key: str | None = None,
) -> pd.DataFrame:
    """Compare Moran's I of raw and of denoised genes.

    A model that passes messages between neighbours makes any gene smoother, one without a pattern as well. So a
    higher value is no proof; the correlation with the raw gene tells whether it is still that gene.

    Parameters
    ----------
    adata
        ``(n_spots, n_genes)``; ``obsm[denoised_key]`` holds the DataFrame that :func:`spatial_domains` wrote.
    genes
        Genes to compare, by the names of ``var_names``; by default all that were denoised.
    layer, graph_key, section_key
        As for :func:`spatially_variable_genes`.
    denoised_key
        Denoised expression in ``obsm``.

    Returns
    -------
    DataFrame in the order of the genes: ``gene``, ``moran_raw``, ``moran_denoised``, ``correlation`` (Pearson, raw
    with denoised). Writes nothing.

    Raises
    ------
    KeyError
        A key is missing, or a gene was not denoised.
    ValueError
        The expression is neither raw counts nor declared, or no spot has a neighbour.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> hq.tl.spatial_domains(adata, n_domains=3, progress=False)
    >>> hq.tl.compare_denoised(adata).columns.tolist()
    ['gene', 'moran_raw', 'moran_denoised', 'correlation']
    """
    check_adata(adata)
    graph, section = _graph_within_sections(adata, graph_key, section_key)
    if denoised_key not in adata.obsm:
        raise MissingKey(
            denoised_key, "adata.obsm", adata.obsm,
            f"Run spatial_domains with {argument('denoise', True)}{either(', or pass denoised_key=', '')}.",
        )  # fmt: skip
    denoised = adata.obsm[denoised_key]
    names = [str(gene) for gene in (denoised.columns if genes is None else genes)]
    missing = [gene for gene in names if gene not in denoised.columns]
    if missing:
        raise KeyError(
            f"{listed(missing, 5)} was not denoised (e.g. {listed(denoised.columns[:3])} were). Name genes of "
            f"adata.obsm[{denoised_key!r}]; the model knows its variable genes only."
        )
    source = expression(adata, layer)
    raw = source.normalised()[:, [source.genes.index(gene) for gene in names]]
    smooth = denoised[names].to_numpy(np.float64)
    raw_values = _centred(raw.toarray().astype(np.float64), section)
    smooth_values = _centred(smooth, section)
    spread = np.sqrt((raw_values**2).sum(axis=0) * (smooth_values**2).sum(axis=0))
    product = (raw_values * smooth_values).sum(axis=0)
    return pd.DataFrame(
        {
            "gene": names,
            "moran_raw": morans_i(raw_values, graph),
            "moran_denoised": morans_i(smooth_values, graph),
            "correlation": np.divide(product, spread, out=np.full(len(names), np.nan), where=spread > 0),
        }
    )


def _graph_within_sections(adata: AnnData, graph_key: str, section_key: str | None) -> tuple[csr_matrix, np.ndarray]:
    """Return the graph without links between sections, and the number of each spot's section, ``(n_spots,)``."""
    if graph_key not in adata.obsp:
        raise MissingKey(
            graph_key, "adata.obsp", adata.obsp,
            f"Make a graph with histoquilt.gr.knn_graph{either(', or pass graph_key=', '')}.",
        )  # fmt: skip
    graph = csr_matrix(adata.obsp[graph_key], dtype=np.float64)
    if section_key is None:
        return graph, np.zeros(adata.n_obs, int)
    check_obs_key(adata, section_key, argument="section_key")
    section = pd.factorize(adata.obs[section_key])[0]
    if (section < 0).any():
        raise ValueError(
            f"{(section < 0).sum():,} of {adata.n_obs:,} spots have no section: adata.obs[{section_key!r}] is empty "
            "(NaN) there. Name their section, or drop them."
        )
    links = graph.tocoo()
    inside = section[links.row] == section[links.col]
    return csr_matrix((links.data[inside], (links.row[inside], links.col[inside])), shape=graph.shape), section


def _centred(values: np.ndarray, section: np.ndarray) -> np.ndarray:
    """Subtract every section's mean of each gene."""
    sums = np.zeros((section.max() + 1, values.shape[1]))
    np.add.at(sums, section, values)
    return values - (sums / np.maximum(np.bincount(section), 1)[:, None])[section]


def _by_block(matrix: csr_matrix, graph: csr_matrix, section: np.ndarray) -> dict[str, np.ndarray]:
    """Return Moran's I, z and p of every gene, dense for a few hundred genes at a time."""
    n_spots, n_genes = matrix.shape
    columns = matrix.tocsc()
    found: dict[str, Any] = {name: np.full(n_genes, np.nan) for name in ("moran_i", "z", "p")}
    width = max(1, 2**22 // n_spots)  # 32 MB
    for start in range(0, n_genes, width):
        genes = slice(start, min(start + width, n_genes))
        values = _centred(columns[:, genes].toarray().astype(np.float64), section)
        values[:, np.abs(values).max(axis=0) < 1e-9] = 0.0  # the same all over each section, but for rounding
        index = morans_i(values, graph)
        z = (index + 1 / (n_spots - 1)) / np.sqrt(_variance(values, graph))
        found["moran_i"][genes], found["z"][genes], found["p"][genes] = index, z, norm.sf(z)
    return found


def _variance(values: np.ndarray, graph: csr_matrix) -> np.ndarray:
    """Return the variance of Moran's I of each centred gene over all orders of its values; ``(n_genes,)``."""
    n = float(graph.shape[0])
    total = graph.sum()
    both = graph + graph.T
    s1 = both.multiply(both).sum() / 2
    s2 = ((np.asarray(graph.sum(axis=0)).ravel() + np.asarray(graph.sum(axis=1)).ravel()) ** 2).sum()
    squares = (values**2).sum(axis=0)
    kurtosis = np.divide(n * (values**4).sum(axis=0), squares**2, out=np.full(len(squares), np.nan), where=squares > 0)
    even = n * ((n**2 - 3 * n + 3) * s1 - n * s2 + 3 * total**2)
    peaked = kurtosis * ((n**2 - n) * s1 - 2 * n * s2 + 6 * total**2)
    return (even - peaked) / ((n - 1) * (n - 2) * (n - 3) * total**2) - 1 / (n - 1) ** 2
