"""Domains, their confidence and genes on the tissue of one section."""

from collections.abc import Mapping, Sequence

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from histoquilt._base import Keys
from histoquilt.draw import (
    UNLABELLED,
    as_categories,
    color_top,
    denoised_expression,
    domain_colors,
    gene_rows,
    gene_symbols,
    raw_expression,
)
from histoquilt.pl._figure import add_legend, draw_tissue, draw_values, new_grid
from histoquilt.study import check_adata, check_obs_key


def domains(
    adata: AnnData,
    *,
    domain_key: str = Keys.DOMAIN,
    spatial_key: str = Keys.SPATIAL,
    library_key: str | None = None,
    image: bool = True,
    size: float | None = None,
    palette: Sequence[str] | Mapping[str, str] | None = None,
    legend: bool = True,
    alpha: float = 1.0,
    ax: Axes | None = None,
) -> Axes:
    """Plot the domains of one section on the tissue.

    Parameters
    ----------
    adata
        One section; not changed. ``obs[domain_key]`` holds the domains, ``obsm[spatial_key]`` spot centres ``(x, y)``.
        ``uns["spatial"]`` may hold an image, ``uns["histoquilt"]["coordinates"]`` microns per unit for a scale bar.
    domain_key, spatial_key
        Categorical column of ``obs``, and key in ``obsm`` of the spot centres.
    library_key
        Column of ``obs`` that names the image of ``uns["spatial"]``; by default ``section`` or ``library_id``.
    image
        If true, draw the tissue image under the spots.
    size
        Spot diameter in coordinate units; by default from the distance between neighbours.
    palette
        Colours in the order of the domains, or a dict from domain to colour; by default
        ``uns[f"{domain_key}_colors"]`` as scanpy writes it, else :func:`domain_palette`.
    legend
        If true, name the domains next to the tissue.
    alpha
        Opacity of the spots, 0 to 1.
    ax
        Axes to plot into; new ones by default.

    Returns
    -------
    The Axes. Spots without a domain are grey; more than 20,000 spots are rasterised in vector formats.

    Raises
    ------
    KeyError, ValueError
        A key is missing; the coordinates are unusable, or ``palette`` is too short.

    Warns
    -----
    UserWarning
        ``adata`` holds several sections that lie on top of each other (see :func:`domains_grid`).

    Examples
    --------
    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.ones((4, 1)), obsm={"spatial": np.array([[0, 0], [1, 0], [0, 1], [1, 1]])})
    >>> adata.obs["domain"] = ["1", "1", "2", "2"]
    >>> ax = domains(adata)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['1', '2']
    """
    check_adata(adata)
    check_obs_key(adata, domain_key, argument="domain_key")
    colors = domain_colors(adata, domain_key, palette)
    codes = as_categories(adata, domain_key).codes
    faces = np.array([*colors.values(), UNLABELLED])[codes]  # code -1, no domain, takes the last
    ax, _ = draw_tissue(
        adata, ax, spatial_key=spatial_key, library_key=library_key, image=image, size=size, facecolors=faces,
        alpha=alpha,
    )  # fmt: skip
    if legend:
        add_legend(ax, colors, domain_key, unlabelled=bool((codes < 0).any()))
    return ax


def confidence(
    adata: AnnData,
    *,
    confidence_key: str = Keys.CONFIDENCE,
    spatial_key: str = Keys.SPATIAL,
    library_key: str | None = None,
    image: bool = False,
    size: float | None = None,
    cmap: str = "cividis",
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Plot the confidence of the domain of each spot, on a fixed scale from 0 to 1.

    Parameters
    ----------
    adata
        One section; not changed.
    confidence_key
        Column of ``obs`` with numbers in [0, 1], e.g. ``"domain_stability"`` (:func:`histoquilt.tl.domain_stability`).
    spatial_key, library_key, image, size, ax
        As in :func:`domains`.
    cmap, legend
        Name of a matplotlib colour map; if ``legend``, add a colour bar.

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        A key is missing.

    See Also
    --------
    confidence_grid : several sections.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> hq.tl.spatial_domains(adata, n_domains=3, progress=False)
    >>> hq.pl.confidence(adata).collections[0].get_clim()
    (0.0, 1.0)
    """
    check_adata(adata)
    check_obs_key(adata, confidence_key, argument="confidence_key")
    values = adata.obs[confidence_key].to_numpy(dtype=float)
    title = confidence_key.replace("_", " ") if legend else None
    return draw_values(
        adata, ax, values, (0.0, 1.0), title, cmap=cmap, spatial_key=spatial_key,
        library_key=library_key, image=image, size=size,
    )[0]  # fmt: skip


def gene(
    adata: AnnData,
    gene: str,
    *,
    layer: str | None = None,
    denoised: bool = False,
    spatial_key: str = Keys.SPATIAL,
    library_key: str | None = None,
    image: bool = False,
    size: float | None = None,
    cmap: str = "viridis",
    vmin: float = 0.0,
    vmax: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot one gene on the tissue, as log1p of counts per 10,000.

    Parameters
    ----------
    adata
        One section; not changed.
    gene
        Name in ``var_names``, or a unique symbol in ``var["gene_symbol"]``.
    layer
        Layer with the counts; by default ``layers["counts"]``, else ``X``. Its declared scale is used.
    denoised
        If true, plot ``obsm["denoised"]`` instead.
    spatial_key, library_key, image, size, ax
        As in :func:`domains`.
    cmap, vmin, vmax
        Name of a matplotlib colour map, and ends of its scale; ``vmax`` is by default the 99th percentile.

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError, ValueError
        The gene, the layer or ``obsm["denoised"]`` is missing; the matrix neither holds counts nor has a scale.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> hq.pl.gene(adata, adata.var_names[0]).get_title()
    'ZBTB3'
    """
    check_adata(adata)
    columns = gene_rows(adata, [gene])
    values = denoised_expression(adata, columns) if denoised else raw_expression(adata, columns, layer=layer)
    ends = vmin, vmax if vmax is not None else color_top(values)
    label = "log1p CP10K, denoised" if denoised else "log1p CP10K"
    ax, _ = draw_values(
        adata, ax, values[:, 0], ends, label, cmap=cmap, spatial_key=spatial_key, library_key=library_key, image=image,
        size=size,
    )  # fmt: skip
    ax.set_title(str(gene_symbols(adata)[columns[0]]))
    return ax


def denoised(
    adata: AnnData,
    genes: str | Sequence[str],
    *,
    layer: str | None = None,
    shared_scale: bool = False,
    spatial_key: str = Keys.SPATIAL,
    library_key: str | None = None,
    size: float | None = None,
    cmap: str = "viridis",
) -> np.ndarray:
    """Plot measured next to denoised expression of genes, both as log1p of counts per 10,000.

    Parameters
    ----------
    adata
        One section with ``obsm["denoised"]``; not changed.
    genes
        One gene or several, one row each.
    shared_scale
        If true, plot both panels of a gene on one colour scale, from 0 to the 99th percentile of both together. By
        default each has its own: denoising removes the scatter of counts, so that a weak gene would look empty on the
        scale of the measurement.
    layer, spatial_key, library_key, size, cmap
        As in :func:`gene`.

    Returns
    -------
    Axes ``(n_genes, 2)``: measured, denoised.

    Raises
    ------
    KeyError
        A gene or ``obsm["denoised"]`` is missing.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> hq.tl.spatial_domains(adata, n_domains=3, progress=False)
    >>> gene = adata.obsm["denoised"].columns[0]
    >>> len(hq.pl.denoised(adata, gene).ravel())
    2
    """
    check_adata(adata)
    genes = [genes] if isinstance(genes, str) else list(genes)
    columns = gene_rows(adata, genes)
    values = np.stack([raw_expression(adata, columns, layer=layer), denoised_expression(adata, columns)])
    axes = new_grid(len(genes), 2, 8.6, 3.7 * len(genes))
    for i, name in enumerate(genes):
        top = color_top(values[:, :, i]) if shared_scale else None
        for ax, kind in zip(axes[i], ("measured", "denoised"), strict=True):
            gene(
                adata, name, layer=layer, denoised=kind == "denoised", spatial_key=spatial_key,
                library_key=library_key, size=size, cmap=cmap, vmax=top, ax=ax,
            )  # fmt: skip
            ax.set_title(f"{ax.get_title()}, {kind}")
    return axes
