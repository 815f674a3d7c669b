"""Results in the files of viewers, read back as the viewers read them."""

import functools
import gzip
import json
import re
import tracemalloc
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from PIL import Image, ImageDraw
from scipy.sparse import csr_matrix, issparse

import histoquilt as hq
from histoquilt._base import EXPORTERS, at_a_command


def tissue(n=12, **coordinates):
    """A square lattice in pixels of 0.5 um: three domains, one inside another, and a spot without one."""
    places = np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=-1).reshape(-1, 2)
    rng = np.random.default_rng(0)
    adata = AnnData(
        csr_matrix(rng.poisson(2, (n * n, 5)).astype(np.float32)),
        obs=pd.DataFrame(index=[f"AAAC{i:04d}-1" for i in range(n * n)]),
        var=pd.DataFrame(index=["MBP", "PLP1", "SNAP25", "GFAP", "AQP4"]),
        obsm={"spatial": places * 400.0 + 1000},
    )
    inside = (abs(places - n // 2) <= 2).all(axis=1)
    labels = np.where(inside, "2", np.where(places[:, 0] < 3, "10", "1")).astype(object)
    labels[5] = None
    adata.obs["domain"] = pd.Categorical(labels, categories=["1", "2", "10"])
    adata.obs["domain_confidence"] = rng.random(n * n).astype(np.float32)
    hq.io.record_coordinates(adata, **({"unit": "pixel", "mpp": 0.5} | coordinates))
    return adata


def check_schema(document, name):
    """A schema written from the viewer's own description of its files."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((Path(__file__).parent / "schemas" / name).read_text())
    jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)


def check_geojson(path):
    """What QuPath accepts, closed rings, and identifiers that occur once; returns the features."""
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    collection = json.loads(text)
    check_schema(collection, "qupath.json")
    for geometry in (feature["geometry"] for feature in collection["features"]):
        for polygon in geometry["coordinates"] if geometry["type"] == "MultiPolygon" else []:
            assert all(ring[0] == ring[-1] for ring in polygon)
    ids = [feature["id"] for feature in collection["features"]]
    assert len(set(ids)) == len(ids)
    return collection["features"]


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("type",), "Feature"),
        (("features", 0, "id"), "1"),
        (("features", 0, "geometry", "type"), "Point"),
        (("features", 0, "properties", "objectType"), "region"),
        (("features", 0, "properties", "classification"), {"name": "Tumour"}),
        (("features", 0, "properties", "measurements", "Spots"), "25"),
        (("features", 0, "crs"), "pixels"),
    ],
)
def test_the_schema_of_qupath_finds_what_is_wrong(tmp_path, place, wrong):
    jsonschema = pytest.importorskip("jsonschema")
    pytest.importorskip("shapely")
    [path] = hq.io.export({"a": tissue(6)}, tmp_path / "out", to="qupath")
    document = json.loads(path.read_text())
    check_schema(document, "qupath.json")
    *outer, last = place
    functools.reduce(lambda part, key: part[key], outer, document)[last] = wrong
    with pytest.raises(jsonschema.ValidationError):
        check_schema(document, "qupath.json")


def labels_of_spots(path, points):
    shapely = pytest.importorskip("shapely")
    found = np.full(len(points), None, dtype=object)
    for feature in check_geojson(path):
        area = shapely.from_geojson(json.dumps(feature["geometry"]))
        inside = shapely.contains_xy(area, points[:, 0], points[:, 1])
        assert (found[inside] == None).all()  # noqa: E711  # element by element
        found[inside] = feature["properties"]["classification"]["name"]
    return found


def named(adata):
    return adata.obs["domain"].astype(object).map("Domain {}".format, na_action="ignore").to_numpy()


def test_qupath_has_every_spot_in_its_domain_and_the_colours_of_our_plots(tmp_path):
    pytest.importorskip("shapely")
    adata = tissue()
    [path] = hq.io.export({"a": adata}, tmp_path / "out", to="qupath")
    assert path == tmp_path / "out" / "qupath" / "a.geojson"
    found = labels_of_spots(path, adata.obsm["spatial"])
    expected = named(adata)
    assert pd.isna(found[5])
    assert pd.isna(expected[5])
    np.testing.assert_array_equal(np.delete(found, 5), np.delete(expected, 5))
    features = {feature["properties"]["name"]: feature["properties"] for feature in check_geojson(path)}
    for name, color in hq.pl.domain_colors(adata, "domain").items():
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert features[f"Domain {name}"]["classification"]["color"] == rgb
    inner = adata.obs["domain"] == "2"
    measured = features["Domain 2"]["measurements"]
    assert measured["Spots"] == inner.sum() == 25
    assert measured["Area um^2"] == pytest.approx(25 * 200**2, rel=1e-3)
    assert measured["Mean confidence"] == pytest.approx(adata.obs.loc[inner, "domain_confidence"].mean(), abs=1e-4)


def test_polygons_drawn_over_the_tissue_show_every_spot_in_the_colour_of_its_domain(tmp_path):
    """The picture that QuPath shows, drawn by another library, compared pixel by pixel below the spots."""
    pytest.importorskip("shapely")
    adata, slide = hq.datasets.toy_slide(n_spots=900, n_genes=20, n_domains=4, mpp=4, seed=0)
    adata.obs["domain"] = adata.obs["domain_true"]
    [path] = hq.io.export({"a": adata}, tmp_path / "out", to="qupath")
    picture = Image.new("RGB", slide.shape[1::-1])
    for feature in check_geojson(path):
        color = tuple(feature["properties"]["classification"]["color"])
        area = Image.new("1", picture.size)
        for shell, *holes in feature["geometry"]["coordinates"]:
            part = Image.new("1", picture.size)
            ImageDraw.Draw(part).polygon([tuple(point) for point in shell], fill=1)
            for hole in holes:
                ImageDraw.Draw(part).polygon([tuple(point) for point in hole], fill=0)
            area.paste(1, mask=part)
        picture.paste(color, mask=area)
    column, row = np.floor(adata.obsm["spatial"]).astype(int).T
    found = np.asarray(picture)[row, column]
    colors = hq.pl.domain_colors(adata, "domain")
    expected = np.array([[int(colors[name][i : i + 2], 16) for i in (1, 3, 5)] for name in adata.obs["domain"]])
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found, axis=0)) == 4
    outside = np.asarray(picture)[0, 0]
    assert (outside == 0).all()


def test_qupath_has_parts_of_nested_domains_as_derived_classes(tmp_path):
    pytest.importorskip("shapely")
    adata = tissue()
    x, labels = adata.obsm["spatial"][:, 0], adata.obs["domain"].cat.codes.to_numpy()
    parts = np.where((labels == 0) & (x > x.mean()), 3, labels)
    adata.obsm["X_domains"] = 20 * np.eye(4)[parts] + np.random.default_rng(0).normal(size=(len(x), 4))
    hq.tl.domain_tree(adata)
    assert adata.obs["domain_fine"].cat.categories.tolist() == ["1.1", "1.2", "2", "10"]
    options = hq.io.ExportOptions(keys=["domain_fine"], spots=True)
    paths = hq.io.export({"a": adata}, tmp_path / "out", to="qupath", options=options)
    polygons, spots = map(check_geojson, paths)
    expected = {"1.1": "Domain 1: 1.1", "1.2": "Domain 1: 1.2", "2": "Domain 2", "10": "Domain 10"}
    kinds = [one["properties"]["classification"]["name"] for one in polygons]
    assert sorted(kinds) == sorted(expected.values())
    of_first = expected[adata.obs["domain_fine"].iloc[0]]
    assert spots[0]["properties"]["classification"]["name"] == of_first


def test_qupath_is_the_same_every_time_and_may_be_compressed(tmp_path):
    pytest.importorskip("shapely")
    adata = tissue()
    adata.uns["domain_colors"] = ["#ff0000", "blue", "#00ff00"]
    options = hq.io.ExportOptions(compress=True, genes=["MBP", "GFAP"])
    first = hq.io.export({"a": adata}, tmp_path / "1", to="qupath", options=options)
    again = hq.io.export({"a": adata}, tmp_path / "2", to="qupath", options=options)
    assert [path.name for path in first] == ["a.geojson.gz", "a_spots.geojson.gz"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    colors = {
        one["properties"]["name"]: one["properties"]["classification"]["color"] for one in check_geojson(first[0])
    }
    assert colors == {"Domain 1": [255, 0, 0], "Domain 2": [0, 0, 255], "Domain 10": [0, 255, 0]}
    spots = check_geojson(first[1])
    assert [spot["properties"]["name"] for spot in spots] == list(adata.obs_names)
    assert [spot["geometry"]["coordinates"] for spot in spots] == adata.obsm["spatial"].tolist()
    assert "classification" not in spots[5]["properties"]
    counts = adata.X.toarray()
    expected = np.log1p(1e4 * counts[:, [0, 3]] / counts.sum(axis=1, keepdims=True))
    found = [[spot["properties"]["measurements"][gene] for gene in ("MBP", "GFAP")] for spot in spots]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert spots[0]["properties"]["measurements"]["Confidence"] == pytest.approx(
        adata.obs["domain_confidence"].iloc[0], abs=1e-4
    )


def test_qupath_is_written_without_holding_the_document(tmp_path, monkeypatch):
    pytest.importorskip("shapely")
    from histoquilt.io.exporters import _qupath

    peaks, write = [], _qupath._write

    def traced(*arguments):
        tracemalloc.start()
        try:
            return write(*arguments)
        finally:
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

    monkeypatch.setattr(_qupath, "_write", traced)
    adata = tissue(142)  # 20,164 cells
    [path] = hq.io.export({"a": adata}, tmp_path / "out", to="qupath", keys=[], genes=list(adata.var_names))
    size = path.stat().st_size
    assert size > 5e6
    assert peaks[0] < size / 2, f"{peaks[0] / 1e6:.1f} MB for a file of {size / 1e6:.1f} MB"


def test_coordinates_are_pixels_of_the_attached_image_or_of_the_one_that_mpp_describes(tmp_path):
    pytest.importorskip("shapely")
    adata = tissue()
    Image.new("RGB", (1600, 1600), "white").save(tmp_path / "small.png")
    hq.io.attach_image(adata, tmp_path / "small.png", image_scale=4)
    [path] = hq.io.export({"a": adata}, tmp_path / "1", to="qupath")
    assert (labels_of_spots(path, adata.obsm["spatial"] / 4)[:5] == named(adata)[:5]).all()
    [path] = hq.io.export({"a": adata}, tmp_path / "2", to="qupath", mpp=0.25)
    assert (labels_of_spots(path, adata.obsm["spatial"] * 2)[:5] == named(adata)[:5]).all()
    in_microns = tissue(unit="micron", mpp=None)
    with pytest.raises(ValueError, match=r"section 'a' are microns, and viewers of images need pixels\. Pass mpp="):
        hq.io.export({"a": in_microns}, tmp_path / "3", to="qupath")
    assert not (tmp_path / "3").exists()
    [path] = hq.io.export({"a": in_microns}, tmp_path / "3", to="qupath", mpp=0.5)
    assert (labels_of_spots(path, adata.obsm["spatial"] * 2)[:5] == named(adata)[:5]).all()


def test_a_scale_that_is_not_known(tmp_path):
    pytest.importorskip("shapely")
    adata = tissue(mpp=None)
    rng = np.random.default_rng(0)
    adata.obsm["spatial"] = rng.random((adata.n_obs, 2)) * 5000
    with pytest.raises(ValueError, match=r"Cannot determine microns per pixel .* Pass mpp=, or tolerance_um=0 to keep"):
        hq.io.export({"a": adata}, tmp_path / "out", to="qupath")
    with at_a_command(), pytest.raises(ValueError, match=r"Pass --mpp, or --tolerance-um 0 to keep every detail"):
        hq.io.export({"a": adata}, tmp_path / "out", to="qupath")
    [path] = hq.io.export({"a": adata}, tmp_path / "out", to="qupath", tolerance_um=0)
    assert all("Area um^2" not in feature["properties"]["measurements"] for feature in check_geojson(path))
    adata.uns["histoquilt"]["coordinates"] = {"unit": "unknown"}
    with pytest.warns(UserWarning, match="not recorded; they are taken as pixels"):
        hq.io.export({"a": adata}, tmp_path / "more", to="qupath", tolerance_um=0)
    adata.uns["histoquilt"]["coordinates"] = {"unit": "array"}
    with pytest.raises(ValueError, match="rows and columns of the array, not pixels"):
        hq.io.export({"a": adata}, tmp_path / "no", to="qupath", tolerance_um=0)


def test_loupe_rows(tmp_path):
    adata = tissue(4)
    adata.obs["type"] = ["T, cell"] * 8 + ["B"] * 8
    adata.obsm["X_umap"] = np.arange(32.0).reshape(16, 2)
    table, umap = hq.io.export({"a": adata}, tmp_path / "out", to="loupe", keys=["domain", "type"])
    lines = table.read_text().splitlines()
    assert lines[0] == "Barcode,Domain,type"
    assert lines[1] == 'AAAC0000-1,Domain 2,"T, cell"' or lines[1].startswith("AAAC0000-1,Domain")
    assert lines[6] == 'AAAC0005-1,None,"T, cell"'
    assert umap.read_text().splitlines()[:2] == ["Barcode,X,Y", "AAAC0000-1,0.0000,1.0000"]
    [table] = hq.io.export({"a": adata[:, :0].copy()}, tmp_path / "2", to="loupe")[:1]
    read = pd.read_csv(table)
    assert list(read["Barcode"]) == [name for name in adata.obs_names if name != "AAAC0005-1"]
    assert list(read["Domain"]) == [label for label in named(adata) if isinstance(label, str)]


def test_quartiles_of_genes(tmp_path):
    adata = tissue(4)
    adata.X = csr_matrix(np.column_stack([np.arange(16), np.where(np.arange(16) < 12, 0, 5), np.full((16, 3), 100)]))
    adata.obsm["denoised"] = pd.DataFrame(
        {"MBP": np.arange(16.0), "PLP1": np.where(np.arange(16) < 12, 0.0, 5.0)}, index=adata.obs_names
    )
    [table] = hq.io.export({"a": adata}, tmp_path / "1", to="loupe", genes=["MBP", "PLP1"])
    read = pd.read_csv(table)
    assert list(read["MBP"]) == [f"MBP {1 + i // 4} of 4" for i in range(16)]
    assert list(read["PLP1"]) == ["PLP1 1 of 2"] * 12 + ["PLP1 2 of 2"] * 4
    groups = hq.io.export({"a": adata}, tmp_path / "2", to="xenium-explorer", genes="MBP")
    assert [path.name for path in groups] == ["a.csv", "a_MBP.csv"]
    assert groups[1].read_text().splitlines()[:2] == ["cell_id,group,color", "AAAC0000-1,MBP 1 of 4,#440154"]
    with pytest.raises(KeyError, match="Gene 'MPB' is neither in"):
        hq.io.export({"a": adata}, tmp_path / "3", to="loupe", genes=["MPB"])


@pytest.mark.parametrize("ids", [[f"aaaa{i:04d}-1" for i in range(16)], list(range(1, 17))], ids=["text", "integers"])
def test_xenium_rows(tmp_path, ids):
    adata = tissue(4)
    adata.obs["cell_id"] = ids
    [path] = hq.io.export({"a": adata}, tmp_path / "out", to="xenium-explorer")
    lines = path.read_text().splitlines()
    assert lines[0] == "cell_id,group,color"
    colors = hq.pl.domain_colors(adata, "domain")
    expected = [
        f"{cell},Domain {domain},{colors[domain]}"
        for cell, domain in zip(ids, adata.obs["domain"], strict=True)
        if isinstance(domain, str)
    ]
    assert lines[1:] == expected


def test_seurat_tables(tmp_path):
    adata = tissue(4)
    domains, clusters = hq.io.export({"a": adata}, tmp_path / "out", to="seurat", genes=["MBP"])
    read = pd.read_csv(domains, dtype={"domain": str}, index_col="barcode")
    assert list(read.columns) == ["domain", "domain_confidence", "MBP"]
    assert list(read.index) == list(adata.obs_names)
    assert read["domain"].iloc[0] == adata.obs["domain"].iloc[0]
    assert clusters.read_text().splitlines()[:2] == ["key,cluster", f"AAAC0000-1_a,{adata.obs['domain'].iloc[0]}"]


@pytest.mark.parametrize("by_gene", [False, True])
def test_an_h5ad_that_viewers_open(tmp_path, by_gene):
    adata = tissue()
    adata.obsm["X_my umap"] = adata.obsm["spatial"].copy()
    adata.obsm["denoised"] = pd.DataFrame({"MBP": 1.0}, index=adata.obs_names)
    Image.new("RGB", (6000, 6000), "pink").save(tmp_path / "he.png")
    hq.io.attach_image(adata, tmp_path / "he.png")
    before = adata.copy()
    with pytest.warns(UserWarning, match=r"Names of embeddings .* were changed: 'my umap -> my_umap'"):
        [path] = hq.io.export({"a": adata}, tmp_path / "out", to="viewers-h5ad", by_gene=by_gene)
    assert list(before.obsm) == list(adata.obsm)
    assert list(before.obs) == list(adata.obs)
    assert set(before.uns) == set(adata.uns)
    read = ad.read_h5ad(path)
    assert list(read.obs["domain"].cat.categories) == ["1", "2", "10"]
    assert list(read.uns["domain_colors"]) == list(hq.pl.domain_colors(adata, "domain").values())
    assert list(read.obs["library_id"].cat.categories) == ["a"]
    library = read.uns["spatial"]["a"]
    assert library["images"]["hires"].shape == (2000, 2000, 3)
    assert library["scalefactors"]["tissue_hires_scalef"] == pytest.approx(1 / 3)
    np.testing.assert_allclose(read.obsm["X_spatial"], adata.obsm["spatial"] * [1, -1])
    assert all(re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.-]*", key) for key in read.obsm)
    assert all(isinstance(value, np.ndarray) for value in read.obsm.values())  # cellxgene opens no file with a table
    assert issparse(read.X)
    assert read.X.format == ("csc" if by_gene else "csr")
    np.testing.assert_array_equal(read.X.toarray(), adata.X.toarray())


def test_barcodes_lose_what_was_added_to_join_sections(tmp_path):
    joint = hq.io.concat_sections({"a": tissue(4), "b": tissue(5)})
    assert joint.obs_names[0] == "AAAC0000-1-a"
    paths = hq.io.export(joint, tmp_path / "out", to=["loupe", "viewers-h5ad"])
    assert [path.name for path in paths] == ["a.csv", "a.h5ad", "b.csv", "b.h5ad"]
    assert pd.read_csv(paths[2])["Barcode"].iloc[0] == "AAAC0000-1"
    assert ad.read_h5ad(paths[3]).obs_names[0] == "AAAC0000-1"
    part = joint[joint.obs["section"] == "b"].copy()
    [path] = hq.io.export([part], tmp_path / "part", to="loupe")
    assert path.name == "b.csv"
    assert pd.read_csv(path)["Barcode"].iloc[0] == "AAAC0000-1"


def test_spatialdata_reads_it_back(tmp_path):
    sd = pytest.importorskip("spatialdata")
    adata = tissue()
    adata.obs["a column/2"] = 1.0
    Image.new("RGB", (6000, 6000), "pink").save(tmp_path / "he.png")
    hq.io.attach_image(adata, tmp_path / "he.png")
    with pytest.warns(UserWarning, match="refuses were changed"):
        [path] = hq.io.export({"tumour 1": adata}, tmp_path / "out", to="spatialdata")
    assert path.name == "tumour_1.zarr"
    read = sd.read_zarr(path)
    table = read["table"]
    assert table.uns["spatialdata_attrs"]["region"] == "tumour_1_spots"
    assert list(table.obs["domain"].astype(object))[:5] == list(adata.obs["domain"].astype(object))[:5]
    assert "a_column_2" in table.obs
    np.testing.assert_array_equal(table.X.toarray(), adata.X.toarray())
    spots = read["tumour_1_spots"].loc[table.obs["spot_id"]]
    np.testing.assert_allclose(np.column_stack([spots.geometry.x, spots.geometry.y]), adata.obsm["spatial"])
    image = read["tumour_1_hires"]
    assert image.shape == (3, 2000, 2000)
    scale = sd.transformations.get_transformation(image, "global")
    assert scale.to_scale_vector(("x", "y")) == pytest.approx([3.0, 3.0])
    shown = hq.io.read_section(path)
    np.testing.assert_allclose(shown.obsm["spatial"][:, :2], adata.obsm["spatial"])


def test_vitessce_configuration_without_expression_and_umap(tmp_path):
    adata = tissue(4)
    adata.obs["a type/2"] = ["T"] * 16
    adata = AnnData(obs=adata.obs, obsm=dict(adata.obsm), uns=adata.uns)
    with pytest.warns(UserWarning, match="refuses were changed"):
        _, shown = hq.io.export({"tumour 1": adata}, tmp_path / "out", to="vitessce", keys=["domain", "a type/2"])
    config = json.loads(shown.read_text())
    check_schema(config, "vitessce.json")
    [file] = config["datasets"][0]["files"]
    assert [labels["path"] for labels in file["options"]["obsSets"]] == ["obs/domain", "obs/a_type_2"]
    assert "obsFeatureMatrix" not in file["options"]


def test_vitessce_configuration_and_store(tmp_path):
    adata = tissue()
    adata.obsm["X_umap"] = adata.obsm["spatial"].copy()
    adata.var["highly_variable"] = True
    store, shown = hq.io.export({"s1": adata}, tmp_path / "out", to="vitessce", url="https://example.org/data/")
    config = json.loads(shown.read_text())
    check_schema(config, "vitessce.json")
    [dataset] = config["datasets"]
    [file] = dataset["files"]
    assert file["fileType"] == "anndata.zarr"
    assert file["url"] == "https://example.org/data/s1.zarr"
    assert file["options"] == {
        "obsSpots": {"path": "obsm/spatial_um"},
        "obsSets": [{"name": "Domain", "path": "obs/domain"}],
        "obsEmbedding": [{"path": "obsm/X_umap", "dims": [0, 1], "embeddingType": "UMAP"}],
        "obsFeatureMatrix": {"path": "X", "initialFeatureFilterPath": "var/highly_variable"},
    }
    scopes = config["coordinationSpace"]
    for view in config["layout"]:
        for kind, named in view["coordinationScopes"].items():
            assert all(scope in scopes[kind] for scope in ([named] if isinstance(named, str) else named))
        assert view["x"] + view["w"] <= 12
        assert view["y"] + view["h"] <= 12
    assert {view["component"] for view in config["layout"]} == {
        "scatterplot", "spatialBeta", "layerControllerBeta", "obsSets", "featureList",
    }  # fmt: skip
    colors = {tuple(one["path"]): one["color"] for one in scopes["obsSetColor"]["A"]}
    expected = hq.pl.domain_colors(adata, "domain")
    assert colors == {
        ("Domain", name): [int(color[i : i + 2], 16) for i in (1, 3, 5)] for name, color in expected.items()
    }
    read = ad.read_zarr(store)
    np.testing.assert_allclose(read.obsm["spatial_um"], adata.obsm["spatial"] * 0.5)
    for path in ("obsm/X_umap", "obs/domain", "var/highly_variable"):
        part, key = path.split("/")
        assert key in getattr(read, part)


def test_a_prediction_without_domains_has_its_most_reliable_genes(tmp_path):
    pytest.importorskip("shapely")
    adata = tissue()
    del adata.obs["domain"]
    adata.layers["predicted_ridge"] = np.random.default_rng(0).random(adata.shape).astype(np.float32)
    adata.var["reliability"] = [0.1, np.nan, 0.3, 0.2, 0.4]
    adata.uns["histoquilt"]["prediction"] = {"layer": "predicted_ridge"}
    spots, table = hq.io.export({"a": adata}, tmp_path / "out", to=["qupath", "loupe"])
    assert spots.name == "a_spots.geojson"
    measured = check_geojson(spots)[3]["properties"]["measurements"]
    assert list(measured) == ["AQP4", "SNAP25", "GFAP", "MBP", "PLP1"]
    assert measured["GFAP"] == pytest.approx(adata.layers["predicted_ridge"][3, 3], abs=1e-4)
    assert pd.read_csv(table)["AQP4"].nunique() == 4
    others = [name for name in EXPORTERS.ours() if name not in ("qupath", "loupe", "spatialdata")]
    adata.X = None
    paths = {path.name: path for path in hq.io.export({"a": adata}, tmp_path / "more", to=others)}
    read = hq.io.read_h5ad(paths["a.h5ad"])
    np.testing.assert_array_equal(read.X, adata.layers["predicted_ridge"])
    assert read.uns["histoquilt"]["scale"]["X"] == "log1p_cp10k"
    assert "scale" not in adata.uns["histoquilt"]
    assert list(pd.read_csv(paths["domains.csv"], index_col=0)) == ["AQP4", "SNAP25", "GFAP", "MBP", "PLP1"]
    assert "clusters.csv" not in paths


def test_wrong_arguments(tmp_path):
    adata = tissue(4)
    with pytest.raises(ValueError, match=r"Unknown exporter 'qupat'\. Did you mean 'qupath'\? Known: qupath, loupe"):
        hq.io.export({"a": adata}, tmp_path / "out", to=["loupe", "qupat"])
    with pytest.raises(ValueError, match="Name at least one exporter: qupath"):
        hq.io.export({"a": adata}, tmp_path / "out", to=[])
    with pytest.raises(TypeError, match=r"tolerance= is not an option of export\. Did you mean tolerance_um=\?"):
        hq.io.export({"a": adata}, tmp_path / "out", to="loupe", tolerance=1)
    with pytest.raises(ValueError, match="tolerance_um= must be 0 or a positive number"):
        hq.io.export({"a": adata}, tmp_path / "out", to="loupe", tolerance_um=-1)
    with pytest.raises(ValueError, match="mpp= must be positive, got 0"):
        hq.io.export({"a": adata}, tmp_path / "out", to="loupe", mpp=0)
    with pytest.raises(ValueError, match=r"'domain_confidence'\] of section 'a' holds fractions, not labels"):
        hq.io.export({"a": adata}, tmp_path / "out", to="loupe", keys="domain_confidence")
    with pytest.raises(KeyError, match=r"'typ' is not in .*keys"):
        hq.io.export({"a": adata}, tmp_path / "out", to="loupe", keys=["typ"])
    del adata.obs["domain"]
    with pytest.raises(KeyError, match=r"'domain' is not in obs of section 'a' .*Find domains first .*keys="):
        hq.io.export({"a": adata}, tmp_path / "out", to="loupe")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_and_names_that_meet(tmp_path):
    adata = tissue(4)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"already holds results\. Choose another folder, or pass overwrite=True"):
        hq.io.export({"a": adata}, tmp_path / "out", to="loupe")
    with pytest.raises(FileExistsError, match=r"not of an export \('mine\.txt'\) and would be lost"):
        hq.io.export({"a": adata}, tmp_path / "out", to="loupe", overwrite=True)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    (tmp_path / "out" / "mine.txt").rename(tmp_path / "mine.txt")
    (tmp_path / "out" / ".DS_Store").touch()  # of macOS, which looked into the folder
    hq.io.export({"b": adata}, tmp_path / "out", to=["loupe", "seurat"], overwrite=True)
    hq.io.export({"a": adata}, tmp_path / "out", to="loupe", overwrite=True)
    assert [path.name for path in (tmp_path / "out").rglob("*.csv")] == ["a.csv"]
    with pytest.raises(ValueError, match=r"'A/1' and 'a:1' would have the same file names \(a_1\)"):
        hq.io.export({"A/1": adata, "a:1": adata}, tmp_path / "two", to="loupe")
    assert not (tmp_path / "two").exists()
    names = [path.name for path in hq.io.export({"a b": adata, "a_b": adata}, tmp_path / "z", to="vitessce")]
    assert len(set(names)) == 4


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    from histoquilt.io.exporters import _export

    monkeypatch.setattr(_export, "is_installed", lambda module: module != "shapely")
    with pytest.raises(ImportError, match=r"qupath needs 'shapely'\. Install it with: pip install 'histoquilt\[export"):
        hq.io.export({"a": tissue(4)}, tmp_path / "out", to=["loupe", "qupath"])


def test_every_exporter_follows_the_protocol():
    for name in EXPORTERS.names():
        exporter = EXPORTERS.load(name)
        assert isinstance(exporter, hq.io.Exporter)
        assert "<section>" in exporter.files


def test_one_anndata_without_names_of_sections(tmp_path):
    adata = tissue(4)
    [path] = hq.io.export(adata, tmp_path / "1", to="loupe")
    assert path.name == "section.csv"
    adata.uns["spatial"] = {"V1": {"images": {}, "scalefactors": {}}}
    [path] = hq.io.export(adata, tmp_path / "2", to="loupe")
    assert path.name == "V1.csv"
    with pytest.raises(KeyError, match="sample"):
        hq.io.export(adata, tmp_path / "3", to="loupe", section_key="sample")


@pytest.mark.real_data
def test_her2st_in_pixels_of_its_image(data_dir, tmp_path):
    """Legacy ST, whose spots are displaced from their lattice: every spot in its domain, and all on the image."""
    pytest.importorskip("shapely")
    adata = hq.io.read_h5ad(data_dir / "her2st" / "C2.h5ad")
    hq.io.attach_image(adata, data_dir / "her2st" / "C2.jpg")
    hq.io.record_coordinates(adata, "pixel", mpp=adata.uns["histoquilt"]["image"]["mpp"])
    hq.tl.spatial_domains(adata, 5, progress=False)
    [path] = hq.io.export({"C2": adata}, tmp_path / "out", to="qupath")
    np.testing.assert_array_equal(labels_of_spots(path, adata.obsm["spatial"]), named(adata))
    corners = np.array(
        [
            point
            for feature in check_geojson(path)
            for polygon in feature["geometry"]["coordinates"]
            for ring in polygon
            for point in ring
        ]
    )
    with hq.io.open_image(adata) as slide:
        assert (corners >= 0).all()
        assert (corners <= [slide.width, slide.height]).all()
    area = sum(feature["properties"]["measurements"]["Area um^2"] for feature in check_geojson(path))
    assert area == pytest.approx(adata.n_obs * 200**2, rel=0.1)
