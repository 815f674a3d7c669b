"""histoquilt: tissue domains from spatial transcriptomics, and gene expression from H&E images.

The rooms load on first use, so that ``import histoquilt`` stays fast and loads no torch:

- ``io`` read sections; ``datasets`` tissue with known truth
- ``pp`` counts to features; ``gr`` sparse spatial graphs
- ``im`` H&E images: patches, encoders, tissue
- ``models`` the published methods; ``tl`` domains and what follows from them
- ``metrics`` agreement, spatial continuity; ``pl`` plots; ``report`` the HTML report
- ``jobs`` the commands from Python: many files to a results folder
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

__all__ = ["datasets", "gr", "im", "io", "jobs", "metrics", "models", "nn", "pl", "pp", "report", "tl", "train"]

try:
    __version__ = version("histoquilt")
except PackageNotFoundError:  # a source tree on the path, not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return import_module(f"histoquilt.{name}")
    raise AttributeError(f"module 'histoquilt' has no attribute {name!r}. Rooms: {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
