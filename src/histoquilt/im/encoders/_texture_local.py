"""Grey-level texture between neighbouring pixels: local binary patterns and co-occurrence (Haralick)."""

from itertools import pairwise

import numpy as np

LBP_LEVELS = 3
N_PATTERNS = 10  # 0 to 8 brighter neighbours in one arc, and everything else
GREY_LEVELS = 16
DISTANCES = (1, 3)
N_HARALICK = 5
N_LBP = LBP_LEVELS * N_PATTERNS
N_GLCM = len(DISTANCES) * N_HARALICK  # of one image size

_RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
_ANGLES = ((0, 1), (1, 1), (1, 0), (1, -1))
_NOISE = 2  # of 256 grey levels: compression moves flat pixels by one or two, and that is no pattern


def to_grey(density: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return uint8 grey of an optical density ``(n_patches, side, side)``: ``low`` and less is 0, ``high`` is 255."""
    return ((density - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)


def halve(grey: np.ndarray) -> np.ndarray:
    """Return the mean of 2 x 2 pixels, uint8; an odd last row or column is left out."""
    side = grey.shape[1] // 2 * 2
    even = grey[:, :side, :side].astype(np.uint16)
    return ((even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2] + 2) >> 2).astype(
        np.uint8
    )


def lbp_features(grey: np.ndarray) -> np.ndarray:
    """Return ``(n_patches, N_LBP)``: square roots of the histograms of rotation-invariant uniform patterns.

    The ring has 8 neighbours at distance 1; larger radii are the same ring on the image at half and quarter size, so
    that each neighbour is a mean over the area it stands for.
    """
    columns = []
    for level in range(LBP_LEVELS):
        if level:
            grey = halve(grey)
        columns.append(np.sqrt(_pattern_shares(grey)))
    return np.concatenate(columns, axis=1)


def _pattern_shares(grey: np.ndarray) -> np.ndarray:
    n, side, _ = grey.shape
    # int16, so that 255 + noise does not wrap around
    centre = grey[:, 1:-1, 1:-1].astype(np.int16) + _NOISE
    wide = grey.astype(np.int16)
    bits = [(wide[:, 1 + dy : side - 1 + dy, 1 + dx : side - 1 + dx] > centre).view(np.uint8) for dy, dx in _RING]
    ones = bits[0].copy()
    for bit in bits[1:]:
        ones += bit
    changes = bits[-1] ^ bits[0]
    for before, after in pairwise(bits):
        changes += before ^ after
    ones[changes > 2] = N_PATTERNS - 1
    codes = ones.reshape(n, -1).astype(np.intp) + N_PATTERNS * np.arange(n)[:, None]
    return np.bincount(codes.ravel(), minlength=N_PATTERNS * n).reshape(n, N_PATTERNS) / codes.shape[1]


def glcm_features(grey: np.ndarray) -> np.ndarray:
    """Return ``(n_patches, N_GLCM)``: contrast, homogeneity, energy, entropy and correlation, each between -1 and 1.

    Pairs lie 1 and 3 pixels apart in four directions; the grey levels are fixed, not stretched to the patch.
    """
    steps = grey // (256 // GREY_LEVELS)
    return np.concatenate([_haralick(_pair_shares(steps, distance)) for distance in DISTANCES], axis=1)


def _pair_shares(steps: np.ndarray, distance: int) -> np.ndarray:
    """Return symmetric shares ``(n_patches, GREY_LEVELS, GREY_LEVELS)`` over the four directions."""
    n, side, _ = steps.shape
    codes = []
    first_of_patch = (GREY_LEVELS**2 * np.arange(n, dtype=np.intp))[:, None]
    for dy, dx in _ANGLES:
        dy, dx = dy * distance, dx * distance
        left, right = max(0, -dx), side - max(0, dx)
        one = steps[:, : side - dy, left:right]
        other = steps[:, dy:, left + dx : right + dx]
        codes.append((one * np.uint8(GREY_LEVELS) + other).reshape(n, -1) + first_of_patch)
    joined = np.concatenate(codes, axis=1)
    counts = np.bincount(joined.ravel(), minlength=n * GREY_LEVELS**2).reshape(n, GREY_LEVELS, GREY_LEVELS)
    return (counts + counts.transpose(0, 2, 1)) / (2.0 * joined.shape[1])


def _haralick(shares: np.ndarray) -> np.ndarray:
    level = np.arange(GREY_LEVELS, dtype=np.float64)
    apart = np.abs(level[:, None] - level)

    def expect(weights: np.ndarray) -> np.ndarray:
        return (shares * weights).sum(axis=(1, 2))

    mean = expect(level[:, None] + np.zeros_like(apart))
    spread = expect(level[:, None] ** 2 + np.zeros_like(apart)) - mean**2
    contrast = np.sqrt(expect(apart**2)) / (GREY_LEVELS - 1)
    homogeneity = expect(1 / (1 + apart**2))
    energy = np.sqrt((shares**2).sum(axis=(1, 2)))
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=(1, 2)) / (2 * np.log(GREY_LEVELS))
    # a flat patch has no spread: its neighbours agree as well as they can
    correlation = np.where(spread > 1e-6, (expect(level[:, None] * level) - mean**2) / np.maximum(spread, 1e-6), 1.0)
    return np.stack([contrast, homogeneity, energy, entropy, correlation], axis=1)
