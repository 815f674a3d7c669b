"""Domains of all sections of a job: one by one, or integrated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import Keys, argument
from histoquilt.jobs._segment_one import (
    MODEL,
    SegmentSettings,
    add_levels,
    add_markers,
    add_stability,
    domain_counts,
    segment_one,
)
from histoquilt.jobs._source import Source
from histoquilt.jobs.work._errors import JobError
from histoquilt.jobs.work._output import WrittenSections
from histoquilt.jobs.work._resume import Item
from histoquilt.jobs.work._run import Run, run_jobs
from histoquilt.runtime import logger

if TYPE_CHECKING:
    from anndata import AnnData

    from histoquilt.models import DomainModel


@dataclass(frozen=True)
class Segmented:
    """Results of all sections; those that are written already are read from their files."""

    sections: Mapping[str, "AnnData"]
    counts: dict[str, dict[str, int]]  # Section -> its domain_counts
    model: "DomainModel | Path"  # trained model, or the folder that it was written to
    study: "AnnData | None" = None
    written: Sequence[str] = ()
    failed: dict[str, str] = field(default_factory=dict)

    def numbers(self, key: str) -> dict[str, int]:
        """Return section -> one of its counts."""
        return {name: counts[key] for name, counts in self.counts.items()}


def segment_each(
    jobs: Mapping[str, tuple[Item, Source, SegmentSettings, "AnnData | None"]], run: Run, *, skip_bad: bool
) -> Segmented:
    """Find the domains of each section on its own."""
    at_hand = {name: adata for name, (item, *_, adata) in jobs.items() if adata is not None and not item.finished()}
    done, failed = run_jobs(segment_one, jobs, run, skip_bad=skip_bad)
    first, *_ = (jobs[name][0] for name in done)
    return Segmented(
        sections=WrittenSections(run.work.done, list(done), at_hand),
        counts=done,
        model=first.file(MODEL),  # used only if there is one section
        written=list(done),
        failed=failed,
    )


def segment_study(sections: Mapping[str, "AnnData"], settings: SegmentSettings, links: str, run: Run) -> Segmented:
    """Integrate the sections of a study."""
    from histoquilt import io, tl

    apart = argument("separate", True)
    logger.info("%d sections are integrated; %s finds the domains of each on its own.", len(sections), apart)
    model = settings.new_model()
    options: dict[str, Any] = {**settings.options, "links": links}
    with run.record.stage("domains"):
        joint = tl.integrate_sections(sections, settings.n_domains, model=model, **options)
    with run.record.stage("levels"):
        add_levels(joint, settings, Keys.SECTION)
    with run.record.stage("stability"):
        add_stability(joint, settings, Keys.SECTION)
    with run.record.stage("markers"):
        add_markers(joint, options["layer"])
    split = io.split_sections(joint)
    return Segmented(
        sections=split,
        counts={name: domain_counts(adata) for name, adata in split.items()},
        model=model,
        study=joint,
    )


def study_of(inputs: dict[str, "AnnData"], section_key: str | None, spatial_key: str) -> dict[str, "AnnData"]:
    """Return the sections of a study, every input split; raise unless they belong together."""
    from histoquilt import io

    sections = inputs if section_key is None else _all_sections(inputs, section_key)
    if len(sections) < 2:
        raise JobError(
            f"obs[{section_key!r}] names one section, {', '.join(sections)}: {argument('links')} has nothing to link."
        )
    try:
        io.check_study(sections, spatial_key=spatial_key)
    except ValueError as error:
        raise JobError(
            f"{error} {argument('separate', True)} finds the domains of sections that do not belong together."
        ) from error
    return sections


def _all_sections(inputs: dict[str, "AnnData"], section_key: str) -> dict[str, "AnnData"]:
    """Split every input into its sections."""
    from histoquilt import io

    found: dict[str, AnnData] = {}
    for source, adata in inputs.items():
        for name, section in io.split_sections(adata, section_key).items():
            if name in found:
                raise JobError(
                    f"section {name!r} (obs[{section_key!r}]) is in {source!r} and in another input. Sections need "
                    "names of their own: rename one."
                )
            found[name] = section
    return found
