"""The pixels around each spot, kept in the section, for models that learn from pixels."""

import numpy as np
from anndata import AnnData

from histoquilt import __version__
from histoquilt._base import Keys, SlideImage, check_mpp, check_positive
from histoquilt.im._as_slide import as_slide
from histoquilt.im._patches import log_padding, plan_fields
from histoquilt.im._stain import stain_statistics, write_stain
from histoquilt.study import check_adata, check_inside, check_spatial, provenance, warn_of_few_outside, write_result


def cut_patches(
    adata: AnnData,
    image: SlideImage | np.ndarray,
    *,
    mpp: float,
    field_um: float = 112.0,
    px: int = 32,
    spatial_key: str = Keys.SPATIAL,
    key_added: str = "patches",
    image_scale: float = 1.0,
) -> None:
    """Keep the pixels around each spot in the section, for an image branch that is trained on them.

    The patches are kept whole, ``3 * px**2`` bytes a spot; to describe them by an encoder, see :func:`embed_patches`.
    What is recorded lets a trained model cut a bare slide in the same way.

    Parameters
    ----------
    adata
        One section; ``obsm[spatial_key]`` holds spot centres ``(x, y)`` in full-resolution pixels.
    image
        Opened slide (:func:`histoquilt.io.open_slide`), or RGB uint8 ``(height, width, 3)``.
    mpp
        Microns per full-resolution pixel, the unit of the spot centres.
    field_um
        Side of the field in microns.
    px
        Side of a patch in pixels: the field is resampled to it.
    spatial_key
        Where the spot centres are.
    key_added
        Where the patches go.
    image_scale
        Full-resolution pixels per pixel of `image`; see :func:`embed_patches`.

    Returns
    -------
    None. Adds to ``adata``:

    `obsm[key_added]` : uint8, ``(n_spots, px * px * 3)``, rows of pixels, each red, green and blue
    `uns["histoquilt"][key_added]` : dict with ``field_um``, ``px``, ``mpp``, ``image_scale``, ``n_padded`` and the
    version, ``histoquilt``
    `obsm["X_stain"]` : their stain, as :func:`embed_patches` writes it

    Raises
    ------
    KeyError
        `spatial_key` is not in ``adata.obsm``.
    TypeError
        `image` is neither a slide nor an array.
    ValueError
        `mpp`, `field_um`, `px` or `image_scale` is absurd; or more than half of the spots lie outside `image`.

    See Also
    --------
    histoquilt.models.MclSTExp : learns from these with ``MclSTExpConfig.trainable()``.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata, slide = hq.datasets.toy_slide(n_spots=100, mpp=4.0)
    >>> hq.im.cut_patches(adata, slide, mpp=4.0, px=16)
    >>> adata.obsm["patches"].shape
    (100, 768)
    """
    check_adata(adata)
    slide = as_slide(image)
    check_mpp(mpp)
    check_positive(image_scale, "image_scale")
    centres = check_spatial(adata, spatial_key)[:, :2] / image_scale
    check_inside(adata, slide, centres, image_scale=image_scale)
    warn_of_few_outside(slide, centres)
    fields = plan_fields(slide, centres, mpp=mpp * image_scale, field_um=[field_um], out_px=px)
    [n_padded] = log_padding(fields, [field_um])
    [patches] = fields.cut(0, len(centres))
    write_result(adata, "obsm", key_added, patches.reshape(len(patches), -1))
    provenance(adata)[key_added] = {
        "field_um": float(field_um),
        "px": int(px),
        "mpp": float(mpp),
        "image_scale": float(image_scale),
        "n_padded": n_padded,
        "histoquilt": __version__,
    }
    write_stain(adata, [stain_statistics(patches)], field_um=field_um, out_px=px)
