"""Check that the spots of a section lie on the tissue of its image; otherwise every later step is wrong."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, SlideImage, either
from histoquilt.im._as_slide import check_placed
from histoquilt.im._placement import better_placement, exchanged_fraction
from histoquilt.im._tissue import TissueMask, tissue_mask
from histoquilt.runtime import warn_user
from histoquilt.study import is_outside

# Real sections have 0.91 to 1.0. Fat and lumina count as glass, so that fewer may be right, but hardly less than half.
LEAST_ON_TISSUE = 0.8  # share of spots: warn below
LEAST_TO_GO_ON = 0.5  # raise below, if strict
EXCHANGED_IS_BETTER = 0.1  # round tissue fits with exchanged axes (0.52 to 0.93 on real sections), but less well


@dataclass(frozen=True)
class OnTissue:
    """Result of :func:`check_on_tissue`.

    Attributes
    ----------
    fraction
        Share of the spots that lie on tissue.
    spots
        One row per spot, named as in the section: ``x`` and ``y`` in pixels of `image`, ``tissue_fraction`` (share of
        tissue under the spot), ``on_tissue`` and ``outside`` (of the image).
    image, mask
        The slide at low resolution, uint8 ``(rows, columns, 3)``, and its tissue, bool ``(rows, columns)``.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from anndata import AnnData
    >>> image = np.full((400, 400, 3), 240, np.uint8)
    >>> image[100:300, 100:300] = (200, 120, 170)  # a square of tissue on glass
    >>> centres = np.array([[150.0, 150], [250, 150], [150, 250], [250, 250], [30, 30]])
    >>> found = hq.im.check_on_tissue(AnnData(np.ones((5, 1)), obsm={"spatial": centres}), image, mpp=4)
    >>> found.fraction, found.spots["on_tissue"].tolist()
    (0.8, [True, True, True, True, False])
    """

    fraction: float
    spots: pd.DataFrame
    image: np.ndarray
    mask: np.ndarray


def check_on_tissue(
    adata: AnnData,
    image: SlideImage | np.ndarray,
    *,
    mpp: float,
    image_scale: float = 1.0,
    spot_um: float = 55.0,
    spatial_key: str = Keys.SPATIAL,
    strict: bool = False,
) -> OnTissue:
    """Check that the spots of a section lie on the tissue of its image.

    Parameters
    ----------
    adata, image, mpp, image_scale, spatial_key
        As in :func:`embed_patches`; nothing is written.
    spot_um
        Side of the square examined under each spot, in microns.
    strict
        If true, raise if the placement is plainly wrong: fewer than 50 % of the spots lie on tissue, or exchanging x
        and y would bring 80 % onto it and at least 10 % more than now. ``histoquilt train``, ``predict`` and
        ``evaluate`` use this before they embed.

    Returns
    -------
    OnTissue. Warns if fewer than 80 % of the spots are at least half covered by tissue, and names a scale that fits.

    Raises
    ------
    KeyError
        `spatial_key` is not in ``adata.obsm``.
    ValueError
        More than half of the spots lie outside the image, the slide has no tissue, a number is absurd; or, if
        `strict`, the placement is wrong.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata, slide = hq.datasets.toy_slide(n_spots=100, mpp=4)
    >>> hq.im.check_on_tissue(adata, slide, mpp=4).fraction
    1.0
    """
    slide, centres = check_placed(adata, image, mpp, image_scale, spatial_key)
    tissue = tissue_mask(slide, mpp=mpp * image_scale)
    share = tissue.fraction(centres, spot_um)
    spots = pd.DataFrame(
        {
            "x": centres[:, 0] / tissue.step_px,
            "y": centres[:, 1] / tissue.step_px,
            "tissue_fraction": share,
            "on_tissue": share >= 0.5,
            "outside": is_outside(slide, centres),
        },
        index=adata.obs_names,
    )
    fraction = float(spots["on_tissue"].mean())
    refused = strict and _is_wrong(fraction, tissue, centres)
    if refused or fraction < LEAST_ON_TISSUE:
        text = (
            f"Only {fraction:.0%} of {len(spots):,} spots lie on the tissue of {slide.name} "
            f"({int(spots['outside'].sum()):,} lie outside the image). "
            f"{_advice(adata, tissue, centres, image_scale, spatial_key)}"
        )
        if refused:
            raise ValueError(text)
        warn_user(text)
    return OnTissue(fraction, spots, tissue.image, tissue.mask)


def _is_wrong(fraction: float, tissue: TissueMask, centres: np.ndarray) -> bool:
    if fraction < LEAST_TO_GO_ON:
        return True
    better = exchanged_fraction(tissue, centres)
    return better >= LEAST_ON_TISSUE and better - fraction >= EXCHANGED_IS_BETTER


def _advice(adata: AnnData, tissue: TissueMask, centres: np.ndarray, image_scale: float, spatial_key: str) -> str:
    """Return which scale or order of the axes would fit."""
    found = better_placement(adata, tissue, centres, image_scale)
    if found is None:
        return (
            "No image_scale would change that. Check that it is the image of this section, unrotated and unmirrored "
            "(histoquilt.pl.spots_on_tissue draws both)."
        )
    order = f"x and y exchanged: obsm[{spatial_key!r}] must be (x, y), not (row, column)"
    if found.image_scale is None:
        return f"{found.fraction:.0%} would with {order}."
    what = f" ({found.name})" if found.name else ", estimated from the extent of the tissue"
    also = f", and {order}" if found.exchanged else ""
    remedy = either(
        "Pass image_scale= (the column image_scale of samples.csv)", "Fill the column image_scale of samples.csv"
    )
    return (
        f"The coordinates seem to be in pixels of another image: {found.fraction:.0%} would lie on it with "
        f"image_scale={found.image_scale:.3g}{what}{also}. {remedy}, or the image that the coordinates belong to."
    )
