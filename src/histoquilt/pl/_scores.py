"""Scores of an evaluation: methods beside their baselines and oracles, and gene by gene."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POOLED = ("pooled", "pooled_centred")  # rows of all sections together, which are no further section
KINDS = ("method", "baseline", "oracle")
_COLORS = {"method": "#0072b2", "baseline": "#707070", "oracle": "#e69f00"}


def scores(
    table: pd.DataFrame,
    *,
    value: str = "pcc_median",
    gene_set: str = "panel",
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot the score of each method: a dot per held-out section, and the mean over folds with a confidence interval.

    Parameters
    ----------
    table
        ``scores`` of an evaluation, or ``scores.csv``: columns ``fold, section, method, seed, gene_set``, `value` and
        ``kind`` (``method``, ``baseline`` or ``oracle``; all count as methods where it is missing). Pooled rows are
        left out.
    value
        Column to plot.
    gene_set
        Which rows.
    ax
        Axes to plot into; new ones by default.

    Returns
    -------
    The Axes. Methods are blue, baselines grey, oracles (which see the answer and are no methods) orange. The interval
    is the 95 % bootstrap over folds; there is none where there is one fold. Several seeds of a section are averaged.

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
    import matplotlib.pyplot as plt

    from histoquilt.metrics import bootstrap_ci

    rows = section_scores(table, value, gene_set)
    order = method_order(rows, value)[::-1]  # the best is drawn at the top
    if ax is None:
        ax = plt.subplots(figsize=(6.6, 0.9 + 0.42 * len(order)), layout="constrained")[1]
    seen: set[str] = set()
    for place, name in enumerate(order):
        own = rows[rows["method"] == name]
        kind = own["kind"].iloc[0]
        found = bootstrap_ci({str(fold): part[value].to_numpy() for fold, part in own.groupby("fold", sort=False)})
        per_section = own.groupby("section", sort=False)[value].mean().to_numpy()
        spread = np.linspace(-0.13, 0.13, len(per_section)) if len(per_section) > 1 else np.zeros(1)
        color = _COLORS[kind]
        ax.scatter(per_section, place + spread, s=13, color=color, alpha=0.45, linewidths=0, zorder=2)
        if np.isfinite(found.low):
            ax.plot([found.low, found.high], [place, place], color=color, linewidth=1.6, zorder=3)
        marker = {"method": "o", "baseline": "s", "oracle": "D"}[kind]
        ax.scatter([found.mean], [place], s=44, color=color, marker=marker, edgecolors="white", linewidths=0.8,
                   zorder=4, label=None if kind in seen else kind)  # fmt: skip
        seen.add(kind)
        ax.annotate(f"{found.mean:.3f}", (1.01, place), xycoords=("axes fraction", "data"), va="center",
                    fontsize="small", color="0.25")  # fmt: skip
    ax.axvline(0, color="0.75", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(order)), order)
    ax.set_ylim(-0.6, len(order) - 0.4)
    ax.set_xlabel(f"{LABELS.get(value, value)}, {GENE_SETS.get(gene_set, gene_set)}")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="x", color="0.93", zorder=0)
    ax.set_axisbelow(True)
    if len(seen) > 1:
        handles, labels = ax.get_legend_handles_labels()
        by_kind = sorted(zip(labels, handles, strict=True), key=lambda pair: KINDS.index(pair[0]))
        ax.legend([handle for _, handle in by_kind], [label for label, _ in by_kind], frameon=False, fontsize="small",
                  loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.1)  # fmt: skip
    return ax


LABELS = {
    "pcc_median": "median correlation over genes", "pcc_mean": "mean correlation over genes",
    "spearman_mean": "mean rank correlation", "rmse": "RMSE", "mse": "MSE", "mae": "MAE",
}  # fmt: skip
GENE_SETS = {"panel": "all genes", "top50_mean": "top 50 by mean", "top50_variable": "top 50 by variance"}


def section_scores(table: pd.DataFrame, value: str, gene_set: str) -> pd.DataFrame:
    """Return the rows of single sections of one gene set, with ``kind``.

    Raises
    ------
    KeyError
        A column or the gene set is missing.
    """
    missing = [name for name in ("fold", "section", "method", "gene_set", value) if name not in table]
    if missing:
        raise KeyError(
            f"The table lacks the column(s) {', '.join(map(repr, missing))} (found: "
            f"{', '.join(map(repr, table.columns))}). Pass the scores of histoquilt.tl.evaluate_expression."
        )
    sets = table["gene_set"].unique()
    if gene_set not in sets:
        raise KeyError(f"No gene set {gene_set!r} in the table (found: {', '.join(map(repr, sets))}).")
    rows = table[(table["gene_set"] == gene_set) & ~table["section"].isin(POOLED)]
    return rows if "kind" in rows else rows.assign(kind="method")


def method_order(rows: pd.DataFrame, value: str) -> list[str]:
    """Return methods, then baselines, then oracles; each from best to worst."""
    sign = 1 if value in ("rmse", "mse", "mae") else -1  # of errors the least is best
    of_method = rows.groupby("method", sort=False)
    mean, kind = of_method[value].mean() * sign, of_method["kind"].first()
    worst = mean.fillna(np.inf)  # an oracle on another scale has no errors
    return sorted(mean.index, key=lambda name: (KINDS.index(kind[name]), worst[name]))


def gene_scores(
    table: pd.DataFrame,
    method: str,
    against: str = "ridge",
    *,
    value: str = "pearson",
    n_named: int = 6,
    genes: Sequence[str] = (),
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot the score of each gene by one method against another, as mean over held-out sections and seeds.

    Parameters
    ----------
    table
        Table ``genes`` of an evaluation: columns ``section, method, gene`` and `value`. Pooled rows are left out.
    method, against
        Methods on the vertical and the horizontal axis.
    value
        Column to plot.
    n_named
        Number of genes with the largest difference to label.
    genes
        Further genes to label.
    ax
        Axes to plot into; new ones by default.

    Returns
    -------
    The Axes. Genes above the line are predicted better by `method`; the title counts them.

    Raises
    ------
    KeyError
        A column, a method or a gene is missing.
    """
    import matplotlib.pyplot as plt

    wide = gene_means(table, value)
    absent = [name for name in (method, against) if name not in wide]
    if absent:
        raise KeyError(f"No genes scored for {', '.join(map(repr, absent))} (found: {', '.join(map(repr, wide))}).")
    unknown = [name for name in genes if name not in wide.index]
    if unknown:
        raise KeyError(f"{', '.join(map(repr, unknown[:5]))} not among the {len(wide):,} genes that were scored.")
    pair = wide[[against, method]].dropna()
    if ax is None:
        ax = plt.subplots(figsize=(4.8, 4.8), layout="constrained")[1]
    difference = pair[method] - pair[against]
    ax.scatter(pair[against], pair[method], s=14, alpha=0.6, linewidths=0, zorder=2,
               color=np.where(difference > 0, _COLORS["method"], _COLORS["baseline"]))  # fmt: skip
    low, high = float(pair.min().min()), float(pair.max().max())
    margin = 0.06 * ((high - low) or 1.0)
    ends = (low - margin, high + margin)
    ax.plot(ends, ends, color="0.6", linewidth=1, zorder=1)
    ax.set(xlim=ends, ylim=ends, xlabel=f"{against}: {value}", ylabel=f"{method}: {value}")
    ax.set_aspect("equal")
    named = [*difference.abs().sort_values(ascending=False).index[:n_named], *genes]
    for name in dict.fromkeys(named):
        above = difference[name] > 0
        ax.annotate(str(name), (pair[against][name], pair[method][name]), xytext=(-3, 3) if above else (3, -3),
                    textcoords="offset points", fontsize="x-small", color="0.25", ha="right" if above else "left",
                    va="bottom" if above else "top")  # fmt: skip
    ax.set_title(f"{(difference > 0).sum():,} of {len(pair):,} genes higher with {method}", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def gene_means(table: pd.DataFrame, value: str = "pearson") -> pd.DataFrame:
    """Return genes by methods: the mean over held-out sections and seeds.

    Raises
    ------
    KeyError
        A column is missing.
    """
    missing = [name for name in ("section", "method", "gene", value) if name not in table]
    if missing:
        raise KeyError(
            f"The table lacks the column(s) {', '.join(map(repr, missing))} (found: "
            f"{', '.join(map(repr, table.columns))}). Pass the genes of histoquilt.tl.evaluate_expression."
        )
    rows = table[~table["section"].isin(POOLED)]
    return rows.pivot_table(index="gene", columns="method", values=value, aggfunc="mean", sort=False, observed=True)
