"""SpaMask's network: a masked graph autoencoder and a masked edge contrast that share one encoder."""

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
    """The two losses of one step, scalars."""

    feature: Tensor  # L_feature: scaled cosine error on the masked spots
    edge: Tensor  # L_edge: binary cross-entropy of hidden edges against pairs that are no edges


class MaskedGraphAutoencoder(nn.Module):
    """Network of SpaMask (Min et al. 2025).

    Parameters
    ----------
    n_features, n_hidden, n_latent
        Widths: the features, the first GCN layer, the embedding.
    mask_rate, edge_mask_rate
        Share of spots masked, share of edges hidden, in each step.
    alpha
        Exponent of the scaled cosine error.
    scorer_dropout
        Dropout of the edge scorer.
    dtype
        Data type of the dense products in training (:func:`product_dtype`); weights, sums over the graph, normalisation
        and losses are float32, and so is all of a network in ``eval`` mode.
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
        """One masked pass over parts of the tissue. x: (n_spots, n_features), core and halo.

        Spots are masked and reconstructed from what their neighbours know (MGAE); hidden edges are distinguished from
        pairs that are none (MGCL), a loss of zero where there is no edge to hide.

        Of several processes each divides its sums by the counts of all. ``DistributedDataParallel`` takes the mean of
        gradients over processes, where the sum is wanted: so losses are multiplied by the number of processes, and
        their mean over processes is the loss of the batch. A process without an edge to score goes through all the
        same: the others wait for its moments.
        """
        device = x.device
        masked = torch.from_numpy(draws.masked(graph, self.mask_rate)).to(device)  # (n_spots,)
        hidden = draws.hidden(graph, self.edge_mask_rate)  # (n_edges,)
        pairs = draws.pairs(graph, hidden)
        core, counted = x[: graph.n_core], masked[: graph.n_core]
        own_counts = [int(counted.sum()), sum(2 * len(part.positive) for part in pairs)]
        counts = summed(torch.tensor(own_counts, dtype=x.dtype).to(device))
        n_masked, n_scored = counts.clamp_min(1) / group_size()
        x_hat = self.reconstruct(x, graph, masked)
        feature = scaled_cosine_error(core[counted], x_hat[counted], self.alpha, n_rows=n_masked)
        z = self.encode(x, graph, torch.from_numpy(hidden).to(device))
        edge = torch.stack(
            [
                self.scorer.loss(
                    z,
                    part.positive.to(device),
                    part.negative.to(device),
                    part.generator,
                    n_scored=n_scored,
                    dtype=self.product_dtype,
                )
                for part in pairs
            ]
        )
        return MaskedLosses(feature, edge.sum())

    def encode(self, x: Tensor, graph: TileGraph, hidden: Tensor | None = None) -> Tensor:
        """Return the encoder's output on the graph less its hidden edges, for the core and the ring that follows."""
        read = x[: graph.n_read]
        return self.encoder(read, graph.encoding(hidden), dtype=self.product_dtype, n_core=graph.n_core)

    def reconstruct(self, x: Tensor, graph: TileGraph, masked: Tensor | None = None) -> Tensor:
        """Return the decoder's output for the core, (n_core, n_features); ``masked`` spots, (n_spots,), are hidden."""
        if masked is not None:
            x = torch.where(masked[:, None], self.token, x)  # replaces, never adds
        z = linear(self.encode(x, graph), self.bridge.weight, self.product_dtype)  # (n_spots, n_latent)
        if masked is not None:
            z = z.masked_fill(masked[: len(z), None], 0.0)  # again, so that the decoder reads neighbours alone
        return self.decoder(z, graph.decoding, dtype=self.product_dtype)

    @property
    def product_dtype(self) -> torch.dtype:
        """Of the dense products; what a trained network returns does not depend on what the processor is good at."""
        return self.dtype if self.training else torch.float32
