"""Copy a model folder from a local path, or from a repository of the Hugging Face Hub."""

import os
import re
import shutil
from os import PathLike
from pathlib import Path
from typing import Any

from histoquilt._base import argument, require
from histoquilt.models._card import MODEL_CARD, NOT_RECORDED, encoders_of, licence_in
from histoquilt.models._checkpoint import DAMAGED, MODEL_FILES, MODEL_FOLDER, read_record
from histoquilt.models._folders import changed_files, describe_model, foreign_content, has_digests
from histoquilt.runtime import atomic_folder, logger, refuse_existing, refuse_foreign, warn_user

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_COPIED = (*MODEL_FILES, MODEL_CARD)  # safetensors, JSON, text and arrays without pickle; nothing else is fetched


def pull_model(
    source: str | PathLike[str],
    out: str | PathLike[str],
    *,
    revision: str | None = None,
    digest: str | None = None,
    cache: str | PathLike[str] | None = None,
    offline: bool = False,
    overwrite: bool = False,
) -> Path:
    """Copy a model folder from a local path, or from a repository of the Hugging Face Hub.

    The licences of the model and of its encoders are logged before its weights are fetched. Only the files of a model
    are copied, and they are checked: no pickle, no link to elsewhere, and the SHA-256 that ``save`` recorded for each.

    Parameters
    ----------
    source
        Path of a model folder, or of a repository in the cache of the hub (``models--ORGANISATION--NAME``); or the name
        of a repository, ``ORGANISATION/NAME``. A folder of that name comes first.
    out
        Path of the new model folder.
    revision
        Commit of the repository, 40 hexadecimal digits; required for the hub, so that the model cannot change.
    digest
        SHA-256 of the model (:attr:`ModelFolder.digest`), or its first 12 or more digits, that it must have.
    cache, offline
        Cache folder of the hub, by default its own; if true, nothing but the cache is looked at.
    overwrite
        Replace an earlier model.

    Returns
    -------
    ``out``.

    Raises
    ------
    FileNotFoundError
        There is no such folder or repository, or a file of the model is missing.
    ValueError
        The revision is not a commit, the digest is another one, or a file was changed, holds a pickle, or is a link to
        a place outside the folder or repository.
    ImportError
        ``huggingface_hub`` is not installed (extra ``hub``).
    FileExistsError
        ``out`` holds a model and ``overwrite`` is false, or anything else.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=50, n_domains=2, seed=1)
    >>> folder = getfixture("tmp_path")
    >>> hq.models.AveragedPCs().fit(adata).save(folder / "model")
    >>> copy = hq.models.pull_model(folder / "model", folder / "copy")
    >>> hq.models.check_model(copy), copy.name
    ([], 'copy')
    """
    refuse_existing(Path(out), overwrite=overwrite)
    refuse_foreign(Path(out), MODEL_FOLDER, "a model")
    given = Path(source).expanduser()
    if given.is_dir():
        folder = _snapshot(given, revision)
        _refuse_links(folder)
        _show_licences(folder, str(source))
    elif _REPOSITORY.fullmatch(str(source)):
        folder = _from_hub(str(source), revision, cache, offline)
        _refuse_links(folder)
    else:
        raise FileNotFoundError(
            f"There is no model folder {source}; a repository of the Hugging Face Hub is named ORGANISATION/NAME."
        )
    found = describe_model(folder)
    if digest is not None and (len(digest) < 12 or not found.digest.startswith(digest.lower())):
        raise ValueError(
            f"{source} has the digest {found.digest}, not {digest} (12 or more digits are compared). It is another "
            "model, or it was changed."
        )
    if foreign := foreign_content(folder):
        raise ValueError(f"{source}: {' '.join(foreign)} The model is not copied.")
    if not has_digests(folder):
        warn_user(f"{source} records no digests of its files (saved by an earlier version): they cannot be checked.")
    with atomic_folder(out, overwrite=overwrite) as unfinished:
        for name in _COPIED:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, unfinished / name)  # what links point to
        if changed := changed_files(unfinished):
            raise ValueError(f"{source}: {' '.join(changed)} Nothing was written.")
    logger.info("%s: %s of %d genes, digest %s.", out, found.model, found.n_genes, found.digest)
    return Path(out)


def _snapshot(folder: Path, revision: str | None) -> Path:
    """Return a model folder, or the one of a commit if the folder is a repository in the cache of the hub."""
    if not (folder / "snapshots").is_dir():
        if revision is not None:
            raise ValueError(f"{folder} is a model folder, which has no revisions; leave {argument('revision')} out.")
        return folder
    commits = sorted(path.name for path in (folder / "snapshots").iterdir() if path.is_dir())
    if revision is None and len(commits) == 1:
        revision = commits[0]
    if revision not in commits:
        raise ValueError(
            f"{folder} holds the commits {', '.join(commits)}; name one with {argument('revision')}, got {revision}."
        )
    return folder / "snapshots" / str(revision)


def _from_hub(repository: str, revision: str | None, cache: Any, offline: bool) -> Path:
    """Fetch the card and the records first, show the licences, then fetch the rest."""
    if revision is None or not _COMMIT.fullmatch(revision):
        raise ValueError(
            f"A model of the hub is named with its commit, 40 hexadecimal digits, so that it cannot change: "
            f"{argument('revision')}, got {revision}. The history of {repository} on the hub lists them."
        )
    hub = require("huggingface_hub", extra="hub", purpose="Fetching a model from the hub")

    def fetch(names: list[str]) -> Path:
        try:
            return Path(
                hub.snapshot_download(
                    repository, revision=revision, allow_patterns=names, cache_dir=cache, local_files_only=offline
                )
            )
        except (hub.errors.RepositoryNotFoundError, hub.errors.RevisionNotFoundError, OSError) as error:
            where = " in the cache" if offline else ""
            raise FileNotFoundError(
                f"{repository} at {revision} was not found{where}: {' '.join(str(error).split())[:300]}"
            ) from error

    folder = fetch([MODEL_CARD, "provenance.json", "config.json"])
    _show_licences(folder, repository)
    return fetch(list(_COPIED))


def _show_licences(folder: Path, source: str) -> None:
    """Log the licences of a model and of its encoders, from the card and the record alone."""
    logger.info("%s: licence of the model: %s.", source, licence_in(folder / MODEL_CARD))
    record = folder / "provenance.json"
    try:
        encoders = encoders_of(read_record(record)) if record.is_file() else []
    except DAMAGED as error:
        raise ValueError(f"{source}: provenance.json is damaged ({error}). The model is not copied.") from error
    for one in encoders:
        logger.info("%s: licence of the encoder %s: %s.", source, one["encoder"], one.get("licence") or NOT_RECORDED)


def _refuse_links(folder: Path) -> None:
    """Raise ``ValueError`` for a file that is a link out of the folder, or of a repository in the cache of the hub."""
    place = Path(os.path.realpath(folder))
    root = place.parent.parent if place.parent.name == "snapshots" else place  # whose files are links to its blobs
    for name in _COPIED:
        target = Path(os.path.realpath(folder / name))
        if (folder / name).is_symlink() and not target.is_relative_to(root):
            raise ValueError(
                f"{folder / name} is a link to {target}, outside of {root}. Put the file itself there if it belongs to "
                "the model."
            )
