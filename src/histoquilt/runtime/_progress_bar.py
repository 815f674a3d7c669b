"""The progress bar."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Function that advances a progress bar."""

    def __call__(self, steps: int = 1, *, note: str = "") -> None:
        """Advance by ``steps`` and show ``note``."""
        ...


@contextmanager
def progress_bar(description: str, total: int | None, *, enabled: bool = True) -> Iterator[Advance]:
    """Show a progress bar on stderr, if that is a terminal, and yield a function ``advance(steps=1, *, note="")``."""
    if not enabled or not sys.stderr.isatty():
        yield lambda steps=1, *, note="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(steps: int = 1, *, note: str = "") -> None:
            bar.update(task, advance=steps, note=note)

        yield advance
