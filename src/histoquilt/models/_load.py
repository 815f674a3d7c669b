"""Load a saved model of any class."""

from collections.abc import Iterator
from os import PathLike
from typing import TYPE_CHECKING, Any

from histoquilt._base import DOMAIN_MODELS, EXPRESSION_MODELS
from histoquilt.models._checkpoint import read_checkpoint
from histoquilt.runtime import resolve_device

if TYPE_CHECKING:
    import torch


def load(folder: str | PathLike[str], *, device: "str | torch.device" = "auto") -> Any:
    """Load a model folder written by ``.save()``.

    Parameters
    ----------
    folder
        Path of the model folder.
    device
        Device for the model's networks; ``"auto"`` uses a GPU if available.

    Raises
    ------
    FileNotFoundError
        The folder or one of its files is missing.
    ValueError
        A file is corrupted, the model's class is unknown, or the device does not exist.

    Examples
    --------
    >>> import histoquilt as hq, os, tempfile
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> folder = os.path.join(tempfile.mkdtemp(), "model")
    >>> hq.models.RidgeOnEmbedding().fit(study, use_rep="X_image").save(folder)
    >>> type(hq.models.load(folder)).__name__
    'RidgeOnEmbedding'
    """
    checkpoint = read_checkpoint(folder)
    kind = model_class(checkpoint.model)
    if kind is None:
        known = ", ".join(kind.__name__ for kind in _classes())
        raise ValueError(
            f"{folder} holds a {checkpoint.model!r}, which is not known here (known: {known}). Update histoquilt, or "
            "install the package that the model comes from."
        )
    torch_device = resolve_device(device, sparse=kind.has_network)
    try:
        return kind.from_checkpoint(checkpoint, torch_device)
    # files that do not belong together
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"The model folder {folder} is corrupted: its files do not fit together ({error}). "
            "Save the model again with .save()."
        ) from error


def model_class(name: str) -> Any:
    """Return the class of a saved model; None if it is not known here."""
    return next((kind for kind in _classes() if kind.__name__ == name), None)


def _classes() -> Iterator[type]:
    """Yield all model classes, our own first: they can be found even if another package fails to load."""
    registries = (EXPRESSION_MODELS, DOMAIN_MODELS)
    names = [(registry, name) for registry in registries for name in registry.ours()]
    names += [(registry, name) for registry in registries for name in registry.others()]
    for registry, name in names:
        entry = registry.load(name)
        if isinstance(entry, type):  # entries that are functions return models of listed classes
            yield entry
