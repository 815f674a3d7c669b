"""The image of a section: recorded, opened, and refused where the spots do not lie on it."""

import numpy as np
import pytest
from anndata import AnnData
from PIL import Image

import histoquilt as hq


@pytest.fixture
def section(tmp_path):
    """100 spots 200 um apart on an image of 1,200 x 1,100 px, 2 um/px."""
    spots = np.stack(np.meshgrid(np.arange(10), np.arange(10)), axis=-1).reshape(-1, 2) * 100.0 + [110, 60]
    adata = AnnData(np.ones((100, 3), np.float32), obsm={"spatial": spots})
    adata.obs_names = [f"spot{i}" for i in range(100)]
    hq.io.record_coordinates(adata, "pixel")
    return adata


@pytest.fixture
def image(tmp_path):
    def write(width=1200, height=1100, name="he.png"):
        Image.new("RGB", (width, height), "pink").save(tmp_path / name)
        return tmp_path / name

    return write


def test_attached_written_read_and_opened(section, image, tmp_path):
    hq.io.attach_image(section, image())
    assert section.uns["histoquilt"]["image"] == {"path": str(tmp_path / "he.png"), "image_scale": 1.0, "mpp": 2.0}
    hq.io.write_h5ad(section, tmp_path / "a.h5ad")
    with hq.io.open_image(hq.io.read_h5ad(tmp_path / "a.h5ad")) as slide:
        assert (slide.name, slide.width, slide.mpp) == ("he", 1200, 2.0)


def test_mpp_given_scale_given(section, image):
    hq.io.attach_image(section, image(600, 550), mpp=2.02, image_scale=2)
    assert section.uns["histoquilt"]["image"]["mpp"] == 2.02
    with hq.io.open_image(section) as slide:
        assert slide.mpp == 4.04  # of the image
    with pytest.warns(UserWarning, match=r"mpp of he.png .given. is 1, and 2 by the distance between spots"):
        hq.io.attach_image(section, image(), mpp=1)
    with pytest.raises(ValueError, match=r"mpp is 500 microns per pixel.*nanometres"):
        hq.io.attach_image(section, image(), mpp=500)


@pytest.mark.parametrize(("name", "factor"), [("hires", 0.5), ("lowres", 0.1)])
@pytest.mark.parametrize("loaded", [True, False])
def test_space_rangers_own_images_are_recognised(name, factor, loaded, section, image):
    size = (int(1200 * factor), int(1100 * factor))
    images = {name: np.zeros((size[1], size[0], 3), np.uint8)} if loaded else {}
    factors = {"tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.1}
    section.uns["spatial"] = {"s": {"images": images, "scalefactors": factors}}
    hq.io.attach_image(section, image(*size, f"tissue_{name}_image.png"))
    assert section.uns["histoquilt"]["image"]["image_scale"] == 1 / factor


def test_spots_outside_say_what_would_fit(section, image):
    section.obsm["spatial"] += [20, 0]
    with pytest.raises(ValueError, match=r"100 of 100 spots .*he .120 x 60 px.*at least 16.0x too large.*image_scale="):
        hq.io.attach_image(section, image(120, 60))
    section.uns["spatial"] = {"s": {"scalefactors": {"tissue_hires_scalef": 0.3, "tissue_lowres_scalef": 0.05}}}
    with pytest.raises(ValueError, match=r"fit with 1 / tissue_lowres_scalef of this section: pass image_scale=20\."):
        hq.io.attach_image(section, image(61, 55))
    with pytest.raises(ValueError, match=r"They all fit with image_scale = 1: pass image_scale=1\."):
        hq.io.attach_image(section, image(), image_scale=0.1)
    del section.uns["spatial"]
    section.obsm["spatial"] *= [3, 1]
    with pytest.raises(ValueError, match=r"They fit with x and y exchanged"):
        hq.io.attach_image(section, image(1000, 3300))
    section.obsm["spatial"] *= -1
    with pytest.raises(ValueError, match=r"No scale would change that"):
        hq.io.attach_image(section, image())


def test_a_few_spots_outside_are_a_warning(section, image):
    with pytest.warns(UserWarning, match=r"10 of 100 spots lie outside the image he \("):
        hq.io.attach_image(section, image(1000, 1100))


def test_coordinates_that_are_no_pixels(section, image):
    hq.io.record_coordinates(section, "micron")
    with pytest.raises(ValueError, match=r"in micron units, not pixels.*place_on_image"):
        hq.io.attach_image(section, image())


def test_no_image_and_one_that_moved(section, image):
    with pytest.raises(KeyError, match=r"This section has no image.*attach_image"):
        hq.io.open_image(section)
    path = image()
    hq.io.attach_image(section, path)
    path.rename(path.with_name("moved.png"))
    with pytest.raises(FileNotFoundError, match=r"he.png does not exist.*'moved.png'.*attach it anew"):
        hq.io.open_image(section)


def test_a_truncated_image_and_spots_that_have_left_it(section, image, truncated):
    path = image()
    hq.io.attach_image(section, path)
    truncated(path)
    with pytest.raises(OSError, match=r"truncated or damaged"):
        hq.io.open_image(section)
    image(100, 100)
    with pytest.raises(ValueError, match=r"100 of 100 spots fall outside"):
        hq.io.open_image(section)


def test_mpp_that_nobody_knows(section, image):
    section.obsm["spatial"] = np.random.default_rng(0).uniform(0, 1000, (100, 2))
    with pytest.raises(ValueError, match=r"Cannot determine microns per pixel of .*he.png: neither.*Pass mpp="):
        hq.io.attach_image(section, image())
    hq.io.attach_image(section, image(), mpp=0.5)
    del section.uns["histoquilt"]["image"]["mpp"]
    with pytest.raises(ValueError, match=r"column mpp of samples.csv"):
        hq.io.open_image(section)


def test_the_files_own_mpp_is_used_last_and_compared(section, tmp_path):
    path = tmp_path / "he.png"
    Image.new("RGB", (1200, 1100)).save(path, dpi=(25_400, 25_400))  # 1 um/px; the spots say 2
    with pytest.warns(UserWarning, match=r"mpp of he.png is 1, and 2 by the distance"):
        hq.io.attach_image(section, path)
    assert section.uns["histoquilt"]["image"]["mpp"] == 2.0
    section.obsm["spatial"] = np.random.default_rng(0).uniform(0, 1000, (100, 2))
    hq.io.attach_image(section, path)
    assert section.uns["histoquilt"]["image"]["mpp"] == pytest.approx(1.0, rel=1e-3)


def test_a_table_names_images(section, image, tmp_path):
    image(600, 550)
    hq.io.write_h5ad(section, tmp_path / "a.h5ad")
    (tmp_path / "samples.csv").write_text("section,counts,image,image_scale\na,a.h5ad,he.png,2\n")
    adata = hq.io.read_samples(tmp_path / "samples.csv").sections["a"]
    path = str(tmp_path / "he.png")
    assert adata.uns["histoquilt"]["image"] == {"path": path, "image_scale": 2.0, "mpp": 2.0, "name": "he.png"}
    with hq.io.open_image(adata) as slide:
        assert slide.mpp == 4.0
    (tmp_path / "he.png").write_text("no image")  # domains need none: said when it is opened
    adata = hq.io.read_samples(tmp_path / "samples.csv").sections["a"]
    assert adata.uns["histoquilt"]["image"]["image_scale"] == 2.0
    with pytest.raises(ValueError, match=r"is not an image that can be read"):
        hq.io.open_image(adata)


def test_mpp_of_a_table_that_cannot_be(section, tmp_path):
    hq.io.write_h5ad(section, tmp_path / "a.h5ad")
    (tmp_path / "samples.csv").write_text("section,counts,mpp\na,a.h5ad,250\n")
    with pytest.raises(ValueError, match=r"'a' \(line 2\): mpp is 250 microns per pixel"):
        hq.io.read_samples(tmp_path / "samples.csv")


@pytest.mark.real_data
def test_real_sections_lie_on_their_images(data_dir):
    for counts, file, mpp in [("her2st/C2.h5ad", "her2st/C2.jpg", 0.7), ("mob/MOB1.h5ad", "mob/MOB1.jpg", 6.2)]:
        adata = hq.io.read_section(data_dir / counts)
        hq.io.attach_image(adata, data_dir / file)
        assert adata.uns["histoquilt"]["image"]["mpp"] == pytest.approx(mpp, rel=0.1)
        with hq.io.open_image(adata) as slide:
            x, y = adata.obsm["spatial"][0]
            assert slide.read_region(x - 50, y - 50, 100, 100, out_px=(32, 32)).mean() < 245
