"""What the program says on stderr while it works: the library's log and its warnings, one line each."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from histoweave._runtime import logger

# written for developers of the packages that raise them; a user can do nothing about them
FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)


@contextmanager
def told(*, quiet: bool = False) -> Iterator[list[str]]:
    """Send warnings, and the library's log unless ``quiet``, to stderr; yield the list that collects the warnings.

    The same warning is told once.
    """
    seen: list[str] = []

    def tell(text: str, *, prefix: str = "") -> None:
        print(f"histoweave: {prefix}{' '.join(text.split())}", file=sys.stderr)

    def warn(text: str) -> None:
        flat = " ".join(text.split())
        if flat not in seen:
            seen.append(flat)
            tell(flat, prefix="warning: ")

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, FOR_DEVELOPERS):
            warn(str(message))

    class ToStderr(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                warn(record.getMessage())
            elif not quiet:
                tell(record.getMessage())

    handler = ToStderr(logging.INFO)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = show  # restored by catch_warnings
            yield seen
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
