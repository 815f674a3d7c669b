"""The decoder is believed as far as it brings reconstructions closer to the signal, which the code never sees."""

import numpy as np
import pytest
import torch

from histoquilt.gr import grid_adjacency
from histoquilt.nn import MaskedGraphAutoencoder, UndirectedGraph, smooth_by_hops, weigh_decoder
from histoquilt.runtime._device import torch_generator


@pytest.fixture
def tissue():
    """Two smooth features and one with thin stripes on a 24 x 24 lattice, with noise of known variance."""
    side = 24
    xy = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2).astype(float)
    signal = np.stack([np.sin(xy[:, 0] / 4), np.cos(xy[:, 1] / 5), np.sign(np.sin(xy[:, 0] * 1.3))], axis=1)
    signal /= signal.std(axis=0)
    noise = np.array([0.5, 0.5, 0.05])
    x = signal * np.sqrt(1 - noise) + np.random.default_rng(0).normal(size=signal.shape) * np.sqrt(noise)
    graph = UndirectedGraph(grid_adjacency(xy, 4))
    as_tensor = lambda values: torch.from_numpy(values.astype(np.float32))  # noqa: E731
    return as_tensor(x), as_tensor(signal * np.sqrt(1 - noise)), as_tensor(noise), graph


def network_with(decoder_weight: float, seed: int = 0) -> MaskedGraphAutoencoder:
    torch.manual_seed(seed)
    network = MaskedGraphAutoencoder(3, 16, 8, hops=torch.tensor([2, 2, 1], dtype=torch.int32))
    torch.nn.init.normal_(network.decoder.linear.weight, std=decoder_weight)
    return network.eval()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_weighing_never_leaves_the_signal_farther(tissue, seed):
    x, signal, noise, graph = tissue
    network = network_with(0.5, seed)
    error = lambda: ((network.reconstruct(x, graph) - signal) ** 2).mean(dim=0)  # noqa: E731
    with torch.no_grad():
        full = error()
        plain = ((smooth_by_hops(x, graph.averaging, network.hops) - signal) ** 2).mean(dim=0)
        weigh_decoder(network, x, graph, noise, torch_generator(0))
        weighed = error()
    assert ((network.gain >= 0) & (network.gain <= 1)).all()
    assert (weighed <= torch.minimum(full, plain) * 1.05 + 1e-3).all()


def test_a_decoder_that_says_nothing_weighs_nothing(tissue):
    x, _, noise, graph = tissue
    network = network_with(0.0)
    weigh_decoder(network, x, graph, noise, torch_generator(0))
    assert network.gain.tolist() == [0, 0, 0]


def test_without_noise_the_decoder_may_restore_what_smoothing_took(tissue):
    x, _, _, graph = tissue
    network = network_with(0.0)
    with torch.no_grad():
        missing = x - smooth_by_hops(x, graph.averaging, network.hops)
    network.decoder.forward = lambda z, propagation, dtype=None: 0 * z[:, :3] + 2 * missing  # type: ignore[method-assign]
    weigh_decoder(network, x, graph, torch.zeros(3), torch_generator(0))
    np.testing.assert_allclose(network.gain, 0.5, atol=1e-5)


def test_same_seed_same_weight(tissue):
    x, _, noise, graph = tissue
    gains = []
    for _ in range(2):
        network = network_with(0.5)
        weigh_decoder(network, x, graph, noise, torch_generator(3))
        gains.append(network.gain.clone())
    assert torch.equal(*gains)
