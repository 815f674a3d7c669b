"""Spots over the picture of their slide: those beside the tissue are marked."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from histoquilt.im import OnTissue

ON, OFF, OUTSIDE = "#0072b2", "#d55e00", "#96003c"


def spots_on_tissue(found: "OnTissue", *, outline: bool = True, size: float = 9.0, ax: "Axes | None" = None) -> "Axes":
    """Plot spots over their slide, and mark those that are not on tissue.

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
    The Axes: spots on tissue are blue rings, spots off tissue orange crosses, spots outside the image dark red
    crosses.

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
    import matplotlib.pyplot as plt

    if not hasattr(found, "spots") or not hasattr(found, "mask"):
        raise TypeError(
            f"Expected what histoquilt.im.check_on_tissue(adata, slide, mpp=...) returns, got {type(found).__name__}."
        )
    if ax is None:
        ax = plt.subplots(figsize=(5.6, 5.2), layout="constrained")[1]
    ax.imshow(found.image, interpolation="bilinear", zorder=0)
    if outline and found.mask.any() and not found.mask.all():
        ax.contour(found.mask.astype(float), [0.5], colors="0.25", linewidths=0.8, zorder=1)
    outside = found.spots["outside"].to_numpy(dtype=bool)
    on = found.spots["on_tissue"].to_numpy(dtype=bool) & ~outside
    places = found.spots[["x", "y"]].to_numpy()
    if on.any():
        ax.scatter(places[on, 0], places[on, 1], s=size, facecolors="none", edgecolors=ON, linewidths=0.8, zorder=2,
                   label=f"on tissue: {on.sum():,}")  # fmt: skip
    for members, color, label in ((~on & ~outside, OFF, "beside tissue"), (outside, OUTSIDE, "outside the image")):
        if members.any():
            x, y = places[members].T
            ax.scatter(x, y, s=3 * size, marker="x", color=color, linewidths=1.4, zorder=3,
                       label=f"{label}: {members.sum():,}")  # fmt: skip
    height, width = found.mask.shape
    shown = np.vstack([places, [[0, 0], [width, height]]])  # spots outside the image are shown as well
    (left, top), (right, bottom) = shown.min(axis=0), shown.max(axis=0)
    ax.set(xlim=(left - 2, right + 2), ylim=(bottom + 2, top - 2), xticks=[], yticks=[])
    ax.set_aspect("equal")
    ax.spines[:].set_visible(False)
    ax.set_title(f"{found.fraction:.0%} of {len(found.spots):,} spots on tissue", fontsize="medium")
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3)
    return ax
