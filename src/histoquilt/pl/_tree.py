"""Nested domains: a dendrogram with a map at each level."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from histoquilt._base import Keys
from histoquilt.draw import DomainLevel, domain_levels, section_names
from histoquilt.pl._spatial import domains
from histoquilt.study import check_adata

_LONGEST_NAME = 9  # characters; longer names of merged domains are cut


def domain_tree(
    adata: AnnData,
    *,
    domain_key: str = Keys.DOMAIN,
    spatial_key: str = Keys.SPATIAL,
    section_key: str | None = None,
    n_levels: int = 8,
    image: bool = False,
    size: float | None = None,
) -> np.ndarray:
    """Plot nested domains as a dendrogram, from coarse to fine, above a map of each level.

    Parameters
    ----------
    adata
        One or several sections with the result of :func:`histoquilt.tl.domain_tree`; not changed.
    domain_key, spatial_key
        Column of ``obs`` with the domains, and key in ``obsm`` of the spot centres.
    section_key
        Column of ``obs`` that names sections, by default ``section`` or ``library_id``; each has a row of maps.
    n_levels
        Largest number of levels; of more, evenly spread ones are drawn, always with the coarsest and the finest.
    image, size
        As in :func:`domains`.

    Returns
    -------
    The Axes of the dendrogram, followed by those of the maps, in a one-dimensional array. Titles have the stability of
    a level, the adjusted Rand index with refits on half of the spots (of the finest, that of its weakest domain).

    Raises
    ------
    KeyError
        The domains were not nested, or a key is missing.
    ValueError
        ``n_levels`` is less than 2, or the coordinates are unusable.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=400, n_genes=200, n_domains=4, seed=0)
    >>> hq.tl.spatial_domains(adata, n_domains=4, progress=False)
    >>> hq.tl.domain_tree(adata, fine=False)
    >>> [ax.get_title().split(" (")[0] for ax in hq.pl.domain_tree(adata)]
    ['', '2 domains', '3 domains', '4 domains']
    """
    check_adata(adata)
    if n_levels < 2:
        raise ValueError(f"n_levels must be at least 2, got {n_levels}.")
    levels = domain_levels(adata, domain_key)
    drawn = np.unique(np.linspace(0, len(levels) - 1, min(n_levels, len(levels))).round().astype(int))
    rows_of = section_names(adata, section_key) or {"": np.arange(adata.n_obs)}
    figure = plt.figure(figsize=(2.3 * len(drawn) + 0.3, 2.8 + 2.4 * len(rows_of)), layout="constrained")
    grid = figure.add_gridspec(1 + len(rows_of), len(drawn), height_ratios=[1.15, *[1] * len(rows_of)])
    tree = figure.add_subplot(grid[0, :])
    _draw_tree(tree, levels, drawn)
    axes = [tree]
    for row, (name, rows) in enumerate(rows_of.items(), start=1):
        section = adata if len(rows_of) == 1 else adata[rows]
        for column, number in enumerate(drawn):
            level = levels[number]
            ax = figure.add_subplot(grid[row, column])
            palette = dict(zip(level.names, level.colors, strict=True))
            domains(
                section, domain_key=level.key, spatial_key=spatial_key, library_key=section_key, image=image, size=size,
                palette=palette, legend=False, ax=ax,
            )  # fmt: skip
            if row == 1:
                known = "" if np.isnan(level.stability) else f" (ARI {level.stability:.2f})"
                ax.set_title(level.title + known, fontsize="medium")
            if len(rows_of) > 1 and column == 0:
                ax.set_ylabel(name)
            axes.append(ax)
    return np.array(axes)


def _draw_tree(ax: Axes, levels: list[DomainLevel], drawn: np.ndarray) -> None:
    """Draw the domains of some levels as dots, each joined to its parts in the next."""
    heights = _heights(levels)
    for column, number in enumerate(drawn):
        level = levels[number]
        before = np.arange(len(level.names))  # numbers of the domains in the level drawn before
        for passed in range(number, drawn[column - 1] if column else number, -1):
            before = np.array(levels[passed].parents)[before]
        divided = np.bincount(before, minlength=1) if column else np.array([0])
        for code, (name, color) in enumerate(zip(level.names, level.colors, strict=True)):
            height = heights[number][code]
            is_new = column == 0 or divided[before[code]] > 1
            if column:
                above = heights[drawn[column - 1]][before[code]]
                from_color = levels[drawn[column - 1]].colors[before[code]]
                style: dict[str, Any] = {"linewidth": 2.5, "solid_capstyle": "round"}
                ax.plot([column - 0.5, column - 0.5, column], [above, height, height], color=color, zorder=0, **style)
                ax.plot([column - 1, column - 0.5], [above, above], color=from_color, zorder=1, **style)
            ax.plot(column, height, "o", markersize=9, color=color, markeredgecolor="white", zorder=2)
            if is_new:
                label = name if len(name) <= _LONGEST_NAME else f"{name[:4]}…{name[-2:]}"
                ax.annotate(label, (column, height), (7, 3), textcoords="offset points", fontsize="small", zorder=3)
    ax.set(xlim=(-0.5, len(drawn) - 0.5), ylim=(len(levels[-1].names) - 0.5, -0.8), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _heights(levels: list[DomainLevel]) -> list[np.ndarray]:
    """Return the height of every domain of every level: finest ones one below another, others amid their parts."""
    order = np.arange(len(levels[0].names))
    for level in levels[1:]:
        place = np.argsort(order)  # of the level before: number -> position from the top
        order = np.lexsort((np.arange(len(level.names)), place[np.array(level.parents)]))
    heights = [np.argsort(order).astype(float)]
    for level in reversed(levels[1:]):
        parents = np.array(level.parents)
        heights.append(np.bincount(parents, weights=heights[-1]) / np.bincount(parents))
    return heights[::-1]
