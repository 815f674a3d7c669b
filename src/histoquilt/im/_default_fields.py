"""Default widths of the fields around a spot, from the distance between spots."""

import numpy as np

LEAST_FIELD_UM = 50.0  # bins and cells are closer than the width of tissue that an encoder can describe
MULTIPLES = (1.0, 0.5, 2.0, 4.0)  # of the pitch; the first is the field of methods that use a single patch


def default_fields(*pitch_um: float) -> list[float]:
    """Return default widths of the fields around a spot: once, half, twice and four times the distance between spots.

    Parameters
    ----------
    pitch_um
        Distance between the spots of each section in microns. Their median counts, at least 50.

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
