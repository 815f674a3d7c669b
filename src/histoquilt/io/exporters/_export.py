"""The function that exports results: sections and names of exporters in, paths out."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from anndata import AnnData

from histoquilt._base import EXPORTERS, Keys, check_option_names, is_installed, listed
from histoquilt.io._files import PathLike
from histoquilt.io.exporters._protocol import ExportedSection, Exporter, ExportOptions
from histoquilt.runtime import atomic_folder, refuse_existing, refuse_foreign
from histoquilt.study import Section, Sections, Slots, Study, image_libraries


def export(
    adata: Sections,
    folder: PathLike,
    *,
    to: str | Sequence[str],
    options: ExportOptions | None = None,
    section_key: str = Keys.SECTION,
    spatial_key: str = Keys.SPATIAL,
    overwrite: bool = False,
    **more: Any,
) -> list[Path]:
    """Write results for viewers and other programs: QuPath, Loupe Browser, Xenium Explorer, napari, Vitessce, Seurat.

    Domains become polygons, categories or tables, with the names and colours of our plots; spots have the barcodes of
    the instrument, without what was added to join sections. The folder is written atomically.

    Parameters
    ----------
    adata
        One section, or several in any form that :meth:`histoquilt.study.Study.of` takes. They are not changed.
    folder
        Path of the new folder; every exporter writes into ``folder/<name>``.
    to
        Names of exporters (:func:`list_exporters`).
    options
        Options as one object, to use them several times.
    section_key
        Column of ``obs`` that names the sections of one AnnData; without that column it is one section.
    spatial_key
        Key in ``obsm`` of the spot centres.
    overwrite
        If true, replace a folder of earlier exports.
    more
        Fields of :class:`ExportOptions`, as ``genes`` or ``mpp``; they override ``options``.

    Returns
    -------
    Paths of the files written, and of folders that are stores of their own (``.zarr``).

    Raises
    ------
    ValueError
        An exporter is unknown, or a section cannot be exported: coordinates are not pixels and ``mpp`` is not given, or
        two sections would have the same files.
    KeyError
        Labels or genes are missing.
    ImportError
        A package that an exporter needs is not installed.
    FileExistsError
        ``folder`` holds something and ``overwrite`` is false, or something that is not of an export.
    TypeError
        An option does not exist.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=300, n_genes=50, n_domains=3, seed=0)
    >>> adata.obs["domain"] = adata.obs["domain_true"]
    >>> paths = hq.io.export({"s1": adata}, getfixture("tmp_path") / "exports", to=["loupe", "seurat"])
    >>> [path.name for path in paths]
    ['s1.csv', 'domains.csv', 'clusters.csv']
    """
    exporters, options = get_exporters(to), _options(options, more)
    folder = Path(folder).expanduser()
    refuse_existing(folder, overwrite=overwrite)
    refuse_foreign(folder, EXPORTERS.names(), "an export")
    sections = _sections(adata, section_key, spatial_key)
    with atomic_folder(folder, overwrite=overwrite) as beside:
        return [folder / path for path in write_exports(sections, beside, exporters, options)]


def write_exports(
    sections: Iterable[Section],
    folder: Path,
    exporters: Mapping[str, Exporter],
    options: ExportOptions,
    on_error: Callable[[str, Exception], None] | None = None,
) -> Iterator[Path]:
    """Write sections, one at a time, and yield the paths written, relative to the folder.

    Parameters
    ----------
    sections
        The sections; each is taken when the one before is written.
    folder
        Existing folder; every exporter writes into a folder of its name.
    exporters
        Name -> exporter (:func:`get_exporters`).
    options
        Options of the export.
    on_error
        Function that is called with the name of an exporter that fails, and the error; its files are removed, and the
        other exporters continue. By default the error is raised.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import Section
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> adata.obs["domain"] = adata.obs["domain_true"]
    >>> exporters = hq.io.get_exporters(["loupe", "seurat"])
    >>> paths = hq.io.write_exports(
    ...     [Section("s1", adata)], getfixture("tmp_path"), exporters, hq.io.ExportOptions()
    ... )
    >>> [path.as_posix() for path in paths]
    ['loupe/s1.csv', 'seurat/s1/domains.csv', 'seurat/s1/clusters.csv']
    """
    left = dict(exporters)
    names: dict[str, str] = {}
    for section in sections:
        exported = ExportedSection(section, options)
        key = exported.name.casefold()
        if key in names:
            raise ValueError(
                f"Sections {names[key]!r} and {section.name!r} would have the same file names ({exported.name}). "
                "Rename one."
            )
        names[key] = section.name
        for name, exporter in list(left.items()):
            own = folder / name
            own.mkdir(exist_ok=True)
            try:
                paths = exporter.write(exported, own, options)
            except (KeyError, ValueError) as error:
                if on_error is None:
                    raise
                shutil.rmtree(own)
                del left[name]
                on_error(name, error)
            else:
                yield from (Path(path).relative_to(folder) for path in paths)


def get_exporters(names: str | Sequence[str]) -> dict[str, Exporter]:
    """Return exporters by name, after checking that all can be used.

    Raises
    ------
    ValueError
        A name is unknown, or there is none.
    ImportError
        A package that one needs is not installed.
    TypeError
        An entry of another package does not follow :class:`Exporter`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> list(hq.io.get_exporters(["loupe", "seurat"]))
    ['loupe', 'seurat']
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ValueError(f"Name at least one exporter: {', '.join(EXPORTERS.names())}.")
    exporters = {name: EXPORTERS.load(name) for name in names}
    for name, exporter in exporters.items():
        if not isinstance(exporter, Exporter):
            raise TypeError(
                f"The exporter {name!r} of an installed package must have label, files, needs and write, as "
                f"histoquilt.io.Exporter says; it is a {type(exporter).__name__}."
            )
        missing = missing_packages(exporter)
        if missing:
            installs = " ".join(repr(install) for install in dict.fromkeys(missing.values()))
            raise ImportError(f"Exporting to {name} needs {listed(missing)}. Install it with: pip install {installs}")
    return exporters


def missing_packages(exporter: Exporter) -> dict[str, str]:
    """Return import name -> what to install, of packages that an exporter needs and that are not installed.

    Examples
    --------
    >>> import histoquilt as hq
    >>> class Lines:
    ...     label, files, needs = "Lines", "<section>.txt", {"numpy": "numpy", "line_writer": "line-writer>=2"}
    >>> hq.io.missing_packages(Lines())
    {'line_writer': 'line-writer>=2'}
    """
    return {module: install for module, install in exporter.needs.items() if not is_installed(module)}


def _options(options: ExportOptions | None, more: dict[str, Any]) -> ExportOptions:
    known = [field.name for field in fields(ExportOptions)]
    check_option_names(more, known, of="export")
    return replace(options or ExportOptions(), **more)


def _sections(adata: Sections, section_key: str, spatial_key: str) -> list[Section]:
    slots = Slots(spatial_key=spatial_key, section_key=section_key)
    if isinstance(adata, AnnData) and section_key == Keys.SECTION and section_key not in adata.obs:
        libraries = list(image_libraries(adata))
        return list(Study.of({libraries[0] if len(libraries) == 1 else "section": adata}, slots).values())
    return list(Study.of(adata, adata.slots if isinstance(adata, Study) else slots).values())
