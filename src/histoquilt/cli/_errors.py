"""Errors on the command line are one line: what is wrong, and what to do."""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

from histoquilt._base import message_of
from histoquilt.runtime import WorkerError

REPORT = "This may be a fault in histoquilt: run again with --debug and report what it prints."

# h5py and others report a failed write as text, with the number inside
ERRNO_IN_TEXT = re.compile(r"errno\s*=?\s*(\d+)", re.IGNORECASE)


class CommandError(Exception):
    """An error that is told to the user word for word."""


class WriteError(CommandError):
    """Results could not be written, so that going on with the next input helps nobody."""


class Interrupted(BaseException):
    """Ctrl-C in the middle of work that is kept; says how to go on."""


def one_line(error: BaseException) -> str:
    """Return the message for an error, on one line.

    An error that histoquilt raised itself, or the command-line parser, speaks for itself. One that comes out of another
    package unforeseen is named with its type, together with how to report it.

    Examples
    --------
    >>> one_line(CommandError("no such section;  choose another"))
    'no such section; choose another'
    """
    if hasattr(error, "format_message"):  # the parser's own errors, whichever click they come from
        return _flat(f"{error.format_message()} Try 'histoquilt --help'.")
    if isinstance(error, MemoryError):
        return "not enough memory for this section. Use fewer spots or genes, or a machine with more."
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return _flat(f"{where}{error.strerror}.")
    if _is_ours(error):
        return _flat(message_of(error))
    return _flat(f"unexpected {type(error).__name__}: {message_of(error)}. {REPORT}")


@contextmanager
def about(subject: str | os.PathLike[str]) -> Iterator[None]:
    """Name the input that an error inside the block is about."""
    try:
        yield
    except Exception as error:
        message = one_line(error)
        raise CommandError(message if str(subject) in message else f"{subject}: {message}") from error


@contextmanager
def writing(folder: Path, *, kept: Path | None = None) -> Iterator[None]:
    """Say what to do when results cannot be written; ``kept`` is where finished work outlives that."""
    try:
        yield
    except (FileExistsError, WriteError):
        raise
    except Exception as error:
        number = _errno(error)
        if number is None:
            raise
        # open HDF5 files report the failed write again, with a traceback for each object, whenever they are let go
        sys.excepthook = sys.unraisablehook = _say_nothing
        hint = "Free some space" if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "Check its permissions"
        left = "nothing was left behind" if kept is None else f"what is finished is kept in {kept}"
        raise WriteError(
            f"the results could not be written to {folder}: {os.strerror(number)}. {hint}, or choose another --out; "
            f"{left}."
        ) from error


def _say_nothing(*arguments: Any) -> None:
    """Stand in for the hooks that print tracebacks."""


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
    if isinstance(error, CommandError | ImportError | WorkerError):
        return True
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__", "")).split(".")[0] == "histoquilt"


def _flat(text: str) -> str:
    return " ".join(text.split())
