import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import histoquilt as hq

spatialdata = pytest.importorskip("spatialdata", reason="the extra 'spatial' is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of zarr and ome-zarr

CENTRES = np.array([[10.0, 20.0], [30.0, 20.0], [10.0, 40.0], [30.0, 60.0]])


def counts(n_spots: int, region, instances) -> AnnData:
    """A table whose rows annotate instances of a region, counting up from 1."""
    values = np.arange(1, 3 * n_spots + 1, dtype=np.float32).reshape(n_spots, 3)
    obs = pd.DataFrame({"region": pd.Categorical(np.broadcast_to(region, n_spots)), "instance": instances})
    return AnnData(
        values,
        obs=obs.set_index(pd.Index([f"s{i}" for i in range(n_spots)])),
        var=pd.DataFrame(index=["A1", "B2", "C3"]),
    )


def table_of(adata, regions):
    return spatialdata.models.TableModel.parse(adata, region=regions, region_key="region", instance_key="instance")


def circles(centres, index=None):
    index = list(range(len(centres))) if index is None else index
    return spatialdata.models.ShapesModel.parse(centres, geometry=0, radius=5.0, index=pd.Index(index))


def labels():
    """Four square cells, numbered 11, 12, 13 and 14, in an image of 80 x 50 px around CENTRES."""
    image = np.zeros((80, 50), dtype=np.int32)
    for number, (x, y) in enumerate(CENTRES.astype(int)):
        image[y - 2 : y + 2, x - 2 : x + 2] = 11 + number
    return spatialdata.models.Labels2DModel.parse(image, dims=("y", "x"))


def written(tmp_path, **elements):
    path = tmp_path / "section.zarr"
    spatialdata.SpatialData(**elements).write(path)
    return path


def test_a_table_on_shapes_in_another_order(tmp_path):
    adata = counts(3, "spots", [2, 0, 3])
    path = written(tmp_path, shapes={"spots": circles(CENTRES)}, tables={"table": table_of(adata, "spots")})
    section = hq.io.read_spatialdata(path)
    np.testing.assert_array_equal(section.obsm["spatial"], CENTRES[[2, 0, 3]])
    np.testing.assert_array_equal(section.X.toarray(), adata.X)
    assert section.uns["histoquilt"]["coordinates"] == {"unit": "unknown"}
    assert "scale" not in section.uns["histoquilt"]
    assert hq.io.read_spatialdata(path, unit="micron").uns["histoquilt"]["coordinates"] == {"unit": "micron"}
    hq.io.write_h5ad(hq.io.read_section(path), tmp_path / "a.h5ad")


def test_a_table_on_labels(tmp_path):
    """Centroids of pixels 8 to 11 lie at 10, as pixels are as wide as one unit."""
    adata = counts(4, "cells", [14, 13, 12, 11])
    path = written(tmp_path, labels={"cells": labels()}, tables={"table": table_of(adata, "cells")})
    np.testing.assert_allclose(hq.io.read_spatialdata(path).obsm["spatial"], CENTRES[::-1])


def test_positions_of_the_table_come_first(tmp_path):
    adata = counts(4, "spots", range(4))
    adata.obsm["spatial"] = CENTRES + 1
    path = written(tmp_path, shapes={"spots": circles(CENTRES)}, tables={"table": table_of(adata, "spots")})
    np.testing.assert_array_equal(hq.io.read_spatialdata(path).obsm["spatial"], CENTRES + 1)


@pytest.mark.parametrize("names", [["y", "x"], ["row", "col"], ["sdimy", "sdimx"]])
def test_positions_in_a_table_of_the_table(tmp_path, names):
    adata = counts(4, "spots", range(4))
    adata.obsm["spatial"] = pd.DataFrame(CENTRES[:, ::-1], index=adata.obs_names, columns=names)
    path = written(tmp_path, shapes={"spots": circles(CENTRES)}, tables={"table": table_of(adata, "spots")})
    np.testing.assert_array_equal(hq.io.read_spatialdata(path).obsm["spatial"], CENTRES)
    np.testing.assert_array_equal(hq.io.read_section(path).obsm["spatial"], CENTRES)


def test_options_of_reading_are_those_of_an_h5ad(tmp_path):
    adata = counts(4, "spots", range(4))
    adata.obs["in_tissue"] = [1, 0, 1, 1]
    adata.obs["row_um"], adata.obs["col_um"] = CENTRES[:, 1] * 2, CENTRES[:, 0] * 2
    path = written(tmp_path, shapes={"spots": circles(CENTRES)}, tables={"table": table_of(adata, "spots")})
    with pytest.warns(UserWarning, match="1 of 4 spots lie outside the tissue"):
        section = hq.io.read_section(path)
    np.testing.assert_array_equal(section.obsm["spatial"], CENTRES[[0, 2, 3]])
    section = hq.io.read_section(path, keep_all_spots=True, spatial_columns=("col_um", "row_um"))
    np.testing.assert_array_equal(section.obsm["spatial"], CENTRES * 2)


def test_positions_in_obs_only(tmp_path):
    adata = counts(4, "spots", range(4)).copy()
    adata.obs = pd.DataFrame({"y_um": CENTRES[:, 1], "x_um": CENTRES[:, 0]}, index=adata.obs_names)
    path = written(tmp_path, tables={"table": adata})
    with pytest.raises(ValueError, match=r"no position. Spot centres seem to be in obs: .*spatial_columns=x_um,y_um "):
        hq.io.read_section(path)
    section = hq.io.read_section(path, spatial_columns=("x_um", "y_um"))
    np.testing.assert_array_equal(section.obsm["spatial"], CENTRES)


def test_several_regions_share_a_coordinate_system(tmp_path):
    from spatialdata.transformations import Translation, set_transformation

    right = circles(CENTRES)
    set_transformation(right, Translation([100, 0], axes=("x", "y")), "global")
    adata = counts(8, ["left"] * 4 + ["right"] * 4, [0, 1, 2, 3] * 2)
    table = table_of(adata, ["left", "right"])
    path = written(tmp_path, shapes={"left": circles(CENTRES), "right": right}, tables={"table": table})
    both = hq.io.read_spatialdata(path)
    np.testing.assert_array_equal(both.obsm["spatial"], np.vstack([CENTRES, CENTRES + np.array([100, 0])]))
    assert list(both.obs["section"]) == ["left"] * 4 + ["right"] * 4
    one = hq.io.read_spatialdata(path, region="right")
    np.testing.assert_array_equal(one.obsm["spatial"], CENTRES)  # the element's own coordinates
    assert list(one.obs_names) == ["s4", "s5", "s6", "s7"]
    with pytest.raises(KeyError, match=r"'middle' is annotated by no row .*found: 'left', 'right'"):
        hq.io.read_spatialdata(path, region="middle")


def test_the_reader_that_made_it_tells_the_unit(tmp_path):
    adata = counts(4, "spots", range(4))
    sdata = spatialdata.SpatialData(shapes={"spots": circles(CENTRES)}, tables={"table": table_of(adata, "spots")})
    sdata.attrs["spatialdata_io_reader"] = "xenium"
    sdata.write(tmp_path / "section.zarr")
    section = hq.io.read_spatialdata(tmp_path / "section.zarr")
    assert section.uns["histoquilt"]["coordinates"] == {"unit": "micron"}


def test_several_tables(tmp_path):
    tables = {f"square_{size}": table_of(counts(4, "spots", range(4)), "spots") for size in ("008um", "016um")}
    path = written(tmp_path, shapes={"spots": circles(CENTRES)}, tables=tables)
    with pytest.raises(ValueError, match=r"has 2 tables: 'square_008um', 'square_016um'. Choose one with table="):
        hq.io.read_spatialdata(path)
    with pytest.raises(KeyError, match=r"'table' is not a table of .*found: 'square_008um'"):
        hq.io.read_spatialdata(path, table="table")
    assert hq.io.read_spatialdata(path, table="square_016um").n_obs == 4


def test_rows_without_a_position(tmp_path):
    adata = counts(4, "spots", [0, 1, 2, 99])
    path = written(tmp_path, shapes={"spots": circles(CENTRES)}, tables={"table": table_of(adata, "spots")})
    with pytest.raises(ValueError, match=r"1 of 4 rows of the table annotate no existing shape or label in 'spots'"):
        hq.io.read_spatialdata(path)


def test_a_table_that_annotates_nothing_or_what_is_not_there(tmp_path):
    bare = AnnData(np.ones((4, 2), dtype=np.float32))
    path = written(tmp_path, tables={"table": spatialdata.models.TableModel.parse(bare)})
    with pytest.raises(ValueError, match=r"annotates no element and has no obsm\['spatial'\]"):
        hq.io.read_spatialdata(path)
    path = written(tmp_path / "b", tables={"table": table_of(counts(4, "gone", range(4)), "gone")})
    with pytest.raises(ValueError, match=r"annotates 'gone', which is not in the SpatialData object"):
        hq.io.read_spatialdata(path)


def test_no_table(tmp_path):
    path = written(tmp_path, shapes={"spots": circles(CENTRES)})
    with pytest.raises(ValueError, match=r"has no table, so there are no counts. It holds: 'spots'"):
        hq.io.read_spatialdata(path)


def test_missing_and_strange_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a.zarr does not exist; expected a SpatialData .zarr folder"):
        hq.io.read_spatialdata(tmp_path / "a.zarr")
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(ValueError, match=r"a.zarr is not a zarr store"):
        hq.io.read_spatialdata(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "zarr.json").write_text("{")
    with pytest.raises(ValueError, match=r"a.zarr could not be read as a SpatialData zarr"):
        hq.io.read_spatialdata(tmp_path / "a.zarr")
    (tmp_path / "b.zarr").touch()
    with pytest.raises(NotADirectoryError, match=r"b.zarr is a file; expected a SpatialData .zarr folder"):
        hq.io.read_spatialdata(tmp_path / "b.zarr")


def test_without_the_extra(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "spatialdata", None)
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(ImportError, match=r"Reading a SpatialData .zarr needs spatialdata.*histoquilt\[spatial\]"):
        hq.io.read_spatialdata(tmp_path / "a.zarr")
