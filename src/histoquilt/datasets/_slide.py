"""A toy section together with the H&E-like image it lies on."""

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys, argument, check_positive
from histoquilt.datasets._anatomy import PITCH_UM, place_spots
from histoquilt.datasets._expression import N_SHARED_TYPES, draw_cells, draw_counts
from histoquilt.datasets._histology import paint, plan_stain
from histoquilt.datasets._section import assemble, check_sizes, plan_tissue
from histoquilt.study import provenance

LIBRARY = "toy_slide"
LOWRES_PX = 600  # longest side of the small image, as Space Ranger makes it
SPOT_UM = 55.0


def toy_slide(
    n_spots: int = 300, n_genes: int = 200, n_domains: int = 4, seed: int = 0, *, mpp: float = 1.0
) -> tuple[AnnData, np.ndarray]:
    """Make a tissue section with known domains and an H&E-like image of it.

    The tissue and its counts are those of :func:`toy_section`. The image is painted from the same cells: each type has
    its own nuclei (size, darkness, shape, how many), and each domain its own eosin and direction of fibres. So
    domains can be seen, and expression can partly be read off the pixels around a spot.

    Parameters
    ----------
    n_spots, n_genes, n_domains, seed
        As in :func:`toy_section`. The image grows with the spots: 300 of them are about 2.5 x 2.5 mm.
    mpp
        Microns per pixel of the image, at most 4. At 0.5 the image has four times the pixels of that at 1.

    Returns
    -------
    The section and the image, RGB uint8 ``(height, width, 3)``. The section holds what :func:`toy_section` writes, and:

    `obsm["spatial"]` : float64 ``(x, y)`` in full-resolution pixels of the image
    `uns["histoquilt"]["coordinates"]` : ``unit`` pixel, ``mpp``, ``pitch_um`` 100
    `uns["spatial"]["toy_slide"]` : ``images["lowres"]`` (uint8), ``scalefactors`` and ``metadata``,
    named as squidpy reads them

    Raises
    ------
    TypeError, ValueError
        As :func:`toy_section`; ``mpp`` is not between 0 and 4.

    Examples
    --------
    >>> adata, image = toy_slide(n_spots=100, mpp=4)
    >>> image.dtype, image.shape[2], adata.uns["histoquilt"]["coordinates"]["mpp"]
    (dtype('uint8'), 3, 4.0)
    """
    check_sizes(n_spots, n_genes, n_domains, 1, seed)
    check_toy_mpp(mpp)
    anatomy, genes = plan_tissue(n_spots, n_genes, n_domains, seed)
    rng = np.random.default_rng([seed, 2])
    points, outline = place_spots(anatomy, n_spots, rng, reshape=0.0)
    cells = draw_cells(genes, anatomy.domain_at(points, 0.0), points, 0.0, rng)
    counts = draw_counts(genes, cells, points, 0.0, np.zeros(n_genes), 0.0, rng)
    stain = plan_stain(n_domains, n_domains + N_SHARED_TYPES, rng)
    image, corner = paint(anatomy, genes, cells, stain, points, outline, 0.0, mpp, rng)

    adata = assemble(genes, [(cells, counts)])
    place_on_slide(adata, (points - corner) / mpp, image, mpp, LIBRARY)
    return adata, image


def check_toy_mpp(mpp: float) -> None:
    """Raise unless nuclei show at this resolution."""
    check_positive(mpp, "mpp")
    if mpp > 4:
        raise ValueError(
            f"mpp is {mpp}, and nuclei of 3 to 4 microns do not show above 4. Pass {argument('mpp', 1)} or so."
        )


def place_on_slide(adata: AnnData, centres_px: np.ndarray, image: np.ndarray, mpp: float, library: str) -> None:
    """Write spot centres, their unit and a small picture of the slide."""
    adata.obsm[Keys.SPATIAL] = centres_px
    provenance(adata)[Keys.COORDINATES] = {"unit": "pixel", "mpp": float(mpp), "pitch_um": PITCH_UM}
    small, factor = _shrink(image)
    adata.uns["spatial"] = {
        library: {
            "images": {"lowres": small},
            "scalefactors": {"tissue_lowres_scalef": 1 / factor, "spot_diameter_fullres": SPOT_UM / mpp},
            "metadata": {"source": "histoquilt.datasets.toy_slide"},
        }
    }


def _shrink(image: np.ndarray) -> tuple[np.ndarray, int]:
    """Average blocks of pixels until the longest side fits; what is over at the right and bottom edge is glass."""
    height, width, _ = image.shape
    factor = -(-max(height, width) // LOWRES_PX)
    rows, columns = height // factor, width // factor
    blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3)
    return blocks.mean(axis=(1, 3), dtype=np.float32).astype(np.uint8), factor
