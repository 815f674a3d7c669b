"""Training of SpaHGC's network: one section per step, with a momentum encoder."""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import torch

from histoquilt.models.spahgc._config import SpaHGCConfig
from histoquilt.models.spahgc._graph import NetworkSection, ReferenceBank, SectionGraph, build_graph, search_directions
from histoquilt.models.spahgc._network import SpaHGCNetwork, training_losses
from histoquilt.nn import momentum_update
from histoquilt.runtime import torch_generator
from histoquilt.train import TrainingCheckpoint, restore_training, run_epochs, strip_prefix, training_tensors

_FOLLOWER = "follower"  # name of the momentum encoder in the checkpoint


def build_network(n_inputs: int, n_genes: int, config: SpaHGCConfig, seed: int) -> SpaHGCNetwork:
    """Initialise with a seed, without changing the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SpaHGCNetwork(n_inputs, n_genes, config)


def train_epochs(
    sections: Sequence[NetworkSection],
    config: SpaHGCConfig,
    n_epochs: int,
    *,
    seed: int,
    device: torch.device,
    looks: Collection[int] = (),
    checkpoint: TrainingCheckpoint | None = None,
) -> Iterator[tuple[SpaHGCNetwork, dict[str, float]]]:
    """Train on sections with ``y`` from at least two groups, whose references are in the other groups.

    Yields the network in evaluation mode and its mean losses by name after every epoch, which is one step on every
    section in random order. ``looks`` and ``checkpoint`` as for :func:`histoquilt.train.run_epochs`. Raises
    ``RuntimeError`` if the loss is NaN or infinite.
    """
    step = _Epoch(sections, config, seed, device)
    for _, losses in run_epochs(step, step.network, n_epochs, looks=looks, checkpoint=checkpoint):
        yield step.network.eval(), losses


class _Epoch:
    """One step on every section, in random order. A :class:`histoquilt.train.Step`."""

    def __init__(
        self, sections: Sequence[NetworkSection], config: SpaHGCConfig, seed: int, device: torch.device
    ) -> None:
        bank = ReferenceBank.of(sections)
        self.config = config
        # as in prediction, a section's own expression has no part in the search for its references
        groups = {section.group: search_directions(sections, config, without=section.group) for section in sections}
        self.graphs = [build_graph(one, bank, groups[one.group], config, device) for one in sections]
        self.targets = [_targets(section, device) for section in sections]
        self.network = build_network(sections[0].x.shape[1], bank.expression.shape[1], config, seed)
        _initialise_output(self.network, sections)
        self.network.to(device)
        self.follower = copy.deepcopy(self.network.encoder).requires_grad_(False).eval()
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.generator = torch_generator(seed)

    def __call__(self) -> dict[str, float]:
        """Return the mean losses by name."""
        network, config = self.network, self.config
        network.train()
        sums: dict[str, float] = {}
        for i in torch.randperm(len(self.graphs), generator=self.generator).tolist():
            self.optimiser.zero_grad(set_to_none=True)
            y, weights = self.targets[i]
            losses = training_losses(network, self.follower, self.graphs[i], y, weights, config, self.generator)
            losses.total.backward()
            self.optimiser.step()
            momentum_update(network.encoder, self.follower, config.momentum)
            for name, value in vars(losses).items():
                sums[name] = sums.get(name, 0.0) + value.item() / len(self.graphs)
        if not np.isfinite(sums["total"]):
            raise RuntimeError("Training of SpaHGC has diverged: the loss is NaN or infinite. Lower learning_rate.")
        return sums

    def state(self) -> dict[str, torch.Tensor]:
        follower = {f"{_FOLLOWER}.{name}": value for name, value in self.follower.state_dict().items()}
        return training_tensors(self.network, self.optimiser, self.generator) | follower

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        restore_training(state, self.network, self.optimiser, self.generator)
        self.follower.load_state_dict(strip_prefix(state, _FOLLOWER))


@torch.no_grad()
def network_predicts(network: SpaHGCNetwork, graph: SectionGraph) -> np.ndarray:
    """Return the network's prediction, ``(n_targets, n_genes)`` float32."""
    network.eval()
    return network(graph).cpu().numpy()


def _initialise_output(network: SpaHGCNetwork, sections: Sequence[NetworkSection]) -> None:
    """Initialise the output at the mean expression of training.

    The released code starts at random, close to its labels, which are scaled to [0, 1].
    """
    mean = np.concatenate([section.measured for section in sections]).mean(axis=0)
    with torch.no_grad():
        network.genes.bias.copy_(torch.from_numpy(mean))


def _targets(section: NetworkSection, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return measured expression and weights with mean 1."""
    weights = np.ones(len(section.x)) if section.weights is None else section.weights / section.weights.mean()
    y, scaled = (
        torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)
        for values in (section.measured, weights)
    )
    return y, scaled
