"""The library's log and warnings on stderr, one line each."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from histoquilt._base import printable
from histoquilt.jobs import FOR_DEVELOPERS, IGNORED
from histoquilt.runtime import logger


class Console(logging.Handler):
    """Print log lines and warnings, each once; they are held back until all inputs are checked.

    So if an input is refused, the error is the only line on stderr.
    """

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(logging.WARNING if quiet else logging.INFO)
        self._held: list[str] | None = []
        self._printed: set[str] = set()

    def speak(self) -> None:
        """Print what was held back, and from now on everything at once."""
        for line in self._held or []:
            print(line, file=sys.stderr)
        self._held = None

    def emit(self, record: logging.LogRecord) -> None:
        """Handle a line of the library's log."""
        if record.levelno >= logging.WARNING:
            self.warn(record.getMessage())
        else:
            self._print(record.getMessage())

    def warn(self, text: str) -> None:
        """Handle a warning."""
        flat = " ".join(text.split())
        if not flat.startswith(IGNORED):
            self._print(f"warning: {flat}")

    def _print(self, text: str) -> None:
        line = printable(f"histoquilt: {' '.join(text.split())}")
        if line in self._printed:
            return
        self._printed.add(line)
        if self._held is None:
            print(line, file=sys.stderr)
        else:
            self._held.append(line)


@contextmanager
def print_messages(*, quiet: bool = False) -> Iterator[Console]:
    """Print warnings and the library's log of the block on stderr; with ``quiet`` only warnings."""
    console = Console(quiet=quiet)

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, FOR_DEVELOPERS):
            console.warn(str(message))

    level = logger.level
    logger.addHandler(console)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = show  # put back by catch_warnings
            yield console
    finally:
        logger.removeHandler(console)
        logger.setLevel(level)
