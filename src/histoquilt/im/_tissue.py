"""Tissue masks of slides."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, label
from skimage.filters import threshold_otsu

from histoquilt._base import SlideImage, check_mpp, check_positive
from histoquilt.im._as_slide import as_slide, thumbnail
from histoquilt.im._density import glass_colour, is_ink, optical_density

# Bounds of the threshold on mean optical density. Below: haze and printed spots on glass (her2st: up to 0.07); above,
# pale tissue would be lost in pictures of tissue only.
LEAST_DENSITY, MOST_DENSITY = 0.09, 0.14
COLOUR_TO_DENSITY = 1.5  # in H&E the channels differ by 0.6 of the mean density
DARKEST = 25  # scanners fill unscanned areas with black
BLUR_UM = 10.0


@dataclass(frozen=True)
class TissueMask:
    """Tissue of a slide at low resolution.

    Attributes
    ----------
    mask, image
        bool ``(rows, columns)``, and the slide at the same resolution, uint8 ``(rows, columns, 3)``.
    step_px
        Full-resolution pixels per pixel of the mask: pixel ``(row, column)`` begins at ``step_px * (column, row)``.
    mpp
        Microns per full-resolution pixel.
    threshold
        Mean optical density that separates tissue from glass.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> image = np.full((400, 400, 3), 240, np.uint8)
    >>> image[100:300, 100:300] = (200, 120, 170)  # 800 x 800 um
    >>> tissue = hq.im.tissue_mask(image, mpp=4)
    >>> round(tissue.area_mm2, 2), tissue.fraction(np.array([[200, 200], [30, 30]]), field_um=100).tolist()
    (0.64, [1.0, 0.0])
    """

    mask: np.ndarray
    step_px: int
    mpp: float
    threshold: float
    image: np.ndarray

    @property
    def area_mm2(self) -> float:
        """Area of the tissue in square millimetres."""
        return float(self.mask.sum()) * (self.step_px * self.mpp / 1000) ** 2

    def fraction(self, centres_px: np.ndarray, field_um: float) -> np.ndarray:
        """Return the share of tissue in square fields around points, float32 ``(n_points,)``.

        Parameters
        ----------
        centres_px
            ``(n_points, 2)``: x and y in full-resolution pixels. Outside the slide there is no tissue.
        field_um
            Side of the square in microns.
        """
        return share_in_fields(self.mask, centres_px, field_um / self.mpp, self.step_px)


def share_in_fields(mask: np.ndarray, centres_px: np.ndarray, side_px: float, step_px: int) -> np.ndarray:
    """Return the share of a mask in square fields, float32 ``(n_points,)``.

    ``centres_px`` ``(n_points, 2)`` and ``side_px`` are in full-resolution pixels, ``step_px`` of them per mask pixel.
    """
    check_positive(side_px, "field_um")
    rows, columns = mask.shape
    sums = np.zeros((rows + 1, columns + 1))
    sums[1:, 1:] = mask.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    half = max(side_px / step_px, 1.0) / 2  # at least the pixel of the mask it lies in
    low = np.rint(np.asarray(centres_px, dtype=np.float64) / step_px - half).astype(np.int64)
    side = max(1, round(2 * half))
    left, top = np.clip(low, 0, [columns, rows]).T
    right, bottom = np.clip(low + side, 0, [columns, rows]).T
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return (inside / side**2).astype(np.float32)


def tissue_mask(
    image: SlideImage | np.ndarray,
    *,
    mpp: float,
    resolution_um: float = 8.0,
    least_piece_um: float = 150.0,
    largest_hole_um: float = 100.0,
) -> TissueMask:
    """Find the tissue on a slide, at low resolution.

    Glass is the brightest colour that covers much of the slide. Tissue absorbs more light than a threshold (Otsu's,
    within the bounds of stained tissue), and is not grey, pen-coloured or the black of unscanned areas. Specks are
    dropped and small holes filled.

    Parameters
    ----------
    image, mpp
        Opened slide (:func:`histoquilt.io.open_slide`), or RGB uint8 ``(height, width, 3)``, read in blocks; and its
        microns per full-resolution pixel.
    resolution_um
        Pixel of the mask in microns (nearest whole number of image pixels).
    least_piece_um, largest_hole_um
        Sides of squares: smaller pieces (dust) are dropped, holes up to this size (vessels, glands, fat) filled.

    Returns
    -------
    TissueMask

    Raises
    ------
    TypeError, ValueError
        `image` is neither a slide nor an array; `mpp` is absurd, or the slide has no tissue.

    See Also
    --------
    grid_spots : spots on the tissue of a slide that has none.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata, slide = hq.datasets.toy_slide(n_spots=100, mpp=4)
    >>> tissue = hq.im.tissue_mask(slide, mpp=4)
    >>> bool(tissue.fraction(adata.obsm["spatial"], field_um=55).min() > 0.9)
    True
    """
    slide = as_slide(image)
    mpp = check_mpp(mpp)
    for value, name in (
        (resolution_um, "resolution_um"), (least_piece_um, "least_piece_um"), (largest_hole_um, "largest_hole_um"),
    ):  # fmt: skip
        check_positive(value, name)
    step = max(1, round(resolution_um / mpp))
    small = thumbnail(slide, step)
    pixel_um = step * mpp
    density = optical_density(small.pixels, glass_colour(small.pixels))
    unscanned = small.pixels.max(axis=-1) < DARKEST
    ink = is_ink(density)
    # stain is coloured; bubbles, dust and the printed frames of capture slides are grey
    colour = density.max(axis=-1) - density.min(axis=-1)
    stain = np.minimum(density.mean(axis=-1), COLOUR_TO_DENSITY * colour)
    stain[unscanned | ink] = 0
    stain = gaussian_filter(stain, BLUR_UM / pixel_um)
    otsu = float(threshold_otsu(stain)) if np.ptp(stain) > 0 else 0.0
    threshold = float(np.clip(otsu, LEAST_DENSITY, MOST_DENSITY))
    mask = (stain > threshold) & ~unscanned & ~ink
    mask = _drop_small(mask, (least_piece_um / pixel_um) ** 2)
    mask = ~_drop_small(~mask, (largest_hole_um / pixel_um) ** 2)
    if not mask.any():
        raise ValueError(
            f"The slide {slide.name} has no tissue: nothing larger than {least_piece_um:g} x {least_piece_um:g} um "
            f"takes away more light than glass does (mean optical density {threshold:.2f}; the 99th percentile here "
            f"is {np.percentile(stain, 99):.2f}). Is it an empty, unstained or fluorescence slide, or is mpp wrong?"
        )
    return TissueMask(mask, step, mpp, threshold, small.pixels)


def _drop_small(mask: np.ndarray, n_pixels: float) -> np.ndarray:
    """Drop connected pieces of up to ``n_pixels``; scikit-image renamed its argument for the size in 0.26."""
    pieces, _ = label(mask)
    large = np.bincount(pieces.ravel()) > n_pixels
    large[0] = False  # the background
    return np.asarray(large[pieces])
