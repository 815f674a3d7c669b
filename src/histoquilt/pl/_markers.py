"""Dot plot of the best markers of each domain."""

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from histoquilt._base import Keys
from histoquilt.draw import as_categories, gene_rows, marker_table, raw_expression
from histoquilt.pl._figure import add_colorbar, hide_spines, new_axes
from histoquilt.study import check_adata, check_obs_key

_LARGEST = 130.0  # area in points squared of the dot of a gene that all spots express


def marker_dotplot(
    adata: AnnData,
    n_genes: int = 3,
    *,
    domain_key: str = Keys.DOMAIN,
    markers_key: str = Keys.MARKERS,
    layer: str | None = None,
    scale_genes: bool = True,
    cmap: str = "Blues",
    ax: Axes | None = None,
) -> Axes:
    """Plot how strongly and how widely each domain expresses the best markers of all domains.

    Parameters
    ----------
    adata, markers_key
        AnnData with the table of :func:`histoquilt.tl.domain_markers` in ``uns[markers_key]``; not changed.
    n_genes
        Number of markers per domain. Genes are in the order of the domains, each once, at its first domain.
    domain_key
        Column of ``obs`` with the domains.
    layer
        Layer with the counts; by default ``layers["counts"]``, else ``X``.
    scale_genes
        If true, colour is the mean log1p CP10K of a domain divided by the highest mean of that gene, so that weak and
        strong genes can be compared; otherwise the mean itself.
    cmap, ax
        Name of a matplotlib colour map; Axes to plot into, new ones by default.

    Returns
    -------
    The Axes: domains from top to bottom, genes from left to right; area of a dot = share of spots with a count.

    Raises
    ------
    KeyError
        The marker table, the domains or a gene is missing.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> hq.tl.domain_markers(adata, domain_key="domain_true")
    >>> ax = hq.pl.marker_dotplot(adata, n_genes=1, domain_key="domain_true")
    >>> len(ax.get_xticklabels()), len(ax.get_yticklabels())
    (3, 3)
    """
    check_adata(adata)
    check_obs_key(adata, domain_key, argument="domain_key")
    table = marker_table(adata, markers_key)
    domain = as_categories(adata, domain_key)
    names = domain.categories.tolist()
    top = table.groupby("domain", observed=True, sort=False).head(n_genes)
    top = top[top["domain"].isin(names)]
    by_domain = top["domain"].map(names.index).to_numpy().argsort(kind="stable")
    picked = top.iloc[by_domain].drop_duplicates("gene")
    values = raw_expression(adata, gene_rows(adata, picked["gene"].tolist()), layer=layer)
    mean, share = _by_domain(values, domain.codes, len(names))
    shown = mean / np.maximum(mean.max(axis=0), 1e-12) if scale_genes else mean

    ax = new_axes(ax, 0.34 * len(picked) + 2.9, max(0.36 * len(names) + 1.3, 3.4))
    rows, columns = np.mgrid[: len(names), : len(picked)]
    dots = ax.scatter(
        columns.ravel(), rows.ravel(), s=share.ravel() * _LARGEST, c=shown.ravel(), cmap=cmap, vmin=0,
        vmax=1 if scale_genes else None, edgecolors="0.45", linewidths=0.5,
    )  # fmt: skip
    ax.set_xticks(range(len(picked)), picked["symbol"], rotation=90, fontstyle="italic")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlim=(-0.7, len(picked) - 0.3), ylim=(len(names) - 0.4, -0.6), ylabel=domain_key)
    ax.tick_params(length=0)
    hide_spines(ax)
    sizes = [
        Line2D([], [], linestyle="", marker="o", color="0.55", markersize=(_LARGEST * part) ** 0.5, label=f"{part:.0%}")
        for part in (0.25, 0.5, 1.0)
    ]
    ax.legend(
        handles=sizes, title="spots expressing", loc="lower left", bbox_to_anchor=(0, 1.01), frameon=False, ncols=3,
        handletextpad=0.2, columnspacing=1.0, borderaxespad=0, alignment="left",
    )  # fmt: skip
    add_colorbar(ax, dots, "mean expression\n(share of highest)" if scale_genes else "mean log1p CP10K")
    return ax


def _by_domain(values: np.ndarray, codes: np.ndarray, n_domains: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and share above zero per domain, ``(n_domains, n_genes)`` each; 0 for an empty domain."""
    mean, share = np.zeros((2, n_domains, values.shape[1]))
    for code in range(n_domains):
        inside = values[codes == code]
        if len(inside):
            mean[code], share[code] = inside.mean(axis=0), (inside > 0).mean(axis=0)
    return mean, share
