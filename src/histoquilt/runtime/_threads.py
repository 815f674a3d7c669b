"""How many threads are computed on: what the machine grants, and what a run asks for."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# read by torch, scikit-learn and numba; by numpy and scipy; by both where they come with Intel's library
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def threads_to_use() -> int:
    """Return the number of cores that this process may use, or ``OMP_NUM_THREADS`` where that is less.

    A container sees all cores of its machine, and is stopped for most of every tenth of a second where it uses more of
    them than its quota: :func:`joblib.cpu_count` counts the quota as well.
    """
    import joblib

    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(joblib.cpu_count(), int(asked) if asked.isdigit() else sys.maxsize))


@contextmanager
def use_threads(n: int | None = None) -> Iterator[int]:
    """Compute on ``n`` threads while the block runs: torch, BLAS, OpenMP, and ONNX files that are loaded in it.

    Without a number, torch and the libraries keep their own, unless it is more than :func:`threads_to_use`. Processes
    started in the block inherit the number. Yields it.
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    wanted = min(before, threads_to_use()) if n is None else n
    if n is None and wanted == before:
        yield before
        return
    kept = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, str(wanted)))  # for libraries that are loaded later
    torch.set_num_threads(wanted)
    try:
        with threadpool_limits(wanted):
            yield wanted
    finally:
        torch.set_num_threads(before)
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def numba_beside_torch() -> Iterator[None]:
    """Let numba compute on as many threads as torch while the block runs, and leave torch its number.

    numba starts its threads by setting the number of OpenMP threads to that of all cores, and where it shares torch's
    OpenMP library, torch computes on all cores from then on, whatever it was told.
    """
    import numba
    import torch

    wanted = torch.get_num_threads()
    before = numba.get_num_threads()
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set at run time
    numba.set_num_threads(min(wanted, most))
    try:
        yield
    finally:
        numba.set_num_threads(before)
        torch.set_num_threads(wanted)


def threads_in_use() -> int | None:
    """Return how many threads torch computes on; ``None`` where it was not loaded."""
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())
