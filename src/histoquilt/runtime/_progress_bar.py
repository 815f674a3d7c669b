"""The progress bar."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """What a progress bar gives to its user: a function that moves it on."""

    def __call__(self, steps: int = 1, *, note: str = "") -> None:
        """Move the bar by ``steps`` and show ``note`` beside it."""
        ...


@contextmanager
def progress_bar(description: str, total: int | None, *, enabled: bool = True) -> Iterator[Advance]:
    """Show a progress bar on stderr while the block runs; silent where stderr is no terminal.

    Yields
    ------
    A function ``advance(steps=1, *, note="")``.
    """
    if not enabled or not sys.stderr.isatty():
        yield _no_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(steps: int = 1, *, note: str = "") -> None:
            bar.update(task, advance=steps, note=note)

        yield advance


def _no_progress(steps: int = 1, *, note: str = "") -> None:
    """Take the place of a bar where there is no terminal."""
