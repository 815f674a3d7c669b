"""``histoquilt domains``: sections in, domains out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histoquilt._base import DEFAULT_READ_OPTIONS, DOMAIN_MODELS, Keys, ReadOptions
from histoquilt.cli._at_work import at_work
from histoquilt.cli._denoised import parse_denoise
from histoquilt.cli._domains_options import check_arguments, check_links, parse_n_domains
from histoquilt.cli._errors import CommandError, about
from histoquilt.cli._in_step import in_step
from histoquilt.cli._inputs import check_paths, is_samples_table, read_inputs
from histoquilt.cli._output import check_out, write_results
from histoquilt.cli._progress import digest_of
from histoquilt.cli._record import RunRecord, plain
from histoquilt.cli._segment_all import segment_each, segment_study, study_of
from histoquilt.cli._segment_one import Settings
from histoquilt.runtime import LOCAL, is_main, warn_user


@in_step
def find_domains(
    inputs: Sequence[Path],
    out: Path,
    *,
    n_domains: str = "auto",
    method: str = "spatial_factors",
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
    reading: ReadOptions = DEFAULT_READ_OPTIONS,
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
    arguments = {name: plain(value) for name, value in locals().items()}
    asked = parse_n_domains(n_domains)
    check_arguments(asked, device)
    check_links(links, separate=separate)
    if method not in DOMAIN_MODELS:
        raise CommandError(f"--method: {DOMAIN_MODELS.unknown(method)}")
    parse_denoise(denoise, integrated=False, use_rep=use_rep)
    several = len(inputs) > 1 or is_samples_table(inputs[0])
    if save_model and separate and several:
        raise CommandError("--save-model needs one model, and --separate trains one for each section.")
    check_out(out, overwrite=overwrite, inputs=inputs, resume=resume)
    if section_key is not None and reading.one_section:
        raise CommandError("--one-section says that there is one section, and --section-key names several. Choose one.")
    check_paths(inputs, section_key=section_key, skip_bad=skip_bad)
    record = RunRecord("domains", arguments)
    keys: dict[str, Any] = {"use_rep": use_rep, "layer": layer, "spatial_key": spatial_key}
    with at_work(inputs, out, quiet=quiet, dask=dask, resume=resume, threads=threads) as (console, workers, work):
        with record.stage("import"):
            model_class = DOMAIN_MODELS.load(method)
            from histoquilt.runtime import resolve_device

            if device == "auto" or dask in (None, LOCAL):  # other machines may have a device that this one lacks
                device = str(resolve_device(device, sparse=True))
        settings = None
        if config is not None:
            with about(config):
                settings = model_class.config_class.from_json(config)
        with record.stage("read"):
            largest = max(asked) if isinstance(asked, tuple) else asked or 1
            found = read_inputs(
                inputs, n_domains=largest, section_key=section_key, skip_bad=skip_bad, keep=not (separate and several),
                options=reading, workers=workers, **keys,
            )  # fmt: skip
            sections = found.sections
            integrated = not separate and (len(sections) > 1 or (section_key is not None and links != "auto"))
            if integrated:
                sections = study_of(sections, section_key, spatial_key)
            elif links != "auto" and len(found.sources) == 1:
                warn_user(f"There is one section, so --links {links} has nothing to link.")
        options = {"refine": refine, "seed": seed, "device": device, **keys}
        options["denoise"] = parse_denoise(denoise, integrated=integrated, use_rep=use_rep)
        if not model_class.denoises:
            if options["denoise"] not in ("auto", False):
                raise CommandError(f"--method {method} does not denoise. Leave --denoise {denoise} out.")
            options["denoise"] = False
        what: dict[str, Any] = {"n_domains": asked, "method": method, "section_key": section_key, "config": settings}
        what |= {"save_model": save_model, "reading": reading, **options}
        job = digest_of(command="domains", inputs=found.digests, integrated=integrated, links=links, **what)
        if work.is_done(job):
            print(f"{out} is complete: already done.")
            return
        work.refuse_others(overwrite=overwrite)
        console.speak()
        options["progress"] = not quiet and (integrated or workers is None)
        options["check_memory"] = check_memory
        if integrated:
            model = model_class(settings)
            result = segment_study(sections, asked, links, model, record, options)
        else:
            common = Settings(
                asked, method, section_key, settings, options, save_model, out, work.folder if resume else None
            )
            jobs = {
                name: (
                    work.item(name, digest_of(source=str(source), read=found.read_by(name), **what)),
                    source, common, found.sections.get(name) if workers is None else None,
                )
                for name, source in found.sources.items()
            }  # fmt: skip
            result = segment_each(jobs, work, console, record, skip_bad=skip_bad, workers=workers)
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
