"""Momentum encoder: exponential moving average of a network's parameters."""

import torch
from torch import nn


@torch.no_grad()
def momentum_update(online: nn.Module, follower: nn.Module, decay: float) -> None:
    """Set the follower's parameters to ``decay * follower + (1 - decay) * online``, and copy buffers.

    Call it after every optimiser step. The follower's parameters should not require a gradient.

    Parameters
    ----------
    online, follower
        Two networks of the same architecture.
    decay
        Momentum, from 0 (copy) to 1 (no change).

    Raises
    ------
    ValueError
        The decay is not in [0, 1], or the networks differ in the names or shapes of their parameters.

    Examples
    --------
    >>> import copy, torch, histoquilt as hq
    >>> online = torch.nn.Linear(1, 1)
    >>> follower = copy.deepcopy(online)
    >>> _ = torch.nn.init.constant_(online.weight, 1.0), torch.nn.init.constant_(follower.weight, 0.0)
    >>> hq.nn.momentum_update(online, follower, decay=0.75)
    >>> follower.weight.item()
    0.25
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must lie between 0 and 1, got {decay}.")
    for kind, ours, theirs in (
        ("parameter", dict(online.named_parameters()), dict(follower.named_parameters())),
        ("buffer", dict(online.named_buffers()), dict(follower.named_buffers())),
    ):
        for name in sorted(ours.keys() | theirs.keys()):
            shapes = [tuple(side[name].shape) if name in side else None for side in (ours, theirs)]
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f"The follower is not a copy of the online network: {kind} {name!r} has shape {shapes[0]} in the "
                    f"online network and {shapes[1]} in the follower. Make it with copy.deepcopy."
                )
    for name, parameter in follower.named_parameters():
        parameter.lerp_(online.get_parameter(name).to(parameter), 1 - decay)
    for name, buffer in follower.named_buffers():
        buffer.copy_(online.get_buffer(name))
