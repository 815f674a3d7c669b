"""Haematoxylin and eosin: colours on a slide, amounts, and stain normalisation.

M. Macenko et al., A method for normalizing histology slides for quantitative analysis, ISBI 2009. The two stains span
a plane in optical density; the extreme directions in that plane are their colours.

Where we differ: slides with too little stain raise an error rather than being fitted to noise, and the brightness of
glass is measured, not assumed to be 240.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt import __version__
from histoquilt._base import Keys, SlideImage, argument, check_mpp
from histoquilt.im._as_slide import as_slide, thumbnail
from histoquilt.im._density import EOSIN, HAEMATOXYLIN, glass_colour, is_ink, optical_density
from histoquilt.im._patches import batches, plan_fields
from histoquilt.runtime import warn_user
from histoquilt.study import provenance, write_result

LEAST_DENSITY = 0.15  # of a stained pixel (beta in the paper)
ANGLE_PERCENTILE = 1.0  # alpha in the paper
FEWEST_STAINED = 500  # pixels; fewer give no direction
MOST_PIXELS = 400_000  # used by a fit
FIT_UM = 2.0  # pixel of the reduced slide used by a fit: still resolves nuclei
STATISTICS_PX = 224  # side of patches cut from a slide for its statistics
LOOKED_AT_PX = 64  # pixels used along a patch's side, evenly spaced; not averaged, which would reduce the spread


@dataclass(frozen=True)
class StainColours:
    """Colours of haematoxylin and eosin on one slide.

    Attributes
    ----------
    haematoxylin, eosin
        Unit vector of optical densities in red, green and blue.
    most
        99th percentile of the amount of each, ``(haematoxylin, eosin)``.
    glass
        Brightness of empty glass in red, green and blue.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> image = np.full((200, 200, 3), 240, np.uint8)
    >>> image[:100] = (220, 110, 170)  # eosin
    >>> image[50:100, :100] = (90, 60, 140)  # nuclei
    >>> colours = hq.im.fit_stain(image)
    >>> colours.matrix.shape, colours.haematoxylin[0] > colours.eosin[0]  # haematoxylin takes away red
    ((2, 3), True)
    """

    haematoxylin: tuple[float, float, float]
    eosin: tuple[float, float, float]
    most: tuple[float, float]
    glass: tuple[float, float, float]

    @property
    def matrix(self) -> np.ndarray:
        """The two colours as rows, ``(2, 3)``."""
        return np.array([self.haematoxylin, self.eosin])


def fit_stain(image: SlideImage | np.ndarray, *, mpp: float | None = None) -> StainColours:
    """Measure the colours of haematoxylin and eosin on a slide (Macenko).

    Parameters
    ----------
    image
        Opened slide, RGB uint8 ``(height, width, 3)``, or patches ``(n_patches, height, width, 3)``.
    mpp
        Microns per full-resolution pixel, needed for an opened slide, which is read reduced to 2 um per pixel.

    Returns
    -------
    StainColours

    Raises
    ------
    TypeError
        `image` is neither slide, array nor patches.
    ValueError
        Too little of it is stained, or `mpp` is missing for an opened slide.

    Examples
    --------
    >>> import histoquilt as hq
    >>> _, slide = hq.datasets.toy_slide(n_spots=100, mpp=2)
    >>> colours = hq.im.fit_stain(slide)
    >>> bool(colours.haematoxylin[0] > 3 * colours.eosin[0])  # it takes away red, eosin does not
    True
    """
    pixels = _pixels_to_fit(image, mpp)
    glass = glass_colour(pixels)
    density = optical_density(pixels, glass).reshape(-1, 3)
    density = density[(density.min(axis=1) > 0) & (density.mean(axis=1) > LEAST_DENSITY)]
    density = density[~is_ink(density)]
    if len(density) < FEWEST_STAINED:
        raise ValueError(
            f"Only {len(density):,} of {pixels.size // 3:,} pixels are stained, too few to measure haematoxylin and "
            f"eosin ({FEWEST_STAINED} are needed). Pass the whole slide, not single patches of glass."
        )
    stains = _directions(density)
    amounts = np.maximum(density @ np.linalg.pinv(stains).astype(np.float32), np.float32(0))
    most = np.maximum(np.percentile(amounts, 99, axis=0), 1e-2)
    return StainColours(_three(stains[0]), _three(stains[1]), (float(most[0]), float(most[1])), _three(glass))


def _three(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


# Measured colours, scaled to length 1; the amounts are ours, a slide of usual darkness.
REFERENCE = StainColours(
    _three(HAEMATOXYLIN / np.linalg.norm(HAEMATOXYLIN)), _three(EOSIN / np.linalg.norm(EOSIN)), (1.5, 1.0), (245.0,) * 3
)


def _pixels_to_fit(image: SlideImage | np.ndarray, mpp: float | None) -> np.ndarray:
    """Return RGB pixels ``(n, 3)``, at most some hundred thousand."""
    if isinstance(image, np.ndarray) and image.ndim == 4:
        _check_stack(image)
        pixels = image
    else:
        slide = as_slide(image)
        if mpp is None and not isinstance(image, np.ndarray):
            raise ValueError(f"mpp is needed to read {slide.name} at {FIT_UM:g} um per pixel. Pass {argument('mpp')}.")
        step = 1 if mpp is None else max(1, round(FIT_UM / check_mpp(mpp)))
        pixels = thumbnail(slide, step).pixels
    pixels = pixels.reshape(-1, 3)
    return pixels[:: max(1, len(pixels) // MOST_PIXELS)]


def _directions(density: np.ndarray) -> np.ndarray:
    """Return the two extreme colours in the plane of greatest variance, haematoxylin first, ``(2, 3)``."""
    _, vectors = np.linalg.eigh(np.cov(density.T.astype(np.float64)))
    plane = vectors[:, [2, 1]]
    plane[:, 0] *= np.sign(plane[:, 0].sum())  # more stain, more density
    on_plane = density @ plane
    angle = np.arctan2(on_plane[:, 1], on_plane[:, 0])
    ends = np.percentile(angle, [ANGLE_PERCENTILE, 100 - ANGLE_PERCENTILE])
    stains = np.stack([np.cos(ends), np.sin(ends)], axis=1) @ plane.T
    stains = np.maximum(stains, 0)  # stains do not emit light
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    return stains[np.argsort(-stains[:, 0])]  # haematoxylin takes away red


def normalise_stain(
    image: np.ndarray, *, source: StainColours | None = None, target: StainColours = REFERENCE
) -> np.ndarray:
    """Give H&E pixels the colours of another slide (Macenko).

    Amounts of haematoxylin and eosin are kept relative to the slide's 99th percentiles; these, the colours and the
    glass become those of `target`. Fit `source` once on the whole slide (:func:`fit_stain`) and pass it for each batch
    of patches: colours fitted on single patches would make glass, fat and tumour alike.

    Parameters
    ----------
    image
        RGB uint8 ``(height, width, 3)`` or ``(n_patches, height, width, 3)``.
    source
        Colours of the slide that the pixels come from; by default fitted on `image`.
    target
        Colours to give; by default a reference (Ruifrok and Johnston 2001, usual darkness).

    Returns
    -------
    uint8 of the same shape; an unchanged copy, with a warning, if `source` cannot be fitted.

    Raises
    ------
    TypeError, ValueError
        `image` is not RGB uint8.

    Examples
    --------
    >>> import histoquilt as hq
    >>> _, slide = hq.datasets.toy_slide(n_spots=100, mpp=4)
    >>> hq.im.normalise_stain(slide).shape == slide.shape
    True
    """
    if isinstance(image, np.ndarray) and image.ndim == 4:
        _check_stack(image)
    elif isinstance(image, np.ndarray):
        as_slide(image)
    else:
        raise TypeError(f"Expected RGB uint8 pixels, got {type(image).__name__}. Cut them with extract_patches first.")
    if source is None:
        try:
            source = fit_stain(image)
        except ValueError as error:
            warn_user(f"The stain was not normalised. {error}")
            return image.copy()
    unmix = np.linalg.pinv(source.matrix) * (np.array(target.most) / np.array(source.most))
    remix, white = target.matrix.astype(np.float32), np.array(target.glass, dtype=np.float32) + 1
    unmix = unmix.astype(np.float32)
    result = np.empty_like(image)
    flat, out = image.reshape(-1, 3), result.reshape(-1, 3)
    for start, stop in batches(len(flat), 1 << 20):  # density in float32 is four times the pixels
        amounts = np.maximum(optical_density(flat[start:stop], np.array(source.glass)) @ unmix, np.float32(0))
        light = white * np.exp(-(amounts @ remix)) - 1
        out[start:stop] = np.clip(np.rint(light), 0, 255)
    return result


def stain_statistics(
    image: SlideImage | np.ndarray,
    centres_px: np.ndarray | None = None,
    *,
    mpp: float | None = None,
    field_um: float = 112.0,
    glass: float | Sequence[float] = 255.0,
) -> pd.DataFrame:
    """Describe the stain of patches, to compare a slide with those that a model was trained on.

    Parameters
    ----------
    image
        Patches, uint8 ``(n_patches, height, width, 3)``; or a slide, from which fields are cut.
    centres_px, mpp, field_um
        For a slide: x and y ``(n_patches, 2)`` in full-resolution pixels, microns per pixel, and side of the field.
    glass
        Brightness of empty glass. The default, white, keeps haze and exposure of the slide in the numbers.

    Returns
    -------
    DataFrame, one float32 row per patch: mean and standard deviation of the optical density of ``red``, ``green`` and
    ``blue``, and of the amounts of ``haematoxylin`` and ``eosin`` (Ruifrok and Johnston 2001), named ``red_mean``,
    ``red_sd``, ...; and ``stained``, the share of pixels with a density above 0.15.

    Raises
    ------
    TypeError, ValueError
        `image` is neither, or `centres_px` or `mpp` is missing for a slide.

    Examples
    --------
    >>> table = stain_statistics(np.full((2, 8, 8, 3), 255, dtype=np.uint8))
    >>> table.shape, float(table["stained"].max())
    ((2, 11), 0.0)
    """
    if isinstance(image, np.ndarray) and image.ndim == 4:
        _check_stack(image)
        blocks = [image[start:stop] for start, stop in batches(len(image), 64)]
    else:
        slide = as_slide(image)
        if centres_px is None or mpp is None:
            raise ValueError(
                f"For the slide {slide.name}, centres_px and mpp are needed: where to look, and how large."
            )
        fields = plan_fields(slide, centres_px, mpp=check_mpp(mpp), field_um=[field_um], out_px=STATISTICS_PX)
        blocks = [fields.cut(start, stop)[0] for start, stop in batches(len(fields.centres), 256)]
    numbers = [_statistics(block, np.asarray(glass)) for block in blocks]
    names = [f"{what}_{how}" for what in ("red", "green", "blue", "haematoxylin", "eosin") for how in ("mean", "sd")]
    values = np.concatenate(numbers) if numbers else np.empty((0, len(names) + 1), dtype=np.float32)
    return pd.DataFrame(values, columns=[*names, "stained"])


def write_stain(adata: AnnData, stain: Sequence[pd.DataFrame], *, field_um: float, out_px: int) -> None:
    """Write the :func:`stain_statistics` of batches of patches."""
    table = pd.concat(stain) if stain else stain_statistics(np.empty((0, out_px, out_px, 3), dtype=np.uint8))
    write_result(adata, "obsm", Keys.STAIN, table.to_numpy(dtype=np.float32))
    provenance(adata)[Keys.STAIN] = {
        "columns": np.array(table.columns, dtype=object),
        "field_um": float(field_um),
        "input_mpp": float(field_um) / out_px,
        "histoquilt": __version__,
    }


def _statistics(patches: np.ndarray, glass: np.ndarray) -> np.ndarray:
    every = tuple(slice(None, None, max(1, side // LOOKED_AT_PX)) for side in patches.shape[1:3])
    density = optical_density(patches[:, *every], glass).reshape(len(patches), -1, 3)
    stained = (density.sum(axis=2) > 3 * LEAST_DENSITY).mean(axis=1)
    # the amounts are linear in the density, so are their means and covariances
    to_all = np.hstack([np.eye(3), np.linalg.pinv(REFERENCE.matrix)])
    mean = np.matmul(np.ones(density.shape[1], dtype=np.float32), density) / np.float32(density.shape[1])
    density -= mean[:, None]
    covariance = np.matmul(density.transpose(0, 2, 1), density).astype(np.float64) / density.shape[1]
    variance = np.einsum("ik,nij,jk->nk", to_all, covariance, to_all)
    both = np.stack([mean @ to_all, np.sqrt(np.maximum(variance, 0))], axis=2).reshape(len(patches), -1)
    return np.column_stack([both, stained]).astype(np.float32)


def _check_stack(patches: np.ndarray) -> None:
    if patches.shape[3] != 3 or patches.dtype != np.uint8:
        raise ValueError(
            f"Patches must be uint8 (n_patches, height, width, 3), got {patches.dtype} of {patches.shape}. Cut them "
            "with histoquilt.im.extract_patches."
        )
