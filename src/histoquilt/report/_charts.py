"""Charts as SVG text, coloured by the style sheet of the page: curves, and scores of methods."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 420, 210  # of curves
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 34  # margins, room for the numbers
_DOTS_WIDTH, _DOTS_LEFT, _DOTS_RIGHT, _DOTS_TOP, _ROW, _DOTS_BOTTOM = 760, 190, 62, 8, 26, 40


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

    ``label`` describes the chart to screen readers. A dotted line is drawn at the height ``level``, a vertical one at
    ``mark``, with which every point has a dot. Values that are not finite, or not positive on a logarithmic axis, leave
    a gap at the ends.
    """
    drawn = []
    for x, y in lines:
        good = np.isfinite(y) & ((y > 0) if log else True)
        drawn.append((x[good], np.log10(y[good]) if log else y[good]))
    every_x, every_y = (np.concatenate([line[i] for line in drawn]) for i in (0, 1))
    if every_y.size == 0:
        return Markup("")
    x_ticks = round_ticks(every_x.min(), every_x.max(), whole=True)
    every_y = every_y if level is None else np.append(every_y, level)
    y_ticks = _log_ticks(every_y.min(), every_y.max()) if log else round_ticks(every_y.min(), every_y.max())
    x_low, x_high = every_x.min(), max(every_x.max(), every_x.min() + 1)
    y_low, y_high = min(every_y.min(), y_ticks[0]), max(every_y.max(), y_ticks[-1])
    y_high = y_high if y_high > y_low else y_low + 1

    def across(x: float) -> str:
        return f"{_LEFT + (x - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT):.1f}"

    def down(y: float, by: float = 0.0) -> str:
        return f"{_TOP + (y_high - y) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM) + by:.1f}"

    parts = []
    for tick in y_ticks:
        text = f"{10**tick:.3g}" if log else f"{tick:.3g}"
        parts.append(_element("line", class_="grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=down(tick), y2=down(tick)))
        parts.append(_element("text", text, x=_LEFT - 7, y=down(tick, 3.5), text_anchor="end"))
    for tick in x_ticks:
        parts.append(_element("text", f"{tick:g}", x=across(tick), y=_HEIGHT - _BOTTOM + 15, text_anchor="middle"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(_element("text", x_label, x=middle, y=_HEIGHT - 3, text_anchor="middle"))
    if level is not None:
        parts.append(_element("line", class_="level", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=down(level), y2=down(level)))
    if mark is not None:
        ends: dict[str, Any] = {"x1": across(mark), "x2": across(mark), "y1": _TOP, "y2": _HEIGHT - _BOTTOM}
        parts.append(_element("line", class_="mark", **ends))
    for number, (x, y) in enumerate(drawn):
        places = [(across(a), down(b)) for a, b in zip(x, y, strict=True)]
        # several runs look alike; different measures, which have dots, do not
        kind: dict[str, Any] = {} if mark is None else {"class_": f"line-{number}"}
        parts.append(_element("polyline", **kind, points=" ".join(map(",".join, places))))
        if mark is not None:
            parts += [_element("circle", **kind, cx=a, cy=b, r=3) for a, b in places]
    return _svg("curve", _WIDTH, _HEIGHT, label, parts)


def dots_svg(rows: Sequence[Mapping[str, Any]], *, label: str) -> Markup:
    """Draw the scores of methods as SVG, one row each: a faint dot per section, the mean with its interval.

    Rows have ``method``, ``kind`` (``method``, ``baseline``, ``oracle``), ``mean``, ``low``, ``high`` (not finite if
    there is no interval), and ``sections``, the values of single sections. ``label`` names the axis.
    """
    if not rows:
        return Markup("")
    every = np.array([v for row in rows for v in (*row["sections"], row["mean"], row["low"], row["high"], 0.0)], float)
    every = every[np.isfinite(every)]
    low, high = float(every.min()), max(float(every.max()), float(every.min()) + 0.01)
    foot = _DOTS_TOP + _ROW * len(rows)

    def across(x: float) -> str:
        return f"{_DOTS_LEFT + (x - low) / (high - low) * (_DOTS_WIDTH - _DOTS_LEFT - _DOTS_RIGHT):.1f}"

    parts = []
    for tick in round_ticks(low, high):
        x = across(tick)
        parts.append(_element("line", x1=x, x2=x, y1=_DOTS_TOP, y2=foot))
        parts.append(_element("text", f"{tick:.3g}", class_="soft", x=x, y=foot + 16, text_anchor="middle"))
    middle = (_DOTS_LEFT + _DOTS_WIDTH - _DOTS_RIGHT) / 2
    parts.append(_element("text", label, class_="soft", x=middle, y=foot + _DOTS_BOTTOM - 6, text_anchor="middle"))
    for place, row in enumerate(rows):
        y, kind = _DOTS_TOP + _ROW * (place + 0.5), row["kind"]
        parts.append(_element("text", row["method"], x=_DOTS_LEFT - 12, y=f"{y + 4:.1f}", text_anchor="end"))
        parts += [_element("circle", class_=f"{kind} faint", cx=across(v), cy=y, r=3.5) for v in row["sections"]]
        if np.isfinite(row["low"]) and np.isfinite(row["high"]):
            span: dict[str, Any] = {"x1": across(row["low"]), "x2": across(row["high"]), "y1": y, "y2": y}
            parts.append(_element("line", class_=kind, stroke_width=2, **span))
        parts.append(_element("circle", class_=kind, cx=across(row["mean"]), cy=y, r=5.5))
        at: dict[str, Any] = {"x": _DOTS_WIDTH - _DOTS_RIGHT + 14, "y": f"{y + 4:.1f}"}
        parts.append(_element("text", f"{row['mean']:.3f}", class_="soft", **at))
    return _svg("dots", _DOTS_WIDTH, foot + _DOTS_BOTTOM, label, parts)


def round_ticks(low: float, high: float, *, whole: bool = False) -> np.ndarray:
    """Return two to seven round numbers from low to high."""
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** np.floor(np.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
    step = max(step, 1.0) if whole else step
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step if high > low else np.array([low])


def _log_ticks(low: float, high: float) -> np.ndarray:
    """Return logarithms of 1, 2 and 5 times powers of ten, fewer if the range is wide."""
    powers = np.arange(np.floor(low), np.ceil(high) + 1)
    if high - low > 1.5:
        return powers[:: max(1, len(powers) // 6)]
    fine = (powers[:, None] + np.log10([1, 2, 5])).ravel()
    inside = fine[(fine >= low - 0.05) & (fine <= high + 0.05)]
    return inside if len(inside) > 1 else np.array([low, high])


def _svg(kind: str, width: float, height: float, label: str, parts: list[str]) -> Markup:
    head = f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
    return Markup("".join([head, *parts, "</svg>"]))


def _element(name: str, content: str = "", **attributes: Any) -> str:
    """Return an SVG element; ``class_`` and ``text_anchor`` stand for ``class`` and ``text-anchor``."""
    pairs = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return f"<{name}{pairs}>{escape(content)}</{name}>" if content else f"<{name}{pairs}/>"
