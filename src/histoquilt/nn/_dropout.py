"""Dropout that draws from a generator, so that a seed fixes the result."""

import torch
from torch import Tensor

_STEPS = 2**16  # a unit is dropped by 16 random bits: four units share one draw, which is most of the time


def dropout(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Set a share of the values to zero and scale the others by ``1 / (1 - rate)``; any shape.

    ``nn.Dropout`` would draw from the global random state. Callers pass rate 0 in ``eval`` mode.

    Raises
    ------
    ValueError
        The rate is not in [0, 1), or there is no generator to draw from.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"A dropout rate must be at least 0 and less than 1, got {rate}.")
    if rate == 0:
        return x
    if generator is None:
        raise ValueError("Training with dropout draws random numbers: pass generator=, or call .eval() first.")
    hidden = random_bits(x.shape, rate, generator).to(x.device)
    return x.masked_fill(hidden, 0.0) * (_STEPS / (_STEPS - round(rate * _STEPS)))


def random_bits(shape: torch.Size | tuple[int, ...], rate: float, generator: torch.Generator) -> Tensor:
    """Draw every entry true with probability ``rate`` (to 1 in 65,536), bool, where the generator lives: the CPU."""
    n = 1
    for size in shape:
        n *= size
    draws = torch.empty(-(-n // 4), dtype=torch.int64)
    draws.random_(-(2**63), None, generator=generator)  # all numbers of 64 bits
    sixteen = draws.view(torch.int16)[:n].to(torch.int32)
    return (sixteen < round(rate * _STEPS) - _STEPS // 2).view(shape)
