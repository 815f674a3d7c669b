"""Logger of the library, and warnings at a line of the user's code."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("histoquilt")
logger.addHandler(logging.NullHandler())


@contextmanager
def log_prefix(text: str) -> Iterator[None]:
    """Begin messages of the library's log with a text while the block runs.

    >>> with log_prefix("Fold 1, ridge"):
    ...     logger.info("Trained in %.1f s.", 0.5)
    """

    def begin(record: logging.LogRecord) -> bool:
        record.msg = f"{text.replace('%', '%%') if record.args else text}: {record.msg}"
        return True

    logger.addFilter(begin)
    try:
        yield
    finally:
        logger.removeFilter(begin)


def warn_user(message: str) -> None:
    """Warn at the line of the user's code that called histoquilt; Python shows it once per such line.

    Examples
    --------
    >>> import warnings
    >>> from histoquilt.runtime import warn_user
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warn_user("2 of 60 spots have no counts.")
    >>> caught[0].category.__name__, str(caught[0].message)
    ('UserWarning', '2 of 60 spots have no counts.')
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "histoquilt":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
