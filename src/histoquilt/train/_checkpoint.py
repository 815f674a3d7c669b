"""Resumable training: a checkpoint file, written atomically."""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError, safe_open

import histoquilt
from histoquilt.runtime import atomic_file, is_main, logger

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Named = TypeVar("Named")

CHECKPOINT_EVERY = 15.0  # seconds of training between two writes
_SHARE_OF_TIME = 0.05  # largest share of time spent on writing


@dataclass(frozen=True)
class SavedTraining:
    """State of an interrupted training."""

    tensors: "dict[str, Tensor]"
    facts: dict[str, Any]  # values that JSON can hold; floats are restored exactly


class TrainingCheckpoint:
    """Checkpoint file for the training of one network.

    A file that is damaged or from another job is logged and replaced; if it cannot be written, training continues.

    Parameters
    ----------
    path
        Path of the file; its folder is created if absent.
    job
        Values that JSON can hold and that determine the result: settings, seed, digest of the data. The versions and
        hardware that the last bits depend on are added.
    device
        Device on which training runs.

    Examples
    --------
    >>> import torch
    >>> from histoquilt.train import TrainingCheckpoint
    >>> path = getfixture("tmp_path") / "seed0.safetensors"
    >>> checkpoint = TrainingCheckpoint(path, {"seed": 0}, torch.device("cpu"))
    >>> print(checkpoint.read())
    None
    >>> checkpoint.write({"weight": torch.ones(2)}, {"rows": [{"loss": 0.5}]})
    >>> checkpoint.read().facts
    {'rows': [{'loss': 0.5}]}
    >>> print(TrainingCheckpoint(path, {"seed": 1}, torch.device("cpu")).read())  # another job
    None
    """

    def __init__(self, path: str | os.PathLike[str], job: Mapping[str, Any], device: "torch.device") -> None:
        import torch

        self.path = Path(path)
        environment = {
            "histoquilt": histoquilt.__version__,
            "torch": torch.__version__,
            "device": device.type,
            "n_threads": torch.get_num_threads(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
        }
        self._job = json.loads(json.dumps({**job, **environment}))
        self._last, self._took = time.monotonic(), 0.0

    def read(self) -> SavedTraining | None:
        """Return the saved state of this job, or ``None`` if there is none."""
        for left in self.path.parent.glob(f".{self.path.stem}-*{self.path.suffix}") if is_main() else ():
            left.unlink(missing_ok=True)  # unfinished file of a killed process
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                # copied, because tensors in the memory-mapped file are not aligned
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
            job, facts = json.loads(metadata["job"]), json.loads(metadata["facts"])
            if metadata["digest"] != _digest(tensors, metadata["facts"]):
                raise ValueError("its digest differs")
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            logger.warning("%s cannot be read (%s): training starts over.", self.path, error)
            return None
        if job != self._job:
            differ = sorted(name for name in {*job, *self._job} if job.get(name) != self._job.get(name))
            logger.warning(
                "%s was kept by another job (%s differ): training starts over.", self.path, ", ".join(differ)
            )
            return None
        return SavedTraining(tensors, facts)

    @property
    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self._last >= max(CHECKPOINT_EVERY, self._took / _SHARE_OF_TIME)

    def write(self, tensors: "Mapping[str, Tensor]", facts: Mapping[str, Any]) -> None:
        """Save the state of training atomically; of several processes only the first writes."""
        if not is_main():
            return
        from safetensors.torch import save

        started = time.monotonic()
        saved = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        text = json.dumps(facts)
        metadata = {"job": json.dumps(self._job), "facts": text, "digest": _digest(saved, text)}
        try:
            with atomic_file(self.path) as unfinished:
                unfinished.write_bytes(save(saved, metadata))
        except OSError as error:
            logger.warning("Cannot write the training checkpoint %s (%s); training continues.", self.path, error)
        self._last = time.monotonic()
        self._took = self._last - started


def training_folder(path: str | os.PathLike[str]) -> Path:
    """Create the folder for training checkpoints if absent; ``NotADirectoryError`` if it is a file.

    Examples
    --------
    >>> from histoquilt.train import training_folder
    >>> folder = training_folder(getfixture("tmp_path") / "a" / "b")
    >>> folder.is_dir(), folder.name
    (True, 'b')
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"checkpoint={str(path)!r} must be a folder, and is a file. Name another place.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def strip_prefix(named: Mapping[str, Named], first: str) -> dict[str, Named]:
    """Return the entries named ``first.name``, without the prefix.

    Examples
    --------
    >>> from histoquilt.train import strip_prefix
    >>> strip_prefix({"network.weight": 1, "network.bias": 2, "optimiser.step": 3}, "network")
    {'weight': 1, 'bias': 2}
    """
    return {name.removeprefix(f"{first}."): value for name, value in named.items() if name.startswith(f"{first}.")}


def _digest(tensors: "Mapping[str, Tensor]", text: str) -> str:
    hashed = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].numpy()
        hashed.update(f"{name} {value.dtype} {value.shape}".encode())
        hashed.update(value.tobytes())
    return hashed.hexdigest()
