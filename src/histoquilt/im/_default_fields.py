"""Default widths of the fields around a spot, from the distance between spots."""

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.io import pitch
from histoquilt.study import check_spatial

LEAST_FIELD_UM = 50.0  # bins and cells are closer than the width of tissue that an encoder can describe
MULTIPLES = (1.0, 0.5, 2.0, 4.0)  # of the pitch; the first is the field of methods that use a single patch


def spot_pitch(adata: AnnData, *, mpp: float, spatial_key: str = Keys.SPATIAL) -> float:
    """Return the distance between neighbouring spots in microns.

    Parameters
    ----------
    adata
        One section; ``obsm[spatial_key]`` holds spot centres in pixels.
    mpp
        Microns per pixel.
    spatial_key
        Key in ``obsm`` of the spot centres.

    Returns
    -------
    The pitch that the reader recorded, else the measured one (:func:`histoquilt.io.pitch`) to the nearest 10 microns.

    Raises
    ------
    KeyError
        ``spatial_key`` is not in ``adata.obsm``.
    """
    recorded = adata.uns.get(Keys.UNS, {}).get(Keys.COORDINATES, {}).get("pitch_um")
    return float(recorded or 10 * round(pitch(check_spatial(adata, spatial_key)[:, :2] * mpp) / 10))


def default_fields(*pitch_um: float) -> list[float]:
    """Return default widths of the fields around a spot: once, half, twice and four times the distance between spots.

    Parameters
    ----------
    pitch_um
        Distance between the spots of each section in microns (:func:`spot_pitch`). Their median counts, at least 50.

    Returns
    -------
    Four widths in microns, that of the single patch first.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.im.default_fields(100.0, 200.0, 200.0)
    [200.0, 100.0, 400.0, 800.0]
    """
    once = max(float(np.median(pitch_um)), LEAST_FIELD_UM)
    return [once * multiple for multiple in MULTIPLES]
