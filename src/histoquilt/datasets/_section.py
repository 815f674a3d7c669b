"""Toy sections: spots on a hexagonal lattice, counts, and the domains they were made from."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import vstack

from histoquilt._base import Keys
from histoquilt.datasets._anatomy import PITCH_UM, Anatomy, place_spots, plan_anatomy
from histoquilt.datasets._expression import Cells, Genes, draw_cells, draw_counts, plan_genes
from histoquilt.study import declare_scale, provenance

SECTION_GAP_UM = 100.0  # between serial sections
BATCH_LOG_SD = 0.25  # of each gene, between sections
DEPTH_LOG_SD = 0.25  # of sequencing depth, between sections
MIN_SPOTS_PER_DOMAIN = 20


def toy_section(
    n_spots: int = 1500, n_genes: int = 500, n_domains: int = 6, n_sections: int = 1, seed: int = 0
) -> AnnData:
    """Make a tissue section with known domains, for examples, tests and measuring scale.

    Two thirds of the domains are curved layers, every second of them only four spots wide; the others are
    islands nearly a millimetre across, in several pieces. The tissue is laid out in microns: with more spots there is
    more of it, with the same structures again and again (a section too small for all of them shows them smaller).

    Every domain prefers one type of cells, and every spot holds a mixture of all types, drawn anew for each spot. So
    expression alone tells domains apart poorly (principal components + k-means reach an adjusted Rand index around
    0.5), and spots seen together with their neighbours much better. Counts are gamma-Poisson with dropout; depth is
    log-normal and varies smoothly as well as from spot to spot; mean abundances of genes span three orders
    of magnitude; smooth gradients that have nothing to do with domains run across.

    Parameters
    ----------
    n_spots
        Spots per section, at least 20 for each domain. Time and memory grow in proportion; the dense matrix is never
        made.
    n_genes
        Genes, at least two for each domain.
    n_domains
        Domains, at least 2: ``n_domains // 3`` of them are islands.
    n_sections
        Serial sections of one tissue, 100 µm apart: slightly different in shape, each with a batch effect of its own
        on every gene and on depth. They overlap in one coordinate frame, as registered sections do.
    seed
        The same seed gives the same tissue; nothing is drawn from global random state.

    Returns
    -------
    AnnData of ``n_sections * n_spots`` spots:

    `X` : raw counts, CSR float32
    `obs["domain_true"]` : categorical, ``layer1`` ... and ``island1`` ...
    `obs["section"]`, `obs["z_um"]` : only with several sections; spot names are unique across them
    `obsm["spatial"]` : float64 ``(x, y)`` in microns, hexagonal lattice with 100 µm between neighbours
    `var["marker_of"]` : the domain that the gene marks, or ``""``
    `var["gene_symbol"]` : the gene's name, made up in the style of human symbols
    `uns["histoquilt"]["scale"]` : ``X`` holds ``counts``
    `uns["histoquilt"]["coordinates"]` : ``unit`` micron, ``mpp`` 1, ``pitch_um`` 100

    Raises
    ------
    TypeError
        A size or the seed is not a whole number.
    ValueError
        A size is too small: fewer than 2 domains, 20 spots or 2 genes for each of them, or 1 section.

    See Also
    --------
    histoquilt.datasets.toy_slide : the same kind of section with an H&E-like image.

    Examples
    --------
    >>> adata = toy_section(n_spots=300, n_genes=100, n_domains=4, seed=1)
    >>> adata.shape, list(adata.obs["domain_true"].cat.categories)
    ((300, 100), ['island1', 'layer1', 'layer2', 'layer3'])
    """
    check_sizes(n_spots, n_genes, n_domains, n_sections, seed)
    anatomy, genes = plan_tissue(n_spots, n_genes, n_domains, seed)
    parts = []
    for section in range(n_sections):
        rng = np.random.default_rng([seed, 2 + section])
        z = section * SECTION_GAP_UM
        points, _ = place_spots(anatomy, n_spots, rng, reshape=1.0 if section else 0.0)
        cells = draw_cells(genes, anatomy.domain_at(points, z), points, z, rng)
        several = float(n_sections > 1)
        batch, depth = rng.normal(0, BATCH_LOG_SD * several, n_genes), rng.normal(0, DEPTH_LOG_SD * several)
        parts.append((points, cells, draw_counts(genes, cells, points, z, batch, depth, rng)))
    adata = assemble(genes, [(cells, counts) for _, cells, counts in parts])
    spatial = np.concatenate([points for points, _, _ in parts])
    adata.obsm[Keys.SPATIAL] = spatial - spatial.min(axis=0) + PITCH_UM
    provenance(adata)[Keys.COORDINATES] = {"unit": "micron", "mpp": 1.0, "pitch_um": PITCH_UM}
    return adata


def plan_tissue(n_spots: int, n_genes: int, n_domains: int, seed: int) -> tuple[Anatomy, Genes]:
    """Draw the plan and the genes from streams of their own: the number of genes does not move the domains."""
    anatomy = plan_anatomy(n_spots, n_domains, np.random.default_rng([seed, 0]))
    return anatomy, plan_genes(n_genes, n_domains, np.random.default_rng([seed, 1]))


def assemble(genes: Genes, sections: Sequence[tuple[Cells, object]]) -> AnnData:
    """Put sections into one AnnData, without coordinates."""
    n_domains = len(genes.domain_depth)
    n_islands = n_domains // 3
    names = [f"layer{i + 1}" for i in range(n_domains - n_islands)] + [f"island{i + 1}" for i in range(n_islands)]
    codes = np.concatenate([cells.domain for cells, _ in sections])
    section = np.repeat(np.arange(len(sections)), [len(cells.domain) for cells, _ in sections])
    spot = np.concatenate([np.arange(len(cells.domain)) for cells, _ in sections])
    width = len(str(len(codes)))
    prefix = [f"s{i + 1}_" if len(sections) > 1 else "" for i in range(len(sections))]
    obs = pd.DataFrame(
        {"domain_true": pd.Categorical.from_codes(codes, categories=pd.Index(names)).reorder_categories(sorted(names))},
        index=[f"{prefix[i]}spot{j + 1:0{width}d}" for i, j in zip(section.tolist(), spot.tolist(), strict=True)],
    )
    if len(sections) > 1:
        obs[Keys.SECTION] = pd.Categorical([f"s{i + 1}" for i in section])
        obs["z_um"] = section * SECTION_GAP_UM
    var = pd.DataFrame(
        {"marker_of": [names[code] if code >= 0 else "" for code in genes.marker_of], Keys.GENE_SYMBOL: genes.names},
        index=genes.names,
    )
    counts = sections[0][1] if len(sections) == 1 else vstack([counts for _, counts in sections], format="csr")
    adata = AnnData(X=counts, obs=obs, var=var)
    declare_scale(adata, "X", "counts")
    return adata


def check_sizes(n_spots: int, n_genes: int, n_domains: int, n_sections: int, seed: int) -> None:
    """Raise unless the sizes are whole numbers that a tissue can be made of."""
    sizes = {"n_spots": n_spots, "n_genes": n_genes, "n_domains": n_domains, "n_sections": n_sections, "seed": seed}
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} must be a whole number, got {value!r}.")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}.")
    if n_domains < 2:
        raise ValueError(f"n_domains must be at least 2, got {n_domains}: a tissue of one domain has no truth to find.")
    if n_sections < 1:
        raise ValueError(f"n_sections must be at least 1, got {n_sections}.")
    if n_spots < MIN_SPOTS_PER_DOMAIN * n_domains:
        raise ValueError(
            f"n_spots is {n_spots}, too few to show {n_domains} domains: make at least "
            f"{MIN_SPOTS_PER_DOMAIN * n_domains} spots, or fewer domains."
        )
    if n_genes < 2 * n_domains:
        raise ValueError(f"n_genes is {n_genes}, too few for {n_domains} domains: make at least {2 * n_domains} genes.")
