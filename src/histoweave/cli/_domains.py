"""``histoweave domains``: sections in, domains out."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoweave._keys import Keys
from histoweave._processes import is_main
from histoweave._runtime import logger, warn_user
from histoweave.cli._console import told
from histoweave.cli._denoised import Denoise, denoise_markers, for_section, parse_denoise
from histoweave.cli._errors import CommandError, about
from histoweave.cli._in_step import in_step
from histoweave.cli._inputs import check_paths, is_samples_table, read_inputs
from histoweave.cli._output import check_out, write_results
from histoweave.cli._record import RunRecord

if TYPE_CHECKING:
    from anndata import AnnData

    from histoweave.models import SpaMask

DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
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
    check_out(out, overwrite=overwrite, inputs=inputs)
    check_paths(inputs, section_key=section_key, skip_bad=skip_bad)
    record = RunRecord("domains", arguments)
    keys: dict[str, Any] = {"use_rep": use_rep, "layer": layer, "spatial_key": spatial_key}
    with told(quiet=quiet) as console:
        with record.stage("import"):
            from histoweave import models
            from histoweave._runtime import resolve_device

            device = str(resolve_device(device))
        settings = None
        if config is not None:
            with about(config):
                settings = models.SpaMaskConfig.from_json(config)
        with record.stage("read"):
            largest = max(asked) if isinstance(asked, tuple) else asked or 1
            found = read_inputs(inputs, n_domains=largest, section_key=section_key, skip_bad=skip_bad, **keys)
            sections, study, model = found.sections, None, models.SpaMask(settings)
            integrated = not separate and (len(sections) > 1 or (section_key is not None and links != "auto"))
            if integrated:
                sections = _study(sections, section_key, spatial_key)
            elif links != "auto" and len(sections) == 1:
                warn_user(f"There is one section, so --links {links} has nothing to link.")
        console.speak()
        options = {"refine": refine, "seed": seed, "device": device, "progress": not quiet, **keys}
        options |= {
            "denoise": parse_denoise(denoise, integrated=integrated, use_rep=use_rep),
            "check_memory": check_memory,
        }
        if integrated:
            sections, study = _integrate(sections, asked, links, model, record, options)
        else:
            for name, adata in sections.items():
                model = models.SpaMask(settings)
                _segment(adata, found.paths[name], asked, section_key, model, record, options)
        numbers = {name: int(adata.obs["domain"].cat.categories.size) for name, adata in sections.items()}

        def facts() -> dict[str, Any]:
            k = sorted(set(numbers.values()))
            shared: dict[str, Any] = {"seed": seed, "n_domains": k[0] if len(k) == 1 else numbers, "device": device}
            shared |= {"n_domains_asked": n_domains, "integrated": study is not None, "skipped": found.skipped}
            if study is not None:
                shared["links"] = study.uns[Keys.UNS]["integration"]["links"]
            n_spots = {name: adata.n_obs for name, adata in sections.items()}
            return record.finish(warnings=console.warnings, n_spots=n_spots, inputs=found.digests, **shared)

        if not is_main():
            return  # the first process of torchrun writes
        with record.stage("write"):
            names = list(sections)
            write_results(
                out,
                sections,
                facts,
                title=f"Domains of {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}",
                overwrite=overwrite,
                spatial_key=spatial_key,
                section_key=section_key if study is None else None,
                layer=layer,
                study=study,
                model=model if save_model else None,
            )
    if not quiet:
        for name, adata in sections.items():
            print(f"{name}: {adata.n_obs:,} spots, {adata.obs['domain'].nunique()} domains")
        for name in found.skipped:
            print(f"{name}: left out")
        print(f"Report: {out / 'report.html'}")


def _segment(
    adata: "AnnData",
    path: Path,
    n_domains: int | tuple[int, int] | None,
    section_key: str | None,
    model: "SpaMask",
    record: RunRecord,
    options: dict[str, Any],
) -> None:
    """Find the domains of one input on its own."""
    from histoweave import tl

    denoise: Denoise = for_section(options["denoise"], adata)
    options = {**options, "denoise": False if denoise == "markers" else denoise}
    with about(path), record.stage("domains"):
        tl.spatial_domains(adata, n_domains, model=model, section_key=section_key, **options)
    if adata.n_vars:
        with about(path), record.stage("markers"):
            tl.domain_markers(adata, layer=options["layer"])
    if denoise == "markers":
        with about(path), record.stage("denoised markers"):
            denoise_markers(adata, model)


def _integrate(
    sections: dict[str, "AnnData"],
    n_domains: int | tuple[int, int] | None,
    links: str,
    model: "SpaMask",
    record: RunRecord,
    options: dict[str, Any],
) -> tuple[dict[str, "AnnData"], "AnnData"]:
    """Integrate a study; returns its sections with what was found, and the joint AnnData."""
    from histoweave import io, tl

    logger.info("%d sections are integrated; --separate finds the domains of each on its own.", len(sections))
    with record.stage("domains"):
        joint = tl.integrate_sections(sections, n_domains, links=links, model=model, **options)  # type: ignore[arg-type]
    if joint.n_vars:
        with record.stage("markers"):
            tl.domain_markers(joint, layer=options["layer"])
    return io.split_sections(joint), joint


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
    if not DEVICE.fullmatch(device):
        raise CommandError(f"unknown --device {device!r}. Use auto, cpu, mps, cuda, or cuda:0, cuda:1 ...")


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
