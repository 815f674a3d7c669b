"""Parts of a slide not to trust: out of focus, written on, folded."""

import numpy as np
import pandas as pd
from scipy.ndimage import laplace, uniform_filter

from histoquilt._base import SlideImage, check_mpp, check_positive
from histoquilt.im._as_slide import as_slide
from histoquilt.im._density import glass_colour, is_ink, optical_density
from histoquilt.im._patches import batches, plan_fields
from histoquilt.im._tissue import DARKEST, share_in_fields, tissue_mask
from histoquilt.runtime import logger

LOOK_UM = 1.0  # pixel at which sharpness is measured: nuclei are 5 to 10 of them
COARSEST_UM = 2.0  # coarser images cannot show blur
LEAST_TISSUE = 0.5  # share of tissue in a square to be judged for blur and folds
BLURRED = 0.25  # of the slide's median sharpness; halves of real sections differ by less than a factor of two
PEN = 0.05  # share of the square
FOLD = 0.05
FOLD_DENSITY = 2.0  # a fold is two layers: times the density of the slide's dark tissue
FOLD_UM = 24.0  # folds are wider than nuclei, which are as dark


def slide_quality(image: SlideImage | np.ndarray, *, mpp: float, cell_um: float = 200.0) -> pd.DataFrame:
    """Flag the parts of a slide that are blurred, written on or folded.

    Parameters
    ----------
    image, mpp
        Opened slide (:func:`histoquilt.io.open_slide`), or RGB uint8 ``(height, width, 3)``; and its microns per
        full-resolution pixel.
    cell_um
        Side of the squares in microns.

    Returns
    -------
    DataFrame, one row per square with tissue or ink, named ``x{column}_y{row}``:

    ``x``, ``y`` : its centre in full-resolution pixels
    ``tissue_fraction`` : share of tissue
    ``sharpness`` : variance of the Laplacian over the variance of the density at 1 um per pixel, relative to the
    median square of this slide; NaN if less than half is tissue or the image is coarser than 2 um per pixel
    ``pen_fraction``, ``fold_fraction`` : share of blue, green or black ink; share of tissue as dark as two layers
    ``blurred``, ``pen``, ``fold`` : bool

    Blur and folds are relative to the slide: one that is out of focus all over is not flagged, nor is a fold in tissue
    much paler than the rest.

    Raises
    ------
    TypeError, ValueError
        `image` is neither a slide nor an array; a number is absurd; the slide has no tissue.

    Examples
    --------
    >>> import histoquilt as hq
    >>> _, slide = hq.datasets.toy_slide(n_spots=100, mpp=2)
    >>> table = hq.im.slide_quality(slide, mpp=2)
    >>> int(table[["blurred", "pen", "fold"]].sum().sum())
    0
    """
    slide = as_slide(image)
    mpp = check_mpp(mpp)
    check_positive(cell_um, "cell_um")
    tissue = tissue_mask(slide, mpp=mpp)
    side_px = cell_um / mpp
    rows, columns = max(1, int(slide.height / side_px)), max(1, int(slide.width / side_px))
    row, column = (index.ravel() for index in np.indices((rows, columns)))
    centres = (np.stack([column, row], axis=1) + 0.5) * side_px

    def share(mask: np.ndarray) -> np.ndarray:
        return share_in_fields(mask, centres, side_px, tissue.step_px)

    density = optical_density(tissue.image, glass_colour(tissue.image))
    ink = is_ink(density) & (tissue.image.max(axis=-1) >= DARKEST)
    table = pd.DataFrame(
        {
            "x": centres[:, 0],
            "y": centres[:, 1],
            "tissue_fraction": tissue.fraction(centres, cell_um),
            "sharpness": np.float32(np.nan),
            "pen_fraction": share(ink),
            "fold_fraction": share(_folds(density, tissue.mask, tissue.step_px * mpp)),
        },
        index=[f"x{x}_y{y}" for x, y in zip(column, row, strict=True)],
    )
    table = table[(table["tissue_fraction"] > 0) | (table["pen_fraction"] > PEN)].copy()
    judged = (table["tissue_fraction"] >= LEAST_TISSUE).to_numpy()
    if mpp <= COARSEST_UM and judged.any():
        sharpness = _sharpness(slide, table.loc[judged, ["x", "y"]].to_numpy(), mpp, cell_um)
        table.loc[judged, "sharpness"] = sharpness / np.median(sharpness)
    table["blurred"] = table["sharpness"] < BLURRED
    table["pen"] = table["pen_fraction"] > PEN
    table["fold"] = judged & (table["fold_fraction"] > FOLD).to_numpy()
    flags = table[["blurred", "pen", "fold"]].sum()
    logger.info(
        "%s: of %d squares of %g um, %d are blurred, %d have ink, %d folds",
        slide.name, len(table), cell_um, flags["blurred"], flags["pen"], flags["fold"],
    )  # fmt: skip
    return table


def _folds(density: np.ndarray, mask: np.ndarray, pixel_um: float) -> np.ndarray:
    """Return tissue that is as dark as two layers over an area wider than nuclei."""
    smooth = uniform_filter(density.mean(axis=-1), max(1, round(FOLD_UM / pixel_um)))
    dark = np.percentile(smooth[mask], 75)
    return np.asarray(mask & (smooth > max(FOLD_DENSITY * dark, 0.6)))


def _sharpness(slide: SlideImage, centres: np.ndarray, mpp: float, cell_um: float) -> np.ndarray:
    """Return the share of contrast that is between neighbouring pixels, for each square."""
    look_px = max(8, round(cell_um / max(LOOK_UM, mpp)))
    fields = plan_fields(slide, centres, mpp=mpp, field_um=[cell_um], out_px=look_px)
    found = []
    for start, stop in batches(len(centres), 32):
        for patch in fields.cut(start, stop)[0]:
            density = optical_density(patch)[..., :2].mean(axis=-1)  # red and green: both stains, little of the noise
            found.append(laplace(density)[1:-1, 1:-1].var() / max(float(density.var()), 1e-4))
    return np.maximum(np.array(found), 1e-6)
