"""The annotation on pages: agreement, table, and the maps next to each other."""

import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from histoquilt.io import Annotations, annotate_spots, concat_sections
from histoquilt.report import write_prediction_report, write_report


def annotated(adata, colors=None):
    """Stripes 1 and 2 are "left", 3 and 4 "right"; the last row is undetermined, spot 5 without a label."""
    right = adata.obsm["spatial"][:, 0] > adata.obsm["spatial"][:, 0].mean()
    labels = np.where(right, "right", "left").astype(object)
    labels[-12:] = "undetermined"
    keep = np.arange(adata.n_obs) != 5
    names = adata.obs_names.to_numpy(dtype=object)
    annotate_spots(adata, Annotations(Path("loupe.csv"), labels[keep], barcodes=names[keep], colors=colors or {}))
    return adata


def cells(page, table):
    body = re.search(rf'<table class="{table}">(.*?)</table>', page, re.DOTALL)[1]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]


def test_which_domain_is_which_region(written_section, tmp_path):
    write_report(annotated(written_section()), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    head, *rows = cells(page, "confusion")
    assert head == ["Domain", "left", "right", "Stands for", "Share"]
    assert rows == [
        ["1", "32", "–", "left", "100%"], ["2", "32", "–", "left", "100%"], ["3", "–", "33", "right", "100%"],
        ["4", "–", "33", "right", "100%"],
    ]  # fmt: skip
    assert "over 130 annotated spots" in page  # neither spot 0 without domain, nor spot 5, nor the last row
    assert "100% of all annotated spots lie in the region that their domain stands for" in page
    assert "<dt>ARI with the annotation</dt>" in page


def test_without_annotation_there_is_no_word_of_it(written_section, tmp_path):
    adata = written_section()
    adata.obs["annotation"] = "mine"  # not by histoquilt
    write_report(adata, tmp_path / "page.html")
    assert "annotation" not in re.sub(
        r"<s(cript|tyle).*?</s(cript|tyle)>", "", (tmp_path / "page.html").read_text(), flags=re.DOTALL
    )
    adata.obs["mine"] = np.where(np.arange(adata.n_obs) % 2, "a", "b")
    write_report(adata, tmp_path / "page.html", label_key="mine")
    assert 'obs["mine"]' in (tmp_path / "page.html").read_text()


def test_a_study_has_the_scores_of_its_annotated_sections(written_section, tmp_path):
    sections = {name: written_section(name=name) for name in ("S1", "S2")}
    annotated(sections["S2"])
    joint = concat_sections(sections)
    write_report(sections, tmp_path / "page.html", study=joint)
    page = (tmp_path / "page.html").read_text()
    assert page.count("<h3>Domains and the annotation</h3>") == 2
    assert [row[:2] for row in cells(page, "agreement")[1:]] == [["S2", "130"]]


@pytest.fixture
def shown(browser, tmp_path):
    def show(write, adata):
        write({"a": adata}, tmp_path / "page.html") if write is write_report else write(
            tmp_path / "page.html", {"a": adata}
        )
        browser.get((tmp_path / "page.html").as_uri())
        return browser

    return show


COLORS = (
    "const c = document.querySelector(arguments[0]), n = {};"
    "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
    "for (let i = 0; i < d.length; i += 4) if (d[i + 3] === 255) {"
    " const k = [d[i], d[i + 1], d[i + 2]].join(); n[k] = (n[k] || 0) + 1; } return n"
)


def until_drawn(browser, canvas, color):
    for _ in range(200):
        if (found := browser.execute_script(COLORS, canvas)).get(color, 0) > 100:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{color} is not drawn")


def test_the_maps_show_where_they_disagree(shown, written_section):
    adata = annotated(written_section(image=False), colors={"left": "#c80000", "right": "#00c800"})
    codes = adata.obs["domain"].cat.codes.to_numpy().copy()
    codes[14:16] = 3  # two spots on the left are of a domain on the right
    adata.obs["domain"] = pd.Categorical.from_codes(codes, categories=adata.obs["domain"].cat.categories)
    browser = shown(write_report, adata)
    drawn = until_drawn(browser, "canvas[data-kind=annotation]", "200,0,0")
    assert drawn["0,200,0"] == pytest.approx(drawn["200,0,0"], rel=0.1)
    astray = until_drawn(browser, "canvas[data-kind=differs]", "179,0,0")
    assert 130 / 2 * astray["179,0,0"] == pytest.approx(astray["158,202,225"], rel=0.15)
    browser.find_element("css selector", ".color-by option[value=annotation]").click()
    until_drawn(browser, ".base", "0,200,0")
    assert [entry for entry in browser.get_log("browser") if "Multiple readback" not in entry["message"]] == []


def test_a_prediction_shows_the_annotation_next_to_a_gene(shown, predicted_section):
    adata = predicted_section()
    labels = np.array(["a", "b"], dtype=object)[np.arange(adata.n_obs) % 2]
    annotate_spots(
        adata, Annotations(Path("a.csv"), labels, barcodes=adata.obs_names.to_numpy(), colors={"a": "#c80000"})
    )
    browser = shown(write_prediction_report, adata)
    browser.find_element("css selector", ".color-by option[value=annotation]").click()
    until_drawn(browser, "[data-kind=measured] .base", "200,0,0")
    assert "200,0,0" not in browser.execute_script(COLORS, "[data-kind=predicted] .base")
    assert browser.find_element("css selector", ".of-annotation").text.split() == ["a", "b"]
    assert (
        browser.find_element("css selector", "[data-kind=measured] .kind").get_attribute("textContent") == "annotation"
    )
