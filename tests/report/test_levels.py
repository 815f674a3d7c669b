"""Levels of nested domains, and two labelings that differ, on the page of domains."""

import base64
import json
import re

import numpy as np

from histoquilt.report import write_report


def text_of(path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_page_lists_levels_with_how_well_they_come_back(nested, tmp_path):
    write_report(nested, tmp_path / "page.html")
    page = text_of(tmp_path / "page.html")
    levels = nested.uns["histoquilt"]["domain_tree"]["levels"]
    for title, stability in zip(("2 domains", "3 domains", "fine: 4 domains"), levels["stability"], strict=True):
        assert f'<th scope="row">{title}</th><td class="number">{stability:.2f}</td>' in page
    assert 'class="level-slider" min="0" max="2" step="1" value="1"' in page


def test_without_a_tree_there_is_no_slider(nested, tmp_path):
    del nested.uns["histoquilt"]["domain_tree"]
    write_report(nested, tmp_path / "page.html")
    assert 'class="level-slider"' not in text_of(tmp_path / "page.html")
    assert "Nested levels" not in text_of(tmp_path / "page.html")


def test_the_page_has_the_stability_of_every_level(nested, tmp_path):
    from histoquilt.tl import domain_stability

    domain_stability(nested, sources=["seeds"], n_resamples=2)
    write_report(nested, tmp_path / "page.html")
    page = text_of(tmp_path / "page.html")
    drawn = json.loads(re.search(r'id="report-data">(.*?)</script>', page, re.DOTALL)[1])[0]["maps"][0]
    keys = nested.uns["histoquilt"]["domain_stability"]["levels"]["key"]
    assert list(keys) == ["domain_coarse_2", "domain", "domain_fine"]
    for key, packed in zip(keys, drawn["stabilities"], strict=True):
        shades = np.frombuffer(base64.b64decode(packed), np.uint8)
        np.testing.assert_allclose(shades / 254, nested.obs[f"{key}_stability"], atol=0.002)
    assert "is repeated on resampled data: random starts." in page


def test_without_stability_it_is_not_offered(nested, tmp_path):
    write_report(nested, tmp_path / "page.html")
    assert "stability</option>" not in text_of(tmp_path / "page.html")


def test_labelings_that_agree_are_not_shown_side_by_side(nested, tmp_path):
    nested.uns["histoquilt"].setdefault("domain", {})["agreement_with_mixture"] = 0.75
    nested.obs["domain_mixture"] = nested.obs["domain"]
    write_report(nested, tmp_path / "same.html")
    assert "Two labelings" not in text_of(tmp_path / "same.html")
