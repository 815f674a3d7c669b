"""Charts as SVG text, coloured by the style sheet of the page: curves, and scores of methods."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from histoquilt.report._render import fill


def curve_svg(
    lines: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    label: str,
    log: bool = False,
    x_label: str = "epoch",
    level: float | None = None,
    mark: float | None = None,
) -> Markup:
    """Draw a line chart as SVG, with lines ``(x, y)`` on common axes.

    ``label`` describes the chart to screen readers; ``level`` is the height of a dotted line, ``mark`` the place of a
    vertical one, with which every point gets a dot. Values that cannot be drawn leave a gap at the ends.
    """
    points = []
    for x, y in lines:
        good = np.isfinite(y) & ((y > 0) if log else True)
        points.append(np.column_stack([x[good], np.log10(y[good]) if log else y[good]]))
    every_x, every_y = np.concatenate(points).T
    if every_y.size == 0:
        return Markup("")
    every_y = every_y if level is None else np.append(every_y, level)
    y_ticks = _log_ticks(every_y.min(), every_y.max()) if log else round_ticks(every_y.min(), every_y.max())
    y_low, y_high = min(every_y.min(), y_ticks[0]), max(every_y.max(), y_ticks[-1])
    return fill(
        "_curve.svg",
        lines=points,
        label=label,
        x_label=x_label,
        level=level,
        mark=mark,
        x_ticks=round_ticks(every_x.min(), every_x.max(), whole=True),
        y_ticks=[(tick, f"{10**tick if log else tick:.3g}") for tick in y_ticks],
        x_low=every_x.min(),
        x_high=max(every_x.max(), every_x.min() + 1),
        y_low=y_low,
        y_high=y_high if y_high > y_low else y_low + 1,
    )


def dots_svg(rows: Sequence[Mapping[str, Any]], *, label: str) -> Markup:
    """Draw the scores of methods as SVG, one row each: a faint dot per section, the mean with its interval.

    Rows have ``method``, ``kind`` (``method``, ``baseline``, ``oracle``), ``mean``, ``low``, ``high`` (NaN without an
    interval), and ``sections``, the values of single sections. ``label`` names the axis.
    """
    if not rows:
        return Markup("")
    every = np.array([v for row in rows for v in (*row["sections"], row["mean"], row["low"], row["high"], 0.0)], float)
    low = float(np.nanmin(every))
    high = max(float(np.nanmax(every)), low + 0.01)
    return fill("_dots.svg", rows=rows, label=label, low=low, high=high, ticks=round_ticks(low, high))


def round_ticks(low: float, high: float, *, whole: bool = False) -> np.ndarray:
    """Return two to seven round numbers from low to high."""
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** np.floor(np.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
    step = max(step, 1.0) if whole else step
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step + 0.0 if high > low else np.array([low])


def _log_ticks(low: float, high: float) -> np.ndarray:
    """Return logarithms of 1, 2 and 5 times powers of ten, fewer for a wide range."""
    powers = np.arange(np.floor(low), np.ceil(high) + 1)
    if high - low > 1.5:
        return powers[:: max(1, len(powers) // 6)]
    fine = (powers[:, None] + np.log10([1, 2, 5])).ravel()
    inside = fine[(fine >= low - 0.05) & (fine <= high + 0.05)]
    return inside if len(inside) > 1 else np.array([low, high])
