"""``histoweave domains``: sections in, domains out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoweave._cluster import LOCAL, connect
from histoweave._keys import Keys
from histoweave._processes import is_main
from histoweave._runtime import logger, warn_user
from histoweave._threads import use_threads
from histoweave._workers import Workers
from histoweave.cli._carry_out import carry_out
from histoweave.cli._console import Console, told
from histoweave.cli._denoised import parse_denoise
from histoweave.cli._device import check_device
from histoweave.cli._errors import CommandError, about
from histoweave.cli._in_step import in_step
from histoweave.cli._inputs import check_paths, is_samples_table, read_inputs
from histoweave.cli._output import Written, check_out, write_results
from histoweave.cli._progress import Item, Work, digest_of, workplace
from histoweave.cli._record import RunRecord
from histoweave.cli._segment_one import MODEL, Settings, segment_one
from histoweave.cli._source import Source

if TYPE_CHECKING:
    from anndata import AnnData

    from histoweave.models import SpaMask

LINKS = ("auto", "stack", "expression", "stitched", "none")
RANGE = re.compile(r"\s*(\d+)\s*[-,:]\s*(\d+)\s*")


@in_step
def find_domains(
    inputs: Sequence[Path],
    out: Path,
    *,
    n_domains: str = "auto",
    seed: int = 0,
    links: str = "auto",
    separate: bool = False,
    skip_bad: bool = False,
    resume: bool = False,
    use_rep: str | None = None,
    layer: str | None = None,
    spatial_key: str = "spatial",
    section_key: str | None = None,
    config: Path | None = None,
    refine: bool = True,
    denoise: str = "auto",
    check_memory: bool = True,
    save_model: bool = False,
    device: str = "auto",
    threads: int | None = None,
    dask: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Read and check every input, find the domains, write the results folder.

    Several inputs, and a samples table, are a study: integrated, unless ``separate`` asks for each on its own. What is
    cheap to check comes first: the arguments and the output folder before any input is read, every input before any
    work.
    """
    arguments = {name: _plain(value) for name, value in locals().items()}
    asked = parse_n_domains(n_domains)
    check_arguments(asked, device)
    check_links(links, separate=separate)
    parse_denoise(denoise, integrated=False, use_rep=use_rep)
    several = len(inputs) > 1 or is_samples_table(inputs[0])
    if save_model and separate and several:
        raise CommandError("--save-model needs one model, and --separate trains one for each section.")
    check_out(out, overwrite=overwrite, inputs=inputs, resume=resume)
    check_paths(inputs, section_key=section_key, skip_bad=skip_bad)
    record = RunRecord("domains", arguments)
    keys: dict[str, Any] = {"use_rep": use_rep, "layer": layer, "spatial_key": spatial_key}
    at_most = None if is_samples_table(inputs[0]) else len(inputs)
    with (
        told(quiet=quiet) as console,
        connect(dask, at_most=at_most) as workers,
        workplace(out, resume=resume) as work,
        use_threads(threads),
    ):
        with record.stage("import"):
            from histoweave import models
            from histoweave._runtime import resolve_device

            if device == "auto" or dask in (None, LOCAL):  # other machines may have a device that this one lacks
                device = str(resolve_device(device, sparse=True))
        settings = None
        if config is not None:
            with about(config):
                settings = models.SpaMaskConfig.from_json(config)
        with record.stage("read"):
            largest = max(asked) if isinstance(asked, tuple) else asked or 1
            found = read_inputs(
                inputs, n_domains=largest, section_key=section_key, skip_bad=skip_bad, keep=not (separate and several),
                workers=workers, **keys,
            )  # fmt: skip
            sections = found.sections
            integrated = not separate and (len(sections) > 1 or (section_key is not None and links != "auto"))
            if integrated:
                sections = _study(sections, section_key, spatial_key)
            elif links != "auto" and len(found.sources) == 1:
                warn_user(f"There is one section, so --links {links} has nothing to link.")
        options = {"refine": refine, "seed": seed, "device": device, **keys}
        options["denoise"] = parse_denoise(denoise, integrated=integrated, use_rep=use_rep)
        what = {"n_domains": asked, "section_key": section_key, "config": settings, "save_model": save_model, **options}
        job = digest_of(command="domains", inputs=found.digests, integrated=integrated, links=links, **what)
        if work.is_done(job):
            print(f"{out} is complete: already done.")
            return
        work.refuse_others(overwrite=overwrite)
        console.speak()
        options["progress"] = not quiet and (integrated or workers is None)
        options["check_memory"] = check_memory
        if integrated:
            model = models.SpaMask(settings)
            result = _integrate(
                sections, asked, links, model, record, {**options, "checkpoint": work.training("study")}
            )
        else:
            common = Settings(asked, section_key, settings, options, save_model, out, work.folder if resume else None)
            jobs = {
                name: (
                    work.item(name, digest_of(source=str(source), read=found.read_by(name), **what)),
                    source, common, found.sections.get(name) if workers is None else None,
                )
                for name, source in found.sources.items()
            }  # fmt: skip
            result = _separate(jobs, work, console, record, skip_bad=skip_bad, workers=workers)
        skipped = found.skipped | result.failed

        def facts() -> dict[str, Any]:
            k = sorted(set(result.n_domains.values()))
            shared: dict[str, Any] = {"seed": seed, "n_domains": k[0] if len(k) == 1 else result.n_domains}
            shared |= {"device": device, "n_domains_asked": n_domains, "integrated": integrated, "skipped": skipped}
            if result.study is not None:
                shared["links"] = result.study.uns[Keys.UNS]["integration"]["links"]
            read = [one for one in found.digests if one["section"] not in result.failed]
            return record.finish(warnings=console.warnings, n_spots=result.n_spots, inputs=read, **shared)

        if not is_main():
            return  # the first process of torchrun writes
        with record.stage("write"):
            names = list(result.sections)
            write_results(
                out,
                result.sections,
                facts,
                title=f"Domains of {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}",
                overwrite=overwrite,
                spatial_key=spatial_key,
                section_key=None if integrated else section_key,
                layer=layer,
                study=result.study,
                model=result.model if save_model else None,
                job=job,
                work=work,
                written=result.written,
            )
    if not quiet:
        for name, n_spots in result.n_spots.items():
            print(f"{name}: {n_spots:,} spots, {result.n_found[name]} domains")
        for name in skipped:
            print(f"{name}: left out")
        print(f"Report: {out / 'report.html'}")


@dataclass(frozen=True)
class _Result:
    """What was found in all sections; those that are written already are read from their files."""

    sections: Mapping[str, "AnnData"]
    n_spots: dict[str, int]
    n_domains: dict[str, int]
    n_found: dict[str, int]  # domains that any spot is in
    model: "SpaMask | Path"  # trained, or the folder that it was written to
    study: "AnnData | None" = None
    written: Sequence[str] = ()
    failed: dict[str, str] = field(default_factory=dict)


def _separate(
    jobs: Mapping[str, tuple[Item, Source, Settings, "AnnData | None"]],
    work: Work,
    console: Console,
    record: RunRecord,
    *,
    skip_bad: bool,
    workers: Workers | None,
) -> _Result:
    """Find the domains of each section on its own."""
    at_hand = {name: adata for name, (item, *_, adata) in jobs.items() if adata is not None and not item.finished()}
    done, failed = carry_out(segment_one, jobs, work, console, record, skip_bad=skip_bad, workers=workers)
    first, *_ = (jobs[name][0] for name in done)
    return _Result(
        sections=Written(work.done, list(done), at_hand),
        **{key: {name: one[key] for name, one in done.items()} for key in ("n_spots", "n_domains", "n_found")},
        model=first.file(MODEL),  # asked for only where there is one section
        written=list(done),
        failed=failed,
    )


def _integrate(
    sections: Mapping[str, "AnnData"],
    n_domains: int | tuple[int, int] | None,
    links: str,
    model: "SpaMask",
    record: RunRecord,
    options: dict[str, Any],
) -> _Result:
    """Integrate a study; its sections carry what was found."""
    from histoweave import io, tl

    logger.info("%d sections are integrated; --separate finds the domains of each on its own.", len(sections))
    with record.stage("domains"):
        joint = tl.integrate_sections(sections, n_domains, links=links, model=model, **options)  # type: ignore[arg-type]
    if joint.n_vars:
        with record.stage("markers"):
            tl.domain_markers(joint, layer=options["layer"])
    apart = io.split_sections(joint)
    return _Result(
        sections=apart,
        n_spots={name: adata.n_obs for name, adata in apart.items()},
        n_domains={name: int(adata.obs[Keys.DOMAIN].cat.categories.size) for name, adata in apart.items()},
        n_found={name: int(adata.obs[Keys.DOMAIN].nunique()) for name, adata in apart.items()},
        model=model,
        study=joint,
    )


def _study(inputs: dict[str, "AnnData"], section_key: str | None, spatial_key: str) -> dict[str, "AnnData"]:
    """Return the sections of a study, every input taken apart; raises unless they belong together."""
    from histoweave import io

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
    from histoweave import io

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


def parse_n_domains(text: str) -> int | tuple[int, int] | None:
    """Read ``--n-domains``: a number, a range, or ``auto``.

    Examples
    --------
    >>> parse_n_domains("7"), parse_n_domains("5-12"), parse_n_domains("auto")
    (7, (5, 12), None)
    """
    text = text.strip()
    if text.lower() == "auto":
        return None
    if between := RANGE.fullmatch(text):
        return int(between[1]), int(between[2])
    try:
        return int(text)
    except ValueError:
        raise CommandError(f"--n-domains is a number (7), a range (5-12) or auto, got {text!r}.") from None


def check_arguments(n_domains: int | tuple[int, int] | None, device: str) -> None:
    """Raise for what can be seen to be wrong before anything is imported."""
    if isinstance(n_domains, tuple) and not 2 <= n_domains[0] <= n_domains[1]:
        raise CommandError(f"a range of --n-domains goes from 2 up, e.g. 5-12, got {n_domains[0]}-{n_domains[1]}.")
    if isinstance(n_domains, int) and n_domains < 1:
        raise CommandError(f"--n-domains must be at least 1, got {n_domains}.")
    check_device(device)


def check_links(links: str, *, separate: bool) -> None:
    """Raise for a name of links that there is none of, or that ``separate`` contradicts."""
    if links not in LINKS:
        close = get_close_matches(links, LINKS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise CommandError(f"unknown --links {links!r}. Use {', '.join(LINKS[:-1])} or {LINKS[-1]}.{hint}")
    if separate and links != "auto":
        raise CommandError(f"--links {links} joins sections, and --separate keeps them apart. Leave one of them out.")


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it."""
    if isinstance(value, Path):
        return str(value)
    return [str(item) for item in value] if isinstance(value, list | tuple) else value
