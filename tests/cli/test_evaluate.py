"""``histoquilt evaluate``: tables, a page, and in words who beats ridge."""

import json

import anndata as ad
import pandas as pd
import pytest
from PIL import Image

from histoquilt.cli import run

FAST = ["--field-um", "100", "--n-genes", "20"]
CONTRACT = "fold,section,method,seed,gene_set,n_genes,n_undefined,pcc_mean,pcc_median,spearman_mean,mse,rmse,mae"


def test_tables_report_and_record(study_folder, tmp_path, capsys):
    out = tmp_path / "out"
    gmt = tmp_path / "sets.gmt"
    labelled = ad.read_h5ad(study_folder / "s0.h5ad")
    labelled.obs["region"] = labelled.obs["domain_true"]
    labelled.write_h5ad(study_folder / "s0.h5ad")
    gmt.write_text("elsewhere\t\tXX1\tXX2\tXX3\n")
    markers = tmp_path / "markers.txt"
    markers.write_text("\n".join([*labelled.var_names[:3], "NOGENE"]))
    arguments = ["--methods", "knn", *FAST, "--protocol", "published", "--seeds", "0,3", "--label-key", "region"]
    arguments += ["--gmt", str(gmt), "--markers", str(markers)]
    assert run(["evaluate", str(study_folder / "samples.csv"), *arguments, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    scores = pd.read_csv(out / "scores.csv")
    assert set(CONTRACT.split(",")) <= set(scores.columns)
    assert set(scores["fold"]) == {"p0", "p1", "p2", "all"}
    assert set(scores["method"]) == {
        "mean", "predicted_depth", "ridge_plain", "ridge", "reduced_rank_ridge", "knn_cosine", "knn",
        "neighbour_oracle", "depth_oracle",
    }  # fmt: skip
    genes, differences = pd.read_csv(out / "genes.csv"), pd.read_csv(out / "differences.csv")
    assert {"gene", "pearson", "spearman", "mse", "p_value", "fdr"} <= set(genes.columns)
    assert {"pearson_adjusted", "deviance_explained"} <= set(genes.columns)
    assert {"pcc_median_adjusted", "deviance_median", "deviance_above_0"} <= set(scores.columns)
    assert (scores.query("gene_set == 'markers' and fold != 'all'")["n_genes"] == 3).all()
    assert captured.err.count("'NOGENE'") == 1
    assert "--markers were not measured in all sections" in captured.err
    assert {"method", "against", "difference", "ci_low", "ci_high", "verdict"} <= set(differences.columns)
    assert set(pd.read_csv(out / "domains.csv")["method"]) >= {"ridge", "measured"}
    assert set(pd.read_csv(out / "published.csv")["protocol"]) == {"published (flawed)"}
    record = json.loads((out / "run.json").read_text())
    assert record["outputs"] == sorted(path.name for path in out.iterdir() if path.name != "run.json")
    assert record["folds"][0]["test"] == ["s0"]
    assert record["seeds"] == [0, 3]
    page = (out / "report.html").read_text()
    for name in ("s0", "s1", "s2"):
        assert f'{name} <small class="filter-note">held out, predicted by knn' in page
    assert page.count("data:image/") >= 3  # over tissue
    lines = captured.out.splitlines()
    assert any(line.split()[:2] == ["ridge_plain", "baseline"] for line in lines)
    [of_mean] = [line for line in lines if line.split()[:2] == ["mean", "baseline"]]
    assert "does not beat single-patch ridge; does not beat" in of_mean
    [depth] = [line for line in lines if line.split()[:2] == ["predicted_depth", "baseline"]]
    assert "explains no deviance by construction" in depth
    assert depth.split()[4] == "0.000"
    [oracle] = [line for line in lines if line.split()[:1] == ["depth_oracle"]]
    assert "looks at the answer" in oracle
    assert "Enrichment is left out" in captured.err
    assert "optimistic" not in captured.out


def test_leaving_out_sections_is_called_optimistic(study_folder, tmp_path, capsys):
    table = study_folder / "samples.csv"
    table.write_text(table.read_text().replace(",p1,", ",p0,").replace(",p2,", ",p0,"))
    arguments = ["--methods", "mean", *FAST, "--leave-out", "section", "--out", str(tmp_path / "out")]
    assert run(["evaluate", str(table), *arguments]) == 0
    assert "These scores are optimistic" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "run.json").read_text())["optimistic"] is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "spahcg"], "--methods: Unknown expression model 'spahcg'. Did you mean 'spahgc'"),
        (["--methods", "knn,,ridge"], "separated by commas"),
        (["--leave-out", "slide"], "--leave-out is patient, section or fold"),
        (["--protocol", "fair"], "--protocol is honest, published or hest"),
        (["--seeds", "0,one"], "--seeds is one or more whole numbers"),
        (["--seeds", "1,1"], "names a seed twice"),
        (["--gmt", "none.gmt"], "there is no GMT file"),
        (["--markers", "none.txt"], "there is no file none.txt (--markers)"),
        (["--encoder", "texture"], "Unknown encoder 'texture'"),
        (["--encoder", "onnx:none.onnx"], "none.onnx"),
        (["--use-rep", "X_none"], "'X_none' is not in its obsm"),
    ],
)
def test_arguments_that_cannot_be(refused, study_folder, tmp_path, arguments, words):
    assert words in refused("evaluate", study_folder / "samples.csv", "--out", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_studies_that_cannot_be_judged(refused, study_folder, tmp_path):
    table, rest = study_folder / "samples.csv", [*FAST, "--methods", "mean", "--out", tmp_path / "out"]
    text = table.read_text()
    table.write_text("\n".join(text.splitlines()[:3]))
    assert "2 usable section(s), and 3 are needed" in refused("evaluate", table, *rest)
    table.write_text(text.replace(",p1,", ",p0,").replace(",p2,", ",p0,"))
    told = refused("evaluate", table, *rest)
    assert "nothing to train" in told
    assert "--leave-out section" in told
    table.write_text(text.replace(",p1,", ",,"))
    assert "patient" in refused("evaluate", table, *rest)
    table.write_text(text)
    assert "--label-key layers is in obs of no section" in refused("evaluate", table, *rest, "--label-key", "layers")
    markers = tmp_path / "markers.txt"
    markers.write_text("NOGENE\n")
    told = refused("evaluate", table, *rest, "--markers", markers)
    assert "None of the 1 genes of --markers was measured in all sections: 'NOGENE'" in told
    markers.write_text("\n")
    assert "names no gene" in refused("evaluate", table, *rest, "--markers", markers)


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_real_study_from_images_to_predictions(her2st_half, tmp_path, capsys):
    """Three sections of one tumour: ridge reads genes off H&E; a bare slide gets domains of its own."""
    folder = tmp_path / "her2st"
    folder.mkdir()
    for name in ("C2", "C3", "C4"):
        adata, pixels = her2st_half(name)
        adata.write_h5ad(folder / f"{name}.h5ad")
        Image.fromarray(pixels).save(folder / f"{name}.jpg", quality=90)
    lines = [f"{name},{folder / name}.h5ad,{folder / name}.jpg,C" for name in ("C2", "C3", "C4")]
    table = tmp_path / "samples.csv"
    table.write_text("\n".join(["section,counts,image,patient", *lines]) + "\n")
    common = ["--field-um", "200", "--n-genes", "50", "--cache", str(tmp_path / "cache"), "-q"]
    judged = ["--methods", "ridge", "--leave-out", "section", "--out", str(tmp_path / "judged")]
    assert run(["evaluate", str(table), *common, *judged]) == 0
    intervals = pd.read_csv(tmp_path / "judged" / "intervals.csv")
    panel = intervals.query("gene_set == 'panel'").pivot_table("mean", "method", "value")
    assert panel.loc["ridge_plain", "pcc_median"] > 0.2
    assert panel.loc["mean", "pcc_median"] == 0
    assert panel.loc["ridge", "pcc_median_adjusted"] > panel.loc["predicted_depth", "pcc_median_adjusted"] + 0.05
    assert panel.loc["predicted_depth", "deviance_median"] == 0
    table.write_text("\n".join(["section,counts,image,patient", *lines[:2]]) + "\n")
    assert run(["train", str(table), *common, "--method", "ridge", "--out", str(tmp_path / "model")]) == 0
    slide = ["--mpp", "1.48", "--pitch-um", "600", "--out", str(tmp_path / "predicted"), "-q"]
    assert run(["predict", str(tmp_path / "model"), str(folder / "C4.jpg"), *slide]) == 0
    assert len(pd.read_csv(tmp_path / "predicted" / "C4.csv")) > 10
