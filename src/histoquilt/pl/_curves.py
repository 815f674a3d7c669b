"""Curves of a run: the stability of each number of domains, and the training of a model."""

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from histoquilt._base import Keys
from histoquilt.draw import STABLE, marked_number, model_record, stability_curve, training_history
from histoquilt.pl._figure import BLUE, ORANGE, hide_spines, new_axes
from histoquilt.study import check_adata

_STOPPED = {"converged": "stopped when the embedding no longer changed", "max_epochs": "ran to the upper limit"}


def n_domains_curve(
    adata: AnnData, *, key: str = "n_domains_curve", domain_key: str = Keys.DOMAIN, ax: Axes | None = None
) -> Axes:
    """Plot the stability of the domains under subsampling for every number of domains tried.

    The largest number whose weakest domain reaches 0.8, within one standard error, is the one that
    :func:`histoquilt.tl.choose_n_domains` chooses; bars show the standard deviation over pairs of fits.

    Parameters
    ----------
    adata
        AnnData with the curve in ``uns["histoquilt"][key]``; not changed.
    key, domain_key
        Keys of the curve and of the domains in ``uns["histoquilt"]``. The recorded number of domains is marked, else
        the largest stable one.
    ax
        Axes to plot into; new ones by default.

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        There is no curve.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=200, n_genes=60, n_domains=3, seed=0)
    >>> hq.tl.spatial_domains(adata, n_domains=(2, 4), progress=False)
    >>> hq.pl.n_domains_curve(adata).get_xlabel()
    'number of domains'
    """
    check_adata(adata)
    curve = stability_curve(adata, key)
    ax = new_axes(ax, 5.6, 3.6)
    k = curve["n_domains"].to_numpy()
    ax.axhline(STABLE, color="0.55", linewidth=1, linestyle=":")
    ax.annotate(f"{STABLE:g}", (1, STABLE), xycoords=("axes fraction", "data"), xytext=(3, 0),
                textcoords="offset points", va="center", color="0.4", fontsize="small")  # fmt: skip
    for step, (name, spread, color, style, label) in enumerate((
        ("stability", "sd", ORANGE, "--", "all domains (adjusted Rand index)"),
        ("weakest", "weakest_sd", BLUE, "-", "weakest domain (prediction strength)"),
    )):  # fmt: skip
        if name in curve:
            error = curve[spread] if spread in curve else np.zeros(len(k))
            # side by side, so that the bars of both can be seen
            ax.errorbar(
                k + 0.08 * step, curve[name], yerr=error, color=color, linestyle=style, linewidth=1.5, marker="o",
                markersize=4, elinewidth=0.9, capsize=2, label=label,
            )  # fmt: skip
    chosen, how = marked_number(adata, curve, domain_key)
    if chosen is not None:
        ax.axvline(chosen, color="0.25", linewidth=1, zorder=0)
        ax.set_title(f"{chosen} domains {how}", fontsize="medium")
    ax.set(xlabel="number of domains", ylabel="found again", xticks=k, ylim=(min(0, ax.get_ylim()[0]), 1.05))
    hide_spines(ax)
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return ax


def training(adata: AnnData, *, model_key: str | None = None, ax: Axes | None = None) -> Axes:
    """Plot the loss per epoch (left axis) and the change of the embedding that ends training (right axis, log).

    Parameters
    ----------
    adata
        AnnData with the history in ``uns["histoquilt"][model_key]["history"]``; not changed.
    model_key
        Name of the model; by default that which found the domains.
    ax
        Axes to plot into; new ones by default.

    Returns
    -------
    The Axes of the loss; several runs give one line each.

    Raises
    ------
    KeyError
        No training was recorded.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> model = hq.models.SpaMask(hq.models.SpaMaskConfig(max_epochs=5, n_hidden=16, n_latent=8))
    >>> hq.tl.spatial_domains(adata, n_domains=3, model=model, progress=False)
    >>> hq.pl.training(adata).get_xlabel()
    'epoch'
    """
    model_key = model_record(adata)[0] if model_key is None else model_key
    table = training_history(adata, model_key)
    ax = new_axes(ax, 5.6, 3.4)
    for number, (_, run) in enumerate(table.groupby("run", sort=False)):
        ax.plot(run["epoch"], run["loss"], color=BLUE, linewidth=1.5, label="loss" if number == 0 else None)
    ax.set(xlabel="epoch", ylabel="loss")
    ax.yaxis.label.set_color(BLUE)
    hide_spines(ax, "top")
    change = table[table["embedding_change"] > 0]  # the first epoch has nothing to compare with
    if len(change):
        right = ax.twinx()
        for _, run in change.groupby("run", sort=False):
            right.plot(run["epoch"], run["embedding_change"], color=ORANGE, linewidth=1.5, linestyle="--")
        right.set(ylabel="change of the embedding", yscale="log")
        right.yaxis.label.set_color(ORANGE)
        hide_spines(right, "top")
    stopped = adata.uns[Keys.UNS][model_key].get("stopped")
    n_epochs = int(table["epoch"].nunique())
    ax.set_title(f"{n_epochs} epochs" + (f", {_STOPPED.get(stopped, stopped)}" if stopped else ""), fontsize="medium")
    return ax
