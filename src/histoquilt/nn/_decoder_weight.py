"""How far to believe a trained decoder, feature by feature."""

from collections.abc import Iterable

import torch
from torch import Tensor

from histoquilt.nn._masked_autoencoder import MaskedGraphAutoencoder
from histoquilt.nn.graph._graph import UndirectedGraph
from histoquilt.nn.graph._smoothing import smooth_by_hops
from histoquilt.nn.tiles._tile_graph import TileGraph

_N_PROBES = 4
_STEP = 0.05  # of a probe, in standard deviations of a feature


@torch.no_grad()
def weigh_decoder(
    network: MaskedGraphAutoencoder, x: Tensor, graph: UndirectedGraph, noise: Tensor, generator: torch.Generator
) -> None:
    """Set the weight of a trained decoder relative to linear smoothing, by the squared error against the signal.

    The decoder learned to reconstruct spots that it did not see. At a spot that is seen, smoothing already holds the
    spot's own value, and what the decoder adds can take away more signal than noise. The error of ``y = s + w d``
    (smoothed values and decoder) against the signal is estimated without bias by ``|y - x|^2 / n + 2 noise div(y) / n``
    (Stein), a parabola in ``w`` whose lowest point between 0 and 1 is taken. The divergence comes from random probes.

    Parameters
    ----------
    network
        Trained network with ``hops``; its ``gain`` is set.
    x
        Features of unit variance, (n_spots, n_features).
    graph
        Graph of the spots.
    noise
        Variance of the noise in every feature, (n_features,).
    generator
        Random generator for the probes.

    References
    ----------
    Ramani, Blu, Unser. IEEE Transactions on Image Processing 17(9): 1540-1554, 2008 (Monte-Carlo SURE).
    """
    assert network.hops is not None
    smooth = smooth_by_hops(x, graph.averaging, network.hops)
    _set_gain(network, *_moments(network, x, graph, smooth, generator), noise)


@torch.no_grad()
def weigh_decoder_on_tiles(
    network: MaskedGraphAutoencoder,
    tiles: Iterable[tuple[Tensor, TileGraph, Tensor]],
    noise: Tensor,
    generator: torch.Generator,
) -> None:
    """Set the weight as :func:`weigh_decoder` does, from a sample of tiles.

    Parameters
    ----------
    network, noise, generator
        As there.
    tiles
        Features of the tile and its halo, its graph, and the smoothed features of its core, ``(n_core, n_features)``.
    """
    sums, n_spots = [torch.zeros_like(noise) for _ in range(3)], 0
    for x, graph, smooth in tiles:
        for total, moment in zip(sums, _moments(network, x, graph, smooth, generator), strict=True):
            total += moment * len(smooth)
        n_spots += len(smooth)
    shared, divergence, power = (total / n_spots for total in sums)
    _set_gain(network, shared, divergence, power, noise)


def _moments(
    network: MaskedGraphAutoencoder,
    x: Tensor,
    graph: UndirectedGraph | TileGraph,
    smooth: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the parabola is made of, means over spots: ``(s - x) d``, the divergence of ``d``, and ``d^2``."""
    network.eval()
    decoded = network.decode(x, graph)
    n_core = len(decoded)
    divergence = x.new_zeros(x.shape[1])  # per spot
    for _ in range(_N_PROBES):
        probe = torch.empty(x.shape).bernoulli_(0.5, generator=generator).mul_(2).sub_(1).to(x)
        change = network.decode(x + _STEP * probe, graph) - decoded
        divergence += (probe[:n_core] * change).mean(dim=0) / (_STEP * _N_PROBES)
    return ((smooth - x[:n_core]) * decoded).mean(dim=0), divergence, (decoded**2).mean(dim=0)


def _set_gain(
    network: MaskedGraphAutoencoder, shared: Tensor, divergence: Tensor, power: Tensor, noise: Tensor
) -> None:
    assert network.gain is not None
    gain = -(shared + noise * divergence)
    network.gain.copy_((gain / power.clamp_min(1e-12)).clamp_(0, 1))
