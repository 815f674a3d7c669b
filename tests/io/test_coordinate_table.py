"""Coordinates in tables and in obs columns, and array spots outside the tissue."""

import numpy as np
import pandas as pd
import pytest

import histoquilt as hq
from histoquilt._base import at_a_command
from histoquilt._base._coordinate_columns import coordinate_columns
from histoquilt.cli import run
from histoquilt.study._checks import check_spatial


@pytest.fixture
def section():
    adata = hq.datasets.toy_section(n_spots=120, n_genes=30, n_domains=2, seed=0)
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
    read = hq.io.read_section(tmp_path / "s.h5ad")
    assert type(read.obsm["spatial"]) is np.ndarray
    np.testing.assert_allclose(read.obsm["spatial"], xy)
    assert coordinate_columns([y, x]) == (x, y)


def test_unknown_columns_are_refused_with_their_names(section):
    section.obsm["spatial"] = pd.DataFrame(section.obsm["spatial"], index=section.obs_names, columns=["a", "b"])
    with pytest.raises(ValueError, match="columns 'a', 'b', which do not say which is x"):
        hq.tl.spatial_domains(section, 2, progress=False)


@pytest.mark.parametrize(
    "values", [[0, 1], [False, True], ["0", "1"], ["False", "True"]], ids=["int", "bool", "digit", "word"]
)
def test_spots_outside_the_tissue_are_left_out(section, tmp_path, values):
    inside = np.arange(section.n_obs) % 3 > 0
    section.obs["in_tissue"] = np.where(inside, values[1], values[0])
    section.write_h5ad(tmp_path / "s.h5ad")
    with pytest.warns(UserWarning, match="40 of 120 spots lie outside the tissue"):
        read = hq.io.read_section(tmp_path / "s.h5ad")
    assert list(read.obs_names) == list(section.obs_names[inside])
    assert hq.io.read_section(tmp_path / "s.h5ad", keep_all_spots=True).n_obs == section.n_obs


def test_another_meaning_of_in_tissue_changes_nothing(section, tmp_path):
    section.obs["in_tissue"] = np.arange(section.n_obs) % 3
    section.write_h5ad(tmp_path / "s.h5ad")
    assert hq.io.read_section(tmp_path / "s.h5ad").n_obs == section.n_obs


@pytest.mark.parametrize("columns", [("imagecol", "imagerow"), ("CenterX_global_px", "CenterY_global_px"), ("x", "y")])
def test_coordinates_in_obs(section, tmp_path, columns):
    xy = np.asarray(section.obsm["spatial"])
    section.obs[columns[0]], section.obs[columns[1]] = xy[:, 0], xy[:, 1]
    del section.obsm["spatial"]
    section.write_h5ad(tmp_path / "s.h5ad")
    read = hq.io.read_section(tmp_path / "s.h5ad", spatial_columns=columns)
    np.testing.assert_allclose(read.obsm["spatial"], xy)
    with pytest.raises(KeyError, match=f"spatial_columns={columns[0]},{columns[1]}"):
        hq.tl.spatial_domains(section, 2, progress=False)


def test_the_command_names_the_option(section, tmp_path, capsys):
    xy = np.asarray(section.obsm["spatial"])
    section.obs["imagerow"], section.obs["imagecol"] = xy[:, 1], xy[:, 0]
    del section.obsm["spatial"]
    section.write_h5ad(tmp_path / "s.h5ad")
    arguments = ["domains", str(tmp_path / "s.h5ad"), "-k", "2", "-o", str(tmp_path / "o"), "--denoise", "none"]
    arguments += ["--levels", "none", "--stability", "none"]
    assert run(arguments) == 2
    assert "--spatial-columns imagecol,imagerow." in " ".join(capsys.readouterr().err.split())
    assert run([*arguments, "--spatial-columns", "imagecol,imagerow"]) == 0
    assert (tmp_path / "o" / "domains.csv").exists()


def test_columns_that_are_not_there(section, tmp_path):
    section.write_h5ad(tmp_path / "s.h5ad")
    with pytest.raises(KeyError, match=r"'u', 'v' not in adata\.obs"):
        hq.io.read_section(tmp_path / "s.h5ad", spatial_columns=("u", "v"))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("sdimx", "sdimy"), ("global.x", "global.y"), ("stage_x_um", "stage_y_um"), ("Centroid X µm", "Centroid Y µm"),
        ("array_column", "array_row"), ("tissue_col_px", "tissue_row_px"), ("posX", "posY"),
    ],
)  # fmt: skip
def test_names_that_differ_in_the_axis_alone(section, x, y):
    xy = np.asarray(section.obsm["spatial"])
    section.obsm["spatial"] = pd.DataFrame({y: xy[:, 1], x: xy[:, 0]}, index=section.obs_names)
    np.testing.assert_array_equal(check_spatial(section), xy)
    assert coordinate_columns(["n_counts", y, "leiden", "umap_x", "umap_y", x]) == (x, y)
    del section.obsm["spatial"]
    section.obs[y], section.obs[x] = xy[:, 1], xy[:, 0]
    with pytest.raises(KeyError, match=f"spatial_columns={x},{y} "):
        check_spatial(section)


@pytest.mark.parametrize(
    "names", [["umap_x", "umap_y"], ["min_x", "max_x", "min_y", "max_y"], ["x", "row"], ["sex", "y"]]
)
def test_names_that_do_not_say(names):
    assert coordinate_columns(names) is None


@pytest.mark.parametrize("names", [["sdimz", "sdimy", "sdimx"], ["z", "y", "x"], ["global.y", "global.z", "global.x"]])
def test_depth_comes_last(section, names):
    xyz = np.column_stack([section.obsm["spatial"], np.arange(section.n_obs)])
    values = {name: xyz[:, "xyz".index(name[-1])] for name in names}
    section.obsm["spatial"] = pd.DataFrame(values, index=section.obs_names)
    np.testing.assert_array_equal(check_spatial(section), xyz)


@pytest.mark.parametrize("key", ["X_spatial", "coords", "spatial_coords", "X_xy", "centroids"])
def test_another_key_is_named(section, tmp_path, capsys, key):
    section.obsm["X_umap"] = section.obsm["X_spatial_umap"] = np.ones((section.n_obs, 2))
    section.obsm["spatial_pca"] = np.ones((section.n_obs, 30))
    section.obsm[key] = section.obsm.pop("spatial")
    line = f"adata.obsm['spatial'] = adata.obsm['{key}']."
    with pytest.raises(KeyError) as caught:
        hq.tl.spatial_domains(section, 2, progress=False)
    assert f"seem to be in obsm['{key}']: pass spatial_key='{key}', or set {line}" in str(caught.value)
    section.write_h5ad(tmp_path / "s.h5ad")
    out = ["-q", "-o", str(tmp_path / "o")]
    assert run(["domains", str(tmp_path / "s.h5ad"), "-k", "2", *out]) == 2
    assert f"pass --spatial-key {key}, or set {line}" in capsys.readouterr().err
    (tmp_path / "samples.csv").write_text("section,counts\na,s.h5ad\n")
    for command in (["domains", "-k", "2"], ["train", "--method", "mean"], ["evaluate", "--methods", "mean"]):
        assert run([command[0], str(tmp_path / "samples.csv"), *command[1:], *out]) == 2
        told = capsys.readouterr().err
        assert f"seem to be in obsm['{key}']: set {line.rstrip('.')}" in told
        assert "--spatial-key" not in told


def test_columns_with_blanks_are_quoted_for_the_shell(section):
    section.obs[["Centroid X", "Centroid Y"]] = section.obsm.pop("spatial")
    with at_a_command(), pytest.raises(KeyError) as caught:
        hq.tl.spatial_domains(section, 2, progress=False)
    assert str(caught.value).endswith(" Spot centres seem to be in obs: --spatial-columns 'Centroid X,Centroid Y'.")


def as_table(adata, first="y", second="x", key="spatial"):
    swapped = np.asarray(adata.obsm.pop("spatial"))[:, ::-1]
    adata.obsm[key] = pd.DataFrame(swapped, index=adata.obs_names, columns=[first, second])
    return adata


def test_a_model_takes_a_table_as_it_takes_the_array(section, tmp_path):
    """A network sees coordinates in the graph, in tiles, in the digest, and in the names of domains."""
    config = hq.models.SpaMaskConfig(max_epochs=2, n_hidden=16, n_latent=8, n_pcs=8, tile_spots=60)
    found = {}
    for name, adata in {"array": section.copy(), "table": as_table(section.copy(), "row", "col")}.items():
        model = hq.models.SpaMask(config).fit(adata, progress=False)
        embedding = np.asarray(model.embed(adata, out=tmp_path / f"{name}.npy"))
        adata.obsm["X_e"] = embedding
        hq.tl.cluster_mixture(adata, 2, use_rep="X_e")
        found[name] = (model.training_facts["digest"], embedding, list(adata.obs["domain"]))
    assert found["array"][0] == found["table"][0]
    np.testing.assert_array_equal(found["array"][1], found["table"][1])
    assert found["array"][2] == found["table"][2]


@pytest.mark.parametrize("key", ["spatial", "X_spatial"])
def test_domains_of_a_table(section, tmp_path, key):
    right, table = section.copy(), as_table(section.copy(), key=key)
    config = hq.models.SpatialFactorsConfig(n_pcs=8)
    for adata, spatial_key in ((right, "spatial"), (table, key)):
        hq.tl.spatial_domains(adata, 2, config=config, spatial_key=spatial_key, denoise=False, progress=False)
    assert list(right.obs["domain"]) == list(table.obs["domain"])
    np.testing.assert_array_equal(pl_points(table, key), right.obsm["spatial"])
    hq.report.write_report(table, tmp_path / "report.html", spatial_key=key)


def pl_points(adata, key):
    axes = hq.pl.embedding(adata, basis=key, color="domain")
    drawn = np.concatenate([dots.get_offsets() for dots in axes.collections])
    assert len(drawn) == adata.n_obs
    first = np.lexsort(np.asarray(drawn).T)
    places = check_spatial(adata, key)
    np.testing.assert_allclose(np.asarray(drawn)[first], places[np.lexsort(places.T)])
    return places


def test_clustering_needs_no_places(section):
    """A table that does not say what is x is no error where nothing depends on it."""
    section.obsm["X_e"] = np.asarray(section.X.todense())
    section.obsm["spatial"] = pd.DataFrame(section.obsm["spatial"], index=section.obs_names, columns=["a", "b"])
    hq.tl.cluster_kmeans(section, 2, use_rep="X_e")
    assert section.obs["domain"].nunique() == 2


@pytest.mark.parametrize("key", ["spatial", "xy"])
def test_sections_are_joined_each_by_its_own_columns(section, key):
    right = np.asarray(section.obsm["spatial"])
    array = section.copy()
    array.obsm[key] = array.obsm.pop("spatial")
    parts = {
        "array": array,
        "y first": as_table(section.copy(), key=key),
        "row": as_table(section.copy(), "row", "col", key),
        "numbered": as_table(section.copy(), "1", "0", key),
    }
    parts["numbered"].obsm[key] = pd.DataFrame(right, index=section.obs_names, columns=[0, 1])
    joint = hq.io.concat_sections(parts, spatial_key=key)
    assert isinstance(joint.obsm[key], np.ndarray)
    np.testing.assert_array_equal(joint.obsm[key], np.concatenate([right] * 4))
    tables = {name: parts[name] for name in ("y first", "row")}
    np.testing.assert_array_equal(hq.io.concat_sections(tables, spatial_key=key).obsm[key], np.concatenate([right] * 2))
