"""Load a saved model of whichever class."""

from os import PathLike
from typing import Any

import torch

from histoquilt.models._checkpoint import read_checkpoint
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.models.linear._mean import MeanExpression
from histoquilt.models.linear._ridge import RidgeOnEmbedding
from histoquilt.models.mclstexp._model import MclSTExp
from histoquilt.models.retrieval._nearest_neighbours import NearestNeighbours
from histoquilt.models.spahgc._model import SpaHGC
from histoquilt.models.spamask._model import SpaMask
from histoquilt.runtime import resolve_device

_CLASSES: dict[str, type[SpaMask] | type[ExpressionModel]] = {
    one.__name__: one for one in (SpaMask, MeanExpression, RidgeOnEmbedding, NearestNeighbours, MclSTExp, SpaHGC)
}


def load(folder: str | PathLike[str], *, device: str | torch.device = "auto") -> Any:
    """Load a model folder written by ``.save()``; the model class is recorded there.

    Parameters
    ----------
    folder
        Path of the model folder.
    device
        Device for the model's networks, wherever they were trained; ``"auto"`` uses a GPU if available. Models without
        a network run on the CPU.

    Raises
    ------
    FileNotFoundError
        The folder or one of its files is missing.
    ValueError
        A file is corrupted, the model's class is unknown, or the device does not exist.
    """
    checkpoint = read_checkpoint(folder)
    if checkpoint.model not in _CLASSES:
        raise ValueError(
            f"{folder} holds a {checkpoint.model!r}, which this version of histoquilt does not know "
            f"(known: {', '.join(_CLASSES)}). Update histoquilt."
        )
    kind = _CLASSES[checkpoint.model]
    found = resolve_device(device, sparse=kind.has_network)
    try:
        return kind.from_checkpoint(checkpoint, found)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # files that do not belong together
        raise ValueError(
            f"The model folder {folder} is corrupted: its files do not fit together ({error}). "
            "Save the model again with .save()."
        ) from error
