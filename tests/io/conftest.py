"""Sections in the true file formats, small, written here."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from PIL import Image
from scipy.io import mmwrite
from scipy.sparse import csc_matrix, csr_matrix

HEADER = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]


def hexagonal(rows: int, columns: int, pitch: float) -> pd.DataFrame:
    """The spots of a small Visium array: even columns in even rows, odd ones in odd rows."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    column = 2 * column + row % 2
    barcodes = [f"{''.join('ACGT'[int(digit)] for digit in np.base_repr(i + 4**6, 4))}-1" for i in range(len(row))]
    return pd.DataFrame(
        {
            "barcode": barcodes,
            "in_tissue": 1,
            "array_row": row,
            "array_col": column,
            "pxl_row_in_fullres": np.rint(500 + row * pitch * np.sqrt(3) / 2).astype(int),
            "pxl_col_in_fullres": np.rint(300 + column * pitch / 2).astype(int),
        }
    )


@pytest.fixture
def visium_spots() -> pd.DataFrame:
    """120 positions, 200 px apart (0.5 um/px), the last 20 outside the tissue."""
    spots = hexagonal(10, 12, 200.0)
    spots.loc[100:, "in_tissue"] = 0
    return spots


@pytest.fixture
def counts() -> AnnData:
    """60 genes on the 100 spots in tissue, one symbol twice, one antibody."""
    rng = np.random.default_rng(0)
    symbols = [f"GENE{i}" for i in range(58)] + ["TBCE", "TBCE"]
    var = pd.DataFrame({"gene_ids": [f"ENSG{i:011d}" for i in range(60)]}, index=symbols)
    spots = hexagonal(10, 12, 200.0)["barcode"][:100]
    return AnnData(csr_matrix(rng.poisson(2.0, (100, 60)).astype(np.float32)), obs=pd.DataFrame(index=spots), var=var)


def write_10x_h5(adata: AnnData, path: Path, *, version: int = 3, library_id: str | None = "sample1") -> None:
    """Write counts as Cell Ranger 2 or Space Ranger (3) does: genes x barcodes, compressed by column."""
    matrix = csc_matrix(adata.X.T)
    strings = {"ids": adata.var["gene_ids"], "names": adata.var_names, "barcodes": adata.obs_names}
    strings = {name: np.array(list(values), dtype="S") for name, values in strings.items()}
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix" if version == 3 else "GRCh38")
        group["barcodes"] = strings["barcodes"]
        group["data"] = matrix.data.astype(np.int32)
        group["indices"] = matrix.indices.astype(np.int64)
        group["indptr"] = matrix.indptr.astype(np.int64)
        group["shape"] = np.array(matrix.shape, dtype=np.int32)
        if version == 2:
            group["genes"], group["gene_names"] = strings["ids"], strings["names"]
            return
        file.attrs["chemistry_description"] = "Spatial 3' v1"
        file.attrs["software_version"] = "spaceranger-2.1.0"
        if library_id:
            file.attrs["library_ids"] = np.array([library_id], dtype="S")
        features = group.create_group("features")
        features["id"], features["name"] = strings["ids"], strings["names"]
        features["feature_type"] = np.array(list(_kinds(adata)), dtype="S")
        features["genome"] = np.array(["GRCh38"] * adata.n_vars, dtype="S")
        features["_all_tag_keys"] = np.array(["genome"], dtype="S")


def _kinds(adata: AnnData) -> np.ndarray:
    return adata.var.get("feature_types", pd.Series("Gene Expression", index=adata.var_names)).to_numpy()


def write_10x_mtx(adata: AnnData, folder: Path, *, version: int = 3, compressed: bool = True) -> None:
    """Write counts as a matrix folder."""
    folder.mkdir()
    mmwrite(folder / "matrix.mtx", csc_matrix(adata.X.T).astype(np.int64))
    columns = [adata.var["gene_ids"].to_numpy(), adata.var_names.to_numpy()]
    if version == 3:
        columns.append(_kinds(adata))
    genes = folder / ("features.tsv" if version == 3 else "genes.tsv")
    pd.DataFrame(columns).T.to_csv(genes, sep="\t", header=False, index=False)
    pd.Series(adata.obs_names).to_csv(folder / "barcodes.tsv", header=False, index=False)
    if compressed:
        for file in list(folder.iterdir()):
            file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes(), compresslevel=1))
            file.unlink()


def write_spatial(
    spots: pd.DataFrame, folder: Path, *, form: str = "tissue_positions.csv", images: bool = True
) -> None:
    """Write the spatial/ folder of Space Ranger 1 (list), 2 and 3 (csv) or Visium HD (parquet)."""
    folder.mkdir()
    if form.endswith(".parquet"):
        spots.to_parquet(folder / form, index=False)
    else:
        spots.to_csv(folder / form, index=False, header=form == "tissue_positions.csv")
    factors = {"tissue_hires_scalef": 0.1, "tissue_lowres_scalef": 0.03, "spot_diameter_fullres": 110.0}
    (folder / "scalefactors_json.json").write_text(json.dumps(factors))
    if images:
        rng = np.random.default_rng(1)
        for name, size in (("hires", (300, 280)), ("lowres", (90, 84))):
            pixels = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"tissue_{name}_image.png")


@pytest.fixture
def visium_folder(tmp_path: Path, counts: AnnData, visium_spots: pd.DataFrame) -> Path:
    """A whole Space Ranger 2 folder."""
    folder = tmp_path / "sample" / "outs"
    folder.mkdir(parents=True)
    write_10x_h5(counts, folder / "filtered_feature_bc_matrix.h5")
    write_spatial(visium_spots, folder / "spatial")
    return folder


@pytest.fixture
def truncated() -> Callable[[Path], Path]:
    """Cut a file to its first half."""

    def cut(path: Path) -> Path:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        return path

    return cut
