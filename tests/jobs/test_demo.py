"""The demo is the whole way through both jobs, and its model of domains beats the baselines beside it."""

import json
import re

import pandas as pd
import pytest
from PIL import Image

import histoquilt as hq
from histoquilt.cli import run


@pytest.mark.slow
def test_the_demo(tmp_path, capsys):
    out = tmp_path / "demo"
    assert run(["demo", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "bare_slide.h5ad", "domains.csv", "domains.png", "exports", "expression.html", "expression_scores.csv",
        "report.html", "run.json", "scores.csv", "toy_slide.h5ad", "viewers.html",
    ]  # fmt: skip
    scores = pd.read_csv(out / "scores.csv").set_index("method")
    ours = scores.loc["histoquilt", "ari"]
    assert ours > scores.loc["PCA + k-means", "ari"]
    assert ours > 0.6
    assert 0.2 < scores.loc["PCA + k-means", "ari"] < 0.7, "the toy tissue became trivial"
    stain = pd.read_csv(out / "expression_scores.csv")
    # by chance 0; about 300 spots a slide, and .15 and .65 with seeds 0 and 1
    assert stain["score"].iloc[-1] > 0.1, "domains of the bare slide"
    assert stain[stain["what"].str.contains("most reliable")]["score"].min() > 0.2
    assert 'href="expression.html"' in (out / "report.html").read_text()
    assert 'href="report.html"' in (out / "expression.html").read_text()
    files = re.findall(r'<a href="(exports/[^"]+)"', (out / "viewers.html").read_text())
    assert {file.split("/")[1] for file in files} >= {"loupe", "xenium-explorer", "viewers-h5ad", "seurat"}
    assert all((out / file).is_file() for file in files)
    assert 'href="viewers.html"' in (out / "report.html").read_text()
    slide = hq.io.read_h5ad(out / "toy_slide.h5ad")
    if "exports/qupath/toy_slide.geojson" in files:
        hq.tl.annotate_spots(slide, out / "exports" / "qupath" / "toy_slide.geojson")
        assert (slide.obs["annotation"].astype(str) == "Domain " + slide.obs["domain"].astype(str)).all()
    with Image.open(out / "exports" / "toy_slide.png") as image:
        assert (slide.obsm["spatial"] <= image.size).all()
    printed = capsys.readouterr().out
    assert f"{ours:.3f}" in printed
    assert str(out / "report.html") in printed
    assert str(out / "expression.html") in printed
    assert json.loads((out / "run.json").read_text())["command"] == "demo"
    assert run(["demo", "--out", str(out)]) == 2
    assert "already holds results" in capsys.readouterr().err
