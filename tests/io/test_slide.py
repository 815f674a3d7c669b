"""Regions of slides: the same pixels from every format, white outside, averaged down."""

import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

import histoquilt as hq
from histoquilt._base._protocols import SlideImage

pyvips = pytest.importorskip("pyvips")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """700 x 900, every pixel its own."""
    return np.random.default_rng(0).integers(0, 255, (700, 900, 3), dtype=np.uint8)


def write(kind: str, pixels: np.ndarray, folder):
    """Write pixels losslessly in a format; returns the file."""
    path = folder / f"{kind}.{'png' if kind == 'png' else 'ome.tif' if kind.startswith('ome') else 'tif'}"
    planar = pixels.transpose(2, 0, 1).copy()
    tiled = {"tile": (256, 256), "compression": "zlib"}
    if kind == "png":
        Image.fromarray(pixels).save(path)
    elif kind == "plain":
        tifffile.imwrite(path, pixels, photometric="rgb")
    elif kind == "strips":
        tifffile.imwrite(path, pixels, photometric="rgb", rowsperstrip=100, compression="lzw")
    elif kind == "predictor":
        tifffile.imwrite(path, pixels, photometric="rgb", predictor=True, **tiled)
    elif kind == "planar":
        tifffile.imwrite(path, planar, photometric="rgb", planarconfig="separate", **tiled)
    elif kind == "planar plain":
        tifffile.imwrite(path, planar, photometric="rgb", planarconfig="separate")
    elif kind == "ome planes":
        tifffile.imwrite(path, planar, photometric="minisblack", metadata={"axes": "CYX"}, **tiled)
    elif kind == "vips pyramid":
        pyvips.Image.new_from_array(pixels).tiffsave(str(path), tile=True, pyramid=True, compression="lzw")
    elif kind == "ome pyramid":
        with tifffile.TiffWriter(path) as writer:
            writer.write(pixels, subifds=1, photometric="rgb", metadata={"axes": "YXS"}, **tiled)
            writer.write(pixels[::4, ::4], subfiletype=1, photometric="rgb", **tiled)
    return path


KINDS = ["png", "plain", "strips", "predictor", "planar", "planar plain", "ome planes", "vips pyramid", "ome pyramid"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_pixels(kind, pixels, tmp_path):
    with hq.io.open_slide(write(kind, pixels, tmp_path)) as slide:
        assert isinstance(slide, SlideImage)
        assert (slide.name, slide.width, slide.height, slide.mpp) == (kind, 900, 700, None)
        assert (slide.read_region(0, 0, 900, 700) == pixels).all()
        assert (slide.read_region(250, 200, 300, 170) == pixels[200:370, 250:550]).all()
        assert (slide.read_region(899, 699, 1, 1) == pixels[-1:, -1:]).all()


@pytest.mark.parametrize("kind", ["png", "predictor", "planar plain"])
def test_outside_is_white(kind, pixels, tmp_path):
    with hq.io.open_slide(write(kind, pixels, tmp_path)) as slide:
        corner = slide.read_region(-10, -20, 40, 50)
        assert (corner[:20] == 255).all()
        assert (corner[:, :10] == 255).all()
        assert (corner[20:, 10:] == pixels[:30, :30]).all()
        edge = slide.read_region(890, 690, 30, 30)
        assert (edge[:10, :10] == pixels[-10:, -10:]).all()
        assert (edge[10:] == 255).all()
        assert (slide.read_region(5000, 0, 20, 20, out_px=(10, 10)) == 255).all()


def test_whole_factors_are_means_of_blocks(pixels, tmp_path):
    with hq.io.open_slide(write("plain", pixels, tmp_path)) as slide:
        small = slide.read_region(100, 200, 400, 300, out_px=(100, 75))
    blocks = pixels[200:500, 100:500].reshape(75, 4, 100, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - blocks).max() <= 1  # two roundings


def test_other_factors_keep_place_and_brightness(tmp_path):
    ramp = np.broadcast_to(np.arange(900) * 255 / 900, (700, 900))
    slanted = np.stack([ramp, 255 - ramp, np.full((700, 900), 77)], axis=2).astype(np.uint8)
    with hq.io.open_slide(write("plain", slanted, tmp_path)) as slide:
        small = slide.read_region(31.3, 12.7, 310.4, 310.4, out_px=(224, 224)).astype(float)
    assert (small[..., 2] == 77).all()
    expected = (31.3 + (np.arange(224) + 0.5) * 310.4 / 224 - 0.5) * 255 / 900
    assert np.abs(small[100, :, 0] - expected).max() < 1.5


def test_bands_change_nothing(pixels, tmp_path, monkeypatch):
    with hq.io.open_slide(write("plain", pixels, tmp_path)) as slide:
        whole = slide.read_region(-3.5, 0, 880, 700, out_px=(300, 251))
        monkeypatch.setattr("histoquilt.io.slides._resample._BAND_PX", 20_000)
        banded = slide.read_region(-3.5, 0, 880, 700, out_px=(300, 251))
    assert np.abs(whole.astype(int) - banded).max() <= 1


def test_a_constant_image_stays_constant_to_its_edges(tmp_path):
    plain = np.full((701, 903, 3), 90, dtype=np.uint8)  # no level divides it
    for kind in ("plain", "vips pyramid"):
        with hq.io.open_slide(write(kind, plain, tmp_path)) as slide:
            for out in [(301, 77), (113, 88), (50, 40), (1200, 900)]:
                assert (slide.read_region(0, 0, 903, 701, out_px=out) == 90).all(), (kind, out)


def test_the_nearest_finer_level_is_read(pixels, tmp_path):
    path = tmp_path / "levels.ome.tif"
    shades = [np.full((1024 // d, 2048 // d, 3), shade, np.uint8) for d, shade in ((1, 10), (4, 20), (16, 30))]
    with tifffile.TiffWriter(path) as writer:
        for i, level in enumerate(shades):
            extra = {"subifds": 2} if i == 0 else {"subfiletype": 1}
            writer.write(level, photometric="rgb", tile=(128, 128), compression="zlib", **extra)
    with hq.io.open_slide(path) as slide:
        assert [level.downsample for level in slide.levels] == [1, 4, 16]
        for out, shade in [(1024, 10), (530, 10), (512, 20), (200, 20), (128, 30), (16, 30)]:
            assert (slide.read_region(0, 0, 2048, 1024, out_px=(out, out // 2)) == shade).all(), out
        assert slide._cache  # decoded tiles are kept, and given back
    assert not slide._cache


def test_tiles_that_were_never_written_are_glass(tmp_path):
    path = tmp_path / "sparse.tif"
    tiles = (None if i == 1 else np.full((256, 256, 3), 50, np.uint8) for i in range(4))
    tifffile.imwrite(
        path, tiles, shape=(512, 512, 3), dtype=np.uint8, tile=(256, 256), photometric="rgb", compression="zlib"
    )
    with hq.io.open_slide(path) as slide:
        region = slide.read_region(0, 0, 512, 512)
    assert (region[:256, 256:] == 255).all()
    assert (region[256:] == 50).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_alpha_is_laid_on_white(suffix, tmp_path):
    pixels = np.zeros((40, 60, 4), dtype=np.uint8)
    pixels[..., 0], pixels[:, 30:, 3], pixels[0, :, 3] = 200, 255, 128
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":
        Image.fromarray(pixels).save(path)
    else:
        tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unassalpha"])
    with hq.io.open_slide(path) as slide:
        region = slide.read_region(0, 0, 60, 40)
    assert (region[1:, :30] == 255).all()
    assert (region[1:, 30:] == [200, 0, 0]).all()
    assert np.abs(region[0].astype(int) - [227, 127, 127]).max() <= 1


def test_jpeg_in_tiff_and_alone(pixels, tmp_path):
    smooth = np.asarray(Image.fromarray(pixels).resize((90, 70)).resize((900, 700)))
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    pyvips.Image.new_from_array(smooth).tiffsave(str(tmp_path / "a.tif"), tile=True, compression="jpeg", Q=95)
    for name in ("a.jpg", "a.tif"):
        with hq.io.open_slide(tmp_path / name) as slide:
            assert np.abs(slide.read_region(0, 0, 900, 700).astype(int) - smooth).mean() < 3


def test_openslide_and_vips(pixels, tmp_path):
    pytest.importorskip("openslide")
    path = write("vips pyramid", pixels, tmp_path)
    named = path.rename(tmp_path / "slide.svs")  # by its name openslide is asked
    with hq.io.open_slide(named) as slide:
        assert type(slide).__name__ == "OpenSlideSlide"
        assert len(slide.levels) > 1
        assert slide.mpp is None
        assert (slide.read_region(-5, 300, 105, 60)[:, 5:] == pixels[300:360, :100]).all()
    webp = tmp_path / "a.webp"
    pyvips.Image.new_from_array(pixels).webpsave(str(webp), lossless=True)
    with hq.io.open_slide(webp) as slide:
        assert type(slide).__name__ == "VipsSlide"
        assert (slide.read_region(100, 50, 40, 30) == pixels[50:80, 100:140]).all()


def test_what_cannot_be_asked_of_a_region(pixels, tmp_path):
    with hq.io.open_slide(write("plain", pixels, tmp_path)) as slide:
        assert "900 x 700 px, mpp unknown" in repr(slide)
        with pytest.raises(ValueError, match=r"width must be positive, got 0"):
            slide.read_region(0, 0, 0, 10)
        with pytest.raises(ValueError, match=r"x and y must be finite"):
            slide.read_region(np.nan, 0, 10, 10)
        with pytest.raises(ValueError, match=r"out_px must be"):
            slide.read_region(0, 0, 10, 10, out_px=(0, 5))
        with pytest.raises(ValueError, match=r"40,000 x 40,000 pixels .* at most 300,000,000 .*out_px="):
            slide.read_region(0, 0, 40_000, 40_000)
    with pytest.raises(ValueError, match=r"is closed. Read inside its with block"):
        slide.read_region(0, 0, 10, 10)


_MAKE_AND_READ = """
import resource, sys
import numpy as np, tifffile
import histoquilt as hq
path, side, tile = sys.argv[1], 40_000, 512
rng = np.random.default_rng(0)
bank = [np.kron(rng.integers(120, 255, (8, 8, 3)), np.ones((64, 64, 1))).astype(np.uint8) for _ in range(16)]
sizes = [side, side // 4, side // 16, side // 64]
with tifffile.TiffWriter(path, bigtiff=True) as writer:
    for size in sizes:
        tiles = (bank[i % 16] for i in range((-(-size // tile)) ** 2))
        extra = {"subifds": 3} if size == side else {"subfiletype": 1}
        writer.write(tiles, shape=(size, size, 3), dtype=np.uint8, photometric="rgb", tile=(tile, tile),
                     compression=sys.argv[2], resolution=(20_000, 20_000), resolutionunit="CENTIMETER", **extra)
with hq.io.open_slide(path) as slide:
    assert (slide.width, slide.height, slide.mpp) == (side, side, 0.5)
    assert slide.read_region(0, 0, side, side, out_px=(1000, 1000)).mean() < 250
    for x, y in rng.integers(0, side - 300, (200, 2)):
        region = slide.read_region(x, y, 270, 270, out_px=(224, 224))
    assert region.shape == (224, 224, 3)
try:  # on Linux, ru_maxrss counts the process that started this one, too
    with open("/proc/self/status") as status:
        print(int(status.read().split("VmHWM:")[1].split()[0]) / 1e6)
except FileNotFoundError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6))
"""


@pytest.mark.slow
def test_a_slide_of_1600_megapixels_stays_under_a_gigabyte(tmp_path):
    pytest.importorskip("imagecodecs")
    done = subprocess.run(
        [sys.executable, "-c", _MAKE_AND_READ, str(tmp_path / "big.tif"), "jpeg"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.0


@pytest.mark.real_data
def test_a_real_section_of_92_megapixels(data_dir):
    with hq.io.open_slide(data_dir / "her2st" / "C2.jpg") as slide:
        assert (slide.width, slide.height, slide.mpp) == (9274, 9911, None)  # 72 dpi says nothing
        assert 200 < slide.read_region(0, 0, 9274, 9911, out_px=(464, 496)).mean() < 240
