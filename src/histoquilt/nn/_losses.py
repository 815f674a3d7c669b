"""Losses shared by the methods."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def scaled_cosine_error(x: Tensor, x_hat: Tensor, alpha: float = 2.0, *, n_rows: Tensor | None = None) -> Tensor:
    """Return ``mean((1 - cos(x, x_hat)) ** alpha)`` over rows, a scalar (GraphMAE, Hou et al. 2022, eq. 4).

    ``alpha`` > 1 lets rows that are already well reconstructed weigh less. x, x_hat: ``(n_rows, n_features)``.
    ``n_rows``: divide by this number in place of that of the rows given, which are some of those that the mean is over.
    """
    errors = (1 - F.cosine_similarity(x, x_hat, dim=1)).clamp_min(0).pow(alpha)
    return errors.mean() if n_rows is None else errors.sum() / n_rows


def cosine_loss(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean over rows of ``2 - 2 cos(a, b)``, a scalar between 0 and 4. a, b: ``(n_rows, n_features)``."""
    return (2 - 2 * F.cosine_similarity(a, b, dim=1)).mean()


def gene_correlation_loss(predicted: Tensor, measured: Tensor) -> Tensor:
    """Return 1 less the mean over genes of the Pearson correlation across spots, a scalar between 0 and 2.

    A gene that is constant, measured or predicted, counts as correlation 0 and has no gradient: how it should begin to
    vary is for the squared error to say. predicted, measured: ``(n_spots, n_genes)``.
    """
    return 1 - F.cosine_similarity(_centred(predicted), _centred(measured), dim=0, eps=1e-12).mean()


def _centred(values: Tensor) -> Tensor:
    centred = values - values.mean(dim=0)
    # what rounding leaves of a constant is no variation, and its direction no direction
    varies = centred.detach().norm(dim=0) > 1e-6 * values.detach().norm(dim=0)
    return torch.where(varies, centred, 0.0)
