"""The work of a run, one input after another: what is finished is passed over, what fails does not stop the rest."""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from histoquilt.cli._console import Console
from histoquilt.cli._errors import CommandError, WriteError, one_line
from histoquilt.cli._progress import Work
from histoquilt.cli._record import RunRecord
from histoquilt.runtime import Workers, logger, progress_bar, run_each, warn_user


def carry_out(
    function: Callable[..., dict[str, Any]],
    jobs: Mapping[str, tuple[Any, ...]],
    work: Work,
    console: Console,
    record: RunRecord,
    *,
    skip_bad: bool,
    workers: Workers | None = None,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Do every job that is not finished yet.

    Parameters
    ----------
    function
        Does one job: called with its arguments, writes the files of its item, returns facts, with
        ``warnings`` and maybe ``timings`` among them.
    jobs
        Name -> arguments, of which the first is the :class:`~histoquilt.cli._progress.Item`.
    work
        Where finished ones wait.
    console
        Told the warnings of every job, those of jobs that were finished by an earlier run first.
    record
        Told the ``timings`` of the jobs that are done now.
    skip_bad
        Leave out what fails, with a warning.
    workers
        Where to work; by default here.

    Returns
    -------
    Name -> facts of the finished jobs, and name -> why one failed.

    Raises
    ------
    CommandError
        Jobs failed, all of which are named; with ``skip_bad`` only where none is left.
    WriteError
        Results cannot be written.
    """
    facts = {name: found for name, (item, *_) in jobs.items() if (found := item.finished()) is not None}
    if facts:
        logger.info("%d of %d are finished, by an earlier run, and not done again.", len(facts), len(jobs))
    for found in facts.values():
        _tell(console, found)
    failed: dict[str, str] = {}
    cause: BaseException | None = None
    left = {name: job for name, job in jobs.items() if name not in facts}
    shown = workers is not None and console.level <= logging.INFO
    with progress_bar("Inputs", len(left), enabled=shown) as advance:
        for outcome in run_each(function, left, workers=workers):
            name, error = outcome.name, outcome.error
            if isinstance(error, WriteError):
                raise error
            if error is not None:
                failed[name], cause = _named(name, one_line(error)), cause or error
            else:
                facts[name] = outcome.value
                record.add(outcome.value.get("timings", {}))
                _tell(console, outcome.value)
            advance(note=name)
    failed = {name: failed[name] for name in jobs if name in failed}  # workers finish in any order
    if failed and (not skip_bad or not facts):
        raise CommandError(_what_failed(failed, len(jobs), work, skip_bad=skip_bad)) from cause
    for problem in failed.values():
        warn_user(f"left out: {problem}")
    return {name: facts[name] for name in jobs if name in facts}, failed


def _named(name: str, problem: str) -> str:
    return problem if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", problem) else f"{name}: {problem}"


def _tell(console: Console, facts: Mapping[str, Any]) -> None:
    for warning in facts["warnings"]:
        console.warn(warning)


def _what_failed(failed: Mapping[str, str], n_jobs: int, work: Work, *, skip_bad: bool) -> str:
    if n_jobs == 1:
        return next(iter(failed.values()))
    listed = "; ".join(problem.rstrip(". ") for problem in failed.values())
    head = f"{len(failed)} of {n_jobs} inputs failed: {listed}."
    if skip_bad:
        return f"{head} Nothing is left."
    if work.kept:
        kept = f" The others are finished and kept in {work.folder}." if len(failed) < n_jobs else ""
        return f"{head}{kept} Correct this and run the same command again, or go on without: --skip-bad."
    return f"{head} Nothing was written. Go on without: --skip-bad; or keep what gets finished: --resume."
