"""How the domains were found, for the page: training, the number of domains, the settings."""

from typing import Any

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import STABLE, marked_number, stability_curve, training_history
from histoquilt.report._curve import curve_svg


def number_curve(adata: AnnData, domain_key: str) -> dict[str, Any] | None:
    """Return the curve by which the number of domains was chosen, as a picture and in words, where there is one."""
    try:
        curve = stability_curve(adata)
    except KeyError:
        return None
    number, how = marked_number(adata, curve, domain_key)
    k = curve["n_domains"].to_numpy(float)
    lines = [(k, curve[name].to_numpy(float)) for name in ("stability", "weakest") if name in curve]
    label = "how surely domains are found again, by number of domains"
    svg = curve_svg(lines, label=label, x_label="number of domains", level=STABLE, mark=number)
    return {"svg": svg, "number": number, "how": how, "has_weakest": "weakest" in curve, "threshold": STABLE}


def training_curves(adata: AnnData) -> tuple[list[dict[str, Any]], str]:
    try:
        history = training_history(adata)
    except KeyError:
        return [], ""
    recorded = adata.uns[Keys.UNS]["spamask"]
    runs = [run for _, run in history.groupby("run", sort=False)]
    loss = [(run["epoch"].to_numpy(float), run["loss"].to_numpy(float)) for run in runs]
    change = [(run["epoch"].to_numpy(float), run["embedding_change"].to_numpy(float)) for run in runs]
    curves = [{"title": "Loss", "svg": curve_svg(loss, label="loss per epoch")}]
    if (history["embedding_change"] > 0).any():
        svg = curve_svg(change, label="change of the embedding per epoch", log=True)
        curves.append({"title": "Change of the embedding", "svg": svg})
    n_epochs = recorded.get("n_epochs", history["epoch"].nunique())
    reason = {
        "converged": "Training stopped by itself when the embedding no longer changed",
        "max_epochs": "Training ran to the upper limit of epochs without settling: raise max_epochs to be sure",
    }.get(str(recorded.get("stopped")), "Training ended")
    runs_text = f" in each of {len(runs)} runs" if len(runs) > 1 else ""
    return curves, f"{reason}, after {n_epochs} epochs{runs_text}."


def parameters_of(adata: AnnData) -> list[tuple[str, str]]:
    """Flatten the scalars of ``uns["histoquilt"]`` into name and value."""
    recorded = adata.uns.get(Keys.UNS, {})
    kinds = ("domain", "spamask", "coordinates", "genes", "scale")
    return [pair for key in kinds for pair in scalars(recorded.get(key, {}), key)]


def scalars(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Return every text and number inside nested dicts, with the way to it as its name."""
    found: list[tuple[str, str]] = []

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in sorted(value.items()):  # a file does not keep the order
                walk(f"{prefix}.{key}" if prefix else str(key), inner)
        elif isinstance(value, str | bool | int | float | np.generic):
            found.append((prefix, f"{value:g}" if isinstance(value, float) else str(value)))

    walk(name, value)
    return found
