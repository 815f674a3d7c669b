"""Training of SpaMask's network, and what a trained network says about a section."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from histoquilt.models.spamask._config import SpaMaskConfig
from histoquilt.nn import MaskedGraphAutoencoder, MaskedLosses, UndirectedGraph, product_dtype, weigh_decoder
from histoquilt.runtime import Advance, torch_generator
from histoquilt.train import History, TrainingCheckpoint, fit_until_stable, restore_training, training_tensors

Drawn = TypeVar("Drawn")


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
    checkpoint: TrainingCheckpoint | None = None,
) -> tuple[TrainedNetwork, History]:
    """Train one network until its embedding is stable.

    Parameters
    ----------
    x
        Network input, (n_spots, n_inputs).
    graph
        Graph of these spots.
    config
        Settings.
    hops
        Number of averaging steps over the graph for each input, (n_inputs,), or ``None``.
    noise
        Noise variance of the inputs, (n_inputs,), given with ``hops``; it limits how much the decoder may add to the
        averages (:func:`histoquilt.nn.weigh_decoder`).
    seed
        Random seed of the initial weights, the masks and the negatives.
    advance
        Callback that advances a progress bar.
    checkpoint
        Checkpoint from which training is resumed, if any.
    """
    network = build_network(config, x.shape[1], hops, seed).to(x.device)
    history = fit_until_stable(
        GradientStep(network, config, seed, repeat(None), lambda _: (x, graph)),
        lambda: _outputs(network, x, graph, config.embedding),
        max_epochs=config.max_epochs,
        check_every=config.check_every,
        tolerance=config.tolerance,
        advance=advance,
        checkpoint=checkpoint,
    )
    if noise is not None:
        variance = torch.from_numpy(noise).to(x)
        weigh_decoder(network, x, graph, variance, torch_generator(seed))
    reconstruction = _outputs(network, x, graph, "reconstruction").cpu().numpy()
    return TrainedNetwork(network, *calibrate(reconstruction, x.cpu().numpy())), history


class GradientStep(Generic[Drawn]):
    """Optimiser step on a batch (the whole section, or tiles of it); a :class:`histoquilt.train.Step`.

    Parameters
    ----------
    network
        Network to train, on the device where training runs.
    config
        Settings.
    seed
        Random seed of masks and negatives.
    batches
        Batch for each step; when training is resumed, those that were read before are drawn and skipped.
    read
        Function from a drawn batch to features ``(n_spots, n_inputs)``, graph, and the other arguments of
        :meth:`losses`.
    """

    def __init__(
        self,
        network: MaskedGraphAutoencoder,
        config: SpaMaskConfig,
        seed: int,
        batches: Iterator[Drawn],
        read: Callable[[Drawn], tuple[Any, ...]],
    ) -> None:
        network.dtype = product_dtype(config.precision, network.token.device, config.n_latent)
        self.network, self.config, self.batches, self.read = network, config, batches, read
        self.generator = torch_generator(seed)
        self.optimiser = torch.optim.Adam(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.n_steps = 0

    def __call__(self) -> dict[str, float]:
        """Make one step."""
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        losses = self.losses(next(self.batches))
        loss = losses.feature + self.config.edge_weight * losses.edge
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.max_grad_norm)
        self.optimiser.step()
        self.n_steps += 1
        return {"loss": loss.item(), "feature_loss": losses.feature.item(), "edge_loss": losses.edge.item()}

    def losses(self, batch: Drawn) -> MaskedLosses:
        """Return the losses of a batch."""
        return self.network(*self.read(batch), self.generator)

    def state(self) -> dict[str, torch.Tensor]:
        """Return weights, moments, the generator's state, and the number of batches drawn."""
        drawn = {"n_steps": torch.tensor(self.n_steps)}
        return training_tensors(self.network, self.optimiser, self.generator) | drawn

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go to where another step was; this one has not been made yet."""
        restore_training(state, self.network, self.optimiser, self.generator)
        self.n_steps = int(state["n_steps"])
        for _ in range(self.n_steps):
            next(self.batches)


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
