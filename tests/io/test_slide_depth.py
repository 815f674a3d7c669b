"""Sixteen bits a colour: the same eight from every format, whatever camera wrote them."""

import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile

import histoquilt as hq

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(20, 250, (150, 200, 3), dtype=np.uint8)
PIXELS[:40] = 250  # glass


def write(path, values):
    if path.suffix == ".png":
        return _png(path, values)
    if path.suffix == ".v":  # libvips' own
        pyvips = pytest.importorskip("pyvips")
        pyvips.Image.new_from_array(values).copy(interpretation="rgb16").write_to_file(str(path))
        return path
    tiled = {"tile": (64, 64), "compression": "zlib"}
    kind = path.stem
    if kind == "pyramid":
        with tifffile.TiffWriter(path) as writer:
            writer.write(values, photometric="rgb", subifds=1, **tiled)
            writer.write(values[::2, ::2].copy(), photometric="rgb", subfiletype=1, **tiled)
    elif kind == "planar":
        tifffile.imwrite(path, values.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate", **tiled)
    elif kind == "planes":
        planes = values[..., :3].transpose(2, 0, 1).copy()
        tifffile.imwrite(path, planes, ome=True, photometric="minisblack", metadata={"axes": "CYX"}, **tiled)
    else:
        options = {"tiled": tiled, "plain": {}, "bigendian": {"byteorder": ">"}}[kind]
        extra = {"extrasamples": ["unassalpha"]} if values.shape[2] == 4 else {}
        tifffile.imwrite(path, values, photometric="rgb", **options, **extra)
    return path


def _png(path, values):
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


FILES = ["a.png", "a.v", "plain.tif", "bigendian.tif", "tiled.tif", "pyramid.tif", "planar.tif", "planes.tif"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_every_format_gives_the_same_pixels(bits, name, tmp_path):
    scale = 257 if bits == 16 else 2 ** (bits - 8)
    path = write(tmp_path / name, PIXELS.astype(np.uint16) * scale)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with hq.io.open_slide(path) as slide:
            assert (slide.read_region(0, 60, 200, 90) == PIXELS[60:]).all()  # no glass in it: the same scale
            assert (slide.read_region(0, 0, 200, 150) == PIXELS).all()
    said = [str(one.message) for one in seen]
    if bits == 16:
        assert not said
    else:
        assert len(said) == 1
        assert f"no value above {250 * scale:,}: it is read as an image of {bits} bits" in said[0]


@pytest.mark.parametrize("name", ["a.png", "tiled.tif", "plain.tif", "planar.tif"])
def test_transparency_is_glass_and_no_brightness(name, tmp_path):
    alpha = np.full((150, 200, 1), 65_535, np.uint16)
    alpha[100:] = 0
    values = np.concatenate([PIXELS.astype(np.uint16) * 16, alpha], axis=2)
    with pytest.warns(UserWarning, match="12 bits"), hq.io.open_slide(write(tmp_path / name, values)) as slide:
        read = slide.read_region(0, 0, 200, 150)
    assert (read[:100] == PIXELS[:100]).all()
    assert (read[100:] == 255).all()


def test_tiles_that_were_never_written_are_glass_and_no_brightness(tmp_path):
    tiles = (PIXELS[:64, :64].astype(np.uint16) * 16 if i == 0 else None for i in range(4))
    options = {"photometric": "rgb", "tile": (64, 64), "compression": "zlib"}
    tifffile.imwrite(tmp_path / "a.tif", tiles, shape=(128, 128, 3), dtype=np.uint16, **options)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        counts = file.pages[0].tags["TileByteCounts"]
        counts.overwrite([counts.value[0], 0, 0, 0])
    with pytest.warns(UserWarning, match="12 bits"):
        slide = hq.io.open_slide(tmp_path / "a.tif")
    with slide:
        assert (slide.read_region(0, 0, 64, 64) == PIXELS[:64, :64]).all()
        assert (slide.read_region(64, 64, 64, 64) == 255).all()
