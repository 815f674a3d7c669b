"""Colour of H&E: fixed stain deconvolution, and amounts of each stain in a patch.

The deconvolution is a look-up, in which densities may be negative; scikit-image's ``separate_stains`` takes 1.7 times
as long, clips them, and has slightly other colours, which would change the features of every trained model.
"""

import numpy as np

from histoquilt.im._density import EOSIN, HAEMATOXYLIN

HISTOGRAM_BINS = 12
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_LEVELS = 128  # fine histogram that quantiles are read from
_LOW, _HIGH = -0.25, 1.75  # optical densities beyond are counted at the ends
_WHITE = 0.06  # mean optical density of empty glass and of holes is below
BLOCKS_PER_SIDE = (28, 14, 7, 4)
N_STAIN = 3 * (2 + len(QUANTILES)) + 2 * HISTOGRAM_BINS + 6 + 6 + 3 + 3 * len(BLOCKS_PER_SIDE)


def _lookup() -> np.ndarray:
    """Return ``(3 stains, 3 colours, 256)``: the contribution of each colour value to the density of each stain."""
    # fixed: an estimate would differ from patch to patch, and a pale patch must stay pale
    residual = np.cross(HAEMATOXYLIN, EOSIN)
    absorption = np.stack([vector / np.linalg.norm(vector) for vector in (HAEMATOXYLIN, EOSIN, residual)])
    density = -np.log10((np.arange(256) + 1.0) / 256.0)
    return (np.linalg.inv(absorption).T[:, :, None] * density).astype(np.float32)


_LOOKUP = _lookup()


def separate_stains(patches: np.ndarray) -> np.ndarray:
    """Return optical densities of haematoxylin, eosin and the rest, float32 ``(3, n_patches, side, side)``.

    ``patches`` are uint8 ``(n_patches, side, side, 3)``. White is 0 in all three; overlapping absorption can make one
    negative.
    """
    red, green, blue = (np.ascontiguousarray(patches[..., colour]) for colour in range(3))
    return np.stack([table[0][red] + table[1][green] + table[2][blue] for table in _LOOKUP])


def stain_features(patches: np.ndarray, stains: np.ndarray) -> np.ndarray:
    """Return float32 ``(n_patches, N_STAIN)``: mean, spread, quantiles and histograms of the stains, and plain colour.

    ``patches`` is uint8 ``(n_patches, side, side, 3)``, ``stains`` float32 ``(3, n_patches, side, side)``. The centre
    (half the side), where the spot lies, is compared with the whole patch.
    """
    n, side = patches.shape[0], patches.shape[1]
    flat = stains.reshape(3, n, -1)
    columns = [flat.mean(axis=2).T, flat.std(axis=2).T]
    for stain, values in enumerate(flat):
        counts = _histogram(values, _LEVELS)
        columns.append(_quantiles(counts))
        if stain < 2:
            coarse = np.add.reduceat(counts, np.arange(HISTOGRAM_BINS) * _LEVELS // HISTOGRAM_BINS, axis=1)
            columns.append(np.sqrt(coarse))
    inner = slice(side // 4, side - side // 4)
    centre = stains[:, :, inner, inner].reshape(3, n, -1)
    columns += [centre.mean(axis=2).T - columns[0], centre.std(axis=2).T - columns[1]]
    for colour in range(3):
        values = patches[..., colour].reshape(n, -1).astype(np.float32) / 255
        columns.append(np.stack([values.mean(axis=1), values.std(axis=1)], axis=1))
    columns.append(_glass_and_mixing(flat))
    columns += [_unevenness(stains, blocks) for blocks in BLOCKS_PER_SIDE]
    return np.concatenate(columns, axis=1, dtype=np.float32)


def _histogram(values: np.ndarray, levels: int) -> np.ndarray:
    """Return shares ``(n_patches, levels)`` of ``(n_patches, n_pixels)`` between the fixed ends."""
    n = len(values)
    bins = ((values - _LOW) * (levels / (_HIGH - _LOW))).clip(0, levels - 1).astype(np.intp)
    bins += levels * np.arange(n)[:, None]
    return np.bincount(bins.ravel(), minlength=levels * n).reshape(n, levels) / values.shape[1]


def _quantiles(shares: np.ndarray) -> np.ndarray:
    """Return quantiles from a fine histogram: far cheaper than sorting pixels, and exact to half a bin."""
    cumulative = shares.cumsum(axis=1)
    reached = [(cumulative < quantile - 1e-9).sum(axis=1) for quantile in QUANTILES]
    return _LOW + (np.stack(reached, axis=1) + 0.5) * ((_HIGH - _LOW) / _LEVELS)


def _glass_and_mixing(flat: np.ndarray) -> np.ndarray:
    """Return share of empty pixels, share with more haematoxylin than eosin, and the correlation of the two."""
    haematoxylin, eosin = flat[0], flat[1]
    empty = (flat[:2].mean(axis=0) < _WHITE).mean(axis=1)
    bluer = (haematoxylin > eosin).mean(axis=1)
    blue = haematoxylin - haematoxylin.mean(axis=1, keepdims=True)
    pink = eosin - eosin.mean(axis=1, keepdims=True)
    together = (blue * pink).mean(axis=1)
    spread = np.sqrt((blue**2).mean(axis=1) * (pink**2).mean(axis=1))
    return np.stack([empty, bluer, together / np.maximum(spread, 1e-4)], axis=1)


def _unevenness(stains: np.ndarray, blocks: int) -> np.ndarray:
    """Return ``(n_patches, 3)``: log10 of each stain's spread between the means of ``blocks`` x ``blocks`` squares."""
    _, n, side, _ = stains.shape
    step = side // blocks
    means = stains.reshape(3, n, blocks, step, blocks, step).mean(axis=(3, 5))
    return np.log10(means.reshape(3, n, -1).std(axis=2).T + 1e-3)
