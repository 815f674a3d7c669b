"""Coordinates in tables and in obs columns, and array spots outside the tissue."""

import numpy as np
import pandas as pd
import pytest

import histoweave as hw
from histoweave._coordinate_columns import coordinate_columns
from histoweave.cli import run


@pytest.fixture
def section():
    adata = hw.datasets.toy_section(n_spots=120, n_genes=30, n_domains=2, seed=0)
    adata.uns.clear()
    return adata


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("x", "y"), ("X", "Y"), ("pxl_col_in_fullres", "pxl_row_in_fullres"), ("imagecol", "imagerow"),
        ("array_col", "array_row"), ("col", "row"), ("CenterX_global_px", "CenterY_global_px"),
        ("x_centroid", "y_centroid"), ("Spatial.X", "Spatial.Y"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("swapped", [False, True], ids=["x first", "y first"])
def test_columns_of_a_table_are_put_in_order(section, tmp_path, x, y, swapped):
    xy = np.asarray(section.obsm["spatial"])
    table = pd.DataFrame({x: xy[:, 0], y: xy[:, 1]}, index=section.obs_names)
    section.obsm["spatial"] = table[[y, x]] if swapped else table
    section.write_h5ad(tmp_path / "s.h5ad")
    read = hw.io.read_section(tmp_path / "s.h5ad")
    assert type(read.obsm["spatial"]) is np.ndarray
    np.testing.assert_allclose(read.obsm["spatial"], xy)
    assert coordinate_columns([y, x]) == (x, y)


def test_unknown_columns_are_refused_with_their_names(section):
    section.obsm["spatial"] = pd.DataFrame(section.obsm["spatial"], index=section.obs_names, columns=["a", "b"])
    with pytest.raises(ValueError, match="columns 'a', 'b', which do not say which is x"):
        hw.tl.spatial_domains(section, 2, progress=False)


@pytest.mark.parametrize(
    "values", [[0, 1], [False, True], ["0", "1"], ["False", "True"]], ids=["int", "bool", "digit", "word"]
)
def test_spots_outside_the_tissue_are_left_out(section, tmp_path, values):
    inside = np.arange(section.n_obs) % 3 > 0
    section.obs["in_tissue"] = np.where(inside, values[1], values[0])
    section.write_h5ad(tmp_path / "s.h5ad")
    with pytest.warns(UserWarning, match="40 of 120 spots lie outside the tissue"):
        read = hw.io.read_section(tmp_path / "s.h5ad")
    assert list(read.obs_names) == list(section.obs_names[inside])
    assert hw.io.read_section(tmp_path / "s.h5ad", keep_all_spots=True).n_obs == section.n_obs


def test_another_meaning_of_in_tissue_changes_nothing(section, tmp_path):
    section.obs["in_tissue"] = np.arange(section.n_obs) % 3
    section.write_h5ad(tmp_path / "s.h5ad")
    assert hw.io.read_section(tmp_path / "s.h5ad").n_obs == section.n_obs


@pytest.mark.parametrize("columns", [("imagecol", "imagerow"), ("CenterX_global_px", "CenterY_global_px"), ("x", "y")])
def test_coordinates_in_obs(section, tmp_path, columns):
    xy = np.asarray(section.obsm["spatial"])
    section.obs[columns[0]], section.obs[columns[1]] = xy[:, 0], xy[:, 1]
    del section.obsm["spatial"]
    section.write_h5ad(tmp_path / "s.h5ad")
    read = hw.io.read_section(tmp_path / "s.h5ad", spatial_columns=columns)
    np.testing.assert_allclose(read.obsm["spatial"], xy)
    with pytest.raises(KeyError, match=f"spatial_columns={columns[0]},{columns[1]}"):
        hw.tl.spatial_domains(section, 2, progress=False)


def test_the_command_names_the_option(section, tmp_path, capsys):
    xy = np.asarray(section.obsm["spatial"])
    section.obs["imagerow"], section.obs["imagecol"] = xy[:, 1], xy[:, 0]
    del section.obsm["spatial"]
    section.write_h5ad(tmp_path / "s.h5ad")
    arguments = ["domains", str(tmp_path / "s.h5ad"), "-k", "2", "-o", str(tmp_path / "o"), "--denoise", "none"]
    assert run(arguments) == 2
    assert "--spatial-columns imagecol,imagerow." in " ".join(capsys.readouterr().err.split())
    assert run([*arguments, "--spatial-columns", "imagecol,imagerow"]) == 0
    assert (tmp_path / "o" / "domains.csv").exists()


def test_columns_that_are_not_there(section, tmp_path):
    section.write_h5ad(tmp_path / "s.h5ad")
    with pytest.raises(KeyError, match=r"'u', 'v' not in adata\.obs"):
        hw.io.read_section(tmp_path / "s.h5ad", spatial_columns=("u", "v"))
