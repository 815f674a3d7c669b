"""Study in a ``samples.csv``, one row per section, which is checked as a whole before any long work."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
from anndata import AnnData

from histoquilt._base import DEFAULT_READ_OPTIONS, Keys, ReadOptions, argument, listed, message_of
from histoquilt.io._files import PathLike, existing_file
from histoquilt.io._image import record_of_table
from histoquilt.io._section import read_section
from histoquilt.io.annotations._annotate import annotate_spots
from histoquilt.io.instruments._alignment import place_on_image, read_alignment_matrix
from histoquilt.io.sections._labels import attach_labels, is_label_file
from histoquilt.io.sections._samples_table import (
    POSITIVE,
    SIDE_FILES,
    Row,
    check_table,
    read_rows,
    row_problem,
    warn_of_misspelt_columns,
    warn_of_patient_spellings,
)
from histoquilt.io.slides._mpp import TOLERANCE
from histoquilt.runtime import Workers, logger, run_each, warn_user
from histoquilt.study import (
    check_one_section,
    check_spatial,
    check_study,
    coordinate_record,
    declare_foreign,
    estimate_mpp,
    keep_foreign,
    provenance,
    record_coordinates,
)

_NOT_FOR_OBS = {
    "counts", "spots", "bin_size", "image_alignment", "labels", "label_column", "annotations", *POSITIVE,
}  # fmt: skip


@dataclass(frozen=True)
class Samples:
    r"""Sections of a ``samples.csv`` with their rows, and the sections that were left out.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path")
    >>> hq.io.write_h5ad(hq.datasets.toy_section(n_spots=60, n_genes=40, n_domains=2, seed=0), folder / "a.h5ad")
    >>> _ = (folder / "samples.csv").write_text("section,counts,patient\ns1,a.h5ad,P1\ns2,gone.h5ad,P2\n")
    >>> samples = hq.io.read_samples(folder / "samples.csv", skip_bad=True)
    >>> samples.table["patient"].to_dict(), list(samples.skipped)
    ({'s1': 'P1'}, ['s2'])
    """

    sections: dict[str, AnnData]  # Name -> section, in the order of the table
    table: pd.DataFrame  # Rows of the sections, indexed by name; paths in full
    skipped: dict[str, str]  # Name -> reason for leaving it out; empty without skip_bad

    def side_files(self) -> dict[str, dict[str, Path]]:
        """Return the files that are read beside the counts: column of the table -> section -> file.

        Examples
        --------
        >>> from histoquilt.io import Samples
        >>> table = pd.DataFrame({"labels": ["study/A1_labels.tsv", "layer"]}, index=["A1", "B1"])
        >>> {name: path.name for name, path in Samples({}, table, {}).side_files()["labels"].items()}
        {'A1': 'A1_labels.tsv'}
        """
        cells = {column: self.table[column].dropna() for column in SIDE_FILES if column in self.table}
        return {
            column: {str(name): Path(cell) for name, cell in named.items() if column != "labels" or is_label_file(cell)}
            for column, named in cells.items()
        }


def read_samples(
    path: PathLike,
    *,
    skip_bad: bool = False,
    keep_all_spots: bool = False,
    spatial_columns: tuple[str, str] | None = None,
    table: str | None = None,
    counts_file: str | None = None,
    one_section: bool = False,
    bin_size: int | str | None = None,
) -> Samples:
    r"""Read a study from its ``samples.csv``, one row per section.

    All rows are checked before any file is read, and all sections are read and checked against each other before this
    returns, so that a long run does not fail at its tenth section.

    Parameters
    ----------
    path
        A table, separated by commas, with the columns

        ``section`` : its name, unique (required)
        ``counts`` : whatever :func:`read_section` reads (required); paths are relative to the table
        ``spots`` : its spot positions, if they are not next to the counts: the selection table of legacy ST, or the
        ``spatial`` folder of Space Ranger
        ``bin_size`` : which bins of Visium HD are read, in microns, or ``cells`` for segmented cells
        ``image`` : its H&E image
        ``image_alignment`` : alignment of that image by Xenium Explorer (:func:`read_alignment_matrix`), by which cells
        in microns are placed on it (:func:`place_on_image`)
        ``labels`` : its region labels: a column of its ``obs``, or a table of spots with their labels (CSV, TSV or
        text, with or without a header; of a file of several sections the rows with this section's name)
        ``label_column`` : the column of that table with the labels, if it has several and none is called ``label``
        ``fold`` : the fold of an evaluation in which it is held out (``histoquilt evaluate --leave-out fold``)
        ``patient``, ``condition``, ``slide``, ``species`` : text
        ``mpp`` : microns per full-resolution pixel
        ``image_scale`` : coordinate pixels per pixel of ``image``, 1 for the full-resolution one (for Space Ranger's
        own images it is known)
        ``annotations`` : a pathologist's annotations (:func:`read_annotations`)
        ``annotations_scale`` : coordinate pixels per pixel of the image that was annotated, if it is not ``image``
        ``x_um``, ``y_um``, ``z_um`` : where the section lies in the study; for all sections or none

        and any others.
    skip_bad
        Leave out sections whose row or file is bad, with a warning, and go on. What concerns the whole table is an
        error all the same: missing columns, names used twice, places given for some sections only, too few shared
        genes, different units.
    keep_all_spots, spatial_columns, table, counts_file, one_section, bin_size
        Options of :func:`read_section`, the same for every section; the column ``bin_size`` comes first.

    Returns
    -------
    Samples, whose ``sections`` have

    ``obs["section"]`` : categorical
    ``obs`` : every other column of the table that has a value, but numbers and paths of files named above, except
    ``image``; and ``label_column``
    ``obs["labels"]`` : categorical, missing for spots without a label
    ``obs["annotation"]`` : the pathologist's class of each spot, where given (:func:`annotate_spots`)
    ``uns["histoquilt"]["coordinates"]`` : with ``mpp`` of the table, where given
    ``uns["histoquilt"]["image"]`` : ``path``, ``image_scale``, ``mpp`` and ``name`` (as written in the table) of the
    image, where given; the image itself is opened by :func:`open_image`
    ``uns["histoquilt"]["source"]`` : ``counts`` as written in the table; ``["image_scale"]`` where given

    Raises
    ------
    FileNotFoundError
        There is no such table.
    ValueError
        The table or one of its rows is bad, or a section cannot be read: all of them are named. Or the sections do not
        belong together (:func:`check_study`).

    Warns
    -----
    UserWarning
        ``mpp`` disagrees with the spot pitch by more than 5 %, a column is named nearly like one that is read (such as
        ``patinet``) and that the table lacks, an image is not there, a column of a section's ``obs``
        is replaced by a different one (and kept as ``<column>_before``), or, with ``skip_bad``, a section is left out.

    See Also
    --------
    concat_sections : joins the sections.

    Examples
    --------
    >>> import histoquilt as hq, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> study = hq.datasets.toy_section(n_spots=60, n_genes=40, n_domains=2, n_sections=2, seed=0)
    >>> for name, section in hq.io.split_sections(study).items():
    ...     hq.io.write_h5ad(section, folder / f"{name}.h5ad")
    >>> _ = (folder / "samples.csv").write_text("section,counts,patient\ns1,s1.h5ad,P1\ns2,s2.h5ad,P2\n")
    >>> samples = hq.io.read_samples(folder / "samples.csv")
    >>> {name: section.obs["patient"].iloc[0] for name, section in samples.sections.items()}
    {'s1': 'P1', 's2': 'P2'}
    """
    options = ReadOptions(keep_all_spots, spatial_columns, table, counts_file, one_section, bin_size)
    return gather_samples(path, skip_bad=skip_bad, keep=lambda name, adata: adata, options=options)


def gather_samples(
    path: PathLike,
    *,
    skip_bad: bool,
    keep: Callable[[str, AnnData], AnnData],
    options: ReadOptions = DEFAULT_READ_OPTIONS,
    workers: Workers | None = None,
    together: bool = True,
) -> Samples:
    r"""Read and check a study as :func:`read_samples` does; of each section only what ``keep`` returns stays in memory.

    ``keep`` is called with the name and the section once it is read. It must leave what the check of the study needs:
    ``obs``, gene names, spot centres and histoquilt's records. Sections are read on ``workers`` if given. Without
    ``together`` they need not belong together.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path")
    >>> hq.io.write_h5ad(hq.datasets.toy_section(n_spots=60, n_genes=40, n_domains=2, seed=0), folder / "a.h5ad")
    >>> _ = (folder / "samples.csv").write_text("section,counts\ns1,a.h5ad\n")
    >>> samples = hq.io.gather_samples(
    ...     folder / "samples.csv", skip_bad=False, keep=lambda name, adata: adata[:5].copy()
    ... )
    >>> samples.sections["s1"].n_obs
    5
    """
    path = existing_file(path, "a samples table (.csv)")
    rows = read_rows(path)
    check_table(rows, path)
    warn_of_misspelt_columns(rows, path)
    warn_of_patient_spellings(rows, path)
    bad = {name: problem for name, row in rows.items() if (problem := row_problem(row))}
    _stop(bad, rows, path, skip_bad)
    _warn_of_images(rows, bad)
    sections: dict[str, AnnData] = {}
    unread: dict[str, str] = {}
    items = {name: (name, row, Path(row.parsed["counts"]), options) for name, row in rows.items() if name not in bad}
    for outcome in run_each(_read_row, items, workers=workers):
        try:
            if outcome.error is not None:
                raise outcome.error
            sections[outcome.name] = keep(outcome.name, outcome.value)
        except MemoryError:
            raise
        except Exception as error:  # third-party readers raise every type; each is this section's problem
            unread[outcome.name] = _reason(error)
    bad |= {name: unread[name] for name in items if name in unread}  # workers finish in any order
    sections = {name: sections[name] for name in items if name in sections}
    _stop(bad, rows, path, skip_bad)
    for name, problem in bad.items():
        warn_user(f"Section {name!r} is left out: {problem}")
    if together:
        check_study(sections)
    table = pd.DataFrame.from_dict({name: rows[name].parsed for name in sections}, orient="index")
    table.index.name = Keys.SECTION
    return Samples(sections, table, bad)


def read_sample(path: PathLike, name: str, options: ReadOptions = DEFAULT_READ_OPTIONS) -> AnnData:
    r"""Read one section of a table that was checked before.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path")
    >>> hq.io.write_h5ad(hq.datasets.toy_section(n_spots=60, n_genes=40, n_domains=2, seed=0), folder / "a.h5ad")
    >>> _ = (folder / "samples.csv").write_text("section,counts,patient\ns1,a.h5ad,P1\n")
    >>> adata = hq.io.read_sample(folder / "samples.csv", "s1")
    >>> adata.n_obs, adata.obs["patient"].unique().tolist()
    (60, ['P1'])
    """
    row = read_rows(existing_file(path, "a samples table (.csv)"))[name]
    return _read_row(name, row, Path(row.parsed["counts"]), options)


def _stop(bad: Mapping[str, str], rows: Mapping[str, Row], path: Path, skip_bad: bool) -> None:
    """Raise one error for all bad sections; with ``skip_bad`` only if no other section is left."""
    if not bad or (skip_bad and len(bad) < len(rows)):
        return
    listed = "; ".join(f"{name!r} (line {rows[name].line}): {reason.rstrip('. ')}" for name, reason in bad.items())
    without = f"Correct them, or go on without them: {argument('skip_bad', True)}."
    remedy = "Nothing is left to work on." if skip_bad else without
    raise ValueError(f"{path}: {len(bad)} of {len(rows)} sections cannot be used: {listed}. {remedy}")


def _warn_of_images(rows: Mapping[str, Row], bad: Mapping[str, str]) -> None:
    missing = [
        f"{name} ({row.text['image']})"
        for name, row in rows.items()
        if name not in bad and "image" in row.parsed and not Path(row.parsed["image"]).exists()
    ]
    if missing:
        warn_user(f"Images that are not there: {listed(missing)}. Domains need none.")


def _read_row(name: str, row: Row, counts: Path, options: ReadOptions) -> AnnData:
    """Read one section and write the values of its row into it."""
    options = replace(options, bin_size=row.parsed.get("bin_size", options.bin_size))
    adata = read_section(counts, spots=row.parsed.get("spots"), **asdict(options))
    check_spatial(adata, remedy="file")
    if "image_alignment" in row.parsed:
        place_on_image(adata, read_alignment_matrix(row.parsed["image_alignment"]))
    inside = adata.obs[Keys.SECTION].dropna().unique() if Keys.SECTION in adata.obs else []
    if len(inside) > 1:
        raise ValueError(
            f"{row.text['counts']} holds {len(inside)} sections ({listed(inside)} in obs['section']), and a row is "
            "one. Write them to files of their own: histoquilt.io.split_sections"
        )
    check_one_section(adata, remedy="file")
    if "mpp" in row.parsed:
        _record_mpp(adata, row.parsed["mpp"], name)
    adata.obs[Keys.SECTION] = pd.Categorical([name] * adata.n_obs)
    for column, value in row.parsed.items():
        if column in _NOT_FOR_OBS:
            continue
        value = row.text["image"] if column == "image" else value
        if column in adata.obs and not _says(adata.obs[column], value):
            kept = keep_foreign(adata, "obs", column, warn=False)
            also = "" if kept is None else f", and kept as obs[{kept!r}]"
            warn_user(f"Section {name!r}: obs[{column!r}] of its file is replaced by {value!r} from the table{also}.")
        declare_foreign(adata, "obs", column)
        adata.obs[column] = value if isinstance(value, int | float) else pd.Categorical([value] * adata.n_obs)
    if "labels" in row.text:
        path = Path(row.parsed["labels"]) if is_label_file(row.text["labels"]) else None
        attach_labels(
            adata, row.text["labels"], path=path, column=row.parsed.get("label_column"), section=name
        )  # fmt: skip
    ours = provenance(adata)
    ours["source"] = row.text["counts"]
    if "image_scale" in row.parsed:
        ours["image_scale"] = row.parsed["image_scale"]
    if "image" in row.parsed:
        record = record_of_table(adata, row.parsed["image"], row.parsed.get("image_scale"))
        ours[Keys.IMAGE] = {**record, "name": row.text["image"]}
    if "annotations" in row.parsed:
        annotate_spots(adata, row.parsed["annotations"], image_scale=row.parsed.get("annotations_scale"))
    return adata


def _says(column: pd.Series, value: int | float | str) -> bool:
    """Return whether a column of a section holds only the value of the table."""
    if isinstance(value, str):
        return bool((column.astype(str) == value).all())
    return bool((pd.to_numeric(column.astype(object), errors="coerce") == value).all())


def _record_mpp(adata: AnnData, mpp: float, name: str) -> None:
    """Record microns per pixel of the table, and compare them with the spot pitch."""
    record = coordinate_record(adata)
    unit = record.get("unit", "unknown")
    if unit == "micron" and mpp == 1:
        return
    if unit in ("micron", "array"):
        raise ValueError(
            f"mpp is {mpp:g}, but the coordinates are recorded in {unit} units, not pixels. Leave the cell mpp empty, "
            "or correct the record: histoquilt.io.record_coordinates"
        )
    record_coordinates(adata, "pixel", mpp=mpp, pitch_um=record.get("pitch_um"))
    try:
        estimated = estimate_mpp(adata)
    except ValueError as error:  # no lattice of known pitch: nothing to compare with
        logger.info("mpp of %s is taken from the table, unchecked: %s", name, error)
        return
    if abs(estimated / mpp - 1) > TOLERANCE:
        warn_user(
            f"Section {name!r}: mpp is {mpp:g} in the table, and {estimated:.4g} by the distance between spots "
            f"({abs(estimated / mpp - 1):.0%} apart). The table's is used; is it that of the full-resolution image?"
        )


def _reason(error: Exception) -> str:
    """Return the message of an error on one line, after its type if our readers do not raise that type."""
    message = " ".join(message_of(error).split())
    known = isinstance(error, OSError | ValueError | KeyError | TypeError | ImportError) and message
    return message if known else f"{type(error).__name__}: {message}"
