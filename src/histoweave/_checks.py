"""Input checks that raise with a remedy. Public functions call them first; the code below trusts its input."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import issparse

from histoweave._coordinate_columns import coordinate_columns
from histoweave._counts_elsewhere import counts_elsewhere
from histoweave._keys import Keys


def _listed(names: Iterable[Any], limit: int = 8) -> str:
    """Join names for a message: the first few, quoted, or 'nothing'."""
    names = [str(name) for name in names]
    shown = ", ".join(repr(name) for name in names[:limit])
    return (shown + (f", ... ({len(names)} in all)" if len(names) > limit else "")) or "nothing"


def check_adata(adata: Any) -> None:
    """Raise ``TypeError`` unless ``adata`` is an AnnData, ``ValueError`` when it has no spots or repeated names."""
    if not isinstance(adata, AnnData):
        raise TypeError(f"Expected an AnnData, got {type(adata).__name__}. Read files with histoweave.io first.")
    if adata.n_obs == 0:
        raise ValueError("The section has no spots (0 rows). Check the tissue filter it was made with.")
    if not adata.obs_names.is_unique:
        repeated = adata.obs_names[adata.obs_names.duplicated()].unique()
        raise ValueError(
            f"Spot names (barcodes) must be unique; repeated: {_listed(repeated, 3)}. "
            "Join sections with anndata.concat(..., index_unique='-'), or call adata.obs_names_make_unique()."
        )


def check_obs_key(adata: AnnData, key: str, *, argument: str) -> None:
    """Raise ``KeyError`` unless ``obs`` has the column."""
    if key not in adata.obs:
        raise KeyError(f"{key!r} is not in adata.obs (found: {_listed(adata.obs.columns)}). Pass {argument}=.")


def check_obsm_key(adata: AnnData, key: str, *, argument: str) -> None:
    """Raise ``KeyError`` unless ``obsm`` has the matrix."""
    if key not in adata.obsm:
        raise KeyError(f"{key!r} is not in adata.obsm (found: {_listed(adata.obsm)}). Pass {argument}=.")


def check_spatial(adata: AnnData, spatial_key: str = Keys.SPATIAL) -> np.ndarray:
    """Return spot centres as float64 ``(n_spots, 2 or 3)``; of a table, its columns put into the order (x, y).

    Raises
    ------
    KeyError
        There are no coordinates under ``spatial_key``.
    ValueError
        They are not numbers in 2 or 3 columns, not finite, or all equal; or a table whose columns have other names.
    """
    if spatial_key not in adata.obsm:
        columns = coordinate_columns(adata.obs.columns)
        if columns is not None:
            x, y = columns
            raise KeyError(
                f"{spatial_key!r} is not in adata.obsm (found: {_listed(adata.obsm)}). Spot centres seem to be in obs: "
                f"read the file with spatial_columns={x},{y} (from Python: adata.obsm[{spatial_key!r}] = "
                f"adata.obs[[{x!r}, {y!r}]].to_numpy())."
            )
        raise KeyError(
            f"{spatial_key!r} is not in adata.obsm (found: {_listed(adata.obsm)}). Spot centres are needed; read the "
            "section with histoweave.io.read_visium, or pass spatial_key=."
        )
    stored = adata.obsm[spatial_key]
    if isinstance(stored, pd.DataFrame):
        stored = _as_xy(stored, spatial_key)
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
            f"first: {_listed(adata.obs_names[bad], 3)}. Drop them, or read the positions again."
        )
    if len(spatial) > 1 and (spatial == spatial[0]).all():
        raise ValueError(
            f"All {len(spatial):,} spots have the same coordinates in adata.obsm[{spatial_key!r}]. "
            "A spatial graph needs their true positions."
        )
    return spatial


def _as_xy(table: pd.DataFrame, spatial_key: str) -> pd.DataFrame:
    """Put the columns of a coordinate table into the order x, y (and z)."""
    if all(isinstance(name, int | np.integer) or str(name).isdigit() for name in table.columns):
        return table  # numbered, as an array is
    columns = coordinate_columns(table.columns)
    rest = [name for name in table.columns if columns is None or str(name) not in columns]
    if columns is None or len(rest) > 1 or (rest and not str(rest[0]).casefold().startswith("z")):
        raise ValueError(
            f"adata.obsm[{spatial_key!r}] is a table with the columns {_listed(table.columns)}, which do not say "
            "which is x and which is y. Rename them to 'x' and 'y', or store an array (x, y)."
        )
    return table.rename(columns=str)[[*columns, *map(str, rest)]]


def check_counts(matrix: Any, name: str, adata: AnnData | None = None) -> None:
    """Raise ``ValueError`` unless a matrix holds raw counts: finite, not negative, whole numbers, not all zero.

    The message names other slots of ``adata`` that do.
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
    remedy = elsewhere or "Put raw counts into adata.layers['counts'] (or pass layer=)."
    if may_be_declared:
        remedy += (
            f" Where {name} is log1p of counts per 10,000, declare it: adata.uns['histoweave'] = {{'scale': "
            f"{{{name!r}: 'log1p_cp10k'}}}}; where it is counts that were corrected (decontaminated), {{'scale': "
            f"{{{name!r}: 'counts'}}}}."
        )
    return f"Raw counts are needed. {remedy}"


def check_n_domains(n_domains: int, n_spots: int) -> None:
    """Raise unless ``n_domains`` is a whole number between 1 and the number of spots."""
    if isinstance(n_domains, bool) or not isinstance(n_domains, int | np.integer):
        raise TypeError(f"n_domains must be a whole number, got {n_domains!r}.")
    if n_domains < 1:
        raise ValueError(f"n_domains must be at least 1, got {n_domains}.")
    if n_domains > n_spots:
        raise ValueError(f"n_domains is {n_domains}, but there are only {n_spots:,} spots. Ask for fewer domains.")


def check_positive(value: float, name: str) -> None:
    """Raise ``ValueError`` unless a number is finite and greater than zero."""
    if not np.isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be positive, got {value}.")
