"""Oracles: predictions that use the measurement itself, to judge what a score is worth."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix, issparse

from histoquilt.metrics._expression import checked_names, score_genes


def depth_oracle(truth: Any, log_total_counts: ArrayLike, genes: Sequence[str]) -> pd.DataFrame:
    """Score the log of a spot's total count as the "prediction" of every gene.

    Total counts follow tissue density and chemistry, not the gene. If this oracle scores well, the truth still holds
    the sequencing depth, and so does every score against it: so the normalisation along the wrong axis inflates
    published evaluations (:func:`published_scores`). If it scores near 0, depth is removed.

    Report it with every evaluation: ``log1p_cp10k`` removes depth if counts are high, and only in part if they are
    low, because the logarithm of few counts depends on how many were drawn. On four legacy ST sections of one breast
    tumour (200 genes of highest mean) the oracle still reaches a median of 0.08 to 0.40.

    Parameters
    ----------
    truth
        Measured expression of one section, ``(n_spots, n_genes)``, on the scale that is scored.
    log_total_counts
        ``log1p`` of the counts of each spot over all genes measured, ``(n_spots,)``.
    genes
        Gene names, ``(n_genes,)``.

    Returns
    -------
    One row per gene: ``pearson``, ``spearman``, ``undefined`` as in :func:`score_genes`, without errors, because the
    oracle is on another scale.

    Raises
    ------
    ValueError
        Lengths differ, or a value is not finite.

    Examples
    --------
    >>> found = depth_oracle(np.array([[1.0, 5.0], [2.0, 4.0], [3.0, 3.0]]), [6.0, 7.0, 8.0], ["A", "B"])
    >>> found["pearson"].round(6).tolist()
    [1.0, -1.0]
    """
    depth = np.asarray(log_total_counts, dtype=np.float64)
    n_spots = truth.shape[0] if hasattr(truth, "shape") else len(truth)
    if depth.shape != (n_spots,):
        raise ValueError(f"log_total_counts must be one number per spot, ({n_spots},), got {depth.shape}.")
    names = checked_names(genes)
    guess = np.broadcast_to(depth[:, None], (n_spots, len(names)))
    return score_genes(truth, guess, names)[["pearson", "spearman", "undefined"]]


def neighbour_oracle(truth: Any, adjacency: Any) -> np.ndarray:
    """Predict each spot by the mean of its neighbours' measured expression.

    It uses the measurement, so it is not a method; it shows how much of the measurement a smooth prediction can
    explain. The rest is noise or finer than the spots.

    Parameters
    ----------
    truth
        Measured expression of one section, ``(n_spots, n_genes)``, dense or sparse.
    adjacency
        Neighbours, scipy sparse ``(n_spots, n_spots)``: all values other than 0 off the diagonal, without weights.

    Returns
    -------
    float64 ``(n_spots, n_genes)``, to be scored with :func:`score_genes`. A spot without neighbours gets the mean of
    all other spots.

    Raises
    ------
    TypeError
        ``adjacency`` is not sparse.
    ValueError
        Shapes do not match, or there is one spot only.

    Examples
    --------
    >>> row = csr_matrix([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    >>> neighbour_oracle([[1.0], [2.0], [6.0]], row).ravel().tolist()
    [2.0, 3.5, 2.0]
    """
    if not issparse(adjacency):
        raise TypeError(
            f"adjacency must be a scipy sparse matrix (spots x spots), got {type(adjacency).__name__}. Use "
            "adata.obsp['spatial_connectivities']."
        )
    dense = np.asarray(truth.toarray() if issparse(truth) else truth, dtype=np.float64)
    n_spots = len(dense)
    if dense.ndim != 2 or adjacency.shape != (n_spots, n_spots) or n_spots < 2:
        raise ValueError(
            f"truth must be (n_spots, n_genes) with at least 2 spots, and adjacency (n_spots, n_spots), got "
            f"{dense.shape} and {adjacency.shape}."
        )
    graph = csr_matrix(adjacency != 0, dtype=np.float64)
    graph.setdiag(0)
    n_neighbours = np.asarray(graph.sum(axis=1))  # (n_spots, 1)
    others = (dense.sum(axis=0) - dense) / (n_spots - 1)
    return np.where(n_neighbours > 0, (graph @ dense) / np.maximum(n_neighbours, 1), others)
