"""Mixing of the sections of a study before and after integration, and separation of domains."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes

from histoquilt._base import Keys, listed
from histoquilt.draw import MIXING_METRICS, library_column, mixing_values
from histoquilt.pl._embedding import embedding
from histoquilt.pl._figure import BLUE, hide_spines, new_grid
from histoquilt.runtime import warn_user
from histoquilt.study import check_adata, check_obs_key

_RAW = ("ilisi", "clisi")  # from 1 upwards; all others end at 1


def mixing(
    adata: AnnData, *, metrics: Sequence[str] = ("ilisi_scaled", "clisi_scaled"), key: str = "mixing"
) -> np.ndarray:
    """Plot how well sections mix in each embedding, next to how well domains stay separate.

    Mixing alone is not meaningful: an embedding without structure mixes perfectly. So iLISI is plotted next to cLISI.
    Large dots are all sections, small ones pairs.

    Parameters
    ----------
    adata
        AnnData with a table of :func:`histoquilt.metrics.mixing_table` in ``uns["histoquilt"][key]``; not changed.
    metrics
        Metrics to plot, one Axes each; those missing from the table are skipped.
    key
        Key of the table in ``uns["histoquilt"]``.

    Returns
    -------
    One Axes per metric, in a one-dimensional array; a warning is given without cLISI.

    Raises
    ------
    KeyError
        There is no such table, or none of the metrics is in it.

    Examples
    --------
    >>> import histoquilt as hq, numpy as np
    >>> adata = AnnData(np.ones((200, 1)))
    >>> line, section = np.arange(200.0)[:, None], ["a", "b"] * 100
    >>> table = hq.metrics.mixing_table({"histoquilt": line}, section, ["1"] * 100 + ["2"] * 100)
    >>> adata.uns["histoquilt"] = {"mixing": table}
    >>> [ax.get_title() for ax in mixing(adata)]
    ['sections mix (iLISI)', 'domains stay apart (cLISI)']
    """
    check_adata(adata)
    table = mixing_values(adata, key)
    shown = [metric for metric in metrics if metric in set(table["metric"])]
    if not shown:
        found = listed(table["metric"].unique())
        raise KeyError(f"None of {listed(metrics)} is in the mixing table (found: {found}). Pass metrics=.")
    if not any(metric.startswith("clisi") for metric in shown):
        warn_user(
            "Mixing is drawn without cLISI, and alone it proves nothing: smoothing mixes sections, too. Make "
            "the table with domains: histoquilt.metrics.mixing_table(embeddings, sections, domains)."
        )
    names = table["embedding"].unique().tolist()
    axes = new_grid(1, len(shown), 3.9 * len(shown) + 0.8, 0.52 * len(names) + 1.5, sharey=True)[0]
    for ax, metric in zip(axes, shown, strict=True):
        rows = table[table["metric"] == metric]
        _draw_metric(ax, rows, names)
        ax.set_title(MIXING_METRICS.get(metric, metric), fontsize="medium")
        if metric in _RAW:
            ax.set_xlim(left=1)
        else:
            ax.set(xlim=(min(0, rows["value"].min()) - 0.03, 1.03), xlabel="0 = not at all, 1 = fully")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    if len(table["sections"].unique()) > 1:
        axes[-1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.1)
    return axes


def _draw_metric(ax: Axes, table: pd.DataFrame, names: list[str]) -> None:
    row = table["embedding"].map(names.index).to_numpy()
    value = table["value"].to_numpy(dtype=float)
    is_all = (table["sections"] == "all").to_numpy()
    ax.hlines(range(len(names)), 0, 1, transform=ax.get_yaxis_transform(), color="0.9", linewidth=0.8, zorder=0)
    ax.scatter(value[~is_all], row[~is_all], s=20, color="0.62", linewidths=0, alpha=0.75, label="two sections")
    ax.scatter(value[is_all], row[is_all], s=75, color=BLUE, edgecolors="white", zorder=3, label="all sections")
    ax.tick_params(axis="y", length=0)
    hide_spines(ax, "top", "right", "left")


def mixing_umap(
    adata: AnnData,
    *,
    color: str | None = None,
    bases: Sequence[str] = ("X_umap_before", "X_umap"),
    size: float | None = None,
) -> np.ndarray:
    """Plot the UMAP before integration next to the one after, coloured by section.

    Parameters
    ----------
    adata
        AnnData with layouts by :func:`histoquilt.tl.umap`, the one before with ``key_added="X_umap_before"``; not
        changed.
    color, size
        As in :func:`embedding`; colour is by default ``section`` or ``library_id``.
    bases
        Keys of ``obsm``, before and after; missing ones are skipped.

    Returns
    -------
    One Axes per key found, in a one-dimensional array.

    Raises
    ------
    KeyError
        All ``bases`` or ``color`` are missing.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, n_sections=2, seed=0)
    >>> adata.obsm["X_umap_before"] = adata.obsm["X_umap"] = adata.X[:, :2].toarray()
    >>> [ax.get_title() for ax in hq.pl.mixing_umap(adata)]
    ['before', 'after']
    """
    check_adata(adata)
    color = color if color is not None else library_column(adata) or Keys.SECTION
    check_obs_key(adata, color, argument="color")
    found = [basis for basis in bases if basis in adata.obsm]
    if not found:
        raise KeyError(
            f"None of {listed(bases)} is in adata.obsm (found: {listed(adata.obsm)}). Compute them with "
            "histoquilt.tl.umap(adata) and histoquilt.tl.umap(adata, use_rep='X_before', key_added='X_umap_before')."
        )
    axes = new_grid(1, len(found), 4.4 * len(found) + 0.9, 4.2)[0]
    for ax, basis in zip(axes, found, strict=True):
        embedding(adata, basis, color=color, size=size, legend=ax is axes[-1], ax=ax)
        ax.set_title({bases[0]: "before", bases[-1]: "after"}[basis] if len(bases) == 2 else basis, fontsize="medium")
        if len(bases) == 2:
            ax.set(xlabel="UMAP 1", ylabel="UMAP 2")
    return axes
