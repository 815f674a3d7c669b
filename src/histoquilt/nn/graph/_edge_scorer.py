"""Edge scorer: distinguish hidden edges from pairs of spots without an edge."""

import math

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

UNITS_AT_ONCE = 2**20  # hidden units per chunk, a few MB: they stay in the processor's cache


class EdgeScorer(nn.ModuleList):
    """``s_ij = w2 relu(W1 (h_i * h_j) + b1) + b2`` with dropout before ``w2``, and the loss of these logits.

    Parameters
    ----------
    n_latent
        Width of the embedding ``h``; the hidden layer is twice as wide.
    dropout
        Dropout rate of the hidden layer in training.
    """

    def __init__(self, n_latent: int, dropout: float) -> None:
        super().__init__([nn.Linear(n_latent, 2 * n_latent), nn.Linear(2 * n_latent, 1)])
        self.dropout = dropout

    def loss(
        self,
        z: Tensor,
        positive: Tensor,
        negative: Tensor,
        generator: torch.Generator,
        *,
        n_scored: Tensor | int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Return the mean binary cross-entropy of positive (target 1) and negative pairs (target 0), a scalar.

        z: (n_spots, n_latent); positive, negative: (n_pairs, 2) int64; dtype: data type of the wide products;
        n_scored: number of pairs in the mean, if those given are only some of them.
        """
        widen, score = self
        dropout = self.dropout if self.training else 0.0
        pairs = torch.cat([positive, negative])
        target = torch.cat([z.new_ones(len(positive)), z.new_zeros(len(negative))])
        weights = widen.weight, widen.bias, score.weight, score.bias
        n_scored = len(pairs) if n_scored is None else n_scored
        return _PairLoss.apply(z, *weights, pairs, target, n_scored, dropout, generator, dtype)


class _PairLoss(torch.autograd.Function):
    """The loss and its gradients in one pass over chunks of pairs.

    The loss is a mean over pairs, so a chunk's gradient follows from its logits alone. The hidden layer of all pairs is
    never held in memory, where writing it would take longer than the arithmetic.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        z: Tensor,
        weight: Tensor,
        bias: Tensor,
        out_weight: Tensor,
        out_bias: Tensor,
        pairs: Tensor,
        target: Tensor,
        n_scored: int | Tensor,
        dropout: float,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> Tensor:
        score = out_weight[0] / (1 - dropout)  # (n_hidden,) with the scale of dropout
        z_low, weight_low, bias_low, score_low = (tensor.to(dtype) for tensor in (z, weight, bias, score))
        scored_weight = (weight * score[:, None]).to(dtype)  # (n_hidden, n_latent)
        loss = z.new_zeros(())
        dz = torch.zeros_like(z)
        active_products = torch.zeros_like(weight)  # sum over pairs: (unit is active) * slope * product of the ends
        active_slopes, slopes_of_score = torch.zeros_like(bias), torch.zeros_like(bias)
        d_out_bias = torch.zeros_like(out_bias)
        n_pairs = max(1, UNITS_AT_ONCE // len(bias))
        for chunk, wanted in zip(pairs.split(n_pairs), target.split(n_pairs), strict=True):
            first, second = chunk.T.contiguous()
            left, right = z_low[first], z_low[second]  # (n_pairs, n_latent)
            product = left * right
            hidden = functional.linear(product, weight_low, bias_low).relu_()  # (n_pairs, n_hidden)
            _drop(hidden, dropout, generator)
            logits = (hidden @ score_low).float() + out_bias
            loss += functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
            slope = (torch.sigmoid(logits) - wanted) / n_scored  # gradient of the loss by logit
            slope_low = slope.to(dtype)
            slopes_of_score += slope_low @ hidden
            d_out_bias += slope.sum()
            active = hidden.sign_()  # 0 or 1: inactive or dropped units have no gradient
            active_products += active.T @ product.mul_(slope_low[:, None])
            active_slopes += slope_low @ active
            d_product = (active @ scored_weight).mul_(slope_low[:, None])
            _add_rows(dz, first, right.mul_(d_product))
            _add_rows(dz, second, left.mul_(d_product))
        d_weight, d_bias = active_products.mul_(score[:, None]), active_slopes.mul_(score)
        ctx.save_for_backward(dz, d_weight, d_bias, slopes_of_score[None] / (1 - dropout), d_out_bias)
        return loss / n_scored

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors  # type: ignore[attr-defined]
        return *(gradient * grad for gradient in gradients), None, None, None, None, None, None


def _drop(hidden: Tensor, dropout: float, generator: torch.Generator) -> None:
    """Set a share of the units to zero, in place; the caller scales by 1 / (1 - dropout)."""
    if dropout == 0:
        return
    bits = 16 if hidden.dtype == torch.bfloat16 else 64  # per unit
    draws = torch.empty(-(-hidden.numel() * bits // 64), dtype=torch.int64)
    draws.random_(-(2**63), None, generator=generator)  # all 64 bits
    if bits == 64:  # same masks as Tensor.bernoulli_, which uses the last 53 bits, in a third of its time
        kept = draws.bitwise_and_(2**53 - 1) < math.ceil((1 - dropout) * 2**53)
        hidden.mul_(kept.view_as(hidden).to(hidden.device))
    else:
        least = min(round(dropout * 2**16) - 2**15, 2**15 - 1)
        kept = draws.view(torch.int16)[: hidden.numel()].ge_(least)
        hidden.view(torch.int16).mul_(kept.view_as(hidden).to(hidden.device))  # multiplies bit patterns: exact and fast


def _add_rows(total: Tensor, index: Tensor, rows: Tensor) -> None:
    """``total[index] += rows`` in a fixed order, so that a seed fixes the result."""
    rows = rows.to(total.dtype)
    if total.is_cuda:
        total.index_put_((index,), rows, accumulate=True)
    else:
        total.index_add_(0, index, rows)
