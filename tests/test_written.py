"""Results never replace what the user brought: it is kept under another name, once, with a warning."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix, eye

import histoquilt as hq
from histoquilt.study._written import is_ours, keep_foreign, write_result

QUICK = hq.models.SpatialFactorsConfig(n_pcs=10)


@pytest.fixture
def spots():
    """Four spots with labels and an embedding of somebody else."""
    return AnnData(
        obs=pd.DataFrame({"domain": pd.Categorical(["tumour", "tumour", "stroma", None])}, index=list("abcd")),
        obsm={"X_mine": np.arange(8.0).reshape(4, 2)},
        uns={"domain_colors": ["#ff0000", "#00ff00"], "table": pd.DataFrame({"a": [1]})},
    )


@pytest.fixture
def toy():
    adata = hq.datasets.toy_section(n_spots=150, n_genes=60, n_domains=2, seed=0)
    return adata


@pytest.fixture
def silent():
    """Turn a warning that something was kept into an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*was not written by histoquilt")
        yield


def find_domains(adata, **options):
    hq.tl.spatial_domains(adata, 2, config=QUICK, progress=False, **options)


def domains_and_markers(adata):
    find_domains(adata)
    hq.tl.domain_markers(adata)


def test_labels_of_the_user_are_kept_with_their_colours(spots):
    before = spots.obs["domain"].copy()
    with pytest.warns(
        UserWarning, match=r"obs\['domain'\] was not written by histoquilt.*kept as obs\['domain_before'\]"
    ):
        write_result(spots, "obs", "domain", pd.Categorical(list("1122")))
    assert spots.obs["domain"].tolist() == list("1122")
    pd.testing.assert_series_equal(spots.obs["domain_before"], before, check_names=False)
    assert spots.uns["domain_before_colors"] == ["#ff0000", "#00ff00"]
    assert "domain_colors" not in spots.uns


@pytest.mark.usefixtures("silent")
def test_our_own_is_replaced_silently_and_equal_values_stay(spots):
    write_result(spots, "obs", "new", [1, 2, 3, 4])
    write_result(spots, "obs", "new", [5, 6, 7, 8])
    write_result(spots, "obsm", "X_mine", np.arange(8.0).reshape(4, 2))
    assert not is_ours(spots, "obsm", "X_mine")
    assert spots.obs["new"].tolist() == [5, 6, 7, 8]
    assert list(spots.obs) == ["domain", "new"]
    assert list(spots.obsm) == ["X_mine"]


@pytest.mark.parametrize("slot", ["obsm", "uns", "obsp", "var", "layers"])
def test_every_slot(slot):
    held = {
        "obsm": np.ones((3, 2)),
        "uns": {"a": 1},
        "obsp": csr_matrix(eye(3)),
        "var": np.ones(2),
        "layers": np.ones((3, 2)),
    }[slot]
    adata = AnnData(np.zeros((3, 2), np.float32))
    getattr(adata, slot)["key"] = held
    with pytest.warns(UserWarning, match=rf"kept as {slot}\['key_before'\]"):
        write_result(adata, slot, "key", held * 2 if slot != "uns" else {"b": 2})
    assert set(getattr(adata, slot).keys()) >= {"key", "key_before"}
    assert is_ours(adata, slot, "key")
    assert not is_ours(adata, slot, "key_before")


def test_a_name_that_is_taken_gets_a_number(spots):
    spots.obs["domain_before"] = list("wxyz")
    with pytest.warns(UserWarning, match=r"kept as obs\['domain_before_2'\]"):
        keep_foreign(spots, "obs", "domain")
    assert spots.obs["domain_before"].tolist() == list("wxyz")
    assert spots.obs["domain_before_2"].iloc[0] == "tumour"


def test_what_is_kept_already_is_not_kept_twice(spots):
    spots.obs["domain_before"] = spots.obs["domain"].astype(object)
    with pytest.warns(UserWarning, match=r"kept as obs\['domain_before'\]"):
        keep_foreign(spots, "obs", "domain")
    assert list(spots.obs) == ["domain", "domain_before"]


def test_the_scale_of_a_matrix_goes_with_it(spots):
    spots.uns["histoquilt"] = {"scale": {"X_mine": "counts"}}
    with pytest.warns(UserWarning, match="X_mine_before"):
        keep_foreign(spots, "obsm", "X_mine")
    assert spots.uns["histoquilt"]["scale"] == {"X_mine_before": "counts"}
    assert list(spots.obsm) == ["X_mine_before"]


@pytest.mark.parametrize(
    ("record", "slot", "key"),
    [
        ({"domain": {"method": "mixture EEE"}}, "obs", "domain"),
        ({"regions": {"n_domains": 3}}, "obs", "regions_confidence"),
        ({"spamask": {}}, "obsm", "X_spamask"),
        ({"spamask": {}}, "uns", "domain_markers"),
        ({"domain": {"n_networks": 1, "use_rep": "X_new"}}, "obsm", "X_new"),
        ({"X_stain": {"field_um": 112.0}}, "obsm", "X_stain"),
        ({"mixing": pd.DataFrame()}, "obsm", "X_harmony"),
        ({"alignment": {"s1": {}}}, "obsm", "spatial_aligned"),
    ],
)
def test_results_of_earlier_versions_are_ours(record, slot, key):
    adata = AnnData(np.zeros((3, 2), np.float32), uns={"histoquilt": record})
    getattr(adata, slot)[key] = np.ones((3, 2))[:, 0] if slot == "obs" else np.ones((3, 2))
    assert is_ours(adata, slot, key)
    adata.uns["histoquilt"] = {"coordinates": {"unit": "pixel"}, "scale": {}}
    assert not is_ours(adata, slot, key)


def test_everything_that_domains_write(toy):
    toy.obs["domain"], toy.obs["domain_confidence"] = "tumour", 0.5
    toy.obsm["X_domains"], toy.obsm["denoised"] = np.ones((150, 3)), np.ones((150, 2))
    toy.uns["domain_markers"] = {"1": ["KRT5"]}
    toy.obsp["spatial_connectivities"] = csr_matrix(eye(150))
    with pytest.warns(UserWarning, match="was not written by histoquilt") as caught:
        domains_and_markers(toy)
    said = [str(one.message) for one in caught if "was not written" in str(one.message)]
    assert len(said) == 6
    assert (toy.obs["domain_before"] == "tumour").all()
    assert (toy.obs["domain_confidence_before"] == 0.5).all()
    assert toy.obsm["X_domains_before"].shape == (150, 3)
    assert isinstance(toy.obsm["denoised"], pd.DataFrame)
    assert isinstance(toy.obsm["denoised_before"], np.ndarray)
    assert toy.uns["domain_markers_before"] == {"1": ["KRT5"]}
    assert toy.obsp["spatial_connectivities_before"].nnz == 150


def test_denoised_values_of_the_user_are_not_removed(toy):
    toy.obsm["denoised"] = np.ones((150, 2))
    with pytest.warns(UserWarning, match=r"kept as obsm\['denoised_before'\]"):
        find_domains(toy, denoise=False)
    assert "denoised" not in toy.obsm
    assert toy.obsm["denoised_before"].shape == (150, 2)


def test_a_second_run_of_everything_is_silent(toy, tmp_path):
    toy.obs["domain"] = "tumour"

    def everything(adata):
        find_domains(adata)
        hq.tl.domain_markers(adata)
        hq.tl.spatially_variable_genes(adata)
        hq.tl.meta_genes(adata, max_steps=1)
        hq.tl.cluster_kmeans(adata, 2, key_added="means")
        hq.tl.refine_domains(adata, key_added="refined")
        hq.tl.umap(adata)

    with pytest.warns(UserWarning, match="domain_before"):
        everything(toy)
    hq.io.write_h5ad(toy, tmp_path / "a.h5ad")
    again = hq.io.read_h5ad(tmp_path / "a.h5ad")
    names = {slot: set(getattr(again, slot)) for slot in ("obs", "obsm", "obsp", "uns", "var")}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*was not written by histoquilt")
        everything(again)
    assert names == {slot: set(getattr(again, slot)) for slot in names}
    assert (again.obs["domain_before"] == "tumour").all()


@pytest.mark.parametrize("slot", ["var", "uns", "obsm"])
def test_other_results(toy, slot):
    find_domains(toy, denoise=False)
    run, key, mine = {
        "var": (hq.tl.spatially_variable_genes, "moran_i", np.arange(60.0)),
        "uns": (hq.tl.meta_genes, "meta_genes", {"mine": 1}),
        "obsm": (hq.tl.umap, "X_umap", np.ones((150, 2))),
    }[slot]
    getattr(toy, slot)[key] = mine
    with pytest.warns(UserWarning, match=rf"kept as {slot}\['{key}_before'\]"):
        run(toy)
    assert f"{key}_before" in getattr(toy, slot)


def test_labels_that_are_refined_in_place_are_kept(toy):
    labels = np.where(np.arange(150) % 11 == 0, "b", "a")
    labels[100:] = "b"
    toy.obs["annotation"] = labels
    with pytest.warns(UserWarning, match="annotation_before"):
        hq.tl.refine_domains(toy, domain_key="annotation")
    assert toy.obs["annotation_before"].tolist() == labels.tolist()


def test_a_graph_that_squidpy_describes_is_replaced_as_squidpy_does(toy):
    hq.gr.knn_graph(toy, 4)
    del toy.uns["histoquilt"]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*was not written by histoquilt")
        hq.gr.knn_graph(toy, 6)
    assert set(toy.obsp) == {"spatial_connectivities", "spatial_distances"}


@pytest.mark.parametrize("links", ["expression", "stitched"])
def test_a_study_keeps_labels_and_takes_ours_for_ours(links):
    two = hq.datasets.toy_section(n_spots=300, n_genes=60, n_domains=2, n_sections=2, seed=0)
    if links == "stitched":  # the same tissue twice, so that one spot stands for two
        two.obsm["spatial_aligned"] = two.obsm["spatial"]
    two.obs["domain"] = pd.Categorical(np.where(np.arange(two.n_obs) < 50, "tumour", "stroma"))
    options = {"links": links, "config": QUICK, "progress": False, "mixing": False}
    with pytest.warns(UserWarning, match=r"obs\['domain'\] was not written by histoquilt"):
        joint = hq.tl.integrate_sections(two, 2, **options)
    assert joint.obs["domain_before"].tolist() == two.obs["domain"].tolist()
    parts = hq.io.split_sections(joint)
    assert all("domain_before" in part.obs for part in parts.values())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*was not written by histoquilt")
        again = hq.tl.integrate_sections(parts, 2, **options)
    assert set(again.obs) == set(joint.obs)
    assert again.obs["domain_before"].tolist() == two.obs["domain"].tolist()


def test_a_column_named_section_that_names_no_sections_is_kept(toy):
    other = toy.copy()
    toy.obs["section"] = np.where(np.arange(150) < 9, "rim", "core")
    with pytest.warns(UserWarning, match=r"kept as obs\['section_before'\]"):
        joint = hq.io.concat_sections({"a": toy, "b": other})
    assert joint.obs["section_before"].iloc[:150].tolist() == toy.obs["section"].tolist()


def test_assigned_domains_and_a_table_of_ours(toy):
    model = hq.models.SpatialFactors(QUICK)
    hq.tl.spatial_domains(toy.copy(), 2, model=model, progress=False)
    toy.obs["domain"] = "tumour"
    with pytest.warns(UserWarning, match="domain_before"):
        model.assign_domains(toy)
    assert (toy.obs["domain_before"] == "tumour").all()


def test_stain_and_embedding_of_an_image():
    adata, slide = hq.datasets.toy_slide(n_spots=100, mpp=4.0)
    adata.obsm["X_stain"] = adata.obsm["X_he_texture"] = np.ones((adata.n_obs, 2))
    with pytest.warns(UserWarning, match="was not written by histoquilt") as caught:
        hq.im.embed_patches(adata, slide, mpp=4.0, field_um=112)
    assert sum("was not written" in str(one.message) for one in caught) == 2
    assert {"X_stain_before", "X_he_texture_before"} <= set(adata.obsm)


def test_coordinates_that_columns_replace_are_kept(toy, tmp_path):
    toy.obs["x"], toy.obs["y"] = toy.obsm["spatial"].T + 7.0
    toy.write_h5ad(tmp_path / "a.h5ad")
    with pytest.warns(UserWarning, match=r"kept as obsm\['spatial_before'\]"):
        read = hq.io.read_section(tmp_path / "a.h5ad", spatial_columns=("x", "y"))
    np.testing.assert_array_equal(read.obsm["spatial_before"], toy.obsm["spatial"])
    np.testing.assert_array_equal(read.obsm["spatial"], toy.obs[["x", "y"]])


def test_the_record_survives_a_file(spots, tmp_path):
    write_result(spots, "obs", "regions", pd.Categorical(list("1122")))
    hq.io.write_h5ad(
        AnnData(np.ones((4, 2)), obs=spots.obs, uns={"histoquilt": spots.uns["histoquilt"]}), tmp_path / "a.h5ad"
    )
    assert is_ours(ad.read_h5ad(tmp_path / "a.h5ad"), "obs", "regions")


def test_places_of_sections():
    two = hq.datasets.toy_section(n_spots=300, n_genes=30, n_domains=2, n_sections=2, seed=0)
    two.obs["x_um"], two.obs["y_um"] = (two.obs["section"] == "s2") * 5000.0, 0.0
    two.obsm["spatial_aligned"] = np.ones((two.n_obs, 2))
    with pytest.warns(UserWarning, match=r"kept as obsm\['spatial_aligned_before'\]"):
        hq.tl.place_sections(two)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*was not written by histoquilt")
        hq.tl.place_sections(two)
    assert (two.obsm["spatial_aligned_before"] == 1).all()


def test_a_prediction_keeps_columns_of_its_section():
    sections = [hq.datasets.toy_section(n_spots=120, n_genes=50, n_domains=2, seed=0) for _ in "abc"]
    for number, adata in enumerate(sections):
        noise = np.random.default_rng(number).normal(size=(adata.n_obs, 2))
        adata.obsm["X_image"] = np.eye(2)[adata.obs["domain_true"].cat.codes] + 0.3 * noise
    named = dict(zip("abc", sections, strict=True))
    model = hq.models.RidgeOnEmbedding().fit({name: named[name] for name in "ab"}, use_rep="X_image")
    named["c"].obs["out_of_distribution"] = "artefact"
    with pytest.warns(UserWarning, match=r"kept as obs\['out_of_distribution_before'\]"):
        predicted = model.predict(named["c"])
    assert predicted.obs["out_of_distribution"].dtype == bool
    assert (predicted.obs["out_of_distribution_before"] == "artefact").all()
    assert "out_of_distribution_before" not in named["c"].obs
