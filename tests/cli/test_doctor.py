"""What ``histoquilt doctor`` says about this machine, and about one where things are missing."""

import platform
import re
from importlib.metadata import distribution, packages_distributions

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
    assert re.search(r" (1 thread|\d+ threads) on (1 core|\d+ cores);", text)
    assert "yes  AnnData (.h5ad)" in text


def test_what_is_missing_comes_with_its_remedy(monkeypatch):
    absent = {"spatialdata", "spatialdata_io", "igraph"}
    monkeypatch.setattr(_doctor, "is_installed", lambda module: module not in absent)
    lines = list(_doctor.examine())
    [zarr] = [line for line in lines if "SpatialData (.zarr)" in line]
    assert zarr == "  no   SpatialData (.zarr): pip install 'histoquilt[spatial]'"
    [leiden] = [line for line in lines if line.startswith("  leiden")]
    assert "missing igraph: pip install 'histoquilt[leiden]'" in leiden


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


def test_every_extra_is_told_with_all_that_it_brings():
    ours = distribution("histoquilt")
    extras = set(ours.metadata.get_all("Provides-Extra")) - {"dev", "docs", "test"}
    assert set(_doctor.EXTRAS) == extras
    packages = {
        module: {name.lower().replace("_", "-") for name in names} for module, names in packages_distributions().items()
    }
    for extra, (_, modules) in _doctor.EXTRAS.items():
        needs = [one for one in ours.requires if re.search(rf"extra == ['\"]{extra}['\"]", one)]
        brought = {re.match(r"[\w.-]+", one)[0].lower().replace("_", "-") for one in needs}
        brought = {name.removesuffix("-bin").removesuffix("-binary") for name in brought} - {"openslide"}
        told = set().union(*(packages[module] for module in modules if module in packages))
        assert brought <= told | {"torchvision"}, extra
