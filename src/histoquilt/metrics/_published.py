"""Scores as computed by published evaluations, including their faults, only to compare with their tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from histoquilt.metrics._expression import checked_names, score_genes

PROTOCOL = "published (flawed)"
N_TOP = 50


def published_scores(counts: Any, predicted: Any, genes: Sequence[str]) -> pd.DataFrame:
    """Score one held-out section as the released codes of mclSTExp and SpaHGC do.

    **Not for judging a method.** The truth of both still holds the sequencing depth of each spot, so that
    :func:`depth_oracle` beats most methods; use :func:`score_genes` instead.

    ``mclstexp``: the counts are scaled along the wrong axis, each *gene* to 10,000 over the spots of the section
    instead of each spot over its genes, then ``log10(1 + x)``; the top 50 genes are those of the highest mean in this
    *test* truth; genes without a correlation are dropped from the mean over all genes.

    ``spahgc``: ``log10(1 + counts)`` without any normalisation, each gene scaled to [0, 1] by the *test* section's own
    minimum and maximum; a gene without a correlation counts as -1. That code scores no top 50.

    Parameters
    ----------
    counts
        Raw counts of the held-out section for the genes of the panel, ``(n_spots, n_genes)``, dense or sparse.
    predicted
        Prediction, ``(n_spots, n_genes)``. Correlations do not depend on its scale; errors (``mse``, ``mae``) do, and
        are only comparable with the papers' if it was trained on the same flawed target.
    genes
        Gene names, ``(n_genes,)``.

    Returns
    -------
    One row per ``code`` (``mclstexp``, ``spahgc``) and ``gene_set`` (``all``, for mclSTExp also ``top50_of_test``),
    with ``n_genes``, ``n_undefined`` and their treatment (``undefined``), ``pcc_mean``, ``mse``, ``mae``, and
    ``protocol`` = ``"published (flawed)"``.

    Raises
    ------
    ValueError
        Counts are negative, or as in :func:`score_genes`.

    Examples
    --------
    >>> counts = np.array([[9, 0], [5, 0], [1, 0]])
    >>> scores = published_scores(counts, [[3.0, 0.0], [2.0, 1.0], [1.0, 2.0]], ["A", "B"])
    >>> scores[["code", "gene_set", "pcc_mean", "protocol"]].round(1).values.tolist()[0]
    ['mclstexp', 'all', 1.0, 'published (flawed)']
    """
    names = checked_names(genes)
    dense = np.asarray(counts.toarray() if issparse(counts) else counts, dtype=np.float64)
    if (dense < 0).any():
        raise ValueError(f"counts must be raw counts, found negative values (smallest {dense.min():g}).")
    rows = []
    truth = wrong_axis_truth(dense)
    scored = score_genes(truth, predicted, names)
    # equal means keep the order of the panel; the released code sorts them unstably
    top = scored.iloc[np.argsort(-truth.mean(axis=0), kind="stable")[:N_TOP]]
    for gene_set, part in (("all", scored), (f"top{N_TOP}_of_test", top)):
        rows.append(_row("mclstexp", gene_set, part, "dropped", part.loc[~part["undefined"], "pearson"].mean()))
    scored = score_genes(own_range_truth(dense), predicted, names)
    lowest = scored["pearson"].where(~scored["undefined"], -1.0)
    rows.append(_row("spahgc", "all", scored, "counted as -1", lowest.mean()))
    return pd.DataFrame(rows).assign(protocol=PROTOCOL)


def wrong_axis_truth(counts: np.ndarray) -> np.ndarray:
    """Return mclSTExp's evaluation truth: each gene scaled to 10,000 over the spots, ``log10(1 + x)``."""
    total = counts.sum(axis=0)
    return np.log10(1 + 1e4 * counts / np.where(total > 0, total, 1.0))


def own_range_truth(counts: np.ndarray) -> np.ndarray:
    """Return SpaHGC's labels: ``log10(1 + counts)``, each gene scaled by the section's own range."""
    logged = np.log10(1 + counts)
    low, high = logged.min(axis=0), logged.max(axis=0)
    return (logged - low) / (high - low + 1e-8)


def _row(code: str, gene_set: str, part: pd.DataFrame, undefined: str, pcc: float) -> dict[str, Any]:
    return {
        "code": code, "gene_set": gene_set, "n_genes": len(part), "n_undefined": int(part["undefined"].sum()),
        "undefined": undefined, "pcc_mean": float(pcc), "mse": part["mse"].mean(), "mae": part["mae"].mean(),
    }  # fmt: skip
