"""Estimate of the memory that finding domains takes, before the work starts.

One model: what every spot takes (graph, results, a copy of expression that is not CSR float32), what does not grow with
the tissue (a few dense chunks, the product of the genes with themselves), and the larger of two steps: learning, with
features and what the method works on, and denoised expression. ``benchmarks/memory.py`` measures the peak of whole
runs, and a test holds the model above all of them and below 1.6 times each. The estimate says what comes on top of
what the process holds already, the section among it. Where training is on a GPU, the estimate counts as if it were not.
"""

from dataclasses import dataclass, replace

import numpy as np
from anndata import AnnData
from scipy.sparse import issparse

from histoquilt._base import Keys, argument, either
from histoquilt.models import FeatureModel
from histoquilt.runtime import available_bytes, in_words, n_processes_here

_BASE = 40_000_000  # buffers of libraries, a few dense chunks
_SPOT = 400  # graph, neighbours that are looked for, mixture, results
_IMAGE = 50  # components of an image, at most
_OFFSETS = 8 * 6  # copies in double precision of an embedding that sections are matched in


@dataclass(frozen=True)
class Job:
    """Properties of a job that determine its memory.

    Attributes
    ----------
    n_spots, n_genes
        Number of spots and genes of the section; ``n_genes`` is 0 if an embedding replaces the genes.
    copied
        Bytes a spot of expression that is not CSR float32 yet, so that it will be held twice.
    n_features
        Width of the features.
    n_denoised
        Number of genes whose denoised expression is requested.
    several
        True if several sections share the embedding.
    model
        Untrained model.
    """

    n_spots: int
    n_genes: int
    copied: float
    n_features: int
    n_denoised: int
    several: bool
    model: FeatureModel

    @classmethod
    def of(
        cls,
        adata: AnnData,
        model: FeatureModel,
        *,
        layer: str | None,
        use_rep: str | None,
        several: bool,
        genes: list[str] | None,
    ) -> "Job":
        """Describe a job; ``genes`` to denoise: an empty list for all that are modelled, ``None`` for none."""
        config = model.config
        of_image = 0 if config.image in (None, "edges") else _IMAGE
        if use_rep is not None or config.image == "only":
            width = int(np.shape(adata.obsm[use_rep])[-1]) if use_rep is not None and use_rep in adata.obsm else 0
            return cls(adata.n_obs, 0, 0.0, width + of_image, 0, several, model)
        name = layer or (Keys.COUNTS if Keys.COUNTS in adata.layers else "X")
        matrix = adata.X if name == "X" else adata.layers.get(name)
        in_file = name == "X" and adata.isbacked  # read as it is needed
        as_needed = in_file or (issparse(matrix) and matrix.format == "csr" and matrix.dtype == np.float32)
        n_values = int(matrix.nnz) if issparse(matrix) else adata.n_obs * adata.n_vars
        modelled = min(config.n_genes, adata.n_vars)
        width = of_image + (min(config.n_pcs, modelled) if config.features == "pca" else modelled)
        n_denoised = 0 if genes is None else len(genes) or modelled
        copied = 0.0 if as_needed else 8 * n_values / adata.n_obs
        return cls(adata.n_obs, modelled, copied, width, n_denoised, several, model)


def memory_needed(job: Job) -> int:
    """Return the bytes that a job takes at its peak."""
    width = job.model.embedding_width(job.n_features)
    of_spot = _SPOT + job.copied + (_OFFSETS * width if job.several else 0)
    learning = 4 * job.n_features * job.n_spots + job.model.working_bytes(job.n_spots, job.n_features)
    denoising = 4 * (1.2 * job.n_denoised + 2 * width) * job.n_spots
    return int(_BASE + 16 * job.n_genes**2 + of_spot * job.n_spots + max(learning, denoising))


def check_memory_suffices(job: Job) -> None:
    """Raise if a job needs more memory than is available; do nothing if that is not known.

    Raises
    ------
    ValueError
        With what is needed, what is there, and which changes would make the job fit.
    """
    available = available_bytes()
    if available is None:
        return
    here = n_processes_here()
    available //= here
    needed = memory_needed(job)
    if needed <= available:
        return
    remedies = [
        f"{words} ({in_words(memory_needed(other))})"
        for words, other in _smaller_jobs(job)
        if memory_needed(other) <= available
    ]
    advice = f"What would fit: {'; '.join(remedies)}." if remedies else "Use fewer spots, or a machine with more."
    each = f" to each of {here} processes" if here > 1 else ""
    anyway = either("check_memory=False", "--ignore-memory")
    raise ValueError(
        f"Finding domains of {job.n_spots:,} spots will take about {in_words(needed)} of memory; {in_words(available)} "
        f"is available{each}. {advice} To try all the same, pass {anyway}."
    )


def _smaller_jobs(job: Job) -> list[tuple[str, Job]]:
    """Return options that reduce the memory, the least restrictive first, each with the job that remains."""
    found = []
    if job.n_denoised:
        less = either("denoise=False", "--denoise none")
        job = replace(job, n_denoised=0)
        found.append((f"{less}, or only the genes you look at", job))
    if job.n_genes:
        if job.n_features > 50:
            config = type(job.model.config).__name__
            words = either(f"{config}(n_pcs=50)", '{"n_pcs": 50} in the file of --config')
            found.append((words, replace(job, n_features=50)))
        reduced = replace(job, n_genes=0, copied=0.0, n_features=50)
        found.append((f"an embedding of 50 columns, {argument('use_rep', 'X_pca')}", reduced))
    return found
