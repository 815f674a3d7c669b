"""How well the sections of a study mix, before and after integration, beside how far domains stay apart."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import library_column
from histoquilt.pl._embedding import embedding
from histoquilt.runtime import warn_user
from histoquilt.study import check_adata, check_obs_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = {
    "ilisi_scaled": "sections mix (iLISI)",
    "clisi_scaled": "domains stay apart (cLISI)",
    "batch_silhouette": "sections mix (silhouette)",
    "batch_silhouette_within_domains": "sections mix within domains (silhouette)",
    "batch_entropy": "sections mix (entropy of neighbours)",
    "ilisi": "sections among neighbours (raw iLISI)",
    "clisi": "domains among neighbours (raw cLISI, lower is better)",
}
_RAW = ("ilisi", "clisi")  # from 1 up; all others end at 1
_ALL, _PAIR = "#0072b2", "0.62"


def mixing(
    adata: AnnData, *, metrics: Sequence[str] = ("ilisi_scaled", "clisi_scaled"), key: str = "mixing"
) -> "np.ndarray":
    """Plot how well sections mix in each embedding, together with how well domains stay separate.

    Mixing alone proves nothing: an embedding in which everything is alike mixes perfectly. It is meaningful only if
    domains stay separate as well, so iLISI is plotted next to cLISI. A large dot stands for all sections, small ones
    for the pairs.

    Parameters
    ----------
    adata
        AnnData with a table of :func:`histoquilt.metrics.mixing_table` in ``uns["histoquilt"][key]``; not changed.
    metrics
        Metrics to plot, one Axes each; those that the table does not have are left out.
    key
        Key of the table in ``uns["histoquilt"]``.

    Returns
    -------
    One Axes per metric, in a one-dimensional array. Embeddings are listed from top to bottom in the order of the table.

    Raises
    ------
    KeyError
        There is no such table, or none of the metrics is in it.

    Warns
    -----
    UserWarning
        The table has no cLISI to compare the mixing with.

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
    import matplotlib.pyplot as plt

    check_adata(adata)
    table = mixing_values(adata, key)
    shown = [metric for metric in metrics if metric in set(table["metric"])]
    if not shown:
        raise KeyError(
            f"None of {', '.join(map(repr, metrics))} is in the mixing table (found: "
            f"{', '.join(map(repr, table['metric'].unique()))}). Pass metrics=."
        )
    if not any(metric.startswith("clisi") for metric in shown):
        warn_user(
            "Mixing is drawn without cLISI, and alone it proves nothing: smoothing everything mixes sections too. Make "
            "the table with domains: histoquilt.metrics.mixing_table(embeddings, sections, domains)."
        )
    names = table["embedding"].unique().tolist()
    axes = plt.subplots(
        1, len(shown), figsize=(3.9 * len(shown) + 0.8, 0.52 * len(names) + 1.5), layout="constrained", sharey=True,
        squeeze=False,
    )[1][0]  # fmt: skip
    for ax, metric in zip(axes, shown, strict=True):
        _draw_metric(ax, table[table["metric"] == metric], names)
        ax.set_title(METRICS.get(metric, metric), fontsize="medium")
        if metric in _RAW:
            ax.set_xlim(left=1)
        else:
            ax.set(xlim=(min(0, table.loc[table["metric"] == metric, "value"].min()) - 0.03, 1.03), xlabel=_SCALED)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    if len(table["sections"].unique()) > 1:
        axes[-1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.1)
    return axes


_SCALED = "0 = not at all, 1 = fully"


def _draw_metric(ax: "Axes", table: pd.DataFrame, names: list[str]) -> None:
    row = table["embedding"].map(names.index).to_numpy()
    value = table["value"].to_numpy(dtype=float)
    is_all = (table["sections"] == "all").to_numpy()
    ax.hlines(range(len(names)), 0, 1, transform=ax.get_yaxis_transform(), color="0.9", linewidth=0.8, zorder=0)
    ax.scatter(value[~is_all], row[~is_all], s=20, color=_PAIR, linewidths=0, alpha=0.75, label="two sections")
    ax.scatter(value[is_all], row[is_all], s=75, color=_ALL, edgecolors="white", zorder=3, label="all sections")
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)


def mixing_values(adata: AnnData, key: str = "mixing") -> pd.DataFrame:
    """Return the recorded table of mixing: ``embedding, sections, metric, value``, without missing values.

    Raises
    ------
    KeyError
        There is none.
    """
    ours = adata.uns.get(Keys.UNS, {})
    table = ours.get(key)
    columns = ["embedding", "sections", "metric", "value"]
    if not isinstance(table, pd.DataFrame) or not set(columns) <= set(table.columns) or table["value"].isna().all():
        raise KeyError(
            f"No mixing table in adata.uns['{Keys.UNS}'][{key!r}] (found: {', '.join(map(repr, ours)) or 'nothing'}). "
            "histoquilt.tl.integrate_sections writes it; histoquilt.metrics.mixing_table makes one of any embeddings."
        )
    # a file may give text back as categories
    table = table[columns].astype({"embedding": str, "sections": str, "metric": str, "value": float})
    return table.dropna(subset="value")


def mixing_umap(
    adata: AnnData,
    *,
    color: str | None = None,
    bases: Sequence[str] = ("X_umap_before", "X_umap"),
    size: float | None = None,
) -> "np.ndarray":
    """Plot the UMAP before integration next to the one after, coloured by section.

    Parameters
    ----------
    adata
        Only read. Lay embeddings out with :func:`histoquilt.tl.umap`, the one before with
        ``key_added="X_umap_before"``.
    color
        Column of ``obs``; by default ``section`` or ``library_id``.
    bases
        Keys of ``obsm``, before and after; those that are not there are left out.
    size
        Area of a dot in points squared.

    Returns
    -------
    One Axes per key that is there, in a one-dimensional array.

    Raises
    ------
    KeyError
        None of ``bases`` is there, or ``color`` is not.
    """
    import matplotlib.pyplot as plt

    check_adata(adata)
    color = color if color is not None else library_column(adata) or Keys.SECTION
    check_obs_key(adata, color, argument="color")
    found = [basis for basis in bases if basis in adata.obsm]
    if not found:
        raise KeyError(
            f"None of {', '.join(map(repr, bases))} is in adata.obsm (found: "
            f"{', '.join(map(repr, adata.obsm)) or 'nothing'}). Compute them with histoquilt.tl.umap(adata) and "
            "histoquilt.tl.umap(adata, use_rep='X_before', key_added='X_umap_before')."
        )
    axes = plt.subplots(
        1, len(found), figsize=(4.4 * len(found) + 0.9, 4.2), layout="constrained", squeeze=False
    )[1][0]  # fmt: skip
    for ax, basis in zip(axes, found, strict=True):
        embedding(adata, basis, color=color, size=size, legend=ax is axes[-1], ax=ax)
        ax.set_title({bases[0]: "before", bases[-1]: "after"}[basis] if len(bases) == 2 else basis, fontsize="medium")
        if len(bases) == 2:
            ax.set(xlabel="UMAP 1", ylabel="UMAP 2")
    return axes
