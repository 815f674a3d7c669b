"""Patches by physical size: worked out by hand, and the same whatever the image comes as."""

import time

import anndata as ad
import numpy as np
import pytest
import tifffile
from PIL import Image

import histoquilt as hq
from histoquilt.im._patches import plan_fields

CENTRES = np.array([[300.3, 280.7], [150.0, 10.0], [401.9, 333.1]])


@pytest.fixture(scope="module")
def toy() -> np.ndarray:
    return hq.datasets.toy_slide(100, 40, mpp=2.0)[1]


@pytest.fixture(scope="module")
def fine() -> np.ndarray:
    """The toy at a quarter of its pixels' side, with noise, so that every pixel counts."""
    image = hq.datasets.toy_slide(100, 40, mpp=1.0)[1].astype(int)
    noise = np.random.default_rng(0).integers(-20, 20, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def checks() -> np.ndarray:
    """Rows brighten downwards, columns to the right, blue is constant: a pixel tells where it comes from."""
    image = np.full((120, 100, 3), 200, dtype=np.uint8)
    image[..., 0] = np.arange(120)[:, None]
    image[..., 1] = np.arange(100)[None, :]
    return image


def test_pixels_of_a_patch_are_those_around_its_centre(checks):
    [patch] = hq.im.extract_patches(checks, [[30.0, 50.0]], mpp=0.5, field_um=10, out_px=20)
    np.testing.assert_array_equal(patch, checks[40:60, 20:40])


def test_x_is_the_column_and_half_pixels_count(checks):
    doubled = np.minimum(2 * checks.astype(int), 255).astype(np.uint8)
    [patch] = hq.im.extract_patches(doubled, [[30.5, 50.0]], mpp=1.0, field_um=10, out_px=5)
    # columns 25.5 to 35.5 of a field of 10 px are those with indices 25 to 35, half of the first and of the last
    assert abs(patch[..., 1].mean() - 2 * 30.0) < 0.7
    assert abs(patch[..., 0].mean() - 2 * 49.5) < 0.7


@pytest.mark.parametrize("mpp", [0.25, 0.5, 1.0])
def test_the_same_tissue_at_any_resolution(mpp):
    fine = np.kron(np.random.default_rng(0).integers(0, 255, (40, 40, 3)), np.ones((32, 32, 1))).astype(np.uint8)
    image = fine[:: int(mpp / 0.25), :: int(mpp / 0.25)]
    centre = np.array([[640.0, 640.0]]) * 0.25 / mpp
    reference = hq.im.extract_patches(fine, [[640.0, 640.0]], mpp=0.25, field_um=120, out_px=30).astype(int)
    patch = hq.im.extract_patches(image, centre, mpp=mpp, field_um=120, out_px=30).astype(int)
    assert np.abs(patch - reference).mean() < 3


def test_borders_are_padded_with_white_and_counted(checks, caplog):
    centres = np.array([[0.0, 0.0], [50.0, 60.0], [100.0, 120.0], [500.0, 500.0]])
    with caplog.at_level("INFO", logger="histoquilt"):
        patches = hq.im.extract_patches(checks, centres, mpp=1.0, field_um=20, out_px=20)
    assert "3 of 4 fields of 20 um cross the border" in caplog.text
    assert (patches[0, :10] == 255).all()
    np.testing.assert_array_equal(patches[0, 10:, 10:], checks[:10, :10])
    np.testing.assert_array_equal(patches[2, :10, :10], checks[110:, 90:])
    assert (patches[3] == 255).all()
    fields = plan_fields(checks, centres, mpp=1.0, field_um=[20.0, 150.0], out_px=20)
    np.testing.assert_array_equal(fields.padded, [[True, False, True, True], [True, True, True, True]])


def test_a_field_that_touches_the_border_is_not_padded(checks):
    fields = plan_fields(checks, [[10.0, 10.0], [90.0, 110.0]], mpp=1.0, field_um=[20.0], out_px=20)
    assert not fields.padded.any()


def test_several_fields_of_one_read_are_those_of_single_reads(toy):
    image, centres = toy, CENTRES
    together = plan_fields(image, centres, mpp=2.0, field_um=[56.0, 112.0, 224.0], out_px=32).cut(0, 3)
    for field, patches in zip([56.0, 112.0, 224.0], together, strict=True):
        alone = hq.im.extract_patches(image, centres, mpp=2.0, field_um=field, out_px=32)
        np.testing.assert_array_equal(alone, patches)


def test_batches_are_the_same_patches(checks):
    centres = np.random.default_rng(0).uniform(0, 100, (11, 2))
    whole = hq.im.extract_patches(checks, centres, mpp=1.0, field_um=16, out_px=8)
    parts = list(hq.im.iter_patches(checks, centres, mpp=1.0, field_um=16, out_px=8, batch_size=4))
    assert [len(part) for part in parts] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_no_patches_are_none(checks):
    assert hq.im.extract_patches(checks, np.empty((0, 2)), mpp=1.0, field_um=16, out_px=8).shape == (0, 8, 8, 3)


FORMATS = {
    "slide.png": lambda image, path: Image.fromarray(image).save(path),
    "plain.tif": lambda image, path: tifffile.imwrite(path, image, photometric="rgb"),
    "tiled.ome.tif": lambda image, path: tifffile.imwrite(path, image, photometric="rgb", tile=(128, 128)),
}


def write_pyramid(image, path):
    """Levels of 2 and 4, each pixel the rounded mean of a block of the full image."""
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(image, tile=(128, 128), photometric="rgb", subifds=2)
        for step in (2, 4):
            rows, columns = (side // step for side in image.shape[:2])
            blocks = image[: rows * step, : columns * step].reshape(rows, step, columns, step, 3)
            level = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
            tiff.write(level, tile=(128, 128), photometric="rgb", subfiletype=1)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("field", [100.0, 250.0, 600.0, [100.0, 600.0]])  # read at full size, halved, at a quarter
def test_a_file_is_embedded_as_its_array(tmp_path, fine, name, field):
    FORMATS[name](fine, tmp_path / name)
    of_array, of_file = (ad.AnnData(obsm={"spatial": 2 * CENTRES}) for _ in range(2))
    hq.im.embed_patches(of_array, fine, mpp=0.5, field_um=field, key_added="X")
    with hq.io.open_slide(tmp_path / name) as slide:
        hq.im.embed_patches(of_file, slide, mpp=0.5, field_um=field, key_added="X")
    for key, embedding in of_array.obsm.items():
        np.testing.assert_array_equal(of_file.obsm[key], embedding, err_msg=key)


@pytest.mark.parametrize("field", [100.0, 250.0, 600.0])
def test_a_pyramid_of_means_is_cut_as_its_array_up_to_rounding(tmp_path, fine, field):
    write_pyramid(fine, tmp_path / "pyramid.tif")
    want = hq.im.extract_patches(fine, 2 * CENTRES, mpp=0.5, field_um=field, out_px=112).astype(int)
    with hq.io.open_slide(tmp_path / "pyramid.tif") as slide:
        got = hq.im.extract_patches(slide, 2 * CENTRES, mpp=0.5, field_um=field, out_px=112)
    assert np.abs(want - got).max() <= 1


def test_a_pyramid_is_read_from_a_coarse_level(tmp_path, toy):
    image = toy[: toy.shape[0] // 16 * 16, : toy.shape[1] // 16 * 16]
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(image, tile=(128, 128), photometric="rgb", subifds=1)
        half = image.reshape(image.shape[0] // 4, 4, image.shape[1] // 4, 4, 3).mean(axis=(1, 3)).astype(np.uint8)
        tiff.write(half, tile=(128, 128), photometric="rgb", subfiletype=1)
    centres = np.array([[400.0, 380.0]])
    with hq.io.open_slide(path) as slide:
        asked = []
        read = slide.read_region
        slide.read_region = lambda *place, out_px=None: asked.append((place, out_px)) or read(*place, out_px=out_px)
        got = hq.im.extract_patches(slide, centres, mpp=1.0, field_um=512.0, out_px=64).astype(int)
    [(place, out_px)] = asked
    assert out_px == (place[2] // 4, place[3] // 4)
    assert [value % 4 for value in place] == [0, 0, 0, 0]
    want = hq.im.extract_patches(image, centres, mpp=1.0, field_um=512.0, out_px=64)
    assert np.abs(want - got).mean() < 3


@pytest.mark.parametrize(
    ("image", "error", "match"),
    [
        (np.zeros((9, 9), np.uint8), ValueError, "must be RGB.*9x9.*grey"),
        (np.zeros((9, 9, 4), np.uint8), ValueError, r"alpha channel: pass image\[\.\.\., :3\]"),
        (np.zeros((3, 9, 9), np.uint8), ValueError, "Channels come last"),
        (np.zeros((9, 9, 3)), ValueError, "must be uint8.*got float64"),
        (np.zeros((0, 9, 3), np.uint8), ValueError, "no pixels"),
        ("slide.svs", TypeError, "histoquilt.io.open_slide"),
        (7, TypeError, "got int"),
    ],
)
def test_what_is_no_rgb_image_is_refused(image, error, match):
    with pytest.raises(error, match=match):
        hq.im.extract_patches(image, [[1.0, 1.0]], mpp=1.0)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"mpp": 0.0}, "mpp must be positive, got 0.0"),
        ({"mpp": float("nan")}, "mpp must be positive"),
        ({"mpp": 40.0}, "mpp is 40 microns per pixel; images of tissue have 0.05 to 20"),
        ({"field_um": -1.0}, "field_um must be positive"),
        ({"field_um": 2.0}, "2 pixels of the image.*larger field_um"),
        ({"out_px": 0}, "out_px must be a whole number"),
        ({"centres_px": [1.0, 2.0]}, r"shape \(n_patches, 2\)"),
        ({"centres_px": [[1.0, np.nan]]}, "finite"),
    ],
)
def test_absurd_numbers_are_refused(checks, changed, match):
    arguments = {"centres_px": [[50.0, 50.0]], "mpp": 1.0, "field_um": 20.0, "out_px": 8} | changed
    with pytest.raises(ValueError, match=match):
        hq.im.extract_patches(checks, **arguments)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        hq.im.iter_patches(checks, [[50.0, 50.0]], mpp=1.0, batch_size=0)


@pytest.mark.real_data
def test_a_real_section_is_cut_in_no_time(data_dir):
    adata = ad.read_h5ad(data_dir / "her2st" / "C2.h5ad")
    with hq.io.open_slide(data_dir / "her2st" / "C2.jpg") as slide:
        slide.read_region(0, 0, 8, 8)  # decoded once
        start = time.perf_counter()
        patches = hq.im.extract_patches(slide, adata.obsm["spatial"], mpp=0.69, field_um=0.69 * 270, out_px=224)
        seconds = time.perf_counter() - start
    assert patches.shape == (adata.n_obs, 224, 224, 3)
    assert patches.mean() < 220  # tissue, not glass
    assert seconds < 2.5  # 0.2 to 0.3 where nothing else runs
