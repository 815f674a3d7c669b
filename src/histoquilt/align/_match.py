"""Fit two overlapping pieces of one tissue by spots with similar expression: RANSAC, then a local search.

All transforms are tried in a few array operations; ``skimage.measure.ransac`` takes 12 times as long (2,000 matches,
4,000 trials: 0.9 s, 0.07 s).
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from histoquilt.align._expression import Agreement
from histoquilt.align._transform import Similarity, procrustes

MOST_MATCHED = 5000  # spots of each section that are matched
N_CANDIDATES = 6  # nearest spots in expression that may be mutual
N_TRIALS = 4000
N_ROUNDS = 3  # of matching; after each, the batch effect in the overlap is subtracted
NEAR_PITCHES = 3.0  # largest distance of matches that agree with a transform
LEAST_APART_PITCHES = 8.0  # closer pairs of spots give no reliable angle
SCALES = (0.1, 10.0)
CHUNK = 500  # transforms tried at a time: bounds memory


@dataclass(frozen=True)
class Fit:
    """How one piece fits another."""

    move: Similarity
    n_agree: int  # matches that agree with the transform
    n_chance: int  # the same for the best transform of shuffled matches
    agreement: float  # correlation of expression in the overlap
    n_overlap: int  # spots of the moving piece that lie on the other

    @property
    def evidence(self) -> float:
        """Ratio of agreeing matches to those by chance, times the agreement of expression in the overlap."""
        return self.n_agree / max(self.n_chance, 1) * max(self.agreement, 0.0)


def fit_overlap(
    moving: tuple[np.ndarray, np.ndarray],
    fixed: tuple[np.ndarray, np.ndarray],
    *,
    pitch: float,
    mirror: bool,
    allow_scale: bool,
    seed: int,
) -> Fit:
    """Find where ``moving`` overlaps ``fixed``.

    Both are coordinates ``(n_spots, 2)`` and features ``(n_spots, n_features)`` on common axes; ``pitch`` is the spot
    distance of ``fixed``. The moving piece may be mirrored or rescaled if ``mirror`` or ``allow_scale``.
    """
    rng = np.random.default_rng(seed)
    offset = np.zeros(moving[1].shape[1])
    tree = cKDTree(fixed[0])
    for _ in range(N_ROUNDS):
        source, target = _mutual_matches((moving[0], moving[1] + offset), fixed, rng)
        fits = [_ransac(source, target, pitch, m, allow_scale, rng) for m in ((False, True) if mirror else (False,))]
        move, n_agree = max(fits, key=lambda fit: fit[1])
        n_chance = _ransac(source, rng.permutation(target), pitch, move.mirrored, allow_scale, rng)[1]
        distance, nearest = tree.query(move(moving[0]))
        on = distance < pitch
        if not on.any():
            return Fit(move, 0, n_chance, -1.0, 0)
        offset = fixed[1][nearest[on]].mean(axis=0) - moving[1][on].mean(axis=0)  # batch: the tissue is the same there
    for _ in range(2):  # the second time with the spots that really overlap
        on = tree.query(move(moving[0]))[0] < pitch
        compare = Agreement((moving[0][on], moving[1][on]), fixed, pitch=pitch, least_share=0.75, seed=seed)
        move = compare.climb(move, allow_scale=allow_scale, by_share=False)
    n_overlap = int((tree.query(move(moving[0]))[0] < pitch).sum())
    return Fit(move, n_agree, n_chance, compare(move), n_overlap)


def _mutual_matches(
    moving: tuple[np.ndarray, np.ndarray], fixed: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of spots that are mutual neighbours in expression, ``(n_matches, 2)`` each."""
    (xy_a, a), (xy_b, b) = (
        (xy[rows], features[rows])
        for xy, features in (moving, fixed)
        for rows in [np.sort(rng.permutation(len(xy))[:MOST_MATCHED])]
    )
    k = min(N_CANDIDATES, len(a), len(b))
    a_to_b = cKDTree(b).query(a, k=k, workers=-1)[1].reshape(len(a), k)
    b_to_a = cKDTree(a).query(b, k=k, workers=-1)[1].reshape(len(b), k)
    forth = np.repeat(np.arange(len(a)), k) * len(b) + a_to_b.ravel()
    back = b_to_a.ravel() * len(b) + np.repeat(np.arange(len(b)), k)
    rows_a, rows_b = np.divmod(np.intersect1d(forth, back), len(b))
    return xy_a[rows_a], xy_b[rows_b]


def _ransac(
    source: np.ndarray, target: np.ndarray, pitch: float, mirrored: bool, allow_scale: bool, rng: np.random.Generator
) -> tuple[Similarity, int]:
    """Return the transform that most matches agree with, and their number.

    Two matches determine a transform ``p -> a * p + b`` of complex numbers (of flipped points if mirrored), so that
    thousands are tried in a few array operations.
    """
    if len(source) < 3:
        return Similarity.identity(), 0
    p = source @ (np.array([-1, 1j]) if mirrored else np.array([1, 1j]))
    q = target @ np.array([1, 1j])
    first, second = rng.integers(len(source), size=(2, N_TRIALS))
    long = (abs(q[second] - q[first]) > LEAST_APART_PITCHES * pitch) & (p[second] != p[first])
    first, second = first[long], second[long]
    a = (q[second] - q[first]) / (p[second] - p[first])
    low, high = SCALES if allow_scale else (0.8, 1.25)
    sound = (abs(a) > low) & (abs(a) < high)
    a, first = a[sound] if allow_scale else a[sound] / abs(a[sound]), first[sound]
    b = q[first] - a * p[first]
    best, n_agree = Similarity.identity(), 0
    for start in range(0, len(a), CHUNK):
        some = slice(start, start + CHUNK)
        near = abs(a[some, None] * p + b[some, None] - q) < NEAR_PITCHES * pitch  # (CHUNK, n_matches)
        count = near.sum(axis=1)
        if count.max() > n_agree:
            n_agree, agree = int(count.max()), near[count.argmax()]
            best = procrustes(source[agree], target[agree], mirrored=mirrored, allow_scale=allow_scale)
    for _ in range(5):
        agree = np.linalg.norm(best(source) - target, axis=1) < NEAR_PITCHES * pitch
        if agree.sum() < 3:
            break
        best = procrustes(source[agree], target[agree], mirrored=mirrored, allow_scale=allow_scale)
    return best, n_agree
