"""Expression of chosen genes as log1p of counts per 10,000, measured or denoised, and colour scales.

The matrix is chosen as in ``pp``, which is not imported: scikit-learn takes longer to load than a report to write.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix, issparse, vstack

from histoquilt._base import Keys, MissingKey, argument, listed
from histoquilt.study import Scale, check_counts, expression_scale, named_layers

_READ_SPOTS = 20_000  # spots of a backed section read at a time


def raw_expression(adata: AnnData, columns: Sequence[int], *, layer: str | None = None) -> np.ndarray:
    """Return log1p of counts per 10,000 of some genes, float32 ``(n_spots, len(columns))``.

    Counts are read from ``layer``, else from ``layers["counts"]``, else from ``X``. A matrix that is declared
    ``log1p_cp10k`` is returned unchanged; one that does not hold counts raises ``ValueError``.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> from histoquilt.draw import raw_expression
    >>> raw_expression(AnnData(np.array([[1.0, 3], [2, 0]])), [0]).round(2)  # log1p of 2,500 and 10,000
    array([[7.82],
           [9.21]], dtype=float32)
    """
    matrix, scale, name = _matrix(adata, layer)
    if name == "X" and adata.isbacked:
        parts = (matrix[start : start + _READ_SPOTS] for start in range(0, adata.n_obs, _READ_SPOTS))
        return np.concatenate([_log_counts(part, columns, scale, name, may_be_zero=True) for part in parts])
    return _log_counts(matrix, columns, scale, name)


def sparse_expression(adata: AnnData, rows: np.ndarray, *, layer: str | None = None) -> csr_matrix:
    """Return log1p of counts per 10,000 of all genes of some spots, float32 ``(len(rows), n_genes)``.

    Counts are read as by :func:`raw_expression`, with the same errors.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> from histoquilt.draw import sparse_expression
    >>> adata = AnnData(np.array([[1.0, 3], [2, 0], [5, 5]]))
    >>> sparse_expression(adata, np.array([1, 0])).toarray().round(2)
    array([[9.21, 0.  ],
           [7.82, 8.92]], dtype=float32)
    """
    matrix, scale, name = _matrix(adata, layer)
    order = np.argsort(rows, kind="stable")  # files are read in ascending order
    chunks = np.split(rows[order], np.arange(_READ_SPOTS, len(rows), _READ_SPOTS))
    found = vstack([csr_matrix(matrix[chunk], dtype=np.float32) for chunk in chunks], format="csr")
    found = found[np.argsort(order, kind="stable")]
    if scale == "log1p_cp10k":
        return found
    if scale is None and found.nnz:
        check_counts(found, name)
    depth = np.asarray(found.sum(axis=1)).ravel()
    found.data *= np.repeat(1e4 / np.where(depth > 0, depth, 1), np.diff(found.indptr))
    return found.log1p()


def _matrix(adata: AnnData, layer: str | None) -> tuple[Any, Scale | None, str]:
    """Return the matrix of expression, its declared scale and its name."""
    name = layer if layer is not None else Keys.COUNTS if Keys.COUNTS in adata.layers else "X"
    if name != "X" and name not in adata.layers:
        raise MissingKey(name, "adata.layers", named_layers(adata), f"Pass {argument('layer')}.")
    matrix = adata.X if name == "X" else adata.layers[name]
    if matrix is None:
        raise KeyError(f"adata.X is empty, so there is no expression to show. Pass {argument('layer')}.")
    return matrix, expression_scale(adata, name), name


def _log_counts(
    matrix: Any, columns: Sequence[int], scale: Scale | None, name: str, *, may_be_zero: bool = False
) -> np.ndarray:
    picked = matrix[:, list(columns)]
    values = np.asarray(picked.todense() if issparse(picked) else picked, dtype=np.float32)
    if scale == "log1p_cp10k":
        return values
    depth = np.asarray(matrix.sum(axis=1), dtype=np.float32).reshape(-1, 1)
    if scale is None and not (may_be_zero and not depth.any()):
        check_counts(matrix, name)
    return np.log1p(values * (1e4 / np.where(depth > 0, depth, 1)))  # an empty spot stays at zero


def denoised_expression(adata: AnnData, columns: Sequence[int]) -> np.ndarray:
    """Return denoised log1p of counts per 10,000 of some genes, float32 ``(n_spots, len(columns))``.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import denoised_expression
    >>> adata = AnnData(np.ones((2, 2)), var=pd.DataFrame(index=["MBP", "PLP1"]))
    >>> adata.obsm["denoised"] = pd.DataFrame({"PLP1": [0.5, 2.0]}, index=adata.obs_names)
    >>> denoised_expression(adata, [1]).tolist()
    [[0.5], [2.0]]
    """
    key = Keys.DENOISED
    table = adata.obsm.get(key)
    if table is None:
        remedy = (
            "It is written by histoquilt.tl.spatial_domains(adata, ..., denoise=True), which needs counts, not "
            f"{argument('use_rep')}."
        )
        raise MissingKey(key, "adata.obsm", adata.obsm, remedy)
    if not isinstance(table, pd.DataFrame):
        raise KeyError(
            f"adata.obsm[{key!r}] is a {type(table).__name__}, not a DataFrame with gene names as columns. "
            "Write it with histoquilt.tl.spatial_domains."
        )
    names = adata.var_names[list(columns)]
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise KeyError(
            f"{listed(missing, 5)} not among the {table.shape[1]:,} denoised genes in adata.obsm[{key!r}] "
            f"(first: {listed(table.columns, 5)}). Ask for more with "
            "histoquilt.tl.spatial_domains(..., denoise=[genes])."
        )
    return table[list(names)].to_numpy(dtype=np.float32)


def color_top(values: np.ndarray) -> float:
    """Return the upper end of a colour scale: the 99th percentile, or the maximum if nearly all values are zero.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.draw import color_top
    >>> color_top(np.arange(101.0)), color_top(np.array([0.0] * 200 + [7]))
    (99.0, 7.0)
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0 or finite.max() <= 0:
        return 1.0
    top = float(np.percentile(finite, 99))
    return top if top > 0 else float(finite.max())


def color_ends(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of a colour scale: the 1st and the 99th percentile, or 0 and the latter if they are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.draw import color_ends
    >>> color_ends(np.arange(101.0)), color_ends(np.ones(5))
    ((1.0, 99.0), (0.0, 1.0))
    """
    finite = values[np.isfinite(values)]
    top = color_top(finite)
    low = float(np.percentile(finite, 1)) if finite.size else 0.0
    return (low, top) if low < top else (0.0, top)
