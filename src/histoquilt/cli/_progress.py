"""Work that may be interrupted: with ``--resume`` what is finished waits in ``OUT.partial`` and is not done again.

``OUT.partial`` lies beside OUT, or inside it where OUT cannot be renamed (:func:`histoquilt.runtime.progress_folder`):

``lock`` : process and host of the run that works in it
``done/`` : the files of every finished input, and ``<name>.json`` with its digest, written last
``training/`` : states of training that goes on
``replacing.json`` : names that are being exchanged in an OUT that has to stay
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
from histoquilt.cli._errors import Interrupted
from histoquilt.cli._lock import LOCK, OWNER, locked
from histoquilt.runtime import atomic_file, atomic_folder, folder_written_to, progress_folder, refuse_existing

JOB = "job"  # in run.json: digest of what was asked, by which the same command knows its results
_DONE, _TRAINING, _REPLACING = "done", "training", "replacing.json"


@dataclass(frozen=True)
class Item:
    """One input, whose result is kept as soon as it is finished; plain data that can be sent to another process.

    Attributes
    ----------
    name
        Stem of its file names.
    digest
        Digest of everything that its result depends on.
    folder
        Folder for its files.
    training
        Folder for training checkpoints; None if the run is not resumable.
    """

    name: str
    digest: str
    folder: Path
    training: Path | None

    def file(self, suffix: str) -> Path:
        """Return where a file of its result belongs."""
        return self.folder / f"{self.name}{suffix}"

    def finish(self, suffixes: Iterable[str], facts: Mapping[str, Any]) -> None:
        """Record that the files are whole, with what later steps need to know of them."""
        sizes = {suffix: self.file(suffix).stat().st_size for suffix in suffixes}
        text = json.dumps({"digest": self.digest, "sizes": sizes, "facts": facts})
        with atomic_file(self.file(".json")) as beside:
            beside.write_text(text, encoding="utf-8")
        if self.training is not None:
            shutil.rmtree(self.training, ignore_errors=True)

    def finished(self) -> dict[str, Any] | None:
        """Return the facts of a finished result; None where it has to be made, or was made from something else."""
        try:
            kept = json.loads(self.file(".json").read_text(encoding="utf-8"))
            whole = all(self.file(suffix).stat().st_size == size for suffix, size in kept["sizes"].items())
            return dict(kept["facts"]) if whole and kept["digest"] == self.digest else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass(frozen=True)
class Work:
    """Working folder of a run, which holds results until all are finished.

    Attributes
    ----------
    out
        Output folder.
    folder
        Working folder.
    kept
        True if the working folder survives an interruption.
    """

    out: Path
    folder: Path
    kept: bool

    @property
    def done(self) -> Path:
        """Where the files of finished inputs are."""
        return self.folder / _DONE

    def item(self, name: str, digest: str) -> Item:
        """Return an input of this run."""
        return Item(name, digest, self.done, self.training(name))

    def training(self, name: str) -> Path | None:
        """Return a folder for states of training, where they are kept."""
        return self.folder / _TRAINING / name if self.kept else None

    def is_done(self, job: str) -> bool:
        """Whether OUT holds the complete results of this very job, told only where work is kept."""
        record = _record(self.out)
        return self.kept and record.get(JOB) == job and _is_complete(self.out, record)

    def refuse_others(self, *, overwrite: bool) -> None:
        """Raise ``FileExistsError`` where OUT holds results of another job, and nobody allowed to replace them."""
        refuse_existing(self.out, overwrite=overwrite or bool(replaced_names(self.out)), workplace=self.folder)

    @contextmanager
    def results(self, files: Iterable[Path] = (), *, overwrite: bool) -> Iterator[Path]:
        """Yield a folder with finished files, to be added to; it becomes OUT when the block ends."""
        replaced = replaced_names(self.out)
        with atomic_folder(self.out, overwrite=overwrite or bool(replaced), workplace=self.folder) as folder:
            for file in files:
                link(file, folder / file.name)
            yield folder
            if self.kept and folder_written_to(self.out) == self.out:
                # names are exchanged one by one: a run that is killed meanwhile leaves a mixture that is ours to mend
                names = {entry.name for place in (self.out, folder) for entry in place.iterdir()}
                with atomic_file(self.folder / _REPLACING) as beside:
                    beside.write_text(json.dumps(sorted(names | replaced)), encoding="utf-8")


@contextmanager
def workplace(out: Path, *, resume: bool) -> Iterator[Work]:
    """Make the folder to work in; removed at the end, and with ``resume`` only once the results are in place.

    Raises
    ------
    CommandError
        Another run works on the same OUT.
    Interrupted
        In place of ``KeyboardInterrupt`` where something is kept.
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
    """Return the digest of what a result depends on, the version of histoquilt included.

    Examples
    --------
    >>> digest_of(seed=0) == digest_of(seed=0), digest_of(seed=0) == digest_of(seed=1)
    (True, False)
    """
    text = json.dumps({"histoquilt": histoquilt.__version__, **facts}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def holds_job(out: Path) -> bool:
    """Whether OUT holds results of a command that can tell whether they are its own."""
    return isinstance(_record(out).get(JOB), str)


def replaced_names(out: Path) -> set[str]:
    """Return what a killed run was exchanging in an OUT that has to stay; nothing where it came to its end."""
    if _is_complete(out, _record(out)):
        return set()
    try:
        return set(json.loads((progress_folder(out) / _REPLACING).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return set()


def _is_complete(out: Path, record: Mapping[str, Any]) -> bool:
    """Whether OUT holds all that its ``run.json`` lists."""
    outputs = record.get("outputs")
    return isinstance(outputs, list) and all((out / str(name)).exists() for name in outputs)


def _record(out: Path) -> dict[str, Any]:
    try:
        record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def link(file: str | os.PathLike[str], place: str | os.PathLike[str]) -> None:
    """Let a finished file appear in a second place of the same disk, copied where the disk knows no links."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copy2(file, place)


def _clear(folder: Path) -> None:
    """Remove a progress folder: what says that an input is finished first, the lock, which keeps others out, last."""
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
    """Whether nothing worth keeping is there."""
    return not any(path.is_file() for path in folder.rglob("*") if path.name not in (LOCK, OWNER))


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """Make a folder with its parents; those that are empty in the end are taken away again."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        with suppress(OSError):  # it holds the results
            for place in missing:
                place.rmdir()
