"""The page in headless Chromium: it opens alone, without errors, and answers to mouse and keys."""

import numpy as np
import pytest
from tests.report.browsing import complaints, painted, pixel, point_at, requested, rgb, spot_place, tooltip, until

pytestmark = pytest.mark.usefixtures("browser")


def test_opens_without_errors_and_without_the_network(opened, written_section):
    evil = "<script>document.title='taken'</script><img src=x onerror=document.title='taken'>"
    browser = opened({evil: written_section(), "B": written_section(name="B")}, run={"warnings": [evil]})
    assert browser.title == "Tissue domains"
    assert complaints(browser) == []
    urls = requested(browser)
    assert urls, "the log must hold at least the page itself"
    assert all(url.startswith(("file:///", "data:")) for url in urls)
    assert sum(url.startswith("file:") for url in urls) == 1
    assert len(browser.find_elements("css selector", ".map")) == 2


@pytest.mark.parametrize("spot", [0, 30, 77, 143])
def test_hover_tells_the_right_spot(opened, written_section, spot):
    adata = written_section()
    browser = opened(adata)
    point_at(browser, spot_place(browser, adata, spot))
    until(lambda: tooltip(browser))
    first, second, *rest = tooltip(browser).split("\n")
    assert first == adata.obs_names[spot]
    domain = adata.obs["domain"].iloc[spot]
    sure = f"{adata.obs['domain_confidence'].iloc[spot]:.2f}"
    if isinstance(domain, str):
        assert second.startswith(f"Domain {domain}, confidence ")
        assert rest == [f"Markers: SYM{int(domain) - 1}, SYM4"]
    else:
        assert second.startswith("No domain, confidence ")
        assert rest == []
    assert abs(float(second.split()[-1]) - float(sure)) <= 0.011  # confidence is stored in 255 steps


def test_spots_are_drawn_in_their_colours_and_the_legend_highlights_one_domain(opened, written_section):
    from histoquilt.pl import domain_palette

    adata = written_section(image=False)
    browser = opened(adata)
    first, last = spot_place(browser, adata, 14), spot_place(browser, adata, 143)  # domains 1 and 4
    assert pixel(browser, *first) == [*rgb(domain_palette(4)[0]), 255]
    assert pixel(browser, *last) == [*rgb(domain_palette(4)[3]), 255]
    button = browser.find_elements("css selector", ".legend")[3]
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert pixel(browser, *last) == [*rgb(domain_palette(4)[3]), 255]
    np.testing.assert_allclose(pixel(browser, *first), [217, 217, 217, 128], atol=2)
    rows = [row.text.split()[0] for row in browser.find_elements("css selector", ".markers tbody tr") if row.text]
    assert rows == ["4", "4"]
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert pixel(browser, *first)[:3] == rgb(domain_palette(4)[0])


def test_image_lies_under_the_spots_and_can_be_switched_off(opened, written_section):
    adata = written_section()
    adata.uns["spatial"]["S1"]["images"]["lowres"][:] = (10, 200, 10)
    browser = opened(adata)
    x, y = spot_place(browser, adata, 0)
    step = spot_place(browser, adata, 1)[0] - x
    gap = (x + step / 2, y + step / 2)  # in the middle of four spots
    until(lambda: pixel(browser, *gap)[3] == 255)
    np.testing.assert_allclose(pixel(browser, *gap)[:3], (10, 200, 10), atol=6)
    browser.find_element("css selector", ".show-image").click()
    assert pixel(browser, *gap)[3] == 0


def test_colour_by_confidence(opened, written_section):
    adata = written_section(image=False)
    adata.obs["domain_confidence"] = 0.0
    adata.obs.loc[adata.obs_names[143], "domain_confidence"] = 1.0
    browser = opened(adata)
    browser.find_element("css selector", ".color-by option[value=confidence]").click()
    until(lambda: pixel(browser, *spot_place(browser, adata, 14))[:3] == [68, 1, 84])
    assert pixel(browser, *spot_place(browser, adata, 143))[:3] == [253, 231, 37]
    assert browser.find_element("css selector", ".ramp").is_displayed()


def test_colour_by_the_stability_of_the_level(opened, nested):
    for number, key in enumerate(("domain_coarse_2", "domain", "domain_fine")):
        nested.obs[f"{key}_stability"] = number / 2
    nested.uns["histoquilt"]["domain_stability"] = {"sources": ["spots", "seeds"]}
    browser = opened(nested)
    browser.find_element("css selector", ".color-by option[value=stability]").click()
    slider, place = browser.find_element("css selector", ".level-slider"), spot_place(browser, nested, 14)
    until(lambda: pixel(browser, *place)[:3] == [33, 145, 140])  # half way
    slider.send_keys("\ue014")  # right
    until(lambda: pixel(browser, *place)[:3] == [253, 231, 37])
    slider.send_keys("\ue012\ue012")  # left
    until(lambda: pixel(browser, *place)[:3] == [68, 1, 84])
    assert browser.find_element("css selector", ".ramp .what").text == "stability"
    assert "resampled data: spots and random starts" in browser.find_element("css selector", ".reading").text
    point_at(browser, place)
    until(lambda: "stability 0.00" in tooltip(browser))
    assert complaints(browser) == []


def test_arrow_keys_go_from_spot_to_spot_and_are_read_aloud(opened, written_section):
    adata = written_section()
    browser = opened(adata)
    over = browser.find_element("css selector", ".over")
    over.send_keys("\ue014")  # right arrow: starts in the middle
    start = list(adata.obs_names).index(tooltip(browser).split("\n")[0])
    over.send_keys("\ue014")
    assert tooltip(browser).split("\n")[0] == adata.obs_names[start + 1]
    over.send_keys("\ue015")  # down
    assert tooltip(browser).split("\n")[0] == adata.obs_names[start + 1 + 12]
    said = browser.find_element("css selector", ".said").get_attribute("textContent")
    assert said.startswith(adata.obs_names[start + 1 + 12])
    over.send_keys("\ue00c")  # Escape
    assert not browser.find_element("css selector", ".tooltip").is_displayed()


def test_zoomed_map_still_knows_where_spots_are(opened, written_section):
    adata = written_section()
    browser = opened(adata)
    over = browser.find_element("css selector", ".over")
    middle = np.array([over.size["width"], over.size["height"]]) / 2
    place = np.array(spot_place(browser, adata, 66))
    browser.find_element("css selector", "[data-zoom=in]").click()
    point_at(browser, middle + 1.5 * (place - middle))
    until(lambda: tooltip(browser))
    assert tooltip(browser).split("\n")[0] == adata.obs_names[66]


def test_tables_sort(opened, written_section):
    browser = opened(written_section())
    head = browser.find_elements("css selector", ".markers .sort")
    column = "return [...document.querySelectorAll('.markers tbody tr')].map(r => r.cells[arguments[0]].textContent)"
    head[2].click()
    scores = [float(value) for value in browser.execute_script(column, 2)]
    assert scores == sorted(scores, reverse=True)
    head[1].click()
    names = browser.execute_script(column, 1)
    assert names == sorted(names)
    head[0].click()
    assert browser.execute_script(column, 0) == ["1", "1", "2", "2", "3", "3", "4", "4"]


@pytest.mark.parametrize("width", [360, 800])
def test_narrow_screens_do_not_scroll_sideways(opened, written_section, width):
    browser = opened({"A section with quite a long name": written_section(), "B": written_section()})
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.refresh()
        until(lambda: painted(browser) > 100)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def colors_in(browser, canvas: str) -> dict[str, int]:
    """Count the opaque pixels of a canvas by their colour."""
    counts = browser.execute_script(
        "const c = document.querySelector(arguments[0]);"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "const n = {}; for (let i = 0; i < d.length; i += 4) if (d[i + 3] === 255) {"
        " const k = '#' + [d[i], d[i + 1], d[i + 2]].map((v) => v.toString(16).padStart(2, '0')).join('');"
        " n[k] = (n[k] || 0) + 1; } return n", canvas,
    )  # fmt: skip
    return counts


def thumb(view: str, number: int) -> str:
    return f"#study canvas[data-view={view}][data-map='{number}']"


def until_drawn(browser, canvas: str):
    until(lambda: painted(browser, canvas) > 100)


def test_study_opens_and_draws_every_section_in_the_same_colours(opened, toy_study):
    from histoquilt.pl import domain_palette

    joint = toy_study()
    browser = opened(joint, study=joint)
    assert complaints(browser) == []
    assert sum(url.startswith("file:") for url in requested(browser)) == 1
    assert len(browser.find_elements("css selector", ".map")) == 3
    for view in ("overview", "aligned"):
        for number, name in enumerate(["s1", "s2", "s3"]):
            until_drawn(browser, thumb(view, number))
            counts = colors_in(browser, thumb(view, number))
            drawn = np.array([counts.get(color, 0) for color in domain_palette(5)])
            spots = joint.obs["domain"][joint.obs["section"] == name].value_counts(sort=False)
            # the area of a colour follows its spots; rims of circles blend with the paper
            np.testing.assert_allclose(drawn / drawn.sum(), spots / spots.sum(), atol=0.03)


def test_outline_of_the_first_section_lies_over_the_others(opened, toy_study):
    joint = toy_study()
    joint.obsm["spatial_aligned"][(joint.obs["section"] == "s2").to_numpy()] += [600, 0]
    browser = opened(joint, study=joint)
    for number in range(3):
        until_drawn(browser, thumb("aligned", number))
        assert colors_in(browser, thumb("aligned", number)).get("#222222", 0) > 100
        assert "#222222" not in colors_in(browser, thumb("overview", number))


def test_legend_of_a_study_highlights_and_lists_one_domain(opened, toy_study):
    from histoquilt.pl import UNLABELLED, domain_palette

    joint = toy_study()
    browser = opened(joint, study=joint)
    until_drawn(browser, thumb("overview", 2))
    browser.find_elements("css selector", "#study .legend")[1].click()
    assert UNLABELLED in colors_in(browser, thumb("overview", 2))
    seen = set(colors_in(browser, thumb("overview", 2)))
    assert seen & set(domain_palette(5)) == {domain_palette(5)[1]}
    listed = browser.find_elements("css selector", "#study .markers tbody tr")
    rows = [row.text.split()[0] for row in listed if row.text]
    assert rows
    assert set(rows) == {"2"}
    assert set(domain_palette(5)) <= set(colors_in(browser, ".base"))  # the sections have legends of their own


def test_study_coloured_by_confidence(opened, toy_study):
    joint = toy_study()
    joint.obs["domain_confidence"] = np.where(joint.obs["section"] == "s2", 1.0, 0.0)
    browser = opened(joint, study=joint)
    until_drawn(browser, thumb("aligned", 1))
    browser.find_element("css selector", "#study .color-by option[value=confidence]").click()
    for view in ("overview", "aligned"):
        assert "#fde725" in colors_in(browser, thumb(view, 1))
        assert "#440154" in colors_in(browser, thumb(view, 0))
        assert "#fde725" not in colors_in(browser, thumb(view, 0))
    assert browser.find_element("css selector", "#study .ramp").is_displayed()


@pytest.mark.parametrize("width", [360, 1300])
def test_a_study_does_not_scroll_sideways(opened, toy_study, width):
    joint = toy_study()
    browser = opened(joint, study=joint)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.refresh()
        until(lambda: painted(browser) > 100)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_slider_changes_the_level_by_keys(opened, nested):
    browser = opened(nested)
    spot = int(np.flatnonzero(nested.obs["domain_fine"] == "1.1")[5])
    slider = browser.find_element("css selector", ".level-slider")

    def color() -> list[int]:
        return pixel(browser, *spot_place(browser, nested, spot))[:3]

    def colored(key: str) -> list[int]:
        labels = nested.obs[key]
        return rgb(nested.uns[f"{key}_colors"][labels.cat.codes.iloc[spot]])

    assert color() == rgb("#0072b2")
    assert slider.get_attribute("aria-valuetext") == "3 domains"
    slider.send_keys("\ue014")  # right
    until(lambda: color() == colored("domain_fine"))
    assert slider.get_attribute("aria-valuetext") == "fine: 4 domains"
    assert browser.find_element("css selector", ".level-name").text == "fine: 4 domains"
    point_at(browser, spot_place(browser, nested, spot))
    until(lambda: "Domain 1, at this level 1.1" in tooltip(browser))
    browser.find_elements("css selector", ".legend")[1].click()  # highlights domain 2
    until(lambda: color() == [217, 217, 217])
    browser.find_elements("css selector", ".legend")[0].click()
    until(lambda: color() == colored("domain_fine"))
    browser.find_elements("css selector", ".legend")[0].click()
    slider.send_keys("\ue012\ue012")  # left
    until(lambda: color() == colored("domain_coarse_2"))
    assert complaints(browser) == []


def test_a_study_has_the_slider_in_its_overview_and_on_every_section(opened, toy_study):
    from histoquilt.tl import domain_tree

    joint = toy_study()
    domain_tree(joint, section_key="section", fine=False)
    browser = opened(joint, study=joint)
    assert len(browser.find_elements("css selector", ".level-slider")) == 4
    overview = browser.find_element("css selector", "#study .level-slider")
    start = int(overview.get_attribute("value"))
    before = browser.execute_script("return document.querySelector('.thumbs canvas').toDataURL()")
    overview.send_keys("\ue012" * start)
    assert overview.get_attribute("aria-valuetext") == "2 domains"
    until(lambda: browser.execute_script("return document.querySelector('.thumbs canvas').toDataURL()") != before)
    assert complaints(browser) == []


def test_two_labelings_that_differ_are_shown_side_by_side(opened, nested):
    nested.uns["histoquilt"].setdefault("domain", {})["agreement_with_mixture"] = 0.52
    nested.obs["domain_mixture"] = np.where(np.arange(nested.n_obs) % 2, "1", "2")
    browser = opened(nested)
    card = browser.find_element("css selector", ".two-labelings")
    assert "adjusted Rand index 0.52" in card.text
    pictures = [
        browser.execute_script(f"return document.querySelector('[data-kind={kind}]').toDataURL()")
        for kind in ("codes", "mixture")
    ]
    assert pictures[0] != pictures[1]
    assert complaints(browser) == []
