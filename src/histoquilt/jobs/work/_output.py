"""The results folder of a job: checked before any work, written atomically at the end."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import Keys, argument
from histoquilt.jobs._annotations import agreement_of
from histoquilt.jobs.work._errors import JobError
from histoquilt.jobs.work._resume import JOB, holds_job, link, replaced_names
from histoquilt.runtime import folder_written_to, progress_folder, refuse_existing, stage

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from histoquilt.models import DomainModel

RUN_FILE = "run.json"


class WrittenSections(Mapping[str, "AnnData"]):
    """Sections that are read from their files on access; only the last one stays in memory.

    ``at_hand`` are sections that are in memory anyway, equal to their files.
    """

    def __init__(self, folder: Path, names: Sequence[str], at_hand: Mapping[str, "AnnData"] | None = None) -> None:
        self._folder, self._names, self._at_hand = folder, list(names), dict(at_hand or {})
        self._last: tuple[str, AnnData] | None = None

    def __getitem__(self, name: str) -> "AnnData":
        from histoquilt.io import read_h5ad

        if name not in self._names:
            raise KeyError(name)
        if name in self._at_hand:
            return self._at_hand[name]
        if self._last is None or self._last[0] != name:
            self._last = None  # before the next one is read
            self._last = name, read_h5ad(self._folder / f"{name}.h5ad")
        return self._last[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def check_out(out: Path, *, overwrite: bool, inputs: Sequence[Path] = (), resume: bool = False) -> None:
    """Raise unless results can be written to a folder without deleting anything but results of an earlier run.

    With ``resume``, results of an earlier run are accepted for now: they may be those of the same job, which is known
    once the inputs are read (:meth:`Work.is_done`).

    Raises
    ------
    FileExistsError
        The folder is not empty and ``overwrite`` is false.
    JobError
        The folder is not writable, or overwriting would delete an input or a file that is not a result.
    """
    replaced = replaced_names(out) if resume else set()
    refuse_existing(out, overwrite=overwrite or bool(replaced) or (resume and holds_job(out)))
    if out.is_file():
        raise JobError(f"{out} is a file; {argument('out')} names a folder.")
    if out.is_dir():
        _check_only_results(out, replaced)
        inside = [path for path in inputs if out.resolve() in [path.resolve(), *path.resolve().parents]]
        if inside:
            raise JobError(
                f"{inside[0]} lies in {out}, which {argument('overwrite', True)} would replace. "
                f"Choose another {argument('out')}."
            )
    workplace = folder_written_to(out)
    parent = next(folder for folder in (workplace, *workplace.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".histoquilt-", dir=parent):
            pass
    except OSError as error:
        raise JobError(
            f"cannot write to {parent}: {error.strerror}. Choose another {argument('out')}, or change its permissions."
        ) from error


def _check_only_results(out: Path, replaced: set[str]) -> None:
    """Raise unless a folder holds nothing but what an earlier run listed in its ``run.json``, or began to replace."""
    try:
        listed = set(json.loads((out / RUN_FILE).read_text(encoding="utf-8"))["outputs"]) | {RUN_FILE}
    except (OSError, ValueError, KeyError, TypeError):
        listed = set()
    ours = listed | replaced | {progress_folder(out).name}
    foreign = sorted(path.name for path in out.iterdir() if path.name not in ours)
    if foreign:
        raise JobError(
            f"{out} holds files that are not results of histoquilt (first: {foreign[0]}), and "
            f"{argument('overwrite', True)} would delete them. Move them away, or choose another {argument('out')}."
        )


@dataclass(frozen=True)
class DomainResults:
    """Content of a results folder with domains."""

    sections: Mapping[str, "AnnData"]  # Section name -> AnnData with domains
    title: str  # Title of the report
    spatial_key: str = Keys.SPATIAL
    section_key: str | None = None  # Column of obs that distinguishes the sections of one input
    layer: str | None = None
    tables: Mapping[str, "pd.DataFrame"] = field(default_factory=dict)  # File name -> further table
    study: "AnnData | None" = None  # AnnData of all sections, if they were integrated
    # Model to write to the folder ``model``, or the folder that it was already written to
    model: "DomainModel | Path | None" = None
    # File name -> function that writes a further page
    pages: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    links: Mapping[str, str] | None = None  # Text -> file name, for links at the head of the report
    written: Sequence[str] = ()  # Names of sections that are already written; they are linked
    label_key: str | None = None  # Column of obs to compare domains with; by default the annotation


def write_domain_results(
    folder: Path, results: DomainResults, facts: Callable[[], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Write ``<section>.h5ad``, ``domains.csv``, ``domains.png``, ``report.html``, tables, pages and the model.

    Returns the agreement of each section with its annotation, for ``run.json``; empty without annotations.
    """
    from histoquilt.io import write_h5ad
    from histoquilt.report import write_report

    sections, spatial_key, section_key = results.sections, results.spatial_key, results.section_key
    for name in sections:
        if name not in results.written:
            write_h5ad(sections[name], folder / f"{name}.h5ad")
    domains = domain_table(sections, section_key, results.label_key)
    domains.to_csv(folder / "domains.csv", index=False)
    scores, compared = agreement_of(domains, results.label_key or Keys.ANNOTATION)
    for name, table in {**results.tables, **compared}.items():
        table.to_csv(folder / name, index=False)
    drawn = (sections, section_key) if results.study is None else ({"": results.study}, Keys.SECTION)
    with stage("pictures"):
        draw_domains(drawn[0], folder / "domains.png", spatial_key, drawn[1])
    if isinstance(results.model, Path):
        shutil.copytree(results.model, folder / "model", copy_function=link)
    elif results.model is not None:
        results.model.save(folder / "model")
    with stage("report"):
        write_report(
            sections, folder / "report.html", title=results.title, run=facts(), spatial_key=spatial_key,
            section_key=section_key, layer=results.layer, study=results.study, links=results.links,
            label_key=results.label_key,
        )  # fmt: skip
    for name, write in results.pages.items():
        write(folder / name)
    return scores


def write_record(folder: Path, facts: Mapping[str, Any], job: str | None = None) -> dict[str, Any]:
    """Write ``run.json``, the last file of a results folder, and return its content."""
    known = {} if job is None else {JOB: job}
    record = {**facts, **known, "outputs": sorted(path.name for path in folder.iterdir())}
    text = json.dumps(record, indent=2, ensure_ascii=False, default=str)
    (folder / RUN_FILE).write_text(text + "\n", encoding="utf-8")
    return record


def domain_table(
    sections: Mapping[str, "AnnData"], section_key: str | None = None, label_key: str | None = None
) -> "pd.DataFrame":
    """Return the tidy table of domains: one row per spot.

    Columns are ``section, obs_name, domain``, nested levels, stability, and the annotation (:func:`annotation_key`) if
    any section has one.
    """
    import pandas as pd

    from histoquilt.study import annotation_key

    tables = [
        pd.DataFrame(
            {
                "section": adata.obs[section_key].to_numpy() if section_key else name,
                "obs_name": adata.obs_names.to_numpy(),
                "domain": adata.obs[Keys.DOMAIN].astype(str).to_numpy(),
                **{key: adata.obs[key].astype(str).to_numpy() for key in _levels(adata)},
                **{key: adata.obs[key].round(3).to_numpy() for key in _stability(adata)},
                **({key: adata.obs[key].astype(object)} if (key := annotation_key(adata, label_key)) else {}),
            }
        )
        for name, adata in sections.items()
    ]
    return pd.concat(tables, ignore_index=True)


def _levels(adata: "AnnData") -> list[str]:
    """Return the columns of ``obs`` with coarser and finer levels of the domains."""
    tree = adata.uns.get(Keys.UNS, {}).get(f"{Keys.DOMAIN}_tree")
    return [] if tree is None else [str(key) for key in tree["levels"]["key"] if key != Keys.DOMAIN]


def _stability(adata: "AnnData") -> list[str]:
    """Return the columns of ``obs`` with the stability of the domains and their levels."""
    record = adata.uns.get(Keys.UNS, {}).get(f"{Keys.DOMAIN}_stability")
    return [] if record is None else [f"{key}_stability" for key in record["levels"]["key"]]


def draw_domains(
    sections: Mapping[str, "AnnData"],
    path: Path,
    spatial_key: str = Keys.SPATIAL,
    section_key: str | None = None,
) -> None:
    """Draw the domains of every section into one figure.

    Sections that were integrated share their colours; others have a legend each, because domain 1 of one is unrelated
    to domain 1 of another.
    """
    import matplotlib.pyplot as plt

    from histoquilt.pl import domains, domains_grid

    if section_key and len(sections) == 1:
        [adata] = sections.values()
        figure = domains_grid(adata, section_key=section_key, spatial_key=spatial_key)[0].figure
    else:
        n_columns = min(3, len(sections))
        n_rows = -(-len(sections) // n_columns)
        size = (6 * n_columns, 5.4 * n_rows)
        figure, axes = plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")
        for ax, (name, adata) in zip(axes.flat, sections.items(), strict=False):
            domains(adata, spatial_key=spatial_key, ax=ax).set_title(name)
        for ax in axes.flat[len(sections) :]:
            ax.axis("off")
    figure.savefig(path, dpi=150)
    plt.close(figure)
