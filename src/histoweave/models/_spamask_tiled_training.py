"""Training of SpaMask's network on tiles, for sections that do not fit in one piece.

A network's weights do not grow with the tissue, so neither do the gradient steps: ``config.max_epochs`` bounds steps,
and where there are more tiles than they read, the rest is embedded without having been trained on. Tiles are drawn from
all over the tissue without return, so that nothing is read twice before all of it was read once.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from histoweave._runtime import Advance, torch_generator
from histoweave.models._spamask_config import SpaMaskConfig
from histoweave.models._spamask_tiles import Tile, Tiles, smooth_all
from histoweave.models._spamask_training import GradientStep, TrainedNetwork, build_network, calibrate
from histoweave.nn import MaskedGraphAutoencoder, TileGraph, weigh_decoder_on_tiles
from histoweave.train import History, TrainingCheckpoint, fit_until_stable

_WATCHED = 4  # batches on which it is seen whether the embedding still changes
_MEASURED = 16  # batches from which normalisation, the decoder's weight and the scale of the inputs are taken


def train_on_tiles(
    values: np.ndarray,
    tiles: Tiles,
    config: SpaMaskConfig,
    *,
    smooth: np.ndarray | None,
    hops: np.ndarray | None,
    noise: np.ndarray | None,
    seed: int,
    device: torch.device,
    advance: Advance,
    checkpoint: TrainingCheckpoint | None = None,
) -> tuple[TrainedNetwork, History]:
    """Train one network until its embedding of a sample of the tiles is stable.

    Parameters
    ----------
    values
        ``(n_spots, n_inputs)`` float32.
    tiles
        Of these spots.
    config
        Settings; ``max_epochs`` and ``check_every`` count gradient steps.
    smooth
        ``(n_spots, n_inputs)``, see :func:`histoweave.models._spamask_tiles.smooth_all`; ``None`` without ``hops``.
    hops, noise, seed, advance, checkpoint
        As for ``train_network``.
    device
        Where the network is.

    Returns
    -------
    The network, and the history with a row a gradient step.
    """
    network = build_network(config, values.shape[1], hops, seed).to(device)
    rng = np.random.default_rng(seed)
    batches, sample = tiles.scattered(rng), _sample(tiles, rng)
    n_rings = max(4, 0 if hops is None else int(hops.max()))  # one more than layers: degrees after edges are hidden

    def draw(numbers: Sequence[int]) -> tuple[Tensor, TileGraph]:
        tile = tiles.cut(numbers, n_rings, 3, device)
        return _features(values, tile.rows, device), tile.graph

    def parts(some: list[list[int]]) -> Iterator[Tile]:
        return (tiles.cut(numbers, 3, 3, device) for numbers in some)

    history = fit_until_stable(
        GradientStep(network, config, seed, batches, draw),
        lambda: torch.cat(
            [_output(network, values, tile, smooth, config.embedding) for tile in parts(sample[:_WATCHED])]
        ),
        max_epochs=config.max_epochs,
        check_every=config.check_every,
        tolerance=config.tolerance,
        advance=advance,
        checkpoint=checkpoint,
    )
    _settle_normalisation(network, lambda: map(draw, sample), torch_generator(seed))
    if noise is not None:
        assert smooth is not None
        of_sample = (
            (_features(values, tile.rows, device), tile.graph, _features(smooth, tile.core, device))
            for tile in parts(sample)
        )
        weigh_decoder_on_tiles(
            network, of_sample, torch.from_numpy(noise).to(device, torch.float32), torch_generator(seed)
        )
    measured = list(parts(sample))
    reconstruction = torch.cat([_output(network, values, tile, smooth, "reconstruction") for tile in measured])
    of_same = values[np.concatenate([tile.core for tile in measured])]
    return TrainedNetwork(network, *calibrate(reconstruction.cpu().numpy(), of_same)), history


def outputs_on_tiles(
    networks: Sequence[TrainedNetwork], values: np.ndarray, tiles: Tiles, adjacency: csr_matrix, *, latent: bool
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return what networks say of all spots without masks, as the whole graph would: reconstructions and latents.

    Parameters
    ----------
    networks
        Trained.
    values
        ``(n_spots, n_inputs)`` float32.
    tiles
        Of these spots.
    adjacency
        ``(n_spots, n_spots)`` CSR, in the order of ``values``.
    latent
        Whether the encoder's output is wanted, too; else the second list is empty.
    """
    reconstructions = [np.empty(values.shape, np.float32) for _ in networks]
    latents = [np.empty((len(values), one.network.bridge.in_features), np.float32) for one in networks if latent]
    for spots, said, encoded in said_by_tiles(networks, values, tiles, adjacency, latent=latent):
        for whole, part in zip([*reconstructions, *latents], [*said, *encoded], strict=True):
            whole[spots] = part
    return reconstructions, latents


def said_by_tiles(
    networks: Sequence[TrainedNetwork], values: np.ndarray, tiles: Tiles, adjacency: csr_matrix, *, latent: bool
) -> Iterator[tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]]:
    """Yield the same a batch of tiles at a time: its spots, and reconstructions and latents of these."""
    first = networks[0].network
    hops = None if first.hops is None else first.hops.cpu().numpy()
    smooth = None if hops is None else smooth_all(values, adjacency, hops)
    for numbers in tiles.in_batches():
        tile = tiles.cut(numbers, 3, 3, networks[0].device)
        decoded = [_output(one.network, values, tile, smooth, "reconstruction").cpu().numpy() for one in networks]
        said = [
            (part * one.slope + one.intercept).astype(np.float32) for one, part in zip(networks, decoded, strict=True)
        ]
        encoded = [_output(one.network, values, tile, smooth, "latent").cpu().numpy() for one in networks if latent]
        yield tile.core, said, encoded


@torch.no_grad()
def _output(
    network: MaskedGraphAutoencoder, values: np.ndarray, tile: Tile, smooth: np.ndarray | None, output: str
) -> Tensor:
    """Unmasked pass for the core of a tile."""
    network.eval()
    device = network.token.device
    x = _features(values, tile.rows, device)
    if output == "latent":
        return network.encoder(x[: tile.graph.n_read], tile.graph.encoding())[: tile.graph.n_core]
    decoded = network.decode(x, tile.graph)
    if smooth is None:
        return decoded
    assert network.gain is not None
    return decoded * network.gain + _features(smooth, tile.core, device)


@torch.no_grad()
def _settle_normalisation(
    network: MaskedGraphAutoencoder,
    batches: Callable[[], Iterator[tuple[Tensor, TileGraph]]],
    generator: torch.Generator,
) -> None:
    """Take the statistics of normalisation from a whole sample: the running ones remember ten batches alone."""
    norms = [norm for norm in network.encoder.norms if isinstance(norm, torch.nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches counts alike
    network.train()
    for x, graph in batches():
        network(x, graph, generator)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def _sample(tiles: Tiles, rng: np.random.Generator) -> list[list[int]]:
    """Draw the batches on which things are measured; no more than there are."""
    n_batches = min(_MEASURED, -(-len(tiles) // tiles.per_batch))
    drawn = tiles.scattered(rng)
    return [next(drawn) for _ in range(n_batches)]


def _features(values: np.ndarray, rows: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(values[rows]).to(device)
