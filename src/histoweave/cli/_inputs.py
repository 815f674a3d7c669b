"""What ``histoweave domains`` was given: files, folders, or a table of samples; read and checked before any work."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoweave.cli._errors import CommandError, about
from histoweave.cli._record import sha256

if TYPE_CHECKING:
    from anndata import AnnData

COMPRESSED = {".gz", ".bz2", ".xz", ".zip"}


@dataclass
class Inputs:
    """Sections that were read.

    Attributes
    ----------
    sections
        Name -> AnnData, in the order given.
    paths
        Name -> what it was read from.
    digests
        For ``run.json``: name, path and SHA-256 of each.
    skipped
        Name -> why it was left out.
    """

    sections: dict[str, "AnnData"]
    paths: dict[str, Path]
    digests: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def is_samples_table(path: Path) -> bool:
    """Whether a file is a ``samples.csv``: a table with the columns ``section`` and ``counts``."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as handle:
        header = next(csv.reader(handle), [])
    return bool({"section", "counts"} & {cell.strip() for cell in header})


def check_paths(inputs: Sequence[Path]) -> None:
    """Raise for what can be seen to be wrong before anything heavy is imported."""
    for path in inputs:
        if not path.exists():
            raise CommandError(f"{path} does not exist (looked in {path.absolute().parent}). Check the path.")
    if len(inputs) > 1:
        tables = [path for path in inputs if is_samples_table(path)]
        if tables:
            raise CommandError(
                f"{tables[0]} is a table of samples, and a table is the whole study. Give it alone, and name the other "
                "sections in it."
            )


def read_inputs(
    inputs: Sequence[Path],
    *,
    n_domains: int,
    use_rep: str | None,
    layer: str | None,
    spatial_key: str,
    section_key: str | None,
    skip_bad: bool,
) -> Inputs:
    """Read every section and check what the work will need, so that a bad last one stops the run at once.

    ``n_domains`` is the largest number that may be asked of a section.
    """
    needs = {"n_domains": n_domains, "use_rep": use_rep, "layer": layer, "spatial_key": spatial_key}
    if len(inputs) == 1 and is_samples_table(inputs[0]):
        return _read_table(inputs[0], skip_bad=skip_bad, **needs)
    found = Inputs({}, {})
    problems: dict[str, str] = {}
    for name, path in zip(section_names(inputs), inputs, strict=True):
        try:
            found.sections[name] = _read_checked(path, section_key=section_key, **needs)
        except CommandError as error:
            if not skip_bad:
                raise
            problems[name] = str(error)
        else:
            found.paths[name] = path
    if not found.sections:
        raise CommandError(f"no section can be used: {'; '.join(problems.values())}")
    for problem in problems.values():
        _warn(f"left out: {problem}")
    found.skipped = problems
    found.digests = _digests(found.paths)
    return found


def section_names(inputs: Sequence[Path]) -> list[str]:
    """Name sections by file or folder name without extension.

    Raises
    ------
    CommandError
        Two inputs have the same name: their results would overwrite each other.

    Examples
    --------
    >>> section_names([Path("a/151673.h5ad"), Path("b/A1.tsv.gz"), Path("b/brain.zarr")])
    ['151673', 'A1', 'brain']
    """
    names = []
    for path in inputs:
        name = path.resolve()  # "." and ".." have names too
        if name.suffix in COMPRESSED:
            name = name.with_suffix("")
        names.append(name.name if name.is_dir() and name.suffix != ".zarr" else name.stem)
    repeated = [name for name, n in Counter(names).items() if n > 1]
    if repeated:
        paths = ", ".join(str(path) for path, name in zip(inputs, names, strict=True) if name == repeated[0])
        raise CommandError(
            f"two inputs are both named {repeated[0]!r} ({paths}). A section is named by its file or folder name: "
            "rename one, or name them in a samples.csv."
        )
    return names


def _read_table(path: Path, *, skip_bad: bool, **needs: Any) -> Inputs:
    from histoweave import io

    with about(path):
        samples = io.read_samples(path, skip_bad=skip_bad)
    for name, adata in samples.sections.items():
        with about(f"section {name!r} of {path.name}"):
            _check(adata, section_key=None, **needs)
    paths = {name: Path(samples.table.loc[name, "counts"]) for name in samples.sections}
    return Inputs(samples.sections, paths, _digests({path.name: path, **paths}), dict(samples.skipped))


def _read_checked(path: Path, **needs: Any) -> "AnnData":
    from histoweave import io

    with about(path):
        adata = io.read_section(path)
        _check(adata, **needs)
    return adata


def _check(
    adata: "AnnData",
    *,
    n_domains: int,
    use_rep: str | None,
    layer: str | None,
    spatial_key: str,
    section_key: str | None,
) -> None:
    from histoweave import pp
    from histoweave._checks import check_adata, check_n_domains, check_obs_key, check_obsm_key, check_spatial

    check_adata(adata)
    check_spatial(adata, spatial_key)
    check_n_domains(n_domains, adata.n_obs)
    if section_key is not None:
        check_obs_key(adata, section_key, argument="section_key")
    if use_rep is not None:
        check_obsm_key(adata, use_rep, argument="use_rep")
    else:
        pp.expression(adata, layer)  # raises unless there are counts, or a declared scale


def _digests(paths: dict[str, Path]) -> list[dict[str, Any]]:
    return [{"section": name, "path": str(path), "sha256": sha256(path)} for name, path in paths.items()]


def _warn(text: str) -> None:
    from histoweave._runtime import warn_user

    warn_user(text)
