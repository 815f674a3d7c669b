"""Job: the ``samples.csv`` of a public study's folder, as its authors publish it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import STUDY_LAYOUTS, argument
from histoquilt.jobs.work._errors import JobError, about
from histoquilt.jobs.work._options import OutputConfig, PathName, configured, documented, option
from histoquilt.jobs.work._run import JobResult, OnChecked, check_one_process

if TYPE_CHECKING:
    from histoquilt.datasets import studies


@documented
@dataclass(frozen=True, kw_only=True)
class StudyConfig(OutputConfig):
    """Options of :func:`describe_study`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.jobs.StudyConfig(download="dlpfc").download
    'dlpfc'
    """

    layout: str | None = option(
        None, "{choices}; by default recognised from the names of the files.", choices=STUDY_LAYOUTS, metavar="NAME"
    )
    download: str | None = option(
        None, "Download a study into FOLDER first; its licence is printed before (dlpfc, cscc, ...).", metavar="NAME"
    )


@dataclass(frozen=True)
class StudyResult(JobResult):
    r"""Result of :func:`describe_study`.

    Attributes
    ----------
    study
        Sections of the folder, and what is missing there.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path") / "her2st"
    >>> files = {
    ...     "ST-cnts/A1.tsv": "\tMBP\n5x6\t3\n",
    ...     "ST-spotfiles/A1_selection.tsv": "x\ty\tpixel_x\tpixel_y\n5\t6\t100\t200\n",
    ... }
    >>> for name, text in files.items():
    ...     (folder / name).parent.mkdir(parents=True)
    ...     _ = (folder / name).write_text(text)
    >>> done = hq.jobs.describe_study(folder, folder / "samples.csv", progress=False)
    >>> done.out.name, done.study.layout, done.study.table()["patient"].to_dict()
    ('samples.csv', 'her2st', {'A1': 'A'})
    """

    study: "studies.StudyFolder | None" = None


def describe_study(
    folder: PathName,
    out: PathName,
    settings: StudyConfig | None = None,
    *,
    on_checked: OnChecked | None = None,
    **options: Any,
) -> StudyResult:
    r"""Write the ``samples.csv`` of a public study's folder, as ``histoquilt study`` does.

    The folder is left as it is; the table names its files.

    Parameters
    ----------
    folder
        Path of the study's folder in the layout of its authors, or of one above it.
    out
        Path of the table to write, ``samples.csv``.
    settings
        Options as one object, to use them several times.
    on_checked
        Function that is called once the folder is recognised.
    options
        Fields of :class:`StudyConfig`; they override ``settings``.

    Returns
    -------
    :class:`StudyResult`

    Raises
    ------
    JobError
        The folder is not recognised, is not complete, holds several studies, or a download failed.
    FileExistsError
        ``out`` exists and ``overwrite`` is false.
    TypeError
        An option does not exist.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path") / "her2st"
    >>> files = {
    ...     "ST-cnts/A1.tsv": "\tMBP\n5x6\t3\n",
    ...     "ST-spotfiles/A1_selection.tsv": "x\ty\tpixel_x\tpixel_y\n5\t6\t100\t200\n",
    ... }
    >>> for name, text in files.items():
    ...     (folder / name).parent.mkdir(parents=True)
    ...     _ = (folder / name).write_text(text)
    >>> done = hq.jobs.describe_study(folder, folder / "samples.csv", progress=False)
    >>> done.facts["n_sections"], done.out.read_text().splitlines()[1]
    (1, 'A1,ST-cnts/A1.tsv,ST-spotfiles/A1_selection.tsv,A,no')
    """
    asked, folder, out = configured(StudyConfig, settings, options), Path(folder), Path(out)
    check_one_process("study")
    if out.is_dir() or out.suffix.lower() != ".csv":
        raise JobError(f"{argument('out')} is the table to write, such as samples.csv, got {out}.")
    if out.exists() and not asked.overwrite:
        raise FileExistsError(f"{out} exists. Choose another name, or pass {argument('overwrite', True)}.")
    from histoquilt.datasets import studies

    if asked.download is not None:
        if on_checked is not None:
            on_checked()  # the licence is shown before the download
        with about(f"study {asked.download!r}"):
            studies.download(asked.download, folder, progress=asked.progress)
    with about(folder):
        study = studies.describe(folder, asked.layout)
    if on_checked is not None:
        on_checked()
    studies.write_samples(study, out)
    table = study.table()
    facts = {
        "layout": study.layout,
        "root": str(study.root),
        "n_sections": len(table),
        "n_patients": int(table["patient"].nunique()) if "patient" in table else 0,
        "n_images": int((table["image"] != "").sum()) if "image" in table else 0,
        "n_labelled": int((table["labels"] != "").sum()) if "labels" in table else 0,
        "missing": study.missing,
        "notes": study.notes,
    }
    return StudyResult(out, facts, study=study)
