"""Estimate of the memory that training takes, before the work starts.

Counted is what is alive in the two largest steps, by the columns of the inputs and the genes of the panel: finding the
principal components of the inputs, and fitting the last of several models while the predictions of held-out sections by
the others are kept. ``benchmarks/memory.py`` measures the peak of whole fits; a test holds the estimate above them.
"""

from dataclasses import dataclass

from histoquilt._base import argument, either
from histoquilt.models._image_components import MAX_COMPONENTS
from histoquilt.runtime import available_bytes, in_words, n_processes_here

_BASE = 150_000_000  # buffers of libraries, blocks in double precision, decompositions
_SPOT = 600  # bytes: neighbours, names, coordinates
_PRODUCTS = 8 * 128  # of each section and gene: counts times components


@dataclass(frozen=True)
class TrainingSize:
    """What determines the memory of a training.

    Attributes
    ----------
    n_sections, n_spots
        Training sections, and spots in all of them.
    n_columns
        Columns of all embeddings of a spot.
    n_genes
        Genes of the panel.
    """

    n_sections: int
    n_spots: int
    n_columns: int
    n_genes: int


def bytes_to_train(size: TrainingSize, *, neighbours: bool = True, n_models: int = 1) -> int:
    """Return the memory of a training, on top of what the process holds already.

    Parameters
    ----------
    size
        Size of the study.
    neighbours
        True if the neighbours' mean embeddings are appended to the inputs.
    n_models
        Number of models that are combined.
    """
    n_inputs = size.n_columns * (2 if neighbours else 1)
    n_components = min(n_inputs, MAX_COMPONENTS)
    inputs, expression = 4 * n_inputs, 4 * size.n_genes
    held = inputs + expression
    components = 3 * inputs + 2 * 4 * n_components  # joined, centred
    # scores, joined spots of one side of a fold, held-out predictions, one set of them in double precision, and the
    # measured values
    fitting = 3 * 4 * n_components + 2 * expression + (n_models + 2) * expression
    of_spots = size.n_spots * (_SPOT + held + max(components, fitting))
    return _BASE + of_spots + size.n_sections * size.n_genes * _PRODUCTS


def check_memory_to_train(size: TrainingSize, *, neighbours: bool, n_models: int) -> None:
    """Raise if a training needs more memory than is available; skip the check if that cannot be determined.

    Raises
    ------
    ValueError
        The training does not fit; the message states the memory needed and available, and what to do.
    """
    available, needed = (
        available_bytes() // n_processes_here(),
        bytes_to_train(size, neighbours=neighbours, n_models=n_models),
    )
    if needed <= available:
        return
    raise ValueError(
        f"Training on {size.n_spots:,} spots of {size.n_sections:,} sections (embeddings of {size.n_columns:,} "
        f"columns, {size.n_genes:,} genes) will take about {in_words(needed)} of memory; {in_words(available)} is "
        f"available. Train on fewer genes ({argument('n_genes')}), fewer sections or narrower embeddings. To try all "
        f"the same, pass {either('check_memory=False', '--ignore-memory')}."
    )
