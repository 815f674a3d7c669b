"""Genes of a section as log1p of counts per 10,000, measured or denoised. ``report`` reads it from here too.

Which matrix is read follows the same rule as in ``pp``; ``pp`` itself is not imported, because it loads scikit-learn,
which takes longer than the whole report.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import issparse

from histoquilt._base import Keys, MissingKey, argument
from histoquilt.study import Scale, check_counts, declared_scale, named_layers

_READ_SPOTS = 20_000  # of a backed section, at a time


def gene_rows(adata: AnnData, genes: Sequence[str]) -> list[int]:
    """Return column numbers of genes, named as in ``var_names`` or by a symbol that only one gene has.

    Raises
    ------
    KeyError
        A gene is not there, or its symbol belongs to several genes.
    """
    found = []
    symbols = gene_symbols(adata)
    for name in genes:
        if name in adata.var_names:
            found.append(int(np.flatnonzero(adata.var_names == name)[0]))
            continue
        hits = np.flatnonzero(symbols == name)
        if len(hits) == 0:
            raise KeyError(
                f"Gene {name!r} is neither in adata.var_names (first: {_first(adata.var_names)}) nor in "
                f"adata.var[{Keys.GENE_SYMBOL!r}]. Check the species, and whether names are symbols or Ensembl ids."
            )
        if len(hits) > 1:
            raise KeyError(
                f"{len(hits)} genes have the symbol {name!r}: {_first(adata.var_names[hits])}. Pass one of these names."
            )
        found.append(int(hits[0]))
    return found


def gene_symbols(adata: AnnData) -> np.ndarray:
    """Return display names ``(n_genes,)``: the symbol where there is one, else the name in ``var_names``."""
    names = adata.var_names.to_numpy(dtype=object)
    if Keys.GENE_SYMBOL not in adata.var:
        return names
    symbols = adata.var[Keys.GENE_SYMBOL].astype(object).to_numpy()
    return np.where(pd.isna(symbols) | (symbols == ""), names, symbols)


def raw_expression(adata: AnnData, columns: Sequence[int], *, layer: str | None = None) -> np.ndarray:
    """Return log1p of counts per 10,000 of some genes, ``(n_spots, len(columns))`` float32.

    Counts come from ``layer``, else from ``layers["counts"]``, else from ``X``; a matrix that is declared
    ``log1p_cp10k`` is taken as it is.

    Raises
    ------
    KeyError
        There is no such layer.
    ValueError
        The matrix holds no counts and no scale is declared for it.
    """
    name = layer if layer is not None else _matrix_name(adata)
    if name != "X" and name not in adata.layers:
        raise MissingKey(name, "adata.layers", named_layers(adata), f"Pass {argument('layer')}.")
    matrix = adata.X if name == "X" else adata.layers[name]
    if matrix is None:
        raise KeyError(f"adata.X is empty, so there is no expression to show. Pass {argument('layer')}.")
    scale = declared_scale(adata, name)
    if name == "X" and adata.isbacked:  # read a few spots at a time
        parts = (matrix[start : start + _READ_SPOTS] for start in range(0, adata.n_obs, _READ_SPOTS))
        return np.concatenate([_log_counts(part, columns, scale, name, may_be_zero=True) for part in parts])
    return _log_counts(matrix, columns, scale, name)


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


def _matrix_name(adata: AnnData) -> str:
    return Keys.COUNTS if Keys.COUNTS in adata.layers else "X"


def denoised_expression(adata: AnnData, columns: Sequence[int], *, denoised_key: str = Keys.DENOISED) -> np.ndarray:
    """Return denoised log1p of counts per 10,000 of some genes, ``(n_spots, len(columns))`` float32.

    Raises
    ------
    KeyError
        Nothing denoised was written, or not these genes.
    """
    table = adata.obsm.get(denoised_key)
    if table is None:
        raise MissingKey(
            denoised_key, "adata.obsm", adata.obsm,
            "It is written by histoquilt.tl.spatial_domains(adata, ..., denoise=True), which needs counts, not "
            f"{argument('use_rep')}.",
        )  # fmt: skip
    if not isinstance(table, pd.DataFrame):
        raise KeyError(
            f"adata.obsm[{denoised_key!r}] is a {type(table).__name__}, not a DataFrame with gene names as columns. "
            "Write it with histoquilt.tl.spatial_domains."
        )
    names = adata.var_names[list(columns)]
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise KeyError(
            f"{_first(missing)} not among the {table.shape[1]:,} denoised genes in adata.obsm[{denoised_key!r}] "
            f"(first: {_first(table.columns)}). Ask for more with histoquilt.tl.spatial_domains(..., denoise=[genes])."
        )
    return table[list(names)].to_numpy(dtype=np.float32)


def _first(names: Sequence[str] | pd.Index, limit: int = 5) -> str:
    return ", ".join(repr(str(name)) for name in list(names)[:limit]) or "nothing"
