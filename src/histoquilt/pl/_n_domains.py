"""How stable each number of domains is."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.study import check_adata

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STABLE = 0.8  # prediction strength that calls a domain found again (Tibshirani and Walther 2005)
_WEAKEST, _MEAN = "#0072b2", "#d55e00"


def n_domains_curve(
    adata: AnnData,
    *,
    key: str = "n_domains_curve",
    domain_key: str = Keys.DOMAIN,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot the stability of the domains under subsampling for every number of domains that was tried.

    The largest number whose weakest domain reaches 0.8, within one standard error, is the one that
    :func:`histoquilt.tl.choose_n_domains` chooses; bars show the standard deviation over pairs of fits.

    Parameters
    ----------
    adata
        AnnData with the curve in ``uns["histoquilt"][key]``; not changed.
    key
        Key of the curve in ``uns["histoquilt"]``.
    domain_key
        Key of the domains: ``uns["histoquilt"][domain_key]["n_domains"]`` is marked, or, if it is not recorded, the
        largest stable number.
    ax
        Axes to plot into; new ones by default.

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        There is no curve.
    """
    import matplotlib.pyplot as plt

    check_adata(adata)
    curve = stability_curve(adata, key)
    if ax is None:
        ax = plt.subplots(figsize=(5.6, 3.6), layout="constrained")[1]
    k = curve["n_domains"].to_numpy()
    ax.axhline(STABLE, color="0.55", linewidth=1, linestyle=":")
    ax.annotate(f"{STABLE:g}", (1, STABLE), xycoords=("axes fraction", "data"), xytext=(3, 0),
                textcoords="offset points", va="center", color="0.4", fontsize="small")  # fmt: skip
    lines = [("stability", "sd", _MEAN, "--", "all domains (adjusted Rand index)")]
    if "weakest" in curve:
        lines.append(("weakest", "weakest_sd", _WEAKEST, "-", "weakest domain (prediction strength)"))
    for step, (name, spread, color, style, label) in enumerate(lines):
        error = curve[spread] if spread in curve else np.zeros(len(k))
        # side by side, so that the bars of both can be seen
        ax.errorbar(k + 0.08 * step, curve[name], yerr=error, color=color, linestyle=style, linewidth=1.5, marker="o",
                    markersize=4, elinewidth=0.9, capsize=2, label=label)  # fmt: skip
    chosen, how = marked_number(adata, curve, domain_key)
    if chosen is not None:
        ax.axvline(chosen, color="0.25", linewidth=1, zorder=0)
        ax.set_title(f"{chosen} domains {how}", fontsize="medium")
    ax.set(xlabel="number of domains", ylabel="found again", xticks=k, ylim=(min(0, ax.get_ylim()[0]), 1.05))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return ax


def stability_curve(adata: AnnData, key: str = "n_domains_curve") -> pd.DataFrame:
    """Return the recorded curve, by number of domains.

    Raises
    ------
    KeyError
        There is none.
    """
    ours = adata.uns.get(Keys.UNS, {})
    curve = ours.get(key)
    if not isinstance(curve, pd.DataFrame) or not {"n_domains", "stability"} <= set(curve.columns) or curve.empty:
        raise KeyError(
            f"No curve in adata.uns['{Keys.UNS}'][{key!r}] (found: {', '.join(map(repr, ours)) or 'nothing'}). "
            "Make one with histoquilt.tl.choose_n_domains(adata), or leave n_domains out in "
            "histoquilt.tl.spatial_domains."
        )
    return curve.sort_values("n_domains").reset_index(drop=True)


def marked_number(adata: AnnData, curve: pd.DataFrame, domain_key: str = Keys.DOMAIN) -> tuple[int | None, str]:
    """Return the number of domains that was used, and whether it was chosen or given; else the largest stable one."""
    recorded = adata.uns.get(Keys.UNS, {}).get(domain_key, {})
    stable = curve.loc[curve["stable"].astype(bool), "n_domains"] if "stable" in curve else pd.Series(dtype=int)
    if recorded.get("n_domains") is not None:
        number = int(recorded["n_domains"])
        return number, "chosen" if recorded.get("chosen", number == stable.max()) else "given"
    return (int(stable.max()), "is the largest stable number") if len(stable) else (None, "")
