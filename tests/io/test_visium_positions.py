"""tissue_positions as other programs save it again."""

import numpy as np
import pytest

import histoquilt as hq

from .conftest import write_10x_h5, write_spatial

pytestmark = pytest.mark.filterwarnings("ignore")
SEURAT = ["barcodes", "tissue", "row", "col", "imagerow", "imagecol"]


def decimal_comma(spots, path):
    table = spots.astype({"pxl_row_in_fullres": float})
    table.to_csv(path, sep=";", decimal=",", index=False)


RESAVED = {
    "row numbers": lambda spots, path: spots.to_csv(path),
    "barcodes as row names": lambda spots, path: spots.set_index("barcode").rename_axis(None).to_csv(path),
    "row numbers, no names": lambda spots, path: spots.to_csv(path, header=False),
    "numbered columns": lambda spots, path: spots.set_axis(range(6), axis=1).to_csv(path),
    "semicolons": lambda spots, path: spots.to_csv(path, index=False, sep=";"),
    "semicolons, no names": lambda spots, path: spots.to_csv(path, index=False, header=False, sep=";"),
    "decimal comma": decimal_comma,
    "tabs": lambda spots, path: spots.to_csv(path, index=False, sep="\t"),
    "byte order mark": lambda spots, path: spots.to_csv(path, index=False, encoding="utf-8-sig"),
    "True and False": lambda spots, path: spots.assign(in_tissue=spots["in_tissue"] == 1).to_csv(path, index=False),
    "TRUE and FALSE": lambda spots, path: spots.assign(
        in_tissue=np.where(spots["in_tissue"] == 1, "TRUE", "FALSE")
    ).to_csv(path, index=False),
    "no suffix": lambda spots, path: spots.assign(barcode=spots["barcode"].str[:-2]).to_csv(path, index=False),
    "names of Seurat": lambda spots, path: spots.set_axis(SEURAT, axis=1).to_csv(path, index=False),
    "capitals": lambda spots, path: spots.rename(columns=str.upper).to_csv(path, index=False),
    "other order": lambda spots, path: spots[spots.columns[[3, 2, 0, 5, 4, 1]]].to_csv(path, index=False),
}


@pytest.mark.parametrize("write", RESAVED.values(), ids=RESAVED)
def test_positions_saved_again_are_read_as_they_were(visium_folder, visium_spots, write):
    expected = hq.io.read_visium(visium_folder)
    write(visium_spots, visium_folder / "spatial" / "tissue_positions.csv")
    adata = hq.io.read_visium(visium_folder)
    assert list(adata.obs_names) == list(expected.obs_names)
    np.testing.assert_array_equal(adata.obsm["spatial"], expected.obsm["spatial"])
    np.testing.assert_array_equal(adata.obs["in_tissue"], 1)
    np.testing.assert_array_equal(adata.obs["array_col"], expected.obs["array_col"])


def test_spots_outside_the_tissue_are_found_by_true_and_false(tmp_path, counts, visium_spots):
    write_10x_h5(counts, tmp_path / "filtered_feature_bc_matrix.h5")
    visium_spots["in_tissue"] = visium_spots.index < 40
    write_spatial(visium_spots, tmp_path / "spatial")
    assert hq.io.read_visium(tmp_path).n_obs == 40


def test_barcodes_without_suffix_in_the_matrix(tmp_path, counts, visium_spots):
    counts.obs_names = counts.obs_names.str[:-2]
    write_10x_h5(counts, tmp_path / "filtered_feature_bc_matrix.h5")
    write_spatial(visium_spots, tmp_path / "spatial")
    assert list(hq.io.read_visium(tmp_path).obs_names) == list(counts.obs_names)


def test_another_suffix_is_another_capture_area(visium_folder, visium_spots):
    visium_spots["barcode"] = visium_spots["barcode"].str[:-1] + "2"
    visium_spots.to_csv(visium_folder / "spatial" / "tissue_positions.csv", index=False)
    with pytest.raises(ValueError, match="have no position"):
        hq.io.read_visium(visium_folder)


def test_what_is_wrong_is_named(visium_folder, visium_spots):
    path = visium_folder / "spatial" / "tissue_positions.csv"
    visium_spots.rename(columns={"array_row": "y"}).to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"it lacks 'array_row'; expected the columns .*found .*'y'"):
        hq.io.read_visium(visium_folder)
    visium_spots.assign(in_tissue="tumour").to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"column 'in_tissue', e.g. 'tumour'"):
        hq.io.read_visium(visium_folder)
