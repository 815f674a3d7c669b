"""Logger of the library, and warnings at a line of the user's code."""

import logging
import sys
import warnings

logger = logging.getLogger("histoquilt")
logger.addHandler(logging.NullHandler())


def warn_user(message: str) -> None:
    """Warn at the line of the user's code that called histoquilt; Python shows it once per such line."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "histoquilt":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
