import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import scanpy
from anndata import read_h5ad
from PIL import Image
from scipy.sparse import csr_matrix

import histoquilt as hq

from .conftest import write_10x_h5, write_10x_mtx, write_spatial


def check_section(adata, counts, spots):
    """What the two fixtures must come out as, worked out from the tables and not from the reader."""
    assert isinstance(adata.X, csr_matrix)
    assert adata.X.dtype == np.float32
    assert list(adata.obs_names) == list(counts.obs_names)
    np.testing.assert_array_equal(adata.X.toarray(), counts.X.toarray())
    expected = spots.set_index("barcode").loc[counts.obs_names]
    np.testing.assert_array_equal(adata.obsm["spatial"][:, 0], expected["pxl_col_in_fullres"])
    np.testing.assert_array_equal(adata.obsm["spatial"][:, 1], expected["pxl_row_in_fullres"])
    for column in ("array_row", "array_col", "in_tissue"):
        np.testing.assert_array_equal(adata.obs[column], expected[column])
    assert adata.uns["histoquilt"]["scale"] == {"X": "counts"}
    assert adata.uns["histoquilt"]["coordinates"]["unit"] == "pixel"
    assert adata.uns["histoquilt"]["coordinates"]["mpp"] == pytest.approx(0.5, rel=0.01)
    assert list(adata.var["gene_id"]) == list(counts.var["gene_ids"])
    assert list(adata.var["gene_symbol"]) == list(counts.var_names)
    assert list(adata.var_names[-2:]) == ["TBCE", "TBCE-1"]


@pytest.mark.filterwarnings("ignore:Names that several genes share")
@pytest.mark.parametrize("form", ["tissue_positions_list.csv", "tissue_positions.csv", "tissue_positions.parquet"])
@pytest.mark.parametrize("matrix", ["h5-3", "h5-2", "mtx-3.gz", "mtx-3", "mtx-2"])
def test_every_form_of_counts_and_positions_gives_the_same_section(tmp_path, counts, visium_spots, matrix, form):
    if form.endswith("parquet"):
        pytest.importorskip("pyarrow")
    version = int(matrix.split("-")[1][0])
    if matrix.startswith("h5"):
        write_10x_h5(counts, tmp_path / "filtered_feature_bc_matrix.h5", version=version)
    else:
        compressed = matrix.endswith(".gz")
        write_10x_mtx(counts, tmp_path / "filtered_feature_bc_matrix", version=version, compressed=compressed)
    write_spatial(visium_spots, tmp_path / "spatial", form=form)
    adata = hq.io.read_visium(tmp_path)
    check_section(adata, counts, visium_spots)
    assert list(adata.uns["spatial"]) == ["sample1" if matrix == "h5-3" else tmp_path.name]


@pytest.mark.filterwarnings("ignore:Names that several genes share")
def test_images_and_scale_factors_lie_where_squidpy_looks(visium_folder):
    adata = hq.io.read_visium(visium_folder)
    library = adata.uns["spatial"]["sample1"]
    assert library["images"]["hires"].shape == (300, 280, 3)
    with Image.open(visium_folder / "spatial" / "tissue_lowres_image.png") as image:
        np.testing.assert_array_equal(library["images"]["lowres"], np.asarray(image))
    assert library["scalefactors"]["tissue_hires_scalef"] == 0.1
    assert library["metadata"]["software_version"] == "spaceranger-2.1.0"
    assert hq.io.read_visium(visium_folder, load_images=False).uns["spatial"]["sample1"]["images"] == {}
    assert list(hq.io.read_visium(visium_folder, library_id="mine").uns["spatial"]) == ["mine"]


def test_the_matrix_agrees_with_scanpy(tmp_path, counts, visium_spots):
    """scanpy reads the compressed version 3 folder, so both can be compared on it."""
    counts = counts[:, :59].copy()
    write_10x_mtx(counts, tmp_path / "filtered_feature_bc_matrix")
    write_spatial(visium_spots, tmp_path / "spatial")
    theirs = scanpy.read_10x_mtx(tmp_path / "filtered_feature_bc_matrix")
    ours = hq.io.read_visium(tmp_path)
    assert list(ours.obs_names) == list(theirs.obs_names)
    assert list(ours.var_names) == list(theirs.var_names)
    np.testing.assert_array_equal(ours.X.toarray(), theirs.X.toarray())


def test_a_gene_called_na_keeps_its_name(tmp_path, counts, visium_spots):
    counts = counts[:, :59].copy()
    counts.var_names = ["NA", *counts.var_names[1:]]
    write_10x_mtx(counts, tmp_path / "filtered_feature_bc_matrix")
    write_spatial(visium_spots, tmp_path / "spatial")
    assert hq.io.read_visium(tmp_path).var_names[0] == "NA"


@pytest.mark.filterwarnings("ignore:Names that several genes share")
def test_spots_outside_the_tissue_and_antibodies_are_left_out(tmp_path, counts, visium_spots):
    counts.var["feature_types"] = ["Antibody Capture"] + ["Gene Expression"] * 59
    write_10x_h5(counts, tmp_path / "raw_feature_bc_matrix.h5")
    visium_spots.loc[90:, "in_tissue"] = 0
    write_spatial(visium_spots, tmp_path / "spatial")
    adata = hq.io.read_visium(tmp_path, counts_file="raw_feature_bc_matrix.h5")
    assert adata.shape == (90, 59)
    assert list(adata.obs_names) == list(visium_spots["barcode"][:90])


@pytest.mark.filterwarnings("ignore:Names that several genes share")
@pytest.mark.parametrize("read", [hq.io.read_visium, hq.io.read_section])
@pytest.mark.parametrize("name", ["raw_feature_bc_matrix.h5", "filtered_feature_bc_matrix.h5"])
def test_spots_outside_the_tissue_may_be_kept(tmp_path, counts, visium_spots, read, name):
    write_10x_h5(counts, tmp_path / name)
    visium_spots.loc[90:, "in_tissue"] = 0
    write_spatial(visium_spots, tmp_path / "spatial")
    adata = read(tmp_path, counts_file=name, keep_all_spots=True)
    assert list(adata.obs_names) == list(counts.obs_names)
    assert list(adata.obs["in_tissue"]) == [1] * 90 + [0] * 10
    assert read(tmp_path, counts_file=name).n_obs == 90


@pytest.mark.filterwarnings("ignore:Names that several genes share")
def test_a_sample_name_before_the_matrix_becomes_the_library(tmp_path, counts, visium_spots):
    write_10x_h5(counts, tmp_path / "liver_filtered_feature_bc_matrix.h5", library_id=None)
    write_spatial(visium_spots, tmp_path / "spatial")
    assert list(hq.io.read_visium(tmp_path).uns["spatial"]) == ["liver"]
    write_10x_h5(counts, tmp_path / "brain_filtered_feature_bc_matrix.h5", library_id=None)
    with pytest.raises(ValueError, match=r"several count matrices: 'brain_.*counts_file="):
        hq.io.read_visium(tmp_path)


@pytest.mark.filterwarnings("ignore:Names that several genes share")
def test_a_positions_list_with_a_header_is_read(tmp_path, visium_folder, counts, visium_spots):
    shutil.rmtree(visium_folder / "spatial")
    write_spatial(visium_spots, visium_folder / "spatial")
    (visium_folder / "spatial" / "tissue_positions.csv").rename(visium_folder / "spatial" / "tissue_positions_list.csv")
    check_section(hq.io.read_visium(visium_folder), counts, visium_spots)


@pytest.mark.filterwarnings("ignore:Names that several genes share")
def test_an_image_without_scale_is_left_out_with_a_warning(visium_folder):
    (visium_folder / "spatial" / "scalefactors_json.json").unlink()
    with pytest.warns(UserWarning, match=r"tissue_hires_image.png is left out: scalefactors_json.json.*is missing"):
        adata = hq.io.read_visium(visium_folder)
    assert adata.uns["spatial"]["sample1"]["images"] == {}


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent does not exist; expected a Space Ranger output folder"):
        hq.io.read_visium(tmp_path / "absent")


def test_a_folder_that_is_no_visium_output(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(
        FileNotFoundError, match=r"is not a Space Ranger output folder: looked for.*It holds: 'notes.txt'"
    ):
        hq.io.read_visium(tmp_path)


def test_the_folder_above_outs(visium_folder):
    with pytest.raises(FileNotFoundError, match=r"Did you mean .*outs\?"):
        hq.io.read_visium(visium_folder.parent)


def test_raw_counts_are_only_read_when_asked_for(visium_folder):
    (visium_folder / "filtered_feature_bc_matrix.h5").rename(visium_folder / "raw_feature_bc_matrix.h5")
    with pytest.raises(FileNotFoundError, match=r"pass counts_file='raw_feature_bc_matrix.h5'"):
        hq.io.read_visium(visium_folder)
    with pytest.raises(FileNotFoundError, match=r"has no 'other.h5' \(counts_file=\)"):
        hq.io.read_visium(visium_folder, counts_file="other.h5")


def test_positions_missing(visium_folder):
    (visium_folder / "spatial" / "tissue_positions.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no spot positions: looked for tissue_positions.parquet"):
        hq.io.read_visium(visium_folder)
    shutil.rmtree(visium_folder / "spatial")
    with pytest.raises(FileNotFoundError, match=r"has no spatial/ folder, so the spots have no positions"):
        hq.io.read_visium(visium_folder)


def test_truncated_counts(visium_folder, truncated):
    truncated(visium_folder / "filtered_feature_bc_matrix.h5")
    with pytest.raises(OSError, match=r"is truncated .*Copy or download it again"):
        hq.io.read_visium(visium_folder)


def test_truncated_matrix_folder(tmp_path, counts, visium_spots, truncated):
    write_10x_mtx(counts, tmp_path / "filtered_feature_bc_matrix")
    write_spatial(visium_spots, tmp_path / "spatial")
    truncated(tmp_path / "filtered_feature_bc_matrix" / "matrix.mtx.gz")
    with pytest.raises(ValueError, match=r"matrix.mtx.gz could not be read as a count matrix \(truncated\?\)"):
        hq.io.read_visium(tmp_path)


def test_matrix_folder_of_mixed_samples_or_with_a_file_missing(tmp_path, counts, visium_spots):
    matrix = tmp_path / "filtered_feature_bc_matrix"
    write_10x_mtx(counts, matrix, compressed=False)
    write_spatial(visium_spots, tmp_path / "spatial")
    barcodes = (matrix / "barcodes.tsv").read_text().splitlines()
    (matrix / "barcodes.tsv").write_text("\n".join(barcodes[:-1]))
    with pytest.raises(ValueError, match=r"do not belong together: .*100 barcodes.* barcodes.tsv 99 barcodes"):
        hq.io.read_visium(tmp_path)
    (matrix / "barcodes.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no barcodes.tsv\[.gz\]"):
        hq.io.read_visium(tmp_path)


def test_not_a_10x_file(visium_folder, counts):
    target = visium_folder / "filtered_feature_bc_matrix.h5"
    counts[:, :59].copy().write_h5ad(target)
    with pytest.raises(ValueError, match=r"no group 'matrix'.*It is an AnnData"):
        hq.io.read_visium(visium_folder)
    target.write_text("<html>404</html>")
    with pytest.raises(OSError, match=r"is not an HDF5 file.*It is a web page"):
        hq.io.read_visium(visium_folder)
    target.write_bytes(b"")
    with pytest.raises(OSError, match=r"is empty \(0 bytes\)"):
        hq.io.read_visium(visium_folder)


def test_truncated_image(visium_folder, truncated):
    truncated(visium_folder / "spatial" / "tissue_hires_image.png")
    with pytest.raises(OSError, match=r"tissue_hires_image.png could not be read as an image.*load_images=False"):
        hq.io.read_visium(visium_folder)


def test_parquet_positions(visium_folder, visium_spots, truncated, monkeypatch):
    pytest.importorskip("pyarrow")
    visium_spots.to_parquet(visium_folder / "spatial" / "tissue_positions.parquet")
    truncated(visium_folder / "spatial" / "tissue_positions.parquet")
    with pytest.raises(ValueError, match=r"could not be read as a parquet table \(truncated\?\)"):
        hq.io.read_visium(visium_folder)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"Reading tissue_positions.parquet needs pyarrow.*histoquilt\[spatial\]"):
        hq.io.read_visium(visium_folder)


def test_a_file_where_the_folder_should_be(visium_folder):
    with pytest.raises(NotADirectoryError, match=r"is a file; expected a Space Ranger output folder"):
        hq.io.read_visium(visium_folder / "filtered_feature_bc_matrix.h5")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda spots: pd.concat([spots, spots.iloc[:1]]), "lists barcodes more than once"),
        (lambda spots: spots.iloc[7:], r"7 of 100 barcodes in .*h5 have no position in tissue_positions.csv"),
        (lambda spots: spots.assign(in_tissue=0), "None of the 100 barcodes .* is in tissue"),
        (lambda spots: spots.assign(pxl_row_in_fullres="?"), "120 of 120 positions are not numbers"),
        (lambda spots: spots.drop(columns="array_row"), "is not a table of Visium spot positions"),
    ],
)
def test_strange_positions(visium_folder, visium_spots, change, words):
    change(visium_spots).to_csv(visium_folder / "spatial" / "tissue_positions.csv", index=False)
    with pytest.raises(ValueError, match=words):
        hq.io.read_visium(visium_folder)


def test_duplicated_barcodes_in_the_matrix(tmp_path, counts, visium_spots):
    counts.obs_names = [*counts.obs_names[:-1], counts.obs_names[0]]
    write_10x_h5(counts, tmp_path / "filtered_feature_bc_matrix.h5")
    write_spatial(visium_spots, tmp_path / "spatial")
    with pytest.raises(ValueError, match=r"Spot names \(barcodes\) must be unique; repeated"):
        hq.io.read_visium(tmp_path)


def test_genes_without_names(tmp_path, counts, visium_spots):
    write_spatial(visium_spots, tmp_path / "spatial")
    counts = counts[:, :59].copy()
    counts.var_names = ["", "", *counts.var_names[2:]]
    write_10x_h5(counts, tmp_path / "filtered_feature_bc_matrix.h5")
    with pytest.warns(UserWarning, match=r"2 of 59 genes have no symbol; they are named by their identifier"):
        adata = hq.io.read_visium(tmp_path)
    assert list(adata.var_names[:3]) == ["ENSG00000000000", "ENSG00000000001", "GENE2"]
    counts.var["gene_ids"] = ""
    write_10x_h5(counts, tmp_path / "filtered_feature_bc_matrix.h5")
    with pytest.raises(ValueError, match=r"2 of 59 genes have no name \(empty or NaN\)"):
        hq.io.read_visium(tmp_path)


def test_damaged_scale_factors(visium_folder):
    (visium_folder / "spatial" / "scalefactors_json.json").write_text('{"tissue_hires_scalef": 0.1')
    with pytest.raises(ValueError, match=r"is not valid JSON"):
        hq.io.read_visium(visium_folder)


@pytest.mark.real_data
@pytest.mark.parametrize("matrix", ["h5-3", "h5-2", "mtx"])
def test_the_real_spatial_folder_of_151673(data_dir, tmp_path, matrix):
    """Its spatial/ folder as Space Ranger 1 wrote it; its counts put back into the formats they came in."""
    truth = read_h5ad(data_dir / "dlpfc" / "151673.h5ad")
    shutil.copytree(data_dir / "dlpfc" / "151673_spatial", tmp_path / "spatial")
    truth.var["gene_ids"] = truth.var_names
    if matrix == "mtx":
        write_10x_mtx(truth, tmp_path / "filtered_feature_bc_matrix")
    else:
        write_10x_h5(truth, tmp_path / "filtered_feature_bc_matrix.h5", version=int(matrix[-1]), library_id="151673")
    adata = hq.io.read_visium(tmp_path, library_id="151673")
    assert list(adata.obs_names) == list(truth.obs_names)
    assert (adata.X != truth.X).nnz == 0
    np.testing.assert_array_equal(adata.obsm["spatial"], truth.obsm["spatial"])
    np.testing.assert_array_equal(adata.obs["array_col"], truth.obs["array_col"])
    library, expected = adata.uns["spatial"]["151673"], truth.uns["spatial"]["151673"]
    np.testing.assert_array_equal(library["images"]["lowres"], expected["images"]["lowres"])
    assert library["scalefactors"] == json.loads((tmp_path / "spatial" / "scalefactors_json.json").read_text())
    assert adata.uns["histoquilt"]["genes"]["species"] == "human"
