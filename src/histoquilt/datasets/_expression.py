"""Genes of the toy tissue: the effect of domains, cell mixtures and gradients on expression, and the counts."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from histoquilt.datasets._anatomy import SmoothField

N_SHARED_TYPES = 4  # cell types that no domain prefers
# Dirichlet weights of cells under a spot: the domain's own type, those of all other domains together, each shared one.
# Small weights make neighbouring spots differ, so that domains are hard to distinguish.
OWN_WEIGHT, FOREIGN_WEIGHT, SHARED_WEIGHT = 0.8, 0.29, 0.1
N_GRADIENTS = 3
MARKER_SHARE = 0.05  # of the genes, per domain
MEDIAN_DEPTH_PER_GENE = 0.9  # 450 counts a spot over 500 genes
VALUES_PER_CHUNK = 2**21  # values drawn at a time: 16 MB


@dataclass(frozen=True)
class Genes:
    """Dependence of expression on the tissue; the log-mean is the sum of the parts. Made by :func:`plan_genes`."""

    names: list[str]
    marker_of: np.ndarray  # (n_genes,) domain code, -1 for none
    cell_type: np.ndarray  # (n_cell_types, n_genes) abundance in pure cells; domain `d` prefers type `d`
    gradient: np.ndarray  # (n_gradients + 1, n_genes) loadings; the last is that of cellularity
    gradients: list[SmoothField]
    cellularity: SmoothField  # density of cells, visible on a slide
    depth: SmoothField
    domain_depth: np.ndarray  # (n_domains,) log
    shape: np.ndarray  # (n_genes,) gamma shape: smaller is noisier


def plan_genes(n_genes: int, n_domains: int, rng: np.random.Generator) -> Genes:
    """Draw the genes of a tissue."""
    base = rng.normal(0, 1.2, n_genes)
    marker_of = np.full(n_genes, -1)
    n_markers = max(1, round(MARKER_SHARE * n_genes))
    # every domain gets markers of all abundances, so that no seed is much easier than another
    by_abundance = np.argsort(-base)
    candidates = by_abundance[: max(n_markers * n_domains, int(0.8 * n_genes))]
    strata = np.array_split(candidates, min(n_markers, max(1, len(candidates) // n_domains)))
    for stratum in strata:
        chosen = rng.choice(stratum, min(n_domains, len(stratum)), replace=False)
        marker_of[chosen] = rng.permutation(n_domains)[: len(chosen)]
    cell_type = rng.normal(0, 0.3, (n_domains + N_SHARED_TYPES, n_genes))
    marker = np.flatnonzero(marker_of >= 0)
    cell_type[marker_of[marker], marker] += rng.uniform(1.2, 2.4, len(marker))
    gradient = rng.normal(0, 0.08, (N_GRADIENTS + 1, n_genes)) * (rng.random((N_GRADIENTS + 1, n_genes)) < 0.2)
    return Genes(
        names=gene_names(n_genes, rng),
        marker_of=marker_of,
        cell_type=np.exp(base + cell_type),
        gradient=gradient,
        gradients=[SmoothField(2500.0, rng) for _ in range(N_GRADIENTS)],
        cellularity=SmoothField(700.0, rng),
        depth=SmoothField(1200.0, rng),
        domain_depth=rng.normal(0, 0.15, n_domains),
        shape=rng.uniform(3.0, 12.0, n_genes),
    )


@dataclass(frozen=True)
class Cells:
    """Cells under each spot, which determine both its counts and its pixels."""

    domain: np.ndarray  # (n_spots,) codes
    proportions: np.ndarray  # (n_spots, n_cell_types) float32, rows sum to 1
    gradients: np.ndarray  # (n_spots, n_gradients + 1) float32, the last is cellularity


def draw_cells(genes: Genes, domain: np.ndarray, points: np.ndarray, z: float, rng: np.random.Generator) -> Cells:
    """Draw the mixture of cells under each spot."""
    n_domains = len(genes.domain_depth)
    shape = np.full((n_domains, n_domains + N_SHARED_TYPES), SHARED_WEIGHT, dtype=np.float32)
    shape[:, :n_domains] = FOREIGN_WEIGHT / max(n_domains - 1, 1)
    shape[np.arange(n_domains), np.arange(n_domains)] = OWN_WEIGHT
    weights = rng.standard_gamma(shape[domain], dtype=np.float32)
    fields = [*genes.gradients, genes.cellularity]
    gradients = np.stack([field(points, z).astype(np.float32) for field in fields], axis=1)
    return Cells(domain, weights / weights.sum(axis=1, keepdims=True), gradients)


def draw_counts(
    genes: Genes, cells: Cells, points: np.ndarray, z: float, batch: np.ndarray, depth: float, rng: np.random.Generator
) -> csr_matrix:
    """Draw gamma-Poisson counts, CSR float32 ``(n_spots, n_genes)``, with log factors of genes and of depth."""
    n_spots, n_genes = len(cells.domain), len(genes.names)
    log_depth = (
        np.log(MEDIAN_DEPTH_PER_GENE * n_genes)
        + depth
        + genes.domain_depth[cells.domain]
        + 0.2 * genes.depth(points, z)
        + 0.15 * cells.gradients[:, -1]
        + rng.normal(0, 0.3, n_spots)
    )
    parts: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]] = ([], [], [])  # row lengths, columns, values
    step = max(1, VALUES_PER_CHUNK // n_genes)
    for start in range(0, n_spots, step):
        rows = slice(start, start + step)
        mean = cells.proportions[rows] @ genes.cell_type * np.exp(cells.gradients[rows] @ genes.gradient + batch)
        mean *= (np.exp(log_depth[rows]) / mean.sum(axis=1))[:, None]
        mean *= rng.standard_gamma(genes.shape, mean.shape) / genes.shape
        counts = rng.poisson(mean)
        row, column = np.nonzero(counts)
        parts[0].append(np.bincount(row, minlength=len(counts)))
        parts[1].append(column.astype(np.int32))
        parts[2].append(counts[row, column].astype(np.float32))
    lengths, columns, values = map(_join, parts)
    return csr_matrix((values, columns, np.concatenate([[0], np.cumsum(lengths)])), shape=(n_spots, n_genes))


def _join(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenate and empty the list, to avoid holding all parts and their union at once."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole


FAMILIES = (
    "ABHD ACSL ADAM AKAP ANKRD ATP6V BHLHE CACNA CCDC CDH CHRN CLDN COL DUSP EFHD EPHB FAM FBXO FOXP GABR GPR GRIN "
    "HOXA HTR IGFBP IL ITGA KCN KIF KLF KRT LAMB LRRC MAPK MMP MYO NDUFA NEUROD NKX NRXN OLFM PAX PCDH PDE PLXN PTPN "
    "RAB RASGEF RORB S100A SEMA SLC SNX SOX SYT TBX TMEM TRIM TUBB UBE WNT ZBTB ZNF"
).split()


def gene_names(n_genes: int, rng: np.random.Generator) -> list[str]:
    """Return unique, meaningless names in the style of human gene symbols: a family and a number."""
    n_numbers = max(20, -(-2 * n_genes // len(FAMILIES)))
    chosen = rng.choice(len(FAMILIES) * n_numbers, n_genes, replace=False)
    return [f"{FAMILIES[code // n_numbers]}{code % n_numbers + 1}" for code in chosen]
