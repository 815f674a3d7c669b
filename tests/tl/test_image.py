"""Domains with the image: what it adds to the genes, and what cannot be."""

import warnings

import numpy as np
import pytest
from anndata import AnnData, read_h5ad
from PIL import Image

import histoquilt as hq
from histoquilt.metrics import ari
from histoquilt.models import DomainModel, SpaMask, SpatialFactors, SpatialFactorsConfig

ROLES = ["edges", "features", "only"]
GENES = SpatialFactorsConfig(n_pcs=50)


@pytest.fixture(scope="module")
def _section() -> AnnData:
    """Four domains; an image embedding that shows all of them with some noise."""
    adata = hq.datasets.toy_section(n_spots=500, n_genes=200, n_domains=4, seed=1)
    rng = np.random.default_rng(0)
    shown = np.eye(4)[adata.obs["domain_true"].cat.codes] @ rng.normal(size=(4, 30))
    adata.obsm["X_image"] = (shown + rng.normal(size=shown.shape)).astype(np.float32)
    return adata


@pytest.fixture
def section(_section: AnnData) -> AnnData:
    return _section.copy()


def found(adata: AnnData, image=None, **more) -> float:
    more.setdefault("denoise", False)
    key = {} if image is None else {"image_key": "X_image"}
    hq.tl.spatial_domains(adata, 4, image=image, config=GENES, progress=False, **key, **more)
    return ari(adata.obs["domain_true"], adata.obs["domain"])


@pytest.mark.parametrize("role", ROLES)
def test_an_image_that_shows_the_domains_helps(section, role):
    without = found(section)
    assert found(section, role) > without + 0.05
    record = section.uns["histoquilt"]["spatial_factors"]["config"]
    assert (record["image"], record["image_keys"]) == (role, ["X_image"])


def test_a_border_that_the_image_alone_shows(section):
    """Counts are exchanged among the spots of two domains: no gene knows their border."""
    codes = section.obs["domain_true"].cat.codes.to_numpy()
    order, pair = np.arange(500), np.flatnonzero(codes < 2)
    order[pair] = np.random.default_rng(0).permutation(pair)
    section.X = section.X[order]
    without = found(section)
    assert found(section, "features") > without + 0.1


def test_an_image_that_shows_nothing_changes_nothing(section):
    section.obsm["X_image"] = np.random.default_rng(0).normal(size=(500, 30))
    without = found(section)
    labels = section.obs["domain"].astype(str)
    for role in ("edges", "features"):
        with pytest.warns(UserWarning, match="the image is not used"):
            assert found(section, role) == without
        assert (section.obs["domain"].astype(str) == labels).all()


def test_no_image_is_no_change(section):
    """An embedding in obsm is not looked at unless it is asked for."""
    found(section)
    labels, embedding = section.obs["domain"].copy(), section.obsm["X_domains"].copy()
    del section.obsm["X_image"]
    found(section)
    np.testing.assert_array_equal(embedding, section.obsm["X_domains"])
    assert (labels == section.obs["domain"]).all()
    assert set(section.obsp["spatial_connectivities"].data) == {1.0}


def test_edges_are_written_with_their_weights_and_can_be_stored(section, tmp_path):
    found(section, "edges")
    weights = section.obsp["spatial_connectivities"]
    assert weights.data.mean() == pytest.approx(1, rel=1e-5)
    assert weights.data.std() > 0.1
    assert section.uns["spatial_neighbors"]["params"]["weights"] == "image: X_image"
    section.write_h5ad(tmp_path / "a.h5ad")
    again = read_h5ad(tmp_path / "a.h5ad")
    assert list(again.uns["histoquilt"]["spatial_factors"]["config"]["image_keys"]) == ["X_image"]


def test_domains_of_a_slide_that_was_never_sequenced(section):
    bare = AnnData(obs=section.obs, obsm={key: section.obsm[key] for key in ("spatial", "X_image")})
    assert found(bare, "only", denoise=True) == found(section, "only")
    assert "denoised" not in bare.obsm


def test_sections_in_one_frame_keep_their_rows(section):
    section.obs["part"] = np.where(np.arange(500) % 2, "odd", "even")
    assert found(section, "only", section_key="part") > 0.5
    shuffled = section[np.random.default_rng(0).permutation(500)].copy()
    before = section.obs["domain"].copy()
    found(shuffled, "only", section_key="part")
    assert ari(before, shuffled.obs["domain"].reindex(section.obs_names)) > 0.9


@pytest.fixture(scope="module")
def slides(tmp_path_factory) -> dict[str, AnnData]:
    folder, sections = tmp_path_factory.mktemp("slides"), {}
    for name, (adata, image) in hq.datasets.toy_slides(2, 120, 60, 3, seed=0, mpp=4).items():
        Image.fromarray(image).save(folder / f"{name}.png")
        del adata.uns["spatial"]
        hq.io.attach_image(adata, folder / f"{name}.png")
        sections[name] = adata
    return sections


@pytest.mark.parametrize("role", ROLES)
def test_sections_of_a_study_are_embedded_by_one_encoder(slides, role):
    joint = hq.tl.integrate_sections(slides, 3, image=role, mixing=False, progress=False)
    assert joint.obsm["X_he_texture"].shape[0] == joint.n_obs
    assert all("X_he_texture" not in adata.obsm for adata in slides.values())
    [name] = {adata.obs["section"].iloc[0] for adata in [slides["s2"]]}
    alone = slides["s2"].copy()
    hq.tl.spatial_domains(alone, 3, image=role, progress=False)
    rows = (joint.obs["section"] == name).to_numpy()
    np.testing.assert_array_equal(joint.obsm["X_he_texture"][rows], alone.obsm["X_he_texture"])
    assert joint.obs["domain"].nunique() == 3


def test_a_section_of_a_study_without_an_image(slides):
    sections = {name: adata.copy() for name, adata in slides.items()}
    del sections["s2"].uns["histoquilt"]["image"]
    with pytest.raises(KeyError, match="Section 's2' has neither an image nor an image embedding"):
        hq.tl.integrate_sections(sections, 3, image="edges", progress=False)


def test_the_image_of_other_spots(slides):
    adata = slides["s1"].copy()
    adata.obsm["spatial"] = adata.obsm["spatial"] * 20
    with pytest.raises(ValueError, match="spots fall outside the image s1 "):
        hq.tl.spatial_domains(adata, 3, image="edges", progress=False)
    assert "domain" not in adata.obs


class _Own(DomainModel):
    """A model that knows nothing of images."""

    method = "own"
    config_class = SpatialFactorsConfig

    def fit(self, adata, **options):
        return self

    def embed(self, adata, *, links=None):
        return np.zeros((adata.n_obs, 2), np.float32)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"image": "nodes"}, ValueError, "image= is one of 'edges', 'features', 'only', got 'nodes'"),
        ({"image_key": "X_image"}, ValueError, "image_key= is of the image, which is not used. Pass image='edges'"),
        ({"encoder": "he_texture"}, ValueError, "encoder= is of the image, which is not used"),
        ({"image": "edges", "image_key": "X_image", "encoder": "he_texture"}, ValueError, "Choose one"),
        ({"image": "edges", "image_key": "X_he"}, KeyError, r"'X_he' is not in adata.obsm .*Pass image_key="),
        ({"image": "edges"}, KeyError, "neither an image nor an image embedding .*'X_image'.*image_key="),
        ({"image": "only", "image_key": "X_image", "use_rep": "X_image"}, ValueError, "both replace the genes"),
        ({"image": "only", "image_key": "X_image", "denoise": ["A"]}, ValueError, "image='only' replaces the genes"),
        ({"image": "edges", "model": SpaMask()}, ValueError, "SpaMask cannot use image='edges': .*'features'"),
        ({"image": "only", "model": _Own()}, ValueError, "_Own cannot use image='only': it makes its own features"),
    ],
)
def test_arguments_that_cannot_be(section, options, error, words):
    with pytest.raises(error, match=words):
        hq.tl.spatial_domains(section, 4, progress=False, **options)
    assert "domain" not in section.obs


def test_embeddings_with_nan(section):
    section.obsm["X_image"][7] = np.nan
    with pytest.raises(ValueError, match=r"obsm\['X_image'\] holds NaN or infinite values in 1 of 500 spots"):
        found(section, "features")


def test_the_model_that_was_passed_has_the_choice_in_its_config(section):
    model = SpatialFactors(GENES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hq.tl.spatial_domains(section, 4, model=model, image="features", image_key="X_image", progress=False)
    assert model.config.image_keys == ("X_image",)
    model.assign_domains(section, key_added="again")
    assert ari(section.obs["again"], section.obs["domain"]) > 0.8
