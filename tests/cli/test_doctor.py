"""What ``histoquilt doctor`` says about this machine, and about one where things are missing."""

import platform

import numpy

import histoquilt
from histoquilt.cli import _doctor, run


def test_it_names_what_is_installed(capsys):
    assert run(["doctor"]) == 0
    text = capsys.readouterr().out
    assert f"histoquilt {histoquilt.__version__}" in text
    assert f"Python {platform.python_version()}" in text
    assert numpy.__version__ in text
    assert "device 'auto' is" in text
    assert "threads on" in text
    assert "yes  AnnData (.h5ad)" in text


def test_what_is_missing_comes_with_its_remedy(monkeypatch):
    absent = {"spatialdata", "spatialdata_io", "igraph"}
    monkeypatch.setattr(_doctor, "is_installed", lambda module: module not in absent)
    lines = list(_doctor.examine())
    [zarr] = [line for line in lines if "SpatialData (.zarr)" in line]
    assert zarr == "  no   SpatialData (.zarr): pip install 'histoquilt[spatial]'"
    [cluster] = [line for line in lines if line.startswith("  cluster")]
    assert "missing igraph: pip install 'histoquilt[cluster]'" in cluster


def test_a_core_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(_doctor, "package_versions", lambda names: dict.fromkeys(names))
    assert any("torch" in line and "MISSING" in line for line in _doctor.examine())


def test_slides_that_cannot_be_read_and_encoders_that_are_missing(monkeypatch):
    absent = {"openslide", "imagecodecs", "onnxruntime", "openvino", "timm"}
    monkeypatch.setattr(_doctor, "is_installed", lambda module: module not in absent)
    lines = list(_doctor.examine())
    assert "  no   SVS, NDPI, MRXS, SCN, BIF, VMS, DICOM, CZI: pip install 'histoquilt[wsi]'" in lines
    assert "  yes  other images, through libvips" in lines
    for extra, module in (("wsi", "openslide, imagecodecs"), ("onnx", "onnxruntime"), ("timm", "timm")):
        [line] = [line for line in lines if line.startswith(f"  {extra} ")]
        assert f"missing {module}: pip install 'histoquilt[{extra}]'" in line
