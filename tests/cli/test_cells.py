"""Xenium and Visium HD folders on the command line: domains, report and exports, outlines to the end."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.io.bundles import HD_MPP, PIXEL_UM, tissue, write_visium_hd, write_xenium

import histoquilt as hq
from histoquilt.cli import run

pytest.importorskip("pyarrow", reason="the extra 'spatial' is not installed")
sd = pytest.importorskip("spatialdata", reason="the extra 'spatial' is not installed")
pytest.importorskip("shapely", reason="the extra 'export' is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")

EXPORTS = "qupath,spatialdata,xenium-explorer"


@pytest.fixture
def domains(quick, tmp_path, capsys):
    """Find domains; return the folder of the results."""

    def find(source, *more):
        out = tmp_path / "results"
        arguments = ["domains", source, "-k", 3, "-o", out, "--config", quick, "--denoise", "none", "--levels", "none"]
        assert run(list(map(str, [*arguments, "--stability", "none", "--overwrite", *more]))) == 0
        capsys.readouterr()
        return out

    return find


def qupath_cells(path):
    """Name -> ring and class of the cells in a GeoJSON file."""
    features = json.loads(path.read_text())["features"]
    assert {feature["properties"]["objectType"] for feature in features} == {"cell"}
    return {
        one["properties"]["name"]: (
            np.array(one["geometry"]["coordinates"][0]),
            one["properties"]["classification"]["name"],
        )
        for one in features
    }


def check_qupath(folder, name, rings, labels):
    """Every outline is that of the input, in pixels, and lies in the area of its domain."""
    import shapely

    cells = qupath_cells(folder / f"{name}_spots.geojson")
    assert list(cells) == list(labels.index)
    areas = {
        one["properties"]["name"]: shapely.from_geojson(json.dumps(one["geometry"])).buffer(3.0 / PIXEL_UM)
        for one in json.loads((folder / f"{name}.geojson").read_text())["features"]
    }
    for cell, (ring, kind) in cells.items():
        np.testing.assert_allclose(ring, rings[cell], atol=0.0051)
        assert kind == f"Domain {labels[cell]}"
        assert areas[kind].contains(shapely.Polygon(rings[cell]))


def check_spatialdata(path, name, rings, table_rows):
    store = sd.read_zarr(path / f"{name}.zarr")
    table, shapes = store["table"], store[f"{name}_cells"]
    assert list(table.obs_names) == list(table_rows)
    for cell, number in zip(table.obs_names, table.obs["spot_id"], strict=True):
        np.testing.assert_array_equal(shapes.geometry.loc[number].exterior.coords, rings[cell])


@pytest.mark.parametrize("ids", ["names", "integers"])
def test_xenium_from_folder_to_viewers(section, domains, tmp_path, ids):
    rings = write_xenium(section, tmp_path / "run", ids=ids)
    out = domains(tmp_path / "run", "--export", EXPORTS)
    assert "Domains of run" in (out / "report.html").read_text()
    written = ad.read_h5ad(out / "run.h5ad")
    assert sorted(written.obs_names) == sorted(rings)
    assert list(written.var_names) == list(section.var_names)
    labels = written.obs["domain"].astype(str)
    exports = out / "exports"
    check_qupath(exports / "qupath", "run", {name: ring / PIXEL_UM for name, ring in rings.items()}, labels)
    check_spatialdata(exports / "spatialdata", "run", rings, labels.index)
    groups = pd.read_csv(exports / "xenium-explorer" / "run.csv", dtype=str)
    assert list(groups) == ["cell_id", "group", "color"]
    assert dict(zip(groups["cell_id"], groups["group"], strict=True)) == {
        name: f"Domain {label}" for name, label in labels.items()
    }


def test_segmented_cells_from_folder_to_viewers(section, domains, tmp_path):
    rings = write_visium_hd(section, tmp_path / "hd" / "outs")
    out = domains(tmp_path / "hd", "--bin-size", "cells", "--export", EXPORTS)
    labels = ad.read_h5ad(out / "hd.h5ad").obs["domain"].astype(str)
    assert len(labels) == len(rings)
    check_qupath(out / "exports" / "qupath", "hd", rings, labels)
    check_spatialdata(out / "exports" / "spatialdata", "hd", rings, labels.index)


def test_bin_sizes_by_option_and_by_table(section, domains, refused, tmp_path):
    write_visium_hd(section, tmp_path / "hd")
    written = ad.read_h5ad(domains(tmp_path / "hd", "--bin-size", 16) / "hd.h5ad")
    assert written.uns["histoquilt"]["coordinates"]["pitch_um"] == 16
    assert written.obs_names[0].startswith("s_016um_")
    (tmp_path / "samples.csv").write_text("section,counts,bin_size\none,hd,16\n")
    written = ad.read_h5ad(domains(tmp_path / "samples.csv", "--bin-size", "8") / "one.h5ad")
    assert written.obs_names[0].startswith("s_016um_")
    assert "bin_size" not in written.obs
    arguments = ["-k", 3, "-o", tmp_path / "other"]
    line = refused("domains", tmp_path / "hd", "--bin-size", "4", *arguments)
    assert "has no square_004um (found: 'square_002um', 'square_008um', 'square_016um', 'cells')" in line
    (tmp_path / "samples.csv").write_text("section,counts,bin_size\none,hd,large\n")
    line = refused("domains", tmp_path / "samples.csv", *arguments)
    assert "'one' (line 2): --bin-size must be a size in microns (2, 8, 16) or 'cells', got 'large'" in line


def test_xenium_on_its_image(section, domains, refused, tmp_path):
    """A quarter turn: the image's x is the morphology image's y."""
    rings = write_xenium(section, tmp_path / "run")
    _, places = tissue(section, 10.0)
    scale = 2.0  # pixels of the morphology image in one of the H&E image
    height = float(np.ceil(places[:, 0].max() / PIXEL_UM / scale)) + 40
    # morphology x, y = scale * (height - y, x)
    matrix = np.array([[0, -scale, scale * height], [scale, 0, 0], [0, 0, 1.0]])
    np.savetxt(tmp_path / "he_imagealignment.csv", matrix, delimiter=",")
    width = int(places[:, 1].max() / PIXEL_UM / scale) + 40
    Image.new("RGB", (width, int(height)), (200, 120, 160)).save(tmp_path / "he.png")
    table = "section,counts,image,image_alignment\none,run,he.png,he_imagealignment.csv\n"
    (tmp_path / "samples.csv").write_text(table)
    out = domains(tmp_path / "samples.csv", "--export", "qupath")
    written = ad.read_h5ad(out / "one.h5ad")
    expected = np.column_stack([places[:, 1], places[:, 0]]) / PIXEL_UM / scale
    expected[:, 1] = height - expected[:, 1]
    np.testing.assert_allclose(written.obsm["spatial"], expected, atol=1e-6)
    record = written.uns["histoquilt"]
    assert record["coordinates"]["unit"] == "pixel"
    assert record["coordinates"]["mpp"] == pytest.approx(PIXEL_UM * scale)
    assert record["image"]["mpp"] == pytest.approx(PIXEL_UM * scale)
    on_image = {
        name: np.column_stack([ring[:, 1], height * PIXEL_UM * scale - ring[:, 0]]) / PIXEL_UM / scale
        for name, ring in rings.items()
    }
    check_qupath(out / "exports" / "qupath", "one", on_image, written.obs["domain"].astype(str))
    with hq.io.open_image(hq.io.read_h5ad(out / "one.h5ad")) as slide:
        assert slide.mpp == pytest.approx(PIXEL_UM * scale)
    (tmp_path / "he_imagealignment.csv").write_text("fixedX,fixedY,alignmentX,alignmentY\n1,2,3,4\n")
    line = refused("domains", tmp_path / "samples.csv", "-k", 3, "-o", tmp_path / "other")
    assert "he_imagealignment.csv holds the key points of an alignment, not its matrix" in line
    (tmp_path / "he_imagealignment.csv").unlink()
    line = refused("domains", tmp_path / "samples.csv", "-k", 3, "-o", tmp_path / "other")
    assert "'one' (line 2): image_alignment" in line
    assert "does not exist" in line


def test_what_is_wrong_is_said_in_one_line(section, refused, tmp_path):
    folder = tmp_path / "run"
    write_xenium(section, folder, tables=("parquet",))
    arguments = ["domains", folder, "-k", 3, "-o", tmp_path / "results"]
    outlines = pd.read_parquet(folder / "cell_boundaries.parquet")
    strange = outlines.assign(cell_id=outlines["cell_id"].str.replace("-1", "-2"))
    strange.to_parquet(folder / "cell_boundaries.parquet")
    line = refused(*arguments)
    assert "has an outline in cell_boundaries.parquet" in line
    assert "or move it elsewhere to read without outlines" in line
    (folder / "cells.parquet").write_bytes((folder / "cells.parquet").read_bytes()[:1000])
    assert "cells.parquet could not be read as a parquet table (truncated?)" in refused(*arguments)
    (folder / "cells.parquet").unlink()
    assert "cells.parquet and cells.csv.gz are missing" in refused(*arguments)


def test_several_sections_keep_their_outlines(section, domains, tmp_path):
    """Cells of two runs have the same names."""
    rings = {name: write_xenium(section[rows].copy(), tmp_path / name) for name, rows in
             {"a": np.arange(240), "b": np.arange(239, 59, -1)}.items()}  # fmt: skip
    (tmp_path / "samples.csv").write_text("section,counts\na,a\nb,b\n")
    out = domains(tmp_path / "samples.csv", "--export", "qupath")
    for name, own in rings.items():
        labels = ad.read_h5ad(out / f"{name}.h5ad").obs["domain"].astype(str)
        in_pixels = {cell: ring / PIXEL_UM for cell, ring in own.items()}
        check_qupath(out / "exports" / "qupath", name, in_pixels, labels)


def test_a_scale_of_the_viewer(section, domains, tmp_path):
    """``export --mpp`` is that of another image, with the same origin."""
    rings = write_visium_hd(section, tmp_path / "outs", bins=False)
    out = domains(tmp_path / "outs")
    viewers = tmp_path / "viewers"
    assert run(["export", str(out), "--to", "qupath", "--mpp", "0.5", "-o", str(viewers)]) == 0
    for cell, (ring, _) in qupath_cells(viewers / "qupath" / "outs_spots.geojson").items():
        np.testing.assert_allclose(ring, rings[cell] * HD_MPP / 0.5, atol=0.0051)
