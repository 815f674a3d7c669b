"""Random masks of single features."""

import torch
from torch import Tensor

from histoquilt.nn._dropout import random_bits


def complementary_masks(shape: tuple[int, ...], rate: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw two complementary masks of single values: every value is hidden by exactly one.

    Parameters
    ----------
    shape
        Shape of the features, ``(n_nodes, n_features)``.
    rate
        Fraction that the first mask hides; the second hides the rest.

    Returns
    -------
    Two bool tensors, true where a value is hidden, on the CPU.

    Raises
    ------
    ValueError
        The rate is not between 0 and 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie between 0 and 1, got {rate}.")
    first = random_bits(shape, rate, generator)
    return first, ~first


def hide(x: Tensor, hidden: Tensor, *, rescale: bool = True) -> Tensor:
    """Set hidden values to zero, and scale what is kept so that sums over features keep their size on average.

    Without the scale, a network that saw a tenth of its inputs in training sees ten times as much afterwards.
    x, hidden: any shape.
    """
    hidden = hidden.to(x.device)
    kept = x.masked_fill(hidden, 0.0)
    return kept * (hidden.numel() / (~hidden).sum().clamp_min(1)) if rescale else kept
