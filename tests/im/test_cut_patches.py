"""Pixels kept in a section, and what is recorded of them."""

import anndata as ad
import numpy as np
import pytest

import histoquilt as hq


@pytest.fixture(scope="module")
def toy():
    return hq.datasets.toy_slide(100, 40, seed=0, mpp=2.0)


@pytest.fixture
def section(toy):
    return toy[0].copy(), toy[1]


def test_patches_are_those_of_extract_patches_and_are_recorded(section, tmp_path):
    adata, image = section
    hq.im.cut_patches(adata, image, mpp=2.0, field_um=90.0, px=24)
    patches = hq.im.extract_patches(image, adata.obsm["spatial"], mpp=2.0, field_um=90.0, out_px=24)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    assert back.obsm["patches"].dtype == np.uint8
    np.testing.assert_array_equal(back.obsm["patches"].reshape(100, 24, 24, 3), patches)
    record = dict(back.uns["histoquilt"]["patches"])
    assert record.pop("histoquilt") == hq.__version__
    assert record == {"field_um": 90.0, "px": 24, "mpp": 2.0, "image_scale": 1.0, "n_padded": 0}
    np.testing.assert_array_equal(back.obsm["X_stain"], hq.im.stain_statistics(patches))
    assert back.uns["histoquilt"]["X_stain"]["input_mpp"] == 90 / 24


def test_a_reduced_image_gives_the_same_field(section):
    adata, image = section
    even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2].astype(float)
    half = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
    hq.im.cut_patches(adata, image, mpp=2.0, field_um=128.0, px=16, key_added="full")
    hq.im.cut_patches(adata, half, mpp=2.0, image_scale=2.0, field_um=128.0, px=16, key_added="half")
    assert np.abs(adata.obsm["full"].astype(float) - adata.obsm["half"]).mean() < 5


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"mpp": 0.0}, ValueError, "mpp must be positive"),
        ({"mpp": 2.0, "px": 0}, ValueError, "whole number of pixels, got 0"),
        ({"mpp": 2.0, "field_um": 2.0}, ValueError, "too few to show"),
        ({"mpp": 2.0, "image_scale": -1.0}, ValueError, "image_scale must be positive"),
        ({"mpp": 2.0, "image_scale": 0.1}, ValueError, r"of 100 spots fall outside the image.*pass image_scale=1"),
        ({"mpp": 2.0, "spatial_key": "nowhere"}, KeyError, "pass spatial_key="),
    ],
)
def test_what_cannot_be_cut_is_refused_and_nothing_is_written(section, arguments, error, words):
    adata, image = section
    with pytest.raises(error, match=words):
        hq.im.cut_patches(adata, image, **arguments)
    assert "patches" not in adata.obsm
