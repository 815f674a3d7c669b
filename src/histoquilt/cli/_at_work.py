"""What ``domains`` and ``predict`` work with, one input at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from histoquilt.cli._console import Console, told
from histoquilt.cli._inputs import is_samples_table
from histoquilt.cli._progress import Work, workplace
from histoquilt.runtime import Workers, connect, use_threads


@contextmanager
def at_work(
    inputs: Sequence[Path], out: Path, *, quiet: bool, dask: str | None, resume: bool, threads: int | None
) -> Iterator[tuple[Console, Workers | None, Work]]:
    """Yield what hears warnings, the workers of ``--dask``, and the folder to work in; on so many threads."""
    at_most = None if is_samples_table(inputs[0]) else len(inputs)  # a table may name any number
    with (
        told(quiet=quiet) as console,
        connect(dask, at_most=at_most) as workers,
        workplace(out, resume=resume) as work,
        use_threads(threads),
    ):
        yield console, workers, work
