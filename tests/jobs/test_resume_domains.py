"""``histoquilt domains --resume``: finished sections are kept, and the end is the same."""

import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import histoquilt as hq
from histoquilt import models, report
from histoquilt.cli import run
from histoquilt.im.encoders._he_texture import TextureEncoder
from histoquilt.jobs import _segment_all
from histoquilt.models import SharedFactors

BARE = ["--levels", "none", "--stability", "none", "--denoise", "none"]  # domains and nothing about them


class Killed(BaseException):
    """No error that anything would catch."""


@pytest.fixture
def domains(three_files, tmp_path):
    """Run the command on three sections, kept apart unless told otherwise; arguments come on top."""
    config = tmp_path / "quick.json"
    config.write_text(json.dumps({"n_pcs": 20}))

    def start(*arguments, out=tmp_path / "out", inputs=three_files, separate=True):
        more = ["--separate"] if separate else []
        command = ["domains", *inputs, *more, "-k", 3, "--config", config, "--out", out, "-q", *BARE, *arguments]
        return run([str(part) for part in command])

    return start


@pytest.fixture
def worked(watch):
    return watch(_segment_all, "segment_one")


@pytest.fixture
def fits(monkeypatch):
    """Count the models that are fitted; ``fits.kill_at`` is the last one."""

    class Fits:
        n, kill_at = 0, -1

    counted = Fits()
    learn = SharedFactors.learn

    def watched(self, *arguments, **more):
        counted.n += 1
        if counted.n == counted.kill_at:
            raise Killed
        return learn(self, *arguments, **more)

    monkeypatch.setattr(SharedFactors, "learn", watched)
    return counted


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def kill_report(monkeypatch):
    """Kill what is done inside as it writes the report."""

    def kill(*arguments, **more):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(report, "write_report", kill)
        yield


def test_finished_sections_are_kept(domains, worked, fits, same_results, monkeypatch, tmp_path):
    """Killed in the second section, and again while the report is written."""
    assert domains("--resume", out=tmp_path / "undisturbed") == 0
    worked.clear()
    fits.n, fits.kill_at = 0, 2  # in the second section
    with pytest.raises(Killed):
        domains("--resume")
    kept = tmp_path / "out.partial"
    assert files(kept / "done") == ["s1.h5ad", "s1.json"]
    fits.kill_at = -1
    with kill_report(monkeypatch), pytest.raises(Killed):
        domains("--resume")
    assert worked == ["s1", "s2", "s2", "s3"]
    assert not (tmp_path / "out").exists()
    fits.n = 0
    assert domains("--resume") == 0
    assert fits.n == 0
    same_results(tmp_path / "undisturbed", tmp_path / "out")
    assert not kept.exists()


def test_what_is_interrupted_between_sections(domains, worked, tmp_path, capsys):
    worked.stops = {"s2": KeyboardInterrupt()}
    assert domains("--resume") == 130
    assert "out.partial. The same command goes on from there." in capsys.readouterr().err
    worked.stops = {}
    worked.clear()
    assert domains("--resume", "--seed", 7) == 0  # another job: nothing of the first is used
    assert worked == ["s1", "s2", "s3"]
    worked.clear()
    assert domains("--resume", "--seed", 7) == 0
    assert "already done" in capsys.readouterr().out
    assert worked == []
    for other in ([], ["--seed", 7, "--stability", "spots"]):
        assert domains("--resume", *other) == 2
        assert "already holds results" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["alone with its model", "study"])
def test_killed_while_the_report_is_written(domains, three_files, fits, same_results, monkeypatch, tmp_path, command):
    more = {
        "alone with its model": {"inputs": three_files[:1], "separate": False},
        "study": {"separate": False},
    }[command]
    options = ["--save-model", "--resume"]
    assert domains(*options, out=tmp_path / "undisturbed", **more) == 0
    with kill_report(monkeypatch), pytest.raises(Killed):
        domains(*options, **more)
    assert not (tmp_path / "out").exists()
    fits.n = 0
    assert domains(*options, **more) == 0
    assert fits.n == (0 if command != "study" else fits.n)  # a study is integrated anew
    same_results(tmp_path / "undisturbed", tmp_path / "out")
    assert models.load(tmp_path / "out" / "model").domains is not None
    assert not (tmp_path / "out.partial").exists()


def test_a_section_that_fails_does_not_stop_the_rest(domains, worked, tmp_path, capsys):
    worked.stops = {"s2": ValueError("no tissue")}
    assert domains() == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "1 of 3 inputs failed: s2: " in told
    assert "Nothing was written" in told
    assert not (tmp_path / "out").exists()
    assert domains("--skip-bad", out=tmp_path / "without") == 0
    facts = json.loads((tmp_path / "without" / "run.json").read_text())
    assert list(facts["skipped"]) == ["s2"]
    assert list(facts["n_spots"]) == ["s1", "s3"]
    assert domains("--resume") == 2
    assert "The others are finished and kept in" in capsys.readouterr().err
    worked.stops = {}
    worked.clear()
    assert domains("--resume") == 0
    assert worked == ["s2"]


def test_a_row_that_changed_is_done_again(domains, three_files, worked, samples, tmp_path):
    rows = [f"{path.stem},{path},p1" for path in three_files]
    table = samples("section,counts,patient", *rows)
    worked.stops = {"s3": KeyboardInterrupt()}
    assert domains("--resume", inputs=[table]) == 130
    worked.stops = {}
    worked.clear()
    samples("section,counts,patient", rows[0].replace("p1", "p2"), *rows[1:])
    assert domains("--resume", inputs=[table]) == 0
    assert worked == ["s1", "s3"]


def test_a_file_of_labels_that_changed_is_read_again(domains, three_files, worked, samples, tmp_path):
    rows = []
    for path in three_files:
        labels = tmp_path / f"{path.stem}_labels.csv"
        names = hq.io.read_h5ad(path).obs_names
        labels.write_text("spot,label\n" + "".join(f"{name},edge\n" for name in names))
        rows.append(f"{path.stem},{path},{labels}")
    table = samples("section,counts,labels", *rows)
    worked.stops = {"s3": KeyboardInterrupt()}
    assert domains("--resume", inputs=[table]) == 130
    worked.stops = {}
    worked.clear()
    labels = tmp_path / "s1_labels.csv"
    labels.write_text(labels.read_text().replace("edge", "centre"))
    assert domains("--resume", inputs=[table]) == 0
    assert worked == ["s1", "s3"]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [entry["section"] for entry in record["inputs"] if entry.get("what") == "labels"] == ["s1", "s2", "s3"]
    assert set(hq.io.read_h5ad(tmp_path / "out" / "s1.h5ad").obs["labels"]) == {"centre"}


@pytest.fixture
def imaged(study_folder):
    """A table of three sections, of which s1 has an image file of its own, s1.png."""
    shutil.copy(study_folder / "he.png", study_folder / "s1.png")
    table = study_folder / "samples.csv"
    rows = [line.replace("he.png", "s1.png") if line.startswith("s1,") else line for line in table.open()]
    table.write_text("".join(rows))
    return table


def whiten(image):
    """Make the left edge of an image white."""
    pixels = np.array(Image.open(image))
    pixels[:, :3] = 255
    Image.fromarray(pixels).save(image)


@pytest.mark.parametrize("separate", [True, False], ids=["separate", "study"])
def test_a_changed_image_is_read_again(domains, worked, imaged, capsys, tmp_path, separate):
    more = {"inputs": [imaged], "separate": separate}
    options = ["--resume", "--image", "edges"]
    assert domains(*options, **more) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    images = {one["section"]: Path(one["path"]).name for one in record["inputs"] if one.get("what") == "image"}
    assert images == {"s0": "he.png", "s1": "s1.png", "s2": "he.png"}
    assert domains(*options, **more) == 0
    assert "already done" in capsys.readouterr().out
    whiten(imaged.parent / "s1.png")
    assert domains(*options, **more) == 2
    assert "already holds results" in capsys.readouterr().err
    assert domains("--resume", out=tmp_path / "genes", **more) == 0
    whiten(imaged.parent / "he.png")
    worked.clear()
    assert domains("--resume", out=tmp_path / "genes", **more) == 0  # images are not read
    assert "already done" in capsys.readouterr().out
    assert worked == []


def test_only_sections_of_a_changed_image_are_done_again(domains, worked, imaged):
    worked.stops = {"s2": KeyboardInterrupt()}
    options = ["--resume", "--image", "only"]
    assert domains(*options, inputs=[imaged]) == 130
    worked.stops = {}
    worked.clear()
    whiten(imaged.parent / "s1.png")
    assert domains(*options, inputs=[imaged]) == 0
    assert worked == ["s1", "s2"]


def test_another_encoder_of_the_same_name(domains, imaged, monkeypatch, capsys):
    options = ["--resume", "--image", "features", "--encoder", "he_texture"]
    assert domains(*options, inputs=[imaged]) == 0
    made = TextureEncoder.__init__

    def other(encoder, *arguments, **more):
        made(encoder, *arguments, **more)
        encoder.digest = "another"

    monkeypatch.setattr(TextureEncoder, "__init__", other)
    assert domains(*options, inputs=[imaged]) == 2
    assert "already holds results" in capsys.readouterr().err


def test_positions_beside_the_counts_that_changed(domains, three, tmp_path, capsys):
    """Of legacy ST the selection table is read with the counts."""
    section = three["s1"]
    counts = pd.DataFrame(section.X.toarray(), columns=section.var_names).astype(int)
    columns, rows = np.arange(section.n_obs) % 15, np.arange(section.n_obs) // 15
    counts.index = [f"{x}x{y}" for x, y in zip(columns, rows, strict=True)]
    counts.to_csv(tmp_path / "A1.tsv", sep="\t")
    places = pd.DataFrame({"x": columns, "y": rows, "pixel_x": 100.0 * columns, "pixel_y": 100.0 * rows})
    places.to_csv(tmp_path / "A1_selection.tsv", sep="\t", index=False)
    more = {"inputs": [tmp_path / "A1.tsv"], "separate": False}
    for _ in range(2):
        assert domains("--resume", **more) == 0
    assert "already done" in capsys.readouterr().out
    places.assign(pixel_x=places["pixel_x"] + 10).to_csv(tmp_path / "A1_selection.tsv", sep="\t", index=False)
    assert domains("--resume", **more) == 2
    assert "already holds results" in capsys.readouterr().err


def test_a_full_disk_stops_the_run_and_says_what_is_kept(domains, worked, monkeypatch, tmp_path, capsys):
    from histoquilt import io

    real = io.write_h5ad

    def write(adata, path):
        if path.name == "s2.h5ad":
            raise OSError(28, "No space left on device")
        real(adata, path)

    monkeypatch.setattr(io, "write_h5ad", write)
    assert domains("--resume") == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device. Free some space" in told
    assert "what is finished is kept in" in told
    assert worked == ["s1", "s2"]
    assert files(tmp_path / "out.partial" / "done") == ["s1.h5ad", "s1.json"]
