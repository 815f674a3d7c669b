"""``histoquilt train``: a model folder, and one clear line for every likely mistake."""

import json
import re

import anndata as ad
import numpy as np
import pytest
from PIL import Image

from histoquilt import im, models
from histoquilt.cli import run
from histoquilt.im import default_fields
from histoquilt.models.expression import _training_memory
from histoquilt.study import Section


def test_a_model_folder_with_its_record(ridge_model):
    model = models.load(ridge_model)
    record = json.loads((ridge_model / "run.json").read_text())
    assert model.method == "ridge"
    assert record["n_genes"] == model.n_genes == 40
    assert record["field_um"] == [100.0]
    assert record["encoder"] == "he_texture"
    assert {one["section"] for one in record["inputs"]} >= {"s0", "s1", "s2"}
    assert record["inner_validation"]["ridge"]["pcc_median"] > 0.03  # chance is 0.00 +- 0.01
    assert record["inner_validation"]["ridge_plain"]["n_genes"] == 40


def test_fields_follow_the_distance_of_the_spots(study_folder, tmp_path, capsys):
    out = tmp_path / "model"
    assert run(["train", str(study_folder / "samples.csv"), "--method", "mean", "--out", str(out)]) == 0
    model = models.load(out)
    assert [record["field_um"] for record in model.fitted.inputs.records] == [100.0, 50.0, 200.0, 400.0]
    assert model.fitted.inputs.reps[0] == "X_he_texture_100um"
    printed = capsys.readouterr().out
    assert "mean: median correlation 0.000" in printed
    assert "ridge_plain: median correlation" in printed


class Colours:
    """Mean colour of the quarters of a patch."""

    name, digest, mpp, input_px, licence, citation, n_features = "colours", "d" * 64, None, 16, "", "", 12

    def embed(self, patches):
        return patches.reshape(len(patches), 2, 8, 2, 8, 3).mean(axis=(2, 4)).reshape(len(patches), 12).astype("f4")


def test_several_encoders_are_used_side_by_side_in_training_and_prediction(study_folder, tmp_path, capsys, monkeypatch):
    named = im.get_encoder
    monkeypatch.setattr(im, "get_encoder", lambda name, **more: Colours() if name == "colours" else named(name, **more))
    train = ["train", study_folder / "samples.csv", "--method", "ridge", "--field-um", "100", "--n-genes", "10", "-q"]
    both = ["--encoder", "he_texture", "--encoder", "colours"]
    model = tmp_path / "model"
    assert run([*map(str, train), *both, "--out", str(model)]) == 0
    record = json.loads((model / "run.json").read_text())
    assert record["encoder"] == ["he_texture", "colours"]
    assert record["encoder_digest"][1] == Colours.digest
    assert models.load(model).fitted.inputs.reps == ("X_he_texture_100um", "X_colours_100um")
    assert json.loads((model / "provenance.json").read_text())["moments"]["n_individuals"] == 3
    predict = ["predict", str(model), str(study_folder / "he.png"), "--mpp", "2", "-q", "--out"]
    assert run([*predict, str(tmp_path / "found")]) == 0
    found = ad.read_h5ad(tmp_path / "found" / "he.h5ad")
    assert {"X_he_texture_100um", "X_colours_100um"} <= set(found.obsm)
    monkeypatch.setattr(Colours, "digest", "e" * 64)
    assert run([*predict, str(tmp_path / "other")]) == 2
    assert "and colours is another one (digest eeeeeeeeeeee)" in capsys.readouterr().err
    assert run([*map(str, train), *both[:2], *both[:2], "--out", str(tmp_path / "twice")]) == 2
    assert "names an encoder twice" in capsys.readouterr().err


def test_embeddings_that_are_there_need_no_image(study_folder, tmp_path):
    for number in range(3):
        path = study_folder / f"s{number}.h5ad"
        adata = ad.read_h5ad(path)
        adata.obsm["X_own"] = np.random.default_rng(number).normal(size=(adata.n_obs, 4)).astype(np.float32)
        adata.write_h5ad(path)
    (study_folder / "he.png").unlink()
    arguments = ["--method", "knn", "--use-rep", "X_own", "--n-genes", "10", "-q", "--out", str(tmp_path / "model")]
    assert run(["train", str(study_folder / "samples.csv"), *arguments]) == 0
    assert models.load(tmp_path / "model").fitted.inputs.reps == ("X_own",)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "rigde"], "--method: Unknown expression model 'rigde'. Did you mean 'ridge'"),
        (["--encoder", "he_textur"], "Did you mean 'he_texture'"),
        (["--field-um", "100,wide"], "widths in microns"),
        (["--field-um", "100,100"], "names a width twice"),
        (["--field-um", "-5"], "widths in microns"),
        (["--use-rep", "X_own", "--encoder", "he_texture"], "Choose one"),
        (["--use-rep", "X_own"], "'X_own' is not in its obsm"),
        (["--use-rep", "X_own,"], "separated by commas"),
    ],
)
def test_arguments_that_cannot_be(refused, study_folder, tmp_path, arguments, words):
    assert words in refused("train", study_folder / "samples.csv", "--out", tmp_path / "model", *arguments)
    assert not (tmp_path / "model").exists()


def test_memory_is_foretold_and_can_be_ignored(refused, study_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(_training_memory, "available_bytes", lambda: 1_000_000)
    arguments = ["train", study_folder / "samples.csv", "--field-um", "100", "--out", tmp_path / "model", "-q"]
    told = refused(*arguments, "--method", "ridge")
    assert "GB is available" in told
    assert "pass --ignore-memory" in told
    assert not (tmp_path / "model").exists()
    assert run([*map(str, arguments), "--method", "mean", "--ignore-memory"]) == 0


def test_a_study_that_is_none(refused, study_folder, tmp_path):
    out = ["--out", tmp_path / "model"]
    assert "does not exist" in refused("train", tmp_path / "nowhere.csv", *out)
    assert "is not a table of samples" in refused("train", study_folder / "s0.h5ad", *out)
    table = study_folder / "samples.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:2]))
    assert "1 usable section(s), and 2 are needed" in refused("train", table, *out)


def test_a_retrieval_model_says_what_it_contains(study_folder, tmp_path, capsys):
    out = tmp_path / "model"
    arguments = ["--method", "knn", "--field-um", "100", "-q", "--out", str(out)]
    assert run(["train", str(study_folder / "samples.csv"), *arguments]) == 0
    assert f"{out} contains the measured expression of its training sections" in capsys.readouterr().err


def test_displaced_spots_do_not_narrow_the_fields():
    spots = np.stack(np.meshgrid(np.arange(12), np.arange(12)), axis=-1).reshape(-1, 2) * 200.0
    spots += np.random.default_rng(0).uniform(-20, 20, spots.shape)
    adata = ad.AnnData(obsm={"spatial": spots}, uns={"histoquilt": {"coordinates": {"unit": "micron"}}})
    assert default_fields(Section("s", adata).nominal_pitch_um) == [200.0, 100.0, 400.0, 800.0]


def test_images_that_cannot_be_used_are_told_before_any_work(refused, study_folder, tmp_path):
    table, out = study_folder / "samples.csv", ["--out", tmp_path / "model", "--field-um", "100"]
    text = table.read_text()
    table.write_text(text.replace("s1.h5ad,he.png", "s1.h5ad,gone.png").replace("s2.h5ad,he.png", "s2.h5ad,"))
    told = refused("train", table, *out)
    assert "2 of 3 sections cannot be used" in told
    assert "gone.png" in told
    assert "Fill the column image" in told
    assert "--skip-bad" in told
    pixels = (study_folder / "he.png").read_bytes()
    (study_folder / "half.png").write_bytes(pixels[: len(pixels) // 2])
    table.write_text(text.replace("s1.h5ad,he.png", "s1.h5ad,half.png"))
    assert "half.png" in refused("train", table, *out)
    Image.new("L", (1200, 1200), 200).save(study_folder / "grey.png")
    table.write_text(text.replace("s1.h5ad,he.png", "s1.h5ad,grey.png"))
    assert "RGB" in refused("train", table, *out)
    Image.new("RGB", (60, 60), "white").save(study_folder / "small.png")
    table.write_text(text.replace("s1.h5ad,he.png", "s1.h5ad,small.png"))
    assert "fall outside the image" in refused("train", table, *out)


def test_skip_bad_goes_on_and_says_so(study_folder, tmp_path, capsys):
    table, out = study_folder / "samples.csv", tmp_path / "model"
    table.write_text(table.read_text().replace("s1.h5ad,he.png", "s1.h5ad,gone.png"))
    arguments = ["--method", "mean", "--field-um", "100", "--skip-bad", "--out", str(out)]
    assert run(["train", str(table), *arguments]) == 0
    assert "s1" in json.loads((out / "run.json").read_text())["skipped"]
    assert "s1: left out" in capsys.readouterr().out


def test_results_are_not_replaced_unasked(refused, study_folder, ridge_model, tmp_path):
    table = study_folder / "samples.csv"
    assert "already holds results" in refused("train", table, "--out", ridge_model)
    again = [
        "train",
        str(table),
        "--method",
        "mean",
        "--field-um",
        "100",
        "-q",
        "--overwrite",
        "--out",
        str(ridge_model),
    ]
    assert run(again) == 0
    assert models.load(ridge_model).method == "mean"


def test_the_same_seed_trains_the_same_model(study_folder, ridge_model, tmp_path):
    out = tmp_path / "again"
    arguments = ["--method", "ridge", "--field-um", "100", "-q", "--cache", str(tmp_path / "cache"), "--out", str(out)]
    assert run(["train", str(study_folder / "samples.csv"), *arguments]) == 0
    one, two = (np.load(folder / "arrays.npz", allow_pickle=False) for folder in (ridge_model, out))
    assert all(np.array_equal(one[name], two[name]) for name in one.files)
    assert any((tmp_path / "cache").rglob("*"))


def test_a_stack_names_its_members_with_weights_and_inner_scores(study_folder, tmp_path, capsys):
    out = tmp_path / "model"
    arguments = ["train", str(study_folder / "samples.csv"), "--field-um", "100", "--n-genes", "10", "--out", str(out)]
    assert run(arguments) == 0
    record, provenance = (json.loads((out / name).read_text()) for name in ("run.json", "provenance.json"))
    assert record["method"] == "stack"
    assert record["stack"]["weights"] == provenance["chosen"]["weights"]
    assert set(record["stack"]["inner_scores"]) == {"reduced_rank_ridge", "count_regression", "knn", "stack"}
    printed = capsys.readouterr().out
    assert "of its members alone:" in printed
    assert re.search(r"    count_regression: -?\d\.\d{3}, weight ([01]\.\d\d|0, not used)\n", printed)
