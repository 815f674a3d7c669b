"""Toy study of two conditions, in which one domain grows and one domain changes its expression."""

from dataclasses import replace

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.datasets._anatomy import PITCH_UM, Anatomy, plan_anatomy
from histoquilt.datasets._expression import plan_genes
from histoquilt.datasets._section import Tissue, assemble, check_integers, check_sizes, draw_section
from histoquilt.study import provenance

CONDITIONS = ("control", "treated")
N_DEPTHS = 4  # at which the region is cut, 100 um apart
THICKNESS_LOG_SD = 0.12  # of each layer, between patients
GROWN, GROWTH = 1, 3.0  # code of the layer that is this many times thicker in treated patients
CHANGED, FOLD = 0, 3.0  # code of the layer in which genes are expressed this many times less in treated patients
CHANGED_SHARE = 0.06  # of all genes


def toy_conditions(
    n_patients: int = 4,
    n_spots: int = 600,
    n_genes: int = 200,
    n_domains: int = 5,
    *,
    changed: bool = True,
    seed: int = 0,
) -> dict[str, AnnData]:
    """Simulate one section of each patient in two conditions, with planted differences between the conditions.

    All sections show the same region of layers and islands (:func:`toy_section`), cut at different depths. Patients
    differ in the thickness of the layers, the places of the islands, the level of every gene, and depth. In treated
    patients ``layer2`` is three times as thick, and 6 % of the genes fall to a third in
    ``layer1``, the same genes in all of them.

    Parameters
    ----------
    n_patients
        Number of patients per condition.
    n_spots, n_genes, n_domains
        Numbers of spots per section, genes and domains (at least 3, of which two are layers).
    changed
        If false, conditions are names only and nothing differs.
    seed
        Random seed.

    Returns
    -------
    Section name -> AnnData as of :func:`toy_section`, with ``obs["section"]``, ``obs["patient"]``,
    ``obs["condition"]`` (``control``, ``treated``) and ``var["changes_in"]``, the domain in which a gene changes or
    ``""``. All are in microns, in frames of their own.

    Raises
    ------
    TypeError, ValueError
        A number is not whole, or too small.

    Examples
    --------
    >>> sections = toy_conditions(n_patients=2, n_spots=200, n_genes=50, n_domains=3, seed=0)
    >>> {name: section.obs["condition"].iloc[0] for name, section in sections.items()}
    {'p1': 'control', 'p2': 'control', 'p3': 'treated', 'p4': 'treated'}
    """
    check_sizes(n_spots, n_genes, n_domains, 1, seed)
    check_integers(n_patients=n_patients)
    if n_patients < 1 or n_domains < 3:
        raise ValueError(f"At least 1 patient and 3 domains are needed, got {n_patients} and {n_domains}.")
    common = plan_anatomy(n_spots, n_domains, np.random.default_rng([seed, 0]))
    rng = np.random.default_rng([seed, 1])
    genes = plan_genes(n_genes, n_domains, rng)
    plain = np.flatnonzero(genes.marker_of < 0)
    plain = plain[np.argsort(-genes.cell_type[:, plain].mean(axis=0))][: max(1, len(plain) // 2)]  # expressed ones
    planted = rng.choice(plain, min(len(plain), max(1, round(CHANGED_SHARE * n_genes))), replace=False)
    if not changed:
        planted = planted[:0]
    sections = {}
    for number in range(2 * n_patients):
        treated = number >= n_patients
        stream = np.random.default_rng([seed, 2, number])
        anatomy = _of_patient(common, plan_anatomy(n_spots, n_domains, stream), stream, grown=treated and changed)
        part = draw_section(Tissue(anatomy, genes), int(stream.integers(1, 1 + N_DEPTHS)), n_spots, stream)
        adata = assemble(genes, [part])
        if treated and changed:
            _thin(adata, np.flatnonzero(part.cells.domain == CHANGED), planted, stream)
        adata.obsm[Keys.SPATIAL] = part.points - part.points.min(axis=0) + PITCH_UM
        name = f"p{number + 1}"
        of_section = {Keys.SECTION: name, Keys.PATIENT: name, Keys.CONDITION: CONDITIONS[treated]}
        for column, value in of_section.items():
            adata.obs[column] = pd.Categorical([value] * n_spots)
        adata.var["changes_in"] = np.where(np.isin(np.arange(n_genes), planted), f"layer{CHANGED + 1}", "")
        provenance(adata)[Keys.COORDINATES] = {"unit": "micron", "mpp": 1.0, "pitch_um": PITCH_UM}
        sections[name] = adata
    return sections


def _of_patient(common: Anatomy, own: Anatomy, rng: np.random.Generator, *, grown: bool) -> Anatomy:
    """Return the same region in one patient: the thickness of layers, islands and the outline are the patient's own.

    If ``grown``, one layer is thicker. The period of the layers is kept, so that the others are thinner.
    """
    thickness = np.diff(common.layer_ends_um, prepend=0.0) * np.exp(
        rng.normal(0, THICKNESS_LOG_SD, len(common.layer_ends_um))
    )
    if grown:
        thickness[GROWN] *= GROWTH
    ends = np.cumsum(thickness)
    return replace(
        own, direction=common.direction, warp=common.warp, layer_ends_um=ends * common.layer_ends_um[-1] / ends[-1]
    )


def _thin(adata: AnnData, rows: np.ndarray, genes: np.ndarray, rng: np.random.Generator) -> None:
    """Keep each count of some genes in some spots with probability ``1 / FOLD``."""
    counts = adata.X[rows].toarray()
    counts[:, genes] = rng.binomial(counts[:, genes].astype(int), 1 / FOLD)
    whole = adata.X.tolil()
    whole[rows] = counts
    adata.X = whole.tocsr()
