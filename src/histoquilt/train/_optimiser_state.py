"""State of network, optimiser and generator as named tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor

from histoquilt.train._checkpoint import strip_prefix

_NETWORK, _OPTIMISER, _GENERATOR = "network", "optimiser", "generator"


def training_tensors(
    network: torch.nn.Module, optimiser: torch.optim.Optimizer, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the state of training by name; the tensors are not copied."""
    tensors = {f"{_NETWORK}.{name}": value for name, value in network.state_dict().items()}
    for number, of_weight in optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}.{number}.{name}": value for name, value in of_weight.items()}
    return tensors | {_GENERATOR: generator.get_state()}


def restore_training(
    tensors: Mapping[str, Tensor],
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    """Restore the state from :func:`training_tensors`; other names are ignored."""
    network.load_state_dict(strip_prefix(tensors, _NETWORK))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in strip_prefix(tensors, _OPTIMISER).items():
        number, _, moment = name.partition(".")
        moments.setdefault(int(number), {})[moment] = value
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    generator.set_state(tensors[_GENERATOR])
