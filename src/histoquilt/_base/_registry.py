"""Registries of models, encoders, readers and exporters, to which other packages add by entry points."""

import sys
import warnings
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from histoquilt._base._words import close_matches


class Registry:
    """Objects by name, from histoquilt and from installed packages, imported on use.

    A package adds entries in its ``pyproject.toml``, but cannot replace those of histoquilt::

        [project.entry-points."histoquilt.encoders"]
        my_encoder = "my_package:MyEncoder"

    Parameters
    ----------
    kind, group
        Kind of object for messages, and entry-point group of other packages.
    ours
        Name -> ``"module:attribute"`` of the entries of histoquilt.

    Examples
    --------
    >>> paths = Registry("path class", "histoquilt.none", {"posix": "pathlib:PurePosixPath"})
    >>> paths.load("posix")("a", "b")
    PurePosixPath('a/b')
    >>> paths.load("posx")
    Traceback (most recent call last):
    ValueError: Unknown path class 'posx'. Did you mean 'posix'? Known: posix.
    """

    def __init__(self, kind: str, group: str, ours: Mapping[str, str]) -> None:
        self.kind, self.group = kind, group
        self._ours = dict(ours)

    def __contains__(self, name: str) -> bool:
        return name in self._ours or name in self._installed()

    def names(self) -> list[str]:
        """Return all names: those of histoquilt in their order, then those of other packages, sorted."""
        return [*self._ours, *sorted(self._installed())]

    def ours(self) -> list[str]:
        """Return the names of histoquilt, in their order."""
        return list(self._ours)

    def others(self) -> list[str]:
        """Return the names of other packages, sorted."""
        return sorted(self._installed())

    def load(self, name: str) -> Any:
        """Import an object; raise ``ValueError`` for unknown names, ``ImportError`` if its package cannot be loaded."""
        if name in self._ours:
            module, _, attribute = self._ours[name].partition(":")
            return getattr(import_module(module), attribute)
        installed = self._installed()
        if name not in installed:
            raise ValueError(self.unknown(name))
        entry = installed[name]
        try:
            return entry.load()
        except (ImportError, AttributeError) as error:
            package = entry.dist.name if entry.dist is not None else entry.module
            raise ImportError(
                f"The {self.kind} {name!r} of the package {package} could not be loaded ({error}). Reinstall or remove "
                f"{package}."
            ) from error

    def unknown(self, name: str) -> str:
        """Return the message about an unknown name, with a similar one if there is one."""
        names = self.names()
        near = close_matches(name, names)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        return f"Unknown {self.kind} {name!r}.{meant} Known: {', '.join(names)}."

    def _installed(self) -> dict[str, EntryPoint]:
        entries: dict[str, EntryPoint] = {}
        for entry in _entries(self.group, tuple(sys.path)):
            if entry.name in self._ours:
                warnings.warn(
                    f"{entry.value} wants to be the {self.kind} {entry.name!r}, which is a name of histoquilt's own; "
                    "it is ignored.",
                    stacklevel=3,
                )
            else:
                entries[entry.name] = entry
        return entries


@cache
def _entries(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group, cached per search path."""
    return tuple(entry_points(group=group))


#: Domain models: classes as :class:`histoquilt.models.DomainModel`.
DOMAIN_MODELS = Registry(
    "domain model",
    "histoquilt.domain_models",
    {
        "shared_factors": "histoquilt.models:SharedFactors",
        "spatial_factors": "histoquilt.models:SpatialFactors",
        "averaged_pcs": "histoquilt.models:AveragedPCs",
        "spamask": "histoquilt.models:SpaMask",
    },
)

#: Expression models: functions without arguments, or classes, that make a :class:`histoquilt.models.ExpressionModel`.
EXPRESSION_MODELS = Registry(
    "expression model",
    "histoquilt.expression_models",
    {
        "mean": "histoquilt.models:MeanExpression",
        "predicted_depth": "histoquilt.models:PredictedDepth",
        "ridge_plain": "histoquilt.models:plain_ridge",
        "ridge": "histoquilt.models:RidgeOnEmbedding",
        "reduced_rank_ridge": "histoquilt.models:ReducedRankRidge",
        "count_regression": "histoquilt.models:CountRegression",
        "knn_cosine": "histoquilt.models:cosine_neighbours",
        "knn": "histoquilt.models:NearestNeighbours",
        "mclstexp": "histoquilt.models:MclSTExp",
        "spahgc": "histoquilt.models:SpaHGC",
        "stack": "histoquilt.models:Stack",
    },
)

#: Image encoders: functions ``(argument, *, device)`` that make a ``PatchEncoder``; the argument follows the colon of
#: a name, ``"onnx:PATH"``, or is empty.
ENCODERS = Registry(
    "image encoder",
    "histoquilt.encoders",
    {
        "he_texture": "histoquilt.im.encoders._makers:he_texture",
        "onnx": "histoquilt.im.encoders._makers:onnx",
        "openvino": "histoquilt.im.encoders._makers:openvino",
        "timm": "histoquilt.im.encoders._makers:timm",
        "hf-hub": "histoquilt.im.encoders._makers:hf_hub",
    },
)

#: Name of the encoder that is used if none is given.
DEFAULT_ENCODER = "he_texture"

#: Readers of other packages: objects with ``label``, ``recognises(path)`` and ``read(path)``, see
#: :class:`histoquilt.io.Reader`. Our own platforms are recognised first.
READERS = Registry("reader", "histoquilt.readers", {})

#: Exporters: objects as :class:`histoquilt.io.Exporter`.
EXPORTERS = Registry(
    "exporter",
    "histoquilt.exporters",
    {
        "qupath": "histoquilt.io.exporters._qupath:QUPATH",
        "loupe": "histoquilt.io.exporters._loupe:LOUPE",
        "xenium-explorer": "histoquilt.io.exporters._xenium:XENIUM",
        "viewers-h5ad": "histoquilt.io.exporters._viewers:VIEWERS",
        "spatialdata": "histoquilt.io.exporters._spatialdata:SPATIALDATA",
        "vitessce": "histoquilt.io.exporters._vitessce:VITESSCE",
        "seurat": "histoquilt.io.exporters._seurat:SEURAT",
    },
)

#: Layouts of public studies: objects as :class:`histoquilt.datasets.studies.StudyLayout`.
STUDY_LAYOUTS = Registry(
    "study layout",
    "histoquilt.study_layouts",
    {
        "her2st": "histoquilt.datasets.studies._her2st:HER2ST",
        "her2st-zenodo": "histoquilt.datasets.studies._her2st:HER2ST_ZENODO",
        "dlpfc": "histoquilt.datasets.studies._dlpfc:DLPFC",
        "cscc": "histoquilt.datasets.studies._cscc:CSCC",
        "wu2021": "histoquilt.datasets.studies._wu2021:WU2021",
        "hest": "histoquilt.datasets.studies._hest:HEST",
        "visium": "histoquilt.datasets.studies._visium:VISIUM",
        "spamask": "histoquilt.datasets.studies._spamask:SPAMASK",
    },
)

#: Readers of sections that are given as paths: of a ``samples.csv``, and of the file or folder of one section.
SECTION_FILES = Registry(
    "form of sections",
    "histoquilt.section_files",
    {"samples": "histoquilt.io:read_samples", "section": "histoquilt.io:read_section"},
)
