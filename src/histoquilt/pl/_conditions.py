"""Differences between conditions: proportions of domains, their neighbours and their shape."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes

from histoquilt._base import Keys
from histoquilt.draw import compared_with, condition_comparison, domain_palette, of_condition, patient_values
from histoquilt.metrics import FDR_LEVEL, SHAPE_MEASURES, ConditionComparison
from histoquilt.pl._figure import BLUE, add_colorbar, hide_spines, new_axes, new_grid


def condition_proportions(
    comparison: ConditionComparison | AnnData,
    *,
    condition: str | None = None,
    key: str = Keys.CONDITIONS,
    ax: Axes | None = None,
) -> Axes:
    """Plot the proportion of each domain in each patient, by condition, with the false discovery rate.

    Parameters
    ----------
    comparison
        Result of :func:`histoquilt.tl.compare_conditions`, or the AnnData that it was written into.
    condition
        Condition to show next to its reference; by default the first that was compared.
    key
        Key in ``uns`` of the AnnData.
    ax
        Axes to plot into; new ones by default.

    Returns
    -------
    The Axes: a dot per patient, a line at the mean over patients, and the adjusted p-value above each domain, bold
    below 5 %. In a paired comparison the dots of a patient are joined.

    Raises
    ------
    KeyError
        There is no comparison, or not of this condition.

    Examples
    --------
    >>> import histoquilt as hq
    >>> sections = hq.datasets.toy_conditions(n_patients=2, n_spots=200, n_genes=50, n_domains=3, seed=0)
    >>> found = hq.tl.compare_conditions(sections, domain_key="domain_true")
    >>> [label.get_text() for label in hq.pl.condition_proportions(found).get_xticklabels()]
    ['island1', 'layer1', 'layer2']
    """
    found = condition_comparison(comparison, key)
    condition, reference = compared_with(found, condition)
    tests = of_condition(found.proportions, condition)
    values = patient_values(found, "proportion")
    domains = tests["domain"].astype(str).tolist()
    paired = bool(found.contrasts.set_index("condition").loc[condition, "paired"])
    ax = new_axes(ax, 1.6 + 0.95 * len(domains), 3.6)
    places = {reference: -0.17, condition: 0.17}
    for (name, shift), color in zip(places.items(), domain_palette(2), strict=True):
        of_name = values[values["condition"] == name]
        for place, domain in enumerate(domains):
            own = of_name.loc[of_name["domain"] == domain, "value"].to_numpy()
            spread = np.linspace(-0.07, 0.07, len(own)) if len(own) > 1 and not paired else np.zeros(len(own))
            label = name if place == 0 else None
            ax.scatter(place + shift + spread, own, s=20, color=color, linewidths=0, alpha=0.85, zorder=3, label=label)
            ax.plot([place + shift - 0.12, place + shift + 0.12], [own.mean()] * 2, color=color, linewidth=2, zorder=2)
    if paired:
        wide = values.pivot_table(index=["domain", "patient"], columns="condition", values="value")
        pairs = wide[[reference, condition]].dropna().reset_index()
        for domain, one, other in pairs[["domain", reference, condition]].to_numpy():
            ends = domains.index(domain) + np.array([places[reference], places[condition]])
            ax.plot(ends, [one, other], color="0.8", linewidth=0.8, zorder=1)
    for place, p in enumerate(tests["p_adjusted"]):
        ax.annotate(
            _fdr(p), (place, 1.01), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize="small",
            weight="bold" if p < FDR_LEVEL else "normal", color="0.2" if p < FDR_LEVEL else "0.5",
        )  # fmt: skip
    ax.set_xticks(range(len(domains)), domains)
    ax.set_ylim(bottom=0)
    ax.set(xlabel="domain; above, the false discovery rate", ylabel="share of spots")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.1)
    hide_spines(ax)
    return ax


def condition_neighbours(
    comparison: ConditionComparison | AnnData,
    *,
    condition: str | None = None,
    key: str = Keys.CONDITIONS,
    ax: Axes | None = None,
) -> Axes:
    """Plot how much more or less often domains are neighbours in a condition than in the reference.

    Parameters
    ----------
    comparison, condition, key, ax
        As for :func:`condition_proportions`.

    Returns
    -------
    The Axes: log2 ratio of the enrichments of each pair of domains; a star where the false discovery rate is below 5 %,
    grey where a pair could not be compared.

    Raises
    ------
    KeyError
        There is no comparison, or not of this condition.

    Examples
    --------
    >>> import histoquilt as hq
    >>> sections = hq.datasets.toy_conditions(n_patients=2, n_spots=200, n_genes=50, n_domains=3, seed=0)
    >>> found = hq.tl.compare_conditions(sections, domain_key="domain_true")
    >>> [label.get_text() for label in hq.pl.condition_neighbours(found).get_xticklabels()]
    ['island1', 'layer1', 'layer2']
    """
    found = condition_comparison(comparison, key)
    condition, reference = compared_with(found, condition)
    tests = of_condition(found.neighbours, condition)
    domains = tests["domain"].astype(str).unique().tolist()
    ax = new_axes(ax, 2.2 + 0.5 * len(domains), 1.4 + 0.5 * len(domains))
    grid = np.full((len(domains), len(domains)), np.nan)
    rows, columns = (tests[name].astype(str).map(domains.index).to_numpy() for name in ("domain", "neighbour"))
    grid[rows, columns] = grid[columns, rows] = tests["difference"]
    top = max(float(np.nanmax(np.abs(grid), initial=0.0)), 0.5)
    is_found = (tests["p_adjusted"] < FDR_LEVEL).to_numpy()
    pairs = list(zip(rows[is_found], columns[is_found], strict=True))
    for row, column in {*pairs, *((column, row) for row, column in pairs)}:
        color = "white" if abs(grid[row, column]) > 0.6 * top else "black"
        ax.text(column, row, "*", ha="center", va="center_baseline", fontsize=15, color=color)
    shown = ax.imshow(
        np.ma.masked_invalid(grid), cmap=mpl.colormaps["RdBu_r"].with_extremes(bad="0.9"), vmin=-top, vmax=top
    )
    ax.set_xticks(range(len(domains)), domains, rotation=90 if max(map(len, domains)) > 3 else 0)
    ax.set_yticks(range(len(domains)), domains)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    add_colorbar(ax, shown, f"enrichment, {condition} over {reference} (log2)")
    return ax


def condition_shape(
    comparison: ConditionComparison | AnnData, *, condition: str | None = None, key: str = Keys.CONDITIONS
) -> np.ndarray:
    """Plot the change of the shape of each domain: log2 ratio with its 95 % confidence interval.

    Parameters
    ----------
    comparison, condition, key
        As for :func:`condition_proportions`.

    Returns
    -------
    One Axes per measure (area, perimeter, elongation, pieces, distance to the tissue border), in a one-dimensional
    array. Dots are filled where the false discovery rate is below 5 %.

    Raises
    ------
    KeyError
        There is no comparison, not of this condition, or its shapes were left out.

    Examples
    --------
    >>> import histoquilt as hq
    >>> sections = hq.datasets.toy_conditions(n_patients=2, n_spots=200, n_genes=50, n_domains=3, seed=0)
    >>> found = hq.tl.compare_conditions(sections, domain_key="domain_true")
    >>> [ax.get_title() for ax in hq.pl.condition_shape(found)]
    ['area', 'perimeter', 'elongation', 'pieces', 'distance to the tissue border']
    """
    found = condition_comparison(comparison, key)
    condition, reference = compared_with(found, condition)
    tests = of_condition(found.shape, condition)
    if tests.empty:
        raise KeyError("Shapes were not compared: shapely was missing. Install the extra 'export' and compare again.")
    domains = tests["domain"].astype(str).unique().tolist()
    size = (2.1 * len(SHAPE_MEASURES) + 0.8, 0.34 * len(domains) + 1.2)
    axes = new_grid(1, len(SHAPE_MEASURES), *size, sharey=True)[0]
    for ax, (measure, title) in zip(axes, SHAPE_MEASURES.items(), strict=True):
        rows = tests[tests["measure"].astype(str) == measure]
        place = rows["domain"].astype(str).map(domains.index).to_numpy()
        is_found = (rows["p_adjusted"] < FDR_LEVEL).to_numpy()
        ax.hlines(place, rows["low"], rows["high"], color=BLUE, linewidth=1.3)
        faces = np.where(is_found, BLUE, "white")
        ax.scatter(rows["difference"], place, s=34, c=faces, edgecolors=BLUE, linewidths=1.3, zorder=3)
        ax.axvline(0, color="0.75", linewidth=0.8, zorder=0)
        ax.set_title(title, fontsize="medium")
        hide_spines(ax)
    axes[0].set_yticks(range(len(domains)), domains)
    axes[0].set_ylim(len(domains) - 0.5, -0.5)
    axes[0].figure.supxlabel(f"{condition} over {reference} (log2)", fontsize="medium")
    return axes


def _fdr(p: float) -> str:
    return "–" if pd.isna(p) else f"{p:.2g}" if p >= 0.001 else f"{p:.0e}"
