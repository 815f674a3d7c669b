"""``evaluate`` with folds of a user: those of the table and of a file, and the leaks that are refused."""

import json
import shutil

import pandas as pd
import pytest

from histoquilt.evaluate import check_images
from histoquilt.train import read_splits

EVALUATE = ["--methods", "ridge", "--field-um", "100", "--n-genes", "10"]


@pytest.fixture
def study(make, command, tmp_path):
    """The samples.csv of four sections of three patients, in a table."""
    path = tmp_path / "samples.csv"
    command("study", make("cscc"), "--out", path)
    return path


def change(path, **columns):
    table = pd.read_csv(path, dtype=str)
    table.assign(**columns).to_csv(path, index=False)


def splits(path, *rows):
    file = path.with_name("folds.csv")
    file.write_text("\n".join(["fold,section,side", *rows]) + "\n")
    return file


FINE = [
    "one,P10_ST_rep1,train", "one,P5_ST_rep1,train", "one,P2_ST_rep1,test",
    "two,P2_ST_rep1,train", "two,P2_ST_rep2,train", "two,P10_ST_rep1,test",
]  # fmt: skip


def test_folds_of_a_file(study, command, tmp_path):
    out = tmp_path / "out"
    command("evaluate", study, *EVALUATE, "--splits", splits(study, *FINE), "--out", out)
    facts = json.loads((out / "run.json").read_text())
    assert [(fold["fold"], fold["test"]) for fold in facts["folds"]] == [
        ("one", ["P2_ST_rep1"]), ("two", ["P10_ST_rep1"]),
    ]  # fmt: skip
    assert facts["leave_out"] == "own splits"
    assert not facts["optimistic"]
    assert any(entry["path"].endswith("folds.csv") for entry in facts["inputs"])
    assert "folds of a file" in (out / "report.html").read_text()


def test_folds_of_the_column(study, command, refused, tmp_path):
    change(study, fold=["1", "2", "2", "1"])
    command("evaluate", study, *EVALUATE, "--leave-out", "fold", "--out", tmp_path / "out")
    folds = json.loads((tmp_path / "out" / "run.json").read_text())["folds"]
    assert len(folds) == 2
    assert all(len(fold["test"]) == len(fold["train"]) == 2 for fold in folds)
    change(study, fold=["1", "1", "2", "2"])
    said = refused("evaluate", study, *EVALUATE, "--leave-out", "fold", "--out", tmp_path / "other")
    assert "leaks: patient 'P2' on both sides" in said


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            ["x,P2_ST_rep1,train", "x,P5_ST_rep1,train", "x,P2_ST_rep2,test"],
            "Split 'x' leaks: patient 'P2' on both sides",
        ),
        (["x,P2_ST_rep1,train", "x,P5_ST_rep1,test"], "Fold 'x' leaves one section to train on"),
        (["x,P2_ST_rep1,train", "x,P2_ST_rep2,train"], "Split 'x' has no test section"),
        (["x,P2_ST_rep1,train", "x,P2_ST_rep9,train", "x,P5_ST_rep1,test"], "does not have: 'P2_ST_rep9'"),
        (["x,P2_ST_rep1,training"], "expected a fold, a section, and train or test"),
    ],
)
def test_folds_that_leak_or_are_wrong(study, refused, tmp_path, rows, told):
    out = tmp_path / "out"
    assert told in refused("evaluate", study, *EVALUATE, "--splits", splits(study, *rows), "--out", out)
    assert not out.exists()


def test_a_patient_under_two_spellings_raises_a_warning(study, command, tmp_path):
    change(study, patient=["P2", "P10", "P5", "p_02"])
    rows = ["x,P2_ST_rep1,train", "x,P10_ST_rep1,train", "x,P2_ST_rep2,test"]
    said = command("evaluate", study, *EVALUATE, "--splits", splits(study, *rows), "--out", tmp_path / "out")
    assert "Split 'x' holds out the patient 'p_02' and trains on 'P2'. If they are one, write the name alike" in said


def test_leaks_that_names_do_not_show(study, refused, tmp_path):
    table = pd.read_csv(study, dtype=str)
    own = table.set_index("section")
    folder = study.parent / "copies"
    folder.mkdir()
    for column in ("counts", "spots"):  # the same tissue under another name and patient
        source = study.parent / own.loc["P2_ST_rep1", column]
        shutil.copy(source, folder / source.name.replace("P2_ST_rep1", "X_ST_rep1"))
    extra = own.loc["P5_ST_rep1"].copy()
    extra["counts"], extra["spots"] = (
        next(path for path in folder.iterdir() if mark in path.name).relative_to(study.parent).as_posix()
        for mark in ("stdata", "selection")
    )
    extra["image"], extra["patient"] = own.loc["P2_ST_rep1", "image"], "X"
    pd.concat([own, extra.to_frame("again").T]).rename_axis("section").to_csv(study)
    rows = ["x,P2_ST_rep1,train", "x,P10_ST_rep1,train", "x,again,test"]
    said = refused("evaluate", study, *EVALUATE, "--splits", splits(study, *rows), "--out", tmp_path / "out")
    assert "spots of the held-out section 'again' are also in 'P2_ST_rep1', which is trained on, with the same" in said
    assert "leaks" in refused("evaluate", study, *EVALUATE, "--out", tmp_path / "out")  # by patient, too
    own.loc["P5_ST_rep1", "image"] = own.loc["P10_ST_rep1", "image"]
    own.to_csv(study)
    rows = ["x,P2_ST_rep1,train", "x,P10_ST_rep1,train", "x,P5_ST_rep1,test"]
    said = refused("evaluate", study, *EVALUATE, "--splits", splits(study, *rows), "--out", tmp_path / "out")
    assert "lie on the same image as sections that are trained on ('P5_ST_rep1 and P10_ST_rep1')" in said
    check_images(read_splits(study.with_name("folds.csv"), optimistic=True), dict.fromkeys(own.index, "one image"))


def test_a_section_that_cannot_be_used_leaves_the_folds(study, command, tmp_path):
    change(study, image=pd.read_csv(study)["image"].where(pd.read_csv(study)["section"] != "P2_ST_rep2", "gone.jpg"))
    said = command(
        "evaluate", study, *EVALUATE, "--skip-bad", "--splits",
        splits(study, *FINE[:3], "two,P5_ST_rep1,train", *FINE[3:]), "--out", tmp_path / "out",
    )  # fmt: skip
    assert "cannot be used are left out of the folds: 'P2_ST_rep2'" in said


def test_no_file_of_splits(study, refused, tmp_path):
    assert "there is no file nowhere.csv (--splits)" in refused(
        "evaluate", study, "--splits", "nowhere.csv", "--out", tmp_path / "out"
    )
