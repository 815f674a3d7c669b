"""``histoquilt models``: list, show, check and copy model folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import printable
from histoquilt.cli._summary import wide_console
from histoquilt.jobs import JobError

if TYPE_CHECKING:
    from histoquilt.models import ModelFolder


_SCORES = "raw", "at equal depth"


def list_models(paths: Sequence[Path], *, check: bool) -> None:
    """Print a table of model folders, or the card of the only one; with ``check`` also what is wrong with each.

    Raises
    ------
    JobError
        There is no model folder, or with ``check``, one cannot be used.
    """
    missing = [path for path in paths if not path.is_dir()]
    if missing:
        raise JobError(f"there is no folder {missing[0]}. Name model folders, or folders that hold some.")
    from histoquilt.models import check_model, describe_model, find_models, is_model_folder

    folders = list(dict.fromkeys(folder for path in paths for folder in find_models(path)))
    if not folders:
        raise JobError(
            f"{', '.join(map(str, paths))}: no model folder here, nor two levels below. Models are written by "
            "histoquilt train, domains --save-model, and save()."
        )
    problems = {folder: check_model(folder) for folder in folders} if check else {}
    if len(folders) == 1 and is_model_folder(paths[0]) and not check:
        for line in _shown(describe_model(folders[0])):
            print(printable(line))
        return
    _print_table(folders, problems)
    bad = {folder: found for folder, found in problems.items() if found}
    for folder, found in bad.items():
        for problem in found:
            print(printable(f"{folder}: {problem}"))
    if bad:
        raise JobError(f"{len(bad)} of {len(folders)} model folder(s) cannot be used as they are; see above.")


def _print_table(folders: Sequence[Path], problems: dict[Path, list[str]]) -> None:
    from rich.table import Table

    from histoquilt.models import describe_model

    table = Table(box=None)
    columns = ["folder", "model", "predicts", "genes", "sections", "spots", "encoder", *_SCORES, "version"]
    for column in [*columns, *(["check"] if problems else [])]:
        table.add_column(column, overflow="fold")
    for folder in folders:
        try:
            found = describe_model(folder)
        except (FileNotFoundError, ValueError):
            cells = [str(folder), "damaged", *[""] * (len(columns) - 2)]
        else:
            numbers = (f"{number:,}" for number in (found.n_genes, found.n_sections, found.n_spots))
            encoders = ", ".join(one["encoder"] for one in found.encoders)
            scores = (_score(found.scores.get(name)) for name in ("pcc_median", "pcc_median_adjusted"))
            cells = [str(folder), found.model, found.kind, *numbers, encoders, *scores, found.version]
        table.add_row(*map(printable, cells), *([("wrong" if problems[folder] else "ok")] if problems else []))
    wide_console().print(table)


def _shown(found: "ModelFolder") -> Iterator[str]:
    """Yield the facts of one model, and its card."""
    card = found.path / "README.md"
    yield f"{found.path}: {found.model}, {found.kind}, {found.n_genes:,} genes, saved by histoquilt {found.version}"
    yield f"digest {found.digest}"
    yield f"licence of the model: {found.licence}"
    for one in found.encoders:
        yield f"licence of the encoder {one['encoder']}: {one.get('licence') or 'not recorded'}"
    yield ""
    if card.is_file():
        yield card.read_text(encoding="utf-8", errors="replace")
    else:
        yield "It has no card; load and save it again to write one."


def _score(value: Any) -> str:
    return "" if value is None else f"{value:.3f}"
