"""Predicted sections: layer of the prediction, reliability of genes, agreement with the measurement."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, MissingKey, listed
from histoquilt.study import check_adata, genes_by_reliability, named_layers

RELIABILITY, ADJUSTED, BEATS_MEAN = "reliability", "reliability_adjusted", "beats_mean"


def prediction_layer(adata: AnnData, method: str | None = None) -> str:
    """Return the name of the layer that holds the prediction of a method, e.g. ``ridge``.

    By default it is the one recorded in ``uns["histoquilt"]["prediction"]``, else the only one present.
    """
    check_adata(adata)
    layers = [name for name in named_layers(adata) if str(name).startswith("predicted_")]
    if method is not None:
        if f"predicted_{method}" not in layers:
            raise KeyError(
                f"No prediction of {method!r} in adata.layers (found: {listed(layers)}). Pass the rest of one of these "
                "names as method=, or predict with that model first."
            )
        return f"predicted_{method}"
    recorded = adata.uns.get(Keys.UNS, {}).get("prediction", {}).get("layer")
    if recorded in layers:
        return str(recorded)
    if len(layers) > 1:
        raise KeyError(f"adata.layers holds {len(layers)} predictions: {listed(layers)}. Pass method= to name one.")
    if not layers:
        raise KeyError(
            f"adata.layers holds no prediction (found: {listed(named_layers(adata))}). Expected 'predicted_<method>', "
            "which histoquilt.models.load(folder).predict(section) writes into what it returns."
        )
    return str(layers[0])


def gene_reliability(adata: AnnData) -> np.ndarray:
    """Return the reliability of all genes, ``(n_genes,)``; NaN if training could not determine it."""
    if RELIABILITY not in adata.var:
        remedy = "It is written by the predict of an expression model; name genes yourself with genes=."
        raise MissingKey(RELIABILITY, "adata.var", adata.var, remedy)
    return adata.var[RELIABILITY].to_numpy(dtype=np.float64)


def reliability_order(adata: AnnData) -> np.ndarray:
    """Return column numbers from the most to the least reliable gene at equal depth (raw if unknown); unknown last."""
    gene_reliability(adata)  # raises if there is none
    return genes_by_reliability(adata.var)


def agreement(adata: AnnData, columns: Sequence[int] | np.ndarray, layer: str) -> pd.DataFrame | None:
    """Return the scores of predicted genes by :func:`histoquilt.metrics.score_genes`; None if nothing was measured.

    The column ``pearson_adjusted`` is the correlation at equal depth, NaN if ``obs["measured_counts"]`` is missing.
    """
    if Keys.MEASURED not in adata.layers:
        return None
    from histoquilt.metrics import depth_adjusted_correlation, score_genes

    measured, predicted = (adata.layers[name][:, list(columns)] for name in (Keys.MEASURED, layer))
    scored = score_genes(measured, predicted, list(adata.var_names[list(columns)]))
    if Keys.MEASURED_COUNTS not in adata.obs:
        return scored.assign(pearson_adjusted=np.nan)
    with np.errstate(divide="ignore"):
        log_depth = np.log(adata.obs[Keys.MEASURED_COUNTS].to_numpy(dtype=np.float64))
    return scored.assign(pearson_adjusted=depth_adjusted_correlation(measured, predicted, log_depth))
