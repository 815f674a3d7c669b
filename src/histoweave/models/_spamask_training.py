"""Training of SpaMask's network, and what a trained network says about a section."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from histoweave._runtime import Advance, torch_generator
from histoweave.models._spamask_config import SpaMaskConfig
from histoweave.nn import MaskedGraphAutoencoder, TileGraph, UndirectedGraph, product_dtype, weigh_decoder
from histoweave.train import History, fit_until_stable


@dataclass(frozen=True)
class TrainedNetwork:
    """One network of a model.

    Attributes
    ----------
    network
        With its weights.
    slope, intercept
        ``(n_inputs,)``, bring reconstructions to the scale of the inputs; the cosine error leaves it open.
    """

    network: MaskedGraphAutoencoder
    slope: np.ndarray
    intercept: np.ndarray

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    def latent(self, x: torch.Tensor, graph: UndirectedGraph) -> np.ndarray:
        """Return the encoder's output without masks, ``(n_spots, n_latent)`` float32."""
        return _outputs(self.network, x, graph, "latent").cpu().numpy()

    def reconstruction(self, x: torch.Tensor, graph: UndirectedGraph) -> np.ndarray:
        """Return the decoder's output without masks on the scale of the inputs, ``(n_spots, n_inputs)`` float32."""
        values = _outputs(self.network, x, graph, "reconstruction").cpu().numpy()
        return (values * self.slope + self.intercept).astype(np.float32)


def network_seeds(seed: int, n_networks: int) -> list[int]:
    """Return one seed a network; the first is the one given: one network is the same alone and among several."""
    more = np.random.default_rng(seed).integers(2**31, size=n_networks - 1)
    return [seed, *map(int, more)]


def build_network(config: SpaMaskConfig, n_inputs: int, hops: np.ndarray | None, seed: int) -> MaskedGraphAutoencoder:
    """Initialise under the seed, and leave the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskedGraphAutoencoder(
            n_inputs,
            config.n_hidden,
            config.n_latent,
            mask_rate=config.mask_rate,
            edge_mask_rate=config.edge_mask_rate,
            alpha=config.alpha,
            scorer_dropout=config.scorer_dropout,
            hops=None if hops is None else torch.tensor(hops),  # a copy: networks share nothing
        )


def train_network(
    x: torch.Tensor,
    graph: UndirectedGraph,
    config: SpaMaskConfig,
    *,
    hops: np.ndarray | None,
    noise: np.ndarray | None,
    seed: int,
    advance: Advance,
) -> tuple[TrainedNetwork, History]:
    """Train one network until its embedding is stable.

    Parameters
    ----------
    x
        (n_spots, n_inputs).
    graph
        Of these spots.
    config
        Settings.
    hops
        (n_inputs,) averagings over the graph, or ``None``.
    noise
        (n_inputs,) variance of the noise in the inputs, given with ``hops``: how much the decoder may add to the
        averages (:func:`histoweave.nn.weigh_decoder`).
    seed
        Of the initial weights, the masks and the negatives.
    advance
        Moves a progress bar.
    """
    network = build_network(config, x.shape[1], hops, seed).to(x.device)
    history = fit_until_stable(
        training_step(network, config, seed, lambda: (x, graph)),
        lambda: _outputs(network, x, graph, config.embedding),
        max_epochs=config.max_epochs,
        check_every=config.check_every,
        tolerance=config.tolerance,
        advance=advance,
    )
    if noise is not None:
        variance = torch.from_numpy(noise).to(x)
        weigh_decoder(network, x, graph, variance, torch_generator(seed))
    reconstruction = _outputs(network, x, graph, "reconstruction").cpu().numpy()
    return TrainedNetwork(network, *calibrate(reconstruction, x.cpu().numpy())), history


def training_step(
    network: MaskedGraphAutoencoder,
    config: SpaMaskConfig,
    seed: int,
    batch: Callable[[], tuple[torch.Tensor, UndirectedGraph | TileGraph]],
) -> Callable[[], dict[str, float]]:
    """Return a function that makes one optimiser step on a batch: the whole section, or tiles of it."""
    network.dtype = product_dtype(config.precision, network.token.device, config.n_latent)
    generator = torch_generator(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)

    def step() -> dict[str, float]:
        network.train()
        optimiser.zero_grad(set_to_none=True)
        losses = network(*batch(), generator)
        loss = losses.feature + config.edge_weight * losses.edge
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
        optimiser.step()
        return {"loss": loss.item(), "feature_loss": losses.feature.item(), "edge_loss": losses.edge.item()}

    return step


@torch.no_grad()
def _outputs(network: MaskedGraphAutoencoder, x: torch.Tensor, graph: UndirectedGraph, output: str) -> torch.Tensor:
    """Unmasked pass over the full graph: the encoder's (``latent``) or the decoder's output (``reconstruction``)."""
    network.eval()
    if output == "latent":
        return network.encoder(x, graph.propagation)
    return network.reconstruct(x, graph)


def calibrate(reconstruction: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares line from each reconstructed input to the input."""
    centred = reconstruction - reconstruction.mean(axis=0)
    variance = (centred**2).sum(axis=0)
    shared = (centred * (values - values.mean(axis=0))).sum(axis=0)
    slope = np.divide(shared, variance, out=np.zeros_like(shared), where=variance > 0)
    return slope, values.mean(axis=0) - slope * reconstruction.mean(axis=0)
