"""Raw counts that lie elsewhere in an AnnData than where they are looked for: in ``.raw``, in a layer, in ``X``."""

from typing import Any

import numpy as np
from anndata import AnnData
from anndata.abc import CSCDataset
from scipy.sparse import issparse

from histoweave._keys import Keys
from histoweave._layers import named_layers

_PLACES = 5  # of a matrix that are looked at
_ROWS = 20  # rows (of a matrix by columns: columns) at each of them


def counts_elsewhere(adata: AnnData, name: str) -> str:
    """Return a sentence that says where whole numbers are and which argument or line takes them; '' for nowhere.

    A few rows of every matrix are looked at, so that files of any size can be asked.

    Parameters
    ----------
    adata
        One or more sections; only read.
    name
        The matrix that does not hold counts: ``"X"`` or a layer.
    """
    layers = sorted(named_layers(adata), key=lambda layer: not _called_counts(layer))
    found = [layer for layer in layers if layer != name and _whole(adata.layers[layer])]
    if name != "X" and _whole(adata.X):
        found.insert(0, "X")
    said = [counts_in_raw(adata)]
    if found:
        places = [layer if layer == "X" else f'layers["{layer}"]' for layer in found]
        verb = "holds" if len(found) == 1 else "hold"
        said.insert(0, f"{', '.join(places)} {verb} whole numbers: layer={found[0]!r}. ")
    return "".join(said)


def counts_in_raw(adata: AnnData) -> str:
    """Return the sentence with the line that takes the counts of ``.raw``, which may have other genes than ``X``."""
    if adata.raw is None or not _whole(adata.raw.X):
        return ""
    genes = adata.raw.var_names
    holds = f"adata.raw holds raw counts for {len(genes):,} genes"
    if genes.equals(adata.var_names):
        return f'{holds}: adata.layers["{Keys.COUNTS}"] = adata.raw.X. '
    return f"{holds} (the section has {adata.n_vars:,}): adata = adata.raw.to_adata(). "


def _called_counts(layer: str) -> bool:
    """Whether a layer's name says that it holds raw counts."""
    return any(word in layer.casefold() for word in ("raw", "count", "umi"))


def _whole(values: Any) -> bool:
    """Whether some rows of a matrix, in memory or in a file, hold whole numbers, none negative and not all zero."""
    if values is None or 0 in values.shape:
        return False
    by_columns = isinstance(values, CSCDataset) or getattr(values, "format", "") == "csc"
    length = values.shape[1 if by_columns else 0]
    starts = np.unique(np.linspace(0, max(0, length - _ROWS), _PLACES).astype(int))
    parts = [values[:, start : start + _ROWS] if by_columns else values[start : start + _ROWS] for start in starts]
    numbers = np.concatenate([part.data if issparse(part) else np.asarray(part).ravel() for part in parts])
    if numbers.dtype.kind not in "iuf" or not numbers.any():
        return False
    return bool(np.isfinite(numbers).all() and numbers.min() >= 0 and (numbers == np.rint(numbers)).all())
