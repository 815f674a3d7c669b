"""Scores of an evaluation: methods next to baselines and oracles, and gene by gene."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from histoquilt._base import listed
from histoquilt.draw import GENE_SETS, METHOD_KINDS, gene_means, method_order, section_scores
from histoquilt.metrics import bootstrap_ci
from histoquilt.pl._figure import hide_spines, new_axes

_STYLES = {"method": ("#0072b2", "o"), "baseline": ("#707070", "s"), "oracle": ("#e69f00", "D")}  # colour, marker
_LABELS = {
    "pcc_median": "median correlation over genes", "pcc_median_adjusted": "median correlation at equal depth",
    "deviance_median": "median deviance explained", "deviance_above_0": "share of genes with deviance explained",
    "pcc_mean": "mean correlation over genes",
    "spearman_mean": "mean rank correlation", "rmse": "RMSE", "mse": "MSE", "mae": "MAE",
}  # fmt: skip


def scores(table: pd.DataFrame, *, value: str = "pcc_median", gene_set: str = "panel", ax: Axes | None = None) -> Axes:
    """Plot the score of each method: a dot per held-out section, and the mean over folds with a confidence interval.

    Parameters
    ----------
    table
        Table ``scores`` of an evaluation, or ``scores.csv``: columns ``fold, section, method, seed, gene_set``,
        `value` and ``kind`` (``method``, ``baseline`` or ``oracle``; without it all count as methods). Pooled rows
        are left out.
    value, gene_set
        Column and gene set to plot.
    ax
        Axes to plot into; new ones by default.

    Returns
    -------
    The Axes. Methods are blue, baselines grey, oracles (which use the measurement) orange. The interval is the 95 %
    bootstrap over folds, if there are several. Seeds of a section are averaged.

    Raises
    ------
    KeyError
        A column or the gene set is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> row = {"seed": 0, "gene_set": "panel", "kind": "method"}
    >>> table = pd.DataFrame([
    ...     {"fold": f, "section": f, "method": m, "pcc_median": v, **row}
    ...     for m, values in {"ridge": (0.2, 0.3), "spahgc": (0.3, 0.4)}.items() for f, v in zip("ab", values)
    ... ])
    >>> ax = scores(table)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['ridge', 'spahgc']
    """
    rows = section_scores(table, value, gene_set)
    order = method_order(rows, value)[::-1]  # the best is drawn at the top
    ax = new_axes(ax, 6.6, 0.9 + 0.42 * len(order))
    handles = {}
    for place, name in enumerate(order):
        scored = rows[rows["method"] == name]
        kind = scored["kind"].iloc[0]
        color, marker = _STYLES[kind]
        mean = bootstrap_ci({str(fold): part[value].to_numpy() for fold, part in scored.groupby("fold", sort=False)})
        by_section = scored.groupby("section", sort=False)[value].mean().to_numpy()
        spread = np.linspace(-0.13, 0.13, len(by_section)) if len(by_section) > 1 else np.zeros(1)
        ax.scatter(by_section, place + spread, s=13, color=color, alpha=0.45, linewidths=0, zorder=2)
        if np.isfinite(mean.low):
            ax.plot([mean.low, mean.high], [place, place], color=color, linewidth=1.6, zorder=3)
        handles[kind] = ax.scatter(
            [mean.mean], [place], s=44, color=color, marker=marker, edgecolors="white", linewidths=0.8, zorder=4
        )
        ax.annotate(
            f"{mean.mean:.3f}", (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize="small",
            color="0.25",
        )  # fmt: skip
    ax.axvline(0, color="0.75", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(order)), order)
    ax.set_ylim(-0.6, len(order) - 0.4)
    ax.set_xlabel(f"{_LABELS.get(value, value)}, {GENE_SETS.get(gene_set, gene_set)}")
    hide_spines(ax)
    ax.grid(axis="x", color="0.93", zorder=0)
    ax.set_axisbelow(True)
    if len(handles) > 1:
        kinds = [kind for kind in METHOD_KINDS if kind in handles]
        ax.legend(
            [handles[kind] for kind in kinds], kinds, frameon=False, fontsize="small", loc="lower left",
            bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.1,
        )  # fmt: skip
    return ax


def gene_scores(
    table: pd.DataFrame,
    method: str,
    against: str = "ridge",
    *,
    value: str = "pearson",
    n_named: int = 6,
    genes: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Plot the score of each gene by one method against another, as mean over held-out sections and seeds.

    Parameters
    ----------
    table
        Table ``genes`` of an evaluation: columns ``section, method, gene`` and `value`. Pooled rows are left out.
    method, against, value
        Methods on the vertical and the horizontal axis, and column to plot.
    n_named, genes
        Number of genes with the largest difference to label, and further genes to label.
    ax
        Axes to plot into; new ones by default.

    Returns
    -------
    The Axes. Genes above the line are predicted better by `method`; the title counts them.

    Raises
    ------
    KeyError
        A column, a method or a gene is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"method": ["ridge", "ridge", "knn", "knn"], "gene": list("abab"), "section": "s1"})
    >>> table["pearson"] = [0.2, 0.3, 0.4, 0.1]
    >>> ax = gene_scores(table, "knn", against="ridge")
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('ridge: pearson', 'knn: pearson')
    """
    wide = gene_means(table, value)
    absent = [name for name in (method, against) if name not in wide]
    if absent:
        raise KeyError(f"No genes scored for {listed(absent)} (found: {listed(wide)}).")
    unknown = [name for name in genes if name not in wide.index]
    if unknown:
        raise KeyError(f"{listed(unknown, 5)} not among the {len(wide):,} genes that were scored.")
    pair = wide[[against, method]].dropna()
    ax = new_axes(ax, 4.8, 4.8)
    difference = pair[method] - pair[against]
    colors = np.where(difference > 0, _STYLES["method"][0], _STYLES["baseline"][0])
    ax.scatter(pair[against], pair[method], s=14, alpha=0.6, linewidths=0, zorder=2, color=colors)
    low, high = float(pair.min().min()), float(pair.max().max())
    margin = 0.06 * ((high - low) or 1.0)
    ends = (low - margin, high + margin)
    ax.plot(ends, ends, color="0.6", linewidth=1, zorder=1)
    ax.set(xlim=ends, ylim=ends, xlabel=f"{against}: {value}", ylabel=f"{method}: {value}")
    ax.set_aspect("equal")
    named = [*difference.abs().sort_values(ascending=False).index[:n_named], *genes]
    for name in dict.fromkeys(named):
        offset, ha, va = ((-3, 3), "right", "bottom") if difference[name] > 0 else ((3, -3), "left", "top")
        ax.annotate(
            str(name), (pair[against][name], pair[method][name]), xytext=offset, textcoords="offset points",
            fontsize="x-small", color="0.25", ha=ha, va=va,
        )  # fmt: skip
    ax.set_title(f"{(difference > 0).sum():,} of {len(pair):,} genes higher with {method}", fontsize="medium")
    hide_spines(ax)
    return ax
