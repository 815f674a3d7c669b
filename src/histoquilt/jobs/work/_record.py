"""Record of a run, ``run.json``: arguments, inputs, versions, timings, memory and warnings."""

import hashlib
import logging
import platform
import time
import warnings as python_warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import histoquilt
from histoquilt.runtime import Stages, file_sha256, logger, n_processes, peak_bytes, threads_in_use

# addressed to developers of other packages; a user can do nothing about them
FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)
# torch repeats this in every process that uses a beta feature; we test those that we use
IGNORED = ("Sparse CSR tensor support is in beta state",)
# the packages whose version can change a result
PACKAGES = ("numpy", "scipy", "pandas", "anndata", "scanpy", "scikit-learn", "scikit-misc", "torch", "matplotlib")
# alignments, reads and viewer files that lie beside a Space Ranger matrix; no reader opens them, and they are huge
NEVER_READ = (".bam", ".bai", ".cram", ".crai", ".fastq.gz", ".cloupe", ".vloupe")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class RunRecord:
    """Facts about one run, collected while it runs."""

    command: str
    arguments: dict[str, Any]
    started: str = field(default_factory=_now)
    stages: Stages = field(default_factory=Stages)
    _start: float = field(default_factory=time.perf_counter)

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Add the time that the block takes to a stage, without that of stages in it."""
        return self.stages.stage(name)

    def add(self, timings: Mapping[str, float]) -> None:
        """Add the seconds that stages took elsewhere."""
        for name, seconds in timings.items():
            self.stages.add(name, seconds)

    def finish(self, *, warnings: Sequence[str], **facts: Any) -> dict[str, Any]:
        """Return the content of ``run.json``: the given facts, and those that every run has.

        A stage that is still running counts up to now; ``other`` is the time in no stage.
        """
        wall, timings = time.perf_counter() - self._start, self.stages.seconds()
        timings["other"] = max(0.0, wall - sum(timings.values()))
        return {
            "version": histoquilt.__version__,
            "command": self.command,
            "arguments": self.arguments,
            **facts,
            "started": self.started,
            "finished": _now(),
            "wall_s": round(wall, 3),
            "peak_rss_mb": peak_rss_mb(),
            "threads": threads_in_use(),
            "processes": n_processes(),
            "timings": {stage: round(seconds, 3) for stage, seconds in timings.items()},
            "warnings": list(warnings),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": package_versions(PACKAGES),
        }


@contextmanager
def capture_warnings() -> Iterator[list[str]]:
    """Collect warnings, and warnings in the library's log, of the block, each once; they are still shown.

    Yields
    ------
    The warnings so far, each on one line.
    """
    captured: list[str] = []

    def keep(text: str) -> None:
        flat = " ".join(text.split())
        if flat not in captured and not flat.startswith(IGNORED):
            captured.append(flat)

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            keep(record.getMessage())

    handler = Handler(logging.WARNING)
    logger.addHandler(handler)
    try:
        with python_warnings.catch_warnings():
            show_before = python_warnings.showwarning

            def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
                if not issubclass(category, FOR_DEVELOPERS):
                    keep(str(message))
                show_before(message, category, *place, **more)

            python_warnings.simplefilter("always")
            python_warnings.showwarning = show
            yield captured
    finally:
        logger.removeHandler(handler)


def plain(value: Any) -> Any:
    """Return an argument as a JSON value."""
    if isinstance(value, PathLike):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def package_versions(names: Sequence[str]) -> dict[str, str | None]:
    """Return installed versions without importing anything; None where a package is absent.

    Examples
    --------
    >>> import histoquilt as hq
    >>> versions = hq.jobs.package_versions(["numpy", "no-such-package"])
    >>> versions["numpy"][0] >= "2", versions["no-such-package"]
    (True, None)
    """
    return {name: _version(name) for name in names}


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def peak_rss_mb() -> float | None:
    """Return the most memory this process has held, in MB (2**20 bytes); None where the system does not say."""
    peak = peak_bytes()
    return None if peak is None else round(peak / 2**20, 1)


def sha256(path: Path) -> str:
    """Return the digest of a file, or of a folder: of the names and digests of the files in it.

    Alignments and reads, which lie beside a Space Ranger matrix and are never read, are left out.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "a.txt").write_text("abc")
    3
    >>> sha256(folder / "a.txt")[:8]
    'ba7816bf'
    >>> before = sha256(folder)
    >>> _ = (folder / "reads.bam").write_text("huge")
    >>> sha256(folder) == before
    True
    """
    if path.is_dir():
        whole = hashlib.sha256()
        for file in sorted(path.rglob("*")):
            if file.is_file() and not file.name.endswith(NEVER_READ):
                whole.update(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n".encode())
        return whole.hexdigest()
    return file_sha256(path)
