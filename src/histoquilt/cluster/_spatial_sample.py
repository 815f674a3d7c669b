"""Sample spots evenly over the tissue, for steps that do not need all spots."""

import numpy as np

from histoquilt.metrics import z_order

SAMPLE_ABOVE = 50_000  # spots; a mixture is fitted on a sample of this size if there are more


def spatial_sample(
    n_spots: int, spatial: np.ndarray | None, sections: np.ndarray | None = None, *, seed: int = 0
) -> np.ndarray | None:
    """Draw a spatially even sample of 50,000 spots: one from each of equal stretches of a path over the tissue.

    Every region and every section contributes its share, to within one spot. Spot centres are ``(n_spots, >= 2)``;
    without them a plain random sample is drawn. ``sections`` ``(n_spots,)`` name the section of every spot. Returns
    sorted row numbers, or ``None`` if there are at most 50,000 spots.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import spatial_sample
    >>> print(spatial_sample(20_000, None))
    None
    >>> line = np.array([np.arange(60_000), np.zeros(60_000)]).T
    >>> rows = spatial_sample(60_000, line)
    >>> len(rows), int(np.diff(rows).max())  # no gap in the tissue
    (50000, 2)
    """
    if n_spots <= SAMPLE_ABOVE:
        return None
    rng = np.random.default_rng(seed)
    if spatial is None:
        return np.sort(rng.choice(n_spots, SAMPLE_ABOVE, replace=False))
    codes = np.zeros(n_spots, int) if sections is None else np.unique(sections, return_inverse=True)[1]
    of_section = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    walk = np.concatenate([rows[z_order(spatial[rows])] for rows in of_section])
    edges = np.linspace(0, n_spots, SAMPLE_ABOVE + 1).astype(int)
    return np.sort(walk[rng.integers(edges[:-1], edges[1:])])
