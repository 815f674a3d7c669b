"""SpaMask's network: a masked graph autoencoder and a masked edge contrast that share one encoder."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from histoweave.nn._edge_scorer import EdgeScorer
from histoweave.nn._gcn import GCNEncoder, GCNLayer
from histoweave.nn._graph import UndirectedGraph
from histoweave.nn._losses import scaled_cosine_error
from histoweave.nn._masks import draw_mask
from histoweave.nn._precision import linear
from histoweave.nn._smoothing import smooth_by_hops
from histoweave.nn._tile_graph import TileGraph

Graph = UndirectedGraph | TileGraph


@dataclass
class MaskedLosses:
    """The two losses of one step, scalars."""

    feature: Tensor  # L_feature: scaled cosine error on the masked spots
    edge: Tensor  # L_edge: binary cross-entropy of hidden edges against pairs that are no edges


class MaskedGraphAutoencoder(nn.Module):
    """The network of SpaMask (Min et al. 2025).

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
        (n_features,) int. Where given, the decoder adds to every feature averaged that many times over the graph, so
        that the network starts at linear smoothing and learns what that misses. ``None``: the decoder alone, as
        published.
    dtype
        Of the dense products in training (:func:`product_dtype`); weights, sums over the graph, normalisation and
        losses are float32, and so is all of a network in ``eval`` mode.
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

    def forward(self, x: Tensor, graph: Graph, generator: torch.Generator) -> MaskedLosses:
        """One masked pass. x: (n_spots, n_features)."""
        return MaskedLosses(self.feature_loss(x, graph, generator), self.edge_loss(x, graph, generator))

    def feature_loss(self, x: Tensor, graph: Graph, generator: torch.Generator) -> Tensor:
        """Mask spots, reconstruct them from what their neighbours know (MGAE)."""
        masked = draw_mask(x.shape[0], self.mask_rate, generator).to(x.device)  # (n_spots,) of a tile: halo and all
        x_in = torch.where(masked[:, None], self.token, x)  # replaces, never adds
        z = self._bridged(x_in, graph)  # (n_spots, n_latent)
        # masked again, so that the decoder reads neighbours alone
        z = z.masked_fill(masked[: len(z), None], 0.0)
        x_hat = self._beside_smoothing(self._decoded(z, graph), x, graph, masked)  # of a tile: the core
        counted = masked[: len(x_hat)]
        return scaled_cosine_error(x[: len(x_hat)][counted], x_hat[counted], self.alpha)

    def edge_loss(self, x: Tensor, graph: Graph, generator: torch.Generator) -> Tensor:
        """Hide edges, tell them from pairs that are none (MGCL). Zero where the graph has no edge to hide."""
        hidden = draw_mask(graph.n_edges, self.edge_mask_rate, generator).to(x.device)  # (n_edges,)
        scored = graph.n_core_edges
        positive = graph.edges[:scored][hidden[:scored]]
        if len(positive) == 0 or graph.is_complete:
            return x.new_zeros(())
        z = self.encoder(x[: graph.n_read], graph.encoding(hidden), dtype=self._dtype)
        negative = graph.sample_non_edges(len(positive), generator)
        return self.scorer.loss(z, positive, negative, generator, dtype=self._dtype)

    def reconstruct(self, x: Tensor, graph: Graph) -> Tensor:
        """Return the decoder's output for unmasked features, (n_spots, n_features)."""
        return self._beside_smoothing(self.decode(x, graph), x, graph, None)

    def decode(self, x: Tensor, graph: Graph) -> Tensor:
        """Return what the decoder says of unmasked features, without smoothing and weight; of a tile, its core."""
        return self._decoded(self._bridged(x, graph), graph)

    @property
    def _dtype(self) -> torch.dtype:
        """Of the dense products; what a trained network returns does not depend on what the processor is good at."""
        return self.dtype if self.training else torch.float32

    def _bridged(self, x: Tensor, graph: Graph) -> Tensor:
        z = self.encoder(x[: graph.n_read], graph.encoding(), dtype=self._dtype)
        return linear(z, self.bridge.weight, self._dtype)

    def _decoded(self, z: Tensor, graph: Graph) -> Tensor:
        return self.decoder(z, graph.decoding, dtype=self._dtype)

    def _beside_smoothing(self, decoded: Tensor, x: Tensor, graph: Graph, masked: Tensor | None) -> Tensor:
        if self.hops is None:
            return decoded
        assert self.gain is not None
        n_hops = int(self.hops.max())
        seen = None if masked is None else masked[: graph.n_within(n_hops)]
        smooth = smooth_by_hops(x[: graph.n_within(n_hops)], graph.averagings(n_hops), self.hops, seen)
        return decoded * self.gain + smooth
