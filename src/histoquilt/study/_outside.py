"""Whether spots lie on the image, and at which scale they would."""

from collections.abc import Iterator

import numpy as np
from anndata import AnnData

from histoquilt._base import SlideImage, either
from histoquilt.runtime import warn_user
from histoquilt.study._libraries import image_libraries, library_part

MOST_OUTSIDE = 0.5  # of the spots; a few beyond the border are damaged tissue, most are another image


def is_outside(slide: SlideImage, centres: np.ndarray) -> np.ndarray:
    """Return which centres ``(n_spots, 2)``, in pixels of the image, lie outside it.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from histoquilt.study import is_outside
    >>> slide = hq.io.ArraySlide(np.zeros((100, 200, 3), np.uint8))  # 200 pixels wide, 100 high
    >>> is_outside(slide, np.array([[150, 50], [50, 150], [-1, 50]])).tolist()
    [False, True, True]
    """
    return np.asarray(((centres < 0) | (centres > [slide.width, slide.height])).any(axis=1))


def check_inside(adata: AnnData, slide: SlideImage, centres: np.ndarray, *, image_scale: float = 1.0) -> None:
    """Raise ``ValueError`` if more than half of the spots lie outside the image, and name the scale that fits.

    ``centres`` ``(n_spots, 2)`` are in pixels of the image, to which ``image_scale`` brought them; scale factors of the
    section's own images (``uns["spatial"]``) are tried.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from histoquilt.study import check_inside
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> slide = hq.io.ArraySlide(np.zeros((100, 100, 3), np.uint8))
    >>> check_inside(adata, slide, np.array([[10, 20], [90, 50]]))
    >>> check_inside(adata, slide, np.array([[1000, 200], [900, 500]]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: 2 of 2 spots fall outside the image array (100 x 100 px). Coordinates look at least ...
    """
    n_outside = int(is_outside(slide, centres).sum())
    if n_outside <= MOST_OUTSIDE * len(centres):
        return
    head = (
        f"{n_outside:,} of {len(centres):,} spots fall outside the image {slide.name} "
        f"({slide.width:,} x {slide.height:,} px)."
    )
    full = centres * image_scale
    for name, factor in [("image_scale = 1", 1.0), *scale_factors(adata)]:
        if not is_outside(slide, full * factor).any():
            known = name if factor == 1 else f"1 / {name} of this section"
            scale = f"{1 / factor:.6g}"
            remedy = either(f"pass image_scale={scale}", f"put {scale} into the column image_scale of a samples.csv")
            raise ValueError(f"{head} They all fit with {known}: {remedy}.")
    if not is_outside(slide, centres[:, ::-1]).any():
        raise ValueError(f"{head} They fit with x and y exchanged: obsm['spatial'] must be (x, y), not (row, column).")
    ratio = float((centres.max(axis=0) / [slide.width, slide.height]).max())
    if ratio <= 1 or centres.min() < -0.01 * centres.max():
        raise ValueError(f"{head} No scale would change that: another image, or coordinates with another origin?")
    scale = f"{ratio * image_scale:.3g} or more"
    remedy = either(f"Pass image_scale={scale}", f"Put {scale} into the column image_scale of a samples.csv")
    # at least: the tissue need not reach the border
    raise ValueError(
        f"{head} Coordinates look at least {ratio:.1f}x too large: were they measured on the full-resolution image "
        f"while this is a smaller one? {remedy}; for Visium it is 1 / tissue_hires_scalef."
    )


def warn_of_few_outside(slide: SlideImage, centres: np.ndarray) -> None:
    """Warn if centres ``(n_spots, 2)``, in pixels of the image, lie outside it.

    Examples
    --------
    >>> import warnings, numpy as np, histoquilt as hq
    >>> from histoquilt.study import warn_of_few_outside
    >>> slide = hq.io.ArraySlide(np.zeros((100, 200, 3), np.uint8))
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warn_of_few_outside(slide, np.array([[150, 50], [50, 50], [-1, 50]]))
    >>> str(caught[0].message).split(" (")[0]
    '1 of 3 spots lie outside the image array'
    """
    n_outside = int(is_outside(slide, centres).sum())
    if n_outside:
        warn_user(
            f"{n_outside:,} of {len(centres):,} spots lie outside the image {slide.name} "
            f"({slide.width:,} x {slide.height:,} px); what is around them is taken for empty glass."
        )


def scale_factors(adata: AnnData) -> Iterator[tuple[str, float]]:
    """Yield name and value (image pixels per full-resolution pixel) of the scale factors of a section.

    Examples
    --------
    >>> from anndata import AnnData
    >>> from histoquilt.study import scale_factors
    >>> factors = {"tissue_hires_scalef": 0.2, "tissue_lowres_scalef": 0.06, "spot_diameter_fullres": 89}
    >>> dict(scale_factors(AnnData(uns={"spatial": {"V1": {"scalefactors": factors}}})))
    {'tissue_hires_scalef': 0.2, 'tissue_lowres_scalef': 0.06}
    """
    for library in image_libraries(adata).values():
        for name, factor in library_part(library, "scalefactors").items():
            if name.startswith("tissue_") and name.endswith("_scalef") and factor > 0:
                yield name, float(factor)
