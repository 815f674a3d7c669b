"""Contrastive loss between two embeddings of the same spots."""

import torch
from torch import Tensor
from torch.nn import functional


def contrastive_loss(spot: Tensor, image: Tensor, temperature: float = 1.0, *, weights: Tensor | None = None) -> Tensor:
    """Return the symmetric cross-entropy of ``spot @ image.T / temperature`` against the true pairing, a scalar.

    Parameters
    ----------
    spot, image
        (n_spots, n_features), not normalised here; row ``i`` of both describes spot ``i``.
    temperature
        Softmax temperature; smaller values give a sharper contrast.
    weights
        Weight of each pair, (n_spots,); equal by default.

    Raises
    ------
    ValueError
        The shapes differ, or the temperature is not positive.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> pairs = 10 * torch.eye(3)
    >>> round(float(hq.nn.contrastive_loss(pairs, pairs)), 3)  # every spot is most similar to its own image
    0.0
    >>> round(float(hq.nn.contrastive_loss(torch.zeros(3, 4), torch.zeros(3, 4))), 3)  # log(3): no information
    1.099
    """
    if spot.shape != image.shape:
        raise ValueError(
            f"Spots and images must come in pairs of one width, got {tuple(spot.shape)} and {tuple(image.shape)}."
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}.")
    logits = spot @ image.T / temperature  # (n_spots, n_spots)
    pairing = torch.arange(len(spot), device=spot.device)
    if weights is None:
        return (functional.cross_entropy(logits, pairing) + functional.cross_entropy(logits.T, pairing)) / 2
    losses = functional.cross_entropy(logits, pairing, reduction="none")
    losses = losses + functional.cross_entropy(logits.T, pairing, reduction="none")
    return (weights * losses).sum() / (2 * weights.sum())
