"""SpaMask's network: a masked graph autoencoder and a masked edge contrast that share one encoder."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from histoquilt.nn._losses import scaled_cosine_error
from histoquilt.nn._masks import draw_mask
from histoquilt.nn._precision import linear
from histoquilt.nn.graph._edge_scorer import EdgeScorer
from histoquilt.nn.graph._gcn import GCNEncoder, GCNLayer
from histoquilt.nn.graph._graph import UndirectedGraph
from histoquilt.nn.graph._smoothing import smooth_by_hops
from histoquilt.nn.tiles._tile_graph import TileGraph

Graph = UndirectedGraph | TileGraph


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
    hops
        Number of smoothing steps per feature, (n_features,) int. If given, the decoder output is added to every feature
        averaged that many times over the graph, so that the network starts at linear smoothing and learns the
        remainder. ``None``: the decoder alone, as published.
    dtype
        Data type of the dense products in training (:func:`product_dtype`); weights, sums over the graph, normalisation
        and losses are float32, and so is all of a network in ``eval`` mode.
    """

    hops: Tensor | None
    gain: Tensor | None  # (n_features,) how much of the decoder's output counts; ones until weigh_decoder sets it

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
        hops: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.register_buffer("hops", hops)
        self.register_buffer("gain", None if hops is None else torch.ones(n_features))
        self.dtype = dtype
        self.mask_rate, self.edge_mask_rate, self.alpha = mask_rate, edge_mask_rate, alpha
        self.encoder = GCNEncoder(n_features, n_hidden, n_latent)
        self.bridge = nn.Linear(n_latent, n_latent, bias=False)
        self.decoder = GCNLayer(n_latent, n_features)
        if hops is not None:
            nn.init.zeros_(self.decoder.linear.weight)
        self.token = nn.Parameter(torch.zeros(n_features))
        self.scorer = EdgeScorer(n_latent, scorer_dropout)

    def forward(self, x: Tensor, graph: UndirectedGraph, generator: torch.Generator) -> MaskedLosses:
        """One masked pass over the whole graph. x: (n_spots, n_features).

        On tiles: :class:`histoquilt.nn.LossesOnTiles`.
        """
        return MaskedLosses(self.feature_loss(x, graph, generator), self.edge_loss(x, graph, generator))

    def feature_loss(self, x: Tensor, graph: UndirectedGraph, generator: torch.Generator) -> Tensor:
        """Mask spots, reconstruct them from what their neighbours know (MGAE)."""
        masked = draw_mask(x.shape[0], self.mask_rate, generator).to(x.device)  # (n_spots,)
        x_hat = self.reconstruct_masked(x, graph, masked)
        return scaled_cosine_error(x[masked], x_hat[masked], self.alpha)

    def edge_loss(self, x: Tensor, graph: UndirectedGraph, generator: torch.Generator) -> Tensor:
        """Hide edges, tell them from pairs that are none (MGCL). Zero where the graph has no edge to hide."""
        hidden = draw_mask(graph.n_edges, self.edge_mask_rate, generator).to(x.device)  # (n_edges,)
        positive = graph.edges[hidden]
        if len(positive) == 0 or graph.is_complete:
            return x.new_zeros(())
        z = self.encode(x, graph, hidden)
        negative = graph.sample_non_edges(len(positive), generator)
        return self.scorer.loss(z, positive, negative, generator, dtype=self.product_dtype)

    def reconstruct_masked(self, x: Tensor, graph: Graph, masked: Tensor) -> Tensor:
        """Return what the decoder says of features, ``masked`` spots of which it does not see; of a tile, its core.

        masked: (n_spots,) bool, of a tile with its halo.
        """
        x_in = torch.where(masked[:, None], self.token, x)  # replaces, never adds
        z = self._bridged(x_in, graph)  # (n_spots, n_latent)
        # masked again, so that the decoder reads neighbours alone
        z = z.masked_fill(masked[: len(z), None], 0.0)
        return self._beside_smoothing(self._decoded(z, graph), x, graph, masked)

    def encode(self, x: Tensor, graph: Graph, hidden: Tensor | None = None) -> Tensor:
        """Return the encoder's output on the graph less its hidden edges; of a tile, with the ring that follows."""
        read = x[: graph.n_read]
        return self.encoder(read, graph.encoding(hidden), dtype=self.product_dtype, n_core=graph.n_core)

    def reconstruct(self, x: Tensor, graph: Graph) -> Tensor:
        """Return the decoder's output for unmasked features, (n_spots, n_features)."""
        return self._beside_smoothing(self.decode(x, graph), x, graph, None)

    def decode(self, x: Tensor, graph: Graph) -> Tensor:
        """Return what the decoder says of unmasked features, without smoothing and weight; of a tile, its core."""
        return self._decoded(self._bridged(x, graph), graph)

    @property
    def product_dtype(self) -> torch.dtype:
        """Of the dense products; what a trained network returns does not depend on what the processor is good at."""
        return self.dtype if self.training else torch.float32

    def _bridged(self, x: Tensor, graph: Graph) -> Tensor:
        return linear(self.encode(x, graph), self.bridge.weight, self.product_dtype)

    def _decoded(self, z: Tensor, graph: Graph) -> Tensor:
        return self.decoder(z, graph.decoding, dtype=self.product_dtype)

    def _beside_smoothing(self, decoded: Tensor, x: Tensor, graph: Graph, masked: Tensor | None) -> Tensor:
        if self.hops is None:
            return decoded
        assert self.gain is not None
        n_hops = int(self.hops.max())
        seen = None if masked is None else masked[: graph.n_within(n_hops)]
        smooth = smooth_by_hops(x[: graph.n_within(n_hops)], graph.averagings(n_hops), self.hops, seen)
        return decoded * self.gain + smooth
