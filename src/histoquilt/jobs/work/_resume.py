"""Resumable work: finished inputs and training checkpoints are kept in ``OUT.partial``.

``OUT.partial`` lies next to OUT, or inside it if OUT cannot be renamed (:func:`histoquilt.runtime.progress_folder`):

``lock``, ``owner.json`` : lock, and process and host of the run that holds it
``done/`` : files of every finished input, and ``<name>.json`` with its digest, written last
``training/`` : training checkpoints
``replacing.json`` : names that are being replaced in an OUT that cannot be renamed
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import histoquilt
from histoquilt.jobs.work._errors import Interrupted
from histoquilt.jobs.work._lock import LOCK, OWNER, locked
from histoquilt.runtime import atomic_file, atomic_folder, folder_written_to, progress_folder, refuse_existing

JOB = "job"  # key in run.json: digest of all that the results depend on
_DONE, _TRAINING, _REPLACING = "done", "training", "replacing.json"


@dataclass(frozen=True)
class Item:
    """One input, whose result is kept as soon as it is finished; plain data that can be sent to another process."""

    name: str  # Stem of its file names
    digest: str  # Digest of everything that its result depends on
    folder: Path  # Folder for its files

    def file(self, suffix: str) -> Path:
        """Return the path of one of its result files."""
        return self.folder / f"{self.name}{suffix}"

    def finish(self, suffixes: Iterable[str], facts: Mapping[str, Any]) -> None:
        """Record that the files are complete, with facts for later steps."""
        sizes = {suffix: self.file(suffix).stat().st_size for suffix in suffixes}
        text = json.dumps({"digest": self.digest, "sizes": sizes, "facts": facts})
        with atomic_file(self.file(".json")) as beside:
            beside.write_text(text, encoding="utf-8")

    def finished(self) -> dict[str, Any] | None:
        """Return the facts of the finished result; None if there is none, or its digest differs."""
        try:
            kept = json.loads(self.file(".json").read_text(encoding="utf-8"))
            whole = all(self.file(suffix).stat().st_size == size for suffix, size in kept["sizes"].items())
            return dict(kept["facts"]) if whole and kept["digest"] == self.digest else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass(frozen=True)
class Work:
    """Working folder of a run, which holds results until all are finished."""

    out: Path  # Output folder
    folder: Path  # Working folder
    kept: bool  # True if the working folder survives an interruption

    @property
    def done(self) -> Path:
        """Folder of the files of finished inputs."""
        return self.folder / _DONE

    def item(self, name: str, digest: str) -> Item:
        """Return an input of this run."""
        return Item(name, digest, self.done)

    def training(self, name: str) -> Path | None:
        """Return a folder for training checkpoints; None if the run is not resumable."""
        return self.folder / _TRAINING / name if self.kept else None

    def is_done(self, job: str) -> bool:
        """Whether OUT holds the complete results of this job; false if the run is not resumable."""
        record = read_record(self.out)
        return self.kept and record.get(JOB) == job and _is_complete(self.out, record)

    def refuse_others(self, *, overwrite: bool) -> None:
        """Raise ``FileExistsError`` if OUT holds results of another job and ``overwrite`` is false."""
        refuse_existing(self.out, overwrite=overwrite or bool(replaced_names(self.out)), workplace=self.folder)

    @contextmanager
    def results(self, files: Iterable[Path] = (), *, overwrite: bool) -> Iterator[Path]:
        """Yield a folder that holds ``files`` and becomes OUT when the block ends."""
        replaced = replaced_names(self.out)
        with atomic_folder(self.out, overwrite=overwrite or bool(replaced), workplace=self.folder) as folder:
            for file in files:
                link(file, folder / file.name)
            yield folder
            if self.kept and folder_written_to(self.out) == self.out:
                # names are replaced one by one: if the run is killed meanwhile, the next one repairs the mixture
                names = {entry.name for place in (self.out, folder) for entry in place.iterdir()}
                with atomic_file(self.folder / _REPLACING) as beside:
                    beside.write_text(json.dumps(sorted(names | replaced)), encoding="utf-8")


@contextmanager
def workplace(out: Path, *, resume: bool) -> Iterator[Work]:
    """Create the working folder; it is removed at the end, with ``resume`` only after success.

    Raises
    ------
    JobError
        Another run works on the same OUT.
    Interrupted
        Instead of ``KeyboardInterrupt`` if finished work is kept.
    """
    with _made(folder_written_to(out)) as parent:
        if not resume:
            folder = Path(tempfile.mkdtemp(prefix=f".{out.absolute().name}-", dir=parent))
            try:
                (folder / _DONE).mkdir()
                yield Work(out, folder, kept=False)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return
        folder = progress_folder(out)
        with locked(folder):
            for left in folder.glob(".*"):  # by a run that was killed while it wrote
                shutil.rmtree(left, ignore_errors=True)
            (folder / _DONE).mkdir(exist_ok=True)
            try:
                yield Work(out, folder, kept=True)
            except KeyboardInterrupt as stop:
                if not _is_empty(folder):
                    raise Interrupted(
                        f"interrupted; what is finished is kept in {folder}. The same command goes on from there."
                    ) from stop
                raise
            else:
                _clear(folder)
            finally:
                if _is_empty(folder):
                    _clear(folder)


def digest_of(**facts: Any) -> str:
    """Return the digest of all that a result depends on, and of the version of histoquilt.

    Examples
    --------
    >>> digest_of(seed=0) == digest_of(seed=0), digest_of(seed=0) == digest_of(seed=1)
    (True, False)
    """
    text = json.dumps({"histoquilt": histoquilt.__version__, **facts}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def holds_job(out: Path) -> bool:
    """Whether OUT holds results with the digest of their job."""
    return isinstance(read_record(out).get(JOB), str)


def replaced_names(out: Path) -> set[str]:
    """Return the names that a killed run was replacing in OUT; empty if it finished."""
    if _is_complete(out, read_record(out)):
        return set()
    try:
        return set(json.loads((progress_folder(out) / _REPLACING).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return set()


def _is_complete(out: Path, record: Mapping[str, Any]) -> bool:
    """Whether OUT holds all files listed in its ``run.json``."""
    outputs = record.get("outputs")
    return isinstance(outputs, list) and all((out / str(name)).exists() for name in outputs)


def read_record(out: Path) -> dict[str, Any]:
    """Return the content of ``run.json``, empty if there is none."""
    try:
        record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def link(file: str | os.PathLike[str], place: str | os.PathLike[str]) -> None:
    """Hard-link a finished file, or copy it if the file system has no hard links."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copy2(file, place)


def _clear(folder: Path) -> None:
    """Remove a progress folder: first the records of finished inputs, the lock last."""
    for kept in (folder / _DONE).glob("*.json"):
        kept.unlink(missing_ok=True)
    for entry in [*folder.iterdir()] if folder.exists() else []:
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name not in (LOCK, OWNER):
            entry.unlink(missing_ok=True)
    for name in (OWNER, LOCK):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # the next run is in it already
        folder.rmdir()


def _is_empty(folder: Path) -> bool:
    """Whether a progress folder holds no files but its lock."""
    return not any(path.is_file() for path in folder.rglob("*") if path.name not in (LOCK, OWNER))


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """Create a folder with its parents; remove those that are empty at the end."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        with suppress(OSError):  # it holds the results
            for place in missing:
                place.rmdir()
