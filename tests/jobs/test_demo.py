"""The demo is the whole way through both jobs, and its model of domains beats the baselines beside it."""

import json

import pandas as pd
import pytest

from histoquilt.cli import run


@pytest.mark.slow
def test_the_demo(tmp_path, capsys):
    out = tmp_path / "demo"
    assert run(["demo", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "bare_slide.h5ad", "domains.csv", "domains.png", "expression.html", "expression_scores.csv", "report.html",
        "run.json", "scores.csv", "toy_slide.h5ad",
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
    printed = capsys.readouterr().out
    assert f"{ours:.3f}" in printed
    assert str(out / "report.html") in printed
    assert str(out / "expression.html") in printed
    assert json.loads((out / "run.json").read_text())["command"] == "demo"
    assert run(["demo", "--out", str(out)]) == 2
    assert "already holds results" in capsys.readouterr().err
