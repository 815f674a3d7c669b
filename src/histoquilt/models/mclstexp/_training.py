"""Training of mclSTExp's network, and the embeddings that a network gives."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.mclstexp._config import MclSTExpConfig
from histoquilt.models.mclstexp._images import build_backbone, vary
from histoquilt.models.mclstexp._network import MclSTExpNetwork, TrainingSpots
from histoquilt.nn import contrastive_loss
from histoquilt.runtime import Advance, torch_generator
from histoquilt.train import TrainingCheckpoint, restore_training, run_epochs, training_tensors

_BLOCK = 256  # patches through a trained backbone at a time


@dataclass(frozen=True)
class Pairs:
    """What a network is trained on: images, spots and weights of some sections, one after the other, on its device.

    Attributes
    ----------
    images
        (n_spots, n_components), or (n_spots, side, side, 3) uint8.
    spots
        The other side of each pair.
    weights
        (n_spots,) how much each counts.
    views
        (n_spots, n_views, n_components) that training draws from in place of ``images``, where there are any.
    """

    images: Tensor
    spots: TrainingSpots
    weights: Tensor
    views: Tensor | None

    @classmethod
    def of(
        cls,
        train: list[ImageSection],
        images: list[np.ndarray],
        weights: list[np.ndarray],
        members: Sequence[int],
        n_hops: int,
        views: list[np.ndarray | None],
        device: torch.device | str = "cpu",
    ) -> "Pairs":
        """Join some sections."""
        x = np.concatenate([images[i] for i in members])
        w = np.concatenate([weights[i] for i in members])
        sections = [(train[i].measured, train[i].centres_um, train[i].adjacency) for i in members]
        some = [one for i in members if (one := views[i]) is not None]
        return cls(
            torch.from_numpy(x).to(device),
            TrainingSpots(sections, n_hops, device),
            torch.from_numpy(w / w.mean()).float().to(device),
            torch.from_numpy(np.concatenate(some)).to(device) if some else None,
        )

    def draw(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return what training sees of the images of a batch: one view of each spot, where there are views."""
        there = batch.to(self.images.device)
        if self.views is None:
            return self.images[there]
        view = torch.randint(self.views.shape[1], (len(batch),), generator=generator)
        return self.views[there, view.to(there.device)]


def build_network(config: MclSTExpConfig, n_image: int, n_genes: int, seed: int) -> MclSTExpNetwork:
    """Initialise under the seed, and leave the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone, n_features = build_backbone(config)
        return MclSTExpNetwork(
            n_features if backbone is not None else n_image,
            n_genes,
            n_latent=config.n_latent,
            n_blocks=config.n_blocks,
            coordinates=config.coordinates,
            dropout_rate=config.dropout_rate,
            backbone=backbone,
        )


def start_network(pairs: Pairs, config: MclSTExpConfig, seed: int) -> MclSTExpNetwork:
    """Build a network on the device of its pairs, with their mean expression."""
    y = pairs.spots.y.cpu().numpy()
    network = build_network(config, pairs.images.shape[-1], y.shape[1], seed)
    network.mean.copy_(torch.from_numpy(np.average(y, axis=0, weights=pairs.weights.cpu().numpy())))
    return network.to(pairs.images.device)


def train_network(
    network: MclSTExpNetwork,
    pairs: Pairs,
    config: MclSTExpConfig,
    n_epochs: int,
    seed: int,
    advance: Advance,
    *,
    looks: Collection[int] = (),
    checkpoint: TrainingCheckpoint | None = None,
) -> Iterator[tuple[int, float]]:
    """Train a network in place, and yield after every epoch its number and mean loss; epoch 0 is untrained.

    ``looks`` are the epochs after which the caller looks at the network, see :func:`histoquilt.train.run_epochs`.

    Raises
    ------
    RuntimeError
        The loss is NaN or infinite.
    """
    yield 0, math.nan
    epoch_of_training = _Epoch(network, pairs, config, seed)
    for epoch, losses in run_epochs(epoch_of_training, network, n_epochs, looks=looks, checkpoint=checkpoint):
        advance(note=f"epoch {epoch}, loss {losses['loss']:.3f}")
        yield epoch, losses["loss"]


class _Epoch:
    """One pass over all pairs, in batches drawn anew. A :class:`histoquilt.train.Step`."""

    def __init__(self, network: MclSTExpNetwork, pairs: Pairs, config: MclSTExpConfig, seed: int) -> None:
        self.network, self.pairs, self.config = network, pairs, config
        self.generator = torch_generator(seed)
        self.optimiser = torch.optim.Adam(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def __call__(self) -> dict[str, float]:
        """Return the mean loss."""
        losses = []
        order = torch.randperm(len(self.pairs.spots), generator=self.generator)
        # batches of about one size: a small rest would be an easy task, and a noisy step
        for batch in order.tensor_split(max(1, round(len(order) / self.config.batch_size))):
            self.network.train()
            self.optimiser.zero_grad(set_to_none=True)
            loss = _loss(self.network, self.pairs, batch, self.config, self.generator)
            if not torch.isfinite(loss):
                raise RuntimeError(
                    f"Training diverged: the loss is {loss.item()}. Lower learning_rate in the config, and check the "
                    "embedding for extreme values."
                )
            loss.backward()
            self.optimiser.step()
            losses.append(loss.item())
        return {"loss": float(np.mean(losses))}

    def state(self) -> dict[str, Tensor]:
        """Return weights, moments and the generator's state."""
        return training_tensors(self.network, self.optimiser, self.generator)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume where another run was."""
        restore_training(state, self.network, self.optimiser, self.generator)


def _loss(
    network: MclSTExpNetwork, pairs: Pairs, batch: Tensor, config: MclSTExpConfig, generator: torch.Generator
) -> Tensor:
    around, place = pairs.spots.around(batch)
    there = pairs.images.device
    spot = network.spots(around, generator)[place.to(there)]  # (n_batch, n_latent)
    image = network.images(vary(pairs.draw(batch, generator), config, generator), generator)
    if config.similarity == "cosine":
        spot, image = functional.normalize(spot, dim=1), functional.normalize(image, dim=1)
    return contrastive_loss(spot, image, config.temperature, weights=pairs.weights[batch.to(there)])


@torch.no_grad()
def embed_images(network: MclSTExpNetwork, images: Tensor) -> Tensor:
    """Return unit vectors (n_spots, n_latent), where the network is."""
    network.eval()
    there = network.mean.device
    return functional.normalize(torch.cat([network.images(some.to(there)) for some in images.split(_BLOCK)]), dim=1)


@torch.no_grad()
def embed_references(network: MclSTExpNetwork, pairs: Pairs) -> dict[str, Tensor]:
    """Return what a query may be compared with, by key: (n_spots, n_latent) each.

    The mean of the two unit vectors ranks references by the mean of the two cosines, up to how well they agree.
    """
    network.eval()
    spot = functional.normalize(network.spots(pairs.spots.whole), dim=1)
    image = embed_images(network, pairs.images)
    return {"spot": spot, "image": image, "both": functional.normalize(spot + image, dim=1)}
