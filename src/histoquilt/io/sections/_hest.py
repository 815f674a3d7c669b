"""Tasks of HEST-Bench: folders of splits, 50 genes, counts and patches that are cut already.

G. Jaume et al., HEST-1k: A Dataset for Spatial Transcriptomics and Histology Image Analysis, NeurIPS 2024.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, listed
from histoquilt.io._files import PathLike, existing_file, existing_folder, open_h5, read_delimited
from histoquilt.io._h5ad import read_h5ad
from histoquilt.runtime import logger, warn_user
from histoquilt.study import coordinate_record, provenance, record_coordinates

HEST_PATCH_PX, HEST_FIELD_UM = 224, 112.0  # of the patches: 0.5 um per pixel
PATCH = "patch"  # obs: row of the spot in the file of patches
_GENES, _SPLITS = "var_50genes.json", "splits"
_LAYOUT = f"a HEST-Bench task: {_SPLITS}/train_0.csv and test_0.csv, {_GENES}, adata/ID.h5ad and patches/ID.h5"
_COLUMNS = ["sample_id", "patches_path", "expr_path"]
_AT_ONCE = 256  # patches read at a time: 38 MB


@dataclass(frozen=True)
class HestTask:
    """A task of HEST-Bench, read by :func:`read_hest_task`.

    Attributes
    ----------
    name, folder
        Name of the folder, and its path.
    genes
        The genes to predict, in their order.
    splits
        Number of the split -> names of its training and of its test sections.
    counts, patches
        Section -> path of its ``.h5ad``, and of the ``.h5`` with its patches.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path") / "TOY"
    >>> task = hq.io.HestTask(
    ...     "TOY", folder, ["ERBB2"], {"0": (["S2"], ["S1"])},
    ...     counts={name: folder / "adata" / f"{name}.h5ad" for name in ("S1", "S2")},
    ...     patches={name: folder / "patches" / f"{name}.h5" for name in ("S1", "S2")},
    ... )
    >>> training, test = task.splits["0"]
    >>> task.counts[test[0]].name, task.patches[test[0]].name
    ('S1.h5ad', 'S1.h5')
    """

    name: str
    folder: Path
    genes: list[str]
    splits: dict[str, tuple[list[str], list[str]]]
    counts: dict[str, Path]
    patches: dict[str, Path]


def is_hest_task(folder: PathLike) -> bool:
    """Return whether a folder is laid out as a task of HEST-Bench.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path")
    >>> hq.io.is_hest_task(folder)
    False
    >>> (folder / "splits").mkdir()
    >>> (folder / "var_50genes.json").touch()
    >>> hq.io.is_hest_task(folder)
    True
    """
    return (Path(folder) / _SPLITS).is_dir() and (Path(folder) / _GENES).is_file()


def read_hest_task(folder: PathLike) -> HestTask:
    """Read the splits and the genes of a task of HEST-Bench, and check that its files are there.

    Parameters
    ----------
    folder
        Path of the task: ``splits/train_0.csv``, ``splits/test_0.csv``, ... with the columns ``sample_id,
        patches_path, expr_path`` (paths relative to the folder), ``var_50genes.json`` (``{"genes": [...]}``),
        ``adata/ID.h5ad`` and ``patches/ID.h5``.

    Returns
    -------
    :class:`HestTask`; its sections are read by :func:`read_hest_section`.

    Raises
    ------
    FileNotFoundError
        The folder, a file of the layout, or a file that a split names is missing.
    ValueError
        There is no split; a table or the list of genes has another form; or a section is in training and in test of one
        split.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = hq.datasets.toy_hest_task(getfixture("tmp_path") / "TOY", n_sections=3, n_spots=60)
    >>> task = hq.io.read_hest_task(folder)
    >>> len(task.genes), task.splits["0"]
    (50, (['TOY2', 'TOY3'], ['TOY1']))
    """
    folder = existing_folder(folder, _LAYOUT)
    genes = _read_genes(existing_file(folder / _GENES, f"the genes of {_LAYOUT}"))
    tables = existing_folder(folder / _SPLITS, f"the splits of {_LAYOUT}")
    numbers = sorted(
        {found[1] for path in tables.iterdir() if (found := re.fullmatch(r"(?:train|test)_(\d+)\.csv", path.name))},
        key=int,
    )
    if not numbers:
        raise ValueError(f"{tables} holds no split: expected train_0.csv and test_0.csv, train_1.csv, ...")
    splits: dict[str, tuple[list[str], list[str]]] = {}
    counts: dict[str, Path] = {}
    patches: dict[str, Path] = {}
    for number in numbers:
        sides = []
        for side in ("train", "test"):
            rows = _read_split(tables / f"{side}_{number}.csv", folder)
            for name, row in rows.iterrows():
                for known, column in ((counts, "expr_path"), (patches, "patches_path")):
                    if known.setdefault(str(name), row[column]) != row[column]:
                        raise ValueError(
                            f"{tables / f'{side}_{number}.csv'}: {column} of {name!r} is {row[column]}, and "
                            f"{known[str(name)]} in another table. A section has one file."
                        )
            sides.append([str(name) for name in rows.index])
        both = sorted(set(sides[0]) & set(sides[1]))
        if both:
            raise ValueError(
                f"Split {number} of {folder} leaks: section(s) {listed(both)} are in train_{number}.csv and in "
                f"test_{number}.csv. Remove them from one."
            )
        splits[number] = sides[0], sides[1]
    return HestTask(folder.resolve().name, folder, genes, splits, counts, patches)


def _read_genes(path: Path) -> list[str]:
    try:
        genes = json.loads(path.read_text(encoding="utf-8"))["genes"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is not of the form {{"genes": ["A2M", ...]}}.') from error
    if not isinstance(genes, list) or not genes or not all(isinstance(gene, str) for gene in genes):
        raise ValueError(f'{path}: "genes" must be a list of one or more names.')
    repeated = sorted({gene for gene in genes if genes.count(gene) > 1})
    if repeated:
        raise ValueError(f"{path} names genes twice: {listed(repeated, 5)}.")
    return genes


def _read_split(path: Path, folder: Path) -> pd.DataFrame:
    """Return the sections of one side of a split, indexed by name, with full paths."""
    table = read_delimited(existing_file(path, "one side of a split"), dtype=str, keep_default_na=False)
    table = table.rename(columns=str.strip)
    missing = [column for column in _COLUMNS if column not in table]
    if missing:
        raise ValueError(f"{path} lacks the column(s) {listed(missing)} (found: {listed(table.columns)}).")
    table = table[_COLUMNS].apply(lambda column: column.str.strip())
    if table.empty or (table == "").any(axis=None) or table["sample_id"].duplicated().any():
        raise ValueError(f"{path} must name one or more sections, each once, with its two files.")
    table = table.set_index("sample_id")
    for column, what in (("expr_path", "the counts"), ("patches_path", "the patches")):
        paths = {
            str(name): existing_file(_placed(folder, given), f"{what} of section {name!r}, which {path.name} names")
            for name, given in table[column].items()
        }
        table[column] = pd.Series(paths, dtype=object)
    return table


def _placed(folder: Path, given: str) -> Path:
    """Return the path of a file of a table, which may have been written on Windows."""
    path = folder / given
    return path if path.exists() else folder / given.replace("\\", "/")


def read_hest_section(task: HestTask, name: str) -> AnnData:
    """Read the spots of a section of HEST-Bench that have a patch.

    Spots are matched by barcode and put into the order of the patches; the numbers of spots without a patch and of
    patches without a spot are logged. Microns per pixel, if not recorded, are those at which the patches are 112 um
    wide: patches are given by their upper left corners, spots by their centres.

    Parameters
    ----------
    task, name
        The task, and the name of one of its sections.

    Returns
    -------
    The section as :func:`read_h5ad` reads it, and

    ``obs["patch"]`` : int64, row of the spot in the file of patches
    ``uns["histoquilt"]["patches"]`` : ``n_without_patch`` and ``n_without_spot``, what was dropped of either
    ``obs["patient"]`` : the patient, if ``obs`` or ``metadata/ID.json`` of the task or of its parent folder knows it

    Raises
    ------
    ValueError
        A gene of the task was not measured, no barcode matches, or the patches have another form.

    Examples
    --------
    >>> import h5py, numpy as np, histoquilt as hq
    >>> folder = getfixture("tmp_path")
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=40, n_domains=2, seed=0)
    >>> hq.io.write_h5ad(adata, folder / "S1.h5ad")
    >>> with h5py.File(folder / "S1.h5", "w") as file:
    ...     file["img"] = np.zeros((58, 224, 224, 3), np.uint8)
    ...     file["coords"], file["barcode"] = adata.obsm["spatial"][:58] - 56, list(adata.obs_names[:58])
    >>> genes = list(adata.var_names[:2])
    >>> task = hq.io.HestTask("TOY", folder, genes, {}, {"S1": folder / "S1.h5ad"}, {"S1": folder / "S1.h5"})
    >>> section = hq.io.read_hest_section(task, "S1")
    >>> section.n_obs, section.uns["histoquilt"]["patches"]
    (58, {'n_without_patch': 2, 'n_without_spot': 0})
    """
    path = task.counts[name]
    adata = read_h5ad(path)
    missing = [gene for gene in task.genes if gene not in adata.var_names]
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} of the {len(task.genes)} genes of {_GENES}: {listed(missing, 5)} (it has "
            f"{listed(adata.var_names, 3)}). Genes are named as in var_names."
        )
    with _opened(task.patches[name]) as (_, coords, barcodes):
        place = adata.obs_names.get_indexer(barcodes)
    found = np.flatnonzero(place >= 0)
    if not len(found):
        raise ValueError(
            f"No barcode of {task.patches[name]} ({listed(barcodes, 2)}) is a spot of {path} "
            f"({listed(adata.obs_names, 2)}). Are these files of the same section?"
        )
    n_without, n_unknown = adata.n_obs - len(found), len(barcodes) - len(found)
    if n_without or n_unknown:
        logger.info(
            "%s: %d of %d spots have no patch and are dropped; %d of %d patches are of no spot.",
            name, n_without, adata.n_obs, n_unknown, len(barcodes),
        )  # fmt: skip
    adata = adata[place[found]].copy()
    adata.obs[PATCH] = found.astype(np.int64)
    provenance(adata)["patches"] = {"n_without_patch": n_without, "n_without_spot": n_unknown}
    if Keys.SPATIAL not in adata.obsm:
        raise ValueError(f"{path} has no spot centres in obsm['spatial'].")
    _record_mpp(adata, coords[found])
    if Keys.PATIENT not in adata.obs and (patient := _patient(task, name)) is not None:
        adata.obs[Keys.PATIENT] = pd.Categorical([patient] * adata.n_obs)
    return adata


@contextmanager
def open_hest_patches(path: PathLike) -> Iterator[h5py.Dataset]:
    """Open the patches of a section, uint8 ``(n_patches, 224, 224, 3)``, read in slices.

    Raises
    ------
    FileNotFoundError, OSError, ValueError
        The file is missing, damaged, or of another form.

    Examples
    --------
    >>> import h5py, numpy as np, histoquilt as hq
    >>> path = getfixture("tmp_path") / "S1.h5"
    >>> with h5py.File(path, "w") as file:
    ...     file["img"] = np.zeros((3, 224, 224, 3), np.uint8)
    ...     file["coords"], file["barcode"] = np.zeros((3, 2), int), ["AAAC-1", "AAAG-1", "AAAT-1"]
    >>> with hq.io.open_hest_patches(path) as patches:
    ...     patches[:2].shape
    (2, 224, 224, 3)
    """
    with _opened(Path(path)) as (images, _, _):
        yield images


def patch_digests(path: PathLike, rows: np.ndarray) -> set[bytes]:
    """Return digests of patches, to find those that two sections share; patches of one colour have none.

    Parameters
    ----------
    path
        Path of the ``.h5`` file.
    rows
        Rows of the patches, ascending.

    Examples
    --------
    >>> import h5py, numpy as np, histoquilt as hq
    >>> path = getfixture("tmp_path") / "S1.h5"
    >>> images = np.random.default_rng(0).integers(0, 255, (3, 224, 224, 3), np.uint8)
    >>> images[1], images[2] = images[0], 255  # the same patch twice, and one of one colour
    >>> with h5py.File(path, "w") as file:
    ...     file["img"] = images
    ...     file["coords"], file["barcode"] = np.zeros((3, 2), int), ["AAAC-1", "AAAG-1", "AAAT-1"]
    >>> len(hq.io.patch_digests(path, np.array([0, 1, 2])))
    1
    """
    found: set[bytes] = set()
    with open_hest_patches(path) as images:
        for start in range(0, len(images), _AT_ONCE):
            for patch in images[start : start + _AT_ONCE][rows[(rows >= start) & (rows < start + _AT_ONCE)] - start]:
                if patch.min() < patch.max():
                    found.add(hashlib.blake2b(patch.tobytes(), digest_size=16).digest())
    return found


@contextmanager
def _opened(path: Path) -> Iterator[tuple[h5py.Dataset, np.ndarray, list[str]]]:
    """Open a file of patches, and yield them with their corners and barcodes, checked."""
    what = "patches of HEST-Bench: img, coords and barcode"
    with open_h5(existing_file(path, what), what) as opened:
        barcode = next((name for name in ("barcode", "barcodes") if name in opened), "barcode")
        missing = [name for name in ("img", "coords", barcode) if name not in opened]
        if missing:
            raise ValueError(f"{path} lacks {listed(missing)} (found: {listed(opened)}); expected {what}.")
        folders = [name for name in ("img", "coords", barcode) if not isinstance(opened[name], h5py.Dataset)]
        if folders:
            raise ValueError(f"{path}: {listed(folders)} must be arrays, found groups; expected {what}.")
        images, coords = opened["img"], np.asarray(opened["coords"])
        barcodes = _decoded(np.asarray(opened[barcode]), path)
        shape = (HEST_PATCH_PX, HEST_PATCH_PX, 3)
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise ValueError(
                f"{path}: img must be uint8 (n_patches, {HEST_PATCH_PX}, {HEST_PATCH_PX}, 3), found {images.dtype} "
                f"{images.shape}. Patches of another size show another field of tissue."
            )
        if coords.shape != (len(images), 2) or len(barcodes) != len(images):
            raise ValueError(
                f"{path} has {len(images)} patches, coords {coords.shape} and {len(barcodes)} barcodes; one of each is "
                "expected for every patch."
            )
        if coords.dtype.kind not in "iuf" or not np.isfinite(coords).all():
            raise ValueError(f"{path}: coords must be corners in pixels, found {coords.dtype} with NaN or text.")
        repeated = pd.Index(barcodes)[pd.Index(barcodes).duplicated()].unique()
        if len(repeated):
            raise ValueError(f"{path} has barcodes twice: {listed(repeated, 3)}.")
        yield images, coords, barcodes


def _decoded(values: np.ndarray, path: Path) -> list[str]:
    """Return barcodes, stored as text or bytes, in one column or none, as text."""
    if values.ndim not in (1, 2) or values.size != len(values):
        raise ValueError(f"{path}: barcode must hold one name for each patch, found shape {values.shape}.")
    try:
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values.reshape(-1).tolist()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: barcode holds names that are not text ({error}).") from error


def _record_mpp(adata: AnnData, corners: np.ndarray) -> None:
    """Record microns per pixel, from the distance between spot centres and corners, unless it is recorded."""
    if coordinate_record(adata).get("mpp"):
        return
    half = np.asarray(adata.obsm[Keys.SPATIAL], dtype=np.float64)[:, :2] - corners
    width = 2 * float(np.median(half))
    if width < 8 or np.quantile(np.abs(half - width / 2), 0.95) > 2:
        logger.info("The corners of the patches are not half a patch from the spots; microns per pixel are not known.")
        return
    mpp = HEST_FIELD_UM / width
    logger.info("Patches of %g um are %.4g px of the image wide: %.4g um/px.", HEST_FIELD_UM, width, mpp)
    record_coordinates(adata, "pixel", mpp=mpp)


def _patient(task: HestTask, name: str) -> str | None:
    """Return the patient of a section in the metadata of HEST-1k; numbers of patients count within one study."""
    for folder in (task.folder, task.folder.parent):
        path = folder / "metadata" / f"{name}.json"
        if not path.is_file():
            continue
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            patient, study = known.get("patient"), known.get("dataset_title")
        except (ValueError, AttributeError) as error:
            warn_user(f"{path} could not be read ({error}); the patient of {name} is not known.")
            return None
        if patient is None or patient != patient or not str(patient).strip():
            return None
        return f"{study}: {patient}" if study else str(patient)
    return None
