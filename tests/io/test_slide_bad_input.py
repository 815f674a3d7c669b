"""Images that cannot be used, each with what to do."""

import numpy as np
import pytest
import tifffile
from PIL import Image

import histoquilt as hq
from histoquilt.io.slides import _open as _slide_open
from histoquilt.io.slides import _picture as _slide_picture
from histoquilt.io.slides import _tiff_layout as _slide_tiff_layout

PIXELS = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)


def refused(path, error, words):
    with pytest.raises(error, match=words):
        hq.io.open_slide(path)


def test_not_there(tmp_path):
    (tmp_path / "b.jpg").touch()
    refused(tmp_path / "a.jpg", FileNotFoundError, r"a.jpg does not exist; expected an image of tissue.*holds: 'b.jpg'")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "tiled.tif", "plain.tif"])
def test_truncated(name, tmp_path, truncated):
    path = tmp_path / name
    if name == "tiled.tif":
        tifffile.imwrite(path, PIXELS, photometric="rgb", tile=(128, 128), compression="zlib")
        path.write_bytes(path.read_bytes()[:-1000])
    elif name == "plain.tif":
        tifffile.imwrite(path, PIXELS, photometric="rgb")
        truncated(path)
    else:
        Image.fromarray(PIXELS).save(path)
        truncated(path)
    refused(path, OSError, rf"{name}.*truncated.*[Cc]opy")


def test_a_tile_that_is_damaged_is_named(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, photometric="rgb", tile=(128, 128), compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[0]
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 40] = bytes(40)
    path.write_bytes(raw)
    with hq.io.open_slide(path) as slide, pytest.raises(OSError, match=r"tile 0 of level 0 cannot be decoded"):
        slide.read_region(0, 0, 50, 50)


@pytest.mark.parametrize(
    ("mode", "words"),
    [("L", "it is grey"), ("I;16", "grey of 16 bits"), ("CMYK", "it is CMYK"), ("1", "black and white")],
)
def test_pictures_that_are_not_rgb(mode, words, tmp_path):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 200).save(path)
    else:
        Image.fromarray(PIXELS).convert(mode).save(path)
    refused(path, ValueError, f"is not RGB: {words}|is not RGB: .*{words}")


@pytest.mark.parametrize(
    ("array", "options", "words"),
    [
        (PIXELS.astype(np.uint32), {"photometric": "rgb"}, "is not 8-bit: it holds other values .uint32"),
        (PIXELS[..., 0].astype(np.uint16), {"photometric": "minisblack"}, "is not RGB: it holds planes 1 of 1 channel"),
        (PIXELS.astype(np.float32), {"photometric": "rgb"}, "is not 8-bit: it holds floating-point"),
        (PIXELS[..., 0], {"photometric": "minisblack"}, "is not RGB: it holds planes 1 of 1 channel"),
        (
            np.zeros((5, 30, 40), np.uint8),
            {"photometric": "minisblack", "metadata": {"axes": "CYX"}},
            r"planes 5 \(channels\)",
        ),
        (
            PIXELS.transpose(2, 0, 1).copy(),
            {"photometric": "minisblack", "metadata": {"axes": "CYX", "Channel": {"Name": ["DAPI", "CD3", "CD8"]}}},
            "it is fluorescence with the channels 'DAPI', 'CD3', 'CD8'",
        ),
        (PIXELS.transpose(2, 0, 1).copy(), {"photometric": "minisblack", "metadata": {"axes": "ZYX"}}, "focus planes"),
    ],
)
def test_tiffs_that_are_not_8_bit_colour(array, options, words, tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", array, **options)
    refused(tmp_path / "a.ome.tif", ValueError, words)


def test_too_large_to_be_decoded_whole(tmp_path, monkeypatch):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", compression="zlib", rowsperstrip=300)
    monkeypatch.setattr(_slide_picture, "MOST_DECODED", 100_000)
    monkeypatch.setattr(_slide_tiff_layout, "MOST_SEGMENT", 100_000)
    refused(tmp_path / "a.png", ValueError, r"has 400 x 300 px. A PNG has to be decoded whole.*vips tiffsave")
    refused(tmp_path / "a.tif", ValueError, r"400 x 300 px in one compressed piece.*vips tiffsave")


def test_no_image_at_all(tmp_path):
    (tmp_path / "a.jpg").write_text("<!DOCTYPE html><html>not found</html>")
    (tmp_path / "b.jpg").touch()
    (tmp_path / "c.jpg").write_bytes(bytes(range(200)))
    refused(tmp_path / "a.jpg", ValueError, "is not an image that can be read.*a web page: the download failed")
    refused(tmp_path / "b.jpg", ValueError, "is empty")
    refused(tmp_path / "c.jpg", ValueError, "is not an image that can be read; expected an image of tissue .JPEG, PNG")
    (tmp_path / "d.svs").write_bytes(b"II*\0 nothing follows")
    refused(tmp_path / "d.svs", OSError, "could not be opened by openslide")


def test_without_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.svs").touch()
    monkeypatch.setitem(__import__("sys").modules, "openslide", None)
    refused(tmp_path / "a.svs", ImportError, r"Reading .svs slides needs openslide.*histoquilt\[wsi\]")
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", compression="lzw")
    for module in (_slide_open, _slide_tiff_layout):
        monkeypatch.setattr(module, "is_installed", lambda name: False)
    monkeypatch.setattr(_slide_tiff_layout.tifffile.TIFF, "DECOMPRESSORS", {8: None})
    refused(tmp_path / "a.tif", ImportError, r"compressed with LZW, which needs imagecodecs.*histoquilt\[wsi\]")
    (tmp_path / "a.img").write_bytes(b"of a scanner")
    refused(tmp_path / "a.img", ValueError, r"Further formats need: pip install 'histoquilt\[wsi\]'")


@pytest.mark.parametrize(
    ("name", "start", "what"),
    [
        ("s.jp2", None, "JPEG 2000"),
        ("s.jpg", b"\xff\x4f\xff\x51\0\x2f", "JPEG 2000"),  # a code stream, under another name
        ("s.bmp", None, "BMP"),
        ("s.gif", None, "GIF"),
        ("s.webp", None, "WebP"),
        ("s.heic", b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        ("s.avif", b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF"),
        ("s.psd", b"8BPS\0\1", "Photoshop"),
        ("s.pdf", b"%PDF-1.7", "PDF"),
    ],
)
def test_formats_that_are_not_read_are_named(name, start, what, tmp_path, monkeypatch):
    path = tmp_path / name
    if start is None:
        Image.fromarray(PIXELS).save(path)
    else:
        path.write_bytes(start)
    monkeypatch.setattr(_slide_open, "is_installed", lambda name: False)  # libvips reads some of them
    command = f"Convert it: vips tiffsave {name} s.tif --tile --pyramid --compression jpeg"
    refused(path, ValueError, f"{name} is {what}, which is not read here. {command}$")
