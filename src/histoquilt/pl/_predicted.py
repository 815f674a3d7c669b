"""Predicted next to measured genes, their reliability, and tissue unlike that of training."""

from collections.abc import Sequence

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from histoquilt._base import Keys, listed
from histoquilt.draw import (
    BEATS_MEAN,
    agreement,
    color_ends,
    gene_reliability,
    gene_rows,
    gene_symbols,
    prediction_layer,
    raw_expression,
    reliability_order,
)
from histoquilt.pl._figure import BLUE, ORANGE, draw_values, hide_spines, new_axes, new_grid
from histoquilt.study import check_adata


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
) -> np.ndarray:
    """Plot measured next to predicted expression of genes, with their correlation over the spots.

    Both are log1p of counts per 10,000. If nothing was measured, the prediction is plotted alone.

    Parameters
    ----------
    adata
        Result of the ``predict`` method of an expression model for one section or slide; not changed.
    genes, n_genes
        One gene or several, one row each; by default the ``n_genes`` predicted most reliably on held-out training
        sections, never those that fit this section best.
    method
        Short name of the method whose prediction is plotted; by default the one recorded.
    shared_scale
        If true, plot both panels of a gene on one colour scale, from the 1st to the 99th percentile of both together.
        By default each has its own: a prediction is an expectation and varies less than counts, so that its pattern
        fades on the scale of the measurement.
    spatial_key, library_key, image, size, cmap
        As in :func:`domains` and :func:`gene`.

    Returns
    -------
    Axes ``(n_genes, 2)``: measured, predicted; ``(n_genes, 1)`` if nothing was measured.

    Raises
    ------
    KeyError
        A gene or the prediction is missing; no gene is named and ``var["reliability"]`` is missing.

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> unseen = study.pop("s3")
    >>> predicted = hq.models.RidgeOnEmbedding().fit(study, use_rep="X_image").predict(unseen)
    >>> hq.pl.measured_and_predicted(predicted, n_genes=2).shape
    (2, 2)
    """
    layer = prediction_layer(adata, method)
    if genes is None:
        columns = reliability_order(adata)[:n_genes].tolist()
    else:
        columns = gene_rows(adata, [genes] if isinstance(genes, str) else list(genes))
    near = agreement(adata, columns, layer)
    layers = {"predicted": layer} if near is None else {"measured": Keys.MEASURED, "predicted": layer}
    values = np.stack([raw_expression(adata, columns, layer=name) for name in layers.values()])
    axes = new_grid(len(columns), len(layers), 4.3 * len(layers), 3.7 * len(columns))
    for i, symbol in enumerate(gene_symbols(adata)[columns]):
        for ax, kind, shown in zip(axes[i], layers, values[:, :, i], strict=True):
            draw_values(
                adata, ax, shown, color_ends(values[:, :, i] if shared_scale else shown), "log1p CP10K", cmap=cmap,
                spatial_key=spatial_key, library_key=library_key, image=image, size=size,
            )  # fmt: skip
            title = f"{symbol}, {kind}"
            if kind == "predicted" and near is not None:
                title += ", r undefined" if near["undefined"].iloc[i] else f", r = {near['pearson'].iloc[i]:.2f}"
            ax.set_title(title, fontsize="medium")
    return axes


def reliability(adata: AnnData, *, n_named: int = 10, ax: Axes | None = None) -> Axes:
    """Plot the reliability of each predicted gene on held-out training sections, from best to worst.

    Parameters
    ----------
    adata
        Result of the ``predict`` method of an expression model; not changed. ``var["reliability"]`` is the mean
        correlation over held-out training sections, ``var["beats_mean"]`` is true if the squared error was below that
        of the training mean.
    n_named, ax
        Number of the best genes to label; Axes to plot into, new ones by default.

    Returns
    -------
    The Axes. Genes that do not beat the mean are grey.

    Raises
    ------
    KeyError, ValueError
        ``var`` has no reliability of genes, or only missing values.

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> unseen = study.pop("s3")
    >>> predicted = hq.models.RidgeOnEmbedding().fit(study, use_rep="X_image").predict(unseen)
    >>> hq.pl.reliability(predicted).get_xlabel()
    'genes, best first'
    """
    check_adata(adata)
    values = gene_reliability(adata)
    order = np.argsort(-values, kind="stable")[: np.isfinite(values).sum()]  # unknown ones come last
    if order.size == 0:
        raise ValueError(
            f"None of the {adata.n_vars:,} genes has a reliability: the method predicts the same everywhere, or "
            "training held no section out. Train another method on two or more sections."
        )
    ax = new_axes(ax, 6.4, 3.8)
    known = adata.var[BEATS_MEAN].to_numpy(dtype=bool)[order] if BEATS_MEAN in adata.var else np.ones(order.size, bool)
    rank = np.arange(1, order.size + 1)
    best_first = values[order]
    for members, color, label in ((known, BLUE, "better than the mean"), (~known, "#b4b4b4", "not better")):
        if members.any():
            label = f"{label}: {members.sum():,}"
            ax.scatter(rank[members], best_first[members], s=14, color=color, linewidths=0, label=label)
    middle = float(np.median(best_first))
    ax.axhline(middle, color="0.45", linewidth=1, linestyle=":")
    ax.annotate(f"median {middle:.2f}", (1, middle), xycoords=("axes fraction", "data"), xytext=(-2, 3),
                textcoords="offset points", ha="right", color="0.35", fontsize="small")  # fmt: skip
    named = gene_symbols(adata)[order[:n_named]].astype(str)
    if len(named):
        text = "best: " + ",\n".join(", ".join(named[start : start + 5]) for start in range(0, len(named), 5))
        ax.text(0.02, 0.03, text, transform=ax.transAxes, fontsize="small", color="0.3", va="bottom")
    ax.set(xlabel="genes, best first", ylabel="correlation in held-out training sections")
    spread = np.ptp(best_first) or 1.0
    ax.set_ylim(best_first.min() - 0.35 * spread, best_first.max() + 0.08 * spread)
    hide_spines(ax)
    ax.legend(frameon=False, fontsize="small", loc="upper right")
    return ax


def out_of_distribution(
    adata: AnnData,
    *,
    spatial_key: str = Keys.SPATIAL,
    library_key: str | None = None,
    image: bool = True,
    size: float | None = None,
    cmap: str = "cividis",
    ax: Axes | None = None,
) -> Axes:
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

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> unseen = study.pop("s3")
    >>> predicted = hq.models.RidgeOnEmbedding().fit(study, use_rep="X_image").predict(unseen)
    >>> hq.pl.out_of_distribution(predicted).get_title()
    '0.0% of the spots unlike training'
    """
    check_adata(adata)
    score_key = f"{Keys.OUT_OF_DISTRIBUTION}_score"
    missing = [key for key in (score_key, Keys.OUT_OF_DISTRIBUTION) if key not in adata.obs]
    if missing:
        raise KeyError(
            f"{listed(missing)} not in adata.obs (found: {listed(adata.obs)}). The predict of an expression model "
            "writes it into what it returns."
        )
    outside = adata.obs[Keys.OUT_OF_DISTRIBUTION].to_numpy(dtype=bool)
    label = "distance to the training tissue (limit 1)"
    ax, spots = draw_values(
        adata, ax, adata.obs[score_key].to_numpy(dtype=np.float64), (0.0, 2.0), label, cmap=cmap,
        spatial_key=spatial_key, library_key=library_key, image=image, size=size,
    )  # fmt: skip
    recorded = adata.uns.get(Keys.UNS, {}).get("prediction", {})
    if float(recorded.get("section_out_of_distribution_score", 0.0)) > 1:
        title = "The section as a whole is unlike training"  # every spot would have a rim
    else:
        spots.set(edgecolors=np.where(outside, ORANGE, "none"), linewidths=np.where(outside, 1.2, 0.0))
        title = f"{outside.mean():.1%} of the spots unlike training"
    ax.set_title(title, fontsize="medium")
    return ax
