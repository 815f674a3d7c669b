"""SpaMask's network: masked graph autoencoder (MGAE) and masked graph contrast (MGCL) with one encoder."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from histoquilt.nn._losses import scaled_cosine_error
from histoquilt.nn._precision import linear
from histoquilt.nn.graph._edge_scorer import EdgeScorer
from histoquilt.nn.graph._gcn import GCNEncoder, GCNLayer
from histoquilt.nn.tiles._tile_draws import TileDraws
from histoquilt.nn.tiles._tile_graph import TileGraph
from histoquilt.runtime import group_size, summed


@dataclass
class MaskedLosses:
    """The two losses of one step, scalars.

    Examples
    --------
    >>> import numpy as np, torch, histoquilt as hq
    >>> graph = hq.nn.TileGraph.whole(hq.gr.knn_adjacency(np.random.default_rng(0).random((40, 2)), 4))
    >>> network = hq.nn.MaskedGraphAutoencoder(n_features=10, n_hidden=8, n_latent=4)
    >>> losses = network(torch.ones(40, 10), graph, hq.nn.TileDraws(seed=0, step=1))
    >>> 0 <= losses.feature.item() <= 4, losses.edge.item() > 0  # (1 - cos)^2 lies between 0 and 4
    (True, True)
    """

    feature: Tensor  # L_feature: scaled cosine error on the masked spots
    edge: Tensor  # L_edge: binary cross-entropy of hidden edges against pairs without an edge


class MaskedGraphAutoencoder(nn.Module):
    """Network of SpaMask (Min et al. 2025).

    Parameters
    ----------
    n_features, n_hidden, n_latent
        Widths of the features, the first GCN layer and the embedding.
    mask_rate, edge_mask_rate
        Share of spots masked and share of edges hidden in each step.
    alpha
        Exponent of the scaled cosine error.
    scorer_dropout
        Dropout rate of the edge scorer.
    dtype
        Data type of the dense products in training (:func:`product_dtype`); everything else is float32.

    Examples
    --------
    >>> import numpy as np, torch, histoquilt as hq
    >>> graph = hq.nn.TileGraph.whole(hq.gr.knn_adjacency(np.random.default_rng(0).random((40, 2)), 4))
    >>> network = hq.nn.MaskedGraphAutoencoder(n_features=10, n_hidden=8, n_latent=4)
    >>> losses = network(torch.ones(40, 10), graph, hq.nn.TileDraws(seed=0, step=1))
    >>> losses.feature.shape, network.eval().encode(torch.ones(40, 10), graph).shape
    (torch.Size([]), torch.Size([40, 4]))
    """

    def __init__(
        self,
        n_features: int,
        n_hidden: int = 512,
        n_latent: int = 256,
        *,
        mask_rate: float = 0.3,
        edge_mask_rate: float = 0.4,
        alpha: float = 2.0,
        scorer_dropout: float = 0.5,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.mask_rate, self.edge_mask_rate, self.alpha = mask_rate, edge_mask_rate, alpha
        self.encoder = GCNEncoder(n_features, n_hidden, n_latent)
        self.bridge = nn.Linear(n_latent, n_latent, bias=False)
        self.decoder = GCNLayer(n_latent, n_features)
        self.token = nn.Parameter(torch.zeros(n_features))
        self.scorer = EdgeScorer(n_latent, scorer_dropout)

    def forward(self, x: Tensor, graph: TileGraph, draws: TileDraws) -> MaskedLosses:
        """Return the losses of one masked pass. x: (n_spots, n_features), core and halo.

        With several processes, each divides its sums by the counts of all and multiplies by the number of processes:
        ``DistributedDataParallel`` averages gradients, and the mean over processes is the loss of the batch. A process
        without an edge to score must run as well, since the others wait for its batch statistics.
        """
        device = x.device
        masked = torch.from_numpy(draws.masked(graph, self.mask_rate)).to(device)  # (n_spots,)
        hidden = draws.hidden(graph, self.edge_mask_rate)  # (n_edges,)
        pairs = draws.pairs(graph, hidden)
        core, counted = x[: graph.n_core], masked[: graph.n_core]
        counts = torch.tensor([int(counted.sum()), sum(2 * len(part.positive) for part in pairs)], dtype=x.dtype)
        n_masked, n_scored = summed(counts.to(device)).clamp_min(1) / group_size()
        x_hat = self.reconstruct(x, graph, masked)
        feature = scaled_cosine_error(core[counted], x_hat[counted], self.alpha, n_rows=n_masked)
        z = self.encode(x, graph, torch.from_numpy(hidden).to(device))
        edge = [
            self.scorer.loss(z, part.positive.to(device), part.negative.to(device), part.generator, n_scored=n_scored,
                             dtype=self.product_dtype)
            for part in pairs
        ]  # fmt: skip
        return MaskedLosses(feature, torch.stack(edge).sum())

    def encode(self, x: Tensor, graph: TileGraph, hidden: Tensor | None = None) -> Tensor:
        """Return the embedding of the core and the next ring, from the graph without its hidden edges."""
        read = x[: graph.n_read]
        return self.encoder(read, graph.encoding(hidden), dtype=self.product_dtype, n_core=graph.n_core)

    def reconstruct(self, x: Tensor, graph: TileGraph, masked: Tensor | None = None) -> Tensor:
        """Return the decoder's output for the core, (n_core, n_features); masked: (n_spots,) bool."""
        if masked is not None:
            x = torch.where(masked[:, None], self.token, x)  # replaces, never adds
        z = linear(self.encode(x, graph), self.bridge.weight, self.product_dtype)  # (n_spots, n_latent)
        if masked is not None:
            z = z.masked_fill(masked[: len(z), None], 0.0)  # masked again: the decoder sees only neighbours
        return self.decoder(z, graph.decoding, dtype=self.product_dtype)

    @property
    def product_dtype(self) -> torch.dtype:
        """Data type of the dense products: float32 in ``eval`` mode, so that outputs do not depend on the processor."""
        return self.dtype if self.training else torch.float32
