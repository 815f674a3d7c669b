"""Resumable training: a checkpoint file, written atomically."""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

import histoquilt
from histoquilt.runtime import atomic_file, is_main, logger

Named = TypeVar("Named")

CHECKPOINT_EVERY = 15.0  # seconds of training between two writes
_SHARE_OF_TIME = 0.05  # ... and no more than this share of the time is spent on writing


@dataclass(frozen=True)
class Kept:
    """State of an interrupted training.

    Attributes
    ----------
    tensors
        Name -> tensor; the tensors are copies.
    facts
        Facts that JSON can hold; floats, including NaN, are restored exactly.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class TrainingCheckpoint:
    """Checkpoint file for the training of one network.

    It is never required: a file that is missing, damaged or from another job is logged and replaced, and if it cannot
    be written training continues without it.

    Parameters
    ----------
    path
        Path of the file; its folder is created if absent.
    job
        JSON-serialisable values that determine the result: settings, seed, a digest of the data. The version of
        histoquilt and the compute environment of torch (:func:`environment`) are added.
    device
        Device on which training runs.
    """

    def __init__(self, path: str | os.PathLike[str], job: Mapping[str, Any], device: torch.device) -> None:
        self.path = Path(path)
        self._job = json.loads(json.dumps({**job, "histoquilt": histoquilt.__version__, **environment(device)}))
        self._last, self._took = time.monotonic(), 0.0

    def read(self) -> Kept | None:
        """Return where training of this job stood, or ``None`` where it has to start."""
        for left in self.path.parent.glob(f".{self.path.stem}-*{self.path.suffix}") if is_main() else ():
            left.unlink(missing_ok=True)  # half-written by a process that was killed
        try:
            with safe_open(self.path, framework="pt") as file:
                about = file.metadata() or {}
                # a copy: the file is mapped into memory, where what is in it is not aligned as torch would do it
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
            job, facts = json.loads(about["job"]), json.loads(about["facts"])
            if about["digest"] != _digest(tensors, about["facts"]):
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
        return Kept(tensors, facts)

    @property
    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self._last >= max(CHECKPOINT_EVERY, self._took / _SHARE_OF_TIME)

    def write(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Keep where training stands; what was kept before is there until the new file is complete.

        Processes that train together stand at the same place: the first one writes.
        """
        if not is_main():
            return
        started = time.monotonic()
        kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        text = json.dumps(facts)
        about = {"job": json.dumps(self._job), "facts": text, "digest": _digest(kept, text)}
        try:
            with atomic_file(self.path) as beside:
                beside.write_bytes(save(kept, about))
        except OSError as error:
            logger.warning("Training could not be kept in %s (%s); it goes on.", self.path, error)
        self._last = time.monotonic()
        self._took = self._last - started


def training_folder(path: str | os.PathLike[str]) -> Path:
    """Return the folder in which training is to be kept, made where it is absent.

    Raises
    ------
    NotADirectoryError
        It is a file.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"checkpoint={str(path)!r} must be a folder, and is a file. Name another place.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def strip_prefix(named: Mapping[str, Named], first: str) -> dict[str, Named]:
    """Return what is named ``first.name``, by name."""
    return {name.removeprefix(f"{first}."): value for name, value in named.items() if name.startswith(f"{first}.")}


def environment(device: torch.device) -> dict[str, Any]:
    """Return what the last bits of a result depend on, beside data, settings and seed."""
    return {
        "torch": torch.__version__,
        "device": device.type,
        "n_threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    hashed = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].numpy()
        hashed.update(f"{name} {value.dtype} {value.shape}".encode())
        hashed.update(value.tobytes())
    return hashed.hexdigest()
