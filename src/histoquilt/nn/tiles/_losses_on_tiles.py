"""The losses of a step on tiles, of which other processes may compute other parts."""

import torch
from torch import Tensor, nn

from histoquilt.nn._losses import scaled_cosine_error
from histoquilt.nn._masked_autoencoder import MaskedGraphAutoencoder, MaskedLosses
from histoquilt.nn.tiles._tile_draws import TileDraws
from histoquilt.nn.tiles._tile_graph import TileGraph
from histoquilt.runtime import group_size, summed


class LossesOnTiles(nn.Module):
    """One masked pass of a network over parts of the tissue.

    Every process divides its sums by the counts of all. ``DistributedDataParallel`` takes the mean of gradients over
    processes, where the sum is wanted: so losses are multiplied by the number of processes, and their mean over
    processes is the loss of the batch.

    Parameters
    ----------
    network
        In training.
    """

    def __init__(self, network: MaskedGraphAutoencoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, graph: TileGraph, draws: TileDraws) -> MaskedLosses:
        """x: (n_spots, n_features), core and halo.

        A process without an edge to score goes through all the same: the others wait for its moments.
        """
        network, device = self.network, x.device
        masked = torch.from_numpy(draws.masked(graph, network.mask_rate)).to(device)
        edges = draws.hidden(graph, network.edge_mask_rate)
        pairs = draws.pairs(graph, edges)
        core = x[: graph.n_core]
        counted = masked[: graph.n_core]
        own_counts = [int(counted.sum()), sum(2 * len(part.positive) for part in pairs)]
        counts = summed(torch.tensor(own_counts, dtype=x.dtype).to(device))
        n_masked, n_scored = counts.clamp_min(1) / group_size()
        x_hat = network.reconstruct_masked(x, graph, masked)
        feature = scaled_cosine_error(core[counted], x_hat[counted], network.alpha, n_rows=n_masked)
        z = network.encode(x, graph, torch.from_numpy(edges).to(device))
        edge = torch.stack(
            [
                network.scorer.loss(
                    z,
                    part.positive.to(device),
                    part.negative.to(device),
                    part.generator,
                    n_scored=n_scored,
                    dtype=network.product_dtype,
                )
                for part in pairs
            ]
        )
        return MaskedLosses(feature, edge.sum())
