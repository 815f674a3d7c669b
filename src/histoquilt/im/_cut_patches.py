"""The pixels around each spot, stored in the section, for models that train on pixels."""

import numpy as np
from anndata import AnnData

from histoquilt import __version__
from histoquilt._base import Keys, SlideImage
from histoquilt.im._as_slide import check_placed
from histoquilt.im._patches import log_padding, plan_fields
from histoquilt.im._stain import stain_statistics, write_stain
from histoquilt.study import provenance, warn_of_few_outside, write_result


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
    """Store the pixels around each spot in the section, for models with a trainable image branch.

    Patches take ``3 * px**2`` bytes per spot; :func:`embed_patches` describes them by an encoder instead. The settings
    are recorded, so that a trained model cuts a bare slide in the same way.

    Parameters
    ----------
    adata, image, mpp, spatial_key, image_scale
        As in :func:`embed_patches`.
    field_um, px
        Side of the field in microns, and of the resampled patch in pixels.
    key_added
        Key in ``obsm`` of the patches.

    Returns
    -------
    None. Adds to ``adata``:

    `obsm[key_added]` : uint8, ``(n_spots, px * px * 3)``, rows of pixels, each red, green and blue
    `uns["histoquilt"][key_added]` : dict with ``field_um``, ``px``, ``mpp``, ``image_scale``, ``n_padded`` and the
    version, ``histoquilt``
    `obsm["X_stain"]` : their stain, as :func:`embed_patches` writes it

    Raises
    ------
    KeyError, TypeError, ValueError
        As :func:`embed_patches`; `px` is absurd.

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
    slide, centres = check_placed(adata, image, mpp, image_scale, spatial_key)
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
