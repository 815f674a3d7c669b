"""Count matrices of 10x software: one ``.h5`` file, a folder with ``matrix.mtx``, or the ``.zarr.zip`` of Xenium."""

import csv
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import is_zipfile

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.io import mmread
from scipy.sparse import csr_matrix

from histoquilt._base import Keys, listed, require
from histoquilt.io._controls import find_controls, finish_genes
from histoquilt.io._files import CUT_OFF, contents, first_file, is_gzip, open_h5, read_delimited, unpacked_bytes
from histoquilt.runtime import logger
from histoquilt.study import quiet_duplicates

_GENES = "Gene Expression"
_KINDS = {"gene": _GENES}  # kinds of features in a .zarr.zip that have another name in the .h5
_DIGITS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")  # of a cell's name in Xenium


def read_10x_h5(path: Path) -> AnnData:
    """Read the counts of genes and controls in a 10x ``.h5`` file, layout of version 2 or 3, as CSR float32.

    scanpy reads the file; errors of it that have no type and no file name are replaced.
    """
    import scanpy

    if path.suffix == ".gz":
        with TemporaryDirectory() as scratch:
            unpacked = Path(scratch) / path.stem
            unpacked.write_bytes(unpacked_bytes(path))
            return read_10x_h5(unpacked)
    with open_h5(path, "a 10x feature-barcode matrix (.h5)") as opened:
        legacy = [name for name, item in opened.items() if "barcodes" in item and "gene_names" in item]
        if "matrix" not in opened and not legacy:
            raise ValueError(
                f"{path} is not a 10x feature-barcode matrix: it has no group 'matrix' (found: {listed(opened)})."
                + (" It is an AnnData: read it with histoquilt.io.read_h5ad." if "obs" in opened else "")
            )
        library_ids = [_text(name) for name in np.ravel(opened.attrs.get("library_ids", []))]
        names = {"chemistry_description", "software_version"} & set(opened.attrs)
        metadata = {name: _text(opened.attrs[name]) for name in sorted(names)}
    try:
        with quiet_duplicates():
            adata = scanpy.read_10x_h5(path, gex_only=False)
    except Exception as error:  # scanpy raises a bare Exception for a missing dataset
        raise ValueError(f"{path} could not be read as a 10x feature-barcode matrix: {error}") from error
    adata.uns["10x"] = {"library_ids": library_ids, "metadata": metadata}
    return _without_others(adata)


def read_10x_mtx(folder: Path, prefix: str = "") -> AnnData:
    """Read the counts of genes and controls in a 10x matrix folder, layout of version 2 or 3, as CSR float32.

    Files may be compressed. Not read with scanpy, which reads version 3 only if it is compressed, and a gene named
    "NA" as missing.
    """
    matrix_file = _one_of(folder, prefix, "matrix.mtx")
    genes_file = _one_of(folder, prefix, "features.tsv", "genes.tsv")
    barcodes_file = _one_of(folder, prefix, "barcodes.tsv")
    genes, barcodes = (
        read_delimited(file, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE)
        for file in (genes_file, barcodes_file)
    )
    try:
        if matrix_file.suffix == ".gz" and not is_gzip(matrix_file):
            with matrix_file.open("rb") as stream:
                matrix = mmread(stream)
        else:
            matrix = mmread(matrix_file)
        counts = csr_matrix(matrix.T, dtype=np.float32)
    except (ValueError, OverflowError, *CUT_OFF) as error:
        raise ValueError(f"{matrix_file} could not be read as a count matrix (truncated?): {error}.") from error
    if counts.shape != (len(barcodes), len(genes)):
        raise ValueError(
            f"The files of {folder} do not belong together: {matrix_file.name} has {counts.shape[1]:,} genes x "
            f"{counts.shape[0]:,} barcodes, {genes_file.name} {len(genes):,} genes, {barcodes_file.name} "
            f"{len(barcodes):,} barcodes."
        )
    var = pd.DataFrame({"gene_ids": genes[0].to_numpy()}, index=genes[1 if 1 in genes else 0].to_numpy())
    if 2 in genes:
        var["feature_types"] = genes[2].to_numpy()
    with quiet_duplicates():
        adata = AnnData(counts, obs=pd.DataFrame(index=barcodes[0].to_numpy()), var=var)
    adata.uns["10x"] = {"library_ids": [], "metadata": {}}
    return _without_others(adata)


def read_10x_zarr(path: Path) -> AnnData:
    """Read the counts of genes and controls in ``cell_feature_matrix.zarr.zip`` of Xenium, as CSR float32.

    The group ``cell_features`` holds the cells of each feature (``indptr``, ``indices``, ``data``), the names of
    features as attributes, and in ``cell_id`` two numbers for each cell: the first in hexadecimal, with the letters a
    to p as digits, and the second make up its name.
    """
    zarr = require("zarr", extra="spatial", purpose="Reading a .zarr.zip")
    if not is_zipfile(path):
        raise ValueError(f"{path} is not a zip file (truncated?). Copy it again from the Xenium output.")
    try:
        with closing(zarr.storage.ZipStore(path, mode="r")) as store:
            group = zarr.open_group(store, mode="r")["cell_features"]
            numbers, indptr, indices, data = (group[name][:] for name in ("cell_id", "indptr", "indices", "data"))
            names, ids, kinds = (list(group.attrs[f"feature_{name}"]) for name in ("keys", "ids", "types"))
        by_feature = csr_matrix((data, indices, indptr), shape=(len(names), len(numbers)), dtype=np.float32)
        var = pd.DataFrame({"gene_ids": ids, "feature_types": [_KINDS.get(kind, kind) for kind in kinds]}, index=names)
    except Exception as error:  # zarr raises many types; scipy and pandas for parts that do not belong together
        raise ValueError(f"{path} could not be read as a cell-feature matrix (truncated?): {error!r}") from error
    if numbers.ndim == 1:  # of the first releases
        cells = [str(number) for number in numbers.tolist()]
    else:
        cells = [f"{number:08x}".translate(_DIGITS) + f"-{suffix}" for number, suffix in numbers.tolist()]
    with quiet_duplicates():
        adata = AnnData(by_feature.T.tocsr(), obs=pd.DataFrame(index=cells), var=var)
    adata.uns["10x"] = {"library_ids": [], "metadata": {}}
    return _without_others(adata)


def _without_others(adata: AnnData) -> AnnData:
    """Leave out antibodies and the like, set controls aside, annotate the genes, declare the counts."""
    if "feature_types" in adata.var:
        kinds = adata.var["feature_types"].value_counts()
        if _GENES not in kinds:
            raise ValueError(f"The matrix holds no genes ('{_GENES}'), only {listed(kinds.index)}.")
        is_read = (adata.var["feature_types"] == _GENES).to_numpy() | find_controls(adata.var)
        if not is_read.all():
            others = adata.var["feature_types"][~is_read].value_counts().to_dict()
            logger.info("Only genes and controls are read; left out: %s", others)
            with quiet_duplicates():
                adata = adata[:, is_read].copy()
    if adata.X.dtype != np.float32 or not isinstance(adata.X, csr_matrix):
        adata.X = csr_matrix(adata.X, dtype=np.float32)
    adata = finish_genes(adata, gene_id="gene_ids", is_counts=True)
    first = [Keys.GENE_ID, Keys.GENE_SYMBOL]
    adata.var = adata.var[[*first, *adata.var.columns.drop([*first, "gene_ids"])]]
    return adata


def _one_of(folder: Path, prefix: str, *names: str) -> Path:
    """Return a file of the matrix folder, compressed or not."""
    path = first_file(folder, (f"{prefix}{name}" for name in names))
    if path is None:
        wanted = " or ".join(f"{prefix}{name}[.gz]" for name in names)
        raise FileNotFoundError(f"{folder} has no {wanted}. It holds: {contents(folder)}.")
    return path


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
