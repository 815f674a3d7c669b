"""The matrix of an AnnData that holds the expression, and its scale."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt._base import Keys, MissingKey, argument
from histoquilt.runtime import warn_user
from histoquilt.study._checks import check_counts
from histoquilt.study._layers import named_layers
from histoquilt.study._scale import Scale, expression_scale
from histoquilt.study.expression._backed import BackedRows, stored_matrix
from histoquilt.study.expression._chunks import row_chunks

_LOGGED_ROWS = 100  # spots examined
_LARGEST_MULTIPLE, _ROUNDING = 20.0, 1e-3  # beyond, float32 hardly distinguishes whole numbers from fractions
_CHECKED_COLUMNS = 200  # stored values of a spot, about: sets how many spots are checked at a time


@dataclass(frozen=True)
class Expression:
    """Expression of one or more sections, whose scale is known.

    Attributes
    ----------
    matrix
        ``(n_spots, n_genes)`` CSR float32, or rows of a file that are read on demand.
    genes
        Names, in the order of the columns.
    scale
        ``counts`` or ``log1p_cp10k``.
    name
        ``X``, or the name of the layer.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> from histoquilt.study import expression
    >>> source = expression(AnnData(np.float32([[1, 3], [2, 2]])))
    >>> source.scale, source.name, source.genes
    ('counts', 'X', ['0', '1'])
    >>> source.normalised(100, log=False).toarray().tolist()
    [[25.0, 75.0], [50.0, 50.0]]
    """

    matrix: csr_matrix | BackedRows
    genes: list[str]
    scale: Scale
    name: str

    @property
    def in_memory(self) -> csr_matrix:
        """The whole matrix, read if it is in a file."""
        return self.matrix[:] if isinstance(self.matrix, BackedRows) else self.matrix

    def of_genes(self, genes: Sequence[str]) -> csr_matrix:
        """Return the values of some genes, ``(n_spots, len(genes))``, in their order."""
        place = {gene: number for number, gene in enumerate(self.genes)}
        return self.in_memory[:, [place[gene] for gene in genes]]

    def normalised(self, target_sum: float = 1e4, *, log: bool = True) -> csr_matrix:
        """Return counts per ``target_sum``, by default log1p of them; spots without counts stay zero.

        A matrix that is declared ``log1p_cp10k`` raises ``ValueError`` unless that is asked for.
        """
        matrix = self.in_memory
        if self.scale == "log1p_cp10k":
            if not log or target_sum != 1e4:
                raise ValueError(
                    f"{self.name} is declared log1p_cp10k; it cannot be brought to another normalisation "
                    f"(target_sum={target_sum:g}, log={log}). Give raw counts, or leave the defaults."
                )
            return matrix
        return _normalised_once(matrix, target_sum, log)

    def normalised_chunks(self, target_sum: float, *, log: bool, n_columns: int) -> Iterator[tuple[slice, csr_matrix]]:
        """Yield chunks of spots with their normalised expression, ``(n_chunk, n_genes)`` CSR float32.

        ``n_columns`` is the width of the dense array that a chunk will become (:func:`row_chunks`).
        """
        for rows in row_chunks(self.matrix.shape[0], n_columns):
            yield rows, replace(self, matrix=self.matrix[rows]).normalised(target_sum, log=log)


def expression(adata: AnnData, layer: str | None = None, *, in_memory: bool = True) -> Expression:
    """Return the expression of a section after checking its scale.

    A scale declared in ``uns["histoquilt"]["scale"]`` is used unless the values contradict it; an undeclared matrix
    must hold raw counts.

    Parameters
    ----------
    adata
        AnnData ``(n_spots, n_genes)``.
    layer
        Layer that holds the expression, or ``"X"``; by default ``layers["counts"]``, else ``X``.
    in_memory
        If true, read all of a section opened with ``backed="r"`` into memory, else only the parts that are requested.

    Raises
    ------
    KeyError
        ``layer`` is missing.
    ValueError
        There are no genes, gene names are missing or repeated, an undeclared matrix does not hold raw counts
        (negative, fractional, log-transformed, NaN, all zero), or a declared one cannot be on its scale.

    Warns
    -----
    UserWarning
        Some spots or genes have no counts (they stay in ``adata``), or declared counts contain fractions.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import expression
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> expression(adata).scale
    'counts'
    >>> adata.X.data = adata.X.data / 2
    >>> del adata.uns["histoquilt"]
    >>> expression(adata)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: X looks log-transformed (largest value 9.5, not whole numbers). Raw counts are ...
    """
    name = layer or (Keys.COUNTS if Keys.COUNTS in adata.layers else "X")
    if name != "X" and name not in adata.layers:
        remedy = f"Pass {argument('layer')} with one of these, or 'X'."
        raise MissingKey(name, "adata.layers", named_layers(adata), remedy)
    values = adata.X if name == "X" else adata.layers[name]
    if values is None or adata.n_vars == 0:
        embeddings = ", ".join(map(repr, adata.obsm)) or "nothing"
        raise ValueError(
            f"The section has no expression ({name} is empty). Pass {argument('use_rep')} to start from an embedding "
            f"in adata.obsm (found: {embeddings})."
        )
    _check_gene_names(adata)
    matrix = stored_matrix(adata, name, in_memory=in_memory)
    scale = expression_scale(adata, name)
    _check_values(matrix, name, scale, adata)
    return Expression(matrix, [str(gene) for gene in adata.var_names], scale or "counts", name)


@contextmanager
def ordinary_zeros() -> Iterator[None]:
    """Suppress warnings of genes and spots without counts in the block, where none is left out for that.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> from histoquilt.study import expression, ordinary_zeros
    >>> with ordinary_zeros():  # no warning
    ...     expression(AnnData(np.float32([[1, 0], [2, 0]]))).genes
    ['0', '1']
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(genes|spots) have no counts", category=UserWarning)
        yield


def _normalised_once(matrix: csr_matrix, target_sum: float, log: bool) -> csr_matrix:
    """Return the normalised matrix, copying the values once and the columns not at all."""
    data = np.empty(matrix.nnz, np.float32)
    for rows in row_chunks(matrix.shape[0], _CHECKED_COLUMNS):
        starts = matrix.indptr[rows.start : rows.stop + 1]
        depth = np.asarray(matrix[rows].sum(axis=1)).ravel()
        factor = np.divide(target_sum, depth, out=np.zeros_like(depth), where=depth > 0)
        part = data[starts[0] : starts[-1]]
        np.multiply(matrix.data[starts[0] : starts[-1]], np.repeat(factor, np.diff(starts)), out=part)
        if log:
            np.log1p(part, out=part)
    return csr_matrix((data, matrix.indices, matrix.indptr), matrix.shape, copy=False)


def _check_values(matrix: csr_matrix | BackedRows, name: str, declared: Scale | None, adata: AnnData) -> None:
    """Check the values against the scale; warn of fractions, empty spots and empty genes."""
    n_empty, n_spots_with = 0, np.zeros(matrix.shape[1], int)
    largest = 0.0
    for rows in row_chunks(matrix.shape[0], _CHECKED_COLUMNS):
        part = matrix[rows]
        n_empty += int((np.diff(part.indptr) == 0).sum())
        n_spots_with += part.getnnz(axis=0)
        last_chance = rows.stop == matrix.shape[0] and not n_spots_with.any()  # a chunk may be all zero, the whole not
        if part.nnz == 0 and not last_chance:
            continue
        if declared is None:
            check_counts(part, name, adata)
        else:
            largest = max(largest, _check_declared(part, name, declared))
    if largest:
        warn_user(f"{name} is declared counts, but holds fractions (largest value {largest:g}).")
    if n_empty:
        warn_user(f"{n_empty:,} of {matrix.shape[0]:,} spots have no counts; they are kept.")
    n_genes = int((n_spots_with == 0).sum())
    if n_genes:
        warn_user(f"{n_genes:,} of {matrix.shape[1]:,} genes have no counts; they are left out.")


def _check_declared(matrix: csr_matrix, name: str, scale: Scale) -> float:
    """Raise if the values contradict the declaration; return the largest value if counts hold fractions, else 0."""
    values = matrix.data
    if values.size == 0:
        raise ValueError(f"{name} is all zero: no spot has a single count. Check which matrix was read.")
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError(f"{name} is declared {scale}, but holds NaN, infinite or negative values.")
    if scale == "log1p_cp10k":
        # a spot's counts per 10,000 sum to at most 10,000; twice that is not a rounding error
        with np.errstate(over="ignore"):
            totals = matrix.astype(np.float64).expm1().sum(axis=1)
        if totals.max() > 2e4:
            raise ValueError(
                f"{name} is declared log1p_cp10k, but cannot be log1p of counts per 10,000: undone, a spot sums to "
                f"{totals.max():.3g}. Correct adata.uns['histoquilt']['scale'][{name!r}], or give raw counts."
            )
    elif (values != np.rint(values)).any():
        if values.max() < 30 and _looks_logged(matrix):
            raise ValueError(
                f"{name} is declared counts, but looks log-transformed (largest value {values.max():g}, not whole "
                f"numbers): it was changed after it was declared. Put the raw counts into adata.layers['counts'], or "
                f"declare it: adata.uns['histoquilt']['scale'][{name!r}] = 'log1p_cp10k'."
            )
        return float(values.max())
    return 0.0


def _looks_logged(matrix: csr_matrix) -> bool:
    """Return whether undoing a logarithm gives whole multiples of the smallest value of each spot.

    This distinguishes normalised and logged counts from corrected counts, which hold fractions too.
    """
    n_whole, n_seen = 0, 0
    for row in np.unique(np.linspace(0, matrix.shape[0] - 1, _LOGGED_ROWS).astype(int)):
        values = np.expm1(matrix.data[matrix.indptr[row] : matrix.indptr[row + 1]].astype(np.float64))
        values = values[values > 0]
        if not len(values):
            continue
        multiples = values / values.min()
        multiples = multiples[(multiples > 1.5) & (multiples < _LARGEST_MULTIPLE)]
        n_whole += int((abs(multiples - np.rint(multiples)) < _ROUNDING * multiples).sum())
        n_seen += len(multiples)
    return n_seen > 0 and n_whole > 0.9 * n_seen


def _check_gene_names(adata: AnnData) -> None:
    names = adata.var_names
    empty = names.isna() | (names.astype(str).str.strip() == "")
    if empty.any():
        raise ValueError(
            f"{int(empty.sum()):,} of {len(names):,} genes have no name. Set adata.var_names, or drop these columns."
        )
    if not names.is_unique:
        repeated = ", ".join(map(repr, names[names.duplicated()].unique()[:3]))
        raise ValueError(
            f"Gene names must be unique; repeated: {repeated}. Call adata.var_names_make_unique(), or name genes by "
            "their Ensembl identifiers."
        )
