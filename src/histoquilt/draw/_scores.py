"""Scores of an evaluation, arranged to be shown: single sections, methods from best to worst, means of genes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from histoquilt._base import listed

POOLED = ("pooled", "pooled_centred")  # rows of all sections together; not sections themselves
METHOD_KINDS = ("method", "baseline", "oracle")
THIRDS = {"highest_third": "highest third", "middle_third": "middle third", "lowest_third": "lowest third"}
GENE_SETS = {
    "panel": "all genes", "markers": "your markers", "top50_mean": "top 50 by mean",
    "top50_variable": "top 50 by variance", **THIRDS,
}  # fmt: skip


def section_scores(table: pd.DataFrame, value: str, gene_set: str) -> pd.DataFrame:
    """Return the scores of single sections on one gene set, with a column ``kind``.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.draw import section_scores
    >>> table = pd.DataFrame({
    ...     "fold": ["A", "all"], "section": ["s1", "pooled"], "method": "ridge", "gene_set": "panel",
    ...     "pcc_median": [0.3, 0.4],
    ... })
    >>> section_scores(table, "pcc_median", "panel")[["section", "pcc_median", "kind"]].values.tolist()
    [['s1', 0.3, 'method']]
    """
    _check_columns(table, ("fold", "section", "method", "gene_set", value), "scores")
    sets = table["gene_set"].unique()
    if gene_set not in sets:
        raise KeyError(f"No gene set {gene_set!r} in the table (found: {listed(sets)}).")
    rows = table[(table["gene_set"] == gene_set) & ~table["section"].isin(POOLED)]
    return rows if "kind" in rows else rows.assign(kind="method")


def method_order(rows: pd.DataFrame, value: str) -> list[str]:
    """Return methods and baselines from best to worst, then oracles, which use the answer.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.draw import method_order
    >>> rows = pd.DataFrame({
    ...     "method": ["ridge", "knn", "depth_oracle"], "kind": ["method", "method", "oracle"],
    ...     "pcc_median": [0.2, 0.3, 0.9],
    ... })
    >>> method_order(rows, "pcc_median")
    ['knn', 'ridge', 'depth_oracle']
    """
    sign = 1 if value in ("rmse", "mse", "mae") else -1  # the smallest error is best
    by_method = rows.groupby("method", sort=False)
    mean, kind = by_method[value].mean() * sign, by_method["kind"].first()
    badness = mean.fillna(np.inf)  # an oracle on another scale has no errors
    return sorted(mean.index, key=lambda name: (kind[name] == "oracle", badness[name]))


def gene_means(table: pd.DataFrame, value: str = "pearson") -> pd.DataFrame:
    """Return genes by methods: the mean over held-out sections and seeds.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.draw import gene_means
    >>> table = pd.DataFrame({"section": ["s1", "s2"], "method": "ridge", "gene": "MBP", "pearson": [0.2, 0.6]})
    >>> float(gene_means(table).loc["MBP", "ridge"])
    0.4
    """
    _check_columns(table, ("section", "method", "gene", value), "genes")
    rows = table[~table["section"].isin(POOLED)]
    return rows.pivot_table(index="gene", columns="method", values=value, aggfunc="mean", sort=False, observed=True)


def _check_columns(table: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    missing = [name for name in columns if name not in table]
    if missing:
        raise KeyError(
            f"The table lacks the column(s) {listed(missing)} (found: {listed(table.columns, 20)}). Pass the {what} of "
            "histoquilt.tl.evaluate_expression."
        )
