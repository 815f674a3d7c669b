"""Small residual network for patches, trainable without further packages."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

MEAN, STD = (0.75, 0.60, 0.72), (0.17, 0.21, 0.16)  # of red, green and blue in H&E, in [0, 1]


class ResidualCNN(nn.Module):
    """Residual blocks (He et al. 2016) with group normalisation (Wu & He 2018), then the mean over the patch.

    With group normalisation, results do not depend on the other patches of a batch.

    Parameters
    ----------
    widths
        Channels of each stage, multiples of ``n_groups``; the last is the number of features. Each stage halves the
        side of the patch, which should be at least ``2**len(widths)``.
    n_groups
        Number of groups of the normalisation.

    Raises
    ------
    ValueError
        A width is not a multiple of ``n_groups``.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> patches = torch.zeros(2, 16, 16, 3, dtype=torch.uint8)
    >>> hq.nn.ResidualCNN((8, 16), n_groups=4)(patches).shape
    torch.Size([2, 16])
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
        x = patches.permute(0, 3, 1, 2)  # a view: channels-last memory is faster on CPUs
        scaled = x.to(self.mean.dtype) / 255 if x.dtype == torch.uint8 else x
        x = self.blocks(self.stem((scaled - self.mean) / self.std))  # (n_patches, n_features, rows, columns)
        return functional.relu(self.norm(x)).mean(dim=(2, 3))


class _ResidualBlock(nn.Module):
    """Pre-activation residual block that halves the side."""

    def __init__(self, n_in: int, n_out: int, n_groups: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(n_groups, n_in), nn.GroupNorm(n_groups, n_out)])
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(n, n_out, 3, stride=stride, padding=1, bias=False) for n, stride in ((n_in, 2), (n_out, 1))]
        )
        self.shortcut = nn.Conv2d(n_in, n_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        for norm, convolve in zip(self.norms, self.convolutions, strict=True):
            residual = convolve(functional.relu(norm(residual)))
        return residual + self.shortcut(functional.avg_pool2d(x, 2, ceil_mode=True))
