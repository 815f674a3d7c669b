"""Optional packages and the extras that install them."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def require(module: str, *, extra: str, purpose: str | None = None) -> ModuleType:
    """Import an optional module, or raise an ``ImportError`` with the command that installs it.

    Parameters
    ----------
    module, extra
        Import name, e.g. ``"spatialdata_io"``, and the extra of histoquilt that installs it.
    purpose
        Task that needs the module, e.g. ``"Reading Xenium output"``; the message begins with it.

    Examples
    --------
    >>> from histoquilt._base import require
    >>> require("json", extra="export").__name__
    'json'
    >>> require("no_such_package", extra="export", purpose="Writing lines")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ImportError: Writing lines needs no_such_package, which could not be imported (No module named ...
    """
    try:
        return import_module(module)
    except ImportError as error:
        need = f"{purpose} needs {module}" if purpose else f"{module} is needed here"
        raise ImportError(
            f"{need}, which could not be imported ({error}). Install it with: pip install 'histoquilt[{extra}]'"
        ) from error


def is_installed(module: str) -> bool:
    """Whether a module can be found, without importing it.

    Examples
    --------
    >>> from histoquilt._base import is_installed
    >>> is_installed("numpy"), is_installed("no_such_package")
    (True, False)
    """
    return find_spec(module) is not None
