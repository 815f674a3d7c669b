"""Batch normalisation with the statistics of the core spots of all processes."""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from histoquilt.runtime import summed


class CoreBatchNorm(nn.BatchNorm1d):
    """BatchNorm that computes mean and variance over core spots only, and normalises core and halo.

    Cores of different parts do not overlap, so statistics over parts and processes are those of their union.
    In ``eval`` mode it equals torch's.
    """

    def forward(self, x: Tensor, n_core: int) -> Tensor:  # type: ignore[override]  # never called without
        """x: (n_spots, n_features), core first -> same shape."""
        if not self.training:
            return super().forward(x)
        y, mean, variance, n_spots = _Normalise.apply(x, self.weight, self.bias, n_core, self.eps)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():  # running statistics as in torch: unbiased variance; momentum None for the plain mean
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_((variance * (n_spots / (n_spots - 1).clamp_min(1))).to(variance.dtype), share)
        return y


class _Normalise(torch.autograd.Function):
    """``(x - mean) / sd * weight + bias``, differentiated through the statistics of all processes."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, n_core: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        core = x[:n_core]
        own_mean = core.sum(dim=0) / max(1, n_core)
        own_squares = (core - own_mean).square_().sum(dim=0)
        exact = own_mean.double()  # subtracting the squared mean below needs double precision
        sums = summed(
            torch.cat([exact * n_core, own_squares.double() + exact.square() * n_core, exact.new_full((1,), n_core)])
        )
        n_spots = sums[-1].clamp_min(1)
        mean, squares = (sums[:-1] / n_spots).chunk(2)
        variance = (squares - mean.square()).clamp_min(0)
        inverse_sd = (variance + eps).rsqrt().to(x.dtype)
        mean, variance = mean.to(x.dtype), variance.to(x.dtype)
        scale = weight * inverse_sd
        ctx.n_core = n_core  # type: ignore[attr-defined]
        ctx.save_for_backward(x, mean, inverse_sd, scale, n_spots)
        ctx.mark_non_differentiable(mean, variance, n_spots)
        return torch.addcmul(bias - mean * scale, x, scale), mean, variance, n_spots

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, mean, inverse_sd, scale, n_spots = ctx.saved_tensors  # type: ignore[attr-defined]
        n_core = ctx.n_core  # type: ignore[attr-defined]
        d_bias = grad.sum(dim=0)
        d_weight = ((grad * x).sum(dim=0) - mean * d_bias) * inverse_sd
        # all rows of all processes depend on the statistics, which depend on core rows only
        by_shift, by_scale = (summed(torch.cat([d_bias, d_weight])) / n_spots.to(x.dtype)).chunk(2)
        dx = grad * scale
        slope = scale * by_scale * inverse_sd
        dx[:n_core].addcmul_(x[:n_core], slope, value=-1).sub_(scale * by_shift - slope * mean)
        return dx, d_weight, d_bias, None, None
