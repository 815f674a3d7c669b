"""Dense products in half precision, where the processor multiplies bfloat16 faster than float32.

The choice is a rule and no measurement at the start of a run, which would let results depend on how busy the machine
is. ``"auto"`` takes bfloat16 where it was measured to halve the time (a wide network on a CPU with instructions for
it), and float32 everywhere else; on GPUs, where it was not measured, because a step of these networks consists of many
short kernels and of sparse products, which have no bfloat16 form. ``benchmarks/gpu.py`` compares the two on a GPU.

Networks that predict expression train in float32. At the papers' widths bfloat16 would halve their time, too (SpaHGC
0.52 of it, mclSTExp's spot branch 0.47, one thread); but SpaHGC's loss moved by 1.5 % within two epochs, and what they
are judged by was measured in float32.
"""

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
        published network (512, 256) trains in half the time, else float32. ``"bfloat16"``: that, on any processor;
        without instructions for it, it is slower.
    device
        Where the network is; by itself ``"auto"`` keeps float32 on GPUs.
    n_latent
        Width of the embedding; with ``"auto"`` networks narrower than 256 keep float32.

    Raises
    ------
    ValueError
        bfloat16 is asked of a GPU that does not multiply it: below compute capability 8.0 torch only emulates it.
    """
    if precision == "bfloat16":
        if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
            capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
            raise ValueError(
                f"precision='bfloat16' needs a GPU of compute capability 8.0 or above, and {device} has {capability}. "
                "Use precision='auto'."
            )
        return torch.bfloat16
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
