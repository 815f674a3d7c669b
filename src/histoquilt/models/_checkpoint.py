"""Model folders: weights, settings, arrays and provenance, without pickle."""

import hashlib
import json
import zipfile
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from safetensors import SafetensorError

import histoquilt
from histoquilt.models._card import MODEL_CARD, model_card
from histoquilt.runtime import atomic_folder, file_sha256, refuse_foreign
from histoquilt.study import spot_centres

if TYPE_CHECKING:
    from torch import Tensor

MODEL_FILES = "weights.safetensors", "config.json", "arrays.npz", "genes.txt", "provenance.json"
_WEIGHTS, _CONFIG, _ARRAYS, _GENES, _PROVENANCE = MODEL_FILES
# raised by files that are not what they should be
DAMAGED = (AttributeError, KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile)
MODEL_FOLDER = {*MODEL_FILES, MODEL_CARD, "run.json"}  # which histoquilt train adds
_DIGESTS = "files"  # entry of the provenance: file -> SHA-256


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a model folder."""

    model: str  # name of the class
    weights: "dict[str, Tensor]"
    config: dict[str, Any]  # settings that JSON can hold
    arrays: dict[str, np.ndarray]  # fitted arrays other than network weights
    genes: list[str]  # modelled genes, in order; empty if the model was fitted on an embedding
    provenance: dict[str, Any]  # version, seed, training sections and digests


def write_checkpoint(checkpoint: Checkpoint, folder: str | PathLike[str], *, overwrite: bool = False) -> None:
    """Write a model folder with its card atomically.

    Raises ``FileExistsError`` if it is not empty and ``overwrite`` is false, or if it holds anything but a model.
    """
    if overwrite:
        refuse_foreign(Path(folder), MODEL_FOLDER, "a model")
    with atomic_folder(folder, overwrite=overwrite) as unfinished:
        weights = {name: value.detach().cpu().contiguous() for name, value in checkpoint.weights.items()}
        (unfinished / _WEIGHTS).write_bytes(_serialised(weights))
        (unfinished / _CONFIG).write_text(json.dumps({"model": checkpoint.model, **checkpoint.config}, indent=2) + "\n")
        np.savez(unfinished / _ARRAYS, allow_pickle=False, **checkpoint.arrays)
        (unfinished / _GENES).write_text("".join(f"{gene}\n" for gene in checkpoint.genes), encoding="utf-8")
        facts = {"histoquilt": histoquilt.__version__, **checkpoint.provenance, _DIGESTS: file_digests(unfinished)}
        (unfinished / _PROVENANCE).write_text(json.dumps(facts, indent=2) + "\n")
        (unfinished / MODEL_CARD).write_text(model_card(checkpoint, facts["histoquilt"]), encoding="utf-8")


def _serialised(weights: "dict[str, Tensor]") -> bytes:
    """Return the content of a file of weights (``save_file`` makes files that only the owner can read)."""
    if not weights:  # most models have no network, and torch takes a second to load
        from safetensors.numpy import save

        return save({})
    from safetensors.torch import save as save_tensors

    return save_tensors(weights)


def file_digests(folder: Path) -> dict[str, str]:
    """Return file -> SHA-256 of the files of a model but its provenance, which records them; the card is not one."""
    return {
        name: file_sha256(folder / name) for name in MODEL_FILES if name != _PROVENANCE and (folder / name).is_file()
    }


def model_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and digests of the files of a model."""
    entries = sorted([*file_digests(folder).items(), (_PROVENANCE, file_sha256(folder / _PROVENANCE))])
    return hashlib.sha256("".join(f"{name}\0{digest}\n" for name, digest in entries).encode()).hexdigest()


def read_checkpoint(folder: str | PathLike[str]) -> Checkpoint:
    """Read a model folder; ``FileNotFoundError`` if a file is missing, ``ValueError`` if one is corrupted."""
    from safetensors.torch import load_file

    folder = Path(folder)
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} is not a complete histoquilt model: {', '.join(missing)} missing. Save it again with .save()."
        )
    try:
        config = read_record(folder / _CONFIG)
        with np.load(folder / _ARRAYS, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return Checkpoint(
            model=config.pop("model"),
            weights=load_file(folder / _WEIGHTS),
            config=config,
            arrays=arrays,
            genes=(folder / _GENES).read_text(encoding="utf-8").split("\n")[:-1],
            provenance={name: value for name, value in read_record(folder / _PROVENANCE).items() if name != _DIGESTS},
        )
    except (*DAMAGED, SafetensorError) as error:
        raise ValueError(
            f"The model folder {folder} is corrupted ({error}). Save the model again with .save()."
        ) from error


def read_record(path: Path) -> dict[str, Any]:
    """Return the entries of a JSON file; raise ``TypeError`` if it holds none."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise TypeError(f"{path.name} holds no named entries")
    return record


def _bytes_of(values: np.ndarray) -> memoryview:
    """Bytes of an array, without copying a contiguous one."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def digest(adata: AnnData, inputs: np.ndarray, spatial_key: str) -> str:
    """Return the SHA-256 of training data: names of spots and genes, coordinates, inputs."""
    hashed = hashlib.sha256("\n".join([*adata.obs_names, "", *adata.var_names]).encode())
    for values in (np.asarray(spot_centres(adata, spatial_key), dtype=np.float64), inputs):
        hashed.update(_bytes_of(values))
    return hashed.hexdigest()


def digest_of_arrays(*arrays: np.ndarray | None) -> str:
    """Return the SHA-256 of arrays of numbers or text, in this order."""
    hashed = hashlib.sha256()
    for values in arrays:
        if values is None:
            hashed.update(b"none")
        else:
            hashed.update(f"{values.dtype} {values.shape}".encode())
            hashed.update(_bytes_of(values))
    return hashed.hexdigest()
