"""Dense products in half precision, where the processor multiplies bfloat16 faster than float32."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

WIDE = 256  # embeddings as wide as this train in half precision; below, results need not depend on the processor


def product_dtype(precision: str, device: torch.device, n_latent: int) -> torch.dtype:
    """Return the type in which a network trains its dense products.

    Parameters
    ----------
    precision
        ``"float32"``, or ``"auto"``: bfloat16 on processors with instructions for it (AVX512-BF16, AMX), where the
        published network (512, 256) trains in half the time, else float32.
    device
        Where the network is; GPUs keep float32.
    n_latent
        Width of the embedding; networks narrower than 256 keep float32.
    """
    asked = precision == "auto" and device.type == "cpu" and n_latent >= WIDE
    return torch.bfloat16 if asked and _multiplies_bfloat16() else torch.float32


def _multiplies_bfloat16() -> bool:
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # a private name, so it may go
    return supported is not None and supported() and torch.backends.mkldnn.is_available()


def linear(x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``x @ weight.T``, (n_spots, n_out) in the type of ``x``, multiplied in bfloat16 if that is ``dtype``."""
    return _LowLinear.apply(x, weight, dtype) if dtype == torch.bfloat16 else functional.linear(x, weight)


class _LowLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        x_low, weight_low = x.to(dtype), weight.to(dtype)
        ctx.save_for_backward(x_low, weight_low)
        return functional.linear(x_low, weight_low).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor, None]:
        x_low, weight_low = ctx.saved_tensors  # type: ignore[attr-defined]
        grad_low = grad.to(x_low.dtype)
        dx = (grad_low @ weight_low).to(grad.dtype) if ctx.needs_input_grad[0] else None  # type: ignore[attr-defined]
        return dx, (grad_low.T @ x_low).to(grad.dtype), None
