"""Line charts as SVG text, coloured by the page's own style sheet."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 420, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 34  # margins, room for the numbers


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

    Values that are not finite, or not positive on a logarithmic axis, leave a gap at the ends.

    Parameters
    ----------
    lines
        One pair of arrays per line; x holds integers.
    label
        Description of the chart, for screen readers.
    log
        If true, the y axis is logarithmic.
    x_label
        Label of the x axis.
    level
        Height of a dotted horizontal line; linear axis only.
    mark
        Position on x of a vertical line. If given, every point of the lines has a dot.

    Returns
    -------
    An ``<svg>`` element.
    """
    kept = []
    for x, y in lines:
        good = np.isfinite(y) & ((y > 0) if log else True)
        kept.append((x[good], np.log10(y[good]) if log else y[good]))
    every_x, every_y = (np.concatenate([line[i] for line in kept]) for i in (0, 1))
    if every_y.size == 0:
        return Markup("")
    x_ticks = round_ticks(every_x.min(), every_x.max(), whole=True)
    every_y = every_y if level is None else np.append(every_y, level)
    y_ticks = _log_ticks(every_y.min(), every_y.max()) if log else round_ticks(every_y.min(), every_y.max())
    x_low, x_high = every_x.min(), max(every_x.max(), every_x.min() + 1)
    y_low, y_high = min(every_y.min(), y_ticks[0]), max(every_y.max(), y_ticks[-1])
    y_high = y_high if y_high > y_low else y_low + 1

    def across(x: Any) -> Any:
        return _LEFT + (x - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT)

    def down(y: Any) -> Any:
        return _TOP + (y_high - y) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg class="curve" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">']
    for tick in y_ticks:
        height = down(tick)
        text = f"{10**tick:.3g}" if log else f"{tick:.3g}"
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 7}" y="{height + 3.5:.1f}" text-anchor="end">{text}</text>')
    for tick in x_ticks:
        place = f'x="{across(tick):.1f}" y="{_HEIGHT - _BOTTOM + 15}"'
        parts.append(f'<text {place} text-anchor="middle">{tick:g}</text>')
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 3}" text-anchor="middle">{escape(x_label)}</text>'
    )
    if level is not None:
        place = f'y1="{down(level):.1f}" y2="{down(level):.1f}"'
        parts.append(f'<line class="level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" {place}/>')
    if mark is not None:
        place = f'x1="{across(mark):.1f}" x2="{across(mark):.1f}"'
        parts.append(f'<line class="mark" {place} y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
    for number, (x, y) in enumerate(kept):
        places = [(f"{a:.1f}", f"{b:.1f}") for a, b in zip(across(x), down(y), strict=True)]
        # lines of a common kind, such as several runs, look alike; where points count, so do the kinds
        kind = "" if mark is None else f' class="line-{number}"'
        parts.append(f'<polyline{kind} points="{" ".join(",".join(place) for place in places)}"/>')
        if mark is not None:
            parts += [f'<circle{kind} cx="{a}" cy="{b}" r="3"/>' for a, b in places]
    return Markup("".join([*parts, "</svg>"]))


def round_ticks(low: float, high: float, *, whole: bool = False) -> np.ndarray:
    """Return two to seven round numbers from low to high."""
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** np.floor(np.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
    step = max(step, 1.0) if whole else step
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step if high > low else np.array([low])


def _log_ticks(low: float, high: float) -> np.ndarray:
    """Return logarithms of 1, 2 and 5 times powers of ten, fewer where the range is wide."""
    powers = np.arange(np.floor(low), np.ceil(high) + 1)
    if high - low > 1.5:
        return powers[:: max(1, len(powers) // 6)]
    fine = (powers[:, None] + np.log10([1, 2, 5])).ravel()
    inside = fine[(fine >= low - 0.05) & (fine <= high + 0.05)]
    return inside if len(inside) > 1 else np.array([low, high])
