"""Training of SpaMask's network on tiles, and outputs of trained networks.

``config.max_epochs`` is a number of gradient steps, whatever the size of the tissue: a section of up to 4,096 spots is
one batch, and of a large one some tiles may not be seen in training. Tiles are drawn from all over the tissue without
replacement. A batch has one or more parts; under ``torchrun`` each process computes its share of them, and all take the
same step.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from histoquilt.models.spamask._config import SpaMaskConfig
from histoquilt.models.spamask._tiles import Tile, Tiles, parts_of_batch
from histoquilt.nn import MaskedGraphAutoencoder, MaskedLosses, TileDraws, product_dtype
from histoquilt.runtime import (
    Advance,
    broadcast,
    check_same,
    group_size,
    n_processes,
    others_named,
    rank,
    start_group,
    summed,
)
from histoquilt.train import History, fit_until_stable

_WATCHED = 4  # parts whose embedding is checked for convergence
_MEASURED = 16  # parts from which batch statistics and the scale of reconstructions are computed

Batch = tuple[int, list[list[int]]]  # number of the step, and the tiles of every part


@dataclass(frozen=True)
class TrainedNetwork:
    """Network with the scale of its reconstructions, which the cosine error leaves open."""

    network: MaskedGraphAutoencoder
    slope: np.ndarray  # (n_features,) features = slope * reconstruction + intercept
    intercept: np.ndarray


def network_seeds(seed: int, n_networks: int) -> list[int]:
    """Return a seed for each network; the first is ``seed``."""
    more = np.random.default_rng(seed).integers(2**31, size=n_networks - 1)
    return [seed, *map(int, more)]


def build_network(config: SpaMaskConfig, n_features: int, seed: int) -> MaskedGraphAutoencoder:
    """Initialise with a seed, without changing the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskedGraphAutoencoder(
            n_features,
            config.n_hidden,
            config.n_latent,
            mask_rate=config.mask_rate,
            edge_mask_rate=config.edge_mask_rate,
            alpha=config.alpha,
            scorer_dropout=config.scorer_dropout,
        )


def train_network(
    values: np.ndarray, tiles: Tiles, config: SpaMaskConfig, *, seed: int, device: torch.device, advance: Advance
) -> tuple[TrainedNetwork, History]:
    """Train one network for ``config.max_epochs`` steps, or until its embedding of a sample of tiles is stable.

    values: features, float32 ``(n_spots, n_features)``. Returns the network and a history with one row per step.
    """
    start_group(device)
    network = build_network(config, values.shape[1], seed).to(device)
    rng = np.random.default_rng(seed)
    n_parts = parts_of_batch(config.n_parts)
    batches, sample = tiles.scattered(rng, n_parts), _sample(tiles, n_parts, rng)
    measured_parts = [part for batch in sample for part in batch][:_MEASURED]

    def parts(some: list[list[int]]) -> Iterator[Tile]:
        return (tiles.cut([numbers], 3, device) for numbers in some)

    def sample_embedding() -> Tensor:
        outputs = torch.cat([_latent(network, values, tile) for tile in parts(measured_parts[:_WATCHED])])
        return broadcast(outputs)  # all processes must decide alike whether to stop

    step = GradientStep(network, config, seed, values, tiles, enumerate(batches))
    history = fit_until_stable(
        step,
        sample_embedding,
        max_epochs=config.max_epochs,
        check_every=config.check_every,
        tolerance=config.tolerance,
        advance=advance,
    )
    _recompute_batch_statistics(step, enumerate(sample, start=config.max_epochs))
    check_same(network.state_dict().values(), "The trained network")
    measured = list(parts(measured_parts))
    reconstruction = torch.cat([_reconstruction(network, values, tile) for tile in measured]).cpu().numpy()
    features = values[np.concatenate([tile.core for tile in measured])]
    return TrainedNetwork(network, *calibrate(reconstruction, features)), history


class GradientStep:
    """Optimiser step on a batch, of which this process computes its share of the parts."""

    def __init__(
        self,
        network: MaskedGraphAutoencoder,
        config: SpaMaskConfig,
        seed: int,
        values: np.ndarray,
        tiles: Tiles,
        batches: Iterator[Batch],
    ) -> None:
        device = network.token.device
        network.dtype = product_dtype(config.precision, device, config.n_latent)
        self.network, self.config, self.seed, self.batches = network, config, seed, batches
        self._values, self._tiles, self._device = values, tiles, device
        share = parts_of_batch(config.n_parts) // n_processes()
        self._own_parts = slice(rank() * share, (rank() + 1) * share)
        self._own_losses: torch.nn.Module = network if group_size() == 1 else DistributedDataParallel(network)
        self.optimiser = torch.optim.Adam(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def __call__(self) -> dict[str, float]:
        """Take a step together with the other processes; return the losses of the whole batch."""
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        with others_named():
            losses = self.losses(next(self.batches))
            loss = losses.feature + self.config.edge_weight * losses.edge
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.max_grad_norm)
            self.optimiser.step()
        values = torch.stack([loss, losses.feature, losses.edge]).detach().double()
        total = summed(values).cpu() / group_size()
        return dict(zip(("loss", "feature_loss", "edge_loss"), total.tolist(), strict=True))

    def losses(self, batch: Batch) -> MaskedLosses:
        """Return the losses of this process; their mean over processes is the loss of the batch."""
        number, parts = batch
        # one ring more than layers, for exact degrees after edges are hidden
        tile = self._tiles.cut(parts[self._own_parts], 4, self._device)
        x = _features(self._values, tile.rows, self._device)
        return self._own_losses(x, tile.graph, TileDraws(self.seed, number, self._own_parts.start))


@torch.no_grad()
def outputs_of(
    networks: Sequence[TrainedNetwork], values: np.ndarray, tiles: Tiles
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the embeddings of the networks and the mean of their reconstructions, without masks.

    values: features, float32 ``(n_spots, n_features)``. Returns ``(n_spots, n_latent)`` for each network, and
    ``(n_spots, n_features)`` on the scale of the features; both float32.
    """
    device = networks[0].network.token.device
    latents = [np.empty((len(values), trained.network.bridge.in_features), np.float32) for trained in networks]
    reconstruction = np.zeros(values.shape, np.float32)
    for numbers in tiles.in_batches():
        tile = tiles.cut([numbers], 3, device)
        for trained, latent in zip(networks, latents, strict=True):
            latent[tile.core] = _latent(trained.network, values, tile).cpu().numpy()
            decoded = _reconstruction(trained.network, values, tile).cpu().numpy()
            reconstruction[tile.core] += (decoded * trained.slope + trained.intercept) / len(networks)
    return latents, reconstruction


@torch.no_grad()
def _latent(network: MaskedGraphAutoencoder, values: np.ndarray, tile: Tile) -> Tensor:
    """Embedding of the core of a tile, without masks."""
    x = _features(values, tile.rows, network.token.device)
    return network.eval().encode(x, tile.graph)[: tile.graph.n_core]


@torch.no_grad()
def _reconstruction(network: MaskedGraphAutoencoder, values: np.ndarray, tile: Tile) -> Tensor:
    """Reconstruction of the core of a tile, without masks."""
    return network.eval().reconstruct(_features(values, tile.rows, network.token.device), tile.graph)


@torch.no_grad()
def _recompute_batch_statistics(step: GradientStep, batches: Iterable[Batch]) -> None:
    """Recompute batch statistics as means over a sample; the running ones reflect the last ten batches."""
    network = step.network
    norms = [norm for norm in network.encoder.norms if isinstance(norm, torch.nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain mean over batches
    network.train()
    for batch in batches:
        step.losses(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def _sample(tiles: Tiles, n_parts: int, rng: np.random.Generator) -> list[list[list[int]]]:
    """Draw the batches for statistics, at most all."""
    n_batches = min(-(-_MEASURED // n_parts), -(-len(tiles) // (n_parts * tiles.per_part(n_parts))))
    drawn = tiles.scattered(rng, n_parts)
    return [next(drawn) for _ in range(n_batches)]


def _features(values: np.ndarray, rows: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(values[rows]).to(device)


def calibrate(reconstruction: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return slope and intercept of the least-squares line from each reconstructed feature to the feature."""
    centred = reconstruction - reconstruction.mean(axis=0)
    variance = (centred**2).sum(axis=0)
    shared = (centred * (values - values.mean(axis=0))).sum(axis=0)
    slope = np.divide(shared, variance, out=np.zeros_like(shared), where=variance > 0)
    return slope, values.mean(axis=0) - slope * reconstruction.mean(axis=0)
