"""Several toy slides of one tissue, stained alike: what learning expression from H&E needs."""

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.datasets._anatomy import place_spots
from histoquilt.datasets._expression import N_SHARED_TYPES, draw_cells, draw_counts
from histoquilt.datasets._histology import paint, plan_stain
from histoquilt.datasets._section import BATCH_LOG_SD, DEPTH_LOG_SD, SECTION_GAP_UM, assemble, check_sizes, plan_tissue
from histoquilt.datasets._slide import check_toy_mpp, place_on_slide


def toy_slides(
    n_sections: int = 3, n_spots: int = 300, n_genes: int = 200, n_domains: int = 4, seed: int = 0, *, mpp: float = 1.0
) -> dict[str, tuple[AnnData, np.ndarray]]:
    """Simulate serial sections of one tissue, each with its own H&E-like image.

    All share anatomy, genes and stain, so that expression learnt on some can be predicted from the image of another.
    Each has its own shape, cells, and batch effect on every gene and on depth, as in :func:`toy_section`. They come
    from one tissue: scores between them are those of sections of one patient.

    Parameters
    ----------
    n_sections
        Number of sections, 100 µm apart.
    n_spots, n_genes, n_domains
        Number of spots, genes and domains of each section, as in :func:`toy_section`.
    seed
        The same seed gives the same slides; nothing is drawn from global random state.
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
    check_sizes(n_spots, n_genes, n_domains, n_sections, seed)
    check_toy_mpp(mpp)
    anatomy, genes = plan_tissue(n_spots, n_genes, n_domains, seed)
    stain = plan_stain(n_domains, n_domains + N_SHARED_TYPES, np.random.default_rng([seed, 2, 0]))
    slides = {}
    for number in range(n_sections):
        rng = np.random.default_rng([seed, 2, 1 + number])
        name, z = f"s{number + 1}", number * SECTION_GAP_UM
        points, outline = place_spots(anatomy, n_spots, rng, reshape=1.0 if number else 0.0)
        cells = draw_cells(genes, anatomy.domain_at(points, z), points, z, rng)
        batch, depth = rng.normal(0, BATCH_LOG_SD, n_genes), rng.normal(0, DEPTH_LOG_SD)
        counts = draw_counts(genes, cells, points, z, batch, depth, rng)
        image, corner = paint(anatomy, genes, cells, stain, points, outline, z, mpp, rng)
        adata = assemble(genes, [(cells, counts)])
        adata.obs[Keys.SECTION] = pd.Categorical([name] * n_spots)
        adata.obs["z_um"] = z
        place_on_slide(adata, (points - corner) / mpp, image, mpp, name)
        slides[name] = adata, image
    return slides
