"""Tissue, grids over it, and whether spots lie on it."""

import anndata as ad
import numpy as np
import pytest

import histoquilt as hq

PINK, GLASS = (205, 130, 185), (243, 242, 244)


@pytest.fixture(scope="module")
def toy():
    return hq.datasets.toy_slide(150, 40, seed=0, mpp=2.0)


@pytest.fixture
def square() -> np.ndarray:
    """A square of tissue, 800 um wide, on glass: x from 400 to 1200 um, y from 200 to 1000 um, at 2 um per pixel."""
    image = np.full((700, 800, 3), GLASS, dtype=np.uint8)
    image[100:500, 200:600] = PINK
    return image


def test_a_square_of_tissue_is_found_to_the_pixel(square):
    tissue = hq.im.tissue_mask(square, mpp=2.0)
    assert tissue.step_px == 4
    assert tissue.mask.shape == (175, 200)
    assert abs(tissue.area_mm2 - 0.64) < 0.02
    rows, columns = np.nonzero(tissue.mask)
    np.testing.assert_allclose([rows.min(), rows.max(), columns.min(), columns.max()], [25, 124, 50, 149], atol=1)


def test_fractions_by_hand(square):
    tissue = hq.im.tissue_mask(square, mpp=2.0)
    points = [[400.0, 300.0], [200.0, 300.0], [200.0, 100.0], [50.0, 50.0], [-900.0, 9000.0]]
    np.testing.assert_allclose(tissue.fraction(np.array(points), 160), [1, 0.5, 0.25, 0, 0], atol=0.04)


def test_dust_ink_grey_and_unscanned_areas_are_no_tissue(square):
    clean = hq.im.tissue_mask(square, mpp=2.0).mask
    square[20:40, 20:40] = PINK  # 40 um wide
    square[600:650, 100:500] = (40, 70, 200)
    square[550:590, 100:500] = (40, 150, 80)
    square[100:500, 680:720] = (150, 150, 150)  # the frame of a capture slide
    square[:, 760:] = 0
    square[300:320, 300:320] = GLASS  # a vessel
    np.testing.assert_array_equal(hq.im.tissue_mask(square, mpp=2.0).mask, clean)


def test_a_picture_of_tissue_alone_is_not_halved(toy):
    """Otsu alone would split it; without glass to compare with, only its palest part is lost."""
    adata, image = toy
    x, y = adata.obsm["spatial"].mean(axis=0).astype(int)
    crop = image[y - 150 : y + 150, x - 150 : x + 150]
    assert hq.im.tissue_mask(crop, mpp=2.0).mask.mean() > 0.75


@pytest.mark.parametrize("mpp", [0.5, 2.0])
def test_resolution_changes_little(toy, mpp):
    image = toy[1]
    if mpp == 0.5:
        image = np.kron(image, np.ones((4, 4, 1), np.uint8))
    tissue = hq.im.tissue_mask(image, mpp=mpp)
    assert tissue.fraction(toy[0].obsm["spatial"] * 2.0 / mpp, 55).min() > 0.9
    assert abs(tissue.area_mm2 - hq.im.tissue_mask(toy[1], mpp=2.0).area_mm2) < 0.03


def test_large_slides_are_read_in_blocks(toy, monkeypatch):
    whole = hq.im.tissue_mask(toy[1], mpp=2.0).mask
    monkeypatch.setattr("histoquilt.im._as_slide.BLOCK_PX", 256)
    np.testing.assert_array_equal(hq.im.tissue_mask(toy[1], mpp=2.0).mask, whole)


@pytest.mark.parametrize("noise", [0, 3])
def test_a_slide_without_tissue_says_so(noise):
    glass = np.random.default_rng(0).normal(240, noise, (400, 400, 3)).clip(0, 255).astype(np.uint8)
    with pytest.raises(ValueError, match=r"has no tissue.*unstained"):
        hq.im.tissue_mask(glass, mpp=2.0)
    with pytest.raises(ValueError, match="has no tissue"):
        hq.im.grid_spots(glass, mpp=2.0)


def test_the_grid_lies_on_the_tissue(square):
    spots = hq.im.grid_spots(square, mpp=2.0, pitch_um=100)
    # squares of 100 um that begin at 0: columns 4 to 11 and rows 2 to 9 are tissue
    assert spots.shape == (64, 0)
    assert spots.obs_names[0] == "x4_y2"
    assert spots.obs_names[-1] == "x11_y9"
    np.testing.assert_allclose(spots.obsm["spatial"][0], [225.0, 125.0])
    np.testing.assert_allclose(spots.obsm["spatial_um"], 2.0 * spots.obsm["spatial"])
    assert spots.obs["tissue_fraction"].min() > 0.9
    assert spots.uns["histoquilt"]["coordinates"] == {"unit": "pixel", "mpp": 2.0, "pitch_um": 100.0}
    hq.gr.grid_graph(spots)
    assert spots.obsp["spatial_connectivities"].shape == (64, 64)


def test_names_do_not_depend_on_the_threshold(toy):
    _, image = toy
    some, more = (hq.im.grid_spots(image, mpp=2.0, least_tissue=share) for share in (0.9, 0.1))
    assert some.n_obs < more.n_obs
    np.testing.assert_array_equal(more[some.obs_names].obsm["spatial"], some.obsm["spatial"])


def test_the_grid_of_a_file_remembers_it(square, tmp_path):
    from PIL import Image

    Image.fromarray(square).save(tmp_path / "slide.png")
    with hq.io.open_slide(tmp_path / "slide.png") as slide:
        spots = hq.im.grid_spots(slide, mpp=2.0)
    record = spots.uns["histoquilt"]["image"]
    assert record == {"path": str(tmp_path / "slide.png"), "image_scale": 1.0, "mpp": 2.0}
    assert "image" not in hq.im.grid_spots(square, mpp=2.0).uns["histoquilt"]  # an array has no file


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"mpp": 0.0}, "mpp must be positive"),
        ({"pitch_um": 0.0}, "pitch_um must be positive"),
        ({"pitch_um": 1.0}, "less than one pixel"),
        ({"pitch_um": 1300.0, "least_tissue": 0.9}, "No square of 1300 um.*smaller pitch_um"),
        ({"pitch_um": 9000.0}, "No square"),
        ({"least_tissue": 1.5}, "least_tissue is a share"),
    ],
)
def test_absurd_grids_are_refused(square, changed, match):
    with pytest.raises(ValueError, match=match):
        hq.im.grid_spots(square, **({"mpp": 2.0} | changed))


def test_spots_on_tissue(toy, recwarn):
    adata, image = toy
    found = hq.im.check_on_tissue(adata, image, mpp=2.0)
    assert found.fraction > 0.97
    assert not recwarn.list
    assert list(found.spots.index) == list(adata.obs_names)
    assert found.mask[found.spots["y"].astype(int), found.spots["x"].astype(int)].mean() > 0.99
    assert found.image.shape[:2] == found.mask.shape


def test_spots_beside_the_tissue_are_told(toy):
    adata, image = toy[0].copy(), toy[1]
    adata.obsm["spatial"] = adata.obsm["spatial"] - [350, 0]
    with pytest.warns(UserWarning, match=r"Only \d\d% of 150 spots lie on the tissue.*image_scale"):
        found = hq.im.check_on_tissue(adata, image, mpp=2.0)
    assert 0.2 < found.fraction < 0.8
    assert found.spots["outside"].any()
    assert not found.spots.loc[found.spots["outside"], "on_tissue"].any()


def test_spots_off_the_image_are_refused(toy):
    adata, image = toy[0].copy(), toy[1]
    adata.obsm["spatial"] = adata.obsm["spatial"] * 9
    with pytest.raises(ValueError, match="fall outside the image"):
        hq.im.check_on_tissue(adata, image, mpp=0.3)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("section", "mpp", "least", "area"),
    [("her2st/C2", 0.692, 0.95, (6.5, 8.0)), ("mob/MOB1", 6.18, 0.8, (11.0, 14.5))],
)
def test_real_spots_lie_on_real_tissue(data_dir, section, mpp, least, area):
    adata = ad.read_h5ad(data_dir / f"{section}.h5ad")
    with hq.io.open_slide(data_dir / f"{section}.jpg") as slide:
        assert hq.im.check_on_tissue(adata, slide, mpp=mpp).fraction > least
        assert area[0] < hq.im.tissue_mask(slide, mpp=mpp).area_mm2 < area[1]
