"""Toy sections: spots on a hexagonal lattice, counts, and known domains."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix, vstack

from histoquilt._base import Keys
from histoquilt.datasets._anatomy import PITCH_UM, Anatomy, place_spots, plan_anatomy
from histoquilt.datasets._expression import Cells, Genes, draw_cells, draw_counts, plan_genes
from histoquilt.study import declare_scale, provenance

SECTION_GAP_UM = 100.0  # between serial sections
BATCH_LOG_SD, DEPTH_LOG_SD = 0.25, 0.25  # of each gene and of sequencing depth, between sections
MIN_SPOTS_PER_DOMAIN = 20


def toy_section(
    n_spots: int = 1500, n_genes: int = 500, n_domains: int = 6, n_sections: int = 1, seed: int = 0
) -> AnnData:
    """Simulate tissue sections with known domains, for examples, tests and benchmarks.

    Two thirds of the domains are curved layers, every second of them only four spots wide; the others are islands,
    nearly a millimetre across, in several pieces. More spots show more of the same structures (smaller ones if the
    section is too small for all).

    Each domain prefers one cell type, and each spot is a random mixture of all types. So expression alone distinguishes
    domains poorly (principal components + k-means: adjusted Rand index about 0.5), together with that of neighbours
    much better. Counts are gamma-Poisson with dropout; depth is log-normal and varies smoothly and from spot to spot;
    mean abundances span three orders of magnitude; smooth gradients are unrelated to domains.

    Parameters
    ----------
    n_spots, n_genes
        Numbers of spots per section and of genes, at least 20 and 2 for each domain. No dense matrix is made.
    n_domains
        Number of domains, at least 2: ``n_domains // 3`` of them are islands.
    n_sections
        Number of serial sections of one tissue, 100 µm apart in one coordinate frame. They differ slightly in shape,
        and each has its own batch effect on every gene and on depth.
    seed
        Random seed; the global random state is neither used nor changed.

    Returns
    -------
    AnnData of ``n_sections * n_spots`` spots:

    `X` : raw counts, CSR float32
    `obs["domain_true"]` : categorical, ``layer1`` ... and ``island1`` ...
    `obs["section"]`, `obs["z_um"]` : only for several sections; spot names are unique across them
    `obsm["spatial"]` : float64 ``(x, y)`` in microns, hexagonal lattice with 100 µm between neighbours
    `var["marker_of"]` : the domain that the gene marks, or ``""``
    `var["gene_symbol"]` : invented name in the style of human symbols
    `uns["histoquilt"]["scale"]` : ``X`` holds ``counts``
    `uns["histoquilt"]["coordinates"]` : ``unit`` micron, ``mpp`` 1, ``pitch_um`` 100

    Raises
    ------
    TypeError, ValueError
        A size or the seed is not a whole number, or too small.

    See Also
    --------
    histoquilt.datasets.toy_slide : a section with an H&E-like image.

    Examples
    --------
    >>> adata = toy_section(n_spots=300, n_genes=100, n_domains=4, seed=1)
    >>> adata.shape, list(adata.obs["domain_true"].cat.categories)
    ((300, 100), ['island1', 'layer1', 'layer2', 'layer3'])
    """
    check_sizes(n_spots, n_genes, n_domains, n_sections, seed)
    tissue = plan_tissue(n_spots, n_genes, n_domains, seed)
    streams = [np.random.default_rng([seed, 2 + section]) for section in range(n_sections)]
    scale = float(n_sections > 1)  # a single section has no batch effect
    parts = [draw_section(tissue, section, n_spots, rng, scale) for section, rng in enumerate(streams)]
    adata = assemble(tissue.genes, parts)
    spatial = np.concatenate([part.points for part in parts])
    adata.obsm[Keys.SPATIAL] = spatial - spatial.min(axis=0) + PITCH_UM
    provenance(adata)[Keys.COORDINATES] = {"unit": "micron", "mpp": 1.0, "pitch_um": PITCH_UM}
    return adata


class Tissue(NamedTuple):
    """A tissue, from which sections are drawn."""

    anatomy: Anatomy
    genes: Genes


class Section(NamedTuple):
    """One section of a tissue, before it becomes an AnnData."""

    points: np.ndarray  # (n_spots, 2) microns
    outline: np.ndarray  # of the tissue on this section
    z: float  # microns
    cells: Cells
    counts: csr_matrix


def plan_tissue(n_spots: int, n_genes: int, n_domains: int, seed: int) -> Tissue:
    """Draw anatomy and genes, from separate random streams: the number of genes does not change the domains."""
    anatomy = plan_anatomy(n_spots, n_domains, np.random.default_rng([seed, 0]))
    return Tissue(anatomy, plan_genes(n_genes, n_domains, np.random.default_rng([seed, 1])))


def draw_section(
    tissue: Tissue, number: int, n_spots: int, rng: np.random.Generator, batch_scale: float | None = 1.0
) -> Section:
    """Draw one of the serial sections of a tissue; ``batch_scale`` multiplies its batch effect, None draws none."""
    anatomy, genes, z = tissue.anatomy, tissue.genes, number * SECTION_GAP_UM
    points, outline = place_spots(anatomy, n_spots, rng, reshape=1.0 if number else 0.0)
    cells = draw_cells(genes, anatomy.domain_at(points, z), points, z, rng)
    batch, depth = np.zeros(len(genes.names)), 0.0
    if batch_scale is not None:
        batch = rng.normal(0, BATCH_LOG_SD * batch_scale, len(genes.names))
        depth = rng.normal(0, DEPTH_LOG_SD * batch_scale)
    return Section(points, outline, z, cells, draw_counts(genes, cells, points, z, batch, depth, rng))


def assemble(genes: Genes, sections: Sequence[Section]) -> AnnData:
    """Join sections in one AnnData, without coordinates."""
    n_islands = len(genes.domain_depth) // 3
    n_layers = len(genes.domain_depth) - n_islands
    names = [f"layer{i + 1}" for i in range(n_layers)] + [f"island{i + 1}" for i in range(n_islands)]
    codes = np.concatenate([section.cells.domain for section in sections])
    sizes = [len(section.points) for section in sections]
    width = len(str(len(codes)))
    prefixes = [f"s{i + 1}_" if len(sections) > 1 else "" for i in range(len(sections))]
    spots = [
        f"{prefix}spot{j + 1:0{width}d}" for prefix, size in zip(prefixes, sizes, strict=True) for j in range(size)
    ]
    domain = pd.Categorical.from_codes(codes, categories=pd.Index(names)).reorder_categories(sorted(names))
    obs = pd.DataFrame({"domain_true": domain}, index=spots)
    if len(sections) > 1:
        obs[Keys.SECTION] = pd.Categorical(np.repeat([f"s{i + 1}" for i in range(len(sections))], sizes))
        obs["z_um"] = np.repeat([section.z for section in sections], sizes)
    var = pd.DataFrame(
        {"marker_of": [names[code] if code >= 0 else "" for code in genes.marker_of], Keys.GENE_SYMBOL: genes.names},
        index=genes.names,
    )
    counts = [section.counts for section in sections]
    adata = AnnData(X=counts[0] if len(counts) == 1 else vstack(counts, format="csr"), obs=obs, var=var)
    declare_scale(adata, "X", "counts")
    return adata


def check_sizes(n_spots: int, n_genes: int, n_domains: int, n_sections: int, seed: int) -> None:
    """Raise unless the sizes are whole numbers, and large enough."""
    check_integers(n_spots=n_spots, n_genes=n_genes, n_domains=n_domains, n_sections=n_sections, seed=seed)
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


def check_integers(**values: Any) -> None:
    """Raise ``TypeError`` unless all values are whole numbers."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} must be a whole number, got {value!r}.")
