"""Find raw counts in other slots of an AnnData than the one that was read."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from anndata import AnnData
from scipy.sparse import issparse

from histoquilt._base import argument, either
from histoquilt.study._layers import named_layers

_ROWS = 200  # spots examined, spread over the section


def counts_elsewhere(adata: AnnData, name: str) -> str:
    """Return where else whole numbers are stored, and how to use them; empty if nowhere. Some spots are examined."""
    return " ".join(_found(adata, name))


def _found(adata: AnnData, name: str) -> Iterator[str]:
    for layer, matrix in named_layers(adata).items():
        if layer != name and _holds_counts(matrix):
            yield f"adata.layers[{layer!r}] holds whole numbers: pass {argument('layer', layer)}."
    if name != "X" and adata.X is not None and _holds_counts(adata.X):
        yield f"X holds whole numbers: pass {argument('layer', 'X')}."
    raw = adata.raw
    if raw is None or not _holds_counts(raw.X):
        return
    if list(raw.var_names) == list(adata.var_names):
        line = 'adata.layers["counts"] = adata.raw.X'
    elif adata.var_names.isin(raw.var_names).all():
        line = 'adata.layers["counts"] = adata.raw[:, adata.var_names].X'
    else:
        line = "adata = adata.raw.to_adata()"
    where = either("", " (in Python; write the file again with adata.write_h5ad)")
    yield f"adata.raw holds raw counts for {raw.n_vars:,} genes: {line}{where}."


def _holds_counts(matrix: Any) -> bool:
    """Return whether a sample of spots holds whole numbers, none negative and not all zero."""
    rows = np.unique(np.linspace(0, max(matrix.shape[0] - 1, 0), _ROWS).astype(int))[: matrix.shape[0]]
    part = matrix[rows]
    values = part.data if issparse(part) else np.asarray(part).ravel()
    if values.dtype.kind not in "biuf" or values.size == 0 or not np.isfinite(values).all():
        return False
    return bool(values.any() and values.min() >= 0 and (values == np.rint(values)).all())
