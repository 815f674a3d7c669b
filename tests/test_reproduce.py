"""``benchmarks/reproduce.py``: tables over sections and seeds, and the page."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "reproduce.py"


@pytest.fixture(scope="module")
def reproduce():
    spec = spec_from_file_location("reproduce", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def rows():
    """One method on two sections, with two seeds each."""
    scores = {("151673", 0): 0.5, ("151673", 1): 0.7, ("151674", 0): 0.2, ("151674", 1): 0.2}
    return pd.DataFrame(
        [
            {"protocol": "k given", "score_of": "ARI", "kind": "method", "method": "default", "section": section,
             "seed": seed, "score": score, "wall_s": 60.0}
            for (section, seed), score in scores.items()
        ]
    )  # fmt: skip


def test_the_spread_over_sections_and_that_over_seeds_are_apart(reproduce, rows):
    [found] = reproduce.summary(rows).to_dict("records")
    assert found["n_sections"] == 2
    assert found["mean"] == pytest.approx(0.4)
    assert found["sd over sections"] == pytest.approx(np.std([0.6, 0.2], ddof=1))
    assert found["sd over seeds"] == pytest.approx(np.std([0.5, 0.7], ddof=1) / 2)
    assert found["best seed (flattering)"] == pytest.approx(0.45)


def test_one_seed_has_no_spread(reproduce, rows):
    one = rows[rows["seed"] == 0]
    assert reproduce.each_section(one).to_numpy().tolist() == [["0.500", "0.200"]]
    assert reproduce.each_section(rows).to_numpy().tolist() == [["0.600 ± 0.141", "0.200 ± 0.000"]]
    assert np.isnan(reproduce.summary(one)["sd over seeds"].item())


def test_what_was_computed_is_not_computed_again(reproduce, rows, tmp_path):
    first = reproduce.kept(tmp_path / "a" / "151673.csv", lambda: rows.drop(columns="wall_s"))
    again = reproduce.kept(tmp_path / "a" / "151673.csv", lambda: pytest.fail("computed again"))
    pd.testing.assert_frame_equal(first, again)
    assert again["section"].tolist() == rows["section"].tolist()  # names, not numbers
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["151673.csv"]


def test_the_page_says_that_it_is_partial_and_what_is_quoted(reproduce, rows, tmp_path, capsys):
    reproduce.write_page(rows, "spamask", ["151673", "151674"], 120.0, tmp_path)
    page = (tmp_path / "spamask.html").read_text(encoding="utf-8")
    assert "Partial: 10 of 12 sections of DLPFC are not here" in page
    assert "quoted, not computed here" in page
    assert "0.698" in page
    assert "Wall time 2 min." in page
    assert pd.read_csv(tmp_path / "spamask_summary.csv")["mean"].item() == pytest.approx(0.4)
    assert "Partial" in capsys.readouterr().out
