"""Training of SpaMask's network on tiles, and what trained networks say of sections.

The whole section is the tile that has no halo: up to 4,096 spots are one batch. A network's weights do not grow with
the tissue, so neither do the gradient steps: ``config.max_epochs`` bounds steps, and where there are more tiles than
they read, the rest is embedded without having been trained on. Tiles are drawn from all over the tissue without return,
so that nothing is read twice before all of it was read once.

A batch has one or more parts. Under ``torchrun`` each process computes its share of them, and all take the same step;
before and after training every process does the same.
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

_WATCHED = 4  # parts on which it is seen whether the embedding still changes
_MEASURED = 16  # parts from which normalisation and the scale of the inputs are taken

Batch = tuple[int, list[list[int]]]  # number of the step, and the tiles of every part


@dataclass(frozen=True)
class TrainedNetwork:
    """One network of a model.

    Attributes
    ----------
    network
        With its weights.
    slope, intercept
        ``(n_features,)``, bring reconstructions to the scale of the features; the cosine error leaves it open.
    """

    network: MaskedGraphAutoencoder
    slope: np.ndarray
    intercept: np.ndarray


def network_seeds(seed: int, n_networks: int) -> list[int]:
    """Return one seed a network; the first is the one given: one network is the same alone and among several."""
    more = np.random.default_rng(seed).integers(2**31, size=n_networks - 1)
    return [seed, *map(int, more)]


def build_network(config: SpaMaskConfig, n_features: int, seed: int) -> MaskedGraphAutoencoder:
    """Initialise under the seed, and leave the global random state as it was."""
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
    """Train one network for ``config.max_epochs`` steps, or until its embedding of a sample of the tiles is stable.

    Parameters
    ----------
    values
        Features, float32 ``(n_spots, n_features)``.
    tiles
        Tiles of these spots.
    config
        Settings; ``max_epochs`` and ``check_every`` count gradient steps.
    seed
        Random seed of the initial weights, the masks and the negatives.
    device
        Device of the network.
    advance
        Callback that advances a progress bar.

    Returns
    -------
    The network, and the history with one row per gradient step.
    """
    start_group(device)
    network = build_network(config, values.shape[1], seed).to(device)
    rng = np.random.default_rng(seed)
    n_parts = parts_of_batch(config.n_parts)
    batches, sample = tiles.scattered(rng, n_parts), _sample(tiles, n_parts, rng)
    measured_parts = [part for batch in sample for part in batch][:_MEASURED]

    def parts(some: list[list[int]]) -> Iterator[Tile]:
        return (tiles.cut([numbers], 3, device) for numbers in some)

    def watched() -> Tensor:
        outputs = torch.cat([_latent(network, values, tile) for tile in parts(measured_parts[:_WATCHED])])
        return broadcast(outputs)  # whether to go on is decided alike by all

    step = GradientStep(network, config, seed, values, tiles, enumerate(batches))
    history = fit_until_stable(
        step,
        watched,
        max_epochs=config.max_epochs,
        check_every=config.check_every,
        tolerance=config.tolerance,
        advance=advance,
    )
    _settle_normalisation(step, enumerate(sample, start=config.max_epochs))
    check_same(network.state_dict().values(), "The trained network")
    measured = list(parts(measured_parts))
    reconstruction = torch.cat([_reconstruction(network, values, tile) for tile in measured]).cpu().numpy()
    of_same = values[np.concatenate([tile.core for tile in measured])]
    return TrainedNetwork(network, *calibrate(reconstruction, of_same)), history


class GradientStep:
    """Optimiser step on the parts of a batch, of which this process computes its share.

    Parameters
    ----------
    network
        Network to train, on the device where training runs.
    config
        Settings.
    seed
        Random seed of masks and negatives.
    values, tiles
        Features ``(n_spots, n_features)`` and tiles of all spots.
    batches
        Batch for each step.
    """

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
        """Make one step, together with the other processes; the losses are those of the whole batch."""
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        with others_named():
            losses = self.losses(next(self.batches))
            loss = losses.feature + self.config.edge_weight * losses.edge
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.max_grad_norm)
            self.optimiser.step()
        own = torch.stack([loss, losses.feature, losses.edge]).detach().double()
        total = summed(own).cpu() / group_size()
        return dict(zip(("loss", "feature_loss", "edge_loss"), total.tolist(), strict=True))

    def losses(self, batch: Batch) -> MaskedLosses:
        """Return the share of this process in the losses; their mean over processes is the loss of the batch."""
        number, parts = batch
        # one ring more than layers: degrees are exact after edges are hidden
        tile = self._tiles.cut(parts[self._own_parts], 4, self._device)
        x = _features(self._values, tile.rows, self._device)
        return self._own_losses(x, tile.graph, TileDraws(self.seed, number, self._own_parts.start))


@torch.no_grad()
def outputs_of(
    networks: Sequence[TrainedNetwork], values: np.ndarray, tiles: Tiles
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the embedding of each network without masks, and the mean of their reconstructions.

    Parameters
    ----------
    networks
        Trained networks.
    values
        Features, float32 ``(n_spots, n_features)``.
    tiles
        Tiles of these spots.

    Returns
    -------
    latents : ``(n_spots, n_latent)`` float32 each
    reconstruction : ``(n_spots, n_features)`` float32, on the scale of the features
    """
    device = networks[0].network.token.device
    latents = [np.empty((len(values), one.network.bridge.in_features), np.float32) for one in networks]
    reconstruction = np.zeros(values.shape, np.float32)
    for numbers in tiles.in_batches():
        tile = tiles.cut([numbers], 3, device)
        for one, latent in zip(networks, latents, strict=True):
            latent[tile.core] = _latent(one.network, values, tile).cpu().numpy()
            decoded = _reconstruction(one.network, values, tile).cpu().numpy()
            reconstruction[tile.core] += (decoded * one.slope + one.intercept) / len(networks)
    return latents, reconstruction


@torch.no_grad()
def _latent(network: MaskedGraphAutoencoder, values: np.ndarray, tile: Tile) -> Tensor:
    """Return the encoder's output for the core of a tile, without masks."""
    x = _features(values, tile.rows, network.token.device)
    return network.eval().encode(x, tile.graph)[: tile.graph.n_core]


@torch.no_grad()
def _reconstruction(network: MaskedGraphAutoencoder, values: np.ndarray, tile: Tile) -> Tensor:
    """Return the decoder's output for the core of a tile, without masks."""
    return network.eval().reconstruct(_features(values, tile.rows, network.token.device), tile.graph)


@torch.no_grad()
def _settle_normalisation(step: GradientStep, batches: Iterable[Batch]) -> None:
    """Take the statistics of normalisation from a whole sample: the running ones remember ten batches alone."""
    network = step.network
    norms = [norm for norm in network.encoder.norms if isinstance(norm, torch.nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches counts alike
    network.train()
    for batch in batches:
        step.losses(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def _sample(tiles: Tiles, n_parts: int, rng: np.random.Generator) -> list[list[list[int]]]:
    """Draw the batches on which things are measured; no more than there are."""
    n_batches = min(-(-_MEASURED // n_parts), -(-len(tiles) // (n_parts * tiles.per_part(n_parts))))
    drawn = tiles.scattered(rng, n_parts)
    return [next(drawn) for _ in range(n_batches)]


def _features(values: np.ndarray, rows: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(values[rows]).to(device)


def calibrate(reconstruction: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares line from each reconstructed feature to the feature."""
    centred = reconstruction - reconstruction.mean(axis=0)
    variance = (centred**2).sum(axis=0)
    shared = (centred * (values - values.mean(axis=0))).sum(axis=0)
    slope = np.divide(shared, variance, out=np.zeros_like(shared), where=variance > 0)
    return slope, values.mean(axis=0) - slope * reconstruction.mean(axis=0)
