"""A run of a job: its record, workers and working folder, and one input after another."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histoquilt._base import argument
from histoquilt.jobs.work._errors import JobError, WriteError, one_line, writing
from histoquilt.jobs.work._options import OutputConfig
from histoquilt.jobs.work._output import write_record
from histoquilt.jobs.work._record import RunRecord, capture_warnings, plain
from histoquilt.jobs.work._resume import Work, read_record, workplace
from histoquilt.runtime import Workers, logger, n_processes, progress_bar, run_each, use_threads, warn_user

OnChecked = Callable[[], None]


@dataclass(frozen=True)
class JobResult:
    """Results folder of a finished job.

    Attributes
    ----------
    out
        Path of the folder.
    facts
        Content of its ``run.json``.
    already_done
        True if the folder was complete before, so that nothing was done (``resume``).

    Examples
    --------
    >>> from pathlib import Path
    >>> import histoquilt as hq
    >>> done = hq.jobs.JobResult(Path("results"), {"seed": 0}, already_done=True)
    >>> done.out.name, done.facts["seed"], done.already_done
    ('results', 0, True)
    """

    out: Path
    facts: dict[str, Any]
    already_done: bool = False


@dataclass
class Run:
    """A run in progress."""

    config: OutputConfig  # Options of the job
    out: Path  # Output folder
    record: RunRecord  # Content of ``run.json`` so far
    warnings: list[str]  # Warnings so far
    work: Work  # Working folder
    on_checked: OnChecked | None = None  # Called once all inputs are checked
    workers: Workers | None = None  # Dask workers, if there are any

    @property
    def kept(self) -> Path | None:
        """Folder in which finished work survives a failure; None if the run is not resumable."""
        return self.work.folder if self.work.kept else None

    def checked(self) -> None:
        """Report that all inputs are checked."""
        if self.on_checked is not None:
            self.on_checked()

    def done_before(self, job: str) -> dict[str, Any] | None:
        """Return the record of complete results of the same job, or raise if others are in the way."""
        if self.work.is_done(job):
            return read_record(self.out)
        self.work.refuse_others(overwrite=self.config.overwrite)
        return None

    @contextmanager
    def results(self, files: Sequence[Path] = ()) -> Iterator[Path]:
        """Yield the folder that becomes the output folder; ``files`` are finished ones to link into it."""
        with (
            writing(self.out, kept=self.kept),
            self.work.results(files, overwrite=self.config.overwrite) as folder,
            self.record.stage("write"),
        ):
            yield folder

    def finish(self, folder: Path, facts: Mapping[str, Any], job: str | None = None) -> dict[str, Any]:
        """Write ``run.json`` and return its content."""
        return write_record(folder, self.facts(**facts), job)

    def facts(self, **facts: Any) -> dict[str, Any]:
        """Return the given facts with those that every run has."""
        return self.record.finish(warnings=self.warnings, **facts)


@contextmanager
def start_run(
    command: str, places: Mapping[str, Any], config: OutputConfig, on_checked: OnChecked | None = None
) -> Iterator[Run]:
    """Yield a run, with its warnings captured, on the number of threads asked for.

    ``places`` are the inputs and ``out`` of the job, for its record.
    """
    out: Path = places["out"]
    resume, threads = (getattr(config, name, None) for name in ("resume", "threads"))
    arguments = {name: plain(value) for name, value in {**places, **vars(config)}.items()}
    record = RunRecord(command, arguments)
    with ExitStack() as stack:
        warnings = stack.enter_context(capture_warnings())
        work = stack.enter_context(workplace(out, resume=bool(resume)))
        stack.enter_context(use_threads(threads))
        yield Run(config, out, record, warnings, work, on_checked)


def check_one_process(command: str) -> None:
    """Raise if several processes would do the work of a command several times.

    Examples
    --------
    >>> from histoquilt.jobs import check_one_process
    >>> check_one_process("predict")  # one process: nothing happens
    """
    if n_processes() > 1:
        raise JobError(
            f"torchrun shares the training of 'domains' among processes; '{command}' runs in one. Start it without "
            "torchrun."
        )


def run_jobs(
    function: Callable[..., dict[str, Any]], jobs: Mapping[str, tuple[Any, ...]], run: Run, *, skip_bad: bool
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Run one job per input; skip finished jobs and continue past failures.

    Parameters
    ----------
    function
        Function that does one job: it is called with the job's arguments, writes the files of its item, and returns
        facts, among them ``warnings`` and optionally ``timings``.
    jobs
        Name -> arguments, of which the first is the :class:`~histoquilt.jobs.work._resume.Item`.
    run
        The run, whose workers are used if it has some.
    skip_bad
        If true, leave out jobs that fail, with a warning.

    Returns
    -------
    Name -> facts of the finished jobs, and name -> error of the failed ones.

    Raises
    ------
    JobError
        Jobs failed; all are named. With ``skip_bad`` only if none is left.
    WriteError
        Results cannot be written.
    """
    facts = {name: known for name, (item, *_) in jobs.items() if (known := item.finished()) is not None}
    if facts:
        logger.info("%d of %d are finished, by an earlier run, and not done again.", len(facts), len(jobs))
    for known in facts.values():
        for warning in known["warnings"]:
            warn_user(warning)
    failed: dict[str, str] = {}
    cause: BaseException | None = None
    left = {name: job for name, job in jobs.items() if name not in facts}
    with progress_bar("Inputs", len(left), enabled=run.workers is not None and run.config.progress) as advance:
        for outcome in run_each(function, left, workers=run.workers):
            name, error = outcome.name, outcome.error
            if isinstance(error, WriteError):
                raise error
            if error is not None:
                failed[name], cause = _with_name(name, one_line(error)), cause or error
            else:
                facts[name] = outcome.value
                run.record.add(outcome.value.get("timings", {}))
            advance(note=name)
    failed = {name: failed[name] for name in jobs if name in failed}  # workers finish in any order
    if failed and (not skip_bad or not facts):
        raise JobError(_failures(failed, len(jobs), run.work, skip_bad=skip_bad)) from cause
    for problem in failed.values():
        warn_user(f"left out: {problem}")
    return {name: facts[name] for name in jobs if name in facts}, failed


def joined(problems: Mapping[str, str]) -> str:
    """Return problems as one text, without a full stop at its end."""
    return "; ".join(problem.rstrip(". ") for problem in problems.values())


def _with_name(name: str, problem: str) -> str:
    return problem if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", problem) else f"{name}: {problem}"


def _failures(failed: Mapping[str, str], n_jobs: int, work: Work, *, skip_bad: bool) -> str:
    if n_jobs == 1:
        return next(iter(failed.values()))
    head = f"{len(failed)} of {n_jobs} inputs failed: {joined(failed)}."
    if skip_bad:
        return f"{head} Nothing is left."
    without = argument("skip_bad", True)
    if work.kept:
        kept = f" The others are finished and kept in {work.folder}." if len(failed) < n_jobs else ""
        return f"{head}{kept} Correct this and run the same command again, or go on without: {without}."
    return (
        f"{head} Nothing was written. Go on without: {without}; or keep what gets finished: {argument('resume', True)}."
    )
