"""A small picture of the slide, stored with the spots, so that maps show tissue after the slide is closed."""

import numpy as np
from anndata import AnnData
from scipy.spatial import cKDTree

from histoquilt._base import Keys, SlideImage, check_positive
from histoquilt.im._as_slide import Thumbnail, as_slide, resample, thumbnail
from histoquilt.im._tissue import TissueMask
from histoquilt.study import check_spatial, image_libraries

LOWRES_PX = 600  # longest side, as Space Ranger makes it


def attach_picture(
    adata: AnnData,
    image: SlideImage | np.ndarray,
    *,
    image_scale: float = 1.0,
    spatial_key: str = Keys.SPATIAL,
    tissue: TissueMask | None = None,
) -> None:
    """Store a small picture of a section's image, on which plots and reports draw the spots.

    A section that already has a picture, as those of Space Ranger, keeps it. :func:`grid_spots` calls this.

    Parameters
    ----------
    adata, image, image_scale, spatial_key
        As in :func:`embed_patches`. The image is read in blocks.
    tissue
        Mask of this slide, if there is one: its small image saves reading the slide again.

    Returns
    -------
    None. Adds to `adata`:

    ``uns["spatial"][name of the slide]`` : ``images["lowres"]`` (uint8, longest side at most 600 pixels),
    ``scalefactors`` (``tissue_lowres_scalef``, ``spot_diameter_fullres``: the distance of neighbouring spots) and
    ``metadata``, named as squidpy reads them

    Raises
    ------
    KeyError
        There are no spot centres.
    TypeError, ValueError
        `image` is neither a slide nor an array, or ``image_scale`` is not positive.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata, slide = hq.datasets.toy_slide(n_spots=100, mpp=4)
    >>> del adata.uns["spatial"]
    >>> hq.im.attach_picture(adata, slide)
    >>> list(adata.uns["spatial"]), adata.uns["spatial"]["array"]["images"]["lowres"].dtype
    (['array'], dtype('uint8'))
    """
    slide = as_slide(image)
    check_positive(image_scale, "image_scale")
    centres = check_spatial(adata, spatial_key)[:, :2]
    if image_libraries(adata):
        return
    pixels, share = _shrunk(slide, tissue)
    factors = {"tissue_lowres_scalef": share / image_scale}
    if len(centres) > 1:
        nearest = cKDTree(centres).query(centres, k=2)[0][:, 1]
        factors["spot_diameter_fullres"] = float(np.median(nearest))
    stored = adata.uns.get(Keys.SPATIAL)
    adata.uns[Keys.SPATIAL] = {
        **(stored if isinstance(stored, dict) else {}),
        slide.name: {
            "images": {"lowres": pixels},
            "scalefactors": factors,
            "metadata": {"source": "histoquilt.im.attach_picture"},
        },
    }


def _shrunk(slide: SlideImage, tissue: TissueMask | None) -> tuple[np.ndarray, float]:
    """Return the picture, and its pixels per pixel of the slide."""
    share = min(1.0, LOWRES_PX / max(slide.width, slide.height))
    if tissue is not None and tissue.step_px * share <= 1:
        small = Thumbnail(tissue.image, tissue.step_px)
    else:
        small = thumbnail(slide, int(1 / share))
    width, height = max(1, int(slide.width * share)), max(1, int(slide.height * share))
    rows, columns = small.pixels.shape[:2]
    right, bottom = (min(size / share / small.step_px, most) for size, most in ((width, columns), (height, rows)))
    return resample(small.pixels, (width, height), box=(0, 0, right, bottom)), share
