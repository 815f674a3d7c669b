"""What a predicted section holds: which layer, which genes to show, how near it comes (``report`` reads it too)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, MissingKey
from histoquilt.draw._expression import gene_rows
from histoquilt.study import check_adata, named_layers

MEASURED = "measured_log1p_cp10k"
RELIABILITY, BEATS_MEAN = "reliability", "beats_mean"


def prediction_layer(adata: AnnData, method: str | None = None) -> str:
    """Return the name of the layer that holds a prediction.

    Parameters
    ----------
    adata
        Result of the ``predict`` method of an expression model.
    method
        Short name of the method, e.g. ``ridge``. By default the one recorded in ``uns["histoquilt"]["prediction"]``,
        else the only one present.

    Raises
    ------
    KeyError
        There is no such prediction, none at all, or several without a record of which to use.
    """
    check_adata(adata)
    found = [name for name in named_layers(adata) if str(name).startswith("predicted_")]
    listed = ", ".join(repr(name) for name in found) or "nothing"
    if method is not None:
        if f"predicted_{method}" not in found:
            raise KeyError(
                f"No prediction of {method!r} in adata.layers (found: {listed}). Pass the rest of one of these "
                "names as method=, or predict with that model first."
            )
        return f"predicted_{method}"
    recorded = adata.uns.get(Keys.UNS, {}).get("prediction", {}).get("layer")
    if recorded in found:
        return str(recorded)
    if len(found) == 1:
        return str(found[0])
    if found:
        raise KeyError(f"adata.layers holds {len(found)} predictions: {listed}. Pass method= to name one.")
    raise KeyError(
        f"adata.layers holds no prediction (found: {', '.join(map(repr, named_layers(adata))) or 'nothing'}). Expected "
        "'predicted_<method>', which histoquilt.models.load(folder).predict(section) writes into what it returns."
    )


def shown_genes(adata: AnnData, genes: str | Sequence[str] | None, n_genes: int) -> list[int]:
    """Return column numbers of the genes to show: those asked for, else the most reliable ones of training.

    The choice never looks at the section's own measurement, which would show the prediction at its luckiest.

    Raises
    ------
    KeyError
        A gene is not there; or none are named, and ``var`` does not say how reliable they are.
    """
    if genes is not None:
        return gene_rows(adata, [genes] if isinstance(genes, str) else list(genes))
    return [int(column) for column in reliability_order(adata)[:n_genes]]


def gene_reliability(adata: AnnData) -> np.ndarray:
    """Return the reliability of all genes, ``(n_genes,)``; NaN where training could not tell.

    Raises
    ------
    KeyError
        ``var`` has none.
    """
    if RELIABILITY not in adata.var:
        remedy = "It is written by the predict of an expression model; name genes yourself with genes=."
        raise MissingKey(RELIABILITY, "adata.var", adata.var, remedy)
    return adata.var[RELIABILITY].to_numpy(dtype=np.float64)


def reliability_order(adata: AnnData) -> np.ndarray:
    """Return column numbers from the most to the least reliable gene; unknown ones last."""
    known = gene_reliability(adata)
    return np.argsort(-np.where(np.isnan(known), -np.inf, known), kind="stable")


def has_measured(adata: AnnData) -> bool:
    """Whether the measured panel stands beside the prediction."""
    return MEASURED in adata.layers


def agreement(adata: AnnData, columns: Sequence[int] | np.ndarray, layer: str) -> pd.DataFrame:
    """Compare predicted genes with their measurement, which must be there, over the spots of the section.

    Returns
    -------
    ``pearson``, ``undefined`` and more, one row a gene, as :func:`histoquilt.metrics.score_genes` gives them.
    """
    from histoquilt.metrics import score_genes

    picked = list(columns)
    measured, predicted = (adata.layers[name][:, picked] for name in (MEASURED, layer))
    return score_genes(measured, predicted, list(adata.var_names[picked]))
