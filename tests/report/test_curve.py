"""Charts of the report: what they show, that they stay in their picture, and how they look."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from histoquilt.report._charts import curve_figure, curve_svg, dots_figure, dots_svg

BASELINES = Path(__file__).with_name("baselines")
X, Y = np.arange(2, 6), np.array([0.2, 0.9, 0.5, 0.7])
ROWS = [
    {"method": "stack", "kind": "method", "mean": 0.39, "low": 0.35, "high": 0.44, "sections": [0.3, 0.39, 0.48]},
    {"method": "mean", "kind": "baseline", "mean": 0.0, "low": np.nan, "high": np.nan, "sections": [0.0]},
    {"method": "oracle: depth", "kind": "oracle", "mean": 0.45, "low": 0.4, "high": 0.5, "sections": [0.41, 0.49]},
]


def stability():
    return curve_figure([(X, Y), (X, Y - 0.1)], log=False, x_label="number of domains", level=0.6, mark=3)


@pytest.mark.parametrize("level", [0.3, 0.6, 2.0])
def test_the_dotted_line_is_drawn_at_its_level_within_the_axes(level):
    (axes,) = curve_figure([(X, Y)], log=False, x_label="", level=level, mark=None).axes
    (dotted,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert set(dotted.get_ydata()) == {level}
    assert axes.get_ylim()[0] < level < axes.get_ylim()[1]


def test_without_a_level_there_is_no_dotted_line():
    (axes,) = curve_figure([(X, Y)], log=False, x_label="", level=None, mark=None).axes
    assert [line.get_linestyle() for line in axes.lines] == ["-"]


def test_a_logarithmic_chart_leaves_out_what_it_cannot_draw():
    (axes,) = curve_figure([(X, np.array([1.0, 0.0, np.nan, 0.1]))], log=True, x_label="", level=None, mark=None).axes
    assert axes.lines[0].get_xydata().tolist() == [[2, 1.0], [5, 0.1]]
    assert curve_svg([(X, np.zeros(4))], label="", log=True) == ""


@pytest.mark.parametrize("figure", [stability(), dots_figure(ROWS, label="correlation")], ids=["curve", "dots"])
def test_a_chart_stays_in_its_picture(figure):
    figure.savefig(BytesIO())  # lays it out
    inside = figure.bbox.padded(1)
    for axes in figure.axes:
        drawn = axes.get_tightbbox()
        assert inside.x0 <= drawn.x0
        assert drawn.x1 <= inside.x1
        assert inside.y0 <= drawn.y0
        assert drawn.y1 <= inside.y1


def test_a_chart_has_the_colours_and_the_fonts_of_the_page_and_a_description():
    for text in (curve_svg([(X, Y)], label="a < b", level=0.6, mark=3), dots_svg(ROWS, label="a < b")):
        assert text.count("<svg") == 1
        assert 'aria-label="a &lt; b"' in text
        assert "var(--accent)" in text or "var(--second)" in text
        assert not re.findall(r"#[0-9a-f]{6}", text)
        assert not re.search(r"<style|<metadata|<g id=|DejaVu", text)
    assert curve_svg([(X, Y)], label="x") == curve_svg([(X, Y)], label="x")


@pytest.mark.parametrize("name", ["curve", "dots"])
def test_a_chart_looks_like_its_baseline(name, tmp_path):
    """To make them anew, save the figures to ``baselines`` and look at them."""
    from matplotlib.testing.compare import compare_images

    figure = stability() if name == "curve" else dots_figure(ROWS, label="correlation")
    figure.savefig(tmp_path / "drawn.png", dpi=100)
    assert compare_images(BASELINES / f"{name}.png", tmp_path / "drawn.png", tol=5) is None
