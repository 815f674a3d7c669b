"""The domains of one section on its own, from its file to its file; runs in this process or in another."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import DOMAIN_MODELS, Keys
from histoquilt.cli._console import noted
from histoquilt.cli._denoised import Denoise, denoise_markers, for_section
from histoquilt.cli._errors import about, writing
from histoquilt.cli._markers import add_markers
from histoquilt.cli._progress import Item
from histoquilt.cli._record import RunRecord
from histoquilt.cli._source import Source

if TYPE_CHECKING:
    from anndata import AnnData

    from histoquilt.models import DomainModel

SUFFIX, MODEL = ".h5ad", ".model"


@dataclass(frozen=True)
class Settings:
    """Settings that all sections share.

    Attributes
    ----------
    n_domains, section_key, options
        Arguments of :func:`histoquilt.tl.spatial_domains`; ``options`` holds its remaining ones.
    method, config
        Name of the domain model, and its settings; ``None`` for its defaults.
    save_model
        If true, also write the model.
    out, kept
        Output folder, and the folder in which finished results survive a failure; for messages.
    """

    n_domains: int | tuple[int, int] | None
    method: str
    section_key: str | None
    config: Any
    options: dict[str, Any]
    save_model: bool
    out: Path
    kept: Path | None


def segment_one(item: Item, source: Source, settings: Settings, adata: "AnnData | None" = None) -> dict[str, Any]:
    """Find the domains of one section and write ``<section>.h5ad``; nothing of it stays in memory.

    ``adata`` is the section where it is in memory already; it never travels.

    Returns
    -------
    ``n_spots``, ``n_domains``, ``n_found`` (those that any spot is in), ``timings`` and ``warnings``.

    Raises
    ------
    CommandError
        It has no domains to be found.
    WriteError
        It cannot be written.
    """
    from histoquilt import io

    record = RunRecord("domains", {})
    with noted() as warnings, about(source.path):
        if adata is None:
            with record.stage("read"):
                adata = source.read(whole=False)
        model: DomainModel = DOMAIN_MODELS.load(settings.method)(settings.config)
        _segment(adata, settings.n_domains, settings.section_key, model, record, settings.options)
    domains = adata.obs[Keys.DOMAIN]
    with writing(settings.out, kept=settings.kept), record.stage("write"):
        io.write_h5ad(adata, item.file(SUFFIX))
        if settings.save_model:
            model.save(item.file(MODEL), overwrite=True)
        facts = {
            "n_spots": adata.n_obs,
            "n_domains": int(domains.cat.categories.size),
            "n_found": int(domains.nunique()),
            "timings": dict(record.timings),
            "warnings": warnings,
        }
        item.finish([SUFFIX], facts)
    return facts


def _segment(
    adata: "AnnData",
    n_domains: int | tuple[int, int] | None,
    section_key: str | None,
    model: "DomainModel",
    record: RunRecord,
    options: dict[str, Any],
) -> None:
    from histoquilt import tl

    denoise: Denoise = for_section(options["denoise"], adata)
    options = {**options, "denoise": False if denoise == "markers" else denoise}
    with record.stage("domains"):
        tl.spatial_domains(adata, n_domains, model=model, section_key=section_key, **options)
    with record.stage("markers"):
        has_markers = add_markers(adata, options["layer"])
    if denoise == "markers" and has_markers:
        with record.stage("denoised markers"):
            denoise_markers(adata, model)
