"""Recognition of the layout of a study's folder, and its ``samples.csv``."""

from collections.abc import Iterator
from pathlib import Path

from histoquilt._base import STUDY_LAYOUTS, argument, either, listed, visible
from histoquilt.datasets.studies._layout import StudyFolder, StudyLayout
from histoquilt.io import is_hest_task
from histoquilt.runtime import atomic_file

_MOST_ENTRIES = 200  # of a folder that is searched


def describe(folder: str | Path, layout: str | None = None) -> StudyFolder:
    r"""List the sections of a study's folder, as its authors publish it, and what is missing there.

    Nothing is renamed, copied or changed. Only names of files and of spots are read.

    Parameters
    ----------
    folder
        Path of the study's folder, or of one above it (two levels are searched).
    layout
        Name of the layout (:func:`layouts`); by default it is recognised from the names of the files.

    Returns
    -------
    StudyFolder

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        No layout, or more than one, is recognised; a file that the layout needs is missing; no section can be used.

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
    >>> study = hq.datasets.studies.describe(folder)
    >>> study.layout, list(study.rows), study.missing
    ('her2st', ['A1'], ['A1: ST-imgs/A/A1/*.jpg is missing: domains work, train and evaluate do not.'])
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        found = f"{folder} is a file" if folder.exists() else f"{folder} does not exist"
        raise FileNotFoundError(f"{found}; expected the folder of a study.")
    name, root = _recognise(folder) if layout is None else _find(folder, layout)
    study = StudyFolder(name, root)
    STUDY_LAYOUTS.load(name).describe(study)
    if not study.rows:
        problems = " ".join(study.missing)
        raise ValueError(f"{root} holds no section of {STUDY_LAYOUTS.load(name).label} that can be used. {problems}")
    study.join_patients()
    return study


def write_samples(study: StudyFolder, out: str | Path) -> Path:
    """Write the ``samples.csv`` of a study, atomically, and return its path.

    Paths of files in the folder of the table, and below, are relative to it; others are in full.
    """
    out = Path(out).expanduser()
    with atomic_file(out) as temporary:
        study.table(out.parent).to_csv(temporary, lineterminator="\n")
    return out


def layouts() -> list[str]:
    """Return the names of the known layouts."""
    return STUDY_LAYOUTS.names()


def _recognise(folder: Path) -> tuple[str, Path]:
    """Return the layout of a folder and its root; raise unless there is exactly one."""
    matches: list[tuple[str, Path]] = []
    claimed: set[Path] = set()
    nearly: list[str] = []
    for name in STUDY_LAYOUTS.names():
        layout = _load(name)
        for root in _places(folder) if layout.signs else ():
            if lacking := _lacking(layout, root):
                if any(_matches(root, sign) for sign in layout.signs):
                    nearly.append(_almost(layout, root, lacking))
                continue
            own = {path.resolve() for path in layout.sections(root).values()}
            if own - claimed:  # not all of another layout, as the Visium folders of a study that is known by name
                matches.append((name, root))
                claimed |= own
    if len(matches) == 1:
        return matches[0]
    if matches:
        found = "; ".join(f"{_load(name).label} in {root} ({argument('layout', name)})" for name, root in matches)
        raise ValueError(
            f"{folder} holds {len(matches)} studies: {found}. A table is of one: give one folder, or, of studies in "
            f"one folder, the layout."
        )
    if nearly:
        raise ValueError(nearly[0])
    if is_hest_task(folder) or any(is_hest_task(path) for path in visible(folder) if path.is_dir()):
        raise ValueError(
            f"{folder} is of HEST-Bench, whose tasks have folds and patches of their own and need no samples.csv. Give "
            f"the folder of a task to {either('histoquilt.jobs.evaluate_models', 'histoquilt evaluate')} with "
            f"{argument('protocol', 'hest')}."
        )
    known = ", ".join(f"{name} ({_load(name).label})" for name in STUDY_LAYOUTS.names())
    raise ValueError(
        f"{folder} is not a study in a known layout: {known}. It holds: {_contents(folder)}. Sections in other forms "
        "are listed by hand, one row each, in a samples.csv."
    )


def _find(folder: Path, name: str) -> tuple[str, Path]:
    """Return a layout that was asked for, and its root in the folder."""
    layout = _load(name)
    lacking = {root: _lacking(layout, root) for root in _places(folder)}
    whole = [root for root, needs in lacking.items() if not needs and layout.sections(root)]
    inner = [root for root in whole if not any(other in root.parents for other in whole)]
    if len(inner) == 1:
        return name, inner[0]
    if inner:
        raise ValueError(f"{folder} holds {layout.label} in {listed(inner)}. Give one of these folders.")
    best = min(lacking, key=lambda root: (not any(_matches(root, sign) for sign in layout.signs), len(lacking[root])))
    raise ValueError(_almost(layout, best, lacking[best] or list(layout.needs)))


def _almost(layout: StudyLayout, root: Path, lacking: list[str]) -> str:
    needs = ", ".join(" or ".join(need.split("|")) for need in layout.needs)
    missing = ", ".join(" or ".join(need.split("|")) for need in lacking)
    return (
        f"{root} looks like {layout.label}, but there is no {missing}. Expected: {needs}. It holds: {_contents(root)}."
    )


def _contents(folder: Path) -> str:
    return listed(sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir()))


def _load(name: str) -> StudyLayout:
    layout: StudyLayout = STUDY_LAYOUTS.load(name)
    return layout


def _lacking(layout: StudyLayout, root: Path) -> list[str]:
    """Return the globs of a layout that nothing in the folder matches."""
    return [need for need in layout.needs if not any(_matches(root, one) for one in need.split("|"))]


def _matches(root: Path, glob: str) -> bool:
    return next(visible(root, glob), None) is not None


def _places(folder: Path) -> Iterator[Path]:
    """Yield a folder and those one and two levels below it."""
    level = [folder]
    yield folder
    for _ in range(2):
        level = [item for above in level for item in sorted(visible(above))[:_MOST_ENTRIES] if item.is_dir()]
        yield from level
