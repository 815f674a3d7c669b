"""Connect to a running Dask cluster, or start a temporary one on this machine."""

import asyncio
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import histoquilt
from histoquilt._base import require
from histoquilt.runtime._workers import Workers, check_version

LOCAL = "local"
_ANSWER_S = 10  # timeout of the scheduler
_LEAST_BYTES = 2 * 10**9  # per local worker; imports take a quarter of it
_LOCAL_SETTINGS = {
    # a section that ran out of memory once will again, but one may also have been stopped because of its neighbour
    "distributed.scheduler.allowed-failures": 1,
    # workers that need too much memory are stopped rather than spilling to disk or pausing
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
}


@contextmanager
def connect(address: str | None, *, at_most: int | None = None) -> Iterator[Workers | None]:
    """Yield the workers of a cluster for :func:`histoquilt.runtime.run_each`; ``None`` without an address.

    Parameters
    ----------
    address
        ``"local"`` starts single-threaded processes, one per core but with at least 2 GB each, and stops them at the
        end. ``"tcp://host:port"`` or ``"tls://host:port"`` is a running scheduler, a path its file (``dask scheduler
        --scheduler-file``).
    at_most
        Maximum number of local workers.

    Raises
    ------
    ImportError, ValueError
        The extra ``dask`` is not installed; ``address`` is neither an address nor an existing file.
    ConnectionError, WorkerError
        The scheduler does not answer within ten seconds, or has no worker; a worker has another version of histoquilt.

    Examples
    --------
    >>> with connect("nowhere"):
    ...     pass
    Traceback (most recent call last):
    ValueError: 'nowhere' is not a Dask scheduler. Give local, tcp://host:port, tls://host:port, or a scheduler file.
    """
    if address is None:
        yield None
        return
    if address != LOCAL and "://" not in address and not Path(address).is_file():
        raise ValueError(
            f"{address!r} is not a Dask scheduler. Give local, tcp://host:port, tls://host:port, or a scheduler file."
        )
    require("distributed", extra="dask", purpose="Working on a Dask cluster")
    with _quiet(), _local(at_most) if address == LOCAL else _running(address) as workers:
        _check_workers(workers)
        yield workers


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log of Dask, which is for operators of clusters."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _local(at_most: int | None) -> Iterator[Workers]:
    import dask
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster
    from distributed.system import MEMORY_LIMIT

    n = max(1, min(CPU_COUNT, MEMORY_LIMIT // _LEAST_BYTES, at_most or CPU_COUNT))
    with (
        tempfile.TemporaryDirectory(prefix="histoquilt-workers-", ignore_cleanup_errors=True) as folder,
        dask.config.set(_LOCAL_SETTINGS),
        LocalCluster(
            n_workers=n, threads_per_worker=1, processes=True, memory_limit=MEMORY_LIMIT // n, local_directory=folder,
            dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False}, silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        yield Workers(client)


@contextmanager
def _running(address: str) -> Iterator[Workers]:
    from distributed import Client

    try:
        found = address if "://" in address else json.loads(Path(address).read_text(encoding="utf-8"))["address"]
        asyncio.run(asyncio.wait_for(_greet(found), _ANSWER_S))
    except Exception as error:  # another service may answer with anything
        reason = str(error).rstrip(".") or f"waited {_ANSWER_S} s"
        raise ConnectionError(
            f"no Dask scheduler answers at {address} ({reason}). Start one with 'dask scheduler', check the address, "
            "or use the cores of this machine: local."
        ) from error
    with Client(found, timeout=_ANSWER_S, set_as_default=False) as client:
        try:
            client.wait_for_workers(1, timeout=_ANSWER_S)
        except TimeoutError:
            raise ConnectionError(
                f"the Dask scheduler at {address} has no workers. Start some with 'dask worker {found}'."
            ) from None
        yield Workers(client)


async def _greet(address: str) -> None:
    """Connect to a scheduler and close; a client that fails to connect would delay the exit of the program."""
    from distributed import Security
    from distributed.comm import connect

    comm = await connect(address, timeout=_ANSWER_S, **Security().get_connection_args("client"))
    await comm.close()


def _check_workers(workers: Workers) -> None:
    """Raise unless every worker has our version."""

    def version() -> str | None:  # nested, so that it is pickled by value: a worker without histoquilt can run it
        try:
            import histoquilt
        except ImportError:
            return None
        return histoquilt.__version__

    for worker, found in workers.client.run(version).items():
        check_version(found, f"worker {worker}", histoquilt.__version__)
