"""``histoweave domains``: sections in, domains out."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoweave._runtime import logger
from histoweave.cli._console import told
from histoweave.cli._errors import CommandError, about
from histoweave.cli._output import check_out, write_results
from histoweave.cli._record import RunRecord, sha256

if TYPE_CHECKING:
    from anndata import AnnData

COMPRESSED = {".gz", ".bz2", ".xz", ".zip"}
DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def find_domains(
    inputs: Sequence[Path],
    out: Path,
    *,
    n_domains: int,
    seed: int = 0,
    use_rep: str | None = None,
    layer: str | None = None,
    spatial_key: str = "spatial",
    section_key: str | None = None,
    config: Path | None = None,
    refine: bool = True,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Read and check every input, find the domains of each, write the results folder.

    What is cheap to check comes first: the arguments and the output folder before any input is read, every input before
    any work.
    """
    arguments = {name: _plain(value) for name, value in locals().items()}
    check_arguments(n_domains, device)
    names = section_names(inputs)
    check_out(out, overwrite=overwrite, inputs=inputs)
    for path in inputs:
        if not path.exists():
            raise CommandError(f"{path} does not exist (looked in {path.absolute().parent}). Check the path.")
    record = RunRecord("domains", arguments)
    with told(quiet=quiet) as console:
        with record.stage("import"):
            from histoweave import models, tl
            from histoweave._runtime import resolve_device

            device = str(resolve_device(device))
        settings = None
        if config is not None:
            with about(config):
                settings = models.SpaMaskConfig.from_json(config)
        sections = {}
        with record.stage("read"):
            for name, path in zip(names, inputs, strict=True):
                sections[name] = read_checked(path, n_domains, use_rep, layer, spatial_key, section_key)
            digests = [{"section": n, "path": str(p), "sha256": sha256(p)} for n, p in zip(names, inputs, strict=True)]
        console.speak()
        if len(inputs) > 1:
            logger.info(
                "%d sections, each segmented on its own: domain names do not correspond between them. "
                "This release does not integrate sections.",
                len(inputs),
            )
        for name, path in zip(names, inputs, strict=True):
            adata = sections[name]
            with about(path), record.stage("domains"):
                tl.spatial_domains(
                    adata,
                    n_domains,
                    config=settings,
                    layer=layer,
                    use_rep=use_rep,
                    spatial_key=spatial_key,
                    section_key=section_key,
                    refine=refine,
                    seed=seed,
                    device=device,
                    progress=not quiet,
                )
            if adata.n_vars:
                with about(path), record.stage("markers"):
                    tl.domain_markers(adata, layer=layer)

        def facts() -> dict[str, Any]:
            shared = {"seed": seed, "n_domains": n_domains, "device": device, "inputs": digests}
            return record.finish(warnings=console.warnings, n_spots={n: a.n_obs for n, a in sections.items()}, **shared)

        with record.stage("write"):
            write_results(
                out,
                sections,
                facts,
                title=f"Domains of {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}",
                overwrite=overwrite,
                spatial_key=spatial_key,
                section_key=section_key,
                layer=layer,
            )
    if not quiet:
        for name, adata in sections.items():
            print(f"{name}: {adata.n_obs:,} spots, {n_domains} domains")
        print(f"Report: {out / 'report.html'}")


def check_arguments(n_domains: int, device: str) -> None:
    """Raise for what can be seen to be wrong before anything is imported."""
    if n_domains < 1:
        raise CommandError(f"--n-domains must be at least 1, got {n_domains}.")
    if not DEVICE.fullmatch(device):
        raise CommandError(f"unknown --device {device!r}. Use auto, cpu, mps, cuda, or cuda:0, cuda:1 ...")


def section_names(inputs: Sequence[Path]) -> list[str]:
    """Name sections by file or folder name without extension.

    Raises
    ------
    CommandError
        Two inputs have the same name: their results would overwrite each other.

    Examples
    --------
    >>> section_names([Path("a/151673.h5ad"), Path("b/A1.tsv.gz"), Path("b/brain.zarr")])
    ['151673', 'A1', 'brain']
    """
    names = []
    for path in inputs:
        name = path.resolve()  # "." and ".." have names too
        if name.suffix in COMPRESSED:
            name = name.with_suffix("")
        names.append(name.name if name.is_dir() and name.suffix != ".zarr" else name.stem)
    repeated = [name for name, n in Counter(names).items() if n > 1]
    if repeated:
        paths = ", ".join(str(path) for path, name in zip(inputs, names, strict=True) if name == repeated[0])
        raise CommandError(
            f"two inputs are both named {repeated[0]!r} ({paths}). A section is named by its file or folder name: "
            "rename one, or run them separately."
        )
    return names


def read_checked(
    path: Path,
    n_domains: int,
    use_rep: str | None,
    layer: str | None,
    spatial_key: str,
    section_key: str | None,
) -> "AnnData":
    """Read one section and check what the work will need, so that a bad last input stops the run at once."""
    from histoweave import io, pp
    from histoweave._checks import check_adata, check_n_domains, check_obs_key, check_obsm_key, check_spatial

    with about(path):
        adata = io.read_section(path)
        check_adata(adata)
        check_spatial(adata, spatial_key)
        check_n_domains(n_domains, adata.n_obs)
        if section_key is not None:
            check_obs_key(adata, section_key, argument="section_key")
        if use_rep is not None:
            check_obsm_key(adata, use_rep, argument="use_rep")
        else:
            pp.expression(adata, layer)  # raises unless there are counts, or a declared scale
    return adata


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it."""
    if isinstance(value, Path):
        return str(value)
    return [str(item) for item in value] if isinstance(value, list | tuple) else value
