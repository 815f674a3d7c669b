"""Job: compare conditions of a study whose domains are found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import Keys
from histoquilt.jobs._export import sections_in
from histoquilt.jobs._inputs import file_digests
from histoquilt.jobs.work._errors import JobError, about
from histoquilt.jobs.work._options import (
    OutputConfig,
    PathName,
    as_paths,
    configured,
    documented,
    option,
    resume_option,
)
from histoquilt.jobs.work._output import check_out
from histoquilt.jobs.work._resume import digest_of
from histoquilt.jobs.work._run import JobResult, OnChecked, check_one_process, start_run

if TYPE_CHECKING:
    from histoquilt.metrics import ConditionComparison
    from histoquilt.study import Section, Study


@documented
@dataclass(frozen=True, kw_only=True)
class CompareConfig(OutputConfig):
    """Options of :func:`compare_results`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.jobs.CompareConfig(by="condition").by
    'condition'
    """

    by: str = option(Keys.CONDITION, "Column of obs with the conditions, one for each section.", metavar="KEY")
    patient: str = option(Keys.PATIENT, "Column of obs with the patients.", metavar="KEY")
    reference: str | None = option(
        None, "Condition that the others are compared with; by default the first in alphabetical order.", metavar="NAME"
    )
    domain_key: str = option(Keys.DOMAIN, "Column of obs with the domains.", metavar="KEY")
    layer: str | None = option(None, "Layer with raw counts, instead of X.", metavar="KEY")
    spatial_key: str = option(Keys.SPATIAL, "Key in obsm of the spot centres.", metavar="KEY")
    section_key: str = option(Keys.SECTION, "Column of obs with the sections of one file.", metavar="KEY")
    min_spots: int = option(10, "Least spots of a patient in a domain to compare its expression.", least=1)
    resume: bool = resume_option()


@dataclass(frozen=True)
class CompareResult(JobResult):
    """Results of :func:`compare_results`.

    Attributes
    ----------
    comparison
        All tables (:class:`histoquilt.metrics.ConditionComparison`); None if the folder was complete before.

    Examples
    --------
    >>> from pathlib import Path
    >>> import histoquilt as hq
    >>> done = hq.jobs.CompareResult(Path("compared"), {"reference": "control"}, already_done=True)
    >>> done.facts["reference"], done.comparison  # resumed: the tables are in the folder
    ('control', None)
    """

    comparison: "ConditionComparison | None" = None


def compare_results(
    results: PathName | Sequence[PathName],
    out: PathName,
    settings: CompareConfig | None = None,
    *,
    on_checked: OnChecked | None = None,
    **options: Any,
) -> CompareResult:
    """Compare conditions of a study whose domains are found, as ``histoquilt compare`` does.

    See :func:`histoquilt.tl.compare_conditions` for what is compared, and how.

    Parameters
    ----------
    results
        Paths of results folders of :func:`find_domains`, or of ``.h5ad`` files. A section is named by its file.
    out
        Path of the new folder.
    settings
        Options as one object, to use them several times.
    on_checked
        Function that is called once options and paths are checked.
    options
        Fields of :class:`CompareConfig`; they override ``settings``.

    Returns
    -------
    :class:`CompareResult`. The folder holds ``proportions.csv``, ``neighbours.csv``, ``shape.csv``, ``markers.csv``,
    ``values.csv``, ``contrasts.csv``, pictures, ``report.html`` and ``run.json``.

    Raises
    ------
    JobError
        An option or an input is wrong, e.g. a section has no condition.
    FileExistsError
        ``out`` holds something and ``overwrite`` is false.
    TypeError
        An option does not exist.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path")
    >>> for name, section in hq.datasets.toy_conditions(n_patients=3, n_spots=200, n_genes=60, n_domains=3).items():
    ...     section.write_h5ad(folder / f"{name}.h5ad")
    >>> done = hq.jobs.compare_results(folder, folder / "compared", domain_key="domain_true", progress=False)
    >>> done.facts["reference"], sorted(path.name for path in done.out.glob("*.csv"))[:3]
    ('control', ['contrasts.csv', 'markers.csv', 'neighbours.csv'])
    """
    asked, out, paths = configured(CompareConfig, settings, options), Path(out), as_paths(results)
    check_one_process("compare")
    check_out(out, overwrite=asked.overwrite, inputs=paths, resume=asked.resume)
    files = [file for path in paths for file in sections_in(path)]
    with start_run("compare", {"results": paths, "out": out}, asked, on_checked) as run:
        with run.record.stage("import"):
            from histoquilt import tl
        with run.record.stage("read"):
            digests = file_digests([(file.stem, file) for file in files])
            what = {
                name: value for name, value in vars(asked).items() if name not in ("overwrite", "progress", "resume")
            }
            job = digest_of(command="compare", inputs=digests, **what)
            if (before := run.done_before(job)) is not None:
                return CompareResult(out, before, already_done=True)
            study = _read(files, asked)
        run.checked()
        with run.record.stage("compare"), about(", ".join(map(str, paths))):
            comparison = tl.compare_conditions(
                study, asked.by, patient_key=asked.patient, reference=asked.reference, domain_key=asked.domain_key,
                layer=asked.layer, min_spots=asked.min_spots,
            )  # fmt: skip
        shared = {
            "n_spots": {name: section.view.n_obs for name, section in study.items()},
            "inputs": digests,
            **{key: value for key, value in comparison.facts.items() if key != "version"},
            "contrasts": comparison.contrasts.to_dict("records"),
            "found": comparison.found(),
        }
        with run.results() as folder:
            _write(folder, comparison, run.facts(**shared))
            return CompareResult(out, run.finish(folder, shared, job), comparison=comparison)


def _read(files: Sequence[Path], asked: CompareConfig) -> "Study":
    """Return the sections of all files, without embeddings, graphs and images."""
    from histoquilt.study import Slots, Study

    slots = Slots(asked.spatial_key, asked.section_key, asked.layer)
    sections: dict[str, Section] = {}
    for file in files:
        for section in _sections_of(file, slots):
            if section.name in sections:
                raise JobError(f"{file}: the section {section.name!r} is in another input, too. Give it once.")
            sections[section.name] = section
    return Study(sections.values(), slots)


def _sections_of(file: Path, slots: Any) -> Iterator["Section"]:
    from histoquilt.io import read_h5ad
    from histoquilt.study import Study

    with about(file):
        adata = read_h5ad(file)
        for key in [key for key in adata.obsm if key != slots.spatial_key]:
            del adata.obsm[key]
        for key in list(adata.obsp):
            del adata.obsp[key]
        adata.uns.pop(Keys.SPATIAL, None)
        key = slots.section_key
        several = key in adata.obs and adata.obs[key].nunique() > 1
        yield from Study.of(adata if several else {file.stem: adata}, slots).values()


def _write(folder: Path, comparison: "ConditionComparison", facts: dict[str, Any]) -> None:
    """Write tables, pictures and the report."""
    import matplotlib.pyplot as plt

    from histoquilt import pl
    from histoquilt.report import write_comparison_report

    tables = {**comparison.tables, "values": comparison.values, "contrasts": comparison.contrasts}
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    conditions = comparison.contrasts["condition"].tolist()
    for condition in conditions:
        of_condition = f"_{condition}" if len(conditions) > 1 else ""
        figures: dict[str, Any] = {
            "proportions": pl.condition_proportions(comparison, condition=condition).figure,
            "neighbours": pl.condition_neighbours(comparison, condition=condition).figure,
        }
        if len(comparison.shape):
            figures["shape"] = pl.condition_shape(comparison, condition=condition)[0].figure
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}{of_condition}.png", dpi=150)
            plt.close(figure)
    write_comparison_report(folder / "report.html", comparison, facts=facts)
