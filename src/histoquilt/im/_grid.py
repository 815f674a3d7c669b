"""Layout by spot distance: a grid over the tissue of a bare slide, and default sides of fields."""

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, SlideImage, check_mpp, check_positive, either
from histoquilt.im._as_slide import as_slide
from histoquilt.im._picture import attach_picture
from histoquilt.im._tissue import TissueMask, tissue_mask
from histoquilt.runtime import logger
from histoquilt.study import provenance, write_result

LEAST_FIELD_UM = 50.0  # bins and cells are closer than an encoder can describe
MULTIPLES = (1.0, 0.5, 2.0, 4.0)  # of the pitch; the first is the field of methods that use a single patch


def grid_spots(
    image: SlideImage | np.ndarray,
    *,
    mpp: float,
    pitch_um: float = 100.0,
    least_tissue: float = 0.5,
    tissue: TissueMask | None = None,
) -> AnnData:
    """Lay a square grid of spots over the tissue of a slide.

    The grid starts half a pitch from the upper left corner of the slide, so that a place always has the same name.

    Parameters
    ----------
    image, mpp
        Opened slide (:func:`histoquilt.io.open_slide`), or RGB uint8 ``(height, width, 3)``; and its microns per
        full-resolution pixel.
    pitch_um
        Distance between neighbouring spots in microns.
    least_tissue
        Minimum share of tissue in a spot's square of ``pitch_um``, 0 to 1.
    tissue
        Mask of this slide; by default made by :func:`tissue_mask`.

    Returns
    -------
    AnnData ``(n_spots, 0)``, spots row by row from the top, named ``x{column}_y{row}``, with

    ``obs`` : ``array_col``, ``array_row``, ``tissue_fraction`` (float32)
    ``obsm["spatial"]`` : float64 ``(x, y)`` in full-resolution pixels of the slide
    ``obsm["spatial_um"]`` : the same in microns
    ``uns["histoquilt"]["coordinates"]`` : ``unit`` pixel, ``mpp``, ``pitch_um``
    ``uns["histoquilt"]["image"]`` : ``path``, ``image_scale`` 1, ``mpp``, if the slide has a file
    ``uns["spatial"]`` : a small picture of the slide (:func:`attach_picture`)

    Raises
    ------
    TypeError, ValueError
        `image` is neither a slide nor an array; a number is absurd; or no square of the grid has enough tissue.

    Examples
    --------
    >>> import histoquilt as hq
    >>> _, slide = hq.datasets.toy_slide(n_spots=100, mpp=4)
    >>> spots = hq.im.grid_spots(slide, mpp=4, pitch_um=200)
    >>> spots.obs_names[0], spots.n_vars
    ('x2_y1', 0)
    """
    slide = as_slide(image)
    mpp = check_mpp(mpp)
    check_positive(pitch_um, "pitch_um")
    if not 0 <= least_tissue <= 1:
        raise ValueError(f"least_tissue is a share, 0 to 1, got {least_tissue}.")
    pitch_px = pitch_um / mpp
    if pitch_px < 1:
        pitch = either(f"pitch_um={pitch_um:g}", f"--pitch-um {pitch_um:g}")
        raise ValueError(f"{pitch} is less than one pixel of the slide ({mpp:g} um). Pass a larger pitch.")
    tissue = tissue_mask(slide, mpp=mpp) if tissue is None else tissue
    rows, columns = int(slide.height / pitch_px), int(slide.width / pitch_px)
    row, column = (index.ravel() for index in np.indices((rows, columns)))
    centres = (np.stack([column, row], axis=1) + 0.5) * pitch_px
    fraction = tissue.fraction(centres, pitch_um)
    keep = (fraction >= least_tissue) & (fraction > 0)
    if not keep.any():
        raise ValueError(
            f"No square of {pitch_um:g} um on {slide.name} has {least_tissue:.0%} tissue ({tissue.area_mm2:.2g} mm2 in "
            f"all; the fullest has {fraction.max(initial=0):.0%}). Pass a smaller pitch_um, or a lower least_tissue."
        )
    row, column, centres = row[keep], column[keep], centres[keep]
    logger.info("%d spots, %g um apart, on %.3g mm2 of tissue of %s", len(row), pitch_um, tissue.area_mm2, slide.name)
    obs = pd.DataFrame(
        {"array_col": column, "array_row": row, "tissue_fraction": fraction[keep]},
        index=[f"x{x}_y{y}" for x, y in zip(column, row, strict=True)],
    )
    adata = AnnData(np.empty((len(obs), 0), dtype=np.float32), obs=obs)
    adata.obsm[Keys.SPATIAL] = centres
    write_result(adata, "obsm", Keys.IN_MICRONS, centres * mpp)
    provenance(adata)[Keys.COORDINATES] = {"unit": "pixel", "mpp": mpp, "pitch_um": float(pitch_um)}
    path = getattr(slide, "path", None)
    if path is not None:
        provenance(adata)[Keys.IMAGE] = {"path": str(path), "image_scale": 1.0, "mpp": mpp}
    attach_picture(adata, slide, tissue=tissue)
    return adata


def default_fields(*pitch_um: float) -> list[float]:
    """Return default sides of the fields around a spot: one, half, two and four times the spot distance.

    Parameters
    ----------
    pitch_um
        Spot distance of each section in microns; their median is used, at least 50.

    Returns
    -------
    Four sides in microns; the first is that of models with a single patch.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.im.default_fields(100.0, 200.0, 200.0)
    [200.0, 100.0, 400.0, 800.0]
    """
    once = max(float(np.median(pitch_um)), LEAST_FIELD_UM)
    return [once * multiple for multiple in MULTIPLES]
