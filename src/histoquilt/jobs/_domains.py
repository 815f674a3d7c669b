"""Job: find the domains of sections, integrated or one by one."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from histoquilt._base import DEFAULT_ENCODER, DOMAIN_MODELS, Keys, MissingKey, argument, is_samples_table
from histoquilt.jobs._annotations import AnnotationPlace
from histoquilt.jobs._export import add_exports, check_exports
from histoquilt.jobs._inputs import CheckedInputs, Needs, at_most, check_paths, read_inputs
from histoquilt.jobs._segment_all import Segmented, segment_each, segment_study, study_of
from histoquilt.jobs._segment_one import Denoise, SegmentSettings
from histoquilt.jobs.work._errors import JobError, about
from histoquilt.jobs.work._options import (
    PathName,
    SectionsConfig,
    annotations_option,
    annotations_scale_option,
    as_paths,
    check_memory_option,
    configured,
    documented,
    export_option,
    option,
    resume_option,
    seed_option,
)
from histoquilt.jobs.work._output import DomainResults, check_out, write_domain_results
from histoquilt.jobs.work._resume import digest_of
from histoquilt.jobs.work._run import JobResult, OnChecked, Run, start_run
from histoquilt.runtime import LOCAL, connect, is_main, n_processes, resolve_device, warn_user

IMAGE_ROLES = ("none", "edges", "features", "only")
LINKS = ("auto", "stack", "expression", "stitched", "none")
RANGE = re.compile(r"\s*(\d+)\s*[-,:]\s*(\d+)\s*")
NumberOfDomains = int | tuple[int, int] | None


@documented
@dataclass(frozen=True, kw_only=True)
class DomainsConfig(SectionsConfig):
    """Options of :func:`find_domains`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.jobs.DomainsConfig(n_domains=7, seed=1).n_domains
    7
    """

    n_domains: int | tuple[int, int] | str | None = option(
        "auto", "Number of domains: 7; 5-12 or auto (2-15) is chosen by stability.", short="-k", metavar="K"
    )
    method: str = option("shared_factors", "{choices}.", choices=DOMAIN_MODELS, metavar="NAME")
    seed: int = seed_option()
    links: str = option(
        "auto",
        "Links between sections: stack (serial; by z_um, else in the order given), expression, stitched "
        "(overlapping pieces) or none; auto is stack if z_um is given, else expression.",
        choices=LINKS,
    )
    separate: bool = option(False, "Do not integrate: find the domains of each section on its own.")
    skip_bad: bool = option(False, "Skip sections that cannot be read; run.json names them.")
    resume: bool = resume_option()
    use_rep: str | None = option(None, "Embedding in obsm to use instead of counts.", metavar="KEY")
    image: str = option(
        "none",
        "Use of the H&E image: edges (weighs links of the graph), features (joined to the genes), only (no genes) or "
        "none.",
        choices=IMAGE_ROLES,
    )
    image_key: str | None = option(
        None, "Image embedding in obsm; by default there, or made with --encoder.", metavar="KEY",
        doc="Image embedding in obsm; by default there, or made with ``encoder``.",
    )  # fmt: skip
    encoder: str | None = option(
        None, "Image encoder: he_texture (the default), onnx:PATH, timm:NAME, hf-hub:NAME.", metavar="NAME"
    )
    layer: str | None = option(None, "Layer with the expression, instead of X.", metavar="KEY")
    spatial_key: str = option(Keys.SPATIAL, "Key in obsm of the spot centres.", metavar="KEY")
    section_key: str | None = option(
        None, "Column of obs that distinguishes sections in one file; no edge joins two of them.", metavar="KEY"
    )
    config: PathName | Path | Any = option(  # or a histoquilt.models.ModelConfig
        None, "JSON file with settings of the method; others keep their defaults.", metavar="FILE"
    )
    refine: str = option(
        "majority",
        "Refinement of domains: majority (single spots take the domain that most of their neighbours have), potts "
        "(a Potts field weighs the expression of a spot against its neighbours) or none.",
        choices=("majority", "potts", "none"),
    )
    clustering: str = option(
        "mixture",
        "mixture, or merge (mixtures with too many domains, merged; for tissue that one domain dominates).",
        choices=("mixture", "merge"),
    )
    levels: str = option(
        "coarse",
        "Nested levels of the domains: coarse (merged), fine (also the parts of each domain; takes seconds) or none.",
        choices=("coarse", "fine", "none"),
    )
    stability: str = option(
        "spots",
        "Stability of the domain of every spot: spots (resampled spots, new seeds), counts (also genes, by splitting "
        "counts; finds the features six times; up to 50,000 spots) or none.",
        choices=("spots", "counts", "none"),
    )
    denoise: bool | str | Sequence[str] = option(
        "auto",
        "Denoised expression to write: all modelled genes, the best markers of every domain (markers), none, or genes "
        "by name (MBP,SNAP25). auto is all; markers above 50,000 spots; none for a study.",
        metavar="WHAT",
    )
    annotations: Path | None = annotations_option()
    annotations_scale: float | None = annotations_scale_option()
    label_key: str | None = option(
        None, "Compare domains with obs[KEY], if it is not the annotation given.", metavar="KEY",
        doc="Column of ``obs`` to compare domains with, if it is not the annotation given.",
    )  # fmt: skip
    check_memory: bool = check_memory_option()
    export: str | Sequence[str] | None = export_option()
    save_model: bool = option(False, "Write the trained model to DIR/model, to use on other tissue.")

    def __post_init__(self) -> None:
        """Also check the number of domains and genes to denoise, and options that exclude each other."""
        super().__post_init__()
        parse_n_domains(self.n_domains)
        if self.separate and self.links != "auto":
            raise JobError(
                f"{argument('links', self.links)} joins sections, and {argument('separate', True)} keeps them apart. "
                "Leave one of them out."
            )
        parse_denoise(self.denoise, integrated=False, use_rep=self.use_rep)
        if self.image == "only" and parse_denoise(self.denoise, integrated=False, use_rep=None) not in ("auto", False):
            raise JobError(
                f"{argument('image', 'only')} replaces the genes, so nothing can be denoised. Leave "
                f"{argument('denoise', self.denoise)} out."
            )
        if self.section_key is not None and self.one_section:
            raise JobError(
                f"{argument('one_section', True)} says that there is one section, and {argument('section_key')} names "
                "several. Choose one."
            )

    def annotated(self) -> AnnotationPlace:
        """Return where the annotations are."""
        return AnnotationPlace(self.annotations, self.annotations_scale, self.spatial_key)


@dataclass(frozen=True)
class DomainsResult(JobResult):
    """Results of :func:`find_domains`.

    Attributes
    ----------
    n_found
        Section -> number of domains that have spots.

    Examples
    --------
    >>> from pathlib import Path
    >>> import histoquilt as hq
    >>> done = hq.jobs.DomainsResult(Path("results"), {"seed": 0}, n_found={"s1": 7, "s2": 6})
    >>> done.out.name, done.n_found["s2"], done.already_done
    ('results', 6, False)
    """

    n_found: Mapping[str, int] | None = None


@dataclass(frozen=True)
class _Plan:
    """Checked inputs with the settings of the search."""

    found: CheckedInputs
    sections: Mapping[str, Any]  # of a study
    integrated: bool
    settings: SegmentSettings
    what: dict[str, Any]  # all that a result depends on, except its inputs


def find_domains(
    inputs: PathName | Sequence[PathName],
    out: PathName,
    settings: DomainsConfig | None = None,
    *,
    on_checked: OnChecked | None = None,
    **options: Any,
) -> DomainsResult:
    """Find the domains of sections in files, and write a results folder, as ``histoquilt domains`` does.

    Several inputs, and a ``samples.csv``, are a study: they are integrated
    (:func:`histoquilt.tl.integrate_sections`) unless ``separate=True`` finds the domains of each on its own
    (:func:`histoquilt.tl.spatial_domains`). Options and the output folder are checked before any input is read, and all
    inputs before any work. The folder is written atomically.

    Parameters
    ----------
    inputs
        Paths of sections in any format of :func:`histoquilt.io.read_section`, or of one ``samples.csv``. A section is
        named by its file or folder name without extension, or by its row.
    out
        Path of the results folder.
    settings
        Options as one object, to use them several times.
    on_checked
        Function that is called once all inputs are checked.
    options
        Fields of :class:`DomainsConfig`; they override ``settings``.

    Returns
    -------
    :class:`DomainsResult`. The folder holds ``<section>.h5ad``, ``domains.csv`` (``section, obs_name, domain``, and
    columns for nested levels and for stability), ``domains.png``, ``report.html``, ``run.json`` and, with
    ``save_model``, ``model/``; with ``export``, ``exports/<name>/``. With annotations, or labels in ``label_key``, also
    ``annotation_scores.csv`` (``section, ari, nmi, share, n_spots, n_regions``) and ``annotation_counts.csv`` (spots by
    domain and region), and ``facts["annotation"]`` has the scores.

    Raises
    ------
    JobError
        An option or an input is wrong (all wrong inputs are named), or inputs failed.
    FileExistsError
        ``out`` holds results and ``overwrite`` is false.
    TypeError
        An option does not exist.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path")
    >>> hq.datasets.toy_section(n_spots=300, n_genes=150, n_domains=3, seed=0).write_h5ad(folder / "tissue.h5ad")
    >>> done = hq.jobs.find_domains(folder / "tissue.h5ad", folder / "results", n_domains=3, progress=False)
    >>> done.facts["n_spots"], sorted(path.name for path in done.out.glob("*.csv"))
    ({'tissue': 300}, ['domains.csv'])
    """
    asked, paths = configured(DomainsConfig, settings, options), as_paths(inputs)
    several = len(paths) > 1 or is_samples_table(paths[0])
    if asked.save_model and asked.separate and several:
        raise JobError(
            f"{argument('save_model', True)} needs one model, and {argument('separate', True)} trains one for each "
            "section."
        )
    with _own_folder(Path(out), asked) as out:
        check_out(out, overwrite=asked.overwrite, inputs=paths, resume=asked.resume)
        check_paths(paths, section_key=asked.section_key, skip_bad=asked.skip_bad)
        asked.annotated().check(paths, section_key=asked.section_key)
        with (
            start_run("domains", {"inputs": paths, "out": out}, asked, on_checked) as run,
            connect(asked.dask, at_most=at_most(paths)) as run.workers,
        ):
            plan = _plan(run, asked, paths, keep=not (asked.separate and several))
            job = digest_of(
                command="domains",
                inputs=plan.found.digests,
                integrated=plan.integrated,
                links=asked.links,
                export=asked.export,
                label_key=asked.label_key,
                **plan.what,
            )
            if (before := run.done_before(job)) is not None:
                return DomainsResult(out, before, already_done=True)
            run.checked()
            result = _segment(run, asked, plan)
            if not is_main():  # the first process of torchrun writes
                return DomainsResult(out, {}, n_found=result.numbers("n_found"))
            return DomainsResult(out, _write(run, asked, plan, result, job), n_found=result.numbers("n_found"))


def parse_n_domains(value: int | tuple[int, int] | str | None) -> NumberOfDomains:
    """Return a number, a range, or None for ``"auto"``.

    Examples
    --------
    >>> parse_n_domains("7"), parse_n_domains("5-12"), parse_n_domains("auto")
    (7, (5, 12), None)
    """
    name = argument("n_domains")
    number: Any = value
    if isinstance(value, str):
        if between := RANGE.fullmatch(value):
            number = int(between[1]), int(between[2])
        elif value.strip().lower() == "auto":
            number = None
        else:
            try:
                number = int(value)
            except ValueError:
                raise JobError(f"{name} is a number (7), a range (5-12) or auto, got {value.strip()!r}.") from None
    if isinstance(number, tuple | list):
        least, most = number
        if not 2 <= least <= most:
            raise JobError(f"a range of {name} goes from 2 up, e.g. 5-12, got {least}-{most}.")
        return least, most
    if number is not None and number < 2:
        raise JobError(
            f"{name} must be at least 2, got {number}: a single domain is the whole section. Ask for 2 or more, a "
            "range (5-12) or auto."
        )
    return number


def parse_denoise(value: bool | str | Sequence[str], *, integrated: bool, use_rep: str | None) -> Denoise:
    """Return what to denoise: True for all modelled genes, False, names of genes, ``"markers"`` or ``"auto"``.

    Examples
    --------
    >>> parse_denoise("MBP, SNAP25", integrated=True, use_rep=None)
    ['MBP', 'SNAP25']
    """
    name = argument("denoise")
    known: dict[str, Denoise] = {"auto": "auto", "markers": "markers", "all": True, "none": False}
    asked: Any = known.get(value.strip().lower()) if isinstance(value, str) else value
    if asked is None:
        asked = [gene.strip() for gene in str(value).split(",") if gene.strip()]
    if not isinstance(asked, bool) and not asked:
        raise JobError(f"{name} is all, markers, none, auto or genes by name (MBP,SNAP25), got nothing.")
    if asked == "markers" and integrated:
        raise JobError(
            f"{argument('denoise', 'markers')} is for sections on their own. Of a study name the genes, or say all."
        )
    if asked == "auto":
        return False if integrated or use_rep is not None else asked
    if asked is not False and use_rep is not None:
        raise JobError(
            f"{argument('use_rep')} replaces the genes, so nothing can be denoised. Leave {argument('denoise', value)} "
            "out."
        )
    return asked if isinstance(asked, bool | str) else list(asked)


@contextmanager
def _own_folder(out: Path, asked: DomainsConfig) -> Iterator[Path]:
    """Yield the output folder; under ``torchrun`` all processes but the first get a scratch folder."""
    if n_processes() > 1 and asked.resume:
        raise JobError(
            f"{argument('resume', True)} keeps the work of one process, and torchrun started several. Leave it out, or "
            "run without torchrun."
        )
    if n_processes() > 1 and asked.dask:
        raise JobError(
            f"{argument('dask')} and torchrun both divide the work among processes. Use {argument('dask')} for several "
            "sections, torchrun for one that is large."
        )
    if is_main():
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="histoquilt-") as scratch:
        yield Path(scratch) / "out"


def _device(asked: DomainsConfig, has_network: bool) -> str:
    """Return the device to use. A model without a network uses none, and torch need not be loaded to look for one."""
    if asked.device == "auto" and not has_network:
        return "cpu"
    if asked.device != "auto" and asked.dask not in (None, LOCAL):  # other machines may have what this one lacks
        return asked.device
    return str(resolve_device(asked.device, sparse=True))


def _plan(run: Run, asked: DomainsConfig, paths: Sequence[Path], *, keep: bool) -> _Plan:
    """Read and check the inputs; decide on device, integration and denoising."""
    with run.record.stage("import"):
        check_exports(asked.export)
        model_class = DOMAIN_MODELS.load(asked.method)
    config: Any = asked.config
    if isinstance(config, str | PathLike):
        with about(config):
            config = model_class.config_class.from_json(config)
    device = _device(asked, model_class(config).has_network)
    n_domains = parse_n_domains(asked.n_domains)
    keys: dict[str, Any] = {"use_rep": asked.use_rep, "layer": asked.layer, "spatial_key": asked.spatial_key}
    role = None if asked.image == "none" else asked.image
    keys |= {"image": role, "image_key": asked.image_key, "encoder": asked.encoder}
    with run.record.stage("read"):
        largest = max(n_domains) if isinstance(n_domains, tuple) else n_domains or 1
        needs = Needs(n_domains=largest, section_key=asked.section_key, together=False, **keys)
        found = read_inputs(
            paths, needs, skip_bad=asked.skip_bad, keep=keep, options=asked.reading(), workers=run.workers,
            annotations=asked.annotated(),
        )  # fmt: skip
        sections = found.sections
        _check_label_key(sections, asked.label_key)
        linked = asked.section_key is not None and asked.links != "auto"
        integrated = not asked.separate and (len(sections) > 1 or linked)
        if integrated:
            sections = study_of(sections, asked.section_key, asked.spatial_key)
        elif asked.links != "auto" and len(found.sources) == 1:
            warn_user(f"There is one section, so {argument('links', asked.links)} has nothing to link.")
        what: dict[str, Any] = {"encoder_digest": _digest_images(found, sections if integrated else {}, asked, device)}
    denoise = parse_denoise(asked.denoise, integrated=integrated, use_rep=asked.use_rep)
    if not model_class.denoises and denoise not in ("auto", False):
        raise JobError(
            f"{argument('method', asked.method)} does not denoise. Leave {argument('denoise', asked.denoise)} out."
        )
    if not model_class.denoises or role == "only":
        denoise = False
    refine: Any = asked.refine != "none" and asked.refine
    options = {
        "refine": refine,
        "clustering": asked.clustering,
        "seed": asked.seed,
        "device": device,
        "denoise": denoise,
        **keys,
    }
    what |= {"n_domains": n_domains, "method": asked.method, "section_key": asked.section_key, "config": config}
    what |= {"save_model": asked.save_model, "levels": asked.levels, "stability": asked.stability}
    what |= {"reading": asked.reading(), **options}
    options["progress"] = asked.progress and (integrated or run.workers is None)
    options["check_memory"] = asked.check_memory
    settings = SegmentSettings(
        n_domains, asked.method, asked.section_key, config, options, asked.save_model, run.out, run.kept, asked.levels,
        asked.stability,
    )  # fmt: skip
    return _Plan(found, sections, integrated, settings, what)


def _digest_images(found: CheckedInputs, study: Mapping[str, Any], asked: DomainsConfig, device: str) -> str | None:
    """Add the images to the digests of the inputs and return that of the encoder; None if no image is embedded.

    Sections of a ``study`` need an embedding in common.
    """
    if asked.image == "none":
        return None
    from histoquilt import im
    from histoquilt.study import Section

    embeds = bool(found.unembedded)
    if not embeds and study:
        sections = {name: Section(name, adata) for name, adata in study.items()}
        embeds = im.embedding_keys_of(sections, image_key=asked.image_key, encoder=asked.encoder) is None
    if not embeds:
        return None
    found.add_images()
    return im.get_encoder(asked.encoder or DEFAULT_ENCODER, device=device).digest


def _check_label_key(sections: Mapping[str, Any], label_key: str | None) -> None:
    """Raise if a column of labels is in no section, or is the one of the result."""
    if label_key is None:
        return
    if label_key in (Keys.DOMAIN, Keys.SECTION, Keys.OBS_NAME):
        raise JobError(f"{argument('label_key', label_key)} is a column of the results. Give the labels another name.")
    if sections and not any(label_key in adata.obs for adata in sections.values()):
        first = next(iter(sections.values()))
        raise MissingKey(label_key, "obs of any section", first.obs, f"Pass another {argument('label_key')}.")


def _segment(run: Run, asked: DomainsConfig, plan: _Plan) -> Segmented:
    """Find the domains."""
    if plan.integrated:
        return segment_study(plan.sections, plan.settings, asked.links, run)
    found = plan.found
    jobs = {
        name: (
            run.work.item(name, found.digest_of(name, **plan.what)),
            source,
            plan.settings,
            found.sections.get(name) if run.workers is None else None,
        )
        for name, source in found.sources.items()
    }
    return segment_each(jobs, run, skip_bad=asked.skip_bad)


def _write(run: Run, asked: DomainsConfig, plan: _Plan, result: Segmented, job: str) -> dict[str, Any]:
    """Write the results folder and return the content of ``run.json``."""
    n_domains = result.numbers("n_domains")
    k = sorted(set(n_domains.values()))
    shared: dict[str, Any] = {
        "n_spots": result.numbers("n_spots"),
        "inputs": [one for one in plan.found.digests if one["section"] not in result.failed],
        "seed": asked.seed,
        "n_domains": k[0] if len(k) == 1 else n_domains,
        "device": plan.settings.options["device"],
        "n_domains_asked": _as_text(asked.n_domains),
        "integrated": plan.integrated,
        "skipped": plan.found.skipped | result.failed,
    }
    if result.study is not None:
        shared["links"] = result.study.uns[Keys.UNS]["integration"]["links"]
    names = list(result.sections)
    results = DomainResults(
        result.sections,
        title=f"Domains of {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}",
        spatial_key=asked.spatial_key,
        section_key=None if plan.integrated else asked.section_key,
        layer=asked.layer,
        study=result.study,
        model=result.model if asked.save_model else None,
        written=result.written,
        label_key=asked.label_key,
    )
    with run.results([run.work.done / f"{name}.h5ad" for name in result.written]) as folder:
        shared["annotation"] = write_domain_results(folder, results, lambda: run.facts(**shared)) or None
        add_exports(
            folder, result.sections, asked.export, spatial_key=asked.spatial_key, section_key=results.section_key
        )
        return run.finish(folder, shared, job)


def _as_text(n_domains: int | tuple[int, int] | str | None) -> str:
    if n_domains is None:
        return "auto"
    return f"{n_domains[0]}-{n_domains[1]}" if isinstance(n_domains, tuple) else str(n_domains)
