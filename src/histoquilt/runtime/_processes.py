"""Several processes that train one network together, started by ``torchrun``.

The process group is started when training first needs it, and closed at exit. Outside ``torchrun`` there is one
process, and these functions do nothing.
"""

import atexit
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_TOLD_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
WAIT = timedelta(minutes=15)  # timeout for other processes, which read and prepare the same data
_LOST = ("connection", "timed out", "timeout", "gloo", "nccl")  # words of torch's errors if a process is gone


def n_processes() -> int:
    """Return the number of processes of ``torchrun`` or of the caller's group; else 1.

    Examples
    --------
    >>> from histoquilt.runtime import n_processes
    >>> n_processes()  # not under torchrun
    1
    """
    if (size := group_size()) > 1:
        return size
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in _TOLD_BY_TORCHRUN) else 1


def n_processes_here() -> int:
    """Return the number of processes on this machine.

    Examples
    --------
    >>> from histoquilt.runtime import n_processes_here
    >>> n_processes_here()  # not under torchrun
    1
    """
    return int(os.environ.get("LOCAL_WORLD_SIZE", n_processes())) if n_processes() > 1 else 1


def rank() -> int:
    """Return the number of this process, from 0.

    Examples
    --------
    >>> from histoquilt.runtime import rank
    >>> rank()  # not under torchrun
    0
    """
    if group_size() > 1:
        from torch import distributed

        return distributed.get_rank()
    return int(os.environ["RANK"]) if n_processes() > 1 else 0


def is_main() -> bool:
    """Return whether this is the process that writes and prints.

    Examples
    --------
    >>> from histoquilt.runtime import is_main
    >>> is_main()  # not under torchrun
    True
    """
    return rank() == 0


def own_gpu(n_devices: int, asked: int | None) -> int | None:
    """Return the number of this process's GPU out of ``n_devices``; outside ``torchrun`` the one asked for.

    Raises ``ValueError`` if there are more processes than GPUs, or one GPU was named for all processes.
    """
    if n_processes() == 1:
        return asked
    here, own = n_processes_here(), int(os.environ.get("LOCAL_RANK", 0))
    if here > n_devices:
        raise ValueError(
            f"torchrun started {here} processes here, and torch sees {n_devices} CUDA device(s). Give every process "
            f"one: --nproc-per-node {n_devices}, or device='cpu'."
        )
    if asked is not None and here > 1 and asked != own:
        raise ValueError(
            f"device='cuda:{asked}' names one GPU for {here} processes. Use device='cuda': every process takes its own."
        )
    return own if asked is None else asked


def start_group(device: "torch.device") -> None:
    """Start the process group, once; does nothing outside ``torchrun``.

    Examples
    --------
    >>> import torch
    >>> from histoquilt.runtime import group_size, start_group
    >>> start_group(torch.device("cpu"))
    >>> group_size()  # not under torchrun
    1
    """
    import torch
    from torch import distributed

    from histoquilt.runtime._log import logger

    if n_processes() == 1 or distributed.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with others_named():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=WAIT)
    atexit.register(distributed.destroy_process_group)
    logger.info(
        "%d processes train together, on %d thread(s) each; torchrun sets OMP_NUM_THREADS=1 unless it is given.",
        n_processes(), torch.get_num_threads(),
    )  # fmt: skip


def group_size() -> int:
    """Return the size of the process group: 1 until it is started.

    Examples
    --------
    >>> from histoquilt.runtime import group_size
    >>> group_size()
    1
    """
    # parts of torch stay behind if its import was interrupted, and importing it again fails
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None:
        return 1
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def summed(values: "torch.Tensor") -> "torch.Tensor":
    """Return the sum over processes, without gradient; may change the tensor in place.

    Examples
    --------
    >>> import torch
    >>> from histoquilt.runtime import summed
    >>> summed(torch.tensor([3, 1])).tolist()  # one process
    [3, 1]
    """
    if group_size() > 1:
        from torch import distributed

        with others_named():
            distributed.all_reduce(values)
    return values


def broadcast(values: "torch.Tensor") -> "torch.Tensor":
    """Return the tensor of the first process, so that all processes decide alike.

    Examples
    --------
    >>> import torch
    >>> from histoquilt.runtime import broadcast
    >>> broadcast(torch.tensor([3, 1])).tolist()  # one process
    [3, 1]
    """
    if group_size() > 1:
        from torch import distributed

        values = values.contiguous()
        with others_named():
            distributed.broadcast(values, src=0)
    return values


def check_same(values: Iterable["torch.Tensor"], what: str) -> None:
    """Raise ``RuntimeError`` unless tensors are equal, bit for bit, in all processes.

    Examples
    --------
    >>> import torch
    >>> from histoquilt.runtime import check_same
    >>> check_same([torch.ones(3)], "The expression")  # one process: nothing to compare
    """
    if group_size() == 1:
        return
    import torch

    hashed, device = hashlib.sha256(), torch.device("cpu")
    for value in values:
        hashed.update(value.detach().cpu().contiguous().numpy().tobytes())
        device = value.device
    own = torch.tensor([int.from_bytes(hashed.digest()[:7], "big")], device=device)
    differs = broadcast(own.clone()) != own
    if summed(differs.int()).item():
        raise RuntimeError(
            f"{what} differs between the processes of this run. All have to run the same command, on the same files, "
            "with the same versions of histoquilt and torch."
        )


@contextmanager
def others_named() -> Iterator[None]:
    """Replace torch's errors about closed connections by a ``RuntimeError`` that reports the lost process.

    Examples
    --------
    >>> from histoquilt.runtime import others_named
    >>> with others_named():  # other errors, and all of a single process, stay as they are
    ...     raise RuntimeError("size mismatch")
    Traceback (most recent call last):
        ...
    RuntimeError: size mismatch
    """
    try:
        yield
    except RuntimeError as error:
        if group_size() > 1 and any(word in str(error).lower() for word in _LOST):
            raise RuntimeError(
                f"Process {rank()} of {n_processes()} lost the others: one of them stopped, and says why above or "
                f"below, or did not answer for {WAIT.seconds // 60} minutes. Nothing was written; start the run again."
            ) from error
        raise
