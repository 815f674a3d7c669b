"""What the image branch of mclSTExp is given: components of a frozen embedding, or pixels; and how both are varied."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from histoquilt._base import argument, require
from histoquilt.models._image_components import Basis
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.mclstexp._config import MclSTExpConfig
from histoquilt.nn import ResidualCNN, dropout


@dataclass(frozen=True)
class ImageInputs:
    """From a section to what the image branch takes.

    Attributes
    ----------
    basis
        Principal components of the embedding; ``None`` for pixels.
    """

    basis: Basis | None

    @classmethod
    def fit(cls, train: list[ImageSection], config: MclSTExpConfig) -> "ImageInputs":
        """Find the components, or check that there are pixels.

        Raises
        ------
        ValueError
            The image branch takes pixels and the embedding holds none.
        """
        if config.image_branch == "embedding":
            return cls(Basis.fit(train, own=False))
        for section in train:
            as_patches(section)
        return cls(None)

    def of(self, section: ImageSection) -> np.ndarray:
        """Return ``(n_spots, n_components)`` float32, or patches ``(n_spots, side, side, 3)`` uint8."""
        if self.basis is None:
            return as_patches(section)
        return np.asarray(self.basis.scores(section.x), dtype=np.float32)

    def views_of(self, section: ImageSection) -> np.ndarray | None:
        """Return ``(n_spots, n_views, n_components)``: the spot's own patch turned, its neighbours as they are."""
        if self.basis is None or section.views is None:
            return None
        n_spots, n_views, n_own = section.views.shape
        scores = np.empty((n_spots, n_views, self.basis.components.shape[1]), dtype=np.float32)
        turned = section.x.copy()
        for view in range(n_views):  # one at a time: all of them are many times the inputs
            turned[:, :n_own] = section.views[:, view]
            scores[:, view] = self.basis.scores(turned)
        return scores


def as_patches(section: ImageSection) -> np.ndarray:
    """Return the pixels that the section's first embedding holds.

    Raises
    ------
    ValueError
        They are not the flattened RGB of squares, 0 to 255.
    """
    flat = section.reps[0]
    side = math.isqrt(flat.shape[1] // 3)
    whole = 3 * side**2 == flat.shape[1] and flat.min() >= 0 and flat.max() <= 255
    if not (whole and np.array_equal(flat, np.rint(flat))):
        raise ValueError(
            f"Section {section.name!r}: the image branch is trained on pixels, and its embedding holds none: expected "
            f"(n_spots, 3 * side * side) whole numbers from 0 to 255, got {flat.shape} from {flat.min():.3g} to "
            f"{flat.max():.3g}. Put patches there with histoquilt.im.cut_patches, and name their key in "
            f"{argument('use_rep')}; or use image_branch='embedding'."
        )
    return flat.astype(np.uint8).reshape(len(flat), side, side, 3)


def build_backbone(config: MclSTExpConfig) -> tuple[nn.Module | None, int]:
    """Return the network that reads pixels and the number of its features; nothing for a frozen embedding."""
    if config.image_branch == "embedding":
        return None, 0
    backbone = ResidualCNN() if config.image_branch == "cnn" else _TimmBackbone(config)
    return backbone, backbone.n_features


class _TimmBackbone(nn.Module):
    """A network of timm that takes uint8 patches."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: MclSTExpConfig) -> None:
        super().__init__()
        timm = require("timm", extra="timm", purpose=f"image_branch={config.image_branch!r}")
        name = config.image_branch.removeprefix("timm:")
        self.model = timm.create_model(name, pretrained=config.pretrained, num_classes=0)
        known = timm.data.resolve_model_data_config(self.model)
        self.register_buffer("mean", 255 * torch.tensor(known["mean"])[:, None, None])
        self.register_buffer("std", 255 * torch.tensor(known["std"])[:, None, None])
        self.n_features: int = self.model.num_features

    def forward(self, patches: Tensor) -> Tensor:
        """Return (n_patches, n_features). patches: (n_patches, side, side, 3), 0 to 255, or float in [0, 1]."""
        x = patches.permute(0, 3, 1, 2)
        x = x.to(self.mean.dtype) if x.dtype == torch.uint8 else 255 * x
        return self.model((x - self.mean) / self.std)


def vary(x: Tensor, config: MclSTExpConfig, generator: torch.Generator) -> Tensor:
    """Return a batch as training sees it: components dropped; patches turned, mirrored and recoloured.

    x: (n_spots, n_components), or (n_spots, side, side, 3) uint8, which become float in [0, 1].
    """
    if config.image_branch == "embedding":
        return dropout(x, config.input_dropout, generator)
    # drawn on the CPU, so that a seed means the same views on every device
    views = torch.randint(8, (len(x),), generator=generator).to(x.device)  # the eight orientations of a square
    turned = torch.empty_like(x)
    for view in range(8):
        some = torch.rot90(x[views == view], view % 4, dims=(1, 2))
        turned[views == view] = some.flip(2) if view >= 4 else some
    spread = 2 * torch.rand(len(x), 1, 1, 3, generator=generator).to(x.device) - 1
    return (turned / 255 * (1 + config.colour_jitter * spread)).clamp(0, 1)
