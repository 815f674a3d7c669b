"""Dense products in bfloat16.

``"auto"`` is a fixed rule, so that results do not depend on how busy the machine is: bfloat16 where it was measured to
halve the time (a wide network on a CPU with bfloat16 instructions), else float32. On GPUs a step consists of many short
kernels and of sparse products, which have no bfloat16 form; ``benchmarks/gpu.py`` compares the two.

Networks that predict expression train in float32: bfloat16 halves their time at the papers' widths (SpaHGC 0.52,
mclSTExp's spot branch 0.47, one thread), but moves SpaHGC's loss by 1.5 % within two epochs.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

WIDE = 256  # least n_latent for which "auto" uses bfloat16


def product_dtype(precision: str, device: torch.device, n_latent: int) -> torch.dtype:
    """Return the data type of a network's dense products in training.

    Parameters
    ----------
    precision
        ``"float32"``; ``"bfloat16"``, which is slower on processors without instructions for it; or ``"auto"``:
        bfloat16 on CPUs with AVX512-BF16 or AMX for embeddings of 256 or more features, else float32.
    device
        Device of the network.
    n_latent
        Width of the embedding.

    Raises
    ------
    ValueError
        bfloat16 is requested on a GPU below compute capability 8.0, where torch only emulates it.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> hq.nn.product_dtype("auto", torch.device("cpu"), n_latent=64)
    torch.float32
    >>> hq.nn.product_dtype("bfloat16", torch.device("cpu"), n_latent=64)
    torch.bfloat16
    """
    if precision == "bfloat16":
        if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
            capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
            raise ValueError(
                f"precision='bfloat16' needs a GPU of compute capability 8.0 or above, and {device} has {capability}. "
                "Use precision='auto'."
            )
        return torch.bfloat16
    wide = precision == "auto" and device.type == "cpu" and n_latent >= WIDE
    return torch.bfloat16 if wide and _multiplies_bfloat16() else torch.float32


def _multiplies_bfloat16() -> bool:
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # a private name, so it may go
    return supported is not None and supported() and torch.backends.mkldnn.is_available()


def linear(x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``x @ weight.T``, (n_spots, n_out), in the data type of ``x``, computed in bfloat16 or float32."""
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
