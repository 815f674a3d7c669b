"""Errors of jobs: one line that says what is wrong, and what to do."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb

from histoquilt._base import argument, is_at_a_command, message_of
from histoquilt.runtime import WorkerError

# h5py and others report a failed write as text, with the number inside
ERRNO_IN_TEXT = re.compile(r"errno\s*=?\s*(\d+)", re.IGNORECASE)


class JobError(ValueError):
    """A job cannot be done: an argument, an input or the output folder is wrong, or inputs failed.

    Examples
    --------
    >>> import histoquilt as hq
    >>> try:
    ...     hq.jobs.TrainConfig(method="rigde")
    ... except hq.jobs.JobError as error:
    ...     print(hq.jobs.one_line(error).split(" Known")[0])
    method: Unknown expression model 'rigde'. Did you mean 'ridge'?
    """


class WriteError(JobError):
    """Results cannot be written; the remaining inputs are not tried.

    Examples
    --------
    >>> import histoquilt as hq
    >>> try:
    ...     raise hq.jobs.WriteError("results/s1.h5ad cannot be written. Free some space.")
    ... except hq.jobs.JobError as error:
    ...     print(error)
    results/s1.h5ad cannot be written. Free some space.
    """


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during resumable work; the message says how to resume.

    Examples
    --------
    >>> import histoquilt as hq
    >>> try:
    ...     raise hq.jobs.Interrupted("Interrupted. Run the same command with --resume to continue.")
    ... except KeyboardInterrupt as stop:
    ...     print(stop)
    Interrupted. Run the same command with --resume to continue.
    """


def one_line(error: BaseException) -> str:
    """Return the message of an error, on one line.

    The message of an error that histoquilt raised is returned as it is. An unforeseen error of another package is named
    with its type, together with how to report it.

    Examples
    --------
    >>> one_line(JobError("no such section;  choose another"))
    'no such section; choose another'
    """
    if isinstance(error, MemoryError):
        return "not enough memory for this section. Use fewer spots or genes, or a machine with more."
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return _flat(f"{where}{error.strerror}.")
    if _is_ours(error):
        return _flat(message_of(error))
    debug = "run again with --debug and report what it prints"
    report = debug if is_at_a_command() else "report it with its traceback"
    return _flat(
        f"unexpected {type(error).__name__}: {message_of(error)}. This may be a fault in histoquilt: {report}."
    )


@contextmanager
def about(subject: str | os.PathLike[str]) -> Iterator[None]:
    """Prefix errors of the block with the input they concern."""
    try:
        yield
    except Exception as error:
        message = one_line(error)
        raise JobError(message if str(subject) in message else f"{subject}: {message}") from error


@contextmanager
def writing(folder: Path, *, kept: Path | None = None) -> Iterator[None]:
    """Turn failed writes of the block into :class:`WriteError`; ``kept`` is where finished work remains."""
    try:
        yield
    except (FileExistsError, WriteError):
        raise
    except Exception as error:
        number = _errno(error)
        if number is None:
            raise
        hint = "Free some space" if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "Check its permissions"
        left = "nothing was left behind" if kept is None else f"what is finished is kept in {kept}"
        raise WriteError(
            f"the results could not be written to {folder}: {os.strerror(number)}. {hint}, or choose another "
            f"{argument('out')}; {left}."
        ) from error


def _errno(error: BaseException | None) -> int | None:
    """Find the operating system's error number in an error or in what caused it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        found = ERRNO_IN_TEXT.search(str(error)) if isinstance(error, OSError | RuntimeError | ValueError) else None
        if found:
            return int(found.group(1))
        error = error.__cause__ or error.__context__
    return None


def _is_ours(error: BaseException) -> bool:
    """Whether an error was raised by a line of histoquilt, not by a package below it."""
    if isinstance(error, JobError | ImportError | WorkerError):
        return True
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__", "")).split(".")[0] == "histoquilt"


def _flat(text: str) -> str:
    return " ".join(text.split())
