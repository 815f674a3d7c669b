"""Seconds of the stages of a run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_CURRENT: ContextVar["Stages | None"] = ContextVar("stages", default=None)


class Stages:
    """Seconds of named stages. Stages may be nested, and the time of an inner one does not count for the outer.

    Examples
    --------
    >>> from histoquilt.runtime import Stages
    >>> stages = Stages()
    >>> with stages.stage("read"):
    ...     with stages.stage("check"):
    ...         pass
    >>> stages.add("write", 1.5)
    >>> sorted(stages.seconds()), stages.seconds()["write"]
    (['check', 'read', 'write'], 1.5)
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._open: list[str] = []  # from the outermost
        self._since = 0.0  # when the innermost open stage began, or went on

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a stage; :func:`stage` in it adds to the same stages."""
        self._close_interval()
        self._open.append(name)
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)
            self._close_interval()
            self._open.pop()

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a stage."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def seconds(self) -> dict[str, float]:
        """Return the seconds of all stages so far; one that still runs counts up to now."""
        self._close_interval()
        return dict(self._seconds)

    def _close_interval(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.add(self._open[-1], now - self._since)
        self._since = now


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the time that the block takes to a stage of the run, if it is in a stage of one (:class:`Stages`).

    Examples
    --------
    >>> from histoquilt.runtime import Stages, stage
    >>> stages = Stages()
    >>> with stages.stage("domains"):
    ...     with stage("graph"):
    ...         pass
    >>> sorted(stages.seconds())
    ['domains', 'graph']
    """
    current = _CURRENT.get()
    if current is None:
        yield
        return
    with current.stage(name):
        yield
