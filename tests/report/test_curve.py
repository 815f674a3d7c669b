"""Line charts of the report: where things are drawn."""

import re

import numpy as np
import pytest

from histoquilt.report._charts import curve_svg

X, Y = np.arange(2, 6), np.array([0.2, 0.9, 0.5, 0.7])


def heights(svg, kind):
    return [float(found) for found in re.findall(rf'<line class="{kind}"[^>]* y1="([-\d.]+)"', str(svg))]


@pytest.mark.parametrize("level", [0.3, 0.6, 0.75])
def test_the_dotted_line_is_drawn_at_its_level(level):
    """Between the grid lines on both sides of it, in proportion."""
    svg = curve_svg([(X, Y)], label="stability", level=level)
    grid = heights(svg, "grid")
    ticks = [float(found) for found in re.findall(r'text-anchor="end">([-\d.e]+)<', str(svg))]
    assert len(grid) == len(ticks) >= 2
    [drawn] = heights(svg, "level")
    assert drawn == pytest.approx(np.interp(level, ticks, grid), abs=0.15)


def test_the_chart_stays_in_its_picture():
    svg = str(curve_svg([(X, Y)], label="stability", level=0.6, mark=3))
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())
    for name, most in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height), ("y1", height)):
        assert all(0 <= float(found) <= most for found in re.findall(rf' {name}="([-\d.]+)"', svg)), name
    points = [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]+)"', svg)[1].split()]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)


def test_without_a_level_there_is_no_dotted_line():
    assert not heights(curve_svg([(X, Y)], label="loss"), "level")
