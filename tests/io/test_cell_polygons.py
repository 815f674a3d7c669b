"""Outlines of cells: kept with the cells, and exported as their geometry."""

import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import histoquilt as hq
from histoquilt.io._cell_polygons import CellPolygons, polygons_of_cells, store_polygons, stored_polygons

SQUARE = np.array([[4, 0], [4, 4], [0, 4], [0, 0], [4, 0]], dtype=float)
TRIANGLE = np.array([[10, 10], [13, 10], [10, 13], [10, 10]], dtype=float)


def three() -> CellPolygons:
    """A square with a corner at 0, a cell without outline, a triangle."""
    return CellPolygons(np.array([0, 5, 5, 9]), np.concatenate([SQUARE, TRIANGLE]))


def a_section() -> AnnData:
    adata = AnnData(np.ones((3, 2), dtype=np.float32), obs=pd.DataFrame(index=["a", "b", "c"]))
    adata.obsm["spatial"] = np.array([[2.0, 2.0], [7.0, 7.0], [11.0, 11.0]])
    adata.obs["domain"] = pd.Categorical(["1", "1", "2"])
    hq.io.record_coordinates(adata, "pixel", mpp=0.5)
    store_polygons(adata, three())
    return adata


def rings_of(adata: AnnData) -> dict[str, np.ndarray]:
    outlines = stored_polygons(adata)
    return {name: outlines.ring(row) for row, name in enumerate(adata.obs_names)}


def check(adata: AnnData, expected: dict[str, np.ndarray]) -> None:
    found = rings_of(adata)
    assert list(found) == list(adata.obs_names)
    for name, ring in found.items():
        np.testing.assert_array_equal(ring, expected.get(name, np.empty((0, 2))))


def test_centres_by_hand():
    np.testing.assert_allclose(three().centroids(), [[2, 2], [np.nan, np.nan], [11, 11]])
    far = CellPolygons(np.array([0, 4]), TRIANGLE + 1e6)
    np.testing.assert_allclose(far.centroids(), [[1e6 + 11, 1e6 + 11]], rtol=0, atol=1e-9)
    line = CellPolygons(np.array([0, 4]), np.array([[0, 0], [2, 0], [4, 0], [0, 0]], dtype=float))
    np.testing.assert_allclose(line.centroids(), [[1.5, 0]])


def test_rings_of_a_table_are_closed_and_matched_by_name():
    cells = pd.Index(["c", "strange", "a", "line"])
    table = [(2, SQUARE[:-1]), (1, SQUARE), (0, TRIANGLE), (3, SQUARE[:2])]
    codes = np.concatenate([np.full(len(ring), code) for code, ring in table] + [[-1]])
    vertices = np.concatenate([ring for _, ring in table] + [[[9, 9]]])
    found = polygons_of_cells(codes, cells, vertices, pd.Index(["a", "line", "c", "none"]))
    assert found.present.tolist() == [True, False, True, False]
    np.testing.assert_array_equal(found.ring(0), SQUARE)
    np.testing.assert_array_equal(found.ring(2), TRIANGLE)
    nothing = polygons_of_cells(codes, cells, vertices, pd.Index(["other"]))
    assert not nothing.present.any()


def test_outlines_follow_their_cells(tmp_path):
    expected = {"a": SQUARE, "c": TRIANGLE}
    adata = a_section()
    hq.io.write_h5ad(adata, tmp_path / "a.h5ad")
    read = hq.io.read_h5ad(tmp_path / "a.h5ad")
    check(read, expected)
    check(read[["c", "a"]].copy(), expected)
    check(read[[1, 2]].copy(), expected)
    read.obsm["cell_polygons"].eliminate_zeros()  # by another program
    check(read, expected)
    wide = a_section()
    store_polygons(wide, CellPolygons(np.array([0, 0, 6, 6]), np.vstack([SQUARE, SQUARE[:1]])))
    joint = hq.io.concat_sections({"1": adata, "2": wide})
    apart = hq.io.split_sections(joint)
    check(apart["1"], expected)
    check(apart["2"], {"b": np.vstack([SQUARE, SQUARE[:1]])})


def features(path):
    return json.loads(path.read_text())["features"]


def test_qupath_has_outlines_in_pixels_of_the_image(tmp_path):
    shapely = pytest.importorskip("shapely")
    adata = a_section()
    for mpp, factor in ((None, 1.0), (0.25, 2.0)):
        out = tmp_path / str(mpp)
        paths = hq.io.export({"s": adata}, out, to="qupath", mpp=mpp, tolerance_um=0)
        domains, cells = map(features, paths)
        kinds = [(cell["properties"]["objectType"], cell["geometry"]["type"]) for cell in cells]
        assert kinds == [("cell", "Polygon"), ("detection", "Point"), ("cell", "Polygon")]
        np.testing.assert_array_equal(cells[0]["geometry"]["coordinates"], [SQUARE * factor])
        np.testing.assert_array_equal(cells[2]["geometry"]["coordinates"], [TRIANGLE * factor])
        assert [one["properties"]["measurements"]["Spots"] for one in domains] == [2, 1]
        areas = [shapely.from_geojson(json.dumps(one["geometry"])).area for one in domains]
        assert areas == pytest.approx([16 * factor**2, 4.5 * factor**2])
        assert domains[0]["properties"]["measurements"]["Area um^2"] == pytest.approx(4.0)


def test_cells_that_overlap_or_cross_themselves_are_merged(tmp_path):
    shapely = pytest.importorskip("shapely")
    adata = a_section()
    bow = np.array([[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]], dtype=float)
    store_polygons(adata, CellPolygons(np.array([0, 5, 10, 14]), np.concatenate([SQUARE, bow + 2, TRIANGLE])))
    adata.obsm["spatial"][1] = [4, 4]
    [path, _] = hq.io.export({"s": adata}, tmp_path / "out", to="qupath", tolerance_um=0)
    area = shapely.from_geojson(json.dumps(features(path)[0]["geometry"]))
    assert area.is_valid
    assert 16 < area.area < 16 + 8


def test_outlines_are_left_out_where_positions_were_moved(tmp_path):
    pytest.importorskip("shapely")
    adata = a_section()
    adata.obsm["spatial"] = adata.obsm["spatial"] * 3
    with pytest.warns(UserWarning, match=r"Outlines of 2 of 2 cells of section 's' are left out: they do not"):
        paths = hq.io.export({"s": adata}, tmp_path / "out", to="qupath")
    assert [path.name for path in paths] == ["s.geojson"]


def test_outlines_go_onto_the_image_with_their_cells():
    adata = a_section()
    hq.io.record_coordinates(adata, "micron", image_mpp=0.5)
    matrix = np.array([[0.0, 2.0, 4.0], [-2.0, 0.0, 8.0], [0.0, 0.0, 1.0]])
    hq.io.place_on_image(adata, matrix)
    for name, ring in {"a": SQUARE, "c": TRIANGLE}.items():
        expected = hq.io.apply_alignment(ring / 0.5, matrix, inverse=True)
        np.testing.assert_allclose(rings_of(adata)[name], expected)
    assert stored_polygons(adata).enclose(adata.obsm["spatial"]).tolist() == [True, False, True]


def test_spatialdata_has_outlines_as_shapes(tmp_path):
    sd = pytest.importorskip("spatialdata")
    adata = a_section()
    [path] = hq.io.export({"s": adata}, tmp_path / "out", to="spatialdata")
    read = sd.read_zarr(path)
    assert read["table"].uns["spatialdata_attrs"]["region"] == "s_cells"
    shapes = read["s_cells"]
    assert list(shapes.index) == [0, 2]
    np.testing.assert_array_equal(shapes.geometry.loc[0].exterior.coords, SQUARE)
    np.testing.assert_array_equal(shapes.geometry.loc[2].exterior.coords, TRIANGLE)
    assert "cell_polygons" not in read["table"].obsm
    np.testing.assert_allclose(hq.io.read_section(path).obsm["spatial"], adata.obsm["spatial"])


def test_rings_that_cannot_be_drawn_are_left_out():
    flat, endless = np.array([[0, 0], [1, 1], [2, 2], [0, 0.0]]), np.where(SQUARE == 4, np.nan, SQUARE)
    rings = [SQUARE, flat, endless, TRIANGLE]
    codes = np.repeat(np.arange(4), [len(ring) for ring in rings])
    found = polygons_of_cells(codes, pd.Index(list("abcd")), np.concatenate(rings), pd.Index(list("abcd")))
    assert found.present.tolist() == [True, False, False, True]
    np.testing.assert_array_equal(found.ring(3), TRIANGLE)


def test_the_largest_piece_of_a_cell_is_kept():
    angle = np.linspace(0, 2 * np.pi, 41)
    circle = 0.1 * np.column_stack([np.cos(angle), np.sin(angle)]) + 5000  # many vertices, small
    circle[-1] = circle[0]
    rings = [circle, TRIANGLE, SQUARE]
    codes, pieces = (np.repeat(values, [len(ring) for ring in rings]) for values in ([0, 1, 0], [0, 1, 2]))
    found = polygons_of_cells(codes, pd.Index(["a", "b"]), np.concatenate(rings), pd.Index(["b", "a"]), pieces=pieces)
    np.testing.assert_array_equal(found.ring(0), TRIANGLE)
    np.testing.assert_array_equal(found.ring(1), SQUARE)


def test_sections_without_outlines_leave_those_of_others():
    bare = a_section()
    del bare.obsm["cell_polygons"]
    for order in ("12", "21"):
        sections = dict(zip(order, (a_section(), bare), strict=True))
        apart = hq.io.split_sections(hq.io.concat_sections(sections))
        check(apart[order[0]], {"a": SQUARE, "c": TRIANGLE})
        assert not stored_polygons(apart[order[1]]).present.any()


def test_rings_that_another_program_cut_off_are_left_out():
    adata = a_section()
    adata.obsm["cell_polygons"] = adata.obsm["cell_polygons"][:, :8]  # as anndata.concat does with different widths
    with pytest.warns(UserWarning, match="Outlines of 1 cells are cut off .* histoquilt.io.concat_sections"):
        outlines = stored_polygons(adata)
    assert outlines.present.tolist() == [False, False, True]


def test_outlines_that_do_not_lie_around_their_cells_are_not_exported(tmp_path):
    pytest.importorskip("shapely")
    adata = a_section()
    adata.obsm["spatial"][2] = [900, 900]
    with pytest.warns(UserWarning, match="Outlines of 1 of 2 cells of section 's' are left out"):
        _, path = hq.io.export({"s": adata}, tmp_path / "out", to="qupath")
    kinds = [one["geometry"]["type"] for one in features(path)]
    assert kinds == ["Polygon", "Point", "Point"]
