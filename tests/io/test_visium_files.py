"""Visium samples as GEO offers them: prefixed, gzip-compressed, in one folder."""

import gzip
import re
import shutil

import numpy as np
import pytest

import histoquilt as hq

from .conftest import write_10x_h5, write_10x_mtx, write_spatial

pytestmark = pytest.mark.filterwarnings("ignore")
SAMPLE = "GSM5833536_A1_"


def pack(path):
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def as_geo_does(folder, counts, spots, prefix=SAMPLE, *, inside="", packed=True, matrix="h5"):
    """Write one sample; ``inside`` is the folder for what was in spatial/."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    if matrix == "mtx":
        write_10x_mtx(counts, scratch / "mtx", compressed=packed)
        for file in (scratch / "mtx").iterdir():
            file.rename(folder / f"{prefix}{file.name}")
    else:
        write_10x_h5(counts, folder / f"{prefix}filtered_feature_bc_matrix.h5", library_id=None)
        if matrix == "h5.gz":
            pack(folder / f"{prefix}filtered_feature_bc_matrix.h5")
    write_spatial(spots, scratch / "spatial", form="tissue_positions_list.csv")
    (folder / inside).mkdir(parents=True, exist_ok=True)
    for file in (scratch / "spatial").iterdir():
        target = folder / inside / f"{prefix}{file.name}"
        file.rename(target)
        if packed:
            pack(target)
    shutil.rmtree(scratch)
    return folder


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"packed": False},
        {"inside": "spatial"},
        {"inside": f"{SAMPLE}spatial"},
        {"inside": f"{SAMPLE}spatial/spatial"},
        {"matrix": "h5.gz"},
        {"matrix": "mtx"},
        {"matrix": "mtx", "packed": False, "inside": "spatial"},
        {"prefix": ""},
    ],
    ids=str,
)
def test_a_sample_of_geo(tmp_path, counts, visium_spots, layout):
    adata = hq.io.read_section(as_geo_does(tmp_path / "GSE1", counts, visium_spots, **layout))
    expected = visium_spots.set_index("barcode").loc[counts.obs_names]
    assert list(adata.obs_names) == list(counts.obs_names)
    np.testing.assert_array_equal(adata.X.toarray(), counts.X.toarray())
    np.testing.assert_array_equal(adata.obsm["spatial"][:, 0], expected["pxl_col_in_fullres"])
    name = "GSE1" if layout.get("prefix") == "" else SAMPLE.rstrip("_")
    library = adata.uns["spatial"][name]
    assert library["images"]["hires"].shape == (300, 280, 3)
    assert library["scalefactors"]["tissue_hires_scalef"] == 0.1


@pytest.mark.parametrize("matrix", ["h5", "mtx"])
def test_several_samples_in_one_folder_are_named_and_can_be_chosen(tmp_path, counts, visium_spots, matrix):
    folder = as_geo_does(tmp_path / "GSE1", counts, visium_spots, "GSM1_A_", matrix=matrix)
    moved = visium_spots.assign(pxl_row_in_fullres=visium_spots["pxl_row_in_fullres"] + 7)
    as_geo_does(folder, counts, moved, "GSM2_B_", matrix=matrix)
    words = r"several count matrices.*samples 'GSM1_A', 'GSM2_B'.*counts_file='GSM1_A_.*folder of its own"
    with pytest.raises(ValueError, match=words):
        hq.io.read_section(folder)
    file = "GSM2_B_filtered_feature_bc_matrix.h5" if matrix == "h5" else "GSM2_B_matrix.mtx.gz"
    chosen = hq.io.read_section(folder, counts_file=file)
    assert list(chosen.uns["spatial"]) == ["GSM2_B"]
    expected = moved.set_index("barcode").loc[counts.obs_names, "pxl_row_in_fullres"]
    np.testing.assert_array_equal(chosen.obsm["spatial"][:, 1], expected)


def test_positions_of_several_samples_and_none_is_named_like_the_matrix(tmp_path, counts, visium_spots):
    folder = as_geo_does(tmp_path / "GSE1", counts, visium_spots, "GSM1_A_")
    (folder / "GSM1_A_tissue_positions_list.csv.gz").rename(folder / "A_tissue_positions_list.csv.gz")
    shutil.copy(folder / "A_tissue_positions_list.csv.gz", folder / "B_tissue_positions_list.csv.gz")
    with pytest.raises(ValueError, match=r"several tissue_positions_list.csv: 'A_.*folder of its own"):
        hq.io.read_section(folder)


def test_an_archive_that_is_not_unpacked(tmp_path, counts):
    write_10x_h5(counts, tmp_path / "GSM1_A_filtered_feature_bc_matrix.h5")
    (tmp_path / "GSM1_A_spatial.tar.gz").touch()
    with pytest.raises(FileNotFoundError, match=r"no spatial/ folder.*Unpack 'GSM1_A_spatial.tar.gz' there"):
        hq.io.read_section(tmp_path)


@pytest.mark.parametrize("name", [f"{SAMPLE}tissue_positions_list.csv.gz", f"{SAMPLE}scalefactors_json.json.gz"])
def test_a_cut_off_file_is_named(tmp_path, counts, visium_spots, truncated, name):
    folder = as_geo_does(tmp_path / "GSE1", counts, visium_spots)
    truncated(folder / name)
    with pytest.raises(ValueError, match=re.escape(name)):
        hq.io.read_section(folder)


@pytest.mark.parametrize("half", ["no matrix", "no positions", "no spatial"])
def test_the_folder_above_an_incomplete_outs_says_the_same(visium_folder, half):
    if half == "no matrix":
        (visium_folder / "filtered_feature_bc_matrix.h5").rename(visium_folder / "raw_feature_bc_matrix.h5")
    elif half == "no positions":
        (visium_folder / "spatial" / "tissue_positions.csv").unlink()
    else:
        shutil.rmtree(visium_folder / "spatial")
    with pytest.raises(FileNotFoundError) as at_outs:
        hq.io.read_section(visium_folder)
    with pytest.raises(FileNotFoundError) as above:
        hq.io.read_section(visium_folder.parent)
    assert str(above.value) == str(at_outs.value)
