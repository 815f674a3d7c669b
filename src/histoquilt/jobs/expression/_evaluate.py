"""Job: evaluate methods on sections that they have not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import EXPRESSION_MODELS, argument
from histoquilt.jobs._annotations import AnnotationPlace
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
from histoquilt.runtime import connect

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from histoquilt.evaluate import Evaluation

LEAVE_OUT = ("patient", "section")
PROTOCOLS = ("honest", "published")


@documented
@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(ImagedConfig):
    """Options of :func:`evaluate_models`."""

    methods: str | Sequence[str] = option(
        "stack,spahgc,mclstexp",
        "{choices}; baselines, and the members of a stack, are always added.",
        choices=EXPRESSION_MODELS,
        separated=True,
        metavar="A,B",
    )
    leave_out: str = option(
        "patient", "patient, or section, whose scores are optimistic.", metavar="WHAT", choices=LEAVE_OUT
    )
    seed: int = seed_option()
    seeds: str | Sequence[int] | None = option(None, "Several seeds, instead of --seed.", metavar="S,S")
    protocol: str = option(
        "honest",
        "honest; published adds scores in the papers' own, flawed definition.",
        metavar="NAME",
        choices=PROTOCOLS,
    )
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
        All tables (:class:`histoquilt.evaluate.Evaluation`).
    """

    evaluation: "Evaluation | None" = None


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
        Path of a ``samples.csv`` with at least three sections, as for :func:`train_model`.
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
    ``intervals.csv``, ``structure.csv``, tables that were asked for, ``report.html`` and ``run.json``.

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
    check_samples(samples)
    gmt = asked.gmt
    if gmt is not None and not gmt.is_file():
        raise JobError(f"there is no GMT file {gmt}. Check the path.")
    markers = asked.markers
    if markers is not None and not markers.is_file():
        raise JobError(f"there is no file {markers} ({argument('markers')}). Check the path.")
    lists = [file for file in (gmt, markers) if file is not None]
    AnnotationPlace(asked.annotations, asked.annotations_scale).check([samples])
    check_out(out, overwrite=asked.overwrite, inputs=[samples, *lists])
    with start_run("evaluate", {"samples": samples, "out": out}, asked, on_checked) as run:
        study, device, genes = _read_and_embed(samples, gmt, markers, asked, run)
        from histoquilt import tl

        with run.record.stage("evaluate"):
            evaluation = tl.evaluate_expression(
                study.sections, asked.method_names(), use_rep=study.reps, leave_out=asked.leave_out,  # type: ignore[arg-type]
                seeds=asked.all_seeds(), device=device, n_genes=asked.n_genes, protocol=asked.protocol,  # type: ignore[arg-type]
                label_key=_label_key(study.sections, asked), gmt=gmt, markers=genes, progress=asked.progress,
            )  # fmt: skip
        return EvaluateResult(out, _write(evaluation, study, lists, asked, run), evaluation=evaluation)


def _read_and_embed(
    samples: Path, gmt: Path | None, markers: Path | None, asked: EvaluateConfig, run: Run
) -> tuple[ImagedSections, str, list[str]]:
    """Return the sections with embeddings, the device for networks, and markers as the sections name them."""
    with run.record.stage("import"):
        from histoquilt import metrics
        from histoquilt.evaluate import match_markers, new_model, plan_folds
        from histoquilt.runtime import resolve_device
        from histoquilt.tl import labelled_sections

        has_network = any(new_model(name).has_network for name in asked.method_names())
        device = str(resolve_device(asked.device, sparse=has_network))
        if gmt is not None:
            metrics.read_gmt(gmt)  # errors are raised now
        listed = [] if markers is None else metrics.read_genes(markers)

    genes: list[str] = []

    def check(sections: dict[str, "AnnData"]) -> None:
        plan_folds(sections, asked.leave_out)
        genes.extend(match_markers({name: adata.var for name, adata in sections.items()}, listed))
        if (label_key := _label_key(sections, asked)) is not None:
            labelled_sections(sections, label_key)

    with connect(asked.dask) as run.workers:
        study = read_imaged(
            samples, asked, run, device=device, cache=asked.cache, least_sections=3, check=check,
            annotations=AnnotationPlace(asked.annotations, asked.annotations_scale),
        )  # fmt: skip
        study.embed(run)
    return study, device, genes


def _label_key(sections: Mapping[str, "AnnData"], asked: EvaluateConfig) -> str | None:
    """Return the column of labels asked for, else that of the annotations; None if no section has any."""
    from histoquilt.study import annotation_key

    keys = (annotation_key(adata) for adata in sections.values())
    return asked.label_key or next((key for key in keys if key is not None), None)


def _write(
    evaluation: "Evaluation", study: ImagedSections, lists: list[Path], asked: EvaluateConfig, run: Run
) -> dict[str, Any]:
    """Write the results folder and return the content of ``run.json``."""
    from histoquilt.report import write_evaluation_report

    shared = {
        **{key: value for key, value in evaluation.facts.items() if key != "version"},
        **study.facts,
        "methods": asked.method_names(),
        "skipped": study.skipped,
        "folds": evaluation.folds.to_dict("records"),
        "inputs": study.digests + [{"path": str(file), "sha256": sha256(file)} for file in lists],
    }
    with run.results() as folder:
        for name, table in tables_of(evaluation).items():
            table.to_csv(folder / name, index=False)
        write_evaluation_report(
            folder / "report.html", evaluation, facts=run.facts(**shared), predictions=evaluation.predictions
        )
        return run.finish(folder, shared)


def tables_of(evaluation: "Evaluation") -> dict[str, "pd.DataFrame"]:
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
    }
    return tables | {name: table for name, table in optional.items() if len(table)}
