"""The training curve: the loss, and how much the embedding still changed."""

from typing import TYPE_CHECKING

import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOSS, _CHANGE = "#0072b2", "#d55e00"


def training(adata: AnnData, *, model_key: str = "spamask", ax: "Axes | None" = None) -> "Axes":
    """Plot the loss per epoch (left axis) and the change of the embedding that ends training (right axis, log).

    Parameters
    ----------
    adata
        ``uns["histoquilt"][model_key]["history"]`` holds what training recorded; only read.
    model_key
        Which model.
    ax
        Axes to plot into; new ones by default.

    Returns
    -------
    The Axes of the loss; several runs give one line each.

    Raises
    ------
    KeyError
        No training was recorded.
    """
    import matplotlib.pyplot as plt

    table = training_history(adata, model_key)
    if ax is None:
        ax = plt.subplots(figsize=(5.6, 3.4), layout="constrained")[1]
    for number, (_, run) in enumerate(table.groupby("run", sort=False)):
        ax.plot(run["epoch"], run["loss"], color=_LOSS, linewidth=1.5, label="loss" if number == 0 else None)
    ax.set(xlabel="epoch", ylabel="loss")
    ax.yaxis.label.set_color(_LOSS)
    ax.spines["top"].set_visible(False)
    change = table[table["embedding_change"] > 0]  # the first epoch has nothing to compare with
    if len(change):
        right = ax.twinx()
        for _, run in change.groupby("run", sort=False):
            right.plot(run["epoch"], run["embedding_change"], color=_CHANGE, linewidth=1.5, linestyle="--")
        right.set(ylabel="change of the embedding", yscale="log")
        right.yaxis.label.set_color(_CHANGE)
        right.spines["top"].set_visible(False)
    stopped = adata.uns[Keys.UNS][model_key].get("stopped")
    n_epochs = int(table["epoch"].nunique())
    ax.set_title(f"{n_epochs} epochs" + (f", {_READABLE.get(stopped, stopped)}" if stopped else ""), fontsize="medium")
    return ax


_READABLE = {"converged": "stopped when the embedding no longer changed", "max_epochs": "ran to the upper limit"}


def training_history(adata: AnnData, model_key: str = "spamask") -> pd.DataFrame:
    """Return the recorded history with the columns ``run, epoch, loss, embedding_change``.

    Raises
    ------
    KeyError
        No training was recorded.
    """
    recorded = adata.uns.get(Keys.UNS, {}).get(model_key, {})
    table = recorded.get("history")
    if not isinstance(table, pd.DataFrame) or not {"epoch", "loss"} <= set(table.columns) or table.empty:
        raise KeyError(
            f"No training history in adata.uns['{Keys.UNS}'][{model_key!r}]['history'] (found: "
            f"{', '.join(map(repr, recorded)) or 'nothing'}). Train with histoquilt.tl.spatial_domains first."
        )
    table = table if "run" in table else table.assign(run=0)
    return table if "embedding_change" in table else table.assign(embedding_change=float("nan"))
