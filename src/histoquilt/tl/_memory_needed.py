"""How much memory finding domains will take, told before the work starts.

The estimate adds up the arrays that are alive at the same time in each step, and takes the largest step. Its factors
were set by the peak resident set of measured runs (10,000 to 1,000,000 spots, 500 and 2,000 genes; defaults, wide
networks and ``use_rep``); it lies 4 to 36 % above all of them. It says what comes on top of what the process holds
already, the section among it. Where training is on a GPU, the estimate counts as if it were not.
"""

from dataclasses import dataclass, replace

import numpy as np
from anndata import AnnData
from scipy.sparse import issparse

from histoquilt._base import Keys, argument, either
from histoquilt.models import BATCH_SPOTS, SpaMaskConfig, in_tiles, parts_of_batch
from histoquilt.pp import by_chunks
from histoquilt.runtime import available_bytes, in_words, n_processes, n_processes_here

_BASE = 80_000_000  # buffers of libraries, loaded code
_CHUNK = 150_000_000  # a few dense chunks and a batch of the default network
_COMPARED = 30  # principal components in which the mixing of sections is measured
_FACTOR_SPOTS = 50_000  # that the factors of a large section are sought in, in double precision


@dataclass(frozen=True)
class Job:
    """Properties of a job that determine its memory.

    Attributes
    ----------
    n_spots, n_genes
        Number of spots and genes of the section; ``n_genes`` is 0 if an embedding replaces the genes.
    n_values
        Number of stored values of the expression.
    n_features
        Width of that embedding, else 0.
    n_denoised
        Number of genes whose denoised expression is requested.
    by_section
        True if genes are scaled section by section.
    copied
        True if the expression is not CSR float32 yet, so that it will be held twice.
    config
        Settings of the model.
    joined
        True if several sections are integrated.
    """

    n_spots: int
    n_genes: int
    n_values: int
    n_features: int
    n_denoised: int
    by_section: bool
    copied: bool
    config: SpaMaskConfig
    joined: bool = False

    @classmethod
    def of(
        cls,
        adata: AnnData,
        config: SpaMaskConfig,
        *,
        layer: str | None,
        use_rep: str | None,
        by_section: bool,
        genes: list[str] | None,
        joined: bool = False,
    ) -> "Job":
        """Describe a job; ``genes`` to denoise: an empty list for all that are modelled, ``None`` for none."""
        shape = (adata.n_obs, 0, 0)
        n_features = n_denoised = 0
        copied = False
        if use_rep is not None:
            n_features = int(np.shape(adata.obsm[use_rep])[-1]) if use_rep in adata.obsm else 0
        else:
            name = layer or (Keys.COUNTS if Keys.COUNTS in adata.layers else "X")
            matrix = adata.X if name == "X" else adata.layers.get(name)
            in_file = name == "X" and adata.isbacked and by_chunks(adata.n_obs)  # read as it is needed
            n_values = int(matrix.nnz) if issparse(matrix) else adata.n_obs * adata.n_vars
            copied = not (in_file or (issparse(matrix) and matrix.format == "csr" and matrix.dtype == np.float32))
            shape = (adata.n_obs, adata.n_vars, n_values)
            if genes is not None:
                n_denoised = len(genes) or min(config.n_genes, adata.n_vars)
        return cls(*shape, n_features, n_denoised, by_section, copied, config, joined)


def memory_needed(job: Job) -> dict[str, int]:
    """Return the bytes that each step takes at its peak; what the job takes is the largest of them."""
    config = job.config
    modelled = min(config.n_genes, job.n_genes)
    width = job.n_features or (min(config.n_pcs, modelled) if config.features == "pca" else modelled)
    inputs = min(config.max_factors, width) if config.spatial_factors else width
    dense, features, table = 4 * modelled, 4 * width, 8 * job.n_values / job.n_spots  # bytes a spot
    copy = table if job.copied else 0.0
    large = by_chunks(job.n_spots)
    chunk = _CHUNK if large and job.n_genes else 0
    embedding = 4 * (inputs if config.embedding == "reconstruction" else config.n_latent) * (config.n_networks + 2)
    outputs = embedding + (400 if large else 600 + copy)  # with the graph, confidence and the mixture's scores

    if large:
        chosen: dict[str, float] = {"features": features + copy, "factors": 1.3 * features}
        fixed: dict[str, float] = {"features": chunk, "factors": chunk + 2.5 * 8 * width * _FACTOR_SPOTS}
    else:
        whole = (3 + 2 * job.by_section) * dense + 2 * table + copy
        chosen = {"features": whole, "factors": 5 * 8 * width + copy}
        fixed = {}
    training = _training_bytes(config)
    if in_tiles(job.n_spots, config.tile_spots):
        read = 2 * BATCH_SPOTS * (parts_of_batch(config.n_parts) // n_processes())  # with halo
        holes = max(1.0, config.n_hidden / 128)  # that large arrays of changing size leave in memory, step by step
        chosen["training"] = 3 * 4 * inputs + 200 + (0 if large else copy)  # values, smoothed values and the graph
        fixed["training"] = holes * training * read
        chosen["embedding"] = max(features + 300, outputs) if large else outputs + features
    else:
        chosen["training"] = training + features + copy
        chosen["embedding"] = outputs + 2 * features + training * 0.6
    if not large:
        chosen["embedding"] += chosen["features"]  # they are made anew
    if job.by_section and config.match_sections:
        chosen["offsets between sections"] = outputs + 8 * 6 * inputs  # in double precision
        fixed["offsets between sections"] = chunk
    if job.joined:
        chosen["comparison of sections"] = outputs + 4 * inputs + 8 * 6 * _COMPARED
        fixed["comparison of sections"] = chunk
    chosen["denoised expression"] = outputs + 4 * job.n_denoised * (1 if large else 3)
    fixed["embedding"] = fixed["denoised expression"] = chunk
    return {step: int(_BASE + fixed.get(step, 0) + size * job.n_spots) for step, size in chosen.items()}


def _training_bytes(config: SpaMaskConfig) -> float:
    """Return what a spot takes in a training step: activations of both branches, scored pairs, the graph."""
    edges = 0.6 * config.n_neighbors  # a spot, once for both ends
    pairs = 2 * config.edge_mask_rate * edges  # hidden edges and as many that are none
    return 40 * (config.n_hidden + config.n_latent) + 16 * pairs * config.n_latent + 60 * (2 * edges + 1)


def check_memory_suffices(job: Job) -> None:
    """Raise where a job needs more memory than there is.

    Raises
    ------
    ValueError
        With what is needed, what is there, and which changes would make the job fit.
    """
    here = n_processes_here()
    available = available_bytes() // here
    needed = memory_needed(job)
    step = max(needed, key=lambda name: needed[name])
    if needed[step] <= available:
        return
    remedies = [
        f"{words} ({in_words(max(memory_needed(other).values()))})"
        for words, other in _smaller_jobs(job)
        if max(memory_needed(other).values()) <= available
    ]
    advice = f"What would fit: {'; '.join(remedies)}." if remedies else "Use fewer spots, or a machine with more."
    each = f" to each of {here} processes" if here > 1 else ""
    anyway = either("check_memory=False", "--ignore-memory")
    raise ValueError(
        f"Finding domains of {job.n_spots:,} spots will take about {in_words(needed[step])} of memory, most of it for "
        f"{step}; {in_words(available)} is available{each}. {advice} To try all the same, pass {anyway}."
    )


def _smaller_jobs(job: Job) -> list[tuple[str, Job]]:
    """Return what a user can give up, the least first, and the job that is left."""
    config = job.config
    found = []
    if job.n_denoised:
        less = either("denoise=False", "--denoise none")
        found.append((f"{less}, or only the genes you look at", replace(job, n_denoised=0)))
    if not in_tiles(job.n_spots, config.tile_spots):
        found.append((_configured("tile_spots", 1024), replace(job, config=replace(config, tile_spots=1024))))
    for n_genes in (1000, 300):
        if n_genes < min(config.n_genes, job.n_genes):
            fewer = replace(job, config=replace(config, n_genes=n_genes), n_denoised=min(job.n_denoised, n_genes))
            found.append((_configured("n_genes", n_genes), fewer))
    if job.n_genes:
        reduced = replace(job, n_genes=0, n_values=0, n_features=50, n_denoised=0, copied=False)
        found.append((f"an embedding of 50 columns, {argument('use_rep', 'X_pca')}", reduced))
    return found


def _configured(name: str, value: int) -> str:
    """Return how a field of the configuration is set."""
    return either(f"SpaMaskConfig({name}={value})", f'{{"{name}": {value}}} in the file of --config')
