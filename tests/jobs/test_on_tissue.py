"""Spots that lie on another image's scale stop ``train``, ``evaluate`` and ``predict`` before any embedding."""

import json

import anndata as ad
import numpy as np
import pytest
from PIL import Image

from histoquilt.cli import run


@pytest.fixture
def scan_folder(study_folder):
    """The study, its tissue at the lower right of a larger scan."""
    picture = np.asarray(Image.open(study_folder / "he.png"))
    height, width = picture.shape[:2]
    side = 2 * max(height, width)
    canvas = np.full((side, side, 3), 242, np.uint8)
    canvas[side - height :, side - width :] = picture
    Image.fromarray(canvas).save(study_folder / "he.png")
    for number in range(3):
        _rewrite(study_folder / f"s{number}.h5ad", lambda xy: np.add(xy, [side - width, side - height]))
    return study_folder


def _rewrite(path, change):
    adata = ad.read_h5ad(path)
    adata.obsm["spatial"] = change(adata.obsm["spatial"])
    adata.write_h5ad(path)


def _hires(xy):
    return xy * 0.3


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_study_on_another_scale_is_refused(scan_folder, refused, tmp_path, monkeypatch, command):
    monkeypatch.setattr("histoquilt.jobs.expression._images.embed_one", lambda *_, **__: pytest.fail("embedded"))
    _rewrite(scan_folder / "s1.h5ad", _hires)
    method = ["--method", "mean"] if command == "train" else ["--methods", "mean"]
    told = refused(command, scan_folder / "samples.csv", *method, "-q", "--out", tmp_path / "out")
    assert "section 's1' of samples.csv: Only 0% of 80 spots lie on the tissue of" in told
    assert "image_scale=0.3" in told or "image_scale=0.29" in told
    assert "Fill the column image_scale of samples.csv" in told
    assert "--skip-bad" in told
    assert "strict" not in told


def test_the_column_makes_it_right(scan_folder, tmp_path):
    for number in range(3):
        _rewrite(scan_folder / f"s{number}.h5ad", _hires)
        adata = ad.read_h5ad(scan_folder / f"s{number}.h5ad")
        adata.uns["histoquilt"]["coordinates"] = {"unit": "pixel", "pitch_um": 100.0}
        adata.write_h5ad(scan_folder / f"s{number}.h5ad")
    rows = [f"s{number},s{number}.h5ad,he.png,p{number},0.3" for number in range(3)]
    (scan_folder / "samples.csv").write_text("\n".join(["section,counts,image,patient,image_scale", *rows]) + "\n")
    arguments = ["--method", "mean", "--field-um", "100", "-q", "--out", str(tmp_path / "out")]
    assert run(["train", str(scan_folder / "samples.csv"), *arguments]) == 0


def test_skip_bad_leaves_the_section_out(scan_folder, tmp_path):
    _rewrite(scan_folder / "s1.h5ad", _hires)
    arguments = ["--method", "mean", "--field-um", "100", "--skip-bad", "-q", "--out", str(tmp_path / "out")]
    assert run(["train", str(scan_folder / "samples.csv"), *arguments]) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert list(record["skipped"]) == ["s1"]
    assert "lie on the tissue" in record["skipped"]["s1"]


def test_prediction_of_a_section_and_of_a_table(scan_folder, ridge_model, refused, tmp_path):
    _rewrite(scan_folder / "s1.h5ad", _hires)
    out = ["-q", "--out", tmp_path / "out"]
    image = ["--image", scan_folder / "he.png", "--mpp", 2]
    told = refused("predict", ridge_model, scan_folder / "s1.h5ad", *image, *out)
    assert "Only 0% of 80 spots lie on the tissue of he" in told
    told = refused("predict", ridge_model, scan_folder / "samples.csv", *out)
    assert "1 of 3 inputs cannot be used: s1: Only 0% of 80 spots" in told
    assert not (tmp_path / "out").exists()
