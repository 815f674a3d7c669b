"""Microns per pixel: what metadata say, what they cannot say, and what the spots say."""

import numpy as np
import pytest
import tifffile
from PIL import Image

import histoquilt as hq

PIXELS = np.full((60, 80, 3), 200, dtype=np.uint8)


def mpp_of(path):
    with hq.io.open_slide(path) as slide:
        return slide.mpp


@pytest.mark.parametrize(
    ("size", "unit", "mpp"),
    [(0.5, "µm", 0.5), (250, "nm", 0.25), (0.0005, "mm", 0.5), (1.0, "pixel", None), (300, "µm", None)],
)
def test_ome(size, unit, mpp, tmp_path):
    metadata = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeXUnit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS, photometric="rgb", metadata=metadata)
    assert mpp_of(tmp_path / "a.ome.tif") == pytest.approx(mpp)


@pytest.mark.parametrize(
    ("resolution", "unit", "mpp"),
    [((40_000, 40_000), "CENTIMETER", 0.25), ((50_800, 50_800), "INCH", 0.5), ((72, 72), "INCH", None),
     ((300, 300), "INCH", None), ((20_000, 20_000), "NONE", None), ((1, 1), "CENTIMETER", None)],
)  # fmt: skip
def test_resolution_tags(resolution, unit, mpp, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", resolution=resolution, resolutionunit=unit)
    assert mpp_of(tmp_path / "a.tif") == pytest.approx(mpp)


def test_what_is_ignored_is_logged(tmp_path, caplog):
    caplog.set_level("INFO", logger="histoquilt")
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", dpi=(96, 96))
    assert mpp_of(tmp_path / "a.jpg") is None
    assert "a.jpg: 264.6 um per pixel in its resolution tags is not that of a microscope" in caplog.text


def test_aperio(tmp_path):
    said = "Aperio Image Library v11.2.1\n80x60 [0,0 80x60] |AppMag = 20|MPP = 0.4990|Left = 25.6"
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", description=said, metadata=None, tile=(64, 64))
    assert mpp_of(tmp_path / "a.tif") == 0.499


def test_pixels_that_are_not_square(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", PIXELS, photometric="rgb", resolution=(20_000, 10_000), resolutionunit="CENTIMETER"
    )
    with pytest.warns(UserWarning, match=r"0.5 x 1 um by its resolution tags, not square"):
        assert mpp_of(tmp_path / "a.tif") == 0.5


def test_what_the_user_says_wins_if_it_can_be(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    with hq.io.open_slide(tmp_path / "a.png", mpp=0.25) as slide:
        assert slide.mpp == 0.25
    with pytest.raises(ValueError, match=r"mpp is 250 microns per pixel; images of tissue have 0.05 to 20.*nanometres"):
        hq.io.open_slide(tmp_path / "a.png", mpp=250)
    with pytest.raises(ValueError, match=r"mpp must be positive, got 0"):
        hq.io.open_slide(tmp_path / "a.png", mpp=0)


def test_the_spots_are_asked(recwarn):
    adata, _ = hq.datasets.toy_slide(n_spots=100, mpp=2)
    assert hq.io.check_slide_mpp(adata, 2.02) == pytest.approx(2.0, rel=0.02)
    assert hq.io.check_slide_mpp(adata, 4.0, image_scale=2) == pytest.approx(4.0, rel=0.02)
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"mpp of C2.jpg is 0.5, and 2 by the distance between spots .300% apart"):
        hq.io.check_slide_mpp(adata, 0.5, name="C2.jpg")
    with pytest.raises(ValueError, match=r"mpp of the image is 100 microns per pixel"):
        hq.io.check_slide_mpp(adata, 100)
    adata.obsm["spatial"] = np.random.default_rng(0).uniform(0, 1000, (100, 2))
    assert hq.io.check_slide_mpp(adata, 0.5) is None
