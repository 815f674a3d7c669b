"""Stain: colours recovered that were painted, slides made alike, numbers that tell slides apart."""

import numpy as np
import pytest

import histoquilt as hq
from histoquilt.datasets._histology import EOSIN, HAEMATOXYLIN


@pytest.fixture(scope="module")
def toy():
    return hq.datasets.toy_slide(150, 40, seed=0, mpp=2.0)


def restain(image: np.ndarray, stains: np.ndarray, glass: float = 230.0) -> np.ndarray:
    """The same tissue, stained by another laboratory: amounts by the painter's own colours, light by others."""
    painted = np.stack([HAEMATOXYLIN, EOSIN])
    amounts = np.maximum(-np.log(np.maximum(image, 1) / 243.0) @ np.linalg.pinv(painted), 0)
    return (glass * np.exp(-amounts @ stains)).clip(0, 255).astype(np.uint8)


PURPLE_RED = np.array([[0.9, 0.75, 0.35], [0.25, 0.8, 0.55]])


def cosine(a, b) -> float:
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def test_painted_colours_are_found(toy):
    colours = hq.im.fit_stain(toy[1])
    assert cosine(colours.haematoxylin, HAEMATOXYLIN) > 0.99
    assert cosine(colours.eosin, EOSIN) > 0.97
    assert abs(np.linalg.norm(colours.matrix, axis=1) - 1).max() < 1e-6
    assert min(colours.glass) > 235
    with_mpp = hq.im.fit_stain(toy[1], mpp=2.0)  # nuclei and what lies between them blend at 2 um per pixel
    assert cosine(with_mpp.haematoxylin, HAEMATOXYLIN) > 0.97


def test_two_stainings_of_one_tissue_become_alike(toy):
    image = toy[1]
    other = restain(image, PURPLE_RED)
    fitted = hq.im.fit_stain(other)
    assert cosine(fitted.haematoxylin, PURPLE_RED[0]) > 0.98
    before = np.abs(image.astype(int) - other).mean()
    after = np.abs(hq.im.normalise_stain(image).astype(int) - hq.im.normalise_stain(other)).mean()
    assert after < before / 3
    as_first = hq.im.normalise_stain(other, target=hq.im.fit_stain(image))
    assert np.abs(image.astype(int) - as_first).mean() < before / 3


def test_patches_are_normalised_as_their_slide(toy):
    adata, image = toy
    colours = hq.im.fit_stain(image)
    patches = hq.im.extract_patches(image, np.rint(adata.obsm["spatial"][:5]), mpp=2.0, field_um=128, out_px=64)
    whole = hq.im.normalise_stain(image, source=colours)
    x, y = np.rint(adata.obsm["spatial"][0]).astype(int)
    normal = hq.im.normalise_stain(patches, source=colours)
    np.testing.assert_array_equal(normal[0], whole[y - 32 : y + 32, x - 32 : x + 32])


def test_almost_white_patches_are_left_alone():
    glass = np.full((2, 32, 32, 3), 244, dtype=np.uint8)
    with pytest.warns(UserWarning, match="not normalised. Only 0 of 2,048 pixels are stained"):
        same = hq.im.normalise_stain(glass)
    np.testing.assert_array_equal(same, glass)
    assert same is not glass
    with_source = hq.im.normalise_stain(glass, source=hq.im.fit_stain(hq.datasets.toy_slide(100, 40, mpp=2.0)[1]))
    assert with_source.min() > 240  # glass stays glass


def test_statistics_by_hand():
    patches = np.full((2, 8, 8, 3), 255, dtype=np.uint8)
    patches[1, :, :4] = (127, 255, 63)  # densities ln 2, 0 and 2 ln 2 on half of it
    table = hq.im.stain_statistics(patches)
    assert (table.loc[0] == 0).all()
    log2 = np.log(2)
    np.testing.assert_allclose(table.loc[1, ["red_mean", "red_sd"]], [log2 / 2, log2 / 2], rtol=1e-5)
    np.testing.assert_allclose(table.loc[1, ["green_mean", "blue_sd", "stained"]], [0, log2, 0.5], atol=1e-5)


def test_statistics_tell_another_staining(toy):
    adata, image = toy
    here, there = (
        hq.im.stain_statistics(pixels, adata.obsm["spatial"], mpp=2.0) for pixels in (image, restain(image, PURPLE_RED))
    )
    assert here.shape == (150, 11)
    assert np.isfinite(here.to_numpy()).all()
    assert (np.abs(there.mean() - here.mean()) / here.std()).max() > 3
    patches = hq.im.extract_patches(image, adata.obsm["spatial"], mpp=2.0)
    np.testing.assert_array_equal(hq.im.stain_statistics(patches), here)


def test_what_cannot_be_measured_is_refused(toy):
    with pytest.raises(ValueError, match="too few to measure haematoxylin"):
        hq.im.fit_stain(np.full((64, 64, 3), 250, dtype=np.uint8))
    with pytest.raises(ValueError, match="centres_px and mpp are needed"):
        hq.im.stain_statistics(toy[1])
    with pytest.raises(ValueError, match="Patches must be uint8"):
        hq.im.stain_statistics(np.zeros((2, 8, 8, 3)))
    with pytest.raises(TypeError, match="extract_patches first"):
        hq.im.normalise_stain("slide.svs")


def test_an_opened_slide_needs_its_mpp(tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 64), "white").save(tmp_path / "a.png")
    with (
        hq.io.open_slide(tmp_path / "a.png") as slide,
        pytest.raises(ValueError, match="mpp is needed to read a at 2 um per pixel"),
    ):
        hq.im.fit_stain(slide)
