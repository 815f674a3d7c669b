"""Spot centres in ``obsm``: under which key, and in the order (x, y)."""

import re

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, coordinate_columns, depth_column, is_embedding

_CALLED = re.compile(r"spatial|coord|position|location|centroid|(^|_)xyz?$")


def spot_centres(adata: AnnData, spatial_key: str = Keys.SPATIAL, *, strict: bool = True) -> np.ndarray:
    """Return ``obsm[spatial_key]`` as an array with the columns x, y (and z); columns of a table are found by name.

    Values are not checked (:func:`check_spatial` does). A table whose columns do not say which is x raises
    ``ValueError`` if ``strict``, else it is returned in its own order.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.study import spot_centres
    >>> adata = AnnData(np.ones((2, 1)), obsm={"spatial": pd.DataFrame({"y": [5, 6], "x": [1, 2]}, index=["0", "1"])})
    >>> spot_centres(adata).tolist()
    [[1, 5], [2, 6]]
    """
    stored = adata.obsm[spatial_key]
    if isinstance(stored, pd.DataFrame):
        try:
            stored = _as_xy(stored, spatial_key)
        except ValueError:
            if strict:
                raise
    return np.asarray(stored)


def other_spatial_keys(adata: AnnData, spatial_key: str) -> list[str]:
    """Return the keys of ``obsm`` that are named like spot centres and have 2 or 3 columns."""
    narrow = [key for key, values in adata.obsm.items() if len(values.shape) == 2 and values.shape[1] in (2, 3)]
    return [key for key in narrow if key != spatial_key and _CALLED.search(key.casefold()) and not is_embedding(key)]


def _as_xy(table: pd.DataFrame, spatial_key: str) -> pd.DataFrame:
    """Put the columns of a coordinate table into the order x, y (and z)."""
    if all(isinstance(name, int | np.integer) or str(name).isdigit() for name in table.columns):
        return table  # numbered, like the columns of an array
    columns = coordinate_columns(table.columns)
    rest = [str(name) for name in table.columns if columns is None or str(name) not in columns]
    if columns is None or len(rest) > 1 or (rest and depth_column(rest, columns[0]) is None):
        names = ", ".join(map(repr, map(str, table.columns[:8])))
        raise ValueError(
            f"adata.obsm[{spatial_key!r}] is a table with the columns {names or 'nothing'}, which do not say which is "
            "x and which is y. Rename them to 'x' and 'y', or store an array (x, y)."
        )
    return table.rename(columns=str)[[*columns, *rest]]
