"""Marker genes of a large section: Welch's t-test from sums that are gathered a few spots at a time."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.stats import false_discovery_control, ttest_ind_from_stats

from histoquilt.pp import Expression

_COLUMNS = 200  # stored values of a spot, about: sets how many spots are read at a time
_SMALL = 1e-9  # keeps the logarithm of a fold change finite, as in scanpy


def rank_by_chunks(source: Expression, domains: "pd.Series[str]", groups: Sequence[str], n_genes: int) -> pd.DataFrame:
    """Rank genes as :func:`scanpy.tl.rank_genes_groups` does (``t-test_overestim_var``, each domain against the rest).

    Expression is normalised chunk by chunk, and what is kept is a few sums for each domain and gene.

    Parameters
    ----------
    source
        ``(n_spots, n_genes)``, in memory or left in its file.
    domains
        Categorical, ``(n_spots,)``; unlabelled spots belong to the rest.
    groups
        Categories to rank genes for.
    n_genes
        Genes kept for each.

    Returns
    -------
    Columns ``group, names, scores, logfoldchanges, pvals_adj, pct_nz_group, pct_nz_reference``, best first within each
    group.
    """
    codes = domains.cat.codes.to_numpy()
    codes = np.where(codes < 0, len(domains.cat.categories), codes)  # the unlabelled come last
    sizes = np.bincount(codes, minlength=len(domains.cat.categories) + 1)
    sums, squares, present = _moments(source, codes, len(sizes))
    tables = []
    for group in groups:
        own = domains.cat.categories.get_loc(group)
        n, n_rest = int(sizes[own]), len(codes) - int(sizes[own])
        mean, sd = _mean_and_sd(sums[own], squares[own], n)
        mean_rest, sd_rest = _mean_and_sd(sums.sum(axis=0) - sums[own], squares.sum(axis=0) - squares[own], n_rest)
        with np.errstate(divide="ignore", invalid="ignore"):
            # the variance of the rest is overestimated: it counts as if it came from no more spots than the domain
            score, p_value = ttest_ind_from_stats(mean, sd, n, mean_rest, sd_rest, n, equal_var=False)
        score, p_value = np.nan_to_num(score, nan=0.0), np.nan_to_num(p_value, nan=1.0)
        best = np.argsort(-score, kind="stable")[:n_genes]
        table = {
            "group": group,
            "names": np.asarray(source.genes)[best],
            "scores": score[best],
            "logfoldchanges": np.log2((np.expm1(mean) + _SMALL) / (np.expm1(mean_rest) + _SMALL))[best],
            "pvals_adj": false_discovery_control(p_value)[best],
            "pct_nz_group": present[own][best] / n,
            "pct_nz_reference": (present.sum(axis=0) - present[own])[best] / n_rest,
        }
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def _moments(source: Expression, codes: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each group and gene the sum of values, of their squares, and the spots with a count."""
    sums, squares, present = (np.zeros((n_groups, len(source.genes))) for _ in range(3))
    for rows, values in source.normalised_chunks(1e4, log=True, n_columns=_COLUMNS):
        inside = codes[rows]
        one_hot = csr_matrix((np.ones(len(inside)), (inside, np.arange(len(inside)))), (n_groups, len(inside)))
        sums += (one_hot @ values).toarray()
        squares += (one_hot @ values.astype(np.float64).power(2)).toarray()
        present += (one_hot @ values.sign()).toarray()
    return sums, squares, present


def _mean_and_sd(total: np.ndarray, squares: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    mean = total / n
    return mean, np.sqrt(np.maximum(squares - n * mean**2, 0.0) / (n - 1))
