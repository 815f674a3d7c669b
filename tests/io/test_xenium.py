"""Xenium folders: the same cells from every form of their files, and what is wrong with a folder."""

import json

import numpy as np
import pandas as pd
import pytest
from anndata.tests.helpers import assert_equal
from tests.io.bundles import PIXEL_UM, tissue, write_tables, write_xenium, xenium_id

import histoquilt as hq
from histoquilt.io._cell_polygons import stored_polygons

pytest.importorskip("pyarrow", reason="the extra 'spatial' is not installed")


def check_outlines(adata, rings):
    outlines = stored_polygons(adata)
    for row, name in enumerate(adata.obs_names):
        np.testing.assert_array_equal(outlines.ring(row), rings[name])


@pytest.mark.parametrize("ids", ["names", "integers", "bytes"])
def test_cells_in_the_order_of_the_matrix_with_positions_and_outlines(section, tmp_path, ids):
    rings = write_xenium(section, tmp_path / "run", tables=("parquet",), ids=ids)
    adata = hq.io.read_section(tmp_path / "run")
    numbers = range(1000, 1000 + section.n_obs)
    assert list(adata.obs_names) == [str(one) if ids == "integers" else xenium_id(one) for one in numbers]
    assert list(adata.obs["cell_id"]) == list(adata.obs_names)
    assert list(adata.var_names) == list(section.var_names)
    assert list(adata.obsm["controls"]) == ["NegControlProbe_00042", "UnassignedCodeword_0037"]
    assert (adata.obsm["controls"] == 1).all(axis=None)
    np.testing.assert_array_equal(adata.X.toarray(), section.X.toarray())
    np.testing.assert_allclose(adata.obsm["spatial"], tissue(section, 10.0)[1])
    np.testing.assert_array_equal(adata.obs["transcript_counts"], np.asarray(section.X.sum(axis=1)).ravel())
    assert adata.uns["histoquilt"]["coordinates"] == {"unit": "micron", "image_mpp": PIXEL_UM}
    assert adata.uns["histoquilt"]["scale"] == {"X": "counts"}
    check_outlines(adata, rings)
    hq.io.write_h5ad(adata[::-3].copy(), tmp_path / "some.h5ad")
    check_outlines(hq.io.read_h5ad(tmp_path / "some.h5ad"), rings)


@pytest.mark.parametrize("ids", ["names", "integers"])
def test_parquet_and_csv_and_both_are_the_same(section, tmp_path, ids):
    for name, tables in {"a": ("parquet",), "b": ("csv.gz",), "c": ("parquet", "csv.gz")}.items():
        write_xenium(section, tmp_path / name, tables=tables, ids=ids)
    first, *others = (hq.io.read_platform("xenium", tmp_path / name) for name in "abc")
    for other in others:
        assert_equal(other, first)


def test_csv_is_read_without_pyarrow(section, tmp_path, monkeypatch):
    rings = write_xenium(section, tmp_path / "run")
    for name in ("cells", "cell_boundaries"):
        (tmp_path / "run" / f"{name}.parquet").write_bytes(b"not read")
    monkeypatch.setattr("histoquilt.io.instruments._xenium.is_installed", lambda name: False)
    check_outlines(hq.io.read_section(tmp_path / "run"), rings)


@pytest.mark.parametrize("other", ["mtx", "zarr"])
def test_the_matrix_is_read_from_another_file_if_there_is_no_h5(section, tmp_path, other):
    write_xenium(section, tmp_path / "h5")
    write_xenium(section, tmp_path / other, matrix=other)
    found, h5 = (hq.io.read_section(tmp_path / name) for name in (other, "h5"))
    del h5.var["genome"]
    assert_equal(found, h5)


def test_outlines_may_be_left_out_or_absent(section, tmp_path):
    write_xenium(section, tmp_path / "run")
    assert "cell_polygons" not in hq.io.read_platform("xenium", tmp_path / "run", polygons=False).obsm
    for path in (tmp_path / "run").glob("cell_boundaries.*"):
        path.unlink()
    assert "cell_polygons" not in hq.io.read_section(tmp_path / "run").obsm


def without(folder, *names):
    for name in names:
        (folder / name).unlink()


def test_what_is_missing_is_named(section, tmp_path):
    folder = tmp_path / "run"
    write_xenium(section, folder)
    without(folder, "cells.parquet", "cells.csv.gz")
    with pytest.raises(FileNotFoundError, match=r"cells.parquet and cells.csv.gz are missing, so the cells have no"):
        hq.io.read_section(folder)
    write_xenium(section, tmp_path / "2")
    without(tmp_path / "2", "cell_feature_matrix.h5")
    words = r"cell_feature_matrix.h5, cell_feature_matrix.zarr.zip and the folder cell_feature_matrix/ are missing"
    with pytest.raises(FileNotFoundError, match=words):
        hq.io.read_section(tmp_path / "2")
    (tmp_path / "2" / "cell_feature_matrix.zarr.zip").touch()
    with pytest.raises(ValueError, match=r"cell_feature_matrix.zarr.zip is not a zip file .truncated"):
        hq.io.read_section(tmp_path / "2")
    without(tmp_path / "2", "experiment.xenium")
    with pytest.raises(FileNotFoundError, match=r"not a complete Xenium output: experiment.xenium is missing"):
        hq.io.read_platform("xenium", tmp_path / "2")


def test_files_of_other_cells(section, tmp_path):
    folder = tmp_path / "run"
    write_xenium(section, folder, tables=("parquet",))
    outlines = pd.read_parquet(folder / "cell_boundaries.parquet")
    some = outlines["cell_id"] == xenium_id(1003)
    write_tables(outlines[~some], folder / "cell_boundaries", ("parquet",))
    assert np.flatnonzero(~stored_polygons(hq.io.read_section(folder)).present).tolist() == [3]
    write_tables(outlines.assign(cell_id=outlines["cell_id"] + "x"), folder / "cell_boundaries", ("parquet",))
    words = r"No cell of .*named like 'aaaaadoi-1'\) has an outline in .*'aaaaa\w+-1x'.*polygons=False"
    with pytest.raises(ValueError, match=words):
        hq.io.read_section(folder)
    cells = pd.read_parquet(folder / "cells.parquet")
    write_tables(cells[cells["cell_id"] != xenium_id(1003)], folder / "cells", ("parquet",))
    with pytest.raises(
        ValueError, match=r"1 of 240 cells in cell_feature_matrix are not in cells.parquet, first: 'aaaaadol-1'"
    ):
        hq.io.read_section(folder)
    write_tables(pd.concat([cells, cells[:2]]), folder / "cells", ("parquet",))
    with pytest.raises(ValueError, match=r"cells.parquet lists cells more than once"):
        hq.io.read_section(folder)
    write_tables(cells.assign(x_centroid=np.nan), folder / "cells", ("parquet",))
    with pytest.raises(ValueError, match=r"cells.parquet: 240 of 240 cells have no finite position"):
        hq.io.read_section(folder)
    write_tables(cells.drop(columns="y_centroid"), folder / "cells", ("parquet",))
    with pytest.raises(ValueError, match=r"cells.parquet has no column 'y_centroid' \(found: 'cell_id', 'x_centroid'"):
        hq.io.read_section(folder)


@pytest.mark.parametrize("name", ["cells.parquet", "cell_boundaries.parquet", "cell_boundaries.csv.gz"])
def test_truncated_tables(section, tmp_path, truncated, name):
    folder = tmp_path / "run"
    write_xenium(section, folder, tables=("parquet",) if name.endswith("parquet") else ("csv.gz",))
    truncated(folder / name)
    with pytest.raises(ValueError, match=rf"{name} could not be read as a (parquet )?table \(truncated"):
        hq.io.read_section(folder)


def test_a_damaged_description(section, tmp_path):
    write_xenium(section, tmp_path / "run")
    (tmp_path / "run" / "experiment.xenium").write_text("{")
    with pytest.raises(ValueError, match=r"experiment.xenium is not valid JSON"):
        hq.io.read_section(tmp_path / "run")
    (tmp_path / "run" / "experiment.xenium").write_text(json.dumps({"run_name": "without a pixel size"}))
    assert hq.io.read_section(tmp_path / "run").uns["histoquilt"]["coordinates"] == {"unit": "micron"}


def test_qupath_needs_no_mpp(section, tmp_path):
    pytest.importorskip("shapely")
    rings = write_xenium(section, tmp_path / "run")
    adata = hq.io.read_section(tmp_path / "run")
    adata.obs["domain"] = section.obs["domain_true"].to_numpy()
    _, path = hq.io.export({"a": adata}, tmp_path / "out", to="qupath")
    for cell in json.loads(path.read_text())["features"]:
        expected = rings[cell["properties"]["name"]] / PIXEL_UM
        np.testing.assert_allclose(cell["geometry"]["coordinates"][0], expected, atol=0.0051)


def test_domains_drawn_by_us_are_read_back_as_annotations(section, tmp_path):
    """Regions of QuPath on the morphology image, without a scale given."""
    pytest.importorskip("shapely")
    write_xenium(section, tmp_path / "run")
    adata = hq.io.read_section(tmp_path / "run")
    adata.obs["domain"] = section.obs["domain_true"].to_numpy()
    path, _ = hq.io.export({"a": adata}, tmp_path / "out", to="qupath")
    hq.tl.annotate_spots(adata, path)
    assert list(adata.obs["annotation"].astype(str)) == list(adata.obs["domain"].astype(str))


def test_small_pieces_and_words_among_the_vertices(section, tmp_path):
    rings = write_xenium(section, tmp_path / "run", tables=("csv.gz",))
    first, second, *_ = rings
    path = tmp_path / "run" / "cell_boundaries.csv.gz"
    table = pd.read_csv(path, dtype=str)
    small = pd.DataFrame({"cell_id": first, "vertex_x": [0, 1, 0, 0], "vertex_y": [0, 0, 1, 0], "label_id": 9999})
    table.loc[table["cell_id"] == second, "vertex_x"] = "abc"
    pd.concat([small, table]).to_csv(path, index=False)
    adata = hq.io.read_section(tmp_path / "run")
    outlines = stored_polygons(adata)
    np.testing.assert_array_equal(outlines.ring(adata.obs_names.get_loc(first)), rings[first])
    assert (~outlines.present).nonzero()[0].tolist() == [adata.obs_names.get_loc(second)]


def test_a_bin_size_is_not_for_xenium(section, tmp_path):
    write_xenium(section, tmp_path / "run")
    with pytest.warns(UserWarning, match="run is an output of Xenium, which has no bins: bin_size= is not used"):
        hq.io.read_section(tmp_path / "run", bin_size=8)


@pytest.mark.parametrize("ending", ["parquet", "csv.gz"])
def test_outlines_of_no_cell(section, tmp_path, ending):
    """A file without a byte, and one with the names of its columns."""
    folder = tmp_path / "run"
    write_xenium(section, folder, tables=(ending,))
    path = folder / f"cell_boundaries.{ending}"
    write_tables(pd.DataFrame({"cell_id": [], "vertex_x": [], "vertex_y": []}), folder / "cell_boundaries", (ending,))
    words = rf"{path.name} names columns, and holds no outline. Copy it again .*polygons=False"
    with pytest.raises(ValueError, match=words):
        hq.io.read_section(folder)
    path.write_bytes(b"")
    words = {
        "parquet": "is empty .0 bytes.; expected a parquet table. Copy",
        "csv.gz": "check that it was copied whole",
    }
    with pytest.raises(ValueError, match=rf"{path.name} .*{words[ending]}"):
        hq.io.read_section(folder)


@pytest.mark.parametrize("size", ["0.2125", 0, -0.2, True, [0.2]])
def test_a_pixel_size_that_is_no_number(section, tmp_path, size):
    write_xenium(section, tmp_path / "run")
    path = tmp_path / "run" / "experiment.xenium"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pixel_size": size}))
    with pytest.raises(ValueError, match=r"experiment.xenium: pixel_size must be a positive number .*got .*Correct it"):
        hq.io.read_section(tmp_path / "run")
