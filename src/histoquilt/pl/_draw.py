"""Spots at their true size on the tissue: the drawing that all spatial plots share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import UNLABELLED, microns_per_unit, spot_pitch, spot_places, tissue_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import EllipseCollection

RASTERISE_FROM = 20_000  # spots; a PDF with more circles than this opens slowly
CLOSED_FROM = 50_000  # spots; smaller than a pixel each, so that gaps between them would only pale the colours
_BAR_UM = np.array([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000])


def draw_tissue(
    adata: AnnData,
    ax: "Axes | None",
    *,
    spatial_key: str,
    library_key: str | None,
    image: bool,
    size: float | None,
    **style: Any,
) -> "tuple[Axes, EllipseCollection]":
    """Draw one circle per spot in coordinate units, x to the right and y down, over the image where there is one.

    ``size`` is the diameter in coordinate units. ``style`` goes to the collection of circles. Returns the Axes and
    that collection.
    """
    import matplotlib.pyplot as plt
    from matplotlib.collections import EllipseCollection

    points = spot_places(adata, spatial_key)
    if ax is None:
        ax = plt.subplots(figsize=(5.2, 4.6), layout="constrained")[1]
    pitch = spot_pitch(points)
    # the image lies where the spots were measured, not where they were moved to
    under = tissue_image(adata, library_key=library_key) if image and spatial_key != Keys.ALIGNED else None
    if under is not None:
        ax.imshow(under.pixels, extent=under.extent, interpolation="bilinear", zorder=0)
    # over an image the gaps show the tissue; without one, nearly touching circles read as areas
    touching = 1.3 if len(points) > CLOSED_FROM else 0.96
    diameter = np.full(len(points), size if size is not None else pitch * (0.78 if under is not None else touching))
    spots = EllipseCollection(
        diameter, diameter, np.zeros(len(points)), units="xy", offsets=points, offset_transform=ax.transData,
        linewidths=0, rasterized=len(points) > RASTERISE_FROM, zorder=2, **style,
    )  # fmt: skip
    ax.add_collection(spots)
    _frame(ax, points, pitch)
    _scale_bar(ax, points, 1.0 if spatial_key == Keys.ALIGNED else microns_per_unit(adata, library_key=library_key))
    return ax, spots


def _frame(ax: "Axes", points: np.ndarray, pitch: float) -> None:
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    margin = max(1.2 * pitch, 0.02 * max(right - left, bottom - top))
    ax.set_xlim(left - margin, right + margin)
    ax.set_ylim(bottom + margin, top - margin)  # y grows downwards, as in the image
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _scale_bar(ax: "Axes", points: np.ndarray, um_per_unit: float | None) -> None:
    """Draw a bar of a round length, at most a quarter of the tissue's width, below the tissue."""
    width = float(np.ptp(points[:, 0]))
    if um_per_unit is None or width == 0:
        return
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    fitting = _BAR_UM[_BAR_UM <= width * um_per_unit / 4]
    if len(fitting) == 0:
        return
    um = int(fitting[-1])
    label = f"{um // 1000} mm" if um >= 1000 else f"{um} µm"
    ax.add_artist(
        AnchoredSizeBar(
            ax.transData, um / um_per_unit, label, loc="upper right", bbox_to_anchor=(1, 0),
            bbox_transform=ax.transAxes, pad=0.1, borderpad=0.2, sep=3, frameon=False, size_vertical=0.006 * width,
        )
    )  # fmt: skip


def color_by(spots: Any, values: np.ndarray, cmap: str, vmin: float, vmax: float) -> None:
    """Colour spots by a number; NaN is grey."""
    import matplotlib as mpl

    colormap = mpl.colormaps[cmap].with_extremes(bad=UNLABELLED)
    spots.set(array=np.ma.masked_invalid(values), cmap=colormap)
    spots.set_clim(vmin, vmax)


def add_colorbar(axes: "Axes | Sequence[Axes]", mappable: Any, label: str) -> None:
    """Put one slim colour bar beside the Axes, or beside all of several."""
    bar = mappable.figure.colorbar(mappable, ax=axes, shrink=0.6, aspect=18, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)


def add_legend(ax: "Axes", colors: dict[str, str], title: str, *, unlabelled: str | None = None) -> None:
    """Put a legend with one dot per category to the right of the Axes, in columns of at most 14."""
    from matplotlib.lines import Line2D

    entries = {**colors, **({"unlabelled": unlabelled} if unlabelled is not None else {})}
    dots = [
        Line2D([], [], linestyle="", marker="o", markersize=7, markerfacecolor=color, markeredgewidth=0, label=name)
        for name, color in entries.items()
    ]
    ax.legend(
        handles=dots, title=title, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False,
        ncols=-(-len(dots) // 14), handletextpad=0.3, columnspacing=1.0, alignment="left",
    )  # fmt: skip
