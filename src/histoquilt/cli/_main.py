"""Entry point: run one command; every error becomes an exit code and at most one line."""

import gc
import io
import os
import signal
import sys
import threading
import traceback
from _thread import interrupt_main
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import typer

from histoquilt._base import at_a_command, close_matches, printable
from histoquilt.cli._app import Stopped, app
from histoquilt.jobs import WriteError, one_line
from histoquilt.runtime import is_main, n_processes, rank

INTERRUPTED = 130  # what shells report for a program that ended on Ctrl-C
TERMINATED = 143


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the program and leave the interpreter with its exit code.

    A termination signal, which is how workflow engines and schedulers stop a job, unwinds like Ctrl-C does, so that
    temporary folders are removed.

    Examples
    --------
    >>> import subprocess, sys
    >>> done = subprocess.run([sys.executable, "-m", "histoquilt", "domians"], capture_output=True, text=True)
    >>> done.returncode  # as of any wrong argument
    2
    """
    if argv is None:
        _in_utf8()
    signal.signal(signal.SIGTERM, _unwind)
    sys.unraisablehook = _stop_again
    # threads that wait for each other by spinning take twice as long and more where another program uses one of the
    # cores; read when torch is loaded, which no command has done yet
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code = run(sys.argv[1:] if argv is None else argv)
    if code:
        # HDF5 files that could not be closed, as on a full disk, crash the interpreter on its way out, which would hide
        # the exit code; everything that needed cleaning up has been
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Run one command line.

    Parameters
    ----------
    argv
        Arguments without the program's name. ``--debug`` is understood anywhere among them.

    Returns
    -------
    0 on success, 2 after an error, which is printed on stderr, 130 after an interruption.

    Examples
    --------
    >>> run(["domains", "nowhere.h5ad", "--n-domains", "0", "--out", "results"])
    2
    """
    hooks = sys.excepthook, sys.unraisablehook
    try:
        with at_a_command():
            return _run(argv)
    finally:
        if (sys.excepthook, sys.unraisablehook) != hooks:  # a write failed
            gc.collect()
            sys.excepthook, sys.unraisablehook = hooks


def _run(argv: Sequence[str]) -> int:
    arguments = [argument for argument in argv if argument != "--debug"]
    debug = len(arguments) < len(argv) or os.environ.get("HISTOQUILT_DEBUG", "") not in ("", "0")
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="histoquilt", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Stopped as stopped:
        print(f"histoquilt: {stopped}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, WriteError):
            # open HDF5 files report the failed write again, each with a traceback, when they are released
            sys.excepthook = sys.unraisablehook = _say_nothing
        if debug:
            traceback.print_exc()
        which = f" (process {rank()} of {n_processes()})" if n_processes() > 1 else ""
        print(printable(f"histoquilt{which}: {_message(error)}"), file=sys.stderr)
        return 2
    if code == INTERRUPTED and is_main():
        print("histoquilt: interrupted; nothing was written.", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _message(error: Exception) -> str:
    if hasattr(error, "format_message"):  # errors of the command line's parser
        return " ".join(f"{_parser_message(error)} Try 'histoquilt --help'.".split())
    return one_line(error)


def _parser_message(error: Any) -> str:
    """Return the message of the parser; of options that an unknown one may mean the nearest, as it names far ones."""
    text = str(error.format_message())
    if known := getattr(error, "possibilities", None):
        names = {option.lstrip("-"): option for option in known}
        near = close_matches(error.option_name.lstrip("-"), names)
        text = f"{error.message}. Did you mean {names[near[0]]}?" if near else str(error.message)
    return text if text.endswith((".", "?")) else f"{text}."


def _say_nothing(*arguments: Any) -> None:
    """Replace the hooks that print tracebacks."""


def _in_utf8() -> None:
    """Restart the interpreter in UTF-8 mode if the locale is ASCII or similar, in which file names cannot be read.

    Names with other letters could not be opened or written there. Workers inherit the mode.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an ASCII terminal gets escapes
            stream.reconfigure(errors="backslashreplace")
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1" or not sys.executable:
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONUTF8": "1"})


def _stop_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Repeat a signal to stop whose exception was lost.

    Python drops whatever is raised while it calls a destructor or the callback of a weak reference, and a signal may
    arrive at that moment.
    """
    lost = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}.get(unraisable.exc_type)
    if lost is None:
        sys.__unraisablehook__(unraisable)
        return
    again = threading.Timer(0.1, interrupt_main, (lost,))
    again.daemon = True
    again.start()


def _unwind(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)
