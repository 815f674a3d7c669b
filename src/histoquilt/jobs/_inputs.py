"""Inputs of a job: files, folders, or a table of samples; read and checked before any work."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import DEFAULT_READ_OPTIONS, Keys, MissingKey, ReadOptions, argument, is_samples_table
from histoquilt.jobs._annotations import AnnotationPlace
from histoquilt.jobs._source import Source, without_counts
from histoquilt.jobs.work._errors import JobError, about, one_line
from histoquilt.jobs.work._record import sha256
from histoquilt.jobs.work._resume import digest_of
from histoquilt.jobs.work._run import joined
from histoquilt.runtime import Workers, run_each, warn_user

if TYPE_CHECKING:
    from anndata import AnnData

    from histoquilt.io import Samples

NO_ANNOTATIONS = AnnotationPlace()
_ANNOTATIONS = "annotations"  # column of a samples.csv
COMPRESSED = {".gz", ".bz2", ".xz", ".zip"}


@dataclass(frozen=True)
class Needs:
    """Requirements of a job for every section."""

    n_domains: int = 1  # Largest number of domains that may be asked for
    use_rep: str | None = None  # Keys of the embedding, the expression, the spot centres and the sections
    layer: str | None = None
    spatial_key: str = Keys.SPATIAL
    section_key: str | None = None
    image: str | None = None  # Use of the image, and what histoquilt.im.embedding_keys_of takes
    image_key: str | None = None
    encoder: str | None = None


@dataclass
class CheckedInputs:
    """Checked sections together with the files that they come from and the inputs that were left out."""

    sections: dict[str, "AnnData"]  # Name -> AnnData, in the order given; empty if they are read again one by one
    sources: dict[str, Source]  # Name -> source
    digests: list[dict[str, Any]] = field(default_factory=list)  # Name, path and SHA-256 of each, for ``run.json``
    skipped: dict[str, str] = field(default_factory=dict)  # Name -> reason for leaving it out

    def digest_of(self, name: str, **settings: Any) -> str:
        """Return the digest of all that the result of one section depends on: its files and the settings."""
        files = [entry for entry in self.digests if entry["section"] == name]
        return digest_of(source=str(self.sources[name]), read=files, **settings)


def at_most(inputs: Sequence[Path]) -> int | None:
    """Return the largest number of sections or slides that inputs can hold; None for a table, of any length."""
    return None if is_samples_table(inputs[0]) else len(inputs)


def check_paths(inputs: Sequence[Path], *, section_key: str | None = None, skip_bad: bool = False) -> None:
    """Raise for inputs that are wrong, before anything heavy is imported."""
    tables = [path for path in inputs if is_samples_table(path)]
    if tables and len(inputs) > 1:
        raise JobError(
            f"{tables[0]} is a table of samples, and a table is the whole study. Give it alone, and name the other "
            "sections in it."
        )
    if tables and section_key is not None:
        raise JobError(
            f"{tables[0]} names the sections, one in each row, and {argument('section_key')} asks for other names. "
            f"Leave {argument('section_key')} out."
        )
    if not tables:
        section_names(inputs)  # raises where two are the same
    if len(inputs) == 1 or not skip_bad:
        for path in inputs:
            _check_exists(path)


def read_inputs(
    inputs: Sequence[Path],
    needs: Needs,
    *,
    skip_bad: bool,
    keep: bool = True,
    options: ReadOptions = DEFAULT_READ_OPTIONS,
    annotations: AnnotationPlace = NO_ANNOTATIONS,
    workers: Workers | None = None,
    together: bool = True,
) -> CheckedInputs:
    """Read and check all sections before any work, on ``workers`` if given.

    Without ``keep``, sections are dropped after the check; without ``together``, those of a table need not share genes.

    Raises
    ------
    JobError
        Sections cannot be used; all are named. With ``skip_bad`` only if none is left.
    """
    if len(inputs) == 1 and is_samples_table(inputs[0]):
        found, problems = _read_table(
            inputs[0], needs, annotations, keep=keep, skip_bad=skip_bad, options=options, workers=workers,
            together=together,
        )  # fmt: skip
    else:
        found, problems = _read_files(inputs, needs, annotations, keep=keep, options=options, workers=workers)
    leave_out(problems, len(found.sources) + len(problems), skip_bad=skip_bad)
    found.skipped |= problems
    return found


def section_names(inputs: Sequence[Path]) -> list[str]:
    """Name sections by file or folder name without extension.

    Raises
    ------
    JobError
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
        raise JobError(
            f"two inputs are both named {repeated[0]!r} ({paths}). A section is named by its file or folder name: "
            "rename one, or name them in a samples.csv."
        )
    return names


def _read_table(
    path: Path,
    needs: Needs,
    annotations: AnnotationPlace,
    *,
    keep: bool,
    skip_bad: bool,
    options: ReadOptions,
    workers: Workers | None,
    together: bool,
) -> tuple[CheckedInputs, dict[str, str]]:
    from histoquilt.io import gather_samples

    problems: dict[str, str] = {}

    def check(name: str, adata: "AnnData") -> "AnnData":
        try:
            with about(f"section {name!r} of {path.name}"):
                own = annotations.of(name)
                _check(adata if own is None else own.annotate(adata), needs)
        except JobError as error:
            problems[name] = str(error)
        return adata if keep else without_counts(adata)

    with about(path):
        samples = gather_samples(
            path, skip_bad=skip_bad, keep=check, options=options, workers=workers, together=together
        )
    sections = {name: adata for name, adata in samples.sections.items() if name not in problems}
    with about(path):
        sources = sources_of(samples, path, options, annotations)
    sources = {name: source for name, source in sources.items() if name not in problems}
    digests = file_digests([(path.name, path), *((name, source.path) for name, source in sources.items())])
    digests += side_digests(sources, samples)
    return CheckedInputs(sections if keep else {}, sources, digests, dict(samples.skipped)), problems


def _read_files(
    inputs: Sequence[Path],
    needs: Needs,
    annotations: AnnotationPlace,
    *,
    keep: bool,
    options: ReadOptions,
    workers: Workers | None,
) -> tuple[CheckedInputs, dict[str, str]]:
    found = CheckedInputs({}, {})
    problems: dict[str, str] = {}
    # they may be joined, or travel
    whole = keep and (len(inputs) > 1 or needs.section_key is not None or workers is not None)
    sources = {
        name: Source(name, path, options=options, annotations=annotations.of(name))
        for name, path in zip(section_names(inputs), inputs, strict=True)
    }
    annotations.check_used(sources)
    items = {name: (source, needs, whole, keep) for name, source in sources.items()}
    for outcome in run_each(_read_checked, items, workers=workers):
        if outcome.error is not None:
            problems[outcome.name] = one_line(outcome.error)
        elif keep:
            found.sections[outcome.name] = outcome.value
    found.sources = {name: source for name, source in sources.items() if name not in problems}
    found.sections = {name: found.sections[name] for name in found.sources if keep}  # workers finish in any order
    found.digests = file_digests([(name, source.path) for name, source in found.sources.items()])
    found.digests += side_digests(found.sources)
    return found, {name: problems[name] for name in sources if name in problems}


def _read_checked(source: Source, needs: Needs, whole: bool, keep: bool) -> "AnnData | None":
    """Read and check one section, here or on a worker; return it if ``keep``."""
    _check_exists(source.path)
    with about(source.path):
        adata = source.read(whole=whole)
        _check(adata, needs)
    return adata if keep else None


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise JobError(f"{path} does not exist (looked in {path.absolute().parent}). Check the path.")


def leave_out(problems: dict[str, str], n_inputs: int, *, skip_bad: bool, kind: str = "sections") -> None:
    """Warn of inputs that are left out; raise one error for all unless ``skip_bad``, or if none would be left."""
    if not problems or (skip_bad and len(problems) < n_inputs):
        for problem in problems.values():
            warn_user(f"left out: {problem}")
    elif n_inputs == 1:
        raise JobError(*problems.values())
    else:
        without = f"Correct them, or go on without them: {argument('skip_bad', True)}."
        remedy = "Nothing is left to work on." if skip_bad else without
        raise JobError(f"{len(problems)} of {n_inputs} {kind} cannot be used: {joined(problems)}. {remedy}")


def file_digests(files: Iterable[tuple[str, Path]]) -> list[dict[str, Any]]:
    """Return section, path and SHA-256 of every file, for ``run.json``; a file of several sections is read once."""
    digest = cache(sha256)
    return [{"section": name, "path": str(path), "sha256": digest(path)} for name, path in files]


def side_digests(sources: Mapping[str, Source], samples: "Samples | None" = None) -> list[dict[str, Any]]:
    """Return section, path, SHA-256 and kind of the files that are read beside the counts, for ``run.json``."""
    files = {} if samples is None else samples.side_files()
    own = {name: source.annotations.path for name, source in sources.items() if source.annotations is not None}
    files[_ANNOTATIONS] = {**files.get(_ANNOTATIONS, {}), **own}
    return [
        {**entry, "what": what}
        for what, of_section in files.items()
        for entry in file_digests((name, of_section[name]) for name in sources if name in of_section)
    ]


def sources_of(
    samples: "Samples", path: Path, options: ReadOptions, annotations: AnnotationPlace = NO_ANNOTATIONS
) -> dict[str, Source]:
    """Return section -> source in a table that was read."""
    table = samples.table
    named = _ANNOTATIONS in table and bool(table[_ANNOTATIONS].notna().any())
    annotations.check_used(map(str, table.index), of_table=named)
    return {
        str(name): Source(
            str(name), Path(row["counts"]), path, str(row.to_dict()), options, annotations=annotations.of(str(name))
        )
        for name, row in table.iterrows()
    }


def _check(adata: "AnnData", needs: Needs) -> None:
    from histoquilt import io, pp
    from histoquilt._base import check_n_domains
    from histoquilt.io import check_writable
    from histoquilt.study import check_adata, check_obs_key, check_obsm_key, check_spatial, named_layers

    layer = needs.layer
    check_adata(adata)
    check_writable(adata)
    check_spatial(adata, needs.spatial_key)
    check_n_domains(needs.n_domains, adata.n_obs)
    if needs.section_key is not None:
        check_obs_key(adata, needs.section_key, argument="section_key")
    else:
        io.check_one_section(adata, spatial_key=needs.spatial_key, remedy="argument")
    if needs.use_rep is not None:
        check_obsm_key(adata, needs.use_rep, argument="use_rep")
        if layer is not None and layer not in ("X", *named_layers(adata)):  # only markers read it, at the end
            remedy = f"Pass {argument('layer')} with one of these, or 'X'."
            raise MissingKey(layer, "adata.layers", named_layers(adata), remedy)
    elif needs.image != "only":
        pp.expression(adata, layer, in_memory=False)  # raises unless there are counts, or a declared scale
    if needs.image is not None:
        from histoquilt.im import embedding_keys_of
        from histoquilt.study import Section

        embedding_keys_of({"": Section("", adata)}, image_key=needs.image_key, encoder=needs.encoder)
