"""The small picture that maps are drawn on: where its pixels lie, and whose picture is kept."""

import numpy as np
import pytest
from anndata import AnnData

import histoquilt as hq
from histoquilt.draw._tissue import tissue_image

PINK, GLASS = (205, 130, 185), (243, 242, 244)


@pytest.fixture
def square() -> np.ndarray:
    """Tissue from x 301 to 901 and y 201 to 701, on an image of 1,501 x 1,103 pixels: nothing divides evenly."""
    image = np.full((1103, 1501, 3), GLASS, dtype=np.uint8)
    image[201:701, 301:901] = PINK
    return image


def corners(adata: AnnData) -> tuple[list[float], tuple[int, ...]]:
    """Left, right, top and bottom of the tissue in coordinate units, as a plot places them."""
    shown = tissue_image(adata)
    rows, columns = np.nonzero(shown.pixels[..., 1] < 190)
    edges = [columns.min(), columns.max() + 1, rows.min(), rows.max() + 1]
    return [edge / shown.scale for edge in edges], shown.pixels.shape


@pytest.mark.parametrize("mpp", [0.5, 2.0, 8.0])
def test_a_grid_lies_on_its_picture(square, mpp):
    """At each mpp the mask is coarser or finer than the picture, which is made of it or of the slide."""
    spots = hq.im.grid_spots(square, mpp=mpp, pitch_um=100 * mpp)
    found, shape = corners(spots)
    assert shape == (440, 600, 3)
    np.testing.assert_allclose(found, [301, 901, 201, 701], atol=3)
    assert spots.uns["spatial"]["array"]["scalefactors"]["spot_diameter_fullres"] == pytest.approx(100)


def test_coordinates_of_a_larger_image_than_the_one_at_hand(square):
    adata = AnnData(obsm={"spatial": np.array([[1204.0, 804.0], [3000.0, 2000.0]])})
    hq.im.attach_picture(adata, hq.io.ArraySlide(square, name="S1"), image_scale=4.0)
    assert list(adata.uns["spatial"]) == ["S1"]
    np.testing.assert_allclose(corners(adata)[0], [1204, 3604, 804, 2804], atol=12)


def test_small_images_are_not_enlarged_and_pictures_not_replaced(square):
    adata = AnnData(obsm={"spatial": np.array([[10.0, 10.0], [20.0, 30.0]])})
    hq.im.attach_picture(adata, square[:200, :300])
    before = adata.uns["spatial"]
    assert tissue_image(adata).pixels.shape == (200, 300, 3)
    hq.im.attach_picture(adata, square)
    assert adata.uns["spatial"] is before
    assert list(before) == ["array"]


def test_a_picture_needs_spots_and_a_scale(square):
    with pytest.raises(KeyError, match="Spot centres are needed"):
        hq.im.attach_picture(AnnData(np.ones((2, 1))), square)
    adata = AnnData(obsm={"spatial": np.eye(2)})
    with pytest.raises(ValueError, match="image_scale must be positive"):
        hq.im.attach_picture(adata, square, image_scale=0)
    with pytest.raises(TypeError, match="Expected an opened slide"):
        hq.im.attach_picture(adata, "slide.svs")
