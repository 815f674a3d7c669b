"""Input checks whose errors say what to do; public functions call them first."""

from typing import Any, Literal

import numpy as np
from anndata import AnnData
from scipy.sparse import issparse

from histoquilt._base import Keys, MissingKey, coordinate_columns, either, listed
from histoquilt._base import argument as how_to_pass
from histoquilt.study._counts_elsewhere import counts_elsewhere
from histoquilt.study._spot_centres import other_spatial_keys, spot_centres


def check_adata(adata: Any) -> None:
    """Raise ``TypeError`` unless ``adata`` is an AnnData, ``ValueError`` if it has no spots or repeated names.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.study import check_adata
    >>> check_adata(np.ones((3, 2)))
    Traceback (most recent call last):
        ...
    TypeError: Expected an AnnData, got ndarray. Read files with histoquilt.io first.
    """
    if not isinstance(adata, AnnData):
        raise TypeError(f"Expected an AnnData, got {type(adata).__name__}. Read files with histoquilt.io first.")
    if adata.n_obs == 0:
        raise ValueError("The section has no spots (0 rows). Check the tissue filter it was made with.")
    if not adata.obs_names.is_unique:
        repeated = adata.obs_names[adata.obs_names.duplicated()].unique()
        raise ValueError(
            f"Spot names (barcodes) must be unique; repeated: {listed(repeated, 3)}. "
            "Join sections with anndata.concat(..., index_unique='-'), or call adata.obs_names_make_unique()."
        )


def check_obs_key(adata: AnnData, key: str, *, argument: str) -> None:
    """Raise ``KeyError`` unless ``obs`` has the column.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import check_obs_key
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> try:
    ...     check_obs_key(adata, "cluster", argument="key")
    ... except KeyError as error:
    ...     print(error)
    'cluster' is not in adata.obs (found: 'domain_true'). Pass key=.
    """
    if key not in adata.obs:
        raise MissingKey(key, "adata.obs", adata.obs.columns, f"Pass {how_to_pass(argument)}.")


def check_obsm_key(adata: AnnData, key: str, *, argument: str) -> None:
    """Raise ``KeyError`` unless ``obsm`` has the matrix.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import check_obsm_key
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> try:
    ...     check_obsm_key(adata, "X_pca", argument="use_rep")
    ... except KeyError as error:
    ...     print(error)
    'X_pca' is not in adata.obsm (found: 'spatial'). Pass use_rep=.
    """
    if key not in adata.obsm:
        raise MissingKey(key, "adata.obsm", adata.obsm, f"Pass {how_to_pass(argument)}.")


def check_spatial(
    adata: AnnData, spatial_key: str = Keys.SPATIAL, *, remedy: Literal["argument", "file"] = "argument"
) -> np.ndarray:
    """Return spot centres as float64 ``(n_spots, 2 or 3)``; columns of a table are put into the order (x, y).

    ``remedy`` is the advice if the key is missing: pass ``spatial_key=``, or change the file.

    Raises ``KeyError`` if there are none, ``ValueError`` unless they are finite numbers in 2 or 3 columns (of a table
    with known names), not all equal.

    Examples
    --------
    >>> import pandas as pd, histoquilt as hq
    >>> from histoquilt.study import check_spatial
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> table = pd.DataFrame({"y": 1.0, "x": range(60)}, index=adata.obs_names)
    >>> adata.obsm["spatial"] = table
    >>> check_spatial(adata)[:2].tolist()
    [[0.0, 1.0], [1.0, 1.0]]
    """
    if spatial_key not in adata.obsm:
        raise MissingKey(spatial_key, "adata.obsm", adata.obsm, _where_centres(adata, spatial_key, remedy))
    stored = spot_centres(adata, spatial_key)
    try:
        spatial = np.asarray(stored, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"adata.obsm[{spatial_key!r}] must hold numbers (x, y); {error}.") from error
    if spatial.ndim != 2 or spatial.shape[1] not in (2, 3):
        raise ValueError(
            f"adata.obsm[{spatial_key!r}] must have shape (n_spots, 2) or (n_spots, 3), got {spatial.shape}."
        )
    bad = np.asarray(~np.isfinite(spatial).all(axis=1))
    if bad.any():
        raise ValueError(
            f"{bad.sum():,} of {len(bad):,} spots have NaN or infinite coordinates in adata.obsm[{spatial_key!r}], "
            f"first: {listed(adata.obs_names[bad], 3)}. Drop them, or read the positions again."
        )
    if len(spatial) > 1 and (spatial == spatial[0]).all():
        raise ValueError(
            f"All {len(spatial):,} spots have the same coordinates in adata.obsm[{spatial_key!r}]. "
            "A spatial graph needs their true positions."
        )
    return spatial


def _where_centres(adata: AnnData, spatial_key: str, remedy: str) -> str:
    """Return where spot centres seem to be instead, and how to use them."""
    keys = other_spatial_keys(adata, spatial_key)
    if keys:
        line = f"adata.obsm[{spatial_key!r}] = adata.obsm[{keys[0]!r}]"
        said = f"Spot centres seem to be in {' or '.join(f'obsm[{key!r}]' for key in keys)}: "
        pass_it = f"pass {how_to_pass('spatial_key', keys[0])}, or " if remedy == "argument" else ""
        return f"{said}{pass_it}set {line}."
    columns = coordinate_columns(adata.obs.columns)
    if columns is not None:
        x, y = columns
        python = f"adata.obsm[{spatial_key!r}] = adata.obs[[{x!r}, {y!r}]].to_numpy()"
        if remedy == "file":
            python = f"spatial_columns=({x!r}, {y!r})"
        read = either(
            f"read the file with spatial_columns={x},{y} (from Python: {python})",
            how_to_pass("spatial_columns", f"{x},{y}"),
        )
        return f"Spot centres seem to be in obs: {read}."
    if remedy == "file":
        return f"Spot centres are needed: put them into adata.obsm[{spatial_key!r}]."
    key = how_to_pass("spatial_key")
    return f"Spot centres are needed; read the section with histoquilt.io.read_visium, or pass {key}."


def check_counts(matrix: Any, name: str, adata: AnnData | None = None) -> None:
    """Raise ``ValueError`` unless a matrix holds raw counts: finite, non-negative whole numbers, not all zero.

    The message names other slots of ``adata`` that do.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.study import check_counts
    >>> check_counts(np.array([[0, 3], [1, 0]]), "X")
    >>> check_counts(np.array([[0.0, 1.4]]), "X")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: X looks log-transformed (largest value 1.4, not whole numbers). Raw counts are ...
    """
    values = matrix.data if issparse(matrix) else np.asarray(matrix).ravel()
    if values.size == 0 or not values.any():
        raise ValueError(f"{name} is all zero: no spot has a single count. Check which matrix was read.")
    problem, may_be_declared = "", False
    if not np.isfinite(values).all():
        problem = "holds NaN or infinite values"
    elif values.min() < 0:
        problem = f"holds negative values (smallest {values.min():g}), so it was scaled or centred"
    elif (values != np.rint(values)).any():
        guess = "looks log-transformed" if values.max() < 30 else "holds fractions, so it was normalised or corrected"
        problem, may_be_declared = f"{guess} (largest value {values.max():g}, not whole numbers)", True
    if problem:
        raise ValueError(f"{name} {problem}. {_counts_remedy(name, adata, may_be_declared)}")


def _counts_remedy(name: str, adata: AnnData | None, may_be_declared: bool) -> str:
    elsewhere = counts_elsewhere(adata, name) if adata is not None else ""
    remedy = elsewhere or f"Put raw counts into adata.layers['counts'] (or pass {how_to_pass('layer')})."
    if may_be_declared:
        remedy += (
            f" Where {name} is log1p of counts per 10,000, declare it: adata.uns['histoquilt'] = {{'scale': "
            f"{{{name!r}: 'log1p_cp10k'}}}}; where it is counts that were corrected (decontaminated), {{'scale': "
            f"{{{name!r}: 'counts'}}}}."
        )
    return f"Raw counts are needed. {remedy}"
