"""Job: export results to viewers and other programs; and the exports beside the results of other jobs."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import EXPORTERS, Keys, argument, either, visible
from histoquilt.jobs.work._errors import JobError, about, one_line
from histoquilt.jobs.work._options import (
    OutputConfig,
    PathName,
    as_paths,
    comma_separated,
    configured,
    documented,
    option,
)
from histoquilt.jobs.work._output import check_out
from histoquilt.jobs.work._run import JobResult, OnChecked, check_one_process, start_run
from histoquilt.runtime import warn_user

if TYPE_CHECKING:
    from anndata import AnnData

    from histoquilt.study import Section

EXPORTS = "exports"  # folder in a results folder


@documented
@dataclass(frozen=True, kw_only=True)
class ExportConfig(OutputConfig):
    """Options of :func:`export_results`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.jobs.ExportConfig(to="qupath,loupe").to
    'qupath,loupe'
    """

    to: str | Sequence[str] | None = option(
        None, "Viewers and programs, separated by commas: {choices}.", choices=EXPORTERS, separated=True,
        metavar="NAME,NAME",
    )  # fmt: skip
    keys: str | Sequence[str] | None = option(None, "Columns of obs with labels; domain.", metavar="KEY,KEY")
    genes: str | Sequence[str] | None = option(
        None, "Genes: measurements in QuPath, quartiles in Loupe and Xenium Explorer, columns for Seurat.",
        metavar="GENE,GENE",
    )  # fmt: skip
    layer: str | None = option(None, "Take expression from layers[KEY], not X.", metavar="KEY")
    spots: bool = option(False, "Also write every spot as a QuPath detection.")
    tolerance_um: float = option(1.0, "Size of details that are left out of polygons; 0 keeps all.", metavar="UM")
    mpp: float | None = option(
        None, "Microns per pixel of the image in the viewer; for sections in microns.", metavar="UM"
    )
    compress: bool = option(False, "Write .geojson.gz.")
    by_gene: bool = option(False, "Store X of viewers-h5ad by gene, which viewers read faster.")
    url: str = option("http://localhost:8000", "Where the folder for Vitessce will be served.", metavar="URL")
    spatial_key: str = option(Keys.SPATIAL, "Spot centres are in obsm[KEY].", metavar="KEY")
    section_key: str | None = option(None, "obs[KEY] names the sections of one file; section.", metavar="KEY")

    def __post_init__(self) -> None:
        """Also check that there are exporters."""
        super().__post_init__()
        if self.to is None:
            raise JobError(f"{argument('to')} is missing. Name one or more of {', '.join(EXPORTERS.names())}.")

    def named(self) -> dict[str, Any]:
        """Return the fields of :class:`histoquilt.io.ExportOptions`."""
        lists = {
            name: None if value is None else comma_separated(value, name)
            for name, value in (("keys", self.keys), ("genes", self.genes))
        }
        same = ("layer", "spots", "tolerance_um", "mpp", "compress", "by_gene", "url")
        return {"keys": lists["keys"], "genes": lists["genes"] or (), **{name: getattr(self, name) for name in same}}


def export_results(
    results: PathName | Sequence[PathName],
    out: PathName,
    settings: ExportConfig | None = None,
    *,
    on_checked: OnChecked | None = None,
    **options: Any,
) -> JobResult:
    """Export results to viewers and other programs, as ``histoquilt export`` does.

    One section at a time is in memory (:func:`histoquilt.io.export` takes sections in memory).

    Parameters
    ----------
    results
        Paths of results folders of other jobs, or of ``.h5ad`` files. A section is named by its file.
    out
        Path of the new folder.
    settings
        Options as one object, to use them several times.
    on_checked
        Function that is called once options and paths are checked.
    options
        Fields of :class:`ExportConfig`; they override ``settings``.

    Returns
    -------
    :class:`JobResult`. The folder holds one folder per exporter, and ``run.json``; ``facts["files"]`` lists the files.

    Raises
    ------
    JobError
        An option or an input is wrong, or a section cannot be exported.
    FileExistsError
        ``out`` holds something and ``overwrite`` is false.
    ImportError
        A package that an exporter needs is not installed.
    TypeError
        An option does not exist.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path")
    >>> adata = hq.datasets.toy_section(n_spots=300, n_genes=50, n_domains=3, seed=0)
    >>> adata.obs["domain"] = adata.obs["domain_true"]
    >>> adata.write_h5ad(folder / "tissue.h5ad")
    >>> done = hq.jobs.export_results(folder / "tissue.h5ad", folder / "viewers", to="loupe,xenium-explorer")
    >>> done.facts["files"]
    ['loupe/tissue.csv', 'xenium-explorer/tissue.csv']
    """
    asked, out, paths = configured(ExportConfig, settings, options), Path(out), as_paths(results)
    check_one_process("export")
    check_out(out, overwrite=asked.overwrite, inputs=paths)
    files = [file for path in paths for file in sections_in(path)]
    with start_run("export", {"results": paths, "out": out}, asked, on_checked) as run:
        with run.record.stage("import"):
            from histoquilt import io

        exporters = io.get_exporters(comma_separated(asked.to or "", "to"))
        to_write = io.ExportOptions(**asked.named())
        run.checked()
        n_spots: dict[str, int] = {}
        with run.results() as folder:
            try:
                written = list(io.write_exports(_read_each(files, asked, n_spots), folder, exporters, to_write))
            except JobError:
                raise
            except (KeyError, ValueError):
                with about(next(reversed(n_spots), str(files[0]))):
                    raise
            names = [path.as_posix() for path in written]
            return JobResult(out, run.finish(folder, {"n_spots": n_spots, "files": names}))


def sections_in(path: Path) -> list[Path]:
    """Return the ``.h5ad`` files that a path stands for."""
    if path.suffix == ".h5ad" and path.is_file():
        return [path]
    files = sorted(visible(path, "*.h5ad")) if path.is_dir() else []
    if not files:
        what = "holds no .h5ad" if path.is_dir() else "is no .h5ad" if path.exists() else "does not exist"
        how = either("histoquilt.jobs.find_domains", "histoquilt domains")
        raise JobError(f"{path} {what}. Give results: a folder that {how} wrote, or .h5ad files.")
    return files


def _read_each(files: Sequence[Path], asked: ExportConfig, n_spots: dict[str, int]) -> Iterator["Section"]:
    """Yield the sections of files, one at a time, and note their number of spots."""
    from histoquilt.io import read_h5ad
    from histoquilt.study import Slots, Study

    key = asked.section_key or Keys.SECTION
    for file in files:
        with about(file):
            adata = read_h5ad(file)
            several = asked.section_key is not None or (key in adata.obs and adata.obs[key].nunique() > 1)
            slots = Slots(spatial_key=asked.spatial_key, section_key=key)
            sections = Study.of(adata if several else {file.stem: adata}, slots)
        for name, section in sections.items():
            n_spots[name] = section.view.n_obs
            yield section


def check_exports(names: str | Sequence[str] | None) -> None:
    """Raise unless all exporters that a job will use are installed with what they need."""
    if names:
        from histoquilt.io import get_exporters

        get_exporters(comma_separated(names, "export"))


def add_exports(
    folder: Path,
    sections: Mapping[str, "AnnData"],
    names: str | Sequence[str] | None,
    *,
    spatial_key: str = Keys.SPATIAL,
    section_key: str | None = None,
) -> None:
    """Write ``exports/<name>/`` into a results folder; warn of exporters that cannot export the sections."""
    if not names:
        return
    from histoquilt.io import ExportOptions, get_exporters, write_exports
    from histoquilt.study import Slots, Study

    def each() -> Iterator["Section"]:
        slots = Slots(spatial_key=spatial_key, section_key=section_key or Keys.SECTION)
        for name in sections:
            yield from Study.of({name: sections[name]} if section_key is None else sections[name], slots).values()

    def warn(name: str, error: Exception) -> None:
        later = either("histoquilt.jobs.export_results", f"histoquilt export DIR --to {name} ...")
        warn_user(f"The export to {name} is left out; the results are written. {one_line(error)} Then: {later}")

    exporters = get_exporters(comma_separated(names, "export"))
    exports = folder / EXPORTS
    exports.mkdir()
    try:
        for _ in write_exports(each(), exports, exporters, ExportOptions(), on_error=warn):
            pass
    except (KeyError, ValueError) as error:  # two sections with one name
        shutil.rmtree(exports)
        warn(", ".join(exporters), error)
    else:
        if not any(exports.iterdir()):
            exports.rmdir()
