"""How much memory a prediction will take, told before the work starts.

Counted are the arrays that are alive together in the two largest steps, by what they take for each column of the
embeddings and for each gene. The factors were set by the peak resident set of ridge, k-NN, SpaHGC
and mclSTExp (50,000 spots, 100 to 1,000 genes, embeddings of 64 to 512 columns): the estimate lies 8 to 30 % above the
method that takes most.
"""

import math

from histoquilt._base import argument, either
from histoquilt.models.expression._checkpoint import FittedExpression
from histoquilt.runtime import available_bytes, in_words, n_processes_here

_BASE = 80_000_000  # buffers of libraries, loaded code
_SPOT = 600  # bytes: neighbours, names, coordinates


def bytes_to_predict(n_spots: int, fitted: FittedExpression, *, bare: bool) -> int:
    """Return what comes on top of what the process holds already; ``bare``: the embeddings have to be made first."""
    width, n_genes = sum(fitted.inputs.widths), len(fitted.genes)
    # with the mean over neighbours next to it, in double precision
    inputs = (16 if fitted.inputs.neighbours else 8) * width
    compared = inputs + 14 * width + 8 * n_genes  # embeddings next to those of training, when all is predicted
    predicting = inputs + 20 * n_genes  # in double precision, by the method that takes most
    own = 4 * width + 4 * n_genes if bare else 0
    return _BASE + n_spots * (_SPOT + own + max(compared, predicting))


def check_memory_to_predict(
    n_spots: int, fitted: FittedExpression, *, name: str, bare: bool = False, pitch_um: float | None = None
) -> None:
    """Raise if a prediction needs more memory than is available; skip the check if that cannot be determined.

    Parameters
    ----------
    name
        Name of the section or slide, for the message.
    pitch_um
        Distance of the spots in microns, if it can be chosen.

    Raises
    ------
    ValueError
        The prediction does not fit; the message states the memory needed and available, and what would fit.
    """
    available = available_bytes() // n_processes_here()
    needed = bytes_to_predict(n_spots, fitted, bare=bare)
    if needed <= available:
        return
    advice = "Predict a part of its spots at a time, or train on embeddings with fewer columns."
    if pitch_um is not None and available > 2 * _BASE:
        fits = pitch_um * math.sqrt((needed - _BASE) / (available - _BASE))
        set_pitch = f"set {argument('pitch_um')} higher"
        advice = f"Spots that lie {math.ceil(fits):,} um apart, not {pitch_um:g}, would fit: {set_pitch}."
    raise ValueError(
        f"{name}: predicting {n_spots:,} spots will take about {in_words(needed)} of memory; {in_words(available)} is "
        f"available. {advice} To try all the same, pass {either('check_memory=False', '--ignore-memory')}."
    )
