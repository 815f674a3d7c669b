"""Number of threads: granted by the machine, and requested by a run."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# read by torch, scikit-learn and numba; by numpy and scipy; by both where they come with Intel's library
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def threads_to_use() -> int:
    """Return the number of cores that this process may use, or ``OMP_NUM_THREADS`` if that is less.

    A container sees all cores of its machine, but is throttled beyond its quota, which :func:`joblib.cpu_count` knows.

    Examples
    --------
    >>> import os
    >>> from histoquilt.runtime import threads_to_use
    >>> 1 <= threads_to_use() <= os.cpu_count()
    True
    """
    import joblib

    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(joblib.cpu_count(), int(asked) if asked.isdigit() else sys.maxsize))


@contextmanager
def use_threads(n: int | None = None) -> Iterator[int]:
    """Use ``n`` threads while the block runs, and yield their number: torch, BLAS, OpenMP and ONNX files loaded in it.

    By default torch and the libraries keep theirs, up to :func:`threads_to_use`. Processes started in the block inherit
    the number, and so does torch if it is loaded in it.

    Examples
    --------
    >>> import torch
    >>> from histoquilt.runtime import use_threads
    >>> with use_threads(1) as n_threads:
    ...     n_threads, torch.get_num_threads()
    (1, 1)
    """
    from threadpoolctl import threadpool_limits

    before = _of_torch()
    wanted = min(before or sys.maxsize, threads_to_use()) if n is None else n
    if n is None and wanted == before:
        yield before
        return
    kept = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, str(wanted)))  # for libraries that are loaded later
    _set_torch(wanted)
    try:
        with threadpool_limits(wanted):
            yield wanted
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        _set_torch(before or threads_to_use())


@contextmanager
def numba_beside_torch() -> Iterator[None]:
    """Let numba use as many threads as torch while the block runs, and keep torch's number.

    numba sets the number of OpenMP threads to that of all cores, also for torch if they share the OpenMP library. If
    torch is not loaded, numba uses :func:`threads_to_use`.

    Examples
    --------
    >>> import numba, torch
    >>> from histoquilt.runtime import numba_beside_torch
    >>> with numba_beside_torch():
    ...     numba.get_num_threads() <= torch.get_num_threads()
    True
    """
    import numba

    wanted = _of_torch() or threads_to_use()
    before = numba.get_num_threads()
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set at run time
    numba.set_num_threads(min(wanted, most))
    try:
        yield
    finally:
        numba.set_num_threads(before)
        _set_torch(wanted)


def threads_in_use() -> int:
    """Return the number of threads of torch, or if it is not loaded the largest of BLAS and OpenMP.

    Examples
    --------
    >>> import torch
    >>> from histoquilt.runtime import threads_in_use
    >>> threads_in_use() == torch.get_num_threads()
    True
    """
    from threadpoolctl import threadpool_info

    return _of_torch() or max((int(pool["num_threads"]) for pool in threadpool_info()), default=threads_to_use())


def _of_torch() -> int | None:
    """Return the number of threads of torch; ``None`` if it is not loaded."""
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


def _set_torch(n: int) -> None:
    """Set the number of threads of torch, if it is loaded."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n)
