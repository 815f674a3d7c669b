"""Training of mclSTExp's network, and embeddings by a trained network."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.mclstexp._config import MclSTExpConfig
from histoquilt.models.mclstexp._images import augment, build_backbone
from histoquilt.models.mclstexp._network import MclSTExpNetwork, TrainingSpots
from histoquilt.nn import contrastive_loss
from histoquilt.runtime import Advance, torch_generator
from histoquilt.train import TrainingCheckpoint, restore_training, run_epochs, training_tensors

_BLOCK = 256  # spots per forward pass when embedding


@dataclass(frozen=True)
class Pairs:
    """Training data: images, spots and weights of several sections, on the device of the network."""

    images: Tensor  # (n_spots, n_components), or (n_spots, side, side, 3) uint8
    spots: TrainingSpots
    weights: Tensor  # (n_spots,) with mean 1
    views: Tensor | None  # (n_spots, n_views, n_components), used in training instead of images

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
        """Join the sections ``members`` of ``train``."""
        x = np.concatenate([images[i] for i in members])
        w = np.concatenate([weights[i] for i in members])
        sections = [(train[i].measured, train[i].centres_um, train[i].adjacency) for i in members]
        member_views = [view for i in members if (view := views[i]) is not None]
        return cls(
            torch.from_numpy(x).to(device),
            TrainingSpots(sections, n_hops, device),
            torch.from_numpy(w / w.mean()).float().to(device),
            torch.from_numpy(np.concatenate(member_views)).to(device) if member_views else None,
        )

    def draw(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the images of a batch, or one random view of each."""
        rows = batch.to(self.images.device)
        if self.views is None:
            return self.images[rows]
        view = torch.randint(self.views.shape[1], (len(batch),), generator=generator)
        return self.views[rows, view.to(rows.device)]


def build_network(config: MclSTExpConfig, n_image: int, n_genes: int, seed: int) -> MclSTExpNetwork:
    """Initialise with a seed, without changing the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone, n_features = build_backbone(config)
        return MclSTExpNetwork(n_image if backbone is None else n_features, n_genes, config, backbone)


def start_network(pairs: Pairs, config: MclSTExpConfig, seed: int) -> MclSTExpNetwork:
    """Build a network with the mean expression of the pairs, on their device."""
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
    """Train a network in place; yield number and mean loss of every epoch, beginning with 0 for the untrained network.

    ``looks`` and ``checkpoint`` as for :func:`histoquilt.train.run_epochs`. Raises ``RuntimeError`` if the loss is NaN
    or infinite.
    """
    yield 0, math.nan
    step = _Epoch(network, pairs, config, seed)
    for epoch, losses in run_epochs(step, network, n_epochs, looks=looks, checkpoint=checkpoint):
        advance(note=f"epoch {epoch}, loss {losses['loss']:.3f}")
        yield epoch, losses["loss"]


class _Epoch:
    """One pass over all pairs in random batches. A :class:`histoquilt.train.Step`."""

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
        # batches of similar size: a small last batch would give a noisy step
        for batch in order.tensor_split(max(1, round(len(order) / self.config.batch_size))):
            self.network.train()
            self.optimiser.zero_grad(set_to_none=True)
            loss = self._loss(batch)
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
        return training_tensors(self.network, self.optimiser, self.generator)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        restore_training(state, self.network, self.optimiser, self.generator)

    def _loss(self, batch: Tensor) -> Tensor:
        network, pairs, config, generator = self.network, self.pairs, self.config, self.generator
        around, position = pairs.spots.around(batch)
        device = pairs.images.device
        spot = network.spots(around, generator)[position.to(device)]  # (n_batch, n_latent)
        image = network.images(augment(pairs.draw(batch, generator), config, generator), generator)
        if config.similarity == "cosine":
            spot, image = functional.normalize(spot, dim=1), functional.normalize(image, dim=1)
        return contrastive_loss(spot, image, config.temperature, weights=pairs.weights[batch.to(device)])


@torch.no_grad()
def embed_images(network: MclSTExpNetwork, images: Tensor) -> Tensor:
    """Return unit vectors (n_spots, n_latent) on the device of the network."""
    network.eval()
    device = network.mean.device
    return functional.normalize(torch.cat([network.images(part.to(device)) for part in images.split(_BLOCK)]), dim=1)


@torch.no_grad()
def embed_references(network: MclSTExpNetwork, pairs: Pairs) -> dict[str, Tensor]:
    """Return the embeddings that a query may be compared with, by key, (n_spots, n_latent) each."""
    network.eval()
    spot = functional.normalize(network.spots(pairs.spots.whole), dim=1)
    image = embed_images(network, pairs.images)
    return {"spot": spot, "image": image, "both": functional.normalize(spot + image, dim=1)}
