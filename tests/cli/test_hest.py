"""``histoquilt evaluate TASK --protocol hest``: from a folder as HEST-Bench publishes it to a table."""

import json
import shutil
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import pearsonr
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from histoquilt.cli import run
from histoquilt.datasets import toy_hest_task
from histoquilt.im import get_encoder

FAST = ["--protocol", "hest", "--methods", "mean"]


@pytest.fixture(scope="module")
def _tasks(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    toy_hest_task(folder / "IDC", n_sections=3, n_spots=60, n_genes=60)
    for path in (folder / "IDC" / "splits").glob("*_[12].csv"):  # one split is enough
        path.unlink()
    shown = ad.read_h5ad(folder / "IDC" / "adata" / "IDC1.h5ad")
    factors = {"spot_diameter_fullres": 110.0, "tissue_downscaled_fullres_scalef": 0.05}
    picture = np.full((140, 140, 3), 200, dtype=np.uint8)  # as HEST-1k names its small image
    shown.uns["spatial"] = {"ST": {"images": {"downscaled_fullres": picture}, "scalefactors": factors}}
    shown.write_h5ad(folder / "IDC" / "adata" / "IDC1.h5ad")
    pair = folder / "PAIR"  # one section to train on
    for part in ("adata", "patches", "splits"):
        (pair / part).mkdir(parents=True)
    for name in ("IDC1", "IDC2"):
        for part in (f"adata/{name}.h5ad", f"patches/{name}.h5"):
            shutil.copy(folder / "IDC" / part, pair / part)
    shutil.copy(folder / "IDC" / "var_50genes.json", pair)
    for side, name in (("train", "IDC1"), ("test", "IDC2")):
        table = f"sample_id,patches_path,expr_path\n{name},patches/{name}.h5,adata/{name}.h5ad\n"
        (pair / "splits" / f"{side}_0.csv").write_text(table)
    return folder


@pytest.fixture
def tasks(_tasks, tmp_path) -> Path:
    return shutil.copytree(_tasks, tmp_path / "bench")


def test_all_tasks_in_one_table(tasks, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["evaluate", *FAST, "--all", str(tasks), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    table = pd.read_csv(out / "table.csv")
    assert table.columns.tolist() == [
        "method",
        "kind",
        "encoder",
        "average",
        "average_adjusted",
        "IDC",
        "PAIR",
        "source",
    ]
    own = table[table["kind"] != "quoted"].set_index("method")
    assert own.index[0] == "hest_probe"
    assert {"mean", "ridge", "predicted_depth", "probe_depth", "depth_oracle"} <= set(own.index)
    assert own.loc["ridge", ["IDC", "PAIR"]].isna().tolist() == [False, True]  # needs two sections to train on
    assert own.loc[["hest_probe", "probe_depth", "depth_oracle"], "PAIR"].notna().all()
    assert table.query("kind == 'quoted' and encoder == 'ResNet50'")["IDC"].tolist() == [0.4739]
    rows = pd.read_csv(out / "hest.csv")
    assert set(rows["task"]) == {"IDC", "PAIR"}
    assert set(rows["n_genes"]) == {50}
    scores = pd.read_csv(out / "IDC" / "scores.csv")
    assert set(scores.query("gene_set == 'panel' and section == 'IDC1'")["n_genes"]) == {50}
    assert not (out / "PAIR").exists()
    record = json.loads((out / "run.json").read_text())
    assert record["tasks"]["IDC"]["patients"]["IDC2"] == "patient 2"
    assert record["tasks"]["IDC"]["splits"]["0"]["test"] == ["IDC1"]
    assert record["encoder"] == "he_texture"
    assert any(entry["path"].endswith("patches/IDC1.h5") for entry in record["inputs"])
    page = (out / "report.html").read_text()
    for words in ("not computed here", "mahmoodlab/HEST", "IDC under our rules", 'href="IDC/report.html"', "ResNet50"):
        assert words in page
    assert "As HEST-Bench scores" in (out / "IDC" / "report.html").read_text()
    assert "PAIR: only the probe was run: split '0' trains on one section" in captured.out
    assert "26 published rows, which were not computed here" in captured.out


def test_a_task_is_read_once(tasks, tmp_path, monkeypatch):
    from histoquilt import io

    read, names = io.read_hest_section, []

    def counted(task, name):
        names.append(name)
        return read(task, name)

    monkeypatch.setattr(io, "read_hest_section", counted)
    sets = tmp_path / "sets.gmt"
    sets.write_text("SET\tnone\tGENE1\tGENE2\n")
    command = ["evaluate", str(tasks / "PAIR"), *FAST, "--gmt", str(sets), "--out", str(tmp_path / "out"), "-q"]
    assert run(command) == 0
    assert sorted(names) == ["IDC1", "IDC2"]
    inputs = json.loads((tmp_path / "out" / "run.json").read_text())["inputs"]
    assert inputs[-1]["path"] == str(sets)


def test_a_leaking_patient_is_named(tasks, tmp_path, capsys):
    for name in ("IDC1", "IDC2"):
        adata = ad.read_h5ad(tasks / "PAIR" / "adata" / f"{name}.h5ad")
        adata.obs["patient"] = "P7"
        adata.write_h5ad(tasks / "PAIR" / "adata" / f"{name}.h5ad")
    out = tmp_path / "out"
    assert run(["evaluate", str(tasks / "PAIR"), *FAST, "--out", str(out), "-q"]) == 0
    told = capsys.readouterr().err
    assert "PAIR: split 0 leaks: patient 'P7' is in training ('IDC1') and in test ('IDC2')" in told
    assert json.loads((out / "run.json").read_text())["tasks"]["PAIR"]["leaks"] == {"0": ["P7"]}
    assert "split 0: P7" in (out / "report.html").read_text()


def test_tasks_that_cannot_be_judged(refused, tasks, tmp_path):
    rest = ["--protocol", "hest", "--out", tmp_path / "out"]
    pair = tasks / "PAIR"
    told = refused("evaluate", tasks, *rest)
    assert "holds 2 tasks ('IDC', 'PAIR')" in told
    assert "add --all" in told
    assert "holds no folder of a HEST-Bench task" in refused("evaluate", pair, "--all", *rest)
    assert "add --protocol hest" in refused("evaluate", pair, "--all", "--out", tmp_path / "out")
    assert "is not a table of samples" in refused("evaluate", pair, "--out", tmp_path / "out")
    assert "so --n-genes cannot be given" in refused("evaluate", pair, "--n-genes", "20", *rest)
    assert "so --splits, --annotations cannot" in refused(
        "evaluate", pair, "--splits", "f", "--annotations", "f", *rest
    )
    assert "give --encoder once" in refused("evaluate", pair, "--encoder", "a", "--encoder", "b", *rest)
    shutil.copy(pair / "patches" / "IDC1.h5", pair / "patches" / "IDC2.h5")
    told = refused("evaluate", pair, *rest)
    assert "split 0 leaks: 60 patches of 'IDC1' (in training) and 'IDC2' (in test) are identical" in told
    (pair / "patches" / "IDC2.h5").unlink()
    told = refused("evaluate", pair, *rest)
    assert "IDC2.h5 does not exist" in told
    assert "test_0.csv names" in told
    assert not (tmp_path / "out").exists()


def change_patches(path: Path, change) -> None:
    with h5py.File(path, "a") as opened:
        for key in list(opened):
            values = opened[key][:]
            del opened[key]
            opened[key] = change(key, values)


def test_sections_that_cannot_be_judged_are_refused_before_the_embedding(refused, tasks, tmp_path):
    rest = ["--protocol", "hest", "--out", tmp_path / "out"]
    idc, pair = tasks / "IDC", tasks / "PAIR"
    table = pair / "splits" / "test_0.csv"
    table.write_text(table.read_text().replace("\nIDC2,", "\nall,"))
    assert "No section may be called 'all'" in refused("evaluate", pair, *rest)
    table.write_text(table.read_text().replace("\nall,", "\nIDC2,"))
    counts = (pair / "adata" / "IDC2.h5ad").read_bytes()
    shutil.copy(pair / "adata" / "IDC1.h5ad", pair / "adata" / "IDC2.h5ad")  # the patches differ
    told = refused("evaluate", pair, *rest)
    assert "spots of the held-out section 'IDC2' are also in 'IDC1', which is trained on, with the same" in told
    (pair / "adata" / "IDC2.h5ad").write_bytes(counts)
    for task, name in ((idc, "IDC1"), (pair, "IDC2")):
        change_patches(task / "patches" / f"{name}.h5", lambda key, values: values[:1])
        told = refused("evaluate", task, *rest)
        assert f"Section {name!r} has 1 spot(s); a correlation needs two" in told


def test_a_task_that_cannot_be_read_is_left_out(refused, tasks, tmp_path, capsys):
    rest = ["--protocol", "hest", "--all", str(tasks), "--methods", "mean", "--out", str(tmp_path / "out")]
    (tasks / "IDC" / "splits" / "test_0.csv").write_text("nothing")
    shutil.copytree(tasks / "PAIR", tasks / ".hidden")
    shutil.copytree(tasks / "PAIR", tasks / "report.html")
    assert "test_0.csv lacks the column(s)" in refused("evaluate", *rest)
    assert run(["evaluate", *rest, "--skip-bad", "-q"]) == 0
    told = capsys.readouterr().err
    assert "left out: " in told
    assert "test_0.csv lacks the column(s)" in told
    assert "a task cannot be called report.html" in told
    assert set(pd.read_csv(tmp_path / "out" / "hest.csv")["task"]) == {"PAIR"}


def test_patches_of_empty_glass_teach_nothing(tasks, tmp_path, capsys):
    white = lambda key, values: np.full_like(values, 255) if key == "img" else values  # noqa: E731
    change_patches(tasks / "PAIR" / "patches" / "IDC1.h5", white)
    assert run(["evaluate", str(tasks / "PAIR"), *FAST, "--out", str(tmp_path / "out"), "-q"]) == 2
    [told] = capsys.readouterr().err.splitlines()
    assert "The embeddings of 60 training spots do not vary" in told
    assert not (tmp_path / "out").exists()


def test_a_patient_under_two_spellings_raises_a_warning(tasks, tmp_path, capsys):
    for name, patient in (("IDC1", "Patient 7"), ("IDC2", "patient_07")):
        adata = ad.read_h5ad(tasks / "PAIR" / "adata" / f"{name}.h5ad")
        adata.obs["patient"] = patient
        adata.write_h5ad(tasks / "PAIR" / "adata" / f"{name}.h5ad")
    assert run(["evaluate", str(tasks / "PAIR"), *FAST, "--out", str(tmp_path / "out"), "-q"]) == 0
    told = capsys.readouterr().err
    assert "Split '0' holds out the patient 'patient_07' and trains on 'Patient 7'. If they are one, write" in told


def test_a_study_of_ones_own_gets_the_probe_too(study_folder, tmp_path):
    out = tmp_path / "out"
    arguments = [*FAST, "--field-um", "100", "--n-genes", "10", "--out", str(out), "-q"]
    assert run(["evaluate", str(study_folder / "samples.csv"), *arguments]) == 0
    assert set(pd.read_csv(out / "hest.csv")["fold"]) == {"p0", "p1", "p2"}
    assert "As HEST-Bench scores" in (out / "report.html").read_text()


def test_the_probe_is_that_of_the_description_on_the_files_of_the_task(tasks, tmp_path):
    """Read without our readers: barcodes, genes, standardise, PCA, ridge by LSQR, mean correlation."""
    pair, encoder = tasks / "PAIR", get_encoder("he_texture")
    genes, x, y = json.loads((pair / "var_50genes.json").read_text())["genes"], [], []
    for side in ("train", "test"):
        [row] = pd.read_csv(pair / "splits" / f"{side}_0.csv").to_dict("records")
        with h5py.File(pair / row["patches_path"]) as opened:
            images = [Image.fromarray(patch).resize((112, 112), Image.Resampling.BILINEAR) for patch in opened["img"]]
            barcodes = [str(value, "utf-8") for value in opened["barcode"][:, 0]]
        x.append(encoder.embed(np.stack([np.asarray(image) for image in images])).astype(np.float32))
        y.append(np.log1p(ad.read_h5ad(pair / row["expr_path"])[barcodes, genes].X.toarray().astype(np.float64)))
    pipe = Pipeline([("scaler", StandardScaler()), ("pca", PCA(n_components=60, random_state=1))])
    train, test = pipe.fit_transform(x[0]).astype(np.float32), pipe.transform(x[1]).astype(np.float32)
    ridge = Ridge(solver="lsqr", alpha=100 / (60 * 50), random_state=1, fit_intercept=False, max_iter=1000)
    predicted = ridge.fit(train, y[0]).predict(test)
    expected = np.mean([pearsonr(truth, guess)[0] for truth, guess in zip(y[1].T, predicted.T, strict=True)])
    out = tmp_path / "out"
    assert run(["evaluate", str(pair), *FAST, "--out", str(out), "-q"]) == 0
    found = pd.read_csv(out / "hest.csv").set_index("method").loc["hest_probe"]
    assert found["pcc_mean"] == pytest.approx(expected, abs=1e-6)
    assert (found["n_train"], found["n_test"]) == (60, 60)
