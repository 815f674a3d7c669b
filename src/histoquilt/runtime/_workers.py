"""Process one section or slide at a time, here or on the workers of a Dask cluster.

Added to ``distributed``: one item at a time on each worker, a bounded number of waiting results, log and warnings that
come back with the result, and errors that say what to do.
"""

import copy
import logging
import socket
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import histoquilt
from histoquilt._base import at_a_command, is_at_a_command
from histoquilt.runtime._log import logger
from histoquilt.runtime._threads import use_threads

if TYPE_CHECKING:
    from distributed import Client, Future

_LOOK_S = 1.0  # interval of looking for new workers while all known ones are busy
_ALONE = threading.Lock()  # threads, warnings and log are global to a process: one item at a time


class WorkerError(RuntimeError):
    """A problem with a worker.

    Examples
    --------
    >>> from histoquilt.runtime import WorkerError
    >>> try:
    ...     raise WorkerError("The worker at node7 has histoquilt 0.1.0, and 0.2.0 runs here.")
    ... except RuntimeError as error:
    ...     print(error)
    The worker at node7 has histoquilt 0.1.0, and 0.2.0 runs here.
    """


@dataclass(frozen=True)
class Outcome:
    """Result of one item: a value or an error."""

    name: str
    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True)
class Workers:
    """Worker processes, also on other machines; made by :func:`histoquilt.runtime.connect`.

    Examples
    --------
    >>> from histoquilt.runtime import Workers
    >>> class Client:  # as of a Dask cluster of two workers with four threads each
    ...     def nthreads(self):
    ...         return {"tcp://node1:40331": 4, "tcp://node2:38229": 4}
    >>> len(Workers(Client()))
    2
    """

    client: "Client"

    def __len__(self) -> int:
        """Return the current number of workers."""
        return len(self.client.nthreads())


def run_each(
    function: Callable[..., Any], items: Mapping[str, tuple[Any, ...]], *, workers: Workers | None = None
) -> Iterator[Outcome]:
    """Call a function for every item, in this process or on workers, which process one item at a time each.

    A failing item yields an :class:`Outcome` with its error, and the others continue. At most as many results as there
    are workers wait to be consumed. If a worker is lost, its item is repeated on another; if the scheduler is lost,
    ``ConnectionError`` is raised.

    Parameters
    ----------
    function
        Function at the top level of a module. Its log messages and warnings on a worker are repeated here.
    items
        Name -> arguments, which are sent to the worker: paths, settings (also dataclasses) and small arrays. Relative
        paths are made absolute, and must point to the same files on the worker.
    workers
        Workers to use; by default this process.

    Yields
    ------
    One Outcome per item: in the order of ``items`` in this process, in order of completion on workers.

    Examples
    --------
    >>> [outcome.value for outcome in run_each(divmod, {"a": (7, 2), "b": (9, 4)})]
    [(3, 1), (2, 1)]
    """
    if workers is not None:
        yield from _spread(function, items, workers)
        return
    for name, arguments in items.items():
        try:
            outcome = Outcome(name, function(*arguments))
        except Exception as error:
            outcome = Outcome(name, error=error)
        yield outcome


def _spread(function: Callable[..., Any], items: Mapping[str, tuple[Any, ...]], workers: Workers) -> Iterator[Outcome]:
    """Give every worker one item at a time, so that none waits behind a long one."""
    waiting = iter(items.items())
    running: dict[Future, str] = {}
    done: SimpleQueue[Future] = SimpleQueue()

    def fill() -> None:
        n_free = max(1, len(workers)) - len(running)
        for name, arguments in (item for _, item in zip(range(n_free), waiting, strict=False)):
            seen: list[Path] = []
            travelling = _absolute(arguments, seen)
            about = (seen, histoquilt.__version__, is_at_a_command())
            future = workers.client.submit(_on_worker, function, travelling, *about, pure=False)
            running[future] = name
            future.add_done_callback(done.put)

    try:
        fill()
        while running:
            try:
                future = done.get(timeout=_LOOK_S)
            except Empty:
                fill()
                continue
            name = running.pop(future)
            fill()  # before the result is fetched: a worker is idle
            outcome = [_collect(name, future)]
            del future
            yield outcome.pop()
    except (CancelledError, OSError) as error:
        raise ConnectionError(
            "the connection to the Dask scheduler was lost. See the scheduler's log, and run again."
        ) from error
    finally:
        if running:
            workers.client.cancel(list(running), force=True)


def _absolute(value: Any, seen: list[Path]) -> Any:
    """Return arguments with absolute paths; existing ones are added to ``seen``."""
    if isinstance(value, Path):
        whole = value.absolute()
        seen += [whole] if whole.exists() else []
        return whole
    if isinstance(value, tuple | list):
        return type(value)(_absolute(one, seen) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _absolute(getattr(value, one.name), seen) for one in fields(value)})
    return value


def _collect(name: str, future: "Future") -> Outcome:
    """Return the result of a worker, and repeat its log and warnings."""
    from distributed import KilledWorker

    try:
        done: _Done = future.result()
    except KilledWorker as error:
        return Outcome(name, error=WorkerError(
            f"workers that were given it were lost {error.allowed_failures + 1} times, the last at "
            f"{error.last_worker.address}. Most often one has run out of memory: use fewer workers with more memory "
            "each."
        ))  # fmt: skip
    except (CancelledError, OSError):
        raise  # the scheduler is gone
    except Exception as error:  # it did not start, or its result could not be sent
        return Outcome(name, error=error)
    for level, text in done.log:
        logger.log(level, "%s", text)
    for text, category in done.warnings:
        warnings.warn(text, category, stacklevel=2)
    return Outcome(name, done.value, done.error)


# --- on the worker ------------------------------------------------------------------------------------------------


@dataclass
class _Done:
    """Result, log and warnings that a worker sends back."""

    value: Any = None
    error: Exception | None = None
    log: list[tuple[int, str]] = field(default_factory=list)  # level and text
    warnings: list[tuple[str, type[Warning]]] = field(default_factory=list)


def _on_worker(
    function: Callable[..., Any], arguments: tuple[Any, ...], seen: list[Path], version: str, at_command: bool
) -> _Done:
    """Call the function on a worker, and collect its error, log and warnings."""
    from distributed import get_worker

    worker = get_worker()
    where = f"worker {worker.address} ({socket.gethostname()})"
    done = _Done()
    with _ALONE, use_threads(worker.state.nthreads), _listening(done), at_a_command(at_command):
        try:
            check_version(histoquilt.__version__, where, version)
            for path in [path for path in seen if not path.exists()]:
                raise WorkerError(
                    f"on {where} there is no {path}: the folder must be shared, under the same path on every machine."
                )
            done.value = function(*arguments)
        except Exception as error:
            done.error = _portable(error, where)
    return done


def check_version(there: str | None, where: str, here: str) -> None:
    """Raise :class:`WorkerError` unless a worker has this process's version of histoquilt."""
    if there != here:
        found = f"has histoquilt {there}" if there else "has no histoquilt"
        raise WorkerError(f"{where} {found}, and this process {here}. Results may differ: install the same on both.")


@contextmanager
def _listening(done: _Done) -> Iterator[None]:
    """Collect the library's log and all warnings of the block."""
    listener, level = logging.Handler(logging.INFO), logger.level
    listener.emit = lambda record: done.log.append((record.levelno, record.getMessage()))  # type: ignore[method-assign]
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
    done.warnings += [(str(one.message), one.category) for one in caught]


def _portable(error: Exception, where: str) -> Exception:
    """Return an error that can be pickled, with the traceback as a note."""
    text = f"on {where}:\n{''.join(traceback.format_exception(error))}"
    try:
        copy.copy(error)  # rebuilds it from its arguments, like unpickling
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(text)
    return error
