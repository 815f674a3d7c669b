"""Spots that lie off the tissue: refused, and what would fit is named."""

import re

import anndata as ad
import numpy as np
import pytest

import histoquilt as hq


@pytest.fixture(scope="module")
def scan():
    """Tissue at the lower right of a large scan; spots in full-resolution pixels."""
    adata, picture = hq.datasets.toy_slide(n_spots=150, n_genes=10, seed=0, mpp=4)
    height, width = picture.shape[:2]
    image = np.full((2 * height, 3 * width, 3), 242, np.uint8)
    image[height:, 2 * width :] = picture
    adata.obsm["spatial"] = adata.obsm["spatial"] + [2 * width, height]
    del adata.uns["spatial"]
    return adata, image


def moved(adata, spatial):
    adata = adata.copy()
    adata.obsm["spatial"] = spatial
    return adata


@pytest.mark.parametrize("factor", [0.29, 0.08, 0.6])
def test_the_scale_is_estimated(scan, factor):
    adata, image = scan
    with pytest.raises(ValueError, match=r"Only \d+% of 150 spots lie on the tissue.*image_scale=") as told:
        hq.im.check_on_tissue(moved(adata, adata.obsm["spatial"] * factor), image, mpp=4, strict=True)
    assert float(re.search(r"image_scale=([\d.]+)", str(told.value))[1]) == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize("name", ["tissue_hires_scalef", "tissue_lowres_scalef"])
def test_the_sections_own_factors_come_first(scan, name):
    adata, image = scan
    wrong = moved(adata, adata.obsm["spatial"] * 0.3)
    wrong.uns["spatial"] = {"lib": {"images": {}, "scalefactors": {name: 0.3}}}
    with pytest.raises(ValueError, match=rf"image_scale=0\.3 \({name} of this section\)"):
        hq.im.check_on_tissue(wrong, image, mpp=4, strict=True)


def test_a_usual_hires_image_is_recognised(scan):
    adata, image = scan
    factor = 600 / max(image.shape)
    with pytest.raises(ValueError, match="coordinates of a lowres image"):
        hq.im.check_on_tissue(moved(adata, adata.obsm["spatial"] * factor), image, mpp=4, strict=True)


def test_exchanged_axes_are_told_even_where_some_lie_on_tissue(scan):
    adata, image = scan
    image = np.vstack([image, np.full((image.shape[1] - image.shape[0], image.shape[1], 3), 242, np.uint8)])
    exchanged = moved(adata, adata.obsm["spatial"][:, ::-1])
    with pytest.raises(ValueError, match="with x and y exchanged: obsm\\['spatial'\\] must be \\(x, y\\)"):
        hq.im.check_on_tissue(exchanged, image, mpp=4, strict=True)
    with pytest.warns(UserWarning, match="x and y exchanged"):
        hq.im.check_on_tissue(exchanged, image, mpp=4)
    strip = hq.datasets.toy_slide(n_spots=150, n_genes=10, seed=0, mpp=4)
    assert hq.im.check_on_tissue(*strip, mpp=4, strict=True).fraction > 0.95


def test_another_image_has_no_scale_that_fits(scan):
    adata, image = scan
    rng = np.random.default_rng(0)
    scattered = moved(adata, rng.uniform(0, 1, (150, 2)) * image.shape[1::-1])
    with pytest.raises(ValueError, match=r"No image_scale would change that\. Check that it is the image"):
        hq.im.check_on_tissue(scattered, image, mpp=4, strict=True)


REAL = [
    *((f"mob/MOB{number}", f"mob/MOB{number}.jpg") for number in (1, 2)),
    *((f"mob_stahl/Rep{number}", f"mob_stahl/Rep{number}.jpg") for number in (1, 2, 11)),
    ("als_spinal_cord/CN51_C2_1", "als_spinal_cord/CN51_C2_HE.jpg"),
    ("als_spinal_cord/CN63_C1", "als_spinal_cord/CN63_C1_HE.jpg"),
]


@pytest.mark.real_data
@pytest.mark.parametrize(("section", "image"), REAL)
def test_real_sections_pass_with_a_margin(data_dir, section, image):
    adata = ad.read_h5ad(data_dir / f"{section}.h5ad")
    mpp = adata.uns["histoquilt"]["coordinates"].get("mpp") if "histoquilt" in adata.uns else None
    mpp = mpp or hq.io.estimate_mpp(adata)
    with hq.io.open_slide(data_dir / image) as slide:
        assert hq.im.check_on_tissue(adata, slide, mpp=mpp, strict=True).fraction > 0.9


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", ["C2", "C3", "C4", "C5"])
def test_real_sections_of_a_tumour_pass_with_a_margin(her2st_half, name):
    adata, image = her2st_half(name)
    assert hq.im.check_on_tissue(adata, image, mpp=hq.io.estimate_mpp(adata), strict=True).fraction > 0.9
