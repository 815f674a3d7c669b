"""Random masks of spots and edges."""

import torch
from torch import Tensor


def draw_mask(n: int, rate: float, generator: torch.Generator) -> Tensor:
    """Choose ``round(rate * n)`` of ``n`` items without replacement; at least one when ``rate`` > 0.

    Returns
    -------
    ``(n,)`` bool on the CPU, where the generator lives, so that a seed means the same mask on every device.
    """
    mask = torch.zeros(n, dtype=torch.bool)
    if rate > 0 and n > 0:
        mask[torch.randperm(n, generator=generator)[: max(1, round(rate * n))]] = True
    return mask
