"""Training of SpaMask's network on tiles, for sections that do not fit in one piece.

A network's weights do not grow with the tissue, so neither do the gradient steps: ``config.max_epochs`` bounds steps,
and where there are more tiles than they read, the rest is embedded without having been trained on. Tiles are drawn from
all over the tissue without return, so that nothing is read twice before all of it was read once.

A batch has one or more parts. Under ``torchrun`` each process computes its share of them, and all take the same step;
before and after training every process does the same.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from histoquilt.models.spamask._config import SpaMaskConfig
from histoquilt.models.spamask._tiles import Tile, Tiles, parts_of_batch, smooth_all
from histoquilt.models.spamask._training import GradientStep, TrainedNetwork, build_network, calibrate
from histoquilt.nn import (
    LossesOnTiles,
    MaskedGraphAutoencoder,
    MaskedLosses,
    TileDraws,
    TileGraph,
    weigh_decoder_on_tiles,
)
from histoquilt.runtime import (
    Advance,
    check_same,
    from_main,
    group_size,
    n_processes,
    others_named,
    rank,
    start_group,
    summed,
    torch_generator,
)
from histoquilt.train import History, TrainingCheckpoint, fit_until_stable

_WATCHED = 4  # parts on which it is seen whether the embedding still changes
_MEASURED = 16  # parts from which normalisation, the decoder's weight and the scale of the inputs are taken

Batch = tuple[int, list[list[int]]]  # number of the step, and the tiles of every part


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
        Network input, float32 ``(n_spots, n_inputs)``.
    tiles
        Tiles of these spots.
    config
        Settings; ``max_epochs`` and ``check_every`` count gradient steps.
    smooth
        Smoothed input, see :func:`histoquilt.models.spamask._tiles.smooth_all`; ``None`` without ``hops``.
    hops, noise, seed, advance, checkpoint
        Arguments as for ``train_network``.
    device
        Device of the network.

    Returns
    -------
    The network, and the history with one row per gradient step.
    """
    start_group(device)
    network = build_network(config, values.shape[1], hops, seed).to(device)
    rng = np.random.default_rng(seed)
    n_parts = parts_of_batch(config.n_parts)
    batches, sample = tiles.scattered(rng, n_parts), _sample(tiles, n_parts, rng)
    measured_parts = [part for batch in sample for part in batch][:_MEASURED]
    n_rings = max(4, 0 if hops is None else int(hops.max()))  # one more than layers: degrees after edges are hidden
    share = n_parts // n_processes()
    first_part = rank() * share

    def draw(batch: Batch) -> tuple[Tensor, TileGraph, TileDraws]:
        step, parts = batch
        tile = tiles.cut(parts[first_part : first_part + share], n_rings, 3, device)
        return _features(values, tile.rows, device), tile.graph, TileDraws(seed, step, first_part)

    def parts(some: list[list[int]]) -> Iterator[Tile]:
        return (tiles.cut([numbers], 3, 3, device) for numbers in some)

    def watched() -> Tensor:
        some = parts(measured_parts[:_WATCHED])
        outputs = torch.cat([_output(network, values, tile, smooth, config.embedding) for tile in some])
        return from_main(outputs)  # whether to go on is decided alike by all

    step = StepOnTiles(network, config, seed, enumerate(batches), draw)
    history = fit_until_stable(
        step,
        watched,
        max_epochs=config.max_epochs,
        check_every=config.check_every,
        tolerance=config.tolerance,
        advance=advance,
        checkpoint=checkpoint,
    )
    _settle_normalisation(step, enumerate(sample, start=config.max_epochs))
    check_same(network.state_dict().values(), "The trained network")
    if noise is not None:
        assert smooth is not None
        of_sample = (
            (_features(values, tile.rows, device), tile.graph, _features(smooth, tile.core, device))
            for tile in parts(measured_parts)
        )
        weigh_decoder_on_tiles(
            network, of_sample, torch.from_numpy(noise).to(device, torch.float32), torch_generator(seed)
        )
    measured = list(parts(measured_parts))
    reconstruction = torch.cat([_output(network, values, tile, smooth, "reconstruction") for tile in measured])
    of_same = values[np.concatenate([tile.core for tile in measured])]
    return TrainedNetwork(network, *calibrate(reconstruction.cpu().numpy(), of_same)), history


class StepOnTiles(GradientStep[Batch]):
    """A step on the parts of a batch, of which this process computes its share."""

    def __init__(
        self,
        network: MaskedGraphAutoencoder,
        config: SpaMaskConfig,
        seed: int,
        batches: Iterator[Batch],
        read: Callable[[Batch], tuple[Tensor, TileGraph, TileDraws]],
    ) -> None:
        super().__init__(network, config, seed, batches, read)
        self._own_losses: torch.nn.Module = LossesOnTiles(network)
        if group_size() > 1:
            self._own_losses = DistributedDataParallel(self._own_losses)
        self._started = False

    def __call__(self) -> dict[str, float]:
        """Make one step, together with the other processes; the losses are those of the whole batch."""
        if not self._started:  # a process that found no checkpoint where others did would compute another batch
            check_same([torch.tensor(self.n_steps, device=self.network.token.device)], "The step to begin with")
            self._started = True
        with others_named():
            own = super().__call__()
        total = summed(torch.tensor(list(own.values()), dtype=torch.float64).to(self.network.token.device))
        return dict(zip(own, (total.cpu() / group_size()).tolist(), strict=True))

    def losses(self, batch: Batch) -> MaskedLosses:
        """Return the share of this process in the losses; their mean over processes is the loss of the batch."""
        return self._own_losses(*self.read(batch))


def outputs_on_tiles(
    networks: Sequence[TrainedNetwork], values: np.ndarray, tiles: Tiles, adjacency: csr_matrix, *, latent: bool
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return reconstructions and latents of all spots without masks, equal to those from the whole graph.

    Parameters
    ----------
    networks
        Trained networks.
    values
        Network input, float32 ``(n_spots, n_inputs)``.
    tiles
        Tiles of these spots.
    adjacency
        Adjacency ``(n_spots, n_spots)``, CSR, in the order of ``values``.
    latent
        If true, also return the encoder's output; else the second list is empty.
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
        tile = tiles.cut([numbers], 3, 3, networks[0].device)
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
def _settle_normalisation(step: StepOnTiles, batches: Iterable[Batch]) -> None:
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
