"""The image of a section: found in what the section knows, checked, and embedded once."""

import numpy as np
import pytest
from anndata import AnnData
from PIL import Image

from histoquilt.datasets import toy_slide
from histoquilt.im import embed_patches, embed_section, embedding_keys_of, get_encoder
from histoquilt.io import attach_image
from histoquilt.study import Section

FIELDS = (100.0, 50.0, 400.0)


@pytest.fixture(scope="module")
def slide() -> tuple[AnnData, np.ndarray]:
    return toy_slide(n_spots=60, n_genes=20, n_domains=2, seed=0, mpp=4)


@pytest.fixture
def section(slide) -> AnnData:
    adata = slide[0].copy()
    del adata.uns["spatial"]
    return adata


@pytest.fixture
def file(slide, tmp_path):
    path = tmp_path / "he.png"
    Image.fromarray(slide[1]).save(path)
    return path


def keys_of(adata: AnnData, **more):
    return embedding_keys_of({"": Section("", adata)}, **more)


def test_of_several_fields_the_one_nearest_to_the_spot_distance(section, slide):
    embed_patches(section, slide[1], mpp=4, field_um=FIELDS[::-1], progress=False)
    assert keys_of(section) == ("X_he_texture_100um",)
    assert keys_of(section, image_key="X_he_texture_50um") == ("X_he_texture_50um",)
    assert keys_of(section, image_key=["X_he_texture_50um", "X_stain"]) == ("X_he_texture_50um", "X_stain")
    assert keys_of(section, encoder="he_texture") == ("X_he_texture_100um",)


def test_embeddings_of_another_encoder_are_not_those_asked_for(section, slide, file):
    embed_patches(section, slide[1], mpp=4, field_um=100, progress=False)
    attach_image(section, file)
    assert keys_of(section, encoder="onnx:other.onnx") is None


def test_sections_with_embeddings_of_different_encoders_are_embedded_again(section, slide, file):
    other = section.copy()
    for adata in (section, other):
        embed_patches(adata, slide[1], mpp=4, field_um=100, progress=False)
        attach_image(adata, file)
    both = {"a": Section("a", section), "b": Section("b", other)}
    assert embedding_keys_of(both) == ("X_he_texture",)
    other.uns["histoquilt"]["X_he_texture"]["digest"] = "another"
    assert embedding_keys_of(both) is None


def test_no_image_and_no_embedding(section):
    section.obsm["X_pca"] = np.ones((60, 2))
    with pytest.raises(KeyError, match=r"This section has neither .*obsm holds 'spatial', 'X_pca'.*attach_"):
        keys_of(section)
    with pytest.raises(KeyError, match="Section 'a' has neither"):
        embedding_keys_of({"a": Section("a", section)})
    with pytest.raises(KeyError, match=r"'X_he' is not in adata.obsm \(found: 'spatial', 'X_pca'\)\. Pass image_key="):
        keys_of(section, image_key="X_he")


def test_an_attached_image_is_embedded_with_the_spot_distance(section, file, slide):
    attach_image(section, file)
    assert keys_of(section) is None
    found = embed_section(Section("", section), encoder=get_encoder("he_texture"), progress=False)
    assert found.uns["histoquilt"]["X_he_texture"]["field_um"] == 100
    assert "X_he_texture" not in section.obsm
    embed_patches(section, slide[1], mpp=4, field_um=100, progress=False)
    np.testing.assert_array_equal(found.obsm["X_he_texture"], section.obsm["X_he_texture"])


@pytest.mark.parametrize("as_floats", [False, True])
def test_an_image_in_uns_is_embedded(slide, as_floats):
    adata = slide[0].copy()
    [library] = adata.uns["spatial"].values()
    if as_floats:
        library["images"]["lowres"] = library["images"]["lowres"] / np.float32(255)
    assert keys_of(adata) is None
    with pytest.warns(UserWarning, match="enlarged"):  # 17 pixels of a picture of 600
        found = embed_section(Section("", adata), encoder=get_encoder("he_texture"), progress=False)
    assert found.obsm["X_he_texture"].shape[0] == 60
    assert np.isfinite(found.obsm["X_he_texture"]).all()


def test_spots_outside_the_image(section, file):
    attach_image(section, file)
    section.obsm["spatial"] = section.obsm["spatial"] + 5000
    with pytest.raises(ValueError, match="60 of 60 spots fall outside the image he "):
        keys_of(section)


def test_spots_on_the_glass(section, file, slide):
    """All lie inside the image, and most of them beside the tissue."""
    wide = np.full((slide[1].shape[0], 3 * slide[1].shape[1], 3), 245, np.uint8)
    wide[:, : slide[1].shape[1]] = slide[1]
    Image.fromarray(wide).save(file)
    section.obsm["spatial"] = section.obsm["spatial"] + [1.5 * slide[1].shape[1], 0]
    attach_image(section, file)
    assert keys_of(section) is None
    with pytest.raises(ValueError, match="Only 0% of 60 spots lie on the tissue of he "):
        embed_section(Section("", section), encoder=get_encoder("he_texture"), progress=False)


def test_a_picture_of_coordinates_in_microns(slide):
    adata = slide[0].copy()
    adata.uns["histoquilt"]["coordinates"] = {"unit": "micron"}
    with pytest.raises(ValueError, match="coordinates of this section are microns, and its image is in pixels"):
        embed_section(Section("", adata), encoder=get_encoder("he_texture"), progress=False)
