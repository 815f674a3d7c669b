"""A small residual network for patches, so that an image branch can be trained without any further package."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

MEAN, STD = (0.75, 0.60, 0.72), (0.17, 0.21, 0.16)  # of H&E, red, green, blue in [0, 1]: centres inputs, no more


class ResidualCNN(nn.Module):
    """Residual blocks (He et al. 2016) with group normalisation (Wu & He 2018), then the mean over the patch.

    Group normalisation uses one patch alone: results depend neither on the other patches nor on the batch size.

    Parameters
    ----------
    widths
        Channels of the stages; each halves the side of the patch, so that side should be at least ``2**len(widths)``.
        The last is the number of features.
    n_groups
        Number of groups of the normalisation; every width must be a multiple of it.

    Raises
    ------
    ValueError
        A width is not a multiple of the number of groups.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 128), *, n_groups: int = 8) -> None:
        super().__init__()
        if not widths or any(width <= 0 or width % n_groups for width in widths):
            raise ValueError(f"widths must be multiples of n_groups={n_groups}, got {tuple(widths)}.")
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])
        self.stem = nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=False)
        self.blocks = nn.Sequential(*(_ResidualBlock(n_in, n_out, n_groups) for n_in, n_out in pairwise(widths)))
        self.norm = nn.GroupNorm(n_groups, widths[-1])
        self.n_features = widths[-1]

    def forward(self, patches: Tensor) -> Tensor:
        """Return (n_patches, n_features). patches: (n_patches, height, width, 3) uint8 RGB, or float in [0, 1]."""
        if patches.ndim != 4 or patches.shape[3] != 3:
            raise ValueError(f"Patches must have shape (n_patches, height, width, 3), got {tuple(patches.shape)}.")
        x = patches.permute(0, 3, 1, 2)  # a view: channels stay last in memory, which convolutions on CPUs like
        scaled = x.to(self.mean.dtype) / 255 if x.dtype == torch.uint8 else x
        x = self.blocks(self.stem((scaled - self.mean) / self.std))  # (n_patches, n_features, rows, columns)
        return functional.relu(self.norm(x)).mean(dim=(2, 3))


class _ResidualBlock(nn.Module):
    """Halves the side; norm and activation come first, so that the shortcut is linear all the way through."""

    def __init__(self, n_in: int, n_out: int, n_groups: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(n_groups, n_in), nn.GroupNorm(n_groups, n_out)])
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False),
                nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            ]
        )
        self.shortcut = nn.Conv2d(n_in, n_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        for norm, convolve in zip(self.norms, self.convolutions, strict=True):
            residual = convolve(functional.relu(norm(residual)))
        return residual + self.shortcut(functional.avg_pool2d(x, 2, ceil_mode=True))
