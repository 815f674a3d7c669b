"""Job: evaluate methods on sections that they have not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import EXPRESSION_MODELS, Keys, argument, listed
from histoquilt.jobs._annotations import AnnotationPlace
from histoquilt.jobs._inputs import file_digests
from histoquilt.jobs.expression._images import ImagedConfig, ImagedSections, check_samples, read_imaged
from histoquilt.jobs.work._errors import JobError
from histoquilt.jobs.work._options import (
    PathName,
    annotations_option,
    annotations_scale_option,
    comma_separated,
    configured,
    documented,
    option,
    seed_option,
)
from histoquilt.jobs.work._output import check_out
from histoquilt.jobs.work._record import sha256
from histoquilt.jobs.work._run import JobResult, OnChecked, Run, check_one_process, start_run
from histoquilt.runtime import connect, warn_user

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from histoquilt.evaluate import Evaluation
    from histoquilt.train import Split

LEAVE_OUT = ("patient", "section", "fold")
PROTOCOLS = ("honest", "published", "hest")


@documented
@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(ImagedConfig):
    """Options of :func:`evaluate_models`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.jobs.EvaluateConfig(leave_out="section").leave_out
    'section'
    """

    methods: str | Sequence[str] = option(
        "stack,spahgc,mclstexp",
        "{choices}; baselines, and the members of a stack, are always added.",
        choices=EXPRESSION_MODELS,
        separated=True,
        metavar="A,B",
    )
    leave_out: str = option(
        "patient",
        "patient; section, whose scores are optimistic; or fold, a column of the table.",
        metavar="WHAT",
        choices=LEAVE_OUT,
    )
    splits: Path | None = option(
        None,
        "Folds of your own: a CSV with the columns fold, section, side (train or test), checked for leaks; with "
        "--leave-out section they may share patients.",
        metavar="FILE",
        is_path=True,
    )
    seed: int = seed_option()
    seeds: str | Sequence[int] | None = option(None, "Several seeds, instead of --seed.", metavar="S,S")
    protocol: str = option(
        "honest",
        "honest; published adds scores in the papers' own, flawed definition; hest those of HEST-Bench and its linear "
        "probe, and takes the folder of a task instead of a samples.csv.",
        metavar="NAME",
        choices=PROTOCOLS,
    )
    all: bool = option(False, "With --protocol hest: evaluate all tasks in the folder, and write one table.")
    label_key: str | None = option(
        None,
        "Compare domains of predictions with obs[KEY], by default with the annotations, if any; undetermined, unknown "
        "and the like are no labels.",
        metavar="KEY",
    )
    annotations: Path | None = annotations_option()
    annotations_scale: float | None = annotations_scale_option()
    gmt: Path | None = option(None, "Gene sets to test for well-predicted genes.", metavar="FILE", is_path=True)
    markers: Path | None = option(
        None, "Genes to score as a set of their own, one per line.", metavar="FILE", is_path=True
    )

    def __post_init__(self) -> None:
        """Also check the seeds, and that domains are compared with one annotation."""
        super().__post_init__()
        self.all_seeds()
        if self.all and self.protocol != "hest":
            raise JobError(f"{argument('all', True)} is for tasks of HEST-Bench: add {argument('protocol', 'hest')}.")
        if self.label_key is not None and self.annotations is not None:
            raise JobError(
                f"{argument('annotations')} and {argument('label_key')} both name what domains are compared with. "
                "Choose one."
            )

    def method_names(self) -> list[str]:
        """Return the names of the methods, each once.

        Examples
        --------
        >>> EvaluateConfig(methods="spahgc, knn").method_names()
        ['spahgc', 'knn']
        """
        return list(dict.fromkeys(comma_separated(self.methods, "methods")))

    def all_seeds(self) -> list[int]:
        """Return the seeds.

        Examples
        --------
        >>> EvaluateConfig(seeds="0,1,2").all_seeds(), EvaluateConfig(seed=7).all_seeds()
        ([0, 1, 2], [7])
        """
        if self.seeds is None:
            return [self.seed]
        parts, name = comma_separated(self.seeds, "seeds"), argument("seeds")
        if not all(part.isascii() and part.isdigit() and int(part) < 2**32 for part in parts):
            raise JobError(f"{name} is one or more whole numbers (0,1,2), got {self.seeds!r}.")
        if len(set(map(int, parts))) < len(parts):
            raise JobError(f"{name} names a seed twice: {self.seeds}.")
        return [int(part) for part in parts]


@dataclass(frozen=True)
class EvaluateResult(JobResult):
    """Results of :func:`evaluate_models`.

    Attributes
    ----------
    evaluation
        All tables (:class:`histoquilt.evaluate.Evaluation`); of tasks of HEST-Bench that of the only one, else None.
    hest
        For tasks of HEST-Bench the table of all of them (:func:`histoquilt.evaluate.hest_overview`); else None.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd, histoquilt as hq
    >>> hest = pd.DataFrame({"method": ["hest_probe", "ridge"], "average": [0.31, 0.35]})
    >>> done = hq.jobs.EvaluateResult(Path("results"), {"seeds": [0]}, hest=hest)
    >>> done.hest.set_index("method")["average"].idxmax(), done.evaluation
    ('ridge', None)
    """

    evaluation: "Evaluation | None" = None
    hest: "pd.DataFrame | None" = None


def evaluate_models(
    samples: PathName,
    out: PathName,
    settings: EvaluateConfig | None = None,
    *,
    on_checked: OnChecked | None = None,
    **options: Any,
) -> EvaluateResult:
    """Evaluate methods on sections that they have not seen, as ``histoquilt evaluate`` does.

    Baselines and oracles are always included, see :func:`histoquilt.tl.evaluate_expression`.

    Parameters
    ----------
    samples
        Path of a ``samples.csv`` with at least three sections, as for :func:`train_model`; with ``protocol="hest"``
        also of the folder of a task of HEST-Bench, or with ``all=True`` of a folder of tasks.
    out
        Path of the results folder.
    settings
        Options as one object, to use them several times.
    on_checked
        Function that is called once all inputs are checked.
    options
        Fields of :class:`EvaluateConfig`; they override ``settings``.

    Returns
    -------
    :class:`EvaluateResult`. The folder holds ``scores.csv``, ``genes.csv``, ``gene_summary.csv``, ``differences.csv``,
    ``intervals.csv``, ``structure.csv``, tables that were asked for, ``report.html`` and ``run.json``. For tasks of
    HEST-Bench these are in a folder for each task, next to ``hest.csv`` (their scores, one row for each task, split and
    method), ``table.csv`` (one column per task, with published rows quoted), ``report.html`` and ``run.json``.

    Raises
    ------
    JobError
        An option or an input is wrong (all wrong inputs are named).
    FileExistsError
        ``out`` holds results and ``overwrite`` is false.
    TypeError
        An option does not exist.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path")
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> for name, section in study.items():
    ...     section.write_h5ad(folder / f"{name}.h5ad")
    >>> lines = ["section,counts", *(f"{name},{name}.h5ad" for name in study)]
    >>> _ = (folder / "samples.csv").write_text(chr(10).join(lines))
    >>> done = hq.jobs.evaluate_models(
    ...     folder / "samples.csv", folder / "judged", methods="ridge", use_rep="X_image", progress=False
    ... )
    >>> "ridge" in done.evaluation.summary().index
    True
    """
    asked, samples, out = configured(EvaluateConfig, settings, options), Path(samples), Path(out)
    check_one_process("evaluate")
    gmt = asked.gmt
    if gmt is not None and not gmt.is_file():
        raise JobError(f"there is no GMT file {gmt}. Check the path.")
    if asked.protocol == "hest" and (samples.is_dir() or asked.all):
        from histoquilt.jobs.expression._hest import evaluate_tasks

        return evaluate_tasks(samples, out, asked, on_checked)
    check_samples(samples)
    markers = asked.markers
    if markers is not None and not markers.is_file():
        raise JobError(f"there is no file {markers} ({argument('markers')}). Check the path.")
    if asked.splits is not None and not asked.splits.is_file():
        raise JobError(f"there is no file {asked.splits} ({argument('splits')}). Check the path.")
    lists = [file for file in (gmt, markers, asked.splits) if file is not None]
    AnnotationPlace(asked.annotations, asked.annotations_scale).check([samples])
    check_out(out, overwrite=asked.overwrite, inputs=[samples, *lists])
    with start_run("evaluate", {"samples": samples, "out": out}, asked, on_checked) as run:
        study, device, genes, splits = _read_and_embed(samples, gmt, markers, asked, run)
        from histoquilt import tl

        with run.record.stage("evaluate"):
            evaluation = tl.evaluate_expression(
                study.sections, asked.method_names(), use_rep=study.reps, leave_out=asked.leave_out,  # type: ignore[arg-type]
                seeds=asked.all_seeds(), device=device, n_genes=asked.n_genes, protocol=asked.protocol,  # type: ignore[arg-type]
                label_key=_label_key(study.sections, asked), gmt=gmt, markers=genes, splits=splits,
                progress=asked.progress,
            )  # fmt: skip
        return EvaluateResult(out, _write(evaluation, study, lists, asked, run), evaluation=evaluation)


def _read_and_embed(
    samples: Path, gmt: Path | None, markers: Path | None, asked: EvaluateConfig, run: Run
) -> "tuple[ImagedSections, str, list[str], list[Split] | None]":
    """Return sections with embeddings, the device for networks, markers as the sections name them, and own folds."""
    with run.record.stage("import"):
        from histoquilt import metrics
        from histoquilt.evaluate import check_images, match_markers, new_model, plan_folds
        from histoquilt.runtime import resolve_device
        from histoquilt.tl import labelled_sections
        from histoquilt.train import read_splits

        has_network = any(new_model(name).has_network for name in asked.method_names())
        device = str(resolve_device(asked.device, sparse=has_network))
        if gmt is not None:
            metrics.read_gmt(gmt)  # errors are raised now
        asked_genes = [] if markers is None else metrics.read_genes(markers)
        own = None if asked.splits is None else read_splits(asked.splits, optimistic=asked.leave_out == "section")

    genes: list[str] = []
    folds: list[Split] = []

    def check(sections: dict[str, "AnnData"]) -> None:
        usable = _usable(own, sections) if own is not None and asked.skip_bad else own
        folds.extend(plan_folds(sections, asked.leave_out, usable))
        if own is not None or asked.leave_out == Keys.FOLD:
            check_images(folds, _image_digests(sections))
        genes.extend(match_markers({name: adata.var for name, adata in sections.items()}, asked_genes))
        if (label_key := _label_key(sections, asked)) is not None:
            labelled_sections(sections, label_key)

    with connect(asked.dask) as run.workers:
        study = read_imaged(
            samples, asked, run, device=device, cache=asked.cache, least_sections=3, check=check,
            annotations=AnnotationPlace(asked.annotations, asked.annotations_scale),
        )  # fmt: skip
        study.embed(run)
    return study, device, genes, None if own is None else folds


def _image_digests(sections: dict[str, "AnnData"]) -> dict[str, str]:
    """Return section -> digest of its image file, without sections that have none."""
    records = {name: adata.uns[Keys.UNS].get(Keys.IMAGE) for name, adata in sections.items()}
    paths = [(name, Path(record["path"])) for name, record in records.items() if record is not None]
    digests: dict[str, str] = {}
    for entry in file_digests(item for item in paths if item[1].is_file()):  # a slide may be several files
        digests[entry["section"]] = digests.get(entry["section"], "") + entry["sha256"]
    return digests


def _usable(splits: "list[Split]", sections: dict[str, "AnnData"]) -> "list[Split]":
    """Return folds without sections that are not there or cannot be used, and without folds that then hold none out."""
    named = dict.fromkeys(name for split in splits for name in (*split.train, *split.test))
    if missing := [name for name in named if name not in sections]:
        warn_user(f"Sections of {argument('splits')} that cannot be used are left out of the folds: {listed(missing)}.")
    kept = [
        replace(
            split,
            train=[name for name in split.train if name in sections],
            test=[name for name in split.test if name in sections],
        )
        for split in splits
    ]
    return [split for split in kept if split.test]


def _label_key(sections: Mapping[str, "AnnData"], asked: EvaluateConfig) -> str | None:
    """Return the column of labels asked for, else that of the annotations; None if no section has any."""
    from histoquilt.study import annotation_key

    keys = (annotation_key(adata) for adata in sections.values())
    return asked.label_key or next((key for key in keys if key is not None), None)


def _write(
    evaluation: "Evaluation", study: ImagedSections, lists: list[Path], asked: EvaluateConfig, run: Run
) -> dict[str, Any]:
    """Write the results folder and return the content of ``run.json``."""
    facts = {
        **study.facts,
        "methods": asked.method_names(),
        "skipped": study.skipped,
        "folds": evaluation.folds.to_dict("records"),
        "inputs": study.digests + [{"path": str(file), "sha256": sha256(file)} for file in lists],
    }
    with run.results() as folder:
        return run.finish(folder, write_evaluation(folder, evaluation, run, facts))


def write_evaluation(folder: Path, evaluation: "Evaluation", run: Run, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the tables and the report of an evaluation; return its facts together with those given."""
    from histoquilt.report import write_evaluation_report

    for name, table in _tables_of(evaluation).items():
        table.to_csv(folder / name, index=False)
    shared = {key: value for key, value in evaluation.facts.items() if key != "version"} | dict(facts)
    write_evaluation_report(
        folder / "report.html", evaluation, facts=run.facts(**shared), predictions=evaluation.predictions
    )
    return shared


def _tables_of(evaluation: "Evaluation") -> dict[str, "pd.DataFrame"]:
    """Return file name -> table, without those that were not asked for."""
    tables = {
        "scores.csv": evaluation.scores,
        "genes.csv": evaluation.genes,
        "gene_summary.csv": evaluation.gene_summary,
        "differences.csv": evaluation.differences,
        "intervals.csv": evaluation.intervals,
        "structure.csv": evaluation.structure,
    }
    optional = {
        "domains.csv": evaluation.domains,
        "enrichment.csv": evaluation.enrichment,
        "published.csv": evaluation.published,
        "hest.csv": evaluation.hest,
    }
    return tables | {name: table for name, table in optional.items() if len(table)}
