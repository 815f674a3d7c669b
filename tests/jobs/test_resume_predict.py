"""``histoquilt predict --resume``: stopped anywhere, the same command ends with what an undisturbed run writes."""

import gc
import json
import shutil
import weakref

import anndata as ad
import pytest
from anndata import AnnData
from PIL import Image

from histoquilt.cli import run
from histoquilt.datasets import toy_slide
from histoquilt.jobs.expression import _predict, _predict_one

NAMES = ("a", "b", "c")


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
    """A folder of three slides, a.png, b.png and c.png, and of files that are none; a fresh copy."""
    return shutil.copytree(_slides, tmp_path / "slides")


@pytest.fixture
def predict(ridge_model, slides, tmp_path):
    """Run the command on the folder of slides; arguments come on top."""

    def start(*arguments, out=tmp_path / "out", inputs=(slides,)):
        command = ["predict", ridge_model, *inputs, "--mpp", 4, "--pitch-um", 200, "--out", out, "-q", *arguments]
        return run([str(part) for part in command])

    return start


@pytest.fixture
def worked(watch):
    return watch(_predict, "predict_one")


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_of_slides(predict, worked, tmp_path):
    assert predict() == 0
    assert worked == list(NAMES)
    expected = [f"{name}.{suffix}" for name in NAMES for suffix in ("csv", "h5ad")]
    assert files(tmp_path / "out") == sorted([*expected, "report.html", "run.json"])
    assert files(tmp_path) == ["model", "out", "slides"]
    assert list(json.loads((tmp_path / "out" / "run.json").read_text())["n_spots"]) == list(NAMES)


def test_a_folder_without_slides(refused, ridge_model, tmp_path):
    (tmp_path / "empty").mkdir()
    told = refused("predict", ridge_model, tmp_path / "empty", "--out", tmp_path / "out")
    assert "there is no slide in it: looked for .svs, .tif" in told
    assert "Name the slides" in told


def test_stopped_between_inputs_and_gone_on_with(predict, worked, same_results, tmp_path, capsys):
    assert predict("--resume", out=tmp_path / "undisturbed") == 0
    worked.clear()
    worked.stops = {"b": KeyboardInterrupt()}
    assert predict("--resume") == 130
    told = capsys.readouterr().err
    assert "interrupted; what is finished is kept in" in told
    assert "out.partial. The same command goes on from there." in told
    assert files(tmp_path / "out.partial") == ["done"]
    assert files(tmp_path / "out.partial" / "done") == ["a.csv", "a.h5ad", "a.json"]
    assert not (tmp_path / "out").exists()
    worked.stops = {}
    assert predict("--resume") == 0
    assert worked == ["a", "b", "b", "c"]
    same_results(tmp_path / "undisturbed", tmp_path / "out")
    assert not (tmp_path / "out.partial").exists()


def test_stopped_before_anything_is_finished(predict, worked, tmp_path, capsys):
    worked.stops = {"a": KeyboardInterrupt()}
    assert predict("--resume") == 130
    assert "interrupted; nothing was written." in capsys.readouterr().err
    assert files(tmp_path) == ["model", "slides"]


def test_stopped_without_resume(predict, worked, tmp_path, capsys):
    worked.stops = {"b": KeyboardInterrupt()}
    assert predict() == 130
    assert "interrupted; nothing was written." in capsys.readouterr().err
    assert files(tmp_path) == ["model", "slides"]


def test_stopped_while_the_report_is_written(predict, worked, monkeypatch, tmp_path):
    from histoquilt import report

    def stop(*arguments, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(report, "write_prediction_report", stop)
        assert predict("--resume") == 130
    assert not (tmp_path / "out").exists()
    assert predict("--resume") == 0
    assert worked == list(NAMES)
    assert (tmp_path / "out" / "report.html").exists()


def test_what_changed_is_done_again_and_what_is_new_is_added(predict, worked, slides, tmp_path):
    worked.stops = {"c": KeyboardInterrupt()}
    assert predict("--resume") == 130
    worked.clear()
    worked.stops = {}
    with Image.open(slides / "b.png") as image:
        pixels = image.convert("RGB")
    pixels.putpixel((0, 0), (1, 2, 3))
    pixels.save(slides / "b.png")
    shutil.copy(slides / "a.png", slides / "d.png")
    assert predict("--resume") == 0
    assert worked == ["b", "c", "d"]
    assert {"a.h5ad", "b.h5ad", "c.h5ad", "d.h5ad"} < set(files(tmp_path / "out"))


def test_other_settings_do_all_again(predict, worked):
    worked.stops = {"c": KeyboardInterrupt()}
    assert predict("--resume") == 130
    worked.stops = {}
    worked.clear()
    assert predict("--resume", "--pitch-um", 220) == 0
    assert worked == list(NAMES)


def test_a_finished_file_that_was_cut_off_is_made_again(predict, worked, tmp_path):
    worked.stops = {"c": KeyboardInterrupt()}
    assert predict("--resume") == 130
    worked.stops = {}
    worked.clear()
    kept = tmp_path / "out.partial" / "done"
    (kept / "a.csv").write_text("spot")
    (kept / "b.json").write_text("{")
    assert predict("--resume") == 0
    assert worked == list(NAMES)


def test_complete_results_are_known_and_others_refused(predict, worked, tmp_path, capsys):
    assert predict("--resume") == 0
    before = (tmp_path / "out" / "run.json").read_bytes()
    worked.clear()
    capsys.readouterr()
    (tmp_path / "out.partial" / "done").mkdir(parents=True)  # killed before it was removed
    (tmp_path / "out.partial" / "done" / "a.json").touch()
    assert predict("--resume") == 0
    assert "out is complete: already done." in capsys.readouterr().out
    assert (worked, before) == ([], (tmp_path / "out" / "run.json").read_bytes())
    assert files(tmp_path) == ["model", "out", "slides"]
    assert predict("--resume", "--pitch-um", 220) == 2
    assert "already holds results" in capsys.readouterr().err
    assert predict() == 2
    assert "already holds results" in capsys.readouterr().err
    assert worked == []
    assert files(tmp_path) == ["model", "out", "slides"]
    assert predict("--resume", "--pitch-um", 220, "--overwrite") == 0
    assert worked == list(NAMES)


def test_one_that_fails_does_not_stop_the_rest(predict, worked, same_results, tmp_path, capsys):
    assert predict(out=tmp_path / "undisturbed") == 0
    worked.clear()
    capsys.readouterr()
    worked.stops = {"b": ValueError("out of ink")}
    assert predict() == 2
    told = capsys.readouterr().err
    assert "1 of 3 inputs failed" in told
    assert "out of ink" in told
    assert "Nothing was written" in told
    assert files(tmp_path) == ["model", "slides", "undisturbed"]
    assert predict("--resume") == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "1 of 3 inputs failed: b: " in told
    assert "The others are finished and kept in" in told
    assert worked == ["a", "b", "c"] * 2
    worked.clear()
    worked.stops = {}
    assert predict("--resume") == 0
    assert worked == ["b"]
    same_results(tmp_path / "undisturbed", tmp_path / "out")


def test_one_that_fails_is_left_out_on_demand(predict, worked, tmp_path):
    worked.stops = {"b": ValueError("out of ink")}
    assert predict("--skip-bad") == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert "out of ink" in record["skipped"]["b"]
    assert list(record["n_spots"]) == [one["section"] for one in record["inputs"]] == ["a", "c"]
    assert not (tmp_path / "out" / "b.h5ad").exists()
    worked.stops = dict.fromkeys(NAMES, ValueError("out of ink"))
    assert predict("--skip-bad", out=tmp_path / "none") == 2
    assert not (tmp_path / "none").exists()


@pytest.fixture
def alive(monkeypatch):
    """Sections in memory with counts or a prediction in X, and all of them, whenever an input is worked on."""
    made = []
    create = AnnData.__init__

    def counted(self, *arguments, **more):
        create(self, *arguments, **more)
        made.append(weakref.ref(self))

    found = []
    real = _predict_one.predict_one

    def watched(*arguments):
        gc.collect()
        there = [adata for reference in made if (adata := reference()) is not None]
        found.append((sum(adata.X is not None for adata in there), len(there)))
        del there
        return real(*arguments)

    monkeypatch.setattr(AnnData, "__init__", counted)
    monkeypatch.setattr(_predict, "predict_one", watched)
    return found


def test_a_prediction_is_let_go_before_the_next(predict, slides, alive):
    for name in ("d", "e"):
        shutil.copy(slides / "a.png", slides / f"{name}.png")
    assert predict() == 0
    assert alive == [(0, 0)] * 5


def test_of_a_table_no_counts_are_held(ridge_model, study_folder, alive, tmp_path):
    command = ["predict", ridge_model, study_folder / "samples.csv", "--out", tmp_path / "out", "-q"]
    assert run([str(part) for part in command]) == 0
    assert [with_counts for with_counts, _ in alive] == [0] * 3
    assert "measured_log1p_cp10k" in ad.read_h5ad(tmp_path / "out" / "s2.h5ad").layers
