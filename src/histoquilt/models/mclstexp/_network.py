"""mclSTExp's network: an image branch and a spot branch with a shared embedding."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import block_diag, csr_matrix, identity
from torch import Tensor, nn

from histoquilt.models.mclstexp._config import MclSTExpConfig
from histoquilt.nn import CoordinateEncoding, Edges, ProjectionHead, SpotTransformer


@dataclass(frozen=True)
class SpotInputs:
    """Inputs of the spot branch."""

    y: Tensor  # (n_spots, n_genes) log1p of counts per 10,000
    xy_um: Tensor  # (n_spots, 2) microns from the middle of the section
    edges: Edges  # (n_spots, n_spots) neighbours in the section, and the spot itself


class TrainingSpots:
    """Spots of several sections, from which batches are drawn together with all spots that they depend on.

    sections: expression, centres in microns and adjacency of each; n_hops: receptive field in graph steps, the number
    of transformer blocks.
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

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def whole(self) -> SpotInputs:
        """All spots."""
        return SpotInputs(self.y, self._xy, Edges(self._graph, device=self.y.device))

    def around(self, batch: Tensor) -> tuple[SpotInputs, Tensor]:
        """Return the spots that a batch depends on, and the positions of the batch among them (on the CPU)."""
        needed = np.unique(batch.numpy())
        for _ in range(self._n_hops):
            needed = np.unique(self._graph[needed].indices)
        if 2 * len(needed) > len(self):  # a subgraph would cost more than it saves
            return self.whole, batch
        rows = torch.from_numpy(needed.astype(np.int64))
        edges = Edges(csr_matrix(self._graph[needed][:, needed]), device=self.y.device)
        rows_on_device = rows.to(self.y.device)
        return SpotInputs(self.y[rows_on_device], self._xy[rows_on_device], edges), torch.searchsorted(rows, batch)


class MclSTExpNetwork(nn.Module):
    """Image branch and spot branch; ``backbone`` maps images to ``n_image`` features if the inputs are pixels."""

    mean: Tensor

    def __init__(self, n_image: int, n_genes: int, config: MclSTExpConfig, backbone: nn.Module | None = None) -> None:
        super().__init__()
        rate = config.dropout_rate
        self.backbone = backbone
        self.image_head = ProjectionHead(n_image, config.n_latent, dropout_rate=rate)
        self.register_buffer("mean", torch.zeros(n_genes))  # of training spots
        self.coordinates = CoordinateEncoding(n_genes) if config.coordinates else None
        self.transformer = SpotTransformer(n_genes, n_blocks=config.n_blocks, dropout_rate=rate)
        self.spot_head = ProjectionHead(n_genes, config.n_latent, dropout_rate=rate)

    def images(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (n_spots, n_latent). x: (n_spots, n_image), or what the backbone takes."""
        return self.image_head(x if self.backbone is None else self.backbone(x), generator)

    def spots(self, spots: SpotInputs, generator: torch.Generator | None = None) -> Tensor:
        """Return (n_spots, n_latent)."""
        x = spots.y - self.mean  # (n_spots, n_genes)
        if self.coordinates is not None:
            x = x + self.coordinates(spots.xy_um, spots.xy_um.new_zeros(2))
        return self.spot_head(self.transformer(x, spots.edges, generator), generator)
