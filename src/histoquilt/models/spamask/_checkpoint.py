"""A trained SpaMask to a checkpoint and back."""

from typing import Any

import numpy as np
from torch import Tensor

from histoquilt.cluster import NamedMixture
from histoquilt.models._checkpoint import Checkpoint
from histoquilt.models.spamask._config import SpaMaskConfig
from histoquilt.models.spamask._fitted import FittedSpaMask
from histoquilt.models.spamask._inputs import SpaMaskInputs
from histoquilt.models.spamask._section_offsets import SectionOffsets
from histoquilt.models.spamask._training import TrainedNetwork, build_network
from histoquilt.train import under

_DOMAINS = "domains"
_OFFSETS = "offsets"


def to_checkpoint(
    config: SpaMaskConfig, fitted: FittedSpaMask, domains: NamedMixture | None, facts: dict[str, Any]
) -> Checkpoint:
    """Take a trained model apart; of the facts of training the history is left out."""
    arrays = {
        "slope": np.stack([one.slope for one in fitted.networks]),
        "intercept": np.stack([one.intercept for one in fitted.networks]),
        **fitted.inputs.arrays(),
    }
    if domains is not None:
        arrays |= {f"{_DOMAINS}.{name}": value for name, value in domains.arrays().items()}
    if fitted.offsets is not None:
        arrays |= {f"{_OFFSETS}.{name}": value for name, value in vars(fitted.offsets).items()}
    weights: dict[str, Tensor] = {}
    for number, one in enumerate(fitted.networks):
        weights |= {f"{number}.{name}": value for name, value in one.network.state_dict().items()}
    return Checkpoint(
        model="SpaMask",
        weights=weights,
        config={
            "settings": config.to_dict(),
            "keys": {"layer": fitted.layer, "spatial_key": fitted.spatial_key, "section_key": fitted.section_key},
            "inputs": fitted.inputs.settings(),
            _DOMAINS: None if domains is None else domains.names,
        },
        arrays=arrays,
        genes=[] if fitted.inputs.genes is None else fitted.inputs.genes.genes,
        provenance={name: value for name, value in facts.items() if name != "history"},
    )


def from_checkpoint(checkpoint: Checkpoint) -> tuple[SpaMaskConfig, FittedSpaMask, NamedMixture | None]:
    """Put a model together again.

    Raises
    ------
    KeyError, TypeError, ValueError, RuntimeError
        The parts do not belong together.
    """
    config = SpaMaskConfig.from_dict(checkpoint.config["settings"])
    arrays = checkpoint.arrays
    inputs = SpaMaskInputs.restore(checkpoint.config["inputs"], arrays, checkpoint.genes)
    networks = []
    for number in range(config.n_networks):
        network = build_network(config, inputs.n_inputs, inputs.hops, seed=0)
        network.load_state_dict(under(checkpoint.weights, str(number)))
        networks.append(TrainedNetwork(network, arrays["slope"][number], arrays["intercept"][number]))
    names = checkpoint.config[_DOMAINS]
    domains = None if names is None else NamedMixture.restore(under(arrays, _DOMAINS), names)
    offsets = SectionOffsets(**parts) if (parts := under(arrays, _OFFSETS)) else None
    return config, FittedSpaMask(networks, inputs, **checkpoint.config["keys"], offsets=offsets), domains
