"""The sections of a stack in their common frame."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData
from scipy.spatial import cKDTree

from histoquilt._base import Keys, MissingKey, argument
from histoquilt.draw import UNLABELLED, as_categories, domain_colors, section_names, spot_pitch, spot_places
from histoquilt.pl._sections import grid_legend, section_axes
from histoquilt.pl._spatial import domains
from histoquilt.study import check_adata, check_obs_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OUTLINE = "#222222"
_MOST_CELLS = 250  # across, of the grid that the outline is drawn from
_REACH = 0.85  # pitches around a spot that belong to the tissue: gaps between neighbours close, lost spots stay open


def aligned_stack(
    adata: AnnData,
    *,
    section_key: str | None = None,
    domain_key: str = Keys.DOMAIN,
    spatial_key: str = Keys.ALIGNED,
    size: float | None = None,
    palette: Sequence[str] | Mapping[str, str] | None = None,
    n_columns: int = 4,
) -> "np.ndarray":
    """Plot the sections of a stack in one frame, from bottom to top, each under the outline of the first.

    All pictures show the same piece of the plane at the same scale. Where the alignment is right, the tissue fills the
    outline, and a domain is found again at the same place in the next picture.

    Parameters
    ----------
    adata
        Several sections; only read. ``obsm[spatial_key]`` holds their spots in one frame in microns, as
        :func:`histoquilt.tl.align_sections` writes them. ``obs["z_um"]`` orders the stack where it is there, else
        sections stand as they come.
    section_key
        Column of ``obs``; by default ``section`` or ``library_id``.
    domain_key
        A categorical column of ``obs``.
    spatial_key
        Where the aligned spot centres are.
    size
        Spot diameter in microns; by default from the distance between neighbours.
    palette
        Colours of the domains, as in :func:`domains`.
    n_columns
        Sections in one row.

    Returns
    -------
    One Axes per section, in the order of the stack, in a one-dimensional array.

    Raises
    ------
    KeyError
        A key is missing, or nothing tells sections apart.
    """
    check_adata(adata)
    if spatial_key not in adata.obsm:
        remedy = f"Align the sections with histoquilt.tl.align_sections(adata), or pass {argument('spatial_key')}."
        raise MissingKey(spatial_key, "adata.obsm", adata.obsm, remedy)
    check_obs_key(adata, domain_key, argument="domain_key")
    points = spot_places(adata, spatial_key)
    rows_of = stack_order(adata, section_key)
    colors = domain_colors(adata, domain_key, palette)
    axes = section_axes([_title(adata, name, rows) for name, rows in rows_of.items()], n_columns)
    first = points[next(iter(rows_of.values()))]
    low, high = points.min(axis=0), points.max(axis=0)
    margin = max(1.2 * spot_pitch(first), 0.02 * float((high - low).max()))
    for ax, rows in zip(axes, rows_of.values(), strict=True):
        domains(
            adata[rows], domain_key=domain_key, spatial_key=spatial_key, library_key=section_key, image=False,
            size=size, palette=colors, legend=False, ax=ax,
        )  # fmt: skip
        _draw_outline(ax, first)
        ax.set(xlim=(low[0] - margin, high[0] + margin), ylim=(high[1] + margin, low[1] - margin))
    some_unlabelled = bool((as_categories(adata, domain_key).codes < 0).any())
    grid_legend(axes, n_columns, colors, domain_key, unlabelled=UNLABELLED if some_unlabelled else None)
    return axes


def stack_order(adata: AnnData, section_key: str | None) -> dict[str, np.ndarray]:
    """Return section name -> row numbers, by ``obs["z_um"]`` where every section has it, else as sections come.

    Raises
    ------
    KeyError
        No column names sections.
    """
    rows_of = section_names(adata, section_key)
    if not rows_of:
        raise KeyError(
            f"Neither {Keys.SECTION!r} nor {Keys.LIBRARY!r} is in adata.obs (found: "
            f"{', '.join(map(repr, adata.obs)) or 'nothing'}), so nothing tells sections apart. Pass "
            f"{argument('section_key')}."
        )
    z_of = {name: section_height(adata, rows) for name, rows in rows_of.items()}
    if any(z is None for z in z_of.values()):
        return rows_of
    return dict(sorted(rows_of.items(), key=lambda item: z_of[item[0]] or 0.0))


def section_height(adata: AnnData, rows: np.ndarray) -> float | None:
    """Where a section lies in the stack, microns."""
    if Keys.PLACE[0] not in adata.obs:
        return None
    z = adata.obs[Keys.PLACE[0]].iloc[rows].dropna()
    return float(z.iloc[0]) if len(z) else None


def _title(adata: AnnData, name: str, rows: np.ndarray) -> str:
    z = section_height(adata, rows)
    return name if z is None else f"{name}, z {z:,.6g} µm"


def _draw_outline(ax: "Axes", points: np.ndarray) -> None:
    """Draw the border of the area within reach of a spot."""
    pitch = spot_pitch(points)
    low, high = points.min(axis=0) - 2 * pitch, points.max(axis=0) + 2 * pitch
    cell = max(pitch / 3, float((high - low).max()) / _MOST_CELLS)
    x, y = (np.arange(low[axis], high[axis] + cell, cell) for axis in (0, 1))
    cells = np.stack(np.meshgrid(x, y), axis=-1)  # (n_y, n_x, 2)
    away = cKDTree(points).query(cells)[0]
    ax.contour(x, y, away, levels=[_REACH * pitch], colors=_OUTLINE, linewidths=1.0, zorder=3)
