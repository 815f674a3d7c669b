"""The page of a comparison of conditions."""

import re

import pytest

import histoquilt as hq
from histoquilt.report import write_comparison_report


@pytest.fixture(scope="module")
def study():
    sections = hq.datasets.toy_conditions(n_patients=4, n_spots=250, n_genes=60, n_domains=3, seed=1)
    for name, section in sections.items():
        section.obs["domain"] = section.obs["domain_true"].cat.rename_categories({"layer2": "layer<2>"})
        section.obs["condition"] = {"p8": "late"}.get(name, section.obs["condition"].iloc[0])
    return sections


@pytest.fixture(scope="module")
def compared(study):
    return hq.tl.compare_conditions(study)


def page_of(tmp_path, *arguments, **options) -> str:
    write_comparison_report(tmp_path / "page.html", *arguments, **options)
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_page_says_what_differs_and_what_cannot_be_tested(compared, tmp_path):
    page = page_of(tmp_path, compared, facts={"command": "compare", "seed": None})
    assert "late, treated against control" in page
    assert "Too few patients for p-values" in page  # one of late
    assert re.search(r"<b>layer&lt;2&gt;</b> takes \d\d% of the spots, \d\d% in control", page)
    assert "4 of control (Welch" in page
    assert "layer<2>" not in page
    assert len(re.findall('<article class="group"', page)) == 2
    markers = compared.markers[compared.markers["condition"] == "treated"]
    assert all(f">{gene}<" in page for gene in markers["symbol"].unique())
    assert "Patients are not named" not in page


def test_patients_that_are_not_named_are_an_alarm(study, tmp_path):
    unnamed = {name: section.copy() for name, section in study.items()}
    for section in unnamed.values():
        del section.obs["patient"]
    with pytest.warns(UserWarning, match="No section names its patient"):
        compared = hq.tl.compare_conditions(unnamed)
    page = page_of(tmp_path, compared, title="Treated & late")
    assert "Patients are not named" in page
    assert "<h1>Treated &amp; late</h1>" in page


@pytest.mark.usefixtures("browser")
def test_the_page_sorts_and_finds_in_a_browser(browser, compared, tmp_path):
    page_of(tmp_path, compared)
    browser.get((tmp_path / "page.html").as_uri())
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    find = browser.find_elements("css selector", ".find")[-1]
    gene = compared.markers["symbol"].iloc[-1]
    find.send_keys(gene)
    rows = find.find_elements("xpath", "ancestor::section//tbody/tr")
    assert {row.find_element("css selector", "th").text for row in rows if row.is_displayed()} == {gene}
