"""Images of ``uns["spatial"]`` as files hold them: what can be drawn is, the rest is left out and said."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest

import histoquilt as hq
from histoquilt.draw._tissue import tissue_image

PIXELS = np.random.default_rng(0).integers(20, 250, (40, 50, 3), dtype=np.uint8)
PIXELS[0] = 250


@pytest.fixture
def section():
    adata = hq.datasets.toy_section(n_spots=80, n_genes=10, n_domains=2, seed=0)
    adata.obs["domain"] = adata.obs["domain_true"].astype("category")
    adata.uns["spatial"] = {"A": library(PIXELS)}
    return adata


def library(pixels, scale=0.02):
    return {"images": {"hires": pixels}, "scalefactors": {"tissue_hires_scalef": scale, "spot_diameter_fullres": 50.0}}


@pytest.mark.parametrize(
    "image",
    [
        PIXELS / 255,
        (PIXELS / 255).astype(np.float32),
        PIXELS.astype(float),
        PIXELS.astype(np.int64),
        PIXELS.astype(np.uint16),
        PIXELS.astype(np.uint16) * 16,
        PIXELS.astype(np.uint16) * 257,
        PIXELS.astype(float) * 257,
    ],
    ids=["0-1", "float32", "0-255", "int64", "8 of 16", "12 of 16", "16", "float 16"],
)
def test_images_of_any_depth_are_drawn_alike(image, section):
    section.uns["spatial"]["A"] = library(image)
    assert np.abs(tissue_image(section).pixels.astype(int) - PIXELS).max() <= 1
    ax = hq.pl.domains(section)
    assert len(ax.images) == 1
    plt.gcf().canvas.draw()


def test_grey_and_transparent_images_are_drawn(section):
    section.uns["spatial"]["A"] = library(PIXELS[..., 0])
    assert (tissue_image(section).pixels == PIXELS[..., :1]).all()
    section.uns["spatial"]["A"] = library(PIXELS[..., :1] / 255)
    assert (tissue_image(section).pixels == PIXELS[..., :1]).all()
    section.uns["spatial"]["A"] = library(np.concatenate([PIXELS / 255, np.ones((40, 50, 1))], axis=2))
    assert (tissue_image(section).pixels[..., 3] == 255).all()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (PIXELS.transpose(2, 0, 1), r"of 3 x 40 x 50 \(uint8\): expected .height, width, 3., colours last"),
        (np.zeros((40, 50, 5), np.uint8), r"of 40 x 50 x 5 \(uint8\): expected"),
        (PIXELS / 255 - 0.5, r"of 40 x 50 x 3 \(float64\): values from -0.4"),
        (PIXELS.astype(np.int64) * 100_000, r"values from .* to"),
        (np.array(["no image"]), r"values of type"),
        (np.zeros((0, 50, 3), np.uint8), "no pixels"),
    ],
)
def test_what_cannot_be_drawn_is_left_out(image, words, section, tmp_path):
    section.uns["spatial"]["A"] = library(image)
    with pytest.warns(UserWarning, match=r"\['spatial'\]\['A'\]\['images'\]\['hires'\] .*" + words) as seen:
        assert not hq.pl.domains(section).images
    assert len(seen) == 1
    with pytest.warns(UserWarning, match="is left out") as seen:
        hq.report.write_report(section, tmp_path / "a.html")
    assert len(seen) == 1
    assert "data:image/jpeg" not in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize("flag", [True, np.bool_(True), np.array(True)])
def test_is_single_is_no_library(flag, section, tmp_path):
    section.uns["spatial"] = {"is_single": flag, "A": library(PIXELS)}
    assert len(hq.pl.domains(section).images) == 1
    hq.report.write_report(section, tmp_path / "a.html")
    assert "data:image/jpeg" in (tmp_path / "a.html").read_text()
    joint = hq.io.concat_sections({"s1": section, "s2": section})
    assert list(joint.uns["spatial"]) == ["s1", "s2"]
    assert list(hq.io.split_sections(joint)["s2"].uns["spatial"]) == ["A"]
    section.uns["spatial"] = {"is_single": flag}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not hq.pl.domains(section).images
    hq.im.attach_picture(section, np.full((9000, 9000, 3), 200, np.uint8))
    assert len(hq.pl.domains(section).images) == 1


@pytest.mark.parametrize("column", ["library_id", "section", "sample_id", "batch"])
def test_of_several_libraries_the_one_of_the_section(column, section):
    section.uns["spatial"] = {"is_single": False, "A": library(PIXELS), "B": library(PIXELS // 2)}
    section.obs[column] = "B"
    assert (tissue_image(section).pixels == PIXELS // 2).all()
    section.obs["patient"] = "p1"
    assert (tissue_image(section, library_key="patient").pixels == PIXELS // 2).all()
    section.obs[column] = "C"
    with pytest.warns(UserWarning, match=r"images of 'A', 'B', and no column of obs names one"):
        assert tissue_image(section) is None
