"""Parts of all plots: new Axes, spots at their true size on the tissue, colour bars and legends."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.lines import Line2D
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from histoquilt._base import Keys
from histoquilt.draw import (
    UNLABELLED,
    microns_per_unit,
    spot_places,
    tissue_image,
    warn_overlapping_sections,
)
from histoquilt.study import spot_pitch

BLUE, ORANGE = "#0072b2", "#d55e00"
RASTERISE_FROM = 20_000  # spots; a PDF with more circles opens slowly
CLOSED_FROM = 50_000  # spots; smaller than a pixel each, gaps between them would pale the colours
_BAR_UM = np.array([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000])


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the given Axes, or those of a new figure, with its size in inches."""
    return ax if ax is not None else plt.subplots(figsize=(width, height), layout="constrained")[1]


def new_grid(n_rows: int, n_columns: int, width: float, height: float, **options: Any) -> np.ndarray:
    """Return the Axes of a new figure, ``(n_rows, n_columns)``; its size is in inches."""
    options |= {"figsize": (width, height), "layout": "constrained", "squeeze": False}
    return plt.subplots(n_rows, n_columns, **options)[1]


def draw_tissue(
    adata: AnnData,
    ax: Axes | None,
    *,
    spatial_key: str,
    library_key: str | None,
    image: bool,
    size: float | None,
    **style: Any,
) -> tuple[Axes, EllipseCollection]:
    """Draw one circle per spot in coordinate units, x to the right and y down, over the image if there is one.

    ``size`` is the diameter in coordinate units, ``style`` goes to the collection of circles, which is returned too.
    """
    warn_overlapping_sections(adata, spatial_key, library_key)
    points = spot_places(adata, spatial_key)
    ax = new_axes(ax, 5.2, 4.6)
    pitch = spot_pitch(points)
    # the image lies where the spots were measured, not where they were moved to
    under = tissue_image(adata, library_key=library_key) if image and spatial_key != Keys.ALIGNED else None
    if under is not None:
        ax.imshow(under.pixels, extent=under.extent, interpolation="bilinear", zorder=0)
    if size is None:  # over an image the gaps show the tissue; without one, nearly touching circles read as areas
        size = pitch * (0.78 if under is not None else 1.3 if len(points) > CLOSED_FROM else 0.96)
    diameter = np.full(len(points), size)
    spots = EllipseCollection(
        diameter, diameter, np.zeros(len(points)), units="xy", offsets=points, offset_transform=ax.transData,
        linewidths=0, rasterized=len(points) > RASTERISE_FROM, zorder=2, **style,
    )  # fmt: skip
    ax.add_collection(spots)
    low, high = points.min(axis=0), points.max(axis=0)
    set_frame(ax, low, high, max(1.2 * pitch, 0.02 * float((high - low).max())))
    um_per_unit = 1.0 if spatial_key == Keys.ALIGNED else microns_per_unit(adata, library_key=library_key)
    if um_per_unit is not None:
        _scale_bar(ax, float(high[0] - low[0]), um_per_unit)
    return ax, spots


def draw_values(
    adata: AnnData,
    ax: Axes | None,
    values: np.ndarray,
    ends: tuple[float, float],
    label: str | None,
    *,
    cmap: str,
    **where: Any,
) -> tuple[Axes, EllipseCollection]:
    """Draw spots coloured by a number, NaN in grey, on a scale between ``ends``, with a colour bar if it has a label.

    ``where`` are arguments of :func:`draw_tissue`.
    """
    ax, spots = draw_tissue(adata, ax, **where)
    spots.set(array=np.ma.masked_invalid(values), cmap=mpl.colormaps[cmap].with_extremes(bad=UNLABELLED))
    spots.set_clim(*ends)
    if label is not None:
        add_colorbar(ax, spots, label)
    return ax, spots


def set_frame(ax: Axes, low: np.ndarray, high: np.ndarray, margin: float) -> None:
    """Show the tissue between two corners ``(x, y)`` at a true scale, y downwards, without ticks."""
    ax.set(xlim=(low[0] - margin, high[0] + margin), ylim=(high[1] + margin, low[1] - margin), xticks=[], yticks=[])
    ax.set_aspect("equal")
    ax.spines[:].set_visible(False)


def _scale_bar(ax: Axes, width: float, um_per_unit: float) -> None:
    """Draw a bar of a round length, at most a quarter of the tissue's width, below the tissue."""
    fitting = _BAR_UM[_BAR_UM <= width * um_per_unit / 4]
    if len(fitting) == 0:
        return
    um = int(fitting[-1])
    bar = AnchoredSizeBar(
        ax.transData, um / um_per_unit, f"{um // 1000} mm" if um >= 1000 else f"{um} µm", loc="upper right",
        bbox_to_anchor=(1, 0), bbox_transform=ax.transAxes, pad=0.1, borderpad=0.2, sep=3, frameon=False,
        size_vertical=0.006 * width,
    )  # fmt: skip
    ax.add_artist(bar)


def add_colorbar(axes: Axes | Sequence[Axes], mappable: Any, label: str) -> None:
    """Add one slim colour bar next to the Axes."""
    bar = mappable.figure.colorbar(mappable, ax=axes, shrink=0.6, aspect=18, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)


def add_legend(ax: Axes, colors: dict[str, str], title: str, *, unlabelled: bool) -> None:
    """Add a legend with one dot per category to the right of the Axes, in columns of at most 14."""
    dots = [
        Line2D([], [], linestyle="", marker="o", markersize=7, markerfacecolor=color, markeredgewidth=0, label=name)
        for name, color in {**colors, **({"unlabelled": UNLABELLED} if unlabelled else {})}.items()
    ]
    ax.legend(
        handles=dots, title=title, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False,
        ncols=-(-len(dots) // 14), handletextpad=0.3, columnspacing=1.0, alignment="left",
    )  # fmt: skip


def hide_spines(ax: Axes, *sides: str) -> None:
    """Hide the top and right border of a plot, or the given ones."""
    ax.spines[list(sides) or ["top", "right"]].set_visible(False)
