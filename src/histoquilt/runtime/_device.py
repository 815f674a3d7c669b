"""Device choice and seeded generators."""

from typing import TYPE_CHECKING

from histoquilt.runtime._processes import own_gpu

if TYPE_CHECKING:
    import torch


def resolve_device(device: "str | torch.device" = "auto", *, sparse: bool = False) -> "torch.device":
    """Resolve ``"auto"`` to CUDA if available, else the CPU; any other device is used as given.

    Each process started by ``torchrun`` gets its own GPU.

    Parameters
    ----------
    device
        Name of a device (``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` ..., ``"mps"``), or a torch device.
    sparse
        If true, sparse matrices will be multiplied on the device, for which torch has no kernels on ``"mps"``.

    Raises
    ------
    ValueError
        The device is unknown, not available or not suitable; or there are fewer GPUs than processes.

    Examples
    --------
    >>> from histoquilt.runtime import resolve_device
    >>> resolve_device("cpu")
    device(type='cpu')
    >>> resolve_device("gpu")
    Traceback (most recent call last):
        ...
    ValueError: There is no device 'gpu'. Use device='auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
    """
    import torch

    if str(device) == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"There is no device {str(device)!r}. Use device='auto', 'cpu', 'cuda', 'cuda:1' or 'mps'."
        ) from error
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    problem, other = "", "'cpu'"
    if found.type == "mps" and sparse:
        problem = "graph networks multiply sparse matrices, which torch cannot do on Metal"
    elif found.type == "mps" and not torch.backends.mps.is_available():
        problem = "this machine has no Metal device"
    elif found.type == "cuda" and n_gpus == 0:
        problem = "torch sees no CUDA device"
    elif found.type == "cuda" and (found.index or 0) >= n_gpus:
        problem, other = f"torch sees {n_gpus} CUDA device(s), counted from 0", f"'cuda:{n_gpus - 1}'"
    if problem:
        raise ValueError(f"device={str(device)!r} was asked for, but {problem}. Use device='auto' or {other}.")
    if found.type == "cuda":
        index = own_gpu(n_gpus, found.index)
        found = found if index is None else torch.device("cuda", index)
    return found


def torch_generator(seed: int, device: "str | torch.device" = "cpu") -> "torch.Generator":
    """Return a seeded generator; global random state is never used.

    Examples
    --------
    >>> import torch
    >>> from histoquilt.runtime import torch_generator
    >>> first, second = (torch.rand(3, generator=torch_generator(0)) for _ in range(2))
    >>> bool((first == second).all())
    True
    """
    import torch

    return torch.Generator(device=device).manual_seed(seed)
