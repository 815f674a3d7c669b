"""The network of mclSTExp: an image and a spot branch into one space."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import block_diag, csr_matrix, identity
from torch import Tensor, nn

from histoquilt.nn import CoordinateEncoding, Edges, ProjectionHead, SpotTransformer


@dataclass(frozen=True)
class SpotInputs:
    """What the spot branch sees.

    Attributes
    ----------
    y
        (n_spots, n_genes) log1p of counts per 10,000.
    xy_um
        (n_spots, 2) microns from the middle of the spot's section.
    edges
        (n_spots, n_spots): each spot's neighbours in its section, and itself.
    """

    y: Tensor
    xy_um: Tensor
    edges: Edges


class TrainingSpots:
    """Spots of several sections, from which batches are drawn together with all spots that they depend on.

    Parameters
    ----------
    sections
        Expression, centres in microns and adjacency of each section.
    n_hops
        Receptive field of a spot in graph steps: the number of transformer blocks.
    device
        Device of the network. Dependencies between spots are computed on the CPU.
    """

    def __init__(
        self,
        sections: Sequence[tuple[np.ndarray, np.ndarray, csr_matrix]],
        n_hops: int,
        device: torch.device | str = "cpu",
    ) -> None:
        y = np.concatenate([y for y, _, _ in sections]).astype(np.float32, copy=False)
        self.y = torch.from_numpy(y).to(device)
        middles = [(xy.min(axis=0) + xy.max(axis=0)) / 2 for _, xy, _ in sections]
        centred = [xy - middle for (_, xy, _), middle in zip(sections, middles, strict=True)]
        self._xy = torch.from_numpy(np.concatenate(centred)).to(device)
        graph = block_diag([near for _, _, near in sections], format="csr")
        self._graph = csr_matrix(graph + identity(graph.shape[0], format="csr", dtype=graph.dtype))
        self._n_hops = n_hops
        self._whole: SpotInputs | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def whole(self) -> SpotInputs:
        """All spots."""
        if self._whole is None:
            self._whole = SpotInputs(self.y, self._xy, Edges(self._graph, device=self.y.device))
        return self._whole

    def around(self, batch: Tensor) -> tuple[SpotInputs, Tensor]:
        """Return the spots within reach of a batch, and where the batch is among them; numbers are on the CPU.

        A spot near the rim of what is returned sees less than it should, a spot of the batch all of it.
        """
        needed = np.unique(batch.numpy())
        for _ in range(self._n_hops):
            needed = np.unique(self._graph[needed].indices)
        if 2 * len(needed) > len(self):  # cutting would cost more than it saves
            return self.whole, batch
        rows = torch.from_numpy(needed.astype(np.int64))
        edges = Edges(csr_matrix(self._graph[needed][:, needed]), device=self.y.device)
        there = rows.to(self.y.device)
        return SpotInputs(self.y[there], self._xy[there], edges), torch.searchsorted(rows, batch)


class MclSTExpNetwork(nn.Module):
    """Image branch and spot branch, which end in projection heads of the same width.

    Parameters
    ----------
    n_image, n_genes
        Width of the input of the image branch, and number of genes of the panel.
    n_latent
        Width of the shared space.
    n_blocks
        Number of blocks of the spot transformer; with 0 a spot is described by its own expression alone.
    coordinates
        If true, the spot branch uses spot coordinates.
    dropout_rate
        Dropout rate of heads and transformer, in training.
    backbone
        Network that maps the input of the image branch to ``n_image`` features; ``None`` if the input is features.
    """

    mean: Tensor

    def __init__(
        self,
        n_image: int,
        n_genes: int,
        *,
        n_latent: int,
        n_blocks: int,
        coordinates: bool,
        dropout_rate: float,
        backbone: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.image_head = ProjectionHead(n_image, n_latent, dropout_rate=dropout_rate)
        self.register_buffer("mean", torch.zeros(n_genes))  # of the panel over the training spots
        self.coordinates = CoordinateEncoding(n_genes) if coordinates else None
        self.transformer = SpotTransformer(n_genes, n_blocks=n_blocks, dropout_rate=dropout_rate)
        self.spot_head = ProjectionHead(n_genes, n_latent, dropout_rate=dropout_rate)

    def images(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (n_spots, n_latent). x: (n_spots, n_image), or what the backbone takes."""
        return self.image_head(x if self.backbone is None else self.backbone(x), generator)

    def spots(self, spots: SpotInputs, generator: torch.Generator | None = None) -> Tensor:
        """Return (n_spots, n_latent)."""
        x = spots.y - self.mean  # (n_spots, n_genes)
        if self.coordinates is not None:
            x = x + self.coordinates(spots.xy_um, spots.xy_um.new_zeros(2))
        return self.spot_head(self.transformer(x, spots.edges, generator), generator)
