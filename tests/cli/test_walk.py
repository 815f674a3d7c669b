"""From a pathologist's drawing to a score, and from there to every viewer, on a bundle of Xenium."""

import json

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

import histoquilt as hq
from histoquilt.cli import run

PIXEL_UM = 0.2125  # of the morphology image, which is open in QuPath


def cell_name(number):
    """The name of a cell as Xenium spells a number: hexadecimal, with a to p for 0 to f."""
    return "".join("abcdefghijklmnop"[int(digit, 16)] for digit in f"{number:08x}") + "-1"


def write_xenium(section, folder):
    """The output of Xenium Onboard Analysis 3; returns the names of the cells."""
    import zarr

    folder.mkdir()
    numbers = np.arange(1000, 1000 + section.n_obs, dtype=np.uint32)
    names = [cell_name(number) for number in numbers]
    specs = {"analysis_sw_version": "xenium-3.0.0.15", "pixel_size": PIXEL_UM, "run_name": "toy", "panel_name": "toy"}
    (folder / "experiment.xenium").write_text(json.dumps(specs))
    counts = section.X.T.tocsc().astype(np.int32)  # genes by cells
    with h5py.File(folder / "cell_feature_matrix.h5", "w") as file:
        matrix = file.create_group("matrix")
        matrix["shape"] = np.array(counts.shape, np.int32)
        for part in ("data", "indices", "indptr"):
            matrix[part] = getattr(counts, part)
        matrix["barcodes"] = np.array(names, dtype="S")
        features = {
            "id": [f"ENSG{i:011d}" for i in range(section.n_vars)], "name": list(section.var_names),
            "feature_type": ["Gene Expression"] * section.n_vars, "genome": ["GRCh38"] * section.n_vars,
        }  # fmt: skip
        for name, values in features.items():
            matrix[f"features/{name}"] = np.array(values, dtype="S")
    x, y = section.obsm["spatial"].T
    table = {"cell_id": names, "x_centroid": x, "y_centroid": y, "cell_area": 50.0, "nucleus_area": 20.0}
    pd.DataFrame(table).to_parquet(folder / "cells.parquet", index=False)
    store = zarr.storage.ZipStore(folder / "cells.zarr.zip", mode="w")
    root = zarr.open_group(store, mode="w", zarr_format=2)
    root.create_array("cell_id", data=np.column_stack([numbers, np.ones_like(numbers)]))
    summary = root.create_array("cell_summary", data=np.ones((section.n_obs, 8)))
    summary.attrs["column_names"] = [
        "cell_centroid_x", "cell_centroid_y", "cell_area", "nucleus_centroid_x", "nucleus_centroid_y", "nucleus_area",
        "z_level", "nucleus_count",
    ]  # fmt: skip
    for mask in (0, 1):
        root.create_array(f"polygon_sets/{mask}/cell_index", data=np.arange(section.n_obs, dtype=np.uint32))
    store.close()
    return names


def draw(section, path):
    """Circle the cells of each region in pixels of the morphology image, as a pathologist would in QuPath."""
    shapely = pytest.importorskip("shapely")
    places = section.obsm["spatial"] / PIXEL_UM
    around = 0.45 * np.sort(np.hypot(*(places - places[0]).T))[1]
    features = []
    for region in section.obs["domain_true"].cat.categories:
        inside = places[(section.obs["domain_true"] == region).to_numpy()]
        area = shapely.union_all(shapely.buffer(shapely.points(inside), around))
        properties = {"objectType": "annotation", "classification": {"name": f"region {region}", "color": [200, 0, 30]}}
        features.append({"type": "Feature", "geometry": json.loads(shapely.to_geojson(area)), "properties": properties})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


@pytest.mark.filterwarnings("ignore")  # of the readers called
def test_from_a_drawing_on_xenium_to_every_viewer(section, tmp_path, capsys):
    pytest.importorskip("spatialdata_io", reason="the extra 'spatial' is not installed")
    names = write_xenium(section, tmp_path / "slide")
    draw(section, tmp_path / "drawing.geojson")
    arguments = ["domains", tmp_path / "slide", "-k", 3, "-o", tmp_path / "results"]
    arguments += ["--annotations", tmp_path / "drawing.geojson", "--annotations-scale", PIXEL_UM]
    assert run(list(map(str, arguments))) == 0
    said = capsys.readouterr().out
    written = ad.read_h5ad(tmp_path / "results" / "slide.h5ad")
    assert list(written.obs_names) == names
    regions = "region " + pd.Series(section.obs["domain_true"].to_numpy(), index=names).astype(str)
    assert (written.obs["annotation"].astype(str) == regions).all()
    expected = hq.metrics.ari(regions, written.obs["domain"])
    [found] = json.loads((tmp_path / "results" / "run.json").read_text())["annotation"].values()
    assert found["ari"] == pytest.approx(expected, abs=1e-6)
    assert f"ARI {expected:.3f}" in said
    assert expected > 0
    viewers = "qupath,loupe,xenium-explorer,viewers-h5ad,spatialdata,vitessce,seurat"
    arguments = ["export", tmp_path / "results", "--to", viewers, "--mpp", PIXEL_UM, "--out", tmp_path / "viewers"]
    assert run(list(map(str, arguments))) == 0
    check_exports(tmp_path / "viewers", written)


def check_exports(folder, written):
    """Read the files of every viewer back."""
    domains = written.obs["domain"].astype(str)
    labels = "Domain " + domains
    again = ad.AnnData(obs=pd.DataFrame(index=written.obs_names), obsm={"spatial": written.obsm["spatial"]})
    hq.io.record_coordinates(again, "micron")
    hq.tl.annotate_spots(again, folder / "qupath" / "slide.geojson", image_scale=PIXEL_UM)
    pd.testing.assert_series_equal(again.obs["annotation"].astype(str), labels, check_names=False)
    loupe = pd.read_csv(folder / "loupe" / "slide.csv", index_col="Barcode")
    pd.testing.assert_series_equal(loupe["Domain"], labels, check_names=False)
    xenium = pd.read_csv(folder / "xenium-explorer" / "slide.csv", index_col="cell_id")
    pd.testing.assert_series_equal(xenium["group"], labels, check_names=False)
    assert xenium["color"].str.fullmatch("#[0-9a-f]{6}").all()
    seurat = pd.read_csv(folder / "seurat" / "slide" / "domains.csv", index_col="barcode", dtype={"domain": str})
    pd.testing.assert_series_equal(seurat["domain"], domains, check_names=False)
    import spatialdata

    tables = [
        ad.read_h5ad(folder / "viewers-h5ad" / "slide.h5ad"),
        ad.read_zarr(folder / "vitessce" / "slide.zarr"),
        spatialdata.read_zarr(folder / "spatialdata" / "slide.zarr")["table"],
    ]
    for table in tables:
        pd.testing.assert_series_equal(table.obs["domain"].astype(str), domains, check_names=False)
        np.testing.assert_array_equal(table.X.toarray(), written.X.toarray())
    config = json.loads((folder / "vitessce" / "slide.vitessce.json").read_text())
    assert config["datasets"][0]["files"][0]["url"].endswith("/slide.zarr")
