"""PReLU with one slope, whose backward pass allocates one array instead of two."""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable


class SharedPReLU(nn.PReLU):
    """``max(x, 0) + slope * min(x, 0)`` with one learned slope for all features."""

    def forward(self, x: Tensor) -> Tensor:
        """Return an array of the shape of ``x``."""
        return _SharedPReLU.apply(x, self.weight)


class _SharedPReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return nn.functional.leaky_relu(x, slope.item())

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors  # type: ignore[attr-defined]
        dx = x.clamp_max(0)
        d_slope = torch.dot(grad.flatten(), dx.flatten()).reshape(1)
        torch.ops.aten.leaky_relu_backward(grad, x, slope.item(), False, grad_input=dx)
        return dx, d_slope
