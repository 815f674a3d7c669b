"""Options of a job: fields of frozen dataclasses, from which the command line is generated."""

import inspect
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from histoquilt._base import EXPORTERS, ReadOptions, Registry, argument, check_option_names, close_matches
from histoquilt.jobs.work._errors import JobError

PathName = str | PathLike[str]
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Option:
    """Declaration of a field for the command line and the documentation.

    Examples
    --------
    >>> from histoquilt.jobs import JobError, Option
    >>> speed = Option("One of {choices}.", choices=("fast", "slow"))
    >>> speed.text
    'One of fast, slow.'
    >>> try:
    ...     speed.check("speed", "medium")
    ... except JobError as error:
    ...     print(error)
    speed= is fast or slow, got 'medium'.
    """

    help: str  # Help text; ``{choices}`` stands for the names of ``choices``
    doc: str = ""  # Text for the class's documentation, if it is not ``help``
    flag: str = ""  # Flag that sets a field to false that is true by default, ``"--quiet"``
    short: str = ""  # Short form of the option, ``"-k"``
    metavar: str | None = None  # Placeholder of the value
    choices: Registry | Sequence[str] | None = None  # Names to choose from
    separated: bool = False  # If true, the value holds several of them, separated by commas
    negatable: bool = False  # If true, the flag also has a ``--no-`` form
    repeatable: bool = False  # If true, the option may be given several times
    least: int | None = None  # Range of a number
    most: int | None = None
    positive: bool = False  # If true, the number must be positive and finite
    is_path: bool = False  # If true, the value becomes a Path
    show_default: bool = True  # If true, the help shows the default

    @property
    def text(self) -> str:
        """Help text with the names to choose from."""
        names = self.choices.names() if isinstance(self.choices, Registry) else self.choices
        return self.help if names is None else self.help.format(choices=", ".join(names))

    def check(self, name: str, value: Any) -> None:
        """Raise :class:`JobError` unless a value is one of the choices and in the range."""
        called = argument(name)
        if self.choices is not None:
            for choice in comma_separated(value, name) if self.separated else [value]:
                _check_choice(called, choice, self.choices)
        if self.positive and not 0 < value < math.inf:
            raise JobError(f"{called} must be positive, got {value}.")
        if self.least is not None and (
            isinstance(value, bool) or not isinstance(value, Integral) or value < self.least
        ):
            raise JobError(f"{called} must be a whole number of at least {self.least}, got {value!r}.")
        if self.most is not None and value > self.most:
            raise JobError(f"{called} must be at most {self.most}, got {value}.")


def _check_choice(called: str, choice: str, choices: Registry | Sequence[str]) -> None:
    if choice in choices:
        return
    if isinstance(choices, Registry):
        raise JobError(f"{called.removesuffix('=')}: {choices.unknown(choice)}")
    near = close_matches(choice, choices)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise JobError(f"{called} is {', '.join(choices[:-1])} or {choices[-1]}, got {choice!r}.{hint}")


def option(default: Any, help: str, **more: Any) -> Any:
    """Return a dataclass field that is an option of a command; ``more`` are fields of :class:`Option`."""
    return field(default=default, metadata={"option": Option(help, **more)})


def options_of(config: type) -> Iterator[tuple[Field[Any], Option]]:
    """Yield the fields that are options, those of the class itself before those of its bases.

    Examples
    --------
    >>> import histoquilt as hq
    >>> [(field.name, option.short) for field, option in hq.jobs.options_of(hq.jobs.RunConfig)]
    [('device', ''), ('overwrite', ''), ('progress', '-q')]
    """
    by_name = {one.name: one for one in fields(config)}
    for base in config.__mro__:
        for name in inspect.get_annotations(base):
            if name in by_name:
                one = by_name.pop(name)
                yield one, one.metadata["option"]


_Config = TypeVar("_Config", bound="OutputConfig")


def documented(config: type[_Config]) -> type[_Config]:
    """Add the options to the docstring of a class."""
    lines = [
        f"{one.name}\n    {known.doc or known.text} Default: ``{one.default!r}``." for one, known in options_of(config)
    ]
    text, heading, examples = inspect.cleandoc(config.__doc__ or "").partition("\n\nExamples\n")
    config.__doc__ = "\n".join([text, "", "Attributes", "----------", *lines]) + f"{heading}{examples}\n"
    return config


def configured(config: type[_Config], settings: _Config | None, options: dict[str, Any]) -> _Config:
    """Return settings in which ``options`` replace the defaults, or what ``settings`` says.

    Raises
    ------
    TypeError
        An option does not exist.
    """
    known = [one.name for one in fields(config)]
    check_option_names(options, known, of="this job")
    return config(**options) if settings is None else replace(settings, **options)


def seed_option() -> Any:
    """Return the option ``seed``."""
    return option(0, "Random seed; the same seed gives the same result on one machine.", least=0, most=2**32 - 1)


def cache_option() -> Any:
    """Return the option ``cache``."""
    return option(None, "Folder for cached embeddings, found by content.", metavar="DIR", is_path=True)


def annotations_option() -> Any:
    """Return the option ``annotations``."""
    return option(
        None, "A pathologist's annotations, to compare results with: GeoJSON of QuPath or CSV of Loupe Browser of one "
        "section, or a folder with a file per section, named like it.", metavar="FILE", is_path=True,
    )  # fmt: skip


def annotations_scale_option() -> Any:
    """Return the option ``annotations_scale``."""
    return option(
        None, "Coordinate units per pixel of the image that was annotated; by default that of the section's image.",
        metavar="S", positive=True,
    )  # fmt: skip


def resume_option() -> Any:
    """Return the option ``resume``."""
    return option(False, "Keep unfinished work in DIR.partial; the same command resumes it.")


def check_memory_option() -> Any:
    """Return the option ``check_memory``."""
    return option(
        True, "Start even if more memory is needed than available.", flag="--ignore-memory",
        doc="Raise if more memory is needed than available.",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Options of all jobs.

    Examples
    --------
    >>> import histoquilt as hq
    >>> config = hq.jobs.OutputConfig(overwrite=True)
    >>> config.overwrite, config.progress
    (True, True)
    """

    overwrite: bool = option(False, "Replace the results of an earlier run.")
    progress: bool = option(
        True, "Only warnings and errors; no progress bar.", flag="--quiet", short="-q", doc="Show progress bars."
    )

    def __post_init__(self) -> None:
        """Raise :class:`JobError` for what is wrong, before anything heavy is imported."""
        for one, known in options_of(type(self)):
            value = getattr(self, one.name)
            if value is not None and known.is_path:
                object.__setattr__(self, one.name, Path(value))
            elif value is not None:
                known.check(one.name, value)


@dataclass(frozen=True, kw_only=True)
class RunConfig(OutputConfig):
    """Options of jobs that compute on a device.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.jobs.RunConfig(device="cuda:1").device
    'cuda:1'
    >>> try:
    ...     hq.jobs.RunConfig(device="gpu")
    ... except hq.jobs.JobError as error:
    ...     print(error)
    unknown device= 'gpu'. Use auto, cpu, mps, cuda, or cuda:0, cuda:1 ...
    """

    device: str = option("auto", "auto, cpu, cuda, cuda:1 ...; auto uses a GPU if available.")

    def __post_init__(self) -> None:
        """Also check the device."""
        super().__post_init__()
        if not _DEVICE.fullmatch(str(self.device)):
            raise JobError(
                f"unknown {argument('device')} {self.device!r}. Use auto, cpu, mps, cuda, or cuda:0, cuda:1 ..."
            )


@dataclass(frozen=True, kw_only=True)
class SectionsConfig(RunConfig):
    """Options of jobs that read sections."""

    keep_all_spots: bool = option(False, "Keep array spots outside the tissue (in_tissue is 0).")
    spatial_columns: str | Sequence[str] | None = option(
        None, "Columns of obs with the coordinates of the spots.", metavar="X,Y"
    )
    table: str | None = option(None, "Table of a SpatialData store that holds several.", metavar="NAME")
    counts_file: str | None = option(None, "Count matrix of a folder that holds several.", metavar="NAME")
    one_section: bool = option(False, "Every file is one section, whatever its columns suggest.")
    bin_size: str | int | None = option(
        None, "Bins of Visium HD in microns (2, 8, 16), or cells for segmented cells; 8.", metavar="UM|cells",
        show_default=False,
    )  # fmt: skip
    threads: int | None = option(
        None, "Number of threads; by default OMP_NUM_THREADS, or all available.", least=1, metavar="N"
    )
    dask: str | None = option(
        None,
        "Process sections or slides in parallel: on the cores of this machine (local), or on the cluster of the Dask "
        "scheduler at tcp://HOST:PORT or in its file.",
        metavar="local|ADDRESS", show_default=False,
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Also check ``spatial_columns``."""
        super().__post_init__()
        self.reading()

    def reading(self) -> ReadOptions:
        """Return the options of reading a section.

        Raises
        ------
        JobError
            ``spatial_columns`` does not name two columns.

        Examples
        --------
        >>> SectionsConfig(spatial_columns="x_um, y_um").reading().spatial_columns
        ('x_um', 'y_um')
        """
        columns = self.spatial_columns
        if columns is not None:
            names = [name.strip() for name in (columns.split(",") if isinstance(columns, str) else columns)]
            if len(names) != 2 or not all(names) or names[0] == names[1]:
                raise JobError(
                    f"{argument('spatial_columns')} is two columns of obs, x first (array_x,array_y), got {columns!r}."
                )
            columns = (names[0], names[1])
        return ReadOptions(self.keep_all_spots, columns, self.table, self.counts_file, self.one_section, self.bin_size)


def as_paths(inputs: PathName | Sequence[PathName]) -> list[Path]:
    """Return inputs as paths; a single one becomes a list."""
    return [Path(path) for path in ([inputs] if isinstance(inputs, str | PathLike) else inputs)]


def comma_separated(value: str | Sequence[Any], name: str) -> list[str]:
    """Return names that are given as one text with commas, or one by one; ``name`` is that of the argument."""
    parts = [str(part).strip() for part in (value.split(",") if isinstance(value, str) else value)]
    if not parts or not all(parts):
        raise JobError(f"{argument(name)} is one or more names separated by commas, got {value!r}.")
    return parts


def one_or_more(value: Any) -> list[Any]:
    """Return the values of a repeatable option as a list."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def export_option() -> Any:
    """Return the option ``export`` of jobs whose results can be exported at once."""
    return option(
        None, "Also write DIR/exports for viewers: {choices}, separated by commas.", choices=EXPORTERS, separated=True,
        metavar="NAME,NAME",
    )  # fmt: skip
