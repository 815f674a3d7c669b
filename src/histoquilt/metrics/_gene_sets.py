"""Gene sets to summarise scores over: the panel, its top genes and thirds, from training sections; a user's list."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix, issparse
from sklearn.utils.sparsefuncs import mean_variance_axis

from histoquilt.metrics._expression import checked_names


def training_moments(sections: Iterable[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return each gene's mean, and its variance *within* sections, with equal weight for each section.

    Parameters
    ----------
    sections
        Expression ``(n_spots, n_genes)`` of each training section on the scale ``log1p_cp10k``, dense or sparse, the
        same genes in the same order.

    Returns
    -------
    Two float64 arrays ``(n_genes,)``: the mean over sections of a section's mean, and of its variance. Variance
    between sections (depth, batch) does not make a gene variable.

    Raises
    ------
    ValueError
        There is no section, a section has no spots, or sections differ in their number of genes.

    Examples
    --------
    >>> training_moments([[[0.0, 5.0], [2.0, 5.0]], [[4.0, 9.0], [4.0, 9.0]]])
    (array([2.5, 7. ]), array([0.5, 0. ]))
    """
    moments = []
    for matrix in sections:
        if issparse(matrix):
            moments.append(mean_variance_axis(csc_matrix(matrix, dtype=np.float64), axis=0))
        else:
            dense = np.asarray(matrix, dtype=np.float64)
            moments.append((dense.mean(axis=0), dense.var(axis=0)))
    if not moments:
        raise ValueError("There is no training section to take means and variances from.")
    if len({len(mean) for mean, _ in moments}) > 1:
        raise ValueError(
            f"Training sections differ in their number of genes ({sorted({len(mean) for mean, _ in moments})}). Bring "
            "them to their shared genes, in one order."
        )
    means, variances = (np.mean(part, axis=0) for part in zip(*moments, strict=True))
    if not (np.isfinite(means).all() and np.isfinite(variances).all()):
        raise ValueError("A training section is empty or holds NaN or infinite values.")
    return means, variances


def gene_sets_of_training(
    means: Sequence[float] | np.ndarray,
    variances: Sequence[float] | np.ndarray,
    genes: Sequence[str],
    *,
    n_top: int = 50,
) -> dict[str, list[str]]:
    """Choose the sets of genes to summarise, from training sections only.

    Choosing the top genes on the held-out section instead inflates every score, because they are selected for the
    signal that is then scored.

    Parameters
    ----------
    means, variances
        Moments of ``log1p_cp10k`` on training sections, ``(n_genes,)``, as returned by :func:`training_moments`.
    genes
        Names of the genes of the panel, in the same order.
    n_top
        Number of genes of highest mean, and of highest variance within sections; all genes if the panel is smaller.

    Returns
    -------
    ``{"panel": ..., "top50_mean": ..., "top50_variable": ...}`` (named after ``n_top``) and the thirds of the panel by
    mean, ``highest_third``, ``middle_third`` and ``lowest_third`` (empty ones left out); highest first, among equal
    values the order of the panel decides.

    Raises
    ------
    ValueError
        Lengths differ, a value is not finite, or ``n_top`` is below 1.

    Examples
    --------
    >>> sets = gene_sets_of_training([1.0, 3.0, 2.0], [0.5, 0.1, 0.9], ["A", "B", "C"], n_top=1)
    >>> sets["panel"], sets["top1_mean"], sets["top1_variable"], sets["lowest_third"]
    (['A', 'B', 'C'], ['B'], ['C'], ['A'])
    """
    names = checked_names(genes)
    if n_top < 1:
        raise ValueError(f"n_top must be at least 1 gene, got {n_top}.")
    sets = {"panel": names}
    for kind, values in (("mean", means), ("variable", variances)):
        found = np.asarray(values, dtype=np.float64)
        if found.shape != (len(names),) or not np.isfinite(found).all():
            raise ValueError(
                f"{'means' if kind == 'mean' else 'variances'} must be one finite number for each of the "
                f"{len(names):,} genes, got shape {found.shape}. Take both from training_moments on training sections."
            )
        sets[f"top{n_top}_{kind}"] = [names[i] for i in np.argsort(-found, kind="stable")[:n_top]]
    thirds = np.array_split(np.argsort(-np.asarray(means, dtype=np.float64), kind="stable"), 3)
    for level, members in zip(("highest", "middle", "lowest"), thirds, strict=True):
        if len(members):
            sets[f"{level}_third"] = [names[i] for i in members]
    return sets


def read_genes(path: str | Path) -> list[str]:
    r"""Read a list of genes from a text file: one gene per line; empty lines and lines starting with ``#`` are skipped.

    Returns
    -------
    Names, each once, in the order of the file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is not UTF-8 text, a line holds more than one word, or no gene is named.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "markers.txt"
    >>> _ = path.write_text("# markers\nERBB2\nESR1\n")
    >>> read_genes(path)
    ['ERBB2', 'ESR1']
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file. Give one gene per line, as UTF-8 text.") from error
    genes = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    several = [gene for gene in genes if len(gene.split()) > 1 or "," in gene]
    if several:
        raise ValueError(f"{path}: expected one gene per line, found {several[0]!r}.")
    if not genes:
        raise ValueError(f"{path} names no gene. Give one gene per line.")
    return list(dict.fromkeys(genes))
