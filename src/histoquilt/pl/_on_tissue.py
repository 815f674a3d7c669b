"""Spots on a picture of their slide, with those off the tissue marked."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from histoquilt.pl._figure import BLUE, ORANGE, new_axes, set_frame

if TYPE_CHECKING:
    from histoquilt.im import OnTissue


def spots_on_tissue(found: "OnTissue", *, outline: bool = True, size: float = 9.0, ax: Axes | None = None) -> Axes:
    """Plot spots on their slide, and mark those that are not on tissue.

    Parameters
    ----------
    found
        Result of :func:`histoquilt.im.check_on_tissue`.
    outline
        If true, draw the outline of the detected tissue.
    size
        Area of a spot's marker in points squared.
    ax
        Axes to plot into; new ones by default.

    Returns
    -------
    The Axes: rings are spots on tissue, orange crosses off tissue, dark red crosses outside the image.

    Raises
    ------
    TypeError
        ``found`` is of another type.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata, slide = hq.datasets.toy_slide(n_spots=100, mpp=4)
    >>> hq.pl.spots_on_tissue(hq.im.check_on_tissue(adata, slide, mpp=4)).get_title()
    '100% of 100 spots on tissue'
    """
    if not hasattr(found, "spots") or not hasattr(found, "mask"):
        raise TypeError(
            f"Expected what histoquilt.im.check_on_tissue(adata, slide, mpp=...) returns, got {type(found).__name__}."
        )
    ax = new_axes(ax, 5.6, 5.2)
    ax.imshow(found.image, interpolation="bilinear", zorder=0)
    if outline and found.mask.any() and not found.mask.all():
        ax.contour(found.mask.astype(float), [0.5], colors="0.25", linewidths=0.8, zorder=1)
    outside = found.spots["outside"].to_numpy(dtype=bool)
    on = found.spots["on_tissue"].to_numpy(dtype=bool) & ~outside
    places = found.spots[["x", "y"]].to_numpy()
    ring: dict[str, Any] = {"s": size, "facecolors": "none", "edgecolors": BLUE, "linewidths": 0.8, "zorder": 2}
    cross: dict[str, Any] = {"s": 3 * size, "marker": "x", "linewidths": 1.4, "zorder": 3}
    for members, label, style in (
        (on, "on tissue", ring),
        (~on & ~outside, "beside tissue", {**cross, "color": ORANGE}),
        (outside, "outside the image", {**cross, "color": "#96003c"}),
    ):
        if members.any():
            ax.scatter(*places[members].T, label=f"{label}: {members.sum():,}", **style)
    shown = np.vstack([places, [[0, 0], found.mask.shape[::-1]]])  # spots outside the image are shown as well
    set_frame(ax, shown.min(axis=0), shown.max(axis=0), 2)
    ax.set_title(f"{found.fraction:.0%} of {len(found.spots):,} spots on tissue", fontsize="medium")
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3)
    return ax
