"""Dropout and random masks drawn from a generator, so that a seed fixes the result."""

import math

import torch
from torch import Tensor

_STEPS = 2**16  # 16 random bits per value: drawing takes most of the time, and four values share one 64-bit number


def dropout(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Set a share of the values to zero and scale the others by ``1 / (1 - rate)``; any shape.

    Callers pass rate 0 in ``eval`` mode.

    Raises
    ------
    ValueError
        The rate is not in [0, 1), or there is no generator to draw from.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> dropped = hq.nn.dropout(torch.ones(1000), 0.5, torch.Generator().manual_seed(0))
    >>> sorted(set(dropped.tolist()))
    [0.0, 2.0]
    """
    if not 0 <= rate < 1:
        raise ValueError(f"A dropout rate must be at least 0 and less than 1, got {rate}.")
    if rate == 0:
        return x
    if generator is None:
        raise ValueError("Training with dropout draws random numbers: pass generator=, or call .eval() first.")
    hidden = _random_mask(x.shape, rate, generator).to(x.device)
    return x.masked_fill(hidden, 0.0) * (_STEPS / (_STEPS - round(rate * _STEPS)))


def complementary_masks(shape: tuple[int, ...], rate: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw two complementary bool masks of a shape, true where a value is hidden, on the CPU.

    The first hides each value with probability ``rate``, the second hides the rest.

    Raises
    ------
    ValueError
        The rate is not between 0 and 1.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> first, second = hq.nn.complementary_masks((2, 50), 0.3, torch.Generator().manual_seed(0))
    >>> first.shape, bool((first ^ second).all())
    (torch.Size([2, 50]), True)
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie between 0 and 1, got {rate}.")
    first = _random_mask(shape, rate, generator)
    return first, ~first


def hide(x: Tensor, hidden: Tensor, *, rescale: bool = True) -> Tensor:
    """Set hidden values to zero and scale the others so that sums over features keep their expected size.

    Without the scaling, a network that sees a tenth of its inputs in training sees ten times as much in prediction.
    x, hidden: any shape.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> hq.nn.hide(torch.ones(4), torch.tensor([True, True, False, False])).tolist()
    [0.0, 0.0, 2.0, 2.0]
    """
    hidden = hidden.to(x.device)
    kept = x.masked_fill(hidden, 0.0)
    return kept * (hidden.numel() / (~hidden).sum().clamp_min(1)) if rescale else kept


def _random_mask(shape: torch.Size | tuple[int, ...], rate: float, generator: torch.Generator) -> Tensor:
    n = math.prod(shape)
    draws = torch.empty(-(-n // 4), dtype=torch.int64)
    draws.random_(-(2**63), None, generator=generator)  # all 64 bits
    sixteen = draws.view(torch.int16)[:n].to(torch.int32)
    return (sixteen < round(rate * _STEPS) - _STEPS // 2).view(shape)
