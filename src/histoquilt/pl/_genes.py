"""Genes drawn on the tissue, as measured and denoised."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import denoised_expression, gene_rows, gene_symbols, raw_expression, warn_overlapping_sections
from histoquilt.pl._draw import add_colorbar, color_by, draw_tissue
from histoquilt.study import check_adata

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot one gene on the tissue, as log1p of counts per 10,000.

    Parameters
    ----------
    adata
        One section; only read.
    gene
        A name in ``var_names``, or a symbol in ``var["gene_symbol"]`` that is unique.
    layer
        Layer with the counts; by default ``layers["counts"]``, else ``X``. Its declared scale is honoured.
    denoised
        Draw ``obsm["denoised"]`` instead.
    spatial_key, library_key, image, size, ax
        As in :func:`domains`.
    cmap
        Name of a matplotlib colour map.
    vmin, vmax
        Ends of the colour scale; ``vmax`` is by default the 99th percentile, so that one bright spot hides nothing.

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        The gene, the layer or ``obsm["denoised"]`` is missing.
    ValueError
        The matrix holds no counts and no scale is declared for it.
    """
    check_adata(adata)
    warn_overlapping_sections(adata, spatial_key, library_key)
    columns = gene_rows(adata, [gene])
    values = denoised_expression(adata, columns) if denoised else raw_expression(adata, columns, layer=layer)
    ax, spots = draw_tissue(adata, ax, spatial_key=spatial_key, library_key=library_key, image=image, size=size)
    color_by(spots, values[:, 0], cmap, vmin, vmax if vmax is not None else color_top(values))
    add_colorbar(ax, spots, "log1p CP10K, denoised" if denoised else "log1p CP10K")
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
) -> "np.ndarray":
    """Plot measured next to denoised expression of genes, both as log1p of counts per 10,000.

    Parameters
    ----------
    adata
        One section with ``obsm["denoised"]``; only read.
    genes
        One gene, or several: one row each.
    layer
        Layer with the counts, as in :func:`gene`.
    shared_scale
        Draw both pictures of a gene on one colour scale, from 0 to the 99th percentile of both together. By default
        each has its own, from 0 to its own 99th percentile: denoising takes away the scatter of single counts, so on
        the scale of the measured values a gene of low expression would look empty. Colour bars state the numbers.
    spatial_key, library_key, size
        As in :func:`domains`.
    cmap
        Name of a matplotlib colour map.

    Returns
    -------
    Axes ``(n_genes, 2)``: measured, denoised.

    Raises
    ------
    KeyError
        A gene or ``obsm["denoised"]`` is missing.
    """
    import matplotlib.pyplot as plt

    check_adata(adata)
    genes = [genes] if isinstance(genes, str) else list(genes)
    columns = gene_rows(adata, genes)
    measured, smooth = raw_expression(adata, columns, layer=layer), denoised_expression(adata, columns)
    axes = plt.subplots(
        len(genes), 2, figsize=(8.6, 3.7 * len(genes)), layout="constrained", squeeze=False
    )[1]  # fmt: skip
    draw = partial(gene, adata, layer=layer, spatial_key=spatial_key, library_key=library_key, size=size, cmap=cmap)
    for i, (name, (left, right)) in enumerate(zip(genes, axes, strict=True)):
        both = color_top(np.concatenate([measured[:, i], smooth[:, i]])) if shared_scale else None
        draw(name, vmax=both, ax=left)
        draw(name, vmax=both, ax=right, denoised=True)
        left.set_title(f"{left.get_title()}, measured")
        right.set_title(f"{right.get_title()}, denoised")
    return axes


def color_top(values: np.ndarray) -> float:
    """Return the upper end of a colour scale: the 99th percentile, or the maximum where nearly all values are zero."""
    finite = values[np.isfinite(values)]
    if finite.size == 0 or finite.max() <= 0:
        return 1.0
    top = float(np.percentile(finite, 99))
    return top if top > 0 else float(finite.max())
