"""Losses shared by the methods."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def scaled_cosine_error(x: Tensor, x_hat: Tensor, alpha: float = 2.0, *, n_rows: Tensor | None = None) -> Tensor:
    """Return ``mean((1 - cos(x, x_hat)) ** alpha)`` over rows, a scalar (GraphMAE, Hou et al. 2022, eq. 4).

    With ``alpha`` > 1, rows that are already well reconstructed weigh less. x, x_hat: ``(n_rows, n_features)``;
    ``n_rows``: number of rows in the mean, if those given are only some of them.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> x = torch.tensor([[1.0, 0], [1, 0]])
    >>> float(hq.nn.scaled_cosine_error(x, torch.tensor([[2.0, 0], [-1, 0]])))  # mean of 0 and 2 squared
    2.0
    """
    errors = (1 - F.cosine_similarity(x, x_hat, dim=1)).clamp_min(0).pow(alpha)
    return errors.mean() if n_rows is None else errors.sum() / n_rows


def cosine_loss(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean over rows of ``2 - 2 cos(a, b)``, a scalar between 0 and 4. a, b: ``(n_rows, n_features)``.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> a = torch.tensor([[1.0, 0], [1, 0]])
    >>> float(hq.nn.cosine_loss(a, torch.tensor([[2.0, 0], [0, 3]])))  # mean of 0 and 2
    1.0
    """
    return (2 - 2 * F.cosine_similarity(a, b, dim=1)).mean()


def gene_correlation_loss(predicted: Tensor, measured: Tensor) -> Tensor:
    """Return 1 less the mean over genes of the Pearson correlation across spots, a scalar between 0 and 2.

    A gene that is constant, measured or predicted, counts as correlation 0 and has no gradient.
    predicted, measured: ``(n_spots, n_genes)``.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> measured = torch.tensor([[0.0, 0], [1, 1], [2, 2]])
    >>> predicted = torch.tensor([[0.0, 2], [3, 1], [6, 0]])  # correlations 1 and -1
    >>> round(float(hq.nn.gene_correlation_loss(predicted, measured)), 6)
    1.0
    """
    return 1 - F.cosine_similarity(_centred(predicted), _centred(measured), dim=0, eps=1e-12).mean()


def _centred(values: Tensor) -> Tensor:
    centred = values - values.mean(dim=0)
    # the rounding error of a constant column is not variation
    varies = centred.detach().norm(dim=0) > 1e-6 * values.detach().norm(dim=0)
    return torch.where(varies, centred, 0.0)
