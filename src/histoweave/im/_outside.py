"""Whether the spots lie on the image at all, and if not, at which scale they would."""

import numpy as np
from anndata import AnnData

from histoweave._types import SlideImage

MOST_OUTSIDE = 0.5


def is_outside(slide: SlideImage, centres: np.ndarray) -> np.ndarray:
    """Return which centres ``(n_spots, 2)``, in pixels of the image, lie outside it."""
    return np.asarray(((centres < 0) | (centres >= [slide.width, slide.height])).any(axis=1))


def check_inside(adata: AnnData, slide: SlideImage, centres: np.ndarray, *, image_scale: float = 1.0) -> None:
    """Raise ``ValueError`` where more than half of the spots lie outside the image, naming a scale that fits.

    Parameters
    ----------
    adata
        The section; scale factors of its other images (``uns["spatial"]``) are tried.
    slide
        The image.
    centres
        Spot centres in pixels of the image, ``(n_spots, 2)``.
    image_scale
        The scale that brought them there: full-resolution pixels per pixel of the image.
    """
    n_outside = int(is_outside(slide, centres).sum())
    if n_outside <= MOST_OUTSIDE * len(centres):
        return
    head = (
        f"{n_outside:,} of {len(centres):,} spots fall outside the image {slide.name} "
        f"({slide.width:,} x {slide.height:,} px)."
    )
    if (centres.max(axis=0) <= 0).any():
        raise ValueError(f"{head} Their coordinates are negative: another image, or another origin?")
    for name, factor in _scale_factors(adata):
        if not is_outside(slide, centres * image_scale * factor).any():
            raise ValueError(
                f"{head} They fit with {name} = {factor:.4g} of this section: pass image_scale={1 / factor:.4g}."
            )
    # at least: the tissue need not reach the border
    ratio = float((centres.max(axis=0) / [slide.width, slide.height]).max())
    if ratio <= 1:
        raise ValueError(f"{head} No scale would change that: another image, or another origin?")
    raise ValueError(
        f"{head} Coordinates look at least {ratio:.1f}x too large: were they measured on the full-resolution image "
        f"while this is a smaller one? image_scale={ratio * image_scale:.3g} or more would fit; Visium keeps it as "
        "1 / tissue_hires_scalef."
    )


def _scale_factors(adata: AnnData) -> list[tuple[str, float]]:
    """Return image pixels per full-resolution pixel, of every image that the section knows."""
    libraries = adata.uns.get("spatial", {})
    found = []
    for library in libraries.values() if isinstance(libraries, dict) else ():
        for name, factor in library.get("scalefactors", {}).items():
            if name.startswith("tissue_") and name.endswith("_scalef") and factor > 0:
                found.append((name, float(factor)))
    return found
