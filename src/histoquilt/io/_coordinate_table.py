"""Spot centres in tables or columns of ``obs``, and spots outside the tissue."""

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, ReadOptions, coordinate_columns, either, listed
from histoquilt.runtime import warn_user
from histoquilt.study import check_spatial, write_result

_OUTSIDE, _INSIDE = {"0", "0.0", "false", "no"}, {"1", "1.0", "true", "yes"}


def settle_spots(adata: AnnData, options: ReadOptions) -> AnnData:
    """Return a section with an array of coordinates ``(x, y)``, without spots outside the tissue unless all are kept.

    Raises
    ------
    KeyError
        ``options.spatial_columns`` are not in ``obs``.
    ValueError
        ``obsm["spatial"]`` is a table whose columns do not say which is x.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt._base import ReadOptions
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> del adata.obsm["spatial"]
    >>> adata.obs["x"], adata.obs["y"] = range(60), 0
    >>> hq.io.settle_spots(adata, ReadOptions(spatial_columns=("x", "y"))).obsm["spatial"][:2].tolist()
    [[0.0, 0.0], [1.0, 0.0]]
    """
    if options.spatial_columns is not None:
        write_result(adata, "obsm", Keys.SPATIAL, centres_of_columns(adata, options.spatial_columns))
    elif isinstance(adata.obsm.get(Keys.SPATIAL), pd.DataFrame):
        adata.obsm[Keys.SPATIAL] = check_spatial(adata)
    return adata if options.keep_all_spots else _on_tissue(adata)


def centres_of_columns(adata: AnnData, columns: tuple[str, str]) -> np.ndarray:
    """Return two columns of ``obs`` as spot centres, float64 ``(n_spots, 2)``."""
    missing = [name for name in columns if name not in adata.obs]
    if missing:
        near = coordinate_columns(adata.obs.columns)
        hint = f" Coordinates may be in {near[0]!r}, {near[1]!r}." if near else ""
        raise KeyError(f"{listed(missing)} not in adata.obs (found: {listed(adata.obs.columns)}).{hint}")
    try:
        return adata.obs[list(columns)].astype(np.float64).to_numpy()
    except (TypeError, ValueError) as error:
        raise ValueError(f"obs columns {columns[0]!r}, {columns[1]!r} must hold numbers; {error}.") from error


def _on_tissue(adata: AnnData) -> AnnData:
    """Return the spots whose ``obs["in_tissue"]`` is 1; all if the column is absent or means something else."""
    if "in_tissue" not in adata.obs:
        return adata
    codes, values = pd.factorize(adata.obs["in_tissue"], use_na_sentinel=False)
    words = [str(value).strip().casefold() for value in values]
    if not set(words) <= _OUTSIDE | _INSIDE:
        return adata
    inside = np.array([word in _INSIDE for word in words])[codes]
    if inside.all() or not inside.any():
        return adata
    keep_all = either("keep_all_spots=True (--keep-all-spots)", "--keep-all-spots")
    warn_user(
        f"{(~inside).sum():,} of {len(inside):,} spots lie outside the tissue (obs['in_tissue'] is 0) and are left "
        f"out; {keep_all} keeps them."
    )
    return adata[inside].to_memory() if adata.isbacked else adata[inside].copy()
