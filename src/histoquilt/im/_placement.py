"""Search for the scale, or the order of x and y, that brings spots onto the tissue of an image."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from anndata import AnnData

from histoquilt.im._tissue import TissueMask
from histoquilt.study import scale_factors

FITS = 0.8  # share of the spots on tissue; at least 0.91 on real sections
_LEAST_SPREAD = 0.3  # of the extent of the tissue: at too small a scale all spots fall on one point of tissue
_MOST_SPOTS = 2_000  # examined
_SIDES_PX = {"hires": 2_000.0, "lowres": 600.0}  # longer side of Space Ranger's images
_LOWEST, _HIGHEST, _STEP = 1 / 64, 64.0, 1.02  # factors tried where none is known


@dataclass(frozen=True)
class Placement:
    """One interpretation of the coordinates."""

    fraction: float  # of the spots that would lie on tissue
    image_scale: float | None  # coordinate pixels per image pixel; None: unchanged
    exchanged: bool  # x and y
    name: str  # of the scale, e.g. tissue_hires_scalef; "" if estimated


def exchanged_fraction(tissue: TissueMask, centres: np.ndarray) -> float:
    """Return the share of spots on tissue with x and y exchanged; ``centres`` in pixels of the image."""
    return float(_on_mask(tissue, _sample(centres)[:, ::-1]).mean())


def better_placement(adata: AnnData, tissue: TissueMask, centres: np.ndarray, image_scale: float) -> Placement | None:
    """Return the placement that brings most spots onto tissue, or ``None`` if none fits.

    Scale factors of the section's own images are tried first, then those of usual hires and lowres images; else the
    scale is estimated. ``centres`` ``(n_spots, 2)`` are in pixels of the image, to which ``image_scale`` brought them.
    """
    points = _sample(centres)
    known = list(_known_scales(adata, tissue))
    exchanged = exchanged_fraction(tissue, centres)
    if exchanged >= FITS:
        return Placement(exchanged, None, True, "")
    for swap in (False, True):
        full = (points[:, ::-1] if swap else points) * image_scale
        tried = [(_fitting(tissue, full / scale), name, scale) for name, scale in known]
        good = [one for one in tried if one[0] >= FITS]
        if good:
            fraction, name, scale = max(good, key=lambda one: one[0])
            return Placement(fraction, scale, swap, name)
        estimated = _estimate(tissue, full)
        if estimated is not None:
            return Placement(*estimated, swap, "")
    return None


def _known_scales(adata: AnnData, tissue: TissueMask) -> Iterator[tuple[str, float]]:
    yield "image_scale = 1", 1.0
    for name, factor in scale_factors(adata):
        yield f"{name} of this section", factor
        yield f"1 / {name} of this section", 1 / factor
    longer = max(tissue.mask.shape) * tissue.step_px
    for name, side in _SIDES_PX.items():
        yield f"coordinates of a {name} image, {side:,.0f} px wide", side / longer


def _estimate(tissue: TissueMask, full: np.ndarray) -> tuple[float, float] | None:
    """Return the share on tissue, and the scale, of the widest spread that fits."""
    n_steps = int(np.log(_HIGHEST / _LOWEST) / np.log(_STEP))
    scales = _LOWEST * _STEP ** np.arange(n_steps + 1)
    fractions = np.array([_fitting(tissue, full / scale) for scale in scales])
    fits = np.flatnonzero(fractions >= FITS)
    if not len(fits):
        return None
    # neighbouring scales that fit are one answer; the first of these has the widest spread
    run = fits[: 1 + int(np.argmax(np.append(np.diff(fits) > 1, True)))]
    best = run[fractions[run] >= fractions[run].max() - 0.005]
    middle = best[len(best) // 2]
    return float(fractions[middle]), float(scales[middle])


def _fitting(tissue: TissueMask, points: np.ndarray) -> float:
    """Return the share of points on tissue; 0 if they spread much less than the tissue."""
    rows, columns = np.nonzero(tissue.mask.any(axis=1))[0], np.nonzero(tissue.mask.any(axis=0))[0]
    extent = np.array([np.ptp(columns) + 1, np.ptp(rows) + 1]) * tissue.step_px
    if (np.ptp(points, axis=0) / extent).max() < _LEAST_SPREAD:
        return 0.0
    return float(_on_mask(tissue, points).mean())


def _on_mask(tissue: TissueMask, points: np.ndarray) -> np.ndarray:
    column, row = np.floor(points / tissue.step_px).astype(np.int64).T
    inside = (column >= 0) & (row >= 0) & (column < tissue.mask.shape[1]) & (row < tissue.mask.shape[0])
    on = np.zeros(len(points), dtype=bool)
    on[inside] = tissue.mask[row[inside], column[inside]]
    return on


def _sample(centres: np.ndarray) -> np.ndarray:
    return centres[:: max(1, len(centres) // _MOST_SPOTS)]
