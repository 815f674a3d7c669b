"""Training of SpaHGC's network: one section graph a step, a momentum encoder that follows, epochs chosen inside."""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from histoweave._runtime import torch_generator
from histoweave.models._spahgc_config import SpaHGCConfig
from histoweave.models._spahgc_graph import NetworkSection, ReferenceBank, SectionGraph, build_graph
from histoweave.models._spahgc_network import SpaHGCNetwork, training_losses
from histoweave.nn import momentum_update


def build_network(n_inputs: int, n_genes: int, config: SpaHGCConfig, seed: int) -> SpaHGCNetwork:
    """Initialise under the seed, and leave the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SpaHGCNetwork(n_inputs, n_genes, config)


def train_epochs(
    sections: Sequence[NetworkSection], config: SpaHGCConfig, n_epochs: int, *, seed: int, device: torch.device
) -> Iterator[tuple[SpaHGCNetwork, dict[str, float]]]:
    """Train on sections, each a target with its references in the others; yield the network after every epoch.

    Parameters
    ----------
    sections
        With ``y``, of at least two groups.
    config
        Settings.
    n_epochs
        An epoch is one step on every section, in an order drawn anew.
    seed
        Of initial weights, order, masks and dropout.
    device
        Where to compute.

    Yields
    ------
    The network, in evaluation mode, and its mean losses over the epoch by name.

    Raises
    ------
    RuntimeError
        The loss is NaN or infinite.
    """
    bank = ReferenceBank.of(sections)
    graphs = [build_graph(one, bank, config, device) for one in sections]
    base, y, weights = zip(*(_targets(one, device) for one in sections), strict=True)
    network = build_network(sections[0].x.shape[1], y[0].shape[1], config, seed).to(device)
    follower = copy.deepcopy(network.encoder).requires_grad_(False).eval()
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    generator = torch_generator(seed)
    for _ in range(n_epochs):
        network.train()
        sums: dict[str, float] = {}
        for i in torch.randperm(len(sections), generator=generator).tolist():
            optimiser.zero_grad(set_to_none=True)
            losses = training_losses(network, follower, graphs[i], base[i], y[i], weights[i], config, generator)
            losses.total.backward()
            optimiser.step()
            momentum_update(network.encoder, follower, config.momentum)
            for name, value in vars(losses).items():
                sums[name] = sums.get(name, 0.0) + value.item() / len(sections)
        if not np.isfinite(sums["total"]):
            raise RuntimeError("Training of SpaHGC has diverged: the loss is no number. Lower learning_rate.")
        network.eval()
        yield network, sums


@torch.no_grad()
def network_says(network: SpaHGCNetwork, graph: SectionGraph) -> np.ndarray:
    """Return what the network adds to the linear part, ``(n_targets, n_genes)`` float32."""
    network.eval()
    return network(graph).cpu().numpy()


def _targets(section: NetworkSection, device: torch.device) -> list[torch.Tensor]:
    """Return what the linear part says, measured expression, and weights with mean 1."""
    assert section.y is not None, "training sections have measured expression"
    weights = np.ones(len(section.x)) if section.weights is None else section.weights / section.weights.mean()
    return [
        torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)
        for values in (section.base, section.y, weights)
    ]
