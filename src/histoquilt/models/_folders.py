"""Model folders: what they hold, and whether they are whole and can be used here."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from histoquilt import __version__
from histoquilt._base import is_installed
from histoquilt.models._card import MODEL_CARD, NOT_RECORDED, encoders_of, licence_in, reliability_of
from histoquilt.models._checkpoint import MODEL_FILES, file_digests, model_digest
from histoquilt.models._load import model_class

_DEPTH = 2  # folders below the one that is looked through
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
        config = json.loads((folder / "config.json").read_text())
        facts = json.loads((folder / "provenance.json").read_text())
        sections = facts.get("sections") or []
        scores: dict[str, Any] = {}
        if "fitted" in config:
            with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
                scores = reliability_of(stored, config["fitted"]["n_folds"]).summary()
        named = [one for one in sections if isinstance(one, dict)]
        return ModelFolder(
            path=folder,
            model=config["model"],
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
    except (KeyError, TypeError, ValueError, OSError, EOFError) as error:
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
    problems = _changed_files(folder)
    if model_class(found.model) is None:
        problems.append(f"The class {found.model!r} is not known here. Update histoquilt, or install its package.")
    if _numbers(found.version) > _numbers(__version__):
        problems.append(f"It was saved by histoquilt {found.version}, and {__version__} is installed. Update it.")
    if not (folder / MODEL_CARD).is_file():
        problems.append(f"It has no {MODEL_CARD}; load and save it again to write one.")
    for record in found.encoders:
        problems += _check_encoder(record)
    return problems


def _changed_files(folder: Path) -> list[str]:
    recorded = json.loads((folder / "provenance.json").read_text()).get("files")
    if not recorded:
        return ["Digests of its files were not recorded (saved by an earlier version); load and save it again."]
    now = file_digests(folder)
    return [
        f"{name} is not the file that was saved (SHA-256 {now[name][:12]}, expected {digest[:12]})."
        for name, digest in recorded.items()
        if now.get(name) != digest
    ]


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
