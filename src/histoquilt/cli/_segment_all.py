"""The domains of all sections of a run: each on its own, or of a study together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import Keys
from histoquilt.cli._carry_out import carry_out
from histoquilt.cli._console import Console
from histoquilt.cli._errors import CommandError
from histoquilt.cli._markers import add_markers
from histoquilt.cli._output import Written
from histoquilt.cli._progress import Item, Work
from histoquilt.cli._record import RunRecord
from histoquilt.cli._segment_one import MODEL, Settings, segment_one
from histoquilt.cli._source import Source
from histoquilt.runtime import Workers, logger

if TYPE_CHECKING:
    from anndata import AnnData

    from histoquilt.models import DomainModel


@dataclass(frozen=True)
class Segmented:
    """What was found in all sections; those that are written already are read from their files."""

    sections: Mapping[str, "AnnData"]
    n_spots: dict[str, int]
    n_domains: dict[str, int]
    n_found: dict[str, int]  # domains that any spot is in
    model: "DomainModel | Path"  # trained, or the folder that it was written to
    study: "AnnData | None" = None
    written: Sequence[str] = ()
    failed: dict[str, str] = field(default_factory=dict)


def segment_each(
    jobs: Mapping[str, tuple[Item, Source, Settings, "AnnData | None"]],
    work: Work,
    console: Console,
    record: RunRecord,
    *,
    skip_bad: bool,
    workers: Workers | None,
) -> Segmented:
    """Find the domains of each section on its own."""
    at_hand = {name: adata for name, (item, *_, adata) in jobs.items() if adata is not None and not item.finished()}
    done, failed = carry_out(segment_one, jobs, work, console, record, skip_bad=skip_bad, workers=workers)
    first, *_ = (jobs[name][0] for name in done)
    return Segmented(
        sections=Written(work.done, list(done), at_hand),
        **{key: {name: one[key] for name, one in done.items()} for key in ("n_spots", "n_domains", "n_found")},
        model=first.file(MODEL),  # asked for only where there is one section
        written=list(done),
        failed=failed,
    )


def segment_study(
    sections: Mapping[str, "AnnData"],
    n_domains: int | tuple[int, int] | None,
    links: str,
    model: "DomainModel",
    record: RunRecord,
    options: dict[str, Any],
) -> Segmented:
    """Integrate a study; its sections carry what was found."""
    from histoquilt import io, tl

    logger.info("%d sections are integrated; --separate finds the domains of each on its own.", len(sections))
    with record.stage("domains"):
        joint = tl.integrate_sections(sections, n_domains, links=links, model=model, **options)  # type: ignore[arg-type]
    with record.stage("markers"):
        add_markers(joint, options["layer"])
    apart = io.split_sections(joint)
    return Segmented(
        sections=apart,
        n_spots={name: adata.n_obs for name, adata in apart.items()},
        n_domains={name: int(adata.obs[Keys.DOMAIN].cat.categories.size) for name, adata in apart.items()},
        n_found={name: int(adata.obs[Keys.DOMAIN].nunique()) for name, adata in apart.items()},
        model=model,
        study=joint,
    )


def study_of(inputs: dict[str, "AnnData"], section_key: str | None, spatial_key: str) -> dict[str, "AnnData"]:
    """Return the sections of a study, every input taken apart; raises unless they belong together."""
    from histoquilt import io

    sections = inputs if section_key is None else _all_sections(inputs, section_key)
    if len(sections) < 2:
        raise CommandError(
            f"obs[{section_key!r}] names one section, {', '.join(sections)}: --links has nothing to link."
        )
    try:
        io.check_study(sections, spatial_key=spatial_key)
    except ValueError as error:
        raise CommandError(f"{error} Sections that do not belong together: --separate.") from error
    return sections


def _all_sections(inputs: dict[str, "AnnData"], section_key: str) -> dict[str, "AnnData"]:
    """Take every input apart into its sections."""
    from histoquilt import io

    found: dict[str, AnnData] = {}
    for source, adata in inputs.items():
        for name, section in io.split_sections(adata, section_key).items():
            if name in found:
                raise CommandError(
                    f"section {name!r} (obs[{section_key!r}]) is in {source!r} and in another input. Sections need "
                    "names of their own: rename one."
                )
            found[name] = section
    return found
