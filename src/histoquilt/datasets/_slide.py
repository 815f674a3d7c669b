"""Toy sections with H&E-like images."""

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, argument, check_positive
from histoquilt.datasets._anatomy import PITCH_UM
from histoquilt.datasets._expression import N_SHARED_TYPES
from histoquilt.datasets._histology import Stain, paint, plan_stain
from histoquilt.datasets._section import Section, Tissue, assemble, check_sizes, draw_section, plan_tissue
from histoquilt.study import provenance

LOWRES_PX = 600  # longest side of the small image, as in Space Ranger
SPOT_UM = 55.0


def toy_slide(
    n_spots: int = 300, n_genes: int = 200, n_domains: int = 4, seed: int = 0, *, mpp: float = 1.0
) -> tuple[AnnData, np.ndarray]:
    """Simulate a tissue section with known domains and an H&E-like image of it.

    The tissue and its counts are those of :func:`toy_section`. The image is painted from the same cells: types differ
    in their nuclei, domains in eosin and direction of fibres. So domains are visible, and expression can partly be
    predicted from the pixels around a spot.

    Parameters
    ----------
    n_spots, n_genes, n_domains, seed
        As in :func:`toy_section`. 300 spots cover about 2.5 x 2.5 mm.
    mpp
        Microns per pixel of the image, at most 4.

    Returns
    -------
    The section and the image, RGB uint8 ``(height, width, 3)``. The section holds what :func:`toy_section` writes, and:

    `obsm["spatial"]` : float64 ``(x, y)`` in full-resolution pixels of the image
    `uns["histoquilt"]["coordinates"]` : ``unit`` pixel, ``mpp``, ``pitch_um`` 100
    `uns["spatial"]["toy_slide"]` : ``images["lowres"]`` (uint8), ``scalefactors`` and ``metadata``, as in squidpy

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
    _check(n_spots, n_genes, n_domains, 1, seed, mpp)
    tissue = plan_tissue(n_spots, n_genes, n_domains, seed)
    rng = np.random.default_rng([seed, 2])
    section = draw_section(tissue, 0, n_spots, rng, None)
    stain = plan_stain(n_domains, n_domains + N_SHARED_TYPES, rng)
    return _paint_slide(tissue, section, stain, mpp, "toy_slide", rng)


def toy_slides(
    n_sections: int = 3, n_spots: int = 300, n_genes: int = 200, n_domains: int = 4, seed: int = 0, *, mpp: float = 1.0
) -> dict[str, tuple[AnnData, np.ndarray]]:
    """Simulate serial sections of one tissue, each with its own H&E-like image.

    All share anatomy, genes and stain, so that a model trained on some can predict the others, as sections of one
    patient. Each has its own shape, cells, and batch effect on every gene and on depth, as in :func:`toy_section`.

    Parameters
    ----------
    n_sections, n_spots, n_genes, n_domains, seed
        As in :func:`toy_section`.
    mpp
        Microns per pixel of the images, at most 4.

    Returns
    -------
    dict from ``s1``, ``s2``, ... to the section and its image, as :func:`toy_slide` returns them, with

    `obs["section"]` : categorical, its name
    `obs["z_um"]` : its depth in microns

    Raises
    ------
    TypeError, ValueError
        As :func:`toy_section`; ``mpp`` is not between 0 and 4.

    Examples
    --------
    >>> slides = toy_slides(n_sections=2, n_spots=100, mpp=4)
    >>> adata, image = slides["s2"]
    >>> adata.n_obs, adata.obs["section"].unique().tolist(), image.dtype
    (100, ['s2'], dtype('uint8'))
    """
    _check(n_spots, n_genes, n_domains, n_sections, seed, mpp)
    tissue = plan_tissue(n_spots, n_genes, n_domains, seed)
    stain = plan_stain(n_domains, n_domains + N_SHARED_TYPES, np.random.default_rng([seed, 2, 0]))
    slides = {}
    for number in range(n_sections):
        rng = np.random.default_rng([seed, 2, 1 + number])
        name, section = f"s{number + 1}", draw_section(tissue, number, n_spots, rng)
        adata, image = _paint_slide(tissue, section, stain, mpp, name, rng)
        adata.obs[Keys.SECTION] = pd.Categorical([name] * n_spots)
        adata.obs["z_um"] = section.z
        slides[name] = adata, image
    return slides


def _check(n_spots: int, n_genes: int, n_domains: int, n_sections: int, seed: int, mpp: float) -> None:
    check_sizes(n_spots, n_genes, n_domains, n_sections, seed)
    check_positive(mpp, "mpp")
    if mpp > 4:
        raise ValueError(
            f"mpp is {mpp}, and nuclei of 3 to 4 microns do not show above 4. Pass {argument('mpp', 1)} or so."
        )


def _paint_slide(
    tissue: Tissue, section: Section, stain: Stain, mpp: float, library: str, rng: np.random.Generator
) -> tuple[AnnData, np.ndarray]:
    """Return the section with spot centres in pixels and a small image in ``uns["spatial"]``, and the image."""
    image, corner = paint(tissue, section, stain, mpp, rng)
    adata = assemble(tissue.genes, [section])
    adata.obsm[Keys.SPATIAL] = (section.points - corner) / mpp
    provenance(adata)[Keys.COORDINATES] = {"unit": "pixel", "mpp": float(mpp), "pitch_um": PITCH_UM}
    factor = -(-max(image.shape) // LOWRES_PX)
    rows, columns = (side // factor for side in image.shape[:2])  # the remainder at the right and bottom is cut off
    blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3)
    small = blocks.mean(axis=(1, 3), dtype=np.float32).astype(np.uint8)
    adata.uns["spatial"] = {
        library: {
            "images": {"lowres": small},
            "scalefactors": {"tissue_lowres_scalef": 1 / factor, "spot_diameter_fullres": SPOT_UM / mpp},
            "metadata": {"source": "histoquilt.datasets.toy_slide"},
        }
    }
    return adata, image
