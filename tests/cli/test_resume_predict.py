"""``histoweave predict --resume``: stopped anywhere, the same command ends with what an undisturbed run writes."""

import gc
import json
import weakref

import anndata as ad
import numpy as np
import pytest
from anndata import AnnData
from anndata.tests.helpers import assert_equal
from PIL import Image

from histoweave.cli import _predict, _predict_one, _progress, run
from histoweave.datasets import toy_slide

NAMES = ("a", "b", "c")
TIMES = ("started", "finished", "wall_s", "peak_rss_mb", "timings", "arguments")


@pytest.fixture(scope="module")
def _slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    for seed, name in enumerate(NAMES):
        _, pixels = toy_slide(n_spots=60, n_genes=20, n_domains=2, seed=seed, mpp=4)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("no slide")
    (folder / "._a.png").write_text("what macOS leaves behind")
    return folder


@pytest.fixture
def slides(_slides, tmp_path):
    import shutil

    return shutil.copytree(_slides, tmp_path / "slides")


@pytest.fixture
def predict(ridge_model, slides, tmp_path):
    """Run the command on the folder of slides; arguments come on top."""

    def start(*arguments, out=tmp_path / "out", inputs=(slides,)):
        command = ["predict", ridge_model, *inputs, "--mpp", 4, "--pitch-um", 200, "--out", out, "-q", *arguments]
        return run([str(part) for part in command])

    return start


@pytest.fixture
def worked(monkeypatch):
    """Names of the inputs that were really predicted, as it happens; ``worked.stop_at`` raises there."""

    class Worked(list):
        stop_at: dict = {}

    names = Worked()
    real = _predict_one.predict_one

    def watched(item, *arguments):
        names.append(item.name)
        if item.name in names.stop_at:
            raise names.stop_at[item.name]
        return real(item, *arguments)

    monkeypatch.setattr(_predict, "predict_one", watched)
    return names


def same_results(one, other):
    """Whether two results folders hold the same, times and the place they were written to apart."""
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in names:
        if name.endswith(".h5ad"):
            assert_equal(ad.read_h5ad(one / name), ad.read_h5ad(other / name), exact=True)
        elif name.endswith(".csv"):
            assert (one / name).read_bytes() == (other / name).read_bytes()
    first, second = (json.loads((folder / "run.json").read_text()) for folder in (one, other))
    assert {key: first[key] for key in first if key not in TIMES} == {
        key: second[key] for key in second if key not in TIMES
    }


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_of_slides(predict, worked, tmp_path):
    assert predict() == 0
    assert worked == list(NAMES)
    expected = [f"{name}.{suffix}" for name in NAMES for suffix in ("csv", "h5ad")]
    assert files(tmp_path / "out") == sorted([*expected, "report.html", "run.json"])
    assert files(tmp_path) == ["model", "out", "slides"]


def test_stopped_between_inputs_and_gone_on_with(predict, worked, tmp_path, capsys):
    assert predict(out=tmp_path / "undisturbed", inputs=(tmp_path / "slides",)) == 0
    worked.clear()
    worked.stop_at = {"b": KeyboardInterrupt()}
    assert predict("--resume") == 130
    told = capsys.readouterr().err
    assert "interrupted; what is finished is kept in" in told
    assert "out.partial. The same command goes on from there." in told
    assert files(tmp_path / "out.partial") == ["done"]
    assert files(tmp_path / "out.partial" / "done") == ["a.csv", "a.h5ad", "a.json"]
    worked.stop_at = {}
    assert predict("--resume") == 0
    assert worked == ["a", "b", "b", "c"]
    same_results(tmp_path / "undisturbed", tmp_path / "out")
    assert not (tmp_path / "out.partial").exists()
