"""Errors on the command line are one line: what is wrong, and what to do."""

import errno
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

from histoquilt.runtime import WorkerError

REPORT = "This may be a fault in histoquilt: run again with --debug and report what it prints."

# the library's errors speak of its arguments, "pass spatial_key="; here they are options
ARGUMENT = re.compile(
    r"\b(counts_file|denoise|encoder|keep_all_spots|label_key|layer|links|mpp|n_genes|one_section|pitch_um|section_key|"
    r"skip_bad|spatial_key|table|use_rep)="
    r"(True\b|'(?P<text>[^']+)'|(?P<number>\d[\d.]*\d|\d)|(?=$|[\s,;)]|\.(?!\.)))"
)
# and what they advise about memory
ADVICE = {
    re.compile(r'(adata\.layers\["counts"\] = adata\.raw\.X|adata = adata\.raw\.to_adata\(\))(?! \(in)'): (
        r"\1 (in Python; write the file again with adata.write_h5ad)"
    ),
    re.compile(r"\bpass check_memory=False"): "pass --ignore-memory",
    re.compile(r"\bkeep_all_spots=True \(--keep-all-spots\)"): "--keep-all-spots",
    re.compile(r"\bname it with selection=, or read"): "give yours that name, or read",
    re.compile(r"\bChoose with bin_size="): "Give the folder of one of them",
    re.compile(r"\bor read without images: load_images=False"): "or move it elsewhere to read without it",
    re.compile(r"\bpass image_scale="): "fill the column image_scale of a samples.csv",
    re.compile(r"\bPass mpp= to histoquilt\.io\.attach_image"): "Pass --mpp",
    re.compile(r", or pass (?:denoised_key|domain_key|graph_key)="): "",
    re.compile(r"\bprotocol='(\w+)'"): r"--protocol \1",
    re.compile(r"\bPass image_scale= \(the column image_scale of samples\.csv\)"): (
        "Fill the column image_scale of samples.csv"
    ),
    re.compile(r"\bset pitch_um= higher"): "set --pitch-um higher",
    re.compile(r"\bdenoise=False"): "--denoise none",
    re.compile(r"\bcall histoquilt\.io\.declare_one_section\(adata\)"): "pass --one-section",
    re.compile(r"\bSpaMaskConfig\((\w+)=(\w+)\)"): r'{"\1": \2} in the file of --config',
}
COLUMNS = re.compile(r"\bread the file with spatial_columns=(.+?) \(from Python: .*?\)\.$")
CALL = re.compile(r"(\b\w+(?:\.\w+)+\([^()]*\))")
BY = re.compile(r"\bleave out by='(\w+)'")

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
    # a KeyError's str() is the repr of its message
    message = str(error.args[0]) if error.args and isinstance(error, KeyError) else str(error)
    if _is_ours(error):
        return _flat(in_options(message))
    return _flat(f"unexpected {type(error).__name__}: {message}. {REPORT}")


def in_options(message: str) -> str:
    """Return a message of the library with its arguments named as options of the command.

    Examples
    --------
    >>> in_options("a.zarr has 2 tables. Choose one with table=.")
    'a.zarr has 2 tables. Choose one with --table.'
    >>> in_options("to read it pass counts_file='my raw.h5'.")
    "to read it pass --counts-file 'my raw.h5'."
    """
    message = BY.sub(r"use --leave-out \1", message)
    for advice, as_option in ADVICE.items():
        message = advice.sub(as_option, message)
    message = COLUMNS.sub(lambda found: f"--spatial-columns {shlex.quote(found[1])}.", message)
    # a call, like histoquilt.io.read_table(counts, unit=...), is Python and stays so
    pieces = CALL.split(message)
    pieces[::2] = [ARGUMENT.sub(_as_option, piece) for piece in pieces[::2]]
    return "".join(pieces)


def _as_option(found: re.Match[str]) -> str:
    """Return the option for an argument, with its value where it has one."""
    option = "--" + found[1].replace("_", "-")
    value = shlex.quote(found["text"]) if found["text"] else found["number"]
    return f"{option} {value}" if value else option


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
