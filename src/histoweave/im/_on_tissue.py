"""Do the spots of a section lie on the tissue of its image? Where they do not, every later step is wrong."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData

from histoweave._checks import check_adata, check_positive, check_spatial
from histoweave._keys import Keys
from histoweave._outside import check_inside, is_outside
from histoweave._runtime import warn_user
from histoweave._types import SlideImage
from histoweave.im._as_slide import as_slide, check_mpp
from histoweave.im._tissue import tissue_mask

LEAST_ON_TISSUE = 0.8  # share of spots; the rest are at the rim, in tears and vessels, on real sections


@dataclass(frozen=True)
class OnTissue:
    """What :func:`check_on_tissue` found; enough to draw it.

    Attributes
    ----------
    fraction
        Share of the spots that lie on tissue.
    spots
        One row a spot, named as in the section: ``x`` and ``y`` in pixels of `image`, ``tissue_fraction`` (share of
        tissue under the spot), ``on_tissue`` and ``outside`` (of the image).
    image
        The slide at low resolution, uint8 ``(rows, columns, 3)``.
    mask
        Its tissue, bool ``(rows, columns)``.
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
) -> OnTissue:
    """Check that the spots of a section lie on the tissue of its image.

    Parameters
    ----------
    adata
        One section, ``obsm[spatial_key]`` holds spot centres in full-resolution pixels. Nothing is written.
    image
        Opened slide (:func:`histoweave.io.open_slide`), or RGB uint8 ``(height, width, 3)``.
    mpp
        Microns per full-resolution pixel, the unit of the spot centres.
    image_scale
        Full-resolution pixels per pixel of `image`.
    spot_um
        Side of the square looked at under each spot, in microns.
    spatial_key
        Where the spot centres are.

    Returns
    -------
    OnTissue
        With a warning where fewer than 80 % of the spots have tissue under half of them.

    Raises
    ------
    KeyError
        `spatial_key` is not in ``adata.obsm``.
    ValueError
        More than half of the spots lie outside the image, the slide has no tissue, or a number is absurd.

    Examples
    --------
    >>> import histoweave as hw
    >>> adata, slide = hw.datasets.toy_slide(n_spots=100, mpp=4)
    >>> hw.im.check_on_tissue(adata, slide, mpp=4).fraction
    1.0
    """
    check_adata(adata)
    slide = as_slide(image)
    check_mpp(mpp)
    check_positive(image_scale, "image_scale")
    centres = check_spatial(adata, spatial_key)[:, :2] / image_scale
    check_inside(adata, slide, centres, image_scale=image_scale)
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
    if fraction < LEAST_ON_TISSUE:
        warn_user(
            f"Only {fraction:.0%} of {len(spots):,} spots lie on the tissue of {slide.name} "
            f"({int(spots['outside'].sum()):,} lie outside the image). Is it the image of this section, unrotated and "
            "unmirrored, and does image_scale fit? Look at it with histoweave.pl."
        )
    return OnTissue(fraction, spots, tissue.image, tissue.mask)
