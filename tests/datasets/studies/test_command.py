"""``histoquilt study``, and then ``domains`` or ``evaluate``: a study's folder to a finished result by two commands."""

import json

import pandas as pd
import pytest
from anndata import read_h5ad

import histoquilt as hq

BARE = ["--levels", "none", "--stability", "none", "--denoise", "none"]  # domains and nothing about them
DOMAINS = ["-k", 3, "--separate", *BARE]
EVALUATE = ["--methods", "ridge", "--field-um", "100", "--n-genes", "10"]


def test_her2st_to_domains(make, command, slides, tmp_path):
    folder, table, out = make("her2st"), tmp_path / "samples.csv", tmp_path / "out"
    said = command("study", folder, "--out", table)
    assert "her2st in" in said
    assert "4 section(s) of 3 patient(s), 4 with an image, 3 with labels" in said
    assert f"Table: {table}" in said
    command("domains", table, *DOMAINS, "--out", out)
    section = read_h5ad(out / "B1.h5ad")  # written with CRLF
    assert section.obs["patient"].unique().tolist() == ["B"]
    assert section.obs["domain"].nunique() == 3
    assert section.n_obs == 63  # one spot is not selected
    labels = section.obs["labels"].astype(str)
    assert labels.iloc[0] == "undetermined"
    assert set(labels.iloc[1:]) == set(slides[1][0].obs["domain_true"].astype(str).iloc[1:-1])
    assert "labels" not in read_h5ad(out / "B2.h5ad").obs


def test_labels_go_to_their_spots(make, command, slides, tmp_path):
    import histoquilt as hq

    folder, table = make("her2st"), tmp_path / "samples.csv"
    command("study", folder, "--out", table, "--layout", "her2st")
    section = hq.io.read_samples(table).sections["A1"]
    truth = slides[0][0].obs["domain_true"].astype(str).iloc[1:-1]
    assert section.obs["labels"].astype(str).iloc[1:].tolist() == truth.tolist()


def test_cscc_to_an_evaluation_by_patient(make, command, tmp_path):
    folder, table, out = make("cscc"), tmp_path / "samples.csv", tmp_path / "out"
    command("study", folder, "--out", table)
    command("evaluate", table, *EVALUATE, "--out", out)
    folds = json.loads((out / "run.json").read_text())["folds"]
    assert {fold["fold"]: fold["test"] for fold in folds} == {
        "P2": ["P2_ST_rep1", "P2_ST_rep2"], "P5": ["P5_ST_rep1"], "P10": ["P10_ST_rep1"],
    }  # fmt: skip
    assert {"ridge", "depth_oracle"} <= set(pd.read_csv(out / "scores.csv")["method"])


def test_dlpfc_to_domains_of_a_stack(make, command, slides, tmp_path):
    folder, table, out = make("dlpfc"), tmp_path / "samples.csv", tmp_path / "out"
    command("study", folder, "--out", table)
    command("domains", table, "-k", 3, *BARE, "--out", out)
    assert json.loads((out / "run.json").read_text())["links"] == "stack"
    for number, name in enumerate(("151673", "151674", "151675", "151676")):
        section = read_h5ad(out / f"{name}.h5ad")
        truth = [f"Layer_{label}" for label in slides[number][0].obs["domain_true"]]
        assert section.obs["labels"].astype(object).iloc[1:].tolist() == truth[1:]
        assert section.obs["labels"].isna().tolist()[:2] == [True, False]


def test_visium_to_an_evaluation_by_section(make, command, refused, tmp_path):
    folder, table, out = make("visium"), tmp_path / "samples.csv", tmp_path / "out"
    assert "--leave-out section" in command("study", folder, "--out", table)
    told = refused("evaluate", table, *EVALUATE, "--out", out)
    assert "Section 'V1_Breast_Cancer_Block_A_Section_1' has no patient, nor have 'V1_Breast_Cancer_Block_A_" in told
    assert "adata.obs" not in told
    command("evaluate", table, *EVALUATE, "--leave-out", "section", "--out", out)
    assert len(json.loads((out / "run.json").read_text())["folds"]) == 3


def test_wu2021_to_an_evaluation_with_labels(make, command, tmp_path):
    folder, table, out = make("wu2021"), tmp_path / "samples.csv", tmp_path / "out"
    command("study", folder, "--out", table)
    command("evaluate", table, *EVALUATE, "--label-key", "labels", "--out", out)
    domains = pd.read_csv(out / "domains.csv")
    assert set(domains["section"]) == {"1142243F", "CID4290", "CID4465"}
    assert (domains["n_labelled"] == 64).all()


def test_hest_to_an_evaluation(make, command, tmp_path):
    folder, table, out = make("hest"), tmp_path / "samples.csv", tmp_path / "out"
    command("study", folder, "--out", table)
    command("evaluate", table, *EVALUATE, "--out", out)
    assert len(json.loads((out / "run.json").read_text())["folds"]) == 4


def test_spamask_to_domains(make, command, tmp_path):
    folder, table, out = make("spamask"), tmp_path / "samples.csv", tmp_path / "out"
    said = command("study", folder, "--layout", "spamask", "--out", table)
    assert "not documented" in said
    command("domains", table, *DOMAINS, "--out", out)
    assert (out / "other.h5ad").is_file()


def test_what_is_missing_is_printed_and_recorded(make, command, tmp_path):
    from histoquilt.jobs import describe_study

    folder, table = make("her2st"), tmp_path / "samples.csv"
    (folder / "data/ST-imgs/A/A1/HE_BT_A1.jpg").unlink()
    line = "A1: ST-imgs/A/A1/*.jpg is missing: domains work, train and evaluate do not."
    assert f"  {line}\n" in command("study", folder, "--out", table)
    done = describe_study(folder, table, overwrite=True, progress=False)
    assert done.facts["missing"] == [line]
    assert done.study.rows["A1"]["patient"] == "A"
    assert (done.facts["n_sections"], done.facts["n_images"], done.facts["n_patients"]) == (4, 3, 3)


def test_sections_of_different_genes_one_by_one(make, command, refused, slides, tmp_path):
    folder, table, out = make("spamask"), tmp_path / "samples.csv", tmp_path / "out"
    other = slides[2][0].copy()
    del other.obs["z_um"]
    other.var_names = [f"Foreign{i}" for i in range(other.n_vars)]
    (folder / "STARmap").mkdir()
    other.write_h5ad(folder / "STARmap" / "mouse.h5ad")
    command("study", folder, "--layout", "spamask", "--out", table)
    told = refused("domains", table, "-k", 3, *BARE, "--out", out)
    assert "together share 0 genes" in told
    assert told.rstrip().endswith("--separate finds the domains of sections that do not belong together.")
    command("domains", table, *DOMAINS, "--out", out)
    assert set(pd.read_csv(out / "domains.csv")["section"].astype(str)) == {"151673", "mouse", "other"}


def test_the_folder_of_a_study_in_place_of_its_table(make, refused, tmp_path):
    folder, out = make("her2st"), tmp_path / "out"
    for command in ("evaluate", "train"):
        assert f"histoquilt study {folder} --out samples.csv writes that table" in refused(
            command, folder, "--out", out
        )
    assert "public study are listed by histoquilt study" in refused("domains", folder, "--out", out)
    task = hq.datasets.toy_hest_task(tmp_path / "TOY", n_sections=2, n_spots=60)
    assert "evaluate it with --protocol hest" in refused("evaluate", task, "--out", out)
    assert "histoquilt evaluate with --protocol hest" in refused("study", task, "--out", tmp_path / "samples.csv")


def test_a_table_is_not_replaced(make, command, refused, tmp_path):
    folder, table = make("cscc"), tmp_path / "samples.csv"
    command("study", folder, "--out", table)
    before = table.read_bytes()
    assert refused("study", folder, "--out", table).endswith("exists. Choose another name, or pass --overwrite.")
    command("study", folder, "--out", table, "--overwrite")
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere", "--out", "s.csv"], "nowhere does not exist; expected the folder of a study"),
        ([".", "--out", "s.csv"], "is not a study in a known layout"),
        ([".", "--out", "s.tsv"], "--out is the table to write, such as samples.csv"),
        ([".", "--layout", "her2", "--out", "s.csv"], "--layout: Unknown study layout 'her2'. Did you mean 'her2st'?"),
        ([".", "--download", "dlpf", "--out", "s.csv"], "Unknown study 'dlpf'. Did you mean 'dlpfc'?"),
        ([".", "--download", "her2st", "--out", "s.csv"], "git clone https://github.com/almaan/her2st"),
    ],
)
def test_what_cannot_be_done(refused, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert told in refused("study", *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real_data
def test_the_real_files_of_her2st(data_dir, command, tmp_path):
    raw, table, out = data_dir / "her2st" / "raw", tmp_path / "samples.csv", tmp_path / "out"
    for target, name in (
        ("ST-cnts/A1.tsv.gz", "A1.tsv.gz"),
        ("ST-spotfiles/A1_selection.tsv", "A1_selection.tsv"),
        ("ST-pat/lbl/A1_labeled_coordinates.tsv", "A1_labeled_coordinates.tsv"),
    ):
        path = tmp_path / "her2st" / "data" / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(raw / name)
    command("study", tmp_path / "her2st", "--out", table)
    command("domains", table, "-k", 4, *BARE, "--out", out)
    ours, known = read_h5ad(out / "A1.h5ad"), read_h5ad(data_dir / "her2st" / "A1.h5ad")
    known = known.obs["label"].astype(str).set_axis(known.obs_names.str.removeprefix("A1_"))
    assert (ours.obs["labels"].astype(str) == known.reindex(ours.obs_names)).all()
    assert ours.n_obs == 346
