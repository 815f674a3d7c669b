"""Align sections by optimal transport of their spots, as PASTE does, on samples of bounded size.

Fused Gromov-Wasserstein transport matches spots with similar expression and similar distances to all other spots;
distances do not change by rotation or mirroring, so no start is needed. The rigid transform is the weighted Procrustes
solution over the transport plan.

Where we differ from PASTE, and why: the plan is found between seeded samples of at most ``n_sample`` spots (the full
one is dense and quadratic); expression is compared by smoothed principal components shared by the sections, without
batch effects (PASTE: Kullback-Leibler divergence of counts, dominated by depth and dropout); mirror images are allowed.

Zeira, Land, Strzalkowski, Raphael. Nature Methods 19: 567-575, 2022.
"""

import warnings

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from histoquilt._base import require
from histoquilt.align._transform import Similarity, procrustes

MOST_SAMPLED = 2000  # so that the three dense arrays take less than 100 MB
SPACE_WEIGHT = 0.1  # alpha of PASTE: weight of distances against expression


def fit_transport(
    moving: tuple[np.ndarray, np.ndarray],
    fixed: tuple[np.ndarray, np.ndarray],
    *,
    mirror: bool,
    n_sample: int,
    seed: int,
) -> list[Similarity]:
    """Match samples of two sections by fused Gromov-Wasserstein transport and return candidate rigid transforms.

    The transform closest to the transport plan comes first, then the mirrored one and quarter turns, to be chosen by
    expression: distances do not distinguish mirror images, nor half turns of nearly symmetric tissue.

    Parameters
    ----------
    moving, fixed
        Coordinates ``(n_spots, 2)`` in microns and features ``(n_spots, n_features)``.
    mirror
        If true, the section may be mirrored.
    n_sample, seed
        Number of spots of each section that are matched, and random seed of these samples.

    Raises
    ------
    ImportError
        POT is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.align import Similarity, fit_transport
    >>> corner = np.array([[x, y] for x in range(12) for y in range(8) if x < 5 or y < 3]) * 100.0
    >>> features = np.sin(corner / 300)
    >>> moves = fit_transport(
    ...     (Similarity.turn(0.5)(corner), features), (corner, features), mirror=False, n_sample=100, seed=0
    ... )
    >>> round(moves[0].angle_deg / 5) * 5, len(moves)  # -0.5 radians are -29 degrees; then quarter turns
    (-30, 4)
    """
    ot = require("ot", extra="align", purpose="Alignment by PASTE")
    rng = np.random.default_rng(seed)
    (xy_a, features_a), (xy_b, features_b) = (_sample(section, n_sample, rng) for section in (moving, fixed))
    space_a, space_b = cdist(xy_a, xy_a), cdist(xy_b, xy_b)
    unit = np.median(space_b)
    expression = cdist(features_a, features_b)
    expression /= np.median(expression)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence: the caller checks the residual
        plan = ot.gromov.fused_gromov_wasserstein(
            expression, space_a / unit, space_b / unit, alpha=SPACE_WEIGHT, tol_rel=1e-6, max_iter=100
        )
    plan = np.asarray(plan)
    mass = plan.sum(axis=1)
    partner = plan @ xy_b / mass[:, None]
    moves = [procrustes(xy_a, partner, mass, mirrored=mirrored) for mirrored in ((False, True) if mirror else (False,))]
    moves.sort(key=lambda move: float(mass @ ((move(xy_a) - partner) ** 2).sum(axis=1)))
    return [_turned(move, quarters, xy_b.mean(axis=0)) for quarters in range(4) for move in moves]


def _turned(move: Similarity, quarters: int, centre: np.ndarray) -> Similarity:
    turn = Similarity.turn(quarters * np.pi / 2)
    return move.then(Similarity(turn.matrix, centre - turn(centre)))


def _sample(
    section: tuple[np.ndarray, np.ndarray], n_sample: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return at most ``n_sample`` spots, each with the mean of the spots nearest to it."""
    xy, features = section
    if len(xy) <= n_sample:
        return xy, features
    rows = np.sort(rng.permutation(len(xy))[:n_sample])
    nearest = cKDTree(xy[rows]).query(xy)[1]
    counts = np.bincount(nearest, minlength=n_sample)
    means = np.stack([np.bincount(nearest, column, n_sample) for column in features.T], axis=1) / counts[:, None]
    centres = np.stack([np.bincount(nearest, column, n_sample) for column in xy.T], axis=1) / counts[:, None]
    return centres, means
