"""Domains of one section, from its file to its result file; runs in this process or on a worker."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import DOMAIN_MODELS, Keys, argument
from histoquilt.jobs._source import Source
from histoquilt.jobs.work._errors import about, one_line, writing
from histoquilt.jobs.work._record import RunRecord, capture_warnings
from histoquilt.jobs.work._resume import Item
from histoquilt.runtime import logger, warn_user

if TYPE_CHECKING:
    from anndata import AnnData

    from histoquilt.models import DomainModel

SUFFIX, MODEL = ".h5ad", ".model"
Denoise = bool | str | list[str]  # as the library takes it, or "markers" or "auto"

_ALL_GENES = 50_000  # spots up to which all modelled genes are denoised; of more the file would be gigabytes


@dataclass(frozen=True)
class SegmentSettings:
    """Settings that all sections share."""

    n_domains: int | tuple[int, int] | None
    method: str  # Name of the domain model
    section_key: str | None
    config: Any  # Settings of the model; None for its defaults
    options: dict[str, Any]  # Remaining arguments of histoquilt.tl.spatial_domains
    save_model: bool
    out: Path  # Output folder, for messages
    kept: Path | None  # Folder in which finished results survive a failure, for messages
    levels: str  # Nested levels: coarse, fine or none
    stability: str  # Resampling: spots, counts or none

    def new_model(self) -> "DomainModel":
        """Return an untrained model."""
        model: DomainModel = DOMAIN_MODELS.load(self.method)(self.config)
        return model


def segment_one(
    item: Item, source: Source, settings: SegmentSettings, adata: "AnnData | None" = None
) -> dict[str, Any]:
    """Find the domains of one section and write ``<section>.h5ad``.

    ``adata`` is the section if it is in memory already; it is not sent to workers.

    Returns
    -------
    The :func:`domain_counts`, ``timings`` and ``warnings``.

    Raises
    ------
    JobError
        Its domains cannot be found.
    WriteError
        Results cannot be written.
    """
    from histoquilt import io

    record = RunRecord("domains", {})
    with capture_warnings() as warnings, about(source.path):
        if adata is None:
            with record.stage("read"):
                adata = source.read(whole=False)
        model = settings.new_model()
        _segment(adata, model, settings, item, record)
    with writing(settings.out, kept=settings.kept), record.stage("write"):
        io.write_h5ad(adata, item.file(SUFFIX))
        if settings.save_model:
            model.save(item.file(MODEL), overwrite=True)
        facts = {**domain_counts(adata), "timings": record.stages.seconds(), "warnings": warnings}
        item.finish([SUFFIX], facts)
    return facts


def domain_counts(adata: "AnnData") -> dict[str, int]:
    """Return ``n_spots``, ``n_domains`` and ``n_found``, the number of domains that have spots."""
    domains = adata.obs[Keys.DOMAIN]
    return {
        "n_spots": adata.n_obs, "n_domains": int(domains.cat.categories.size), "n_found": int(domains.nunique()),
    }  # fmt: skip


def _segment(adata: "AnnData", model: "DomainModel", settings: SegmentSettings, item: Item, record: RunRecord) -> None:
    from histoquilt import tl

    denoise = _of_section(settings.options["denoise"], adata)
    options = {**settings.options, "denoise": False if denoise == "markers" else denoise}
    with record.stage("domains"):
        tl.spatial_domains(adata, settings.n_domains, model=model, section_key=settings.section_key, **options)
    with record.stage("levels"):
        add_levels(adata, settings, settings.section_key)
    with record.stage("stability"):
        add_stability(adata, settings, settings.section_key)
    with record.stage("markers"):
        has_markers = add_markers(adata, options["layer"])
    if denoise == "markers" and has_markers:
        with record.stage("denoised markers"):
            tl.denoise_markers(adata, model)


def add_levels(adata: "AnnData", settings: SegmentSettings, section_key: str | None) -> None:
    """Nest the domains; warn if that is impossible."""
    from histoquilt import tl

    if settings.levels == "none":
        return
    options = {name: settings.options[name] for name in ("seed", "spatial_key")}
    try:
        tl.domain_tree(adata, fine=settings.levels == "fine", section_key=section_key, **options)
    except ValueError as error:
        warn_user(f"Nested levels are left out; the domains are written. {one_line(error)}")


def add_stability(adata: "AnnData", settings: SegmentSettings, section_key: str | None) -> None:
    """Write the stability of the domains at all levels; warn if that is impossible."""
    from histoquilt import tl

    if settings.stability == "none":
        return
    options = {name: settings.options[name] for name in ("seed", "spatial_key", "layer")}
    sources: Any = ("spots", "seeds") if settings.stability == "spots" else None
    try:
        tl.domain_stability(adata, sources=sources, section_key=section_key, **options)
    except ValueError as error:
        warn_user(f"The stability of domains is left out; the domains are written. {one_line(error)}")


def add_markers(adata: "AnnData", layer: str | None) -> bool:
    """Write markers of the domains; warn and return False if there are none."""
    from histoquilt import tl
    from histoquilt.study import keep_foreign

    if keep_foreign(adata, "uns", Keys.MARKERS) is None:
        adata.uns.pop(Keys.MARKERS, None)  # of an earlier run's domains
    if not adata.n_vars:
        return False
    try:
        tl.domain_markers(adata, layer=layer)
    except ValueError as error:
        warn_user(f"Markers are left out; the domains are written. {one_line(error)}")
        return False
    return True


def _of_section(denoise: Denoise, adata: "AnnData") -> Denoise:
    """Return the genes to denoise of a section for ``"auto"``: all genes of a large one would take gigabytes."""
    if denoise != "auto":
        return denoise
    if adata.n_obs <= _ALL_GENES:
        return True
    everything = argument("denoise", "all")
    logger.info("%s spots: only the best markers are denoised; %s takes all genes.", f"{adata.n_obs:,}", everything)
    return "markers"
