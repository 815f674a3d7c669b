"""Several sections side by side, in the same colours, as measured or aligned in one frame."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from scipy.spatial import cKDTree

from histoquilt._base import Keys, MissingKey, argument
from histoquilt.draw import (
    as_categories,
    domain_colors,
    section_height,
    section_names,
    spot_places,
    stack_order,
)
from histoquilt.pl._figure import add_colorbar, add_legend, new_grid, set_frame
from histoquilt.pl._spatial import confidence, domains
from histoquilt.study import check_adata, check_obs_key, spot_pitch

_OUTLINE = "#222222"
_MAX_CELLS = 250  # cells across the grid on which the outline is computed
_REACH = 0.85  # pitches around a spot that count as tissue: closes gaps between neighbours, not lost spots
Sections: TypeAlias = AnnData | Sequence[AnnData] | Mapping[str, AnnData]


def domains_grid(
    sections: Sections,
    *,
    section_key: str | None = None,
    domain_key: str = Keys.DOMAIN,
    n_columns: int = 4,
    **arguments: Any,
) -> np.ndarray:
    """Plot the domains of several sections side by side, in the same colours, with one legend.

    Parameters
    ----------
    sections
        One AnnData whose sections ``obs[section_key]`` names, a list of AnnData, or a dict from name to AnnData.
    section_key, domain_key
        Columns of ``obs``: sections, by default ``section`` or ``library_id``, and domains; equal names of domains get
        equal colours.
    n_columns
        Number of sections in a row.
    **arguments
        Arguments of :func:`domains`: ``image``, ``size``, ``alpha``, ``palette``, ``spatial_key``.

    Returns
    -------
    One Axes per section, in a one-dimensional array; their figure is ``axes[0].figure``.

    Raises
    ------
    KeyError, ValueError
        A key is missing, or there is no section.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, n_sections=2, seed=0)
    >>> [ax.get_title() for ax in hq.pl.domains_grid(adata, domain_key="domain_true")]
    ['s1', 's2']
    """
    named = _split(sections, section_key)
    for adata in named.values():
        check_obs_key(adata, domain_key, argument="domain_key")
    palette = arguments.pop("palette", None)
    colors = (
        domain_colors(sections, domain_key, palette)
        if isinstance(sections, AnnData)
        else _shared_colors(list(named.values()), domain_key, palette)
    )
    arguments = {"library_key": section_key, **arguments}
    return _draw_sections(named, list(named), n_columns, colors, domain_key, **arguments)


def confidence_grid(
    sections: Sections,
    *,
    section_key: str | None = None,
    confidence_key: str = Keys.CONFIDENCE,
    n_columns: int = 4,
    **arguments: Any,
) -> np.ndarray:
    """Plot the confidence of the domains of several sections, side by side, on one scale from 0 to 1.

    Parameters
    ----------
    sections, section_key, n_columns
        As in :func:`domains_grid`.
    confidence_key
        Column of ``obs`` with numbers in [0, 1], in all sections.
    **arguments
        Arguments of :func:`confidence`: ``image``, ``size``, ``cmap``, ``spatial_key``.

    Returns
    -------
    One Axes per section, in a one-dimensional array.

    Raises
    ------
    KeyError, ValueError
        A key is missing, or there is no section.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, n_sections=2, seed=0)
    >>> adata.obs["sure"] = 0.9
    >>> [ax.get_title() for ax in hq.pl.confidence_grid(adata, confidence_key="sure")]
    ['s1', 's2']
    """
    named = _split(sections, section_key)
    for adata in named.values():
        check_obs_key(adata, confidence_key, argument="confidence_key")
    arguments = {"library_key": section_key, **arguments}
    axes = _section_axes(list(named), n_columns)
    for ax, adata in zip(axes, named.values(), strict=True):
        confidence(adata, confidence_key=confidence_key, legend=False, ax=ax, **arguments)
    add_colorbar(list(axes), axes[0].collections[-1], confidence_key.replace("_", " "))
    return axes


def aligned_stack(
    adata: AnnData,
    *,
    section_key: str | None = None,
    domain_key: str = Keys.DOMAIN,
    spatial_key: str = Keys.ALIGNED,
    size: float | None = None,
    palette: Sequence[str] | Mapping[str, str] | None = None,
    n_columns: int = 4,
) -> np.ndarray:
    """Plot the sections of a stack in one frame, from bottom to top, each under the outline of the first.

    All panels show the same region at the same scale. If the alignment is right, the tissue fills the outline, and
    domains are at the same place in adjacent panels.

    Parameters
    ----------
    adata
        Several sections; not changed. ``obsm[spatial_key]`` holds their spots in one frame in microns, as written by
        :func:`histoquilt.tl.align_sections`. The stack is ordered by ``obs["z_um"]``, if present.
    section_key, domain_key, n_columns
        As in :func:`domains_grid`.
    spatial_key
        Key in ``obsm`` of the aligned spot centres.
    size
        Spot diameter in microns; by default from the distance between neighbours.
    palette
        As in :func:`domains`.

    Returns
    -------
    One Axes per section, in the order of the stack, in a one-dimensional array.

    Raises
    ------
    KeyError
        A key is missing, or no column distinguishes sections.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, n_sections=2, seed=0)
    >>> hq.tl.align_sections(adata)
    >>> [ax.get_title() for ax in hq.pl.aligned_stack(adata, domain_key="domain_true")]
    ['s1, z 0 µm', 's2, z 100 µm']
    """
    check_adata(adata)
    if spatial_key not in adata.obsm:
        remedy = f"Align the sections with histoquilt.tl.align_sections(adata), or pass {argument('spatial_key')}."
        raise MissingKey(spatial_key, "adata.obsm", adata.obsm, remedy)
    check_obs_key(adata, domain_key, argument="domain_key")
    points = spot_places(adata, spatial_key)
    rows_of = stack_order(adata, section_key)
    sections = {name: adata[rows] for name, rows in rows_of.items()}
    heights = [section_height(adata, rows) for rows in rows_of.values()]
    titles = [name if z is None else f"{name}, z {z:,.6g} µm" for name, z in zip(rows_of, heights, strict=True)]
    axes = _draw_sections(
        sections, titles, n_columns, domain_colors(adata, domain_key, palette), domain_key, spatial_key=spatial_key,
        library_key=section_key, image=False, size=size,
    )  # fmt: skip
    first = points[next(iter(rows_of.values()))]
    low, high = points.min(axis=0), points.max(axis=0)
    margin = max(1.2 * spot_pitch(first), 0.02 * float((high - low).max()))
    for ax in axes:
        _draw_outline(ax, first)
        set_frame(ax, low, high, margin)
    return axes


def _section_axes(titles: Sequence[str], n_columns: int) -> np.ndarray:
    """Return one Axes per section, ``n_columns`` in a row."""
    columns = min(n_columns, len(titles))
    rows = -(-len(titles) // columns)
    axes = new_grid(rows, columns, 3.4 * columns + 1, 3.5 * rows).ravel()
    for ax in axes[len(titles) :]:
        ax.remove()
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title, fontsize="medium")
    return axes[: len(titles)]


def _draw_sections(
    sections: Mapping[str, AnnData],
    titles: Sequence[str],
    n_columns: int,
    colors: dict[str, str],
    domain_key: str,
    **arguments: Any,
) -> np.ndarray:
    """Draw the domains of sections in the same colours, with one legend."""
    axes = _section_axes(titles, n_columns)
    for ax, adata in zip(axes, sections.values(), strict=True):
        domains(adata, domain_key=domain_key, palette=colors, legend=False, ax=ax, **arguments)
    unlabelled = any((as_categories(adata, domain_key).codes < 0).any() for adata in sections.values())
    add_legend(axes[min(n_columns, len(axes)) - 1], colors, domain_key, unlabelled=unlabelled)
    return axes


def _split(sections: Sections, section_key: str | None) -> dict[str, AnnData]:
    """Return name -> AnnData of one section each."""
    if isinstance(sections, Mapping):
        named: dict[str, AnnData] = {}
        for name, adata in sections.items():
            parts = _split(adata, section_key)
            named |= {f"{name}, {part}" if len(parts) > 1 else str(name): section for part, section in parts.items()}
    elif isinstance(sections, AnnData):
        rows = section_names(sections, section_key)
        named = {name: sections[index] for name, index in rows.items()} or {"section": sections}
    else:
        named = {}
        for number, adata in enumerate(sections, start=1):
            names = list(section_names(adata, section_key))
            name = names[0] if len(names) == 1 else f"section {number}"
            named[name if name not in named else f"{name} ({number})"] = adata
    if not named:
        raise ValueError("There is no section to draw. Pass an AnnData, or a list or dict of them.")
    return named


def _shared_colors(
    sections: list[AnnData], key: str, palette: Sequence[str] | Mapping[str, str] | None
) -> dict[str, str]:
    """Return colours of the categories of all sections, in order of appearance."""
    names = list(dict.fromkeys(name for adata in sections for name in as_categories(adata, key).categories))
    if all(name.isdigit() for name in names):
        names.sort(key=int)
    # as one column, so that a palette is read and checked by the same rules as for a single section
    union = AnnData(obs={key: names}, uns={f"{key}_colors": sections[0].uns.get(f"{key}_colors", [])})
    union.obs[key] = union.obs[key].astype("category").cat.set_categories(names)
    return domain_colors(union, key, palette)


def _draw_outline(ax: Axes, points: np.ndarray) -> None:
    """Draw the border of the area around the spots."""
    pitch = spot_pitch(points)
    low, high = points.min(axis=0) - 2 * pitch, points.max(axis=0) + 2 * pitch
    cell = max(pitch / 3, float((high - low).max()) / _MAX_CELLS)
    x, y = (np.arange(low[axis], high[axis] + cell, cell) for axis in (0, 1))
    cells = np.stack(np.meshgrid(x, y), axis=-1)  # (n_y, n_x, 2)
    distance = cKDTree(points).query(cells)[0]
    ax.contour(x, y, distance, levels=[_REACH * pitch], colors=_OUTLINE, linewidths=1.0, zorder=3)
