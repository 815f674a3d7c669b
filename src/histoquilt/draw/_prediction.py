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

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> from histoquilt.draw import prediction_layer
    >>> adata = AnnData(np.ones((2, 2)), layers={"predicted_ridge": np.ones((2, 2)), "counts": np.ones((2, 2))})
    >>> prediction_layer(adata)
    'predicted_ridge'
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
    """Return the reliability of all genes, ``(n_genes,)``; NaN if training could not determine it.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import gene_reliability
    >>> var = pd.DataFrame({"reliability": [0.5, np.nan]}, index=["MBP", "PLP1"])
    >>> gene_reliability(AnnData(np.ones((1, 2)), var=var))
    array([0.5, nan])
    """
    if RELIABILITY not in adata.var:
        remedy = "It is written by the predict of an expression model; name genes yourself with genes=."
        raise MissingKey(RELIABILITY, "adata.var", adata.var, remedy)
    return adata.var[RELIABILITY].to_numpy(dtype=np.float64)


def reliability_order(adata: AnnData) -> np.ndarray:
    """Return column numbers from the most to the least reliable gene at equal depth (raw if unknown); unknown last.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import reliability_order
    >>> var = pd.DataFrame({"reliability": [0.1, np.nan, 0.5]}, index=["MBP", "PLP1", "MOBP"])
    >>> reliability_order(AnnData(np.ones((1, 3)), var=var)).tolist()
    [2, 0, 1]
    """
    gene_reliability(adata)  # raises if there is none
    return genes_by_reliability(adata.var)


def agreement(adata: AnnData, columns: Sequence[int] | np.ndarray, layer: str) -> pd.DataFrame | None:
    """Return the scores of predicted genes by :func:`histoquilt.metrics.score_genes`; None if nothing was measured.

    The column ``pearson_adjusted`` is the correlation at equal depth, NaN if ``obs["measured_counts"]`` is missing.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> from histoquilt.draw import agreement
    >>> measured = np.array([[0.0, 1], [1, 0], [2, 2]])
    >>> adata = AnnData(measured, layers={"measured_log1p_cp10k": measured, "predicted_ridge": measured + 1})
    >>> agreement(adata, [0, 1], "predicted_ridge")["pearson"].round(3).tolist()
    [1.0, 1.0]
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
