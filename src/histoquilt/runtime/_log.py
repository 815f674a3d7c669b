"""The logger of the library, and warnings that name a line of the user's code."""

import logging
import sys
import warnings

logger = logging.getLogger("histoquilt")
logger.addHandler(logging.NullHandler())


def warn_user(message: str) -> None:
    """Warn at the line of the user's code that called into histoquilt, however deep in it the cause was noticed.

    So the warning names a line that the user can change, and Python's default filter shows it once for each such line.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "histoquilt":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
