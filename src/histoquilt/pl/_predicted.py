"""Predicted genes on the tissue, beside measured ones; how reliable they are, and where the tissue is unfamiliar."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import (
    BEATS_MEAN,
    MEASURED,
    agreement,
    gene_reliability,
    gene_symbols,
    has_measured,
    prediction_layer,
    raw_expression,
    reliability_order,
    shown_genes,
)
from histoquilt.pl._draw import add_colorbar, color_by, draw_tissue
from histoquilt.pl._genes import color_top
from histoquilt.study import check_adata

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BETTER, OTHER, ALARM = "#0072b2", "#b4b4b4", "#d55e00"


def measured_and_predicted(
    adata: AnnData,
    genes: str | Sequence[str] | None = None,
    *,
    method: str | None = None,
    n_genes: int = 4,
    shared_scale: bool = False,
    spatial_key: str = Keys.SPATIAL,
    library_key: str | None = None,
    image: bool = False,
    size: float | None = None,
    cmap: str = "viridis",
) -> "np.ndarray":
    """Plot measured next to predicted expression of genes, with their correlation over the spots.

    Both are log1p of counts per 10,000. If nothing was measured, the prediction is plotted alone.

    Parameters
    ----------
    adata
        Result of the ``predict`` method of an expression model for one section or slide; not changed.
    genes
        One gene or several, one row each. By default those predicted most reliably on held-out training sections, never
        those that fit this section best.
    method
        Short name of the method whose prediction is plotted; by default the one recorded.
    n_genes
        Number of genes if none are named.
    shared_scale
        If true, plot both panels of a gene on one colour scale, from the 1st to the 99th percentile of both together.
        By default each has its own, from its 1st to its 99th percentile: a prediction is an expectation and varies less
        than single counts do, so that its pattern fades on the scale of the measurement. Colour bars show the values.
    spatial_key, library_key, image, size
        As in :func:`domains`.
    cmap
        Name of a matplotlib colour map.

    Returns
    -------
    Axes ``(n_genes, 2)``: measured, predicted; ``(n_genes, 1)`` if nothing was measured.

    Raises
    ------
    KeyError
        A gene or the prediction is missing; no gene is named and ``var["reliability"]`` is missing.
    """
    import matplotlib.pyplot as plt

    layer = prediction_layer(adata, method)
    columns = shown_genes(adata, genes, n_genes)
    layers = [MEASURED, layer] if has_measured(adata) else [layer]
    values = [raw_expression(adata, columns, layer=name) for name in layers]
    symbols = gene_symbols(adata)
    near = agreement(adata, columns, layer) if has_measured(adata) else None
    axes = plt.subplots(
        len(columns), len(layers), figsize=(4.3 * len(layers), 3.7 * len(columns)), layout="constrained", squeeze=False
    )[1]
    for i, column in enumerate(columns):
        both = np.concatenate([one[:, i] for one in values])
        for ax, name, one in zip(axes[i], layers, values, strict=True):
            _, spots = draw_tissue(adata, ax, spatial_key=spatial_key, library_key=library_key, image=image, size=size)
            color_by(spots, one[:, i], cmap, *color_ends(both if shared_scale else one[:, i]))
            add_colorbar(ax, spots, "log1p CP10K")
            ax.set_title(f"{symbols[column]}, {'measured' if name == MEASURED else 'predicted'}", fontsize="medium")
        if near is not None:
            right, found = axes[i][-1], near.iloc[i]
            near_it = "r undefined" if found["undefined"] else f"r = {found['pearson']:.2f}"
            right.set_title(f"{right.get_title()}, {near_it}", fontsize="medium")
    return axes


def color_ends(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of a colour scale of expression: the 1st and the 99th percentile, apart in any case."""
    finite = values[np.isfinite(values)]
    top = color_top(finite)
    low = float(np.percentile(finite, 1)) if finite.size else 0.0
    return (low, top) if low < top else (0.0, top)


def reliability(adata: AnnData, *, n_named: int = 10, ax: "Axes | None" = None) -> "Axes":
    """Plot the reliability of each predicted gene on held-out training sections, from best to worst.

    Parameters
    ----------
    adata
        Result of the ``predict`` method of an expression model; not changed. ``var["reliability"]`` is the mean
        correlation over held-out training sections, ``var["beats_mean"]`` is true if the squared error was below that
        of the training mean.
    n_named
        Number of the best genes to label.
    ax
        Axes to plot into; new ones by default.

    Returns
    -------
    The Axes. Genes that do not beat the mean are grey: their map is no better than one colour.

    Raises
    ------
    KeyError
        ``var`` has no reliability of genes.
    ValueError
        No gene has a reliability, e.g. after training with a method that has none.
    """
    import matplotlib.pyplot as plt

    check_adata(adata)
    values = gene_reliability(adata)
    order = np.array([column for column in reliability_order(adata) if np.isfinite(values[column])], dtype=int)
    if order.size == 0:
        raise ValueError(
            f"None of the {adata.n_vars:,} genes has a reliability: the method predicts the same everywhere, or "
            "training held no section out. Train another method on two or more sections."
        )
    if ax is None:
        ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")[1]
    known = adata.var[BEATS_MEAN].to_numpy(dtype=bool)[order] if BEATS_MEAN in adata.var else np.ones(order.size, bool)
    rank = np.arange(1, order.size + 1)
    for members, color, label in ((known, BETTER, "better than the mean"), (~known, OTHER, "not better")):
        if members.any():
            ax.scatter(rank[members], values[order][members], s=14, color=color, linewidths=0,
                       label=f"{label}: {members.sum():,}")  # fmt: skip
    middle = float(np.median(values[order]))
    ax.axhline(middle, color="0.45", linewidth=1, linestyle=":")
    ax.annotate(f"median {middle:.2f}", (1, middle), xycoords=("axes fraction", "data"), xytext=(-2, 3),
                textcoords="offset points", ha="right", color="0.35", fontsize="small")  # fmt: skip
    best = gene_symbols(adata)[order[:n_named]]
    if len(best):
        ax.text(
            0.02, 0.03, "best: " + _wrapped(best), transform=ax.transAxes, fontsize="small", color="0.3", va="bottom"
        )
    ax.set(xlabel="genes, best first", ylabel="correlation in held-out training sections")
    spread = np.ptp(values[order]) or 1.0
    ax.set_ylim(values[order].min() - 0.35 * spread, values[order].max() + 0.08 * spread)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize="small", loc="upper right")
    return ax


def _wrapped(names: Sequence[str], per_line: int = 5) -> str:
    lines = [", ".join(map(str, names[start : start + per_line])) for start in range(0, len(names), per_line)]
    return ",\n".join(lines)


def out_of_distribution(
    adata: AnnData,
    *,
    spatial_key: str = Keys.SPATIAL,
    library_key: str | None = None,
    image: bool = True,
    size: float | None = None,
    cmap: str = "cividis",
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot how much each spot's image differs from the training tissue; spots beyond the limit have an orange rim.

    Parameters
    ----------
    adata
        Result of the ``predict`` method of an expression model; not changed. ``obs["out_of_distribution_score"]`` is
        the distance to the training tissue, 1 being the limit, and ``obs["out_of_distribution"]`` the verdict.
    spatial_key, library_key, image, size, ax
        As in :func:`domains`.
    cmap
        Name of a matplotlib colour map; it runs from 0 to twice the limit.

    Returns
    -------
    The Axes; the title states the share of such spots, and whether the section as a whole differs from training.

    Raises
    ------
    KeyError
        The score was not written.
    """
    check_adata(adata)
    score_key = f"{Keys.OUT_OF_DISTRIBUTION}_score"
    missing = [key for key in (score_key, Keys.OUT_OF_DISTRIBUTION) if key not in adata.obs]
    if missing:
        raise KeyError(
            f"{', '.join(map(repr, missing))} not in adata.obs (found: "
            f"{', '.join(map(repr, adata.obs)) or 'nothing'}). The predict of an expression model "
            "writes it into what it returns."
        )
    outside = adata.obs[Keys.OUT_OF_DISTRIBUTION].to_numpy(dtype=bool)
    ax, spots = draw_tissue(adata, ax, spatial_key=spatial_key, library_key=library_key, image=image, size=size)
    color_by(spots, adata.obs[score_key].to_numpy(dtype=np.float64), cmap, 0.0, 2.0)
    whole = adata.uns.get(Keys.UNS, {}).get("prediction", {}).get("section_out_of_distribution_score", 0.0)
    if float(whole) <= 1:  # otherwise every spot would have a rim
        spots.set(edgecolors=np.where(outside, ALARM, "none"), linewidths=np.where(outside, 1.2, 0.0))
    add_colorbar(ax, spots, "distance to the training tissue (limit 1)")
    ax.set_title(
        "The section as a whole is unlike training" if float(whole) > 1
        else f"{outside.mean():.1%} of the spots unlike training",
        fontsize="medium",
    )  # fmt: skip
    return ax
