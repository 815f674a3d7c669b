"""What the program says on stderr while it works: the library's log and its warnings, one line each."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from histoquilt.runtime import logger

# written for developers of the packages that raise them; a user can do nothing about them
FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)
# torch says so in every process that uses what it calls beta; we test what we use of it
NO_NEWS = ("Sparse CSR tensor support is in beta state",)


class Console(logging.Handler):
    """Log lines and warnings, each told once, and held back until the inputs have proved good.

    An error is then the only line on stderr: what was noticed about an input before it was refused helps nobody.

    Attributes
    ----------
    warnings
        Every warning so far, once each.
    """

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(logging.WARNING if quiet else logging.INFO)
        self.warnings: list[str] = []
        self._held: list[str] | None = []
        self._told: set[str] = set()

    def speak(self) -> None:
        """Print what was held back, and everything from now on as it comes."""
        for line in self._held or []:
            print(line, file=sys.stderr)
        self._held = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line of the library's log."""
        if record.levelno >= logging.WARNING:
            self.warn(record.getMessage())
        else:
            self._tell(record.getMessage())

    def warn(self, text: str) -> None:
        """Take a warning."""
        flat = " ".join(text.split())
        if flat not in self.warnings and not flat.startswith(NO_NEWS):
            self.warnings.append(flat)
            self._tell(f"warning: {flat}")

    def _tell(self, text: str) -> None:
        line = f"histoquilt: {' '.join(text.split())}"
        if line in self._told:
            return
        self._told.add(line)
        if self._held is None:
            print(line, file=sys.stderr)
        else:
            self._held.append(line)


@contextmanager
def told(*, quiet: bool = False) -> Iterator[Console]:
    """Gather warnings and the library's log while the block runs; ``quiet`` drops all but warnings."""
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


@contextmanager
def noted() -> Iterator[list[str]]:
    """Gather the warnings of one input beside telling them, so that they are not lost with the process that works."""
    found: list[str] = []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    notes = Notes(logging.WARNING)
    logger.addHandler(notes)
    try:
        with warnings.catch_warnings():
            tell = warnings.showwarning

            def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
                if not issubclass(category, FOR_DEVELOPERS):
                    found.append(str(message))
                tell(message, category, *place, **more)

            warnings.simplefilter("always")
            warnings.showwarning = show
            yield found
    finally:
        logger.removeHandler(notes)
