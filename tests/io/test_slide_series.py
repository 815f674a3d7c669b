"""Files of several images: which one is the scan, and whose microns per pixel count."""

import numpy as np
import pytest
import tifffile

import histoquilt as hq

SCAN = np.full((300, 400, 3), 200, np.uint8)
SMALL = np.full((50, 70, 3), 180, np.uint8)
LARGE = np.full((500, 900, 3), 160, np.uint8)


def ome(path, *images):
    """Write images, each ``(pixels, name, mpp, is_pyramid)``."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        for pixels, name, mpp, is_pyramid in images:
            said = {"axes": "YXS"} | ({"Name": name} if name else {})
            if mpp:
                said |= {
                    "PhysicalSizeX": mpp,
                    "PhysicalSizeY": mpp,
                    "PhysicalSizeXUnit": "µm",
                    "PhysicalSizeYUnit": "µm",
                }
            writer.write(pixels, photometric="rgb", tile=(64, 64), subifds=int(is_pyramid), metadata=said)
            if is_pyramid:
                writer.write(pixels[::2, ::2].copy(), photometric="rgb", tile=(64, 64), subfiletype=1)
    return path


def opened(path):
    with hq.io.open_slide(path) as slide:
        return slide.width, slide.height, slide.mpp, len(slide.levels), int(slide.read_region(0, 0, 1, 1)[0, 0, 0])


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("other", "levels"),
    [
        ((SMALL, "overview", 12.0, False), 1),
        ((SMALL, None, 12.0, False), 1),  # nothing but its pixels says what it is
        ((SMALL, None, None, False), 1),
        ((LARGE, "slide_macro image", 15.0, False), 1),
        ((LARGE, "Label", None, False), 1),
        ((LARGE, "thumbnail", 0.25, True), 1),  # the scan's metadata copied onto it
        ((LARGE, None, 15.0, False), 1),
        ((LARGE, None, 15.0, True), 1),
        ((LARGE, None, None, False), 1),
        ((LARGE, None, None, False), 2),
        ((LARGE, None, 0.5, False), 2),
        ((LARGE, None, 0.25, False), 2),
        ((SMALL, None, 0.5, False), 1),  # another region of the same scan
    ],
)
def test_the_scan_is_read_with_its_own_mpp(other, levels, order, tmp_path):
    images = [(SCAN, "20x", 0.5, levels > 1), other][::order]
    assert opened(ome(tmp_path / "a.ome.tif", *images)) == (400, 300, 0.5, levels, 200)


@pytest.mark.parametrize("order", [1, -1])
def test_the_mpp_of_an_overview_is_never_that_of_the_scan(order, tmp_path):
    images = [(SCAN, "scan", None, False), (SMALL, "", 12.0, False)][::order]
    assert opened(ome(tmp_path / "a.ome.tif", *images)) == (400, 300, None, 1, 200)
    images = [(SCAN, "", 5.0, False), (LARGE, "", 12.0, False)][::order]  # both coarse: the finer
    assert opened(ome(tmp_path / "b.ome.tif", *images)) == (400, 300, 5.0, 1, 200)


def test_a_macro_image_alone_is_read(tmp_path):
    assert opened(ome(tmp_path / "a.ome.tif", (SCAN, "macro", 15.0, False)))[:3] == (400, 300, 15.0)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("said", [{"description": "macro 900x500"}, {"extratags": [(285, 2, 0, "Label", True)]}, {}])
def test_plain_tiffs_go_by_tags(said, order, tmp_path):
    pages = [(SCAN, 20_000, {}), (LARGE, 1_000, said)][::order]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for pixels, per_cm, more in pages:
            writer.write(
                pixels,
                photometric="rgb",
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                metadata=None,
                **more,
            )
    assert opened(tmp_path / "a.tif") == (400, 300, 0.5, 1, 200)


def test_channel_names_of_the_scan_count(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        stained = {"axes": "CYX", "Name": "IF", "Channel": {"Name": ["DAPI", "CD3", "CD8"]}, "PhysicalSizeX": 2.0}
        writer.write(SMALL.transpose(2, 0, 1).copy(), photometric="minisblack", metadata=stained)
        writer.write(SCAN, photometric="rgb", metadata={"axes": "YXS", "Name": "HE", "PhysicalSizeX": 0.5})
    assert opened(tmp_path / "a.ome.tif")[:3] == (400, 300, 0.5)


def test_spots_are_laid_by_the_scan(tmp_path):
    _, image = hq.datasets.toy_slide(n_spots=80, n_genes=8, mpp=2, seed=0)
    small = image[::6, ::6].copy()
    images = [(small, "overview", 12.0, False), (image, "20x", 2.0, False)]
    with hq.io.open_slide(ome(tmp_path / "a.ome.tif", *images)) as slide:
        laid = hq.im.grid_spots(slide, mpp=slide.mpp)
    with hq.io.open_slide(ome(tmp_path / "b.ome.tif", images[1])) as slide:
        assert laid.n_obs == hq.im.grid_spots(slide, mpp=slide.mpp).n_obs
