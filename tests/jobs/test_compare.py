"""Conditions compared in files: the results folder, resuming, errors in one line, and conditions from samples.csv."""

import json

import pandas as pd
import pytest

import histoquilt as hq
from histoquilt.cli import run
from histoquilt.metrics import ConditionComparison

FILES = {
    "contrasts.csv", "markers.csv", "neighbours.csv", "neighbours.png", "proportions.csv", "proportions.png",
    "report.html", "run.json", "values.csv",
}  # fmt: skip


@pytest.fixture(scope="module")
def _folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    study = hq.datasets.toy_conditions(n_patients=2, n_spots=120, n_genes=30, n_domains=3, seed=0)
    for name, section in study.items():
        section.obs["domain"] = section.obs["domain_true"]
        hq.io.write_h5ad(section, folder / "results" / f"{name}.h5ad")
    return folder


@pytest.fixture
def folder(_folder, monkeypatch):
    monkeypatch.chdir(_folder)
    return _folder


def test_the_folder_of_a_comparison(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["compare", "results", "--by", "condition", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "treated against control: 2 and 2 patients" in printed
    assert "permutations of so few give no p below 0.33" in printed
    assert {path.name for path in out.iterdir()} - {"shape.csv", "shape.png"} == FILES
    record = json.loads((out / "run.json").read_text())
    assert record["command"] == "compare"
    assert record["n_spots"] == {f"p{number}": 120 for number in range(1, 5)}
    assert record["contrasts"][0]["smallest_p"] == pytest.approx(1 / 3)
    assert [entry["section"] for entry in record["inputs"]] == ["p1", "p2", "p3", "p4"]
    assert any("permutations of so few" in warning for warning in record["warnings"])
    proportions = pd.read_csv(out / "proportions.csv")
    assert proportions["domain"].tolist() == ["island1", "layer1", "layer2"]
    assert proportions["mean_reference"].sum() == pytest.approx(1)
    assert (out / "proportions.png").read_bytes().startswith(b"\x89PNG")


def test_a_joint_file_and_python_give_the_same_and_a_second_run_has_nothing_to_do(folder, tmp_path):
    sections = {path.stem: hq.io.read_h5ad(path) for path in sorted((folder / "results").glob("*.h5ad"))}
    hq.io.write_h5ad(hq.io.concat_sections(sections), tmp_path / "joint.h5ad")
    options = {"resume": True, "progress": False}
    done = hq.jobs.compare_results(tmp_path / "joint.h5ad", tmp_path / "out", **options)
    assert isinstance(done.comparison, ConditionComparison)
    alone = hq.tl.compare_conditions(sections)
    pd.testing.assert_frame_equal(done.comparison.proportions, alone.proportions)
    pd.testing.assert_frame_equal(done.comparison.markers, alone.markers)
    again = hq.jobs.compare_results(tmp_path / "joint.h5ad", tmp_path / "out", **options)
    assert again.already_done
    assert again.facts == done.facts
    with pytest.raises(FileExistsError):
        hq.jobs.compare_results(tmp_path / "joint.h5ad", tmp_path / "out", reference="treated", **options)
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["results", "--by", "arm"], "results: 'arm' is not in obs of any section"),
        (["results", "--patient", "donor"], "Pass --patient."),
        (
            ["results", "--reference", "healthy"],
            "--reference healthy is not in obs['condition'] (found: 'control', 'tre",
        ),
        (["results", "--domain-key", "niche"], "'niche' is not in adata.obs"),
        (["results", "results/p1.h5ad"], "the section 'p1' is in another input, too. Give it once."),
        (["results", "--min-spots", "0"], "min-spots"),
        (["nowhere"], "nowhere does not exist. Give results"),
    ],
)
def test_a_wrong_command_is_one_line(folder, tmp_path, capsys, arguments, message):
    assert run(["compare", *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert not (tmp_path / "out").exists()


def test_conditions_of_a_samples_table_arrive_in_the_results(folder, tmp_path):
    study = hq.datasets.toy_conditions(n_patients=1, n_spots=120, n_genes=60, n_domains=3, seed=0)
    lines = ["section,counts,patient,condition"]
    for number, (name, section) in enumerate(study.items()):
        section.obs = section.obs[["domain_true"]]
        section.write_h5ad(tmp_path / f"{name}.h5ad")
        lines.append(f"{name},{name}.h5ad,{number},{number}")  # text, although they look like numbers
    (tmp_path / "samples.csv").write_text("\n".join(lines))
    hq.jobs.find_domains(tmp_path / "samples.csv", tmp_path / "results", n_domains=3, progress=False)
    found = hq.io.read_h5ad(tmp_path / "results" / "p2.h5ad")
    assert set(found.obs["condition"]) == {"1"}
    done = hq.jobs.compare_results(tmp_path / "results", tmp_path / "compared", progress=False)
    assert done.comparison.contrasts[["condition", "reference"]].iloc[0].tolist() == ["1", "0"]
    assert done.comparison.proportions["p"].isna().all()
    assert "Too few patients for p-values" in (tmp_path / "compared" / "report.html").read_text()
