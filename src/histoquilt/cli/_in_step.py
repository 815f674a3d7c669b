"""One command in several processes, as ``torchrun`` starts them: all compute, the first one writes and prints."""

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Any

from histoquilt.cli._errors import CommandError
from histoquilt.runtime import is_main, n_processes

SHARED = "domains"  # the command whose training several processes can share


def check_command(command: str) -> None:
    """Raise where several processes would do the work of a command several times over."""
    if n_processes() > 1 and command != SHARED:
        raise CommandError(
            f"torchrun shares the training of '{SHARED}' among processes; '{command}' runs in one. Start it without "
            "torchrun."
        )


def in_step(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command ``(inputs, out, **options)`` safe to run in several processes.

    All processes but the first print nothing and write to a scratch folder.

    Raises
    ------
    CommandError
        Raised by the wrapped command if ``resume`` is set (work kept by one process is unknown to the others), or
        ``dask``.
    """

    @wraps(command)
    def run(inputs: Sequence[Path], out: Path, **options: Any) -> None:
        if n_processes() == 1:
            command(inputs, out, **options)
            return
        if options.get("resume"):
            raise CommandError(
                "--resume keeps the work of one process, and torchrun started several. Leave --resume out, or run "
                "without torchrun."
            )
        if options.get("dask"):
            raise CommandError(
                "--dask and torchrun both divide the work among processes. Use --dask for several sections, torchrun "
                "for one that is large."
            )
        if is_main():
            command(inputs, out, **options)
            return
        with (
            tempfile.TemporaryDirectory(prefix="histoquilt-") as scratch,
            Path(os.devnull).open("w", encoding="utf-8") as nowhere,
            redirect_stdout(nowhere),
            redirect_stderr(nowhere),
        ):
            command(inputs, Path(scratch) / "out", **options)

    return run
