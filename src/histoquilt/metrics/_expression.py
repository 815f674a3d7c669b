"""Scores of a prediction against the measurement, gene by gene: correlations and errors that drop no gene."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csc_matrix, issparse
from scipy.stats import rankdata

from histoquilt._base import listed

BLOCK_VALUES = 2**21  # values of one matrix made dense at a time: 16 MB
POOLED, CENTRED = "pooled", "pooled_centred"  # names of the rows over all sections


def score_genes(truth: Any, predicted: Any, genes: Sequence[str]) -> pd.DataFrame:
    """Compare a prediction with the measurement, each gene over the spots of one section.

    Parameters
    ----------
    truth, predicted
        Expression ``(n_spots, n_genes)`` on one scale (``log1p_cp10k``), dense or scipy sparse, same spots and genes
        in the same order. Sums run in float64, by blocks of genes.
    genes
        Gene names, ``(n_genes,)``.

    Returns
    -------
    One row per gene (the index), none left out:

    ``pearson``, ``spearman`` : correlation over spots; ties share their mean rank
    ``undefined`` : the gene is constant in the measurement or in the prediction (up to rounding), so that there is no
    correlation. Both are then 0: leaving the gene out, as is often done, rewards a method for predicting a constant.
    ``mse``, ``mae``, ``rmse`` : errors over spots, always defined

    Raises
    ------
    ValueError
        Shapes or names do not match, there are fewer than two spots, or a value is NaN or infinite.

    Examples
    --------
    >>> truth = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    >>> scores = score_genes(truth, [[0.0, 0.0], [2.0, 1.0], [1.0, 2.0]], ["A", "B"])
    >>> scores["pearson"].round(6).to_dict(), scores["undefined"].to_dict()
    ({'A': 0.5, 'B': 0.0}, {'A': False, 'B': True})
    """
    names = checked_names(genes)
    truth, predicted = checked_pair(truth, predicted, len(names))
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("pearson", "spearman", "undefined", "mse", "mae")}
    for measured, guess, varies in paired_blocks(truth, predicted, names):
        r = np.zeros((2, len(varies)))
        r[0, varies] = correlate(measured[:, varies], guess[:, varies])
        r[1, varies] = correlate(rankdata(measured[:, varies], axis=0), rankdata(guess[:, varies], axis=0))
        error = guess - measured
        for name, values in zip(columns, (*r, ~varies, (error**2).mean(axis=0), abs(error).mean(axis=0)), strict=True):
            columns[name].append(values)
    table = pd.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()}, index=names)
    return table.assign(rmse=np.sqrt(table["mse"])).rename_axis("gene")


def score_sections(truth: Mapping[str, pd.DataFrame], predicted: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Score held-out sections one by one, and pooled over all their spots in two ways.

    Parameters
    ----------
    truth, predicted
        Section -> table of spots by genes (columns are gene names). All genes of a section's prediction are scored
        and must be in its truth; spots are the same, in the same order. Panels may differ between sections (they are
        chosen on training sections): the pooled rows score the genes that all predictions have.

    Returns
    -------
    The columns of :func:`score_genes`, for each ``section`` and ``gene`` (columns too). In addition to the sections:

    ``pooled`` : all spots of all sections together. A method scores here by knowing which section is high and which is
    low, without any pattern inside a section; differences of depth and batch count as signal.
    ``pooled_centred`` : the same after subtracting each section's mean of the gene from measurement and prediction.
    Only patterns inside sections count; errors leave out the offset of the section.

    Raises
    ------
    KeyError
        A predicted section has no truth, or a predicted gene is not in it.
    ValueError
        A section is called ``pooled`` or ``pooled_centred``, or as in :func:`score_genes`.

    Examples
    --------
    >>> import pandas as pd
    >>> truth = pd.DataFrame({"ERBB2": [0.0, 1.0, 2.0, 3.0], "ESR1": [3.0, 1.0, 0.0, 2.0]})
    >>> scores = score_sections({"s1": truth}, {"s1": truth})
    >>> scores.columns.tolist()[:3]
    ['section', 'gene', 'pearson']
    """
    if not predicted:
        raise ValueError("predicted is empty. Pass at least one section, as a dict from its name to spots x genes.")
    taken = sorted({POOLED, CENTRED} & set(predicted))
    if taken:
        raise ValueError(f"No section may be called {listed(taken)}: the rows over all sections are. Rename it.")
    pairs = {section: _matched(section, truth, table) for section, table in predicted.items()}
    parts = {section: score_genes(one, two, list(one.columns)) for section, (one, two) in pairs.items()}
    shared = [str(gene) for gene in next(iter(pairs.values()))[0] if all(gene in one for one, _ in pairs.values())]
    if shared:
        both = [(one[shared].to_numpy(), two[shared].to_numpy()) for one, two in pairs.values()]
        parts[POOLED] = _score_together(both, shared)
        centred = [(_centred(one), _centred(two)) for one, two in both]
        parts[CENTRED] = _score_together(centred, shared)
    return pd.concat(parts, names=["section", "gene"]).reset_index()


def summarise_genes(per_gene: pd.DataFrame, gene_sets: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Summarise scores per gene as one row per set of genes, for ``scores.csv``.

    Parameters
    ----------
    per_gene
        Table returned by :func:`score_genes`.
    gene_sets
        Name -> genes, e.g. from :func:`gene_sets_of_training`.

    Returns
    -------
    Table with columns ``gene_set, n_genes, n_undefined, pcc_mean, pcc_median, spearman_mean, mse, rmse, mae``. Means
    and the median run over all genes of the set, undefined ones as 0; ``rmse`` is the mean of the genes' own RMSE. If
    ``per_gene`` has the columns ``pearson_adjusted`` (:func:`depth_adjusted_correlation`) and ``deviance_explained``
    (:func:`gene_deviance_explained`), also ``pcc_median_adjusted``, ``deviance_median`` and ``deviance_above_0``, the
    share of genes whose deviance explained is above 0; NaN if these are not known.

    Raises
    ------
    KeyError
        A set names genes that were not scored.
    ValueError
        There is no set, or one is empty.

    Examples
    --------
    >>> scores = score_genes([[0.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]], ["A", "B"])
    >>> summarise_genes(scores, {"panel": ["A", "B"]})[["n_genes", "n_undefined", "pcc_mean"]].round(6).values.tolist()
    [[2.0, 1.0, 0.5]]
    """
    if not gene_sets:
        raise ValueError("gene_sets is empty. Pass at least one, as a dict from name to genes.")
    columns = {name: column.to_numpy() for name, column in per_gene.items()}
    rows = []
    for name, genes in gene_sets.items():
        place = per_gene.index.get_indexer(pd.Index(list(genes)))
        if (place < 0).any():
            missing = [gene for gene, known in zip(genes, place >= 0, strict=True) if not known]
            raise KeyError(
                f"Gene set {name!r} names {len(missing):,} gene(s) without a score: {listed(missing, 5)}. Predict "
                "them, or take them out of the set; a set is never shortened silently."
            )
        if len(genes) == 0:
            raise ValueError(f"Gene set {name!r} is empty. Give it at least one gene.")
        of = {column: values[place] for column, values in columns.items()}
        rows.append({
            "gene_set": name, "n_genes": len(place), "n_undefined": int(of["undefined"].sum()),
            "pcc_mean": of["pearson"].mean(), "pcc_median": np.median(of["pearson"]),
            "spearman_mean": of["spearman"].mean(),
            "mse": of["mse"].mean(), "rmse": of["rmse"].mean(), "mae": of["mae"].mean(),
        })  # fmt: skip
        if "pearson_adjusted" in of:
            adjusted, explained = of["pearson_adjusted"], of["deviance_explained"]
            rows[-1] |= {
                "pcc_median_adjusted": np.median(adjusted), "deviance_median": np.median(explained),
                "deviance_above_0": np.nan if np.isnan(explained).any() else (explained > 0).mean(),
            }  # fmt: skip
    return pd.DataFrame(rows)


def checked_names(genes: Sequence[str]) -> list[str]:
    """Return gene names as a list, or raise ``ValueError`` if they are not unique."""
    index = pd.Index(list(genes))
    if not index.is_unique:
        raise ValueError(f"Gene names must be unique; repeated: {listed(index[index.duplicated()].unique(), 5)}.")
    return list(index)


def checked_pair(truth: Any, predicted: Any, n_genes: int) -> tuple[Any, Any]:
    """Return two matrices of one shape, sparse ones as CSC, or raise ``ValueError`` if they do not match."""
    both = [csc_matrix(matrix) if issparse(matrix) else np.asarray(matrix) for matrix in (truth, predicted)]
    if both[0].shape != both[1].shape or both[0].ndim != 2:
        raise ValueError(
            f"truth {both[0].shape} and predicted {both[1].shape} must both be (n_spots, n_genes): the same spots and "
            "genes in the same order."
        )
    if both[0].shape[1] != n_genes:
        raise ValueError(f"truth has {both[0].shape[1]:,} genes, but {n_genes:,} names are given in genes.")
    if both[0].shape[0] < 2:
        raise ValueError(f"A correlation over spots needs at least 2 of them, got {both[0].shape[0]}.")
    return both[0], both[1]


def paired_blocks(truth: Any, predicted: Any, names: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield float64 blocks of genes of both matrices, and ``(n_block,)`` whether a gene varies in both."""
    n_spots, n_genes = truth.shape
    width = max(1, BLOCK_VALUES // n_spots)
    for start in range(0, n_genes, width):
        part = slice(start, start + width)
        blocks, varies = [], np.ones(len(names[part]), dtype=bool)
        for side, matrix in (("truth", truth), ("predicted", predicted)):
            block = matrix[:, part].toarray() if issparse(matrix) else matrix[:, part]
            dense = block.astype(np.float64)
            bad = ~np.isfinite(dense).all(axis=0)
            if bad.any():
                found = [gene for gene, is_bad in zip(names[part], bad, strict=True) if is_bad]
                raise ValueError(
                    f"{side} holds NaN or infinite values, first gene(s): {listed(found, 5)}. A gene that was not "
                    "measured or not predicted has no score: leave it out of both, by name."
                )
            varies &= varying(dense, block.dtype)
            blocks.append(dense)
        yield blocks[0], blocks[1], varies


def varying(dense: np.ndarray, dtype: np.dtype, *, size: np.ndarray | None = None) -> np.ndarray:
    """Whether each column varies by more than the rounding of its original type.

    A constant after a float32 sum differs in its last bits, and correlates by chance. ``size`` is the largest original
    value of each column, if what is given was computed from larger numbers.
    """
    rounding = 8 * np.finfo(dtype).eps if np.issubdtype(dtype, np.floating) else 0.0
    return np.ptp(dense, axis=0) > rounding * (abs(dense).max(axis=0) if size is None else size)


def correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Pearson correlations of columns that vary, ``(n_genes,)``."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    a, b = a / np.linalg.norm(a, axis=0), b / np.linalg.norm(b, axis=0)
    return np.clip(np.einsum("ij,ij->j", a, b), -1.0, 1.0)


def _matched(
    section: str, truth: Mapping[str, pd.DataFrame], predicted: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the truth and the prediction of a section with the same genes."""
    if section not in truth:
        raise KeyError(f"Section {section!r} was predicted, but truth has no such section (found: {listed(truth)}).")
    missing = predicted.columns.difference(truth[section].columns)
    if len(missing):
        raise KeyError(
            f"Section {section!r}: {len(missing):,} predicted gene(s) were not measured: {listed(missing, 5)}. Score "
            "the genes that the section has, and say how many were left out."
        )
    if len(predicted) != len(truth[section]):
        raise ValueError(
            f"Section {section!r} has {len(truth[section]):,} measured and {len(predicted):,} predicted spots. They "
            "must be the same, in the same order."
        )
    return truth[section][list(predicted.columns)], predicted


def _score_together(pairs: list[tuple[np.ndarray, np.ndarray]], genes: list[str]) -> pd.DataFrame:
    """Score the spots of all sections together."""
    return score_genes(np.concatenate([one for one, _ in pairs]), np.concatenate([two for _, two in pairs]), genes)


def _centred(values: np.ndarray) -> np.ndarray:
    """Subtract each gene's mean; a gene that does not vary becomes exactly 0, not the rounding of its mean."""
    dense = values.astype(np.float64)
    return np.where(varying(dense, values.dtype), dense - dense.mean(axis=0), 0.0)
