"""Two dimensions of an embedding, coloured by domain or by a number."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes

from histoquilt._base import Keys, MissingKey
from histoquilt.draw import UNLABELLED, as_categories, domain_colors
from histoquilt.pl._figure import RASTERISE_FROM, add_colorbar, add_legend, hide_spines, new_axes
from histoquilt.study import check_adata, check_obs_key, spot_centres


def embedding(
    adata: AnnData,
    basis: str = "X_umap",
    *,
    color: str = Keys.DOMAIN,
    palette: Sequence[str] | Mapping[str, str] | None = None,
    size: float | None = None,
    legend: bool = True,
    cmap: str = "viridis",
    ax: Axes | None = None,
) -> Axes:
    """Plot the first two dimensions of an embedding.

    Parameters
    ----------
    adata
        AnnData with the embedding; not changed.
    basis
        Key of ``obsm``, ``(n_spots, 2 or more)``, e.g. of a layout by :func:`histoquilt.tl.umap`.
    color
        Column of ``obs``: numbers get a colour bar, anything else the domain colours.
    palette, legend, ax
        As in :func:`domains`.
    size
        Area of a dot in points squared; by default smaller for more spots.
    cmap
        Name of a matplotlib colour map, for numbers.

    Returns
    -------
    The Axes. Dots are drawn in random order, so that no domain is hidden because of its number.

    Raises
    ------
    KeyError, ValueError
        ``basis`` or ``color`` is missing, or the embedding has only one dimension.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> adata.obsm["X_two"] = adata.X[:, :2].toarray()
    >>> hq.pl.embedding(adata, "X_two", color="domain_true").get_xlabel()
    'two 1'
    """
    check_adata(adata)
    if basis not in adata.obsm:
        remedy = "Compute a UMAP with histoquilt.tl.umap(adata), or pass basis=."
        raise MissingKey(basis, "adata.obsm", adata.obsm, remedy)
    check_obs_key(adata, color, argument="color")
    points = np.asarray(spot_centres(adata, basis, strict=False), dtype=float)
    if points.ndim != 2 or points.shape[1] < 2:
        raise ValueError(f"adata.obsm[{basis!r}] must have at least two columns, got shape {points.shape}.")
    ax = new_axes(ax, 5.2, 4.4)
    order = np.random.default_rng(0).permutation(adata.n_obs)
    x, y = points[order, :2].T
    area = size if size is not None else float(np.clip(40_000 / adata.n_obs, 1.0, 40.0))
    style: dict[str, Any] = {"s": area, "linewidths": 0, "rasterized": adata.n_obs > RASTERISE_FROM}
    column = adata.obs[color]
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        dots = ax.scatter(x, y, c=column.to_numpy(dtype=float)[order], cmap=cmap, **style)
        add_colorbar(ax, dots, color)
    else:
        colors = domain_colors(adata, color, palette)
        codes = as_categories(adata, color).codes
        ax.scatter(x, y, c=np.array([*colors.values(), UNLABELLED])[codes][order], **style)
        if legend:
            add_legend(ax, colors, color, unlabelled=bool((codes < 0).any()))
    name = basis.removeprefix("X_")
    name = "UMAP" if name == "umap" else name
    ax.set(xlabel=f"{name} 1", ylabel=f"{name} 2", xticks=[], yticks=[])
    hide_spines(ax)
    return ax
