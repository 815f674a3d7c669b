"""Pull the two descriptions of a spot together, push those of different spots apart."""

import torch
from torch import Tensor
from torch.nn import functional


def contrastive_loss(spot: Tensor, image: Tensor, temperature: float = 1.0, *, weights: Tensor | None = None) -> Tensor:
    """Return the symmetric cross-entropy of ``spot @ image^T / temperature`` against the true pairing, a scalar.

    Parameters
    ----------
    spot, image
        (n_spots, n_features); row ``i`` of both describes spot ``i``. Not normalised here.
    temperature
        Smaller asks for a sharper contrast.
    weights
        (n_spots,) how much each pair counts; all alike by default.

    Raises
    ------
    ValueError
        The shapes differ, or the temperature is not positive.
    """
    if spot.shape != image.shape:
        raise ValueError(
            f"Spots and images must come in pairs of one width, got {tuple(spot.shape)} and {tuple(image.shape)}."
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}.")
    logits = spot @ image.T / temperature  # (n_spots, n_spots)
    own = torch.arange(len(spot), device=spot.device)
    if weights is None:
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
    each = functional.cross_entropy(logits, own, reduction="none")
    each = each + functional.cross_entropy(logits.T, own, reduction="none")
    return (weights * each).sum() / (2 * weights.sum())
