"""Raw counts in another slot of an AnnData than the one that was looked at."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from anndata import AnnData
from scipy.sparse import issparse

from histoquilt._base import argument, either
from histoquilt.study._layers import named_layers

_ROWS = 200  # spots that are looked at, spread over the section


def counts_elsewhere(adata: AnnData, name: str) -> str:
    """Return where else whole numbers are stored, with the argument or the line that takes them; else nothing.

    Only some spots of each matrix are looked at.
    """
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
    """Whether a sample of the spots holds whole numbers, none below zero and not all zero."""
    rows = np.unique(np.linspace(0, max(matrix.shape[0] - 1, 0), _ROWS).astype(int))[: matrix.shape[0]]
    part = matrix[rows]
    values = part.data if issparse(part) else np.asarray(part).ravel()
    if values.dtype.kind not in "biuf" or values.size == 0 or not np.isfinite(values).all():
        return False
    return bool(values.any() and values.min() >= 0 and (values == np.rint(values)).all())
