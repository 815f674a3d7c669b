"""The results folder of a run: checked before any work, written in one go at the end."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import Keys
from histoquilt.cli._errors import CommandError, writing
from histoquilt.cli._progress import JOB, Work, holds_job, link, replaced_names
from histoquilt.runtime import atomic_folder, folder_written_to, progress_folder, refuse_existing

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from histoquilt.models import DomainModel

RUN_FILE = "run.json"


class Written(Mapping[str, "AnnData"]):
    """Sections in their files, read when they are asked for; of all only the last one is in memory.

    ``at_hand`` are those that are in memory anyway, as they are in the file.
    """

    def __init__(self, folder: Path, names: Sequence[str], at_hand: Mapping[str, "AnnData"] | None = None) -> None:
        self._folder, self._names, self._at_hand = folder, list(names), dict(at_hand or {})
        self._last: tuple[str, AnnData] | None = None

    def __getitem__(self, name: str) -> "AnnData":
        from histoquilt.io import read_h5ad

        if name not in self._names:
            raise KeyError(name)
        if name in self._at_hand:
            return self._at_hand[name]
        if self._last is None or self._last[0] != name:
            self._last = None  # before the next one is read
            self._last = name, read_h5ad(self._folder / f"{name}.h5ad")
        return self._last[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def check_out(out: Path, *, overwrite: bool, inputs: Sequence[Path] = (), resume: bool = False) -> None:
    """Raise unless results can be written to a folder without harming anything that is there.

    With ``resume`` results of an earlier run pass for now: they may turn out to be those of the same job, which only
    the inputs tell (:meth:`histoquilt.cli._progress.Work.is_done`).

    Raises
    ------
    FileExistsError
        It holds something and ``overwrite`` is false.
    CommandError
        It cannot be written to, or overwriting would delete an input or a file that is no result of ours.
    """
    replaced = replaced_names(out) if resume else set()
    refuse_existing(out, overwrite=overwrite or bool(replaced) or (resume and holds_job(out)))
    if out.is_file():
        raise CommandError(f"{out} is a file; --out names a folder.")
    if out.is_dir():
        _check_only_results(out, replaced)
        inside = [path for path in inputs if out.resolve() in [path.resolve(), *path.resolve().parents]]
        if inside:
            raise CommandError(f"{inside[0]} lies in {out}, which --overwrite would replace. Choose another --out.")
    workplace = folder_written_to(out)
    parent = next(folder for folder in (workplace, *workplace.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".histoquilt-", dir=parent):
            pass
    except OSError as error:
        raise CommandError(
            f"cannot write to {parent}: {error.strerror}. Choose another --out, or change its permissions."
        ) from error


def _check_only_results(out: Path, replaced: set[str]) -> None:
    """Raise unless a folder holds nothing but what an earlier run listed in its ``run.json``, or began to exchange."""
    try:
        listed = set(json.loads((out / RUN_FILE).read_text(encoding="utf-8"))["outputs"]) | {RUN_FILE}
    except (OSError, ValueError, KeyError, TypeError):
        listed = set()
    ours = listed | replaced | {progress_folder(out).name}
    foreign = sorted(path.name for path in out.iterdir() if path.name not in ours)
    if foreign:
        raise CommandError(
            f"{out} holds files that are no results of histoquilt (first: {foreign[0]}), and --overwrite would delete "
            "them. Move them away, or choose another --out."
        )


def write_results(
    out: Path,
    sections: Mapping[str, "AnnData"],
    facts: Callable[[], dict[str, Any]],
    *,
    title: str,
    overwrite: bool = False,
    spatial_key: str = Keys.SPATIAL,
    section_key: str | None = None,
    layer: str | None = None,
    tables: Mapping[str, "pd.DataFrame"] | None = None,
    study: "AnnData | None" = None,
    model: "DomainModel | Path | None" = None,
    pages: Mapping[str, Callable[[Path], None]] | None = None,
    links: Mapping[str, str] | None = None,
    job: str | None = None,
    work: Work | None = None,
    written: Sequence[str] = (),
) -> None:
    """Write ``<section>.h5ad``, ``domains.csv``, ``domains.png``, ``report.html`` and ``run.json``, all or nothing.

    Parameters
    ----------
    out
        Becomes the folder with the results.
    sections
        Section name -> AnnData with domains.
    facts
        Called when the rest is written: it goes into the report and, called again at the very end, into ``run.json``.
    title
        Headline of the report.
    overwrite
        Replace an earlier run.
    spatial_key, section_key, layer
        Where spot centres are, what tells the sections of one input apart, and where expression is.
    tables
        File name -> further tables.
    study
        All sections in one AnnData, where they were integrated.
    model
        Written as the folder ``model``, where given; or the folder that it was written to already.
    pages
        File name -> writes a further page there.
    links
        Words -> file name, at the head of the report.
    job
        Digest of what was asked, for ``run.json``.
    work
        Where the run works; by default beside ``out``.
    written
        Sections whose files wait there and are not written again.
    """
    from histoquilt.io import write_h5ad
    from histoquilt.report import write_report

    kept = work.folder if work is not None and work.kept else None
    if work is None:
        place = atomic_folder(out, overwrite=overwrite)
    else:
        place = work.results([work.done / f"{name}.h5ad" for name in written], overwrite=overwrite)
    with writing(out, kept=kept), place as folder:
        for name in sections:
            if name not in written:
                write_h5ad(sections[name], folder / f"{name}.h5ad")
        domain_table(sections, section_key).to_csv(folder / "domains.csv", index=False)
        for name, table in (tables or {}).items():
            table.to_csv(folder / name, index=False)
        if study is None:
            draw_domains(sections, folder / "domains.png", spatial_key, section_key)
        else:
            draw_domains({"": study}, folder / "domains.png", spatial_key, Keys.SECTION)
        if isinstance(model, Path):
            shutil.copytree(model, folder / "model", copy_function=link)
        elif model is not None:
            model.save(folder / "model")
        write_report(
            sections,
            folder / "report.html",
            title=title,
            run=facts(),
            spatial_key=spatial_key,
            section_key=section_key,
            layer=layer,
            study=study,
            links=links,
        )
        for name, write in (pages or {}).items():
            write(folder / name)
        outputs = sorted(path.name for path in folder.iterdir())
        known = {} if job is None else {JOB: job}
        text = json.dumps({**facts(), **known, "outputs": outputs}, indent=2, ensure_ascii=False, default=str)
        (folder / RUN_FILE).write_text(text + "\n", encoding="utf-8")


def domain_table(sections: Mapping[str, "AnnData"], section_key: str | None = None) -> "pd.DataFrame":
    """Return the tidy table of domains: columns ``section, obs_name, domain``, one row a spot."""
    import pandas as pd

    tables = [
        pd.DataFrame(
            {
                "section": adata.obs[section_key].to_numpy() if section_key else name,
                "obs_name": adata.obs_names.to_numpy(),
                "domain": adata.obs[Keys.DOMAIN].astype(str).to_numpy(),
            }
        )
        for name, adata in sections.items()
    ]
    return pd.concat(tables, ignore_index=True)


def draw_domains(
    sections: Mapping[str, "AnnData"],
    path: Path,
    spatial_key: str = Keys.SPATIAL,
    section_key: str | None = None,
) -> None:
    """Draw the domains of every section into one picture.

    Sections that were segmented together share their colours; those segmented on their own get a legend each, because
    domain 1 of one has nothing to do with domain 1 of another.
    """
    import matplotlib.pyplot as plt

    from histoquilt.pl import domains, domains_grid

    if section_key and len(sections) == 1:
        [adata] = sections.values()
        figure = domains_grid(adata, section_key=section_key, spatial_key=spatial_key)[0].figure
    else:
        n_columns = min(3, len(sections))
        n_rows = -(-len(sections) // n_columns)
        size = (6 * n_columns, 5.4 * n_rows)
        figure, axes = plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")
        for ax, (name, adata) in zip(axes.flat, sections.items(), strict=False):
            domains(adata, spatial_key=spatial_key, ax=ax).set_title(name)
        for ax in axes.flat[len(sections) :]:
            ax.axis("off")
    figure.savefig(path, dpi=150)
    plt.close(figure)
