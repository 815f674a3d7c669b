"""The pages of predictions and of evaluations: what is in them, and what they do in headless Chromium."""

import base64
import gzip
import json
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from tests.report.browsing import drag, painted, saved

import histoquilt as hq
from histoquilt.report import _genes, write_evaluation_report, write_prediction_report


@pytest.fixture(scope="module")
def evaluation():
    """Three sections judged by leaving each out, with the published protocol beside."""
    sections = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=30, kind="pairing", n_features=16)
    for adata in sections.values():
        adata.obs["patient"] = "P1"
    return hq.tl.evaluate_expression(
        sections, ["knn"], use_rep="X_image", leave_out="section", protocol="published", n_genes=15, progress=False
    )


def page_of(tmp_path, write, *arguments, **options) -> str:
    write(tmp_path / "page.html", *arguments, **options)
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="prediction-data">(.*?)</script>', page, re.S)[1])


def unpack(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=dtype)


def test_values_of_every_gene_survive_the_way_into_the_page(predicted_section, tmp_path):
    adata = predicted_section()
    (drawn,) = data_of(page_of(tmp_path, write_prediction_report, {"S1": adata}))["sections"]
    order = ["SYM1", "SYM2", "SYM3", "SYM4", "SYM0", "SYM5"]  # by reliability, the unknown last
    for kind, layer in (("measured", "measured_log1p_cp10k"), ("predicted", "predicted_ridge")):
        assert drawn[kind]["names"] == order
        [chunk] = drawn[kind]["chunks"]
        shades = np.frombuffer(gzip.decompress(base64.b64decode(chunk)), "u1").reshape(6, adata.n_obs)
        low, high = drawn[kind]["lows"][2], drawn[kind]["tops"][2]
        expected = np.clip(adata.layers[layer][:, 3], low, high)
        np.testing.assert_allclose(low + shades[2] / 254 * (high - low), expected, atol=0.02)
    np.testing.assert_allclose(unpack(drawn["unlike"], "u1")[[0, 14]] / 127, [1.5, 0.4], atol=0.01)


def test_genes_are_ordered_by_reliability_at_equal_depth_and_a_caution_is_shown(predicted_section, tmp_path):
    adata = predicted_section()
    adata.var["reliability_adjusted"] = [0.01, 0.02, 0.03, 0.04, 0.05, np.nan]
    adata.uns["histoquilt"]["prediction"]["caution"] = "mostly how many counts they have."
    page = page_of(tmp_path, write_prediction_report, {"S1": adata})
    assert data_of(page)["sections"][0]["predicted"]["names"] == ["SYM4", "SYM3", "SYM2", "SYM1", "SYM0", "SYM5"]
    assert "mostly how many counts they have." in page
    assert "0.030 at equal depth" in page  # of the median gene
    adata.var["reliability_adjusted"] = np.nan  # training had no raw counts
    page = page_of(tmp_path, write_prediction_report, {"S1": adata})
    assert data_of(page)["sections"][0]["predicted"]["names"][0] == "SYM1"
    assert 'class="number adjusted"' not in page


def test_agreement_with_the_measurement_is_shown_raw_and_at_equal_depth(predicted_section, tmp_path):
    adata = predicted_section()
    page = page_of(tmp_path, write_prediction_report, {"S1": adata})
    assert "Here, adjusted" not in page  # how many counts a spot has is not known
    adata.obs["measured_counts"] = np.random.default_rng(0).integers(100, 900, adata.n_obs)
    adata.layers["predicted_ridge"][:, 3] = np.log(adata.obs["measured_counts"])  # nothing but depth
    page = page_of(tmp_path, write_prediction_report, {"S1": adata, "S2": adata})
    assert "Here, adjusted" in page
    adjusted = hq.metrics.depth_adjusted_correlation(
        adata.layers["measured_log1p_cp10k"], adata.layers["predicted_ridge"], np.log(adata.obs["measured_counts"])
    )
    assert adjusted[3] == 0
    cells = dict(re.findall(r'title="(\w+)".*?class="number here-adjusted" data-value="[^"]*">([\w.-]+)<', page, re.S))
    assert cells["ENSG00000000003"] == "0.000"
    assert cells["ENSG00000000002"] == f"{adjusted[2]:.3f}"
    assert cells["ENSG00000000000"] == "undefined"  # predicted the same everywhere
    assert f"{np.median(adjusted):.3f} at equal depth" in page


def test_a_section_to_which_reliability_does_not_transfer_says_so(predicted_section, tmp_path):
    foreign, like = predicted_section(), predicted_section()
    foreign.uns["histoquilt"]["prediction"] |= {
        "transfers": False, "transfer_share": 0.453, "transfer_left_out": [0.529, 0.555], "transfer_limit": 0.502
    }  # fmt: skip
    page = page_of(tmp_path, write_prediction_report, {"foreign": foreign, "like": like})
    assert page.count("Not transferable to this section.") == 1
    assert page.count("reliability does not transfer</b>") == 1
    assert "0.45 of their variance is in the training components, 0.53 to 0.56 in left-out training sections" in page


def test_shares_and_warnings_are_in_words(predicted_section, tmp_path):
    many, bare, whole = predicted_section(), predicted_section(measured=False), predicted_section()
    many.obs["out_of_distribution"] = np.arange(many.n_obs) % 4 == 0
    whole.uns["histoquilt"]["prediction"]["section_out_of_distribution_score"] = 1.7
    page = page_of(tmp_path, write_prediction_report, {"many": many, "bare": bare, "whole": whole}, facts={"seed": 5})
    assert page.count("<b>Unlike training.</b>") == 2
    assert "25% of the spots look unlike the tissue that the model was trained on" in page
    assert "This section as a whole looks unlike" in page
    assert "Nothing to compare with was measured here" in page
    assert "trained on a, b" in page
    assert data_of(page)["sections"][1]["measured"] is None


def test_large_sections_are_sampled_and_genes_limited_and_the_page_says_so(predicted_section, tmp_path, monkeypatch):
    from histoquilt.report import _prediction

    monkeypatch.setattr(_prediction, "MAX_SPOTS", 100)
    monkeypatch.setattr(_prediction, "MAX_VALUES", 800)
    page = page_of(tmp_path, write_prediction_report, {"S1": predicted_section()})
    (drawn,) = data_of(page)["sections"]
    assert len(unpack(drawn["x"], "<u2")) == 100
    assert re.findall(r'class="legend pick".*>(\w+)</button>', page) == ["SYM1", "SYM2", "SYM3", "SYM4"]
    assert len(drawn["predicted"]["names"]) == 6  # the others can be typed
    assert "an even sample of 100 of 144 spots" in page
    assert "The 4 most reliable of 6 genes" in page


def test_bad_arguments_are_named(written_section, predicted_section, tmp_path):
    with pytest.raises(ValueError, match="There is no section to report on"):
        write_prediction_report(tmp_path / "page.html", {})
    with pytest.raises(KeyError, match="holds no prediction"):
        write_prediction_report(tmp_path / "page.html", {"S1": written_section()})
    with pytest.raises(TypeError, match=r"Expected what histoquilt.tl.evaluate_expression returns, got dict"):
        write_evaluation_report(tmp_path / "page.html", {"S1": predicted_section()})
    assert not (tmp_path / "page.html").exists()


def test_evaluation_says_what_it_is_worth(evaluation, tmp_path):
    page = page_of(tmp_path, write_evaluation_report, evaluation)
    assert "These scores are optimistic" in page
    assert "Some scores here follow a flawed protocol" in page
    text = re.sub(r"<[^>]+>", "", page)
    rows = evaluation.differences.query("method == 'knn' and against == 'ridge' and gene_set == 'panel'")
    raw, row = (rows[rows["value"] == value].iloc[0] for value in ("pcc_median", "pcc_median_adjusted"))
    words = "beats the best ridge: by" if row["ci_low"] > 0 else "the best ridge: difference"
    assert re.search(rf"knn.*{words} {'' if row['ci_low'] > 0 else '[+-]'}{abs(row['difference']):.3f}", text)
    assert f"raw difference {raw['difference']:+.3f}" in text
    for value in ("pcc_median", "pcc_median_adjusted"):
        means = evaluation.intervals.query("gene_set == 'panel' and value == @value").set_index("method")["mean"]
        for method in ("knn", "ridge", "ridge_plain", "mean", "depth_oracle", "neighbour_oracle"):
            assert f"{means[method]:.3f}" in text, (method, value)
    assert "more than spatial chance explains at equal depth" in text
    assert "By level of expression" in text
    lowest = evaluation.scores.query("method == 'knn' and gene_set == 'lowest_third' and fold != 'all'")
    assert f"{lowest['pcc_median_adjusted'].mean():.3f}" in text


@pytest.fixture
def labelled(evaluation, predicted_section):
    """An evaluation, and a held-out section in two halves whose prediction has the border one column too far left."""
    adata = predicted_section()
    column = np.arange(adata.n_obs) % 12
    adata.obs["label"] = np.where(column < 6, "left", "right")
    adata.obs.loc[adata.obs_names[0], "label"] = "unclear"
    adata.obs["domain_ridge"] = np.where(column < 5, "1", "2")
    adata.obs["domain_measured"] = np.where(column < 6, "1", "2")
    return replace(evaluation, facts={**evaluation.facts, "label_key": "label", "unlabelled": ["Unclear"]}), adata


def test_domains_are_compared_with_labels_where_they_lie(evaluation, labelled, tmp_path):
    judged, adata = labelled
    page = page_of(tmp_path, write_evaluation_report, judged, predictions={"S1": adata})
    named = (adata.obs["label"] != "unclear").to_numpy()
    expected = hq.metrics.ari(adata.obs["label"][named], adata.obs["domain_ridge"][named])
    assert re.findall(r"Adjusted Rand index <b>([\d.]+)</b>", page) == [f"{expected:.3f}", "1.000"]
    assert "over 143 annotated spots" in page
    assert "Domains of the expression predicted by ridge, and the labels" in page
    assert "Domains of the measured expression, and the labels" in page
    assert "Domains of the image alone, and the labels" not in page  # there are none
    (drawn,) = data_of(page)["sections"]
    found = drawn["labelings"][0]
    codes, regions = unpack(found["codes"], "<u2"), unpack(found["regions"], "<u2")
    assert found["annotation"]["stands_for"] == [0, 1]
    differs = (np.array(found["annotation"]["stands_for"])[codes] != regions) & (regions < 2)
    assert set(np.flatnonzero(differs) % 12) == {5}
    assert differs.sum() == 12
    assert regions[0] == 2
    page = page_of(tmp_path, write_evaluation_report, evaluation, predictions={"S1": adata})
    assert data_of(page)["sections"][0]["labelings"] == []


def test_methods_have_one_order_on_the_page(evaluation, tmp_path):
    page = page_of(tmp_path, write_evaluation_report, evaluation)
    order = list(evaluation.summary().index)
    tables = [re.findall(r'<th scope="row" data-value="(\w+)">', part) for part in page.split("<table")[1:]]
    tables = [list(dict.fromkeys(name for name in names if name in order)) for names in tables]
    assert sum(names == order for names in tables) >= 4  # sets of genes, levels of expression
    for names in tables:
        assert names == [name for name in order if name in names]
    verdicts = list(dict.fromkeys(re.findall(r"<li><b>(\w+)</b>", page)))
    assert verdicts == [name for name in order if name in verdicts]


def test_an_honest_evaluation_raises_no_alarm(evaluation, tmp_path):
    honest = replace(
        evaluation, published=evaluation.published.iloc[:0], facts={**evaluation.facts, "optimistic": False}
    )
    page = page_of(tmp_path, write_evaluation_report, honest)
    assert "optimistic</h2>" not in page
    assert "flawed" not in page.lower()


@pytest.mark.parametrize(
    ("low", "difference", "words"),
    [(0.01, 0.05, "beats"), (-0.01, 0.05, "is not shown to beat"), (-0.1, -0.05, "does not beat"),
     (np.nan, 0.05, "is not shown to beat")],
)  # fmt: skip
def test_verdicts_need_the_whole_interval(evaluation, tmp_path, low, difference, words):
    table = evaluation.differences.query("method == 'knn' and against == 'ridge'").assign(
        ci_low=low, ci_high=low + 0.2, difference=difference
    )
    page = page_of(tmp_path, write_evaluation_report, replace(evaluation, differences=table))
    (item,) = re.findall(r"<li>(.*?)</li>", page.split('<ul class="verdicts">')[1].split("</ul>")[0], re.S)
    assert f">{words} the best ridge</span>" in item
    assert ("no interval" in item) == np.isnan(low)


# in the browser


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "the page did not get there in 10 s"
        time.sleep(0.05)


def color_at(browser, kind: str, place: tuple[float, float]) -> list[int]:
    return browser.execute_script(
        "const c = document.querySelector(`.map[data-kind=${arguments[0]}] .base`);"
        "return [...c.getContext('2d').getImageData(arguments[1] * c.width, arguments[2] * c.height, 1, 1).data]",
        kind, *place,
    )  # fmt: skip


def place_of(spot: int) -> tuple[float, float]:
    """Where a spot lies as shares of the map: 12 x 12 spots, with a margin of 1.5 pitches."""
    row, column = divmod(spot, 12)
    return (column + 1.5) / 14, (row + 1.5) / 14


@pytest.fixture
def opened(browser, tmp_path):
    def open_page(write, *arguments, **options):
        write(tmp_path / "page.html", *arguments, **options)
        browser.get("about:blank")
        browser.get_log("browser")
        browser.get((tmp_path / "page.html").as_uri())
        return browser

    return open_page


@pytest.mark.parametrize("width", [1280, 800])
def test_no_column_of_a_table_is_cut_off(opened, evaluation, width):
    browser = opened(write_evaluation_report, evaluation, predictions=evaluation.predictions)
    browser.set_window_size(width, 1000)
    try:
        cut = browser.execute_script(
            "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
            ".map(e => e.closest('section').textContent.trim().slice(0, 30))"
        )
    finally:
        browser.set_window_size(1300, 1000)
    assert cut == []


def test_choosing_a_gene_redraws_both_maps(opened, predicted_section):
    adata = predicted_section()
    browser = opened(write_prediction_report, {"S1": adata})
    until(lambda: color_at(browser, "predicted", place_of(30))[3] == 255)
    # the test itself reads pixels back again and again
    assert [e for e in browser.get_log("browser") if "Multiple readback" not in e["message"]] == []
    name = browser.find_element("css selector", ".gene-shown")
    until(lambda: name.text == "SYM1")
    before = {kind: color_at(browser, kind, place_of(30)) for kind in ("measured", "predicted")}
    browser.find_element("css selector", ".find").send_keys("sym3")
    shown = [row for row in browser.find_elements("css selector", ".genes-table tbody tr") if row.is_displayed()]
    assert len(shown) == 1
    shown[0].find_element("css selector", ".pick").click()
    until(lambda: name.text == "SYM3")
    fact = browser.find_element("css selector", ".gene-fact").text
    assert fact.startswith("reliability 0.400, here 0.")
    highest = int(adata.layers["measured_log1p_cp10k"][:, 3].argmax())
    assert color_at(browser, "measured", place_of(highest))[:3] == [253, 231, 37]
    assert before != {kind: color_at(browser, kind, place_of(30)) for kind in ("measured", "predicted")}


def test_a_typed_gene_of_the_file_beside_the_page_a_selection_and_files(opened, predicted_section, monkeypatch):
    monkeypatch.setattr(_genes, "EMBEDDED_BYTES", 0)
    adata = predicted_section()
    browser = opened(write_prediction_report, {"S1": adata})
    shown = browser.find_element("css selector", ".gene-shown")
    until(lambda: shown.text == "SYM1")
    field = browser.find_element("css selector", ".gene-name")
    field.clear()
    field.send_keys("sym4\n")
    until(lambda: shown.text == "SYM4")
    assert browser.find_element("css selector", ".pick[aria-pressed=true]").text == "SYM4"
    browser.find_element("css selector", "[data-tool=box]").click()
    size = browser.find_element("css selector", ".over").size
    places = [tuple(part * size[side] for part, side in zip(place_of(spot), ("width", "height"), strict=True))
              for spot in (13, 39)]  # fmt: skip
    drag(browser, [(places[0][0] - 3, places[0][1] - 3), (places[1][0] + 3, places[1][1] + 3)])
    inside = [i for i in range(adata.n_obs) if 1 <= i // 12 <= 3 and 1 <= i % 12 <= 3]
    panel = browser.find_element("css selector", ".selection")
    until(lambda: "9 of 144 spots selected" in panel.text and "Higher here, of 6 genes" in panel.text)
    values = adata.layers["predicted_ridge"]
    values = np.clip(values, *np.percentile(values, [1, 99], axis=0))
    difference = values[inside].mean(axis=0) - np.delete(values, inside, axis=0).mean(axis=0)
    best = panel.find_elements("css selector", "tbody tr")[0].text.split()
    assert best[0] == f"SYM{difference.argmax()}"
    assert float(best[1]) - float(best[2]) == pytest.approx(difference.max(), abs=0.03)
    head, *lines = base64.b64decode(saved(browser, ".save-spots")).decode().strip().split("\n")
    assert head == "section,obs_name"
    assert lines == [f"S1,{adata.obs_names[i]}" for i in inside]
    svg = base64.b64decode(saved(browser, ".map[data-kind=predicted] [data-format=svg]")).decode()
    assert "SYM4, predicted" in svg
    assert svg.count("<circle") == adata.n_obs
    assert [entry for entry in browser.get_log("browser") if "Multiple readback" not in entry["message"]] == []


def test_maps_move_together_and_tell_both_values(opened, predicted_section):
    adata = predicted_section()
    browser = opened(write_prediction_report, {"S1": adata})
    until(lambda: color_at(browser, "predicted", place_of(30))[3] == 255)
    over = browser.find_element("css selector", ".map[data-kind=measured] .over")
    over.send_keys("\ue014")  # right arrow: starts in the middle
    told = browser.find_element("css selector", ".map[data-kind=measured] .tooltip").text.split("\n")
    spot = list(adata.obs_names).index(told[0])
    assert abs(float(told[1].split()[-1]) - adata.layers["measured_log1p_cp10k"][spot, 1]) < 0.03
    assert abs(float(told[2].split()[-1]) - adata.layers["predicted_ridge"][spot, 1]) < 0.03
    assert told[3] == "unlike training: 0.40"
    browser.find_element("css selector", "[data-zoom=in]").click()
    pictures = browser.execute_script(
        "return [...document.querySelectorAll('.over')].map((c) => c.toDataURL())"
    )  # fmt: skip
    assert pictures[0] == pictures[1]  # the ring is at the same place in both


def test_unlike_training_colours_the_map(opened, predicted_section):
    browser = opened(write_prediction_report, {"S1": predicted_section()})
    browser.find_element("css selector", ".color-by option[value=unlike]").click()
    until(lambda: color_at(browser, "predicted", place_of(30))[3] == 255)
    strange, familiar = color_at(browser, "predicted", place_of(3)), color_at(browser, "predicted", place_of(100))
    assert strange[1] > familiar[1] + 60  # viridis grows greener
    assert browser.find_element("css selector", ".map .high").text == "2 or more (limit 1)"


def test_genes_of_an_evaluation_sort_and_are_found(opened, evaluation, predicted_section):
    browser = opened(write_evaluation_report, evaluation, predictions={"S1": predicted_section()})
    assert browser.get_log("browser") == []
    head = browser.find_elements("css selector", ".scores .sort")
    head[1].click()
    column = "return [...document.querySelector('.scores').tBodies[0].rows].map(r => Number(r.cells[1].dataset.value))"
    values = browser.execute_script(column)
    assert values == sorted(values, reverse=True)
    until(lambda: color_at(browser, "predicted", place_of(30))[3] == 255)  # held-out maps


def test_disagreement_with_labels_is_drawn(opened, labelled):
    judged, adata = labelled
    browser = opened(write_evaluation_report, judged, predictions={"S1": adata})
    canvases = ".annotation canvas[data-kind={}]"
    until(lambda: all(painted(browser, canvases.format(kind)) > 100 for kind in ("annotation", "codes", "differs")))
    color = (
        "const c = document.querySelector(arguments[0]), [x, y] = arguments[1];"
        "return [...c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data].slice(0, 3)"
    )
    for spot, expected in ((5 + 12 * 3, [179, 0, 0]), (4 + 12 * 3, [158, 202, 225])):
        assert browser.execute_script(color, canvases.format("differs"), place_of(spot)) == expected


@pytest.mark.parametrize("width", [360, 1300])
def test_pages_do_not_scroll_sideways(opened, evaluation, predicted_section, browser, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for write, what in (
            (write_evaluation_report, evaluation),
            (write_prediction_report, {"S1": predicted_section()}),
        ):
            opened(write, what)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
