"""Optional packages and the extras that install them."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def require(module: str, *, extra: str, purpose: str | None = None) -> ModuleType:
    """Import an optional module, or raise an error that names the extra to install.

    Parameters
    ----------
    module
        Import name, e.g. ``"spatialdata_io"``.
    extra
        The extra of histoquilt that installs it.
    purpose
        Task that needs the module, e.g. ``"Reading Xenium output"``; the error message begins with it.

    Raises
    ------
    ImportError
        The module is not installed; the message contains the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        need = f"{purpose} needs {module}" if purpose else f"{module} is needed here"
        raise ImportError(
            f"{need}, which could not be imported ({error}). Install it with: pip install 'histoquilt[{extra}]'"
        ) from error


def is_installed(module: str) -> bool:
    """Whether a module can be found, without importing it."""
    return find_spec(module) is not None
