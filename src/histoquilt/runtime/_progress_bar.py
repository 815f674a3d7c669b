"""The progress bar."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from histoquilt.runtime._log import logger

SECONDS_BETWEEN_LINES = 10.0


class Advance(Protocol):
    """Function that advances a progress bar.

    Examples
    --------
    >>> from histoquilt.runtime import Advance, progress_bar
    >>> def train(n_epochs: int, advance: Advance) -> int:
    ...     for epoch in range(n_epochs):
    ...         advance(note=f"epoch {epoch}")
    ...     return n_epochs
    >>> with progress_bar("Training", 3, enabled=False) as advance:
    ...     train(3, advance)
    3
    """

    def __call__(self, steps: int = 1, *, note: str = "") -> None:
        """Advance by ``steps`` and show ``note``."""
        ...


@contextmanager
def progress_bar(description: str, total: int | None, *, enabled: bool = True) -> Iterator[Advance]:
    """Show a progress bar on stderr, or log a line now and then if stderr is not a terminal.

    Yields a function ``advance(steps=1, *, note="")``.

    Examples
    --------
    >>> from histoquilt.runtime import progress_bar
    >>> with progress_bar("Embedding", total=300, enabled=False) as advance:
    ...     for batch in (100, 200):
    ...         advance(batch, note=f"{batch} patches")
    """
    if not enabled:
        yield lambda steps=1, *, note="": None
        return
    if not sys.stderr.isatty():
        yield _logged_progress(description, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(steps: int = 1, *, note: str = "") -> None:
            bar.update(task, advance=steps, note=note)

        yield advance


def _logged_progress(description: str, total: int | None) -> Advance:
    """Return a function that logs the progress, at most once in ``SECONDS_BETWEEN_LINES``."""
    done, last = 0, time.monotonic()

    def advance(steps: int = 1, *, note: str = "") -> None:
        nonlocal done, last
        done += steps
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            step = f"step {done:,}" if total is None else f"{done:,} of {total:,}"
            logger.info("%s: %s%s", description, step, f", {note}" if note else "")

    return advance
