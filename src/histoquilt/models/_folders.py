"""Model folders: what they hold, and whether they are whole and can be used here."""

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from histoquilt import __version__
from histoquilt._base import is_installed, listed
from histoquilt.models._card import MODEL_CARD, NOT_RECORDED, encoders_of, licence_in, reliability_of
from histoquilt.models._checkpoint import DAMAGED, MODEL_FILES, file_digests, model_digest, read_record
from histoquilt.models._load import model_class

_DEPTH = 2  # folders below the one that is looked through
_NO_DIGESTS = "Digests of its files were not recorded (saved by an earlier version); load and save it again."
_FROM_NETWORK = {"timm": "timm", "hf-hub": "timm"}  # kinds of encoders whose weights may have to be downloaded


@dataclass(frozen=True)
class ModelFolder:
    """A model folder, read without loading its weights.

    Attributes
    ----------
    path
        Path of the folder.
    model, kind
        Name of the class, and ``expression`` or ``domains``.
    version
        Version of histoquilt that saved it.
    n_genes, n_sections, n_spots
        Numbers of modelled genes, and of sections and spots of the training data.
    encoders
        Records of the image encoders: ``encoder``, ``digest``, ``licence``, ``fields_um``.
    licence
        Licence in the card; ``not recorded`` if its author gave none.
    scores
        Scores on left-out training sections: ``pcc_median, pcc_median_adjusted, n_beats_mean, n_genes, n_folds``; empty
        for domains.
    digest
        SHA-256 of the files of the model, by which a copy is recognised.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=50, n_domains=2, seed=1)
    >>> folder = getfixture("tmp_path") / "model"
    >>> hq.models.AveragedPCs().fit(adata).save(folder)
    >>> found = hq.models.describe_model(folder)
    >>> found.model, found.kind, found.n_spots, found.licence, found.scores
    ('AveragedPCs', 'domains', 120, 'not recorded', {})
    """

    path: Path
    model: str
    kind: str
    version: str
    n_genes: int
    n_sections: int
    n_spots: int
    encoders: list[dict[str, Any]]
    licence: str
    scores: dict[str, Any]
    digest: str


def is_model_folder(folder: str | PathLike[str]) -> bool:
    """Return whether a folder looks like one that ``save`` wrote, whole or not.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path")
    >>> hq.models.is_model_folder(folder)
    False
    >>> for name in ("config.json", "provenance.json"):
    ...     (folder / name).touch()
    >>> hq.models.is_model_folder(folder)
    True
    """
    return all((Path(folder) / name).is_file() for name in ("config.json", "provenance.json"))


def find_models(folder: str | PathLike[str]) -> Iterator[Path]:
    """Yield the model folders in a folder, two levels deep, or the folder itself if it is one.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=50, n_domains=2, seed=1)
    >>> folder = getfixture("tmp_path")
    >>> hq.models.AveragedPCs().fit(adata).save(folder / "study" / "model")
    >>> [path.relative_to(folder).as_posix() for path in hq.models.find_models(folder)]
    ['study/model']
    """
    levels = [[Path(folder)]]
    for _ in range(_DEPTH + 1):
        models = [path for path in levels[-1] if is_model_folder(path)]
        yield from models
        levels.append(
            [inner for path in levels[-1] if path not in models for inner in sorted(path.iterdir())
             if inner.is_dir() and not inner.name.startswith(".")]
        )  # fmt: skip


def describe_model(folder: str | PathLike[str]) -> ModelFolder:
    """Describe a model folder, without loading its weights.

    Raises
    ------
    FileNotFoundError
        A file is missing.
    ValueError
        A file is damaged.

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> folder = getfixture("tmp_path") / "model"
    >>> hq.models.RidgeOnEmbedding().fit(study, use_rep="X_image").save(folder)
    >>> found = hq.models.describe_model(folder)
    >>> found.model, found.kind, found.n_sections, found.n_spots
    ('RidgeOnEmbedding', 'expression', 3, 180)
    """
    folder = Path(folder)
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} is not a complete histoquilt model: {', '.join(missing)} missing.")
    try:
        config, facts = (read_record(folder / name) for name in ("config.json", "provenance.json"))
        sections = facts.get("sections") or []
        scores: dict[str, Any] = {}
        if "fitted" in config:
            with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
                scores = reliability_of(stored, config["fitted"]["n_folds"]).summary()
        named = [one for one in sections if isinstance(one, dict)]
        return ModelFolder(
            path=folder,
            model=str(config["model"]),
            kind="expression" if "fitted" in config else "domains",
            version=str(facts.get("histoquilt", NOT_RECORDED)),
            n_genes=len((folder / "genes.txt").read_text(encoding="utf-8").split("\n")) - 1,
            n_sections=max(len(sections), 1),
            n_spots=sum(one["n_spots"] for one in named) if named else int(facts.get("n_spots", 0)),
            encoders=encoders_of(facts),
            licence=licence_in(folder / MODEL_CARD),
            scores=scores,
            digest=model_digest(folder),
        )
    except DAMAGED as error:
        raise ValueError(f"The model folder {folder} is corrupted ({error}).") from error


def check_model(folder: str | PathLike[str]) -> list[str]:
    """Return what is wrong with a model folder, one sentence each; empty if it can be used here.

    Files are compared with the digests that ``save`` recorded, the class and the version with those that are installed,
    and the image encoders are loaded, except those whose weights may have to be downloaded: for them, only the package
    is looked for.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=50, n_domains=2, seed=1)
    >>> folder = getfixture("tmp_path") / "model"
    >>> hq.models.AveragedPCs().fit(adata).save(folder)
    >>> hq.models.check_model(folder)
    []
    >>> (folder / "README.md").unlink()
    >>> hq.models.check_model(folder)
    ['It has no README.md; load and save it again to write one.']
    """
    folder = Path(folder)
    try:
        found = describe_model(folder)
    except (FileNotFoundError, ValueError) as error:
        return [str(error)]
    problems = (changed_files(folder) or foreign_content(folder)) + ([] if has_digests(folder) else [_NO_DIGESTS])
    if model_class(found.model) is None:
        problems.append(f"The class {found.model!r} is not known here. Update histoquilt, or install its package.")
    if _numbers(found.version) > _numbers(__version__):
        problems.append(f"It was saved by histoquilt {found.version}, and {__version__} is installed. Update it.")
    if not (folder / MODEL_CARD).is_file():
        problems.append(f"It has no {MODEL_CARD}; load and save it again to write one.")
    for record in found.encoders:
        problems += _check_encoder(record)
    return problems


def has_digests(folder: Path) -> bool:
    """Return whether a model, described before, records digests of its files; earlier versions did not."""
    return bool(_recorded_digests(folder))


def _recorded_digests(folder: Path) -> Any:
    return read_record(folder / "provenance.json").get("files")


def changed_files(folder: Path) -> list[str]:
    """Return one sentence for each file of a model, described before, that is not the one whose digest is recorded."""
    recorded, now = _recorded_digests(folder), file_digests(folder)
    if not recorded:
        return []
    if not isinstance(recorded, dict) or set(recorded) != set(now):
        return [f"provenance.json must record digests of {listed(now)}, and records {listed(recorded)}."]
    return [
        f"{name} is not the file that was saved (SHA-256 {digest[:12]}, expected {str(recorded[name])[:12]})."
        for name, digest in now.items()
        if recorded[name] != digest
    ]


def foreign_content(folder: Path) -> list[str]:
    """Return one sentence for each file with weights or arrays that holds something else, such as a pickle."""
    problems = []
    try:
        with safe_open(folder / "weights.safetensors", framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        problems.append(f"weights.safetensors does not hold plain tensors ({error}).")
    try:
        with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
            for name in arrays.files:
                arrays[name]
    except DAMAGED as error:
        problems.append(f"arrays.npz does not hold plain arrays ({error}).")
    return problems


def _check_encoder(record: dict[str, Any]) -> list[str]:
    name = str(record["encoder"])
    package = _FROM_NETWORK.get(name.partition(":")[0])
    if package is not None:
        if is_installed(package):
            return []
        return [f"The encoder {name} needs {package}: pip install 'histoquilt[{package}]'."]
    from histoquilt import im

    try:
        encoder = im.get_encoder(name, device="cpu")
    except (FileNotFoundError, ValueError, ImportError, PermissionError) as error:
        return [f"The encoder {name}: {error}"]
    if encoder.digest == record["digest"]:
        return []
    return [f"The encoder {name} is another one now (digest {encoder.digest[:12]}, trained {record['digest'][:12]})."]


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, to compare by; those of a development version are left out."""
    found = []
    for part in version.split("+")[0].split("."):
        if not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)
